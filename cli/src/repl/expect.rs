//! What a script expects of answers and pushes.

use std::time::Duration;

use serde_json::Value;

use super::command::word;
use crate::{
    compare::{Op, shortened},
    connect::seconds,
};

/// What should be the case.
#[derive(Debug)]
pub(super) enum Expectation {
    /// The last answer is a reply, and its body passes.
    Answer(Check),
    /// The last answer is an error, perhaps with this code, perhaps with a body that passes.
    Error { code: Option<String>, check: Option<Check> },
    /// A push came that nobody expected yet, or comes in time.
    Push { route: String, within: Option<Duration>, check: Option<Check> },
    /// The server throws the client out.
    Kick { within: Option<Duration> },
}

impl Expectation {
    /// Reads what follows `expect`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (first, rest) = word(text);
        // A member of the answer may have the name of one of our words.
        let is_path = Op::parse(word(rest).0).is_some();
        match first {
            "" => {
                Err("write it as: expect PATH OP JSON, expect error [CODE], expect push ROUTE, or expect kick"
                    .to_owned())
            }
            "error" if !is_path => Self::error(rest),
            "push" if !is_path => Self::push(rest),
            "kick" if !is_path => match within(rest)? {
                (within, "") => Ok(Self::Kick { within }),
                _ => Err("write it as: expect kick [within SECONDS]".to_owned()),
            },
            _ => Check::parse(text).map(Self::Answer),
        }
    }

    fn error(text: &str) -> Result<Self, String> {
        let (code, rest) = word(text);
        let is_path = Op::parse(word(rest).0).is_some();
        let (code, rest) = if is_path { ("", text) } else { (code, rest) };
        Ok(Self::Error { code: some(code), check: Check::parse_some(rest)? })
    }

    fn push(text: &str) -> Result<Self, String> {
        let (route, rest) = word(text);
        let route = some(route).ok_or("write it as: expect push ROUTE [within SECONDS] [PATH OP JSON]")?;
        let (within, rest) = within(rest)?;
        Ok(Self::Push { route, within, check: Check::parse_some(rest)? })
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// `within SECONDS`, if the text begins so, and what follows.
fn within(text: &str) -> Result<(Option<Duration>, &str), String> {
    let (first, rest) = word(text);
    if first != "within" || Op::parse(word(rest).0).is_some() {
        return Ok((None, text));
    }
    let (number, rest) = word(rest);
    let within = seconds(number).map_err(|error| format!("within SECONDS: {error}"))?;
    Ok((Some(within), rest))
}

/// One fact about a body.
#[derive(Debug)]
pub(super) struct Check {
    path: String,
    op: Op,
    operand: Value,
}

impl Check {
    fn parse_some(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() { Ok(None) } else { Self::parse(text).map(Some) }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (path, rest) = word(text);
        let (name, operand) = word(rest);
        let op = Op::parse(name).ok_or_else(|| match name {
            "" => format!("`{path}` needs a comparison after it: == != < <= > >= contains exists missing"),
            _ => format!("`{name}` is no comparison: use == != < <= > >= contains exists missing"),
        })?;
        let operand = match (op.has_operand(), operand.is_empty()) {
            (false, true) => Value::Null,
            (false, false) => return Err(format!("`{name}` takes nothing after it")),
            (true, true) => return Err(format!("`{name}` needs JSON after it")),
            (true, false) => serde_json::from_str(operand)
                .map_err(|error| format!("`{operand}` is no JSON: {error}; texts need \"quotes\""))?,
        };
        Ok(Self { path: path.to_owned(), op, operand })
    }

    /// Whether this body passes; if not, what was expected and what came.
    pub(super) fn test(&self, body: &Value) -> Result<(), String> {
        let found = find(body, &self.path);
        let passes = match (self.op, found) {
            (Op::Exists, found) => found.is_some(),
            (Op::Missing, found) => found.is_none(),
            (_, None) => false,
            (op, Some(found)) => op.compare(found, &self.operand),
        };
        if passes { Ok(()) } else { Err(self.mismatch(found, body)) }
    }

    fn mismatch(&self, found: Option<&Value>, body: &Value) -> String {
        let Self { path, op, operand } = self;
        let operand = if op.has_operand() { format!(" {}", shortened(operand)) } else { String::new() };
        let expected = format!("expected {path} {}{operand}", op.name());
        match found {
            Some(found) => format!("{expected}, but it is {}", shortened(found)),
            None => format!("{expected}, but there is no {path} in {}", shortened(body)),
        }
    }
}

/// `.` is everything, `user.name` and `items.0.id` a part of it, `/a.b/c` a JSON pointer.
fn find<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    if path.starts_with('/') {
        return body.pointer(path);
    }
    let path = path.strip_prefix('$').unwrap_or(path);
    let mut steps = path.split('.').filter(|step| !step.is_empty());
    steps.try_fold(body, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn checks_what_is_there() {
        let body = json!({
            "code": 200, "name": "nina", "at": 1.0, "items": [{"id": 7}, "b"], "a.b": {"c": null},
            "big": 18_446_744_073_709_551_615_u64, "error": false,
        });
        for (check, passes) in [
            ("code == 200", true),
            ("code = 200.0", true),
            ("code != 200", false),
            ("code > 199.5", true),
            ("code <= 200", true),
            ("code < \"a\"", false),
            ("big > 18446744073709551614", true),
            ("at == 1", true),
            ("name contains \"in\"", true),
            ("name >= \"nina\"", true),
            ("items.0.id == 7", true),
            ("$.items.1 == \"b\"", true),
            ("items contains {\"id\": 7.0}", true),
            (". contains \"code\"", true),
            ("items.2 exists", false),
            ("items.2 missing", true),
            ("items.2 != 1", false),
            ("/a.b/c == null", true),
            ("/a.b/c exists", true),
            ("error == false", true),
        ] {
            let parsed = Expectation::parse(check);
            let Ok(Expectation::Answer(parsed)) = parsed else { panic!("{check}: {parsed:?}") };
            assert_eq!(parsed.test(&body).is_ok(), passes, "{check}");
        }
    }

    #[test]
    fn says_what_was_expected_and_what_came() {
        let body = json!({"user": {"name": "nina"}});
        for (check, expected) in [
            ("user.name == \"nino\"", "expected user.name == \"nino\", but it is \"nina\""),
            ("user.age > 3", "expected user.age > 3, but there is no user.age in {\"user\":{\"name\":\"nina\"}}"),
            ("user missing", "expected user missing, but it is {\"name\":\"nina\"}"),
        ] {
            assert_eq!(Check::parse(check).and_then(|check| check.test(&body)), Err(expected.to_owned()));
        }
    }

    #[test]
    fn pushes_and_errors() {
        let parsed = Expectation::parse("push onMessage within 2.5 text == \"a b\"");
        assert!(matches!(parsed, Ok(Expectation::Push { route, within: Some(within), check: Some(_) })
            if route == "onMessage" && within == Duration::from_millis(2500)));
        let parsed = Expectation::parse("push onMessage within == 3");
        assert!(matches!(parsed, Ok(Expectation::Push { within: None, check: Some(_), .. })));
        let parsed = Expectation::parse("error PIT-404 msg exists");
        assert!(matches!(parsed, Ok(Expectation::Error { code: Some(code), check: Some(_) }) if code == "PIT-404"));
        assert!(matches!(Expectation::parse("error"), Ok(Expectation::Error { code: None, check: None })));
        assert!(matches!(Expectation::parse("kick within 1"), Ok(Expectation::Kick { within: Some(_) })));
    }

    #[test]
    fn says_how_to_write_it() {
        for (text, part) in [
            ("", "write it as: expect PATH OP JSON"),
            ("code", "`code` needs a comparison"),
            ("code is 3", "`is` is no comparison"),
            ("code ==", "`==` needs JSON after it"),
            ("name == nina", "`nina` is no JSON: expected ident at line 1 column 2; texts need \"quotes\""),
            ("code exists 3", "`exists` takes nothing after it"),
            ("push", "write it as: expect push ROUTE"),
            ("push a within soon", "within SECONDS: this is no number of seconds"),
        ] {
            let error = Expectation::parse(text).map(|_| ()).unwrap_err();
            assert!(error.starts_with(part), "{text}: {error}");
        }
    }
}
