//! From what somebody typed at the prompt to a spec.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    compare::shortened,
    failure::Failure,
    output::{print_line, tell},
};

/// Make a spec from the requests in the history of a REPL: that of cereus, or of pitaya-cli.
#[derive(Args, Debug)]
pub(crate) struct History {
    /// The history, for example ~/.cereus_history or ~/.pitayacli_history.
    #[arg(required_unless_present = "history_path", conflicts_with = "history_path")]
    file: Option<PathBuf>,
    /// The same, as pitaya-bot calls it.
    #[arg(short = 'p', long, value_name = "FILE")]
    history_path: Option<PathBuf>,
    /// Write the spec to this file and not to standard output.
    #[arg(short, long, value_name = "FILE")]
    spec_output: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    name: &'static str,
    number_of_instances: u32,
    sequential_operations: Vec<Operation>,
}

#[derive(Debug, Serialize)]
struct Operation {
    r#type: &'static str,
    uri: String,
    args: Value,
}

impl History {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let file = self.file.or(self.history_path).unwrap_or_default();
        let name = file.display();
        let text = fs::read(&file).map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
        let (operations, notes) = parse(&String::from_utf8_lossy(&text));
        for (line, why) in notes {
            tell(&format!("cereus: {name}:{line}: left out: {why}"));
        }
        if operations.is_empty() {
            return Err(Failure::Failed(format!("{name}: there is no request in it")));
        }
        let spec = Spec { name: "parsed_spec", number_of_instances: 1, sequential_operations: operations };
        let json = serde_json::to_string_pretty(&spec).map_err(|error| Failure::Failed(error.to_string()))?;
        match &self.spec_output {
            None => print_line(&json)?,
            Some(file) => fs::write(file, json + "\n")
                .map_err(|error| Failure::Usage(format!("{} cannot be written: {error}", file.display())))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The requests, and the lines with requests that cannot be taken.
fn parse(text: &str) -> (Vec<Operation>, Vec<(usize, String)>) {
    let (mut operations, mut notes) = (Vec::new(), Vec::new());
    // What `cereus repl` writes begins so, and has backslashes doubled.
    let is_escaped = text.starts_with("#V2\n");
    for (number, line) in text.lines().enumerate() {
        let line = if is_escaped { unescaped(line) } else { line.to_owned() };
        let Some(rest) = line.trim().strip_prefix("request ") else { continue };
        let rest = rest.trim();
        let (route, body) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match args(body.trim()) {
            Ok(args) => operations.push(Operation { r#type: "request", uri: route.to_owned(), args }),
            Err(why) => notes.push((number + 1, why)),
        }
    }
    (operations, notes)
}

fn unescaped(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

fn args(body: &str) -> Result<Value, String> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str(body).map_err(|error| format!("its body is no JSON: {error}"))? {
        Value::Object(members) => Ok(typed_members(members)),
        other => Err(format!("its body, {}, is no object, as it is in specs", shortened(&other))),
    }
}

fn typed_members(members: Map<String, Value>) -> Value {
    members.into_iter().map(|(name, value)| (name, typed(value))).collect::<Map<_, _>>().into()
}

fn typed(value: Value) -> Value {
    let (kind, value) = match value {
        Value::Null => ("<nil>", Value::Null),
        Value::Bool(_) => ("bool", value),
        Value::String(_) => ("string", value),
        Value::Number(ref number) if number.is_f64() => ("float", value),
        Value::Number(_) => ("int", value),
        Value::Array(items) => ("array", items.into_iter().map(typed).collect()),
        Value::Object(members) => ("object", typed_members(members)),
    };
    json!({ "type": kind, "value": value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_count() {
        let (operations, notes) = parse(
            "connect localhost:3250\nrequest  room.join   {\"name\": \"a  b\", \"n\": [1, 1.5], \"o\": {\"x\": null}}\n\
             notify room.say {}\nrequest room.leave\nrequest room.bad {\nrequest room.list [1]\n",
        );
        let told: Vec<_> = operations.iter().map(|operation| (&*operation.uri, &operation.args)).collect();
        let join = json!({
            "name": {"type": "string", "value": "a  b"},
            "n": {"type": "array", "value": [{"type": "int", "value": 1}, {"type": "float", "value": 1.5}]},
            "o": {"type": "object", "value": {"x": {"type": "<nil>", "value": null}}}
        });
        assert_eq!(told, [("room.join", &join), ("room.leave", &json!({}))]);
        assert_eq!(notes.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn the_history_of_cereus_has_escapes() {
        let (operations, _) = parse("#V2\nrequest room.say {\"text\": \"a \\\\\"b\\\\\" c\"}\n");
        assert_eq!(operations[0].args["text"]["value"], "a \"b\" c");
    }
}
