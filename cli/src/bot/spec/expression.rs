//! Expressions: `$response.user["first name"].items[0]`.

use std::fmt::{self, Display};

use serde_json::Value;

use crate::compare::shortened;

/// A way into an answer.
#[derive(Debug)]
pub(super) struct Expression {
    text: String,
    tokens: Vec<String>,
}

impl Expression {
    /// Whatever does not begin with `$response` is one token: the name of a member.
    pub(super) fn parse(text: &str) -> Self {
        let tokens = text.strip_prefix("$response").map_or_else(|| vec![text.to_owned()], split);
        Self { text: text.to_owned(), tokens }
    }

    /// What is there. A value without parts is also what its own parts are taken for, as pitaya-bot's specs may rely on.
    pub(super) fn find<'a>(&self, answer: &'a Value) -> Result<&'a Value, String> {
        self.walk(answer, true)
            .map_err(|why| if self.looks_wrong() { format!("{why} (a path begins with $response)") } else { why })
    }

    /// Whether somebody meant more than the name of a member.
    fn looks_wrong(&self) -> bool {
        !self.text.starts_with("$response") && self.text.contains(['$', '.', '['])
    }

    /// Whether there is something, exactly there.
    pub(super) fn exists(&self, answer: &Value) -> bool {
        self.walk(answer, false).is_ok()
    }

    fn walk<'a>(&self, answer: &'a Value, is_lenient: bool) -> Result<&'a Value, String> {
        let mut value = answer;
        for (at, token) in self.tokens.iter().enumerate() {
            let is_last = at + 1 == self.tokens.len();
            value = match value {
                Value::Array(items) => {
                    let index: usize =
                        token.parse().map_err(|_| format!("`{token}` must be a number, the index of an item"))?;
                    items.get(index).ok_or_else(|| format!("there is no item {index}, but only {}", items.len()))?
                }
                Value::Object(members) => members.get(token).ok_or_else(|| format!("there is no `{token}`"))?,
                scalar if is_last && is_lenient => scalar,
                scalar => return Err(format!("{} has no `{token}`", shortened(scalar))),
            };
        }
        Ok(value)
    }
}

impl Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// At brackets, dots and blanks that are not within quotes.
fn split(text: &str) -> Vec<String> {
    let mut is_quoted = false;
    let is_separator = |c: char| {
        if c == '"' {
            is_quoted = !is_quoted;
            return true;
        }
        !is_quoted && matches!(c, '[' | ']' | '.' | ' ')
    };
    text.split(is_separator).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens() {
        for (text, tokens) in [
            ("$response", &[][..]),
            ("$response.a.b", &["a", "b"]),
            ("$response.a[\"b\"][0]", &["a", "b", "0"]),
            ("$response[\"a.b c[0]\"].d", &["a.b c[0]", "d"]),
            ("$response a b", &["a", "b"]),
            ("code.x", &["code.x"]),
            ("", &[""]),
        ] {
            assert_eq!(Expression::parse(text).tokens, tokens, "{text}");
        }
    }

    #[test]
    fn finds_parts() {
        let answer = json!({"code": "200", "a.b c": {"items": [{"id": 1}, {"id": 2}]}, "nothing": null});
        for (text, found) in [
            ("$response.code", Ok(json!("200"))),
            ("code", Ok(json!("200"))),
            ("$response[\"a.b c\"].items[1].id", Ok(json!(2))),
            // As in pitaya-bot.
            ("$response.code.more", Ok(json!("200"))),
            ("$response.nothing.more", Ok(json!(null))),
            ("$response.code.more.and", Err("\"200\" has no `more`")),
            ("$response.missing", Err("there is no `missing`")),
            ("missing", Err("there is no `missing`")),
            ("response.code", Err("there is no `response.code` (a path begins with $response)")),
            ("$response[\"a.b c\"].items[2]", Err("there is no item 2, but only 2")),
            ("$response[\"a.b c\"].items.first", Err("`first` must be a number, the index of an item")),
        ] {
            let expression = Expression::parse(text);
            assert_eq!(expression.find(&answer).cloned(), found.map_err(str::to_owned), "{text}");
        }
        assert!(Expression::parse("$response.nothing").exists(&answer));
        assert!(!Expression::parse("$response.code.more").exists(&answer));
        assert_eq!(Expression::parse("$response").find(&answer), Ok(&answer));
    }
}
