//! From JSON to steps.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Action, Check, Hook, Operation, Spec,
    check::{Expectation, Keep},
    expression::Expression,
    value::{Template, Type},
};
use crate::{
    bot::near::did_you_mean,
    compare::{Op, shortened},
};

/// All that means something somewhere.
const FIELDS: [&str; 15] = [
    "args",
    "expect",
    "function",
    "ms",
    "numberOfInstances",
    "op",
    "operations",
    "postRun",
    "preRun",
    "store",
    "timeout",
    "times",
    "type",
    "uri",
    "value",
];
/// How many fields that mean nothing are named for each file.
const MOST_NAMED: usize = 10;

/// Reads one file.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    file: &'a str,
    /// What is in it that means nothing, with the place where it is.
    unknown: Vec<String>,
}

/// The members of an object. Like Go's, their names may be in any letter case.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            other => Err(format!("{} is no object", shortened(&other))),
        }
    }

    /// `null` is nothing.
    fn take(&mut self, name: &str) -> Option<Value> {
        let found = self.0.remove(name).or_else(|| {
            let other = self.0.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
            self.0.remove(&other)
        });
        found.filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{name}`: {} is no text", shortened(&other))),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(format!("`{name}`: {} is no whole number of 0 or more", shortened(&value))),
            },
        }
    }

    fn object(&mut self, name: &str) -> Result<Map<String, Value>, String> {
        let value = self.take(name);
        value.map_or_else(|| Ok(Map::new()), |value| Self::of(value).map(|fields| fields.0).map_err(at(name)))
    }

    fn is_there(&self, name: &str) -> bool {
        self.0.keys().any(|key| key.eq_ignore_ascii_case(name))
    }
}

fn at(name: &str) -> impl FnOnce(String) -> String {
    move |why| format!("`{name}`: {why}")
}

impl<'a> Reader<'a> {
    pub(super) const fn new(file: &'a str) -> Self {
        Self { file, unknown: Vec::new() }
    }

    /// What is in the file that means nothing, if there is such.
    pub(super) fn note(&self) -> Option<String> {
        let named = self.unknown.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = match self.unknown.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        (!named.is_empty()).then(|| format!("{}: ignored, for it means nothing there: {named}{more}", self.file))
    }

    pub(super) fn spec(&mut self, text: &str) -> Result<Spec, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value = serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
        let mut fields = Fields::of(value)?;
        // pitaya-bot names specs by their files, too.
        fields.take("name");
        let instances = fields.number("numberOfInstances")?.unwrap_or(1);
        let instances = u32::try_from(instances).map_err(|_| "`numberOfInstances` is too much".to_owned())?;
        let (pre, post) = (self.hook(&mut fields, "preRun")?, self.hook(&mut fields, "postRun")?);
        let operations = fields.take("sequentialOperations");
        let operations = operations.ok_or("there are no `sequentialOperations`, so there is nothing to do")?;
        let operations = self.operations(operations, "")?;
        self.ignore(fields, "");
        Ok(Spec { file: self.file.to_owned(), instances, pre, post, operations })
    }

    fn hook(&mut self, fields: &mut Fields, name: &str) -> Result<Option<Hook>, String> {
        let Some(value) = fields.take(name) else { return Ok(None) };
        let mut hook = Fields::of(value).map_err(at(name))?;
        let function = hook.text("function").map_err(at(name))?.unwrap_or_default();
        let args = hook.object("args").map_err(at(name))?;
        self.ignore(hook, name);
        Ok(Some(Hook { function, args }))
    }

    fn operations(&mut self, value: Value, before: &str) -> Result<Vec<Operation>, String> {
        let Value::Array(items) = value else { return Err(format!("{} is no list of operations", shortened(&value))) };
        let items = items.into_iter().enumerate();
        items.map(|(index, item)| self.operation(item, &format!("{before}{}", index + 1))).collect()
    }

    fn operation(&mut self, value: Value, number: &str) -> Result<Operation, String> {
        let within = |why| format!("step {number}: {why}");
        let mut fields = Fields::of(value).map_err(within)?;
        let kind = fields.text("type").map_err(within)?.filter(|kind| !kind.is_empty());
        let kind = kind.ok_or_else(|| within("it has no `type`".to_owned()))?;
        let uri = fields.text("uri").map_err(within)?.unwrap_or_default();
        let place = format!("step {number} ({})", format!("{kind} {uri}").trim_end());
        let action = match &*kind {
            "parallel" | "loop" => {
                // Its steps say themselves where they are.
                let operations = fields.take("operations").ok_or_else(|| format!("{place}: it has no `operations`"))?;
                let operations = self.operations(operations, &format!("{number}."))?;
                Self::block(&kind, operations, &mut fields)
            }
            _ => self.action(&kind, uri, &mut fields, &place),
        };
        let action = action.map_err(|why| format!("{place}: {why}"))?;
        // What pitaya-bot reads and never uses.
        fields.take("change");
        fields.take("name");
        self.ignore(fields, &place);
        Ok(Operation { place: format!("{}: {place}", self.file), action })
    }

    fn block(kind: &str, operations: Vec<Operation>, fields: &mut Fields) -> Result<Action, String> {
        if kind == "parallel" {
            return Ok(Action::Parallel(operations));
        }
        let times = fields.number("times")?.ok_or("it does not say how many `times`")?;
        let times = u32::try_from(times).map_err(|_| "so many `times` take too long".to_owned())?;
        Ok(Action::Loop { times, operations })
    }

    fn action(&mut self, kind: &str, uri: String, fields: &mut Fields, place: &str) -> Result<Action, String> {
        if kind == "delay" {
            let ms = fields.number("ms")?.ok_or("it does not say how many `ms`")?;
            return Ok(Action::Delay(Duration::from_millis(ms)));
        }
        if !["request", "notify", "listen", "function"].contains(&kind) {
            let kinds = "request, notify, listen, function, parallel, loop or delay";
            return Err(format!("`{kind}` is no type of operation: use {kinds}"));
        }
        if uri.is_empty() {
            return Err("it has no `uri`".to_owned());
        }
        Ok(match kind {
            "request" => Action::Request {
                route: uri,
                args: self.args(fields, place)?,
                timeout: timeout(fields)?,
                check: self.check(fields, place)?,
            },
            "notify" => Action::Notify { route: uri, args: self.args(fields, place)? },
            "listen" => Action::Listen { route: uri, timeout: timeout(fields)?, check: self.check(fields, place)? },
            _ => function(&uri, fields)?,
        })
    }

    fn args(&mut self, fields: &mut Fields, place: &str) -> Result<Template, String> {
        let args = fields.take("args");
        let template = Template::args(args.as_ref())?;
        for path in args.iter().flat_map(Template::unknown) {
            self.unknown.push(format!("`args.{path}` of {place}"));
        }
        Ok(template)
    }

    fn check(&mut self, fields: &mut Fields, place: &str) -> Result<Check, String> {
        let mut check = Check::default();
        for (expression, value) in fields.object("expect")? {
            let at = format!("expect {expression}");
            let wrong = |why| format!("{at}: {why}");
            let mut fields = Fields::of(value).map_err(wrong)?;
            check.expect.push(expectation(&expression, &mut fields).map_err(wrong)?);
            self.ignore(fields, &format!("{place}: {at}"));
        }
        for (key, value) in fields.object("store")? {
            let at = format!("store {key}");
            let wrong = |why| format!("{at}: {why}");
            let mut fields = Fields::of(value).map_err(wrong)?;
            check.store.push(keep(key.clone(), &mut fields).map_err(wrong)?);
            self.ignore(fields, &format!("{place}: {at}"));
        }
        Ok(check)
    }

    /// What was not taken means nothing.
    fn ignore(&mut self, fields: Fields, place: &str) {
        let of = if place.is_empty() { String::new() } else { format!(" of {place}") };
        let is_something = |value: &Value| match value {
            Value::Null => false,
            Value::Object(members) => !members.is_empty(),
            _ => true,
        };
        let names = fields.0.into_iter().filter(|(_, value)| is_something(value));
        self.unknown.extend(names.map(|(name, _)| format!("`{name}`{}{of}", did_you_mean(&name, &FIELDS))));
    }
}

fn timeout(fields: &mut Fields) -> Result<Option<Duration>, String> {
    Ok(fields.number("timeout")?.filter(|ms| *ms > 0).map(Duration::from_millis))
}

fn function(name: &str, fields: &mut Fields) -> Result<Action, String> {
    match name {
        "disconnect" => Ok(Action::Disconnect),
        "reconnect" => Ok(Action::Reconnect),
        "connect" => {
            let host = match fields.take("args").as_ref().and_then(|args| args.get("host")) {
                None => None,
                // Written without a type it is clear, too.
                Some(text @ Value::String(_)) => Some(Template::plain(text, Some(Type::String))?),
                Some(host) => Some(Template::typed(host).map_err(|why| format!("args.host{why}"))?),
            };
            Ok(Action::Connect { host })
        }
        _ => Err(format!("there is no function `{name}`: use connect, disconnect or reconnect")),
    }
}

fn keep(key: String, fields: &mut Fields) -> Result<Keep, String> {
    let kind = Type::parse(&fields.text("type")?.unwrap_or_default())?;
    let expression = Expression::parse(&fields.text("value")?.unwrap_or_default());
    Ok(Keep { key, kind, expression })
}

fn expectation(expression: &str, fields: &mut Fields) -> Result<Expectation, String> {
    let op = match fields.text("op")? {
        None => Op::Equal,
        Some(name) => Op::parse(&name)
            .ok_or_else(|| format!("`{name}` is no comparison: use == != < <= > >= contains exists missing"))?,
    };
    let kind = fields.text("type")?.map(|kind| Type::parse(&kind)).transpose()?;
    if kind.is_none() && op.has_operand() && !fields.is_there("value") {
        return Err("it has neither `type` nor `value`".to_owned());
    }
    let kind = kind.filter(|_| op.has_operand());
    let value = if op.has_operand() { fields.take("value").unwrap_or_default() } else { Value::Null };
    Ok(Expectation { expression: Expression::parse(expression), op, kind, operand: Template::plain(&value, kind)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Result<Spec, String>, Option<String>) {
        let mut reader = Reader::new("a.json");
        (reader.spec(text), reader.note())
    }

    #[test]
    fn reads_what_go_reads() {
        let (spec, note) = read(
            r#"{"numberofinstances": 3, "preRun": {"function": "redis", "args": {"name": "x"}}, "comment": 1,
                "sequentialOperations": [
                    {"Type": "request", "Uri": "a.b", "change": {"x": 1}, "Expect": {"$response.x": {"Type": "int", "Value": 1, "typ": 2}},
                     "args": {"n": {"type": "array", "value": [{"type": "int", "value": 1, "why": 1}]}}},
                    {"type": "loop", "times": 2, "operations": [{"type": "parallel", "operations": [{"type": "delay", "ms": 5, "why": 1}]}]},
                    {"type": "function", "uri": "connect", "args": {"host": {"type": "string", "value": "a:1"}}},
                    {"type": "notify", "uri": "a", "args": null, "store": {}, "expect": {"$response.x": {"type": "int", "value": 1}}}]}"#,
        );
        let spec = spec.unwrap();
        assert_eq!((spec.instances, spec.operations.len()), (3, 4));
        assert_eq!(spec.operations[0].place, "a.json: step 1 (request a.b)");
        let Action::Loop { operations, .. } = &spec.operations[1].action else { panic!("{spec:?}") };
        let Action::Parallel(operations) = &operations[0].action else { panic!("{spec:?}") };
        assert_eq!(operations[0].place, "a.json: step 2.1.1 (delay)");
        assert_eq!(
            note.as_deref(),
            Some(
                "a.json: ignored, for it means nothing there: `args.n.value[0].why` of step 1 (request a.b), \
                 `typ` (did you mean `type`?) of step 1 (request a.b): expect $response.x, `why` of step 2.1.1 (delay), `expect` of step 4 (notify a), `comment`"
            )
        );
    }

    #[test]
    fn says_where_what_is_wrong() {
        let step = |step: &str| format!("{{\"sequentialOperations\": [{{\"type\": \"delay\", \"ms\": 0}}, {step}]}}");
        for (text, why) in [
            ("{".to_owned(), "this is no JSON: EOF while parsing an object at line 1 column 1"),
            ("[]".to_owned(), "[] is no object"),
            ("{}".to_owned(), "there are no `sequentialOperations`"),
            (step("3"), "step 2: 3 is no object"),
            (step("{}"), "step 2: it has no `type`"),
            (step(r#"{"type": "request"}"#), "step 2 (request): it has no `uri`"),
            (
                step(r#"{"type": "reqest", "uri": "a"}"#),
                "step 2 (reqest a): `reqest` is no type of operation: use request,",
            ),
            (step(r#"{"type": "function", "uri": "jump"}"#), "step 2 (function jump): there is no function `jump`"),
            (
                step(r#"{"type": "request", "uri": "a", "timeout": "1s"}"#),
                "step 2 (request a): `timeout`: \"1s\" is no whole number",
            ),
            (
                step(r#"{"type": "request", "uri": "a", "args": {"n": 1}}"#),
                "step 2 (request a): args.n: 1 is no {\"type\"",
            ),
            (
                step(r#"{"type": "request", "uri": "a", "expect": {"$response.x": {"value": 1, "op": "is"}}}"#),
                "step 2 (request a): expect $response.x: `is` is no comparison",
            ),
            (
                step(r#"{"type": "listen", "uri": "a", "store": {"k": {"type": "text", "value": "x"}}}"#),
                "step 2 (listen a): store k: `text` is no type",
            ),
            (step(r#"{"type": "loop", "operations": []}"#), "step 2 (loop): it does not say how many `times`"),
            (
                step(r#"{"type": "parallel", "operations": [{"type": "delay"}]}"#),
                "step 2.1 (delay): it does not say how many `ms`",
            ),
        ] {
            let error = read(&text).0.unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
