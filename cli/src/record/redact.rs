//! What must not be in the file.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use crate::path::{Pattern, Step};

/// Values that are shorter may well be somewhere else by chance.
const MIN_SECRET: usize = 4;

/// How many bytes of redacted values are remembered, each with what it costs besides.
const MAX_KNOWN: usize = 4 << 20;
const COST: usize = 64;

/// What is left of a body.
#[derive(Debug, PartialEq)]
pub(super) enum Left {
    All,
    Changed(Value),
    /// Nothing: why.
    Nothing(&'static str),
}

/// Whose body it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// Rules are about the `user` part.
    Handshake,
    Message(&'a str),
    /// Nobody knows: it is looked at with all rules.
    Unknown,
}

impl Place<'_> {
    fn has(self, rule: &Pattern) -> bool {
        match self {
            Self::Handshake => rule.is_about(None),
            Self::Message(route) => rule.is_about(Some(route)),
            Self::Unknown => true,
        }
    }
}

/// The values that were redacted in one session.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<(String, String)>);

/// Replaces values by placeholders: one for each value, the same wherever it comes again.
#[derive(Debug)]
pub(super) struct Redactor {
    rules: Arc<[Pattern]>,
    /// From the JSON of a value to its placeholder.
    known: HashMap<String, String>,
    known_len: usize,
}

impl Redactor {
    pub(super) fn new(rules: Vec<Pattern>) -> Self {
        Self { rules: rules.into(), known: HashMap::new(), known_len: 0 }
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(ToString::to_string)
    }

    /// Whether no more values can be remembered, so that they would be seen where no rule looks for them.
    pub(super) const fn is_full(&self) -> bool {
        self.known_len >= MAX_KNOWN
    }

    pub(super) fn redact(&mut self, secrets: &mut Secrets, place: Place<'_>, body: &[u8]) -> Left {
        if self.rules.is_empty() || body.is_empty() {
            return Left::All;
        }
        let all = Arc::clone(&self.rules);
        let rules: Vec<&Pattern> = all.iter().filter(|rule| place.has(rule)).collect();
        let Ok(before) = serde_json::from_slice::<Value>(body) else {
            return match secrets.is_in(&String::from_utf8_lossy(body)) {
                true => Left::Nothing("a redacted value is in it"),
                false if rules.is_empty() => Left::All,
                false => Left::Nothing("it cannot be redacted, for it is no JSON"),
            };
        };
        let mut value = before.clone();
        for target in targets(&mut value, place) {
            walk(target, &mut Vec::new(), &mut |path, value| self.apply(&rules, secrets, path, value));
        }
        walk(&mut value, &mut Vec::new(), &mut |_, value| {
            self.replace_known(secrets, value);
            true
        });
        let text = value.to_string();
        if secrets.is_in(&text) {
            return Left::Nothing("a redacted value is in it");
        }
        // Members that are there twice are seen once: what was not looked at must not stay in the bytes.
        let is_whole = rules.is_empty() || text.len() == len_without_blanks(body);
        if value == before && is_whole { Left::All } else { Left::Changed(value) }
    }

    /// Whether to look further into the value.
    fn apply(&mut self, rules: &[&Pattern], secrets: &mut Secrets, path: &[Step], value: &mut Value) -> bool {
        let Some(rule) = rules.iter().find(|rule| rule.matches(path)) else { return true };
        // Nothing is no secret.
        if !value.is_null() {
            *value = self.placeholder(secrets, rule.name(), value);
        }
        false
    }

    fn placeholder(&mut self, secrets: &mut Secrets, name: &str, value: &Value) -> Value {
        let number = self.known.len() + 1;
        let text = value.to_string();
        let len = text.len() + COST;
        let placeholder = self.known.entry(text).or_insert_with(|| {
            self.known_len += len;
            format!("{{{{{name}#{number}}}}}")
        });
        let placeholder = placeholder.clone();
        secrets.learn(value, &placeholder);
        placeholder.into()
    }

    /// A value that was redacted is redacted wherever else it is, too.
    fn replace_known(&self, secrets: &Secrets, value: &mut Value) {
        let text = match value {
            Value::String(text) if text.len() >= MIN_SECRET => text,
            Value::Number(number) => {
                let known = Some(number.to_string()).filter(|text| text.len() >= MIN_SECRET);
                if let Some(known) = known.and_then(|text| self.known.get(&text)) {
                    *value = known.as_str().into();
                }
                return;
            }
            _ => return,
        };
        match self.known.get(&Value::from(text.as_str()).to_string()) {
            Some(known) => *value = known.as_str().into(),
            None => secrets.0.iter().for_each(|(secret, placeholder)| {
                if text.contains(secret.as_str()) {
                    *text = text.replace(secret.as_str(), placeholder);
                }
            }),
        }
    }
}

impl Secrets {
    fn learn(&mut self, value: &Value, placeholder: &str) {
        let text = match value {
            Value::Array(items) => return items.iter().for_each(|item| self.learn(item, placeholder)),
            Value::Object(members) => return members.values().for_each(|member| self.learn(member, placeholder)),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) => return,
        };
        if text.len() >= MIN_SECRET && self.0.iter().all(|(secret, _)| *secret != text) {
            self.0.push((text, placeholder.to_owned()));
            // A secret that is a part of another one must not leave the rest of that one.
            self.0.sort_by_key(|(secret, _)| usize::MAX - secret.len());
        }
    }

    /// Whether one of them is in a text, as it is or as JSON writes it.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|(secret, _)| {
            let json = Value::from(secret.as_str()).to_string();
            text.contains(secret.as_str()) || text.contains(&json[1..json.len() - 1])
        })
    }
}

/// What rules are about.
fn targets<'a>(value: &'a mut Value, place: Place<'_>) -> Vec<&'a mut Value> {
    match (place, value) {
        (Place::Handshake, Value::Object(members)) => {
            // Servers take the name in any letter case.
            members.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("user")).map(|(_, user)| user).collect()
        }
        (Place::Handshake, _) => Vec::new(),
        (_, value) => vec![value],
    }
}

/// Visits a value, and those within it if the visitor wants.
fn walk(value: &mut Value, path: &mut Vec<Step>, visit: &mut dyn FnMut(&[Step], &mut Value) -> bool) {
    if !visit(path, value) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                path.push(Step::Name(name.clone()));
                walk(member, path, visit);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(Step::Index(index));
                walk(item, path, visit);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The length of a text that is JSON, without what may be left out.
fn len_without_blanks(json: &[u8]) -> usize {
    let (mut in_string, mut escaped) = (false, false);
    let counts = |byte: &&u8| {
        let is_blank = !in_string && byte.is_ascii_whitespace();
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        !is_blank
    };
    json.iter().filter(counts).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redactor(rules: &[&str]) -> (Redactor, Secrets) {
        let rules = rules.iter().map(|rule| rule.parse().expect(rule)).collect();
        (Redactor::new(rules), Secrets::default())
    }

    #[test]
    fn each_value_has_a_placeholder_of_its_own() {
        let (mut redactor, mut secrets) = redactor(&["token", "route:a.login#user.password"]);
        let mut redact = |place, body: &str| redactor.redact(&mut secrets, place, body.as_bytes());
        let login = r#"{"user": {"name": "nina", "password": "geheim"}}"#;
        let expected = json!({ "user": { "name": "nina", "password": "{{password#1}}" } });
        assert_eq!(redact(Place::Message("a.login"), login), Left::Changed(expected));
        let expected = json!({ "token": "{{token#2}}" });
        assert_eq!(redact(Place::Message("a.b"), r#"{"token": "tschüs"}"#), Left::Changed(expected));
        let expected = json!({ "token": "{{password#1}}", "old": ["{{token#2}}", "Bearer {{token#2}}"] });
        let again = r#"{"token": "geheim", "old": ["tschüs", "Bearer tsch\u00fcs"]}"#;
        assert_eq!(redact(Place::Message("a.b"), again), Left::Changed(expected));
        assert_eq!(redact(Place::Message("a.b"), r#"{"token": null, "n": 1.5}"#), Left::All);
    }

    #[test]
    fn rules_are_about_the_user_part_of_a_handshake() {
        let (mut redactor, mut secrets) = redactor(&["token", "route:a.b#name"]);
        let body = r#"{"sys":{"token":"abcd"},"User":{"token":"efgh","name":"nina"}}"#;
        let expected = json!({ "sys": { "token": "abcd" }, "User": { "token": "{{token#1}}", "name": "nina" } });
        assert_eq!(redactor.redact(&mut secrets, Place::Handshake, body.as_bytes()), Left::Changed(expected));
    }

    #[test]
    fn what_cannot_be_looked_into_is_dropped() {
        let (mut redactor, mut secrets) = redactor(&["route:a.b#token"]);
        let mut redact = |place, body: &str| redactor.redact(&mut secrets, place, body.as_bytes());
        let no_json = Left::Nothing("it cannot be redacted, for it is no JSON");
        assert_eq!(redact(Place::Message("a.b"), "token=abcd"), no_json);
        assert_eq!(redact(Place::Message("a.c"), "token=abcd"), Left::All);
        assert_eq!(redact(Place::Message("a.b"), ""), Left::All);
        redact(Place::Message("a.b"), r#"{"token": "abcd"}"#);
        let found = Left::Nothing("a redacted value is in it");
        assert_eq!(redact(Place::Message("a.c"), "token=abcd"), found);
        assert_eq!(redact(Place::Unknown, r#"{"abcd": 1}"#), found);
    }

    #[test]
    fn no_more_is_remembered_than_fits() {
        let (mut redactor, mut secrets) = redactor(&["token"]);
        let mut is_full_after = |len| {
            let body = json!({ "token": "x".repeat(len) }).to_string();
            redactor.redact(&mut secrets, Place::Message("a.b"), body.as_bytes());
            redactor.is_full()
        };
        assert!(!is_full_after(MAX_KNOWN / 2));
        // The same again costs nothing.
        assert!(!is_full_after(MAX_KNOWN / 2));
        assert!(is_full_after(MAX_KNOWN / 2 + 1));
    }

    #[test]
    fn a_member_that_is_there_twice_leaves_nothing() {
        let (mut redactor, mut secrets) = redactor(&["user.token"]);
        let body = r#"{"user": {"token": "abcd"}, "user": {}}"#;
        let left = redactor.redact(&mut secrets, Place::Message("a.b"), body.as_bytes());
        assert_eq!(left, Left::Changed(json!({ "user": {} })));
    }
}
