//! How two bodies differ.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::plan::Body;
use crate::{
    body,
    compare::is_same,
    path::{self, Pattern, Step},
};

/// One place at which they differ. `None`: there is nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) path: Vec<Step>,
    pub(super) expected: Option<Value>,
    pub(super) got: Option<Value>,
}

impl Found {
    pub(super) fn place(&self) -> String {
        path::show(&self.path)
    }

    /// The last name on the way there.
    pub(super) fn name(&self) -> &str {
        let name = self.path.iter().rev().find_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        });
        name.unwrap_or_default()
    }
}

/// Takes a body for what it looks like.
pub(super) fn guess(bytes: Bytes) -> Body {
    match body::Body::guess(bytes) {
        body::Body::Empty => Body::Empty,
        body::Body::Json(text) => serde_json::from_str(&text).map_or(Body::Text(text), Body::Json),
        body::Body::Text(text) => Body::Text(text),
        body::Body::Binary(bytes) => Body::Bytes(bytes),
    }
}

/// Where what came is not what was expected, but for the places that are ignored. What was left out of the recording
/// differs from nothing.
pub(super) fn compare(expected: &Body, got: &Body, ignored: &[&Pattern]) -> Vec<Found> {
    let mut comparison = Comparison { ignored, path: Vec::new(), found: Vec::new() };
    match (expected, got) {
        (Body::Dropped(_), _) => {}
        (Body::Bytes(expected), Body::Bytes(got)) if expected == got => {}
        _ => comparison.values(shown(expected).as_ref(), shown(got).as_ref()),
    }
    comparison.found
}

/// A body as JSON: a text that is none is a string, and bytes are one in hexadecimal.
pub(super) fn shown(body: &Body) -> Option<Value> {
    Some(match body {
        Body::Empty => return None,
        Body::Json(value) => value.clone(),
        Body::Text(text) => text.as_str().into(),
        Body::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        Body::Dropped(why) => format!("({why})").into(),
    })
}

struct Comparison<'a> {
    ignored: &'a [&'a Pattern],
    path: Vec<Step>,
    found: Vec<Found>,
}

impl Comparison<'_> {
    fn values(&mut self, expected: Option<&Value>, got: Option<&Value>) {
        if self.ignored.iter().any(|pattern| pattern.matches(&self.path)) {
            return;
        }
        match (expected, got) {
            (Some(Value::Object(expected)), Some(Value::Object(got))) => self.objects(expected, got),
            (Some(Value::Array(expected)), Some(Value::Array(got))) => {
                for index in 0..expected.len().max(got.len()) {
                    self.within(Step::Index(index), expected.get(index), got.get(index));
                }
            }
            (Some(expected), Some(got)) if is_same(expected, got) => {}
            (None, None) => {}
            (expected, got) => {
                self.found.push(Found { path: self.path.clone(), expected: expected.cloned(), got: got.cloned() });
            }
        }
    }

    fn objects(&mut self, expected: &Map<String, Value>, got: &Map<String, Value>) {
        for (name, value) in expected {
            self.within(Step::Name(name.clone()), Some(value), got.get(name));
        }
        for (name, value) in got.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            self.within(Step::Name(name.clone()), None, Some(value));
        }
    }

    fn within(&mut self, step: Step, expected: Option<&Value>, got: Option<&Value>) {
        self.path.push(step);
        self.values(expected, got);
        self.path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(expected: Value, got: Value, ignored: &[&str]) -> Vec<String> {
        let patterns: Vec<Pattern> = ignored.iter().map(|text| text.parse().expect(text)).collect();
        let found = compare(&Body::Json(expected), &Body::Json(got), &patterns.iter().collect::<Vec<_>>());
        let show = |value: Option<Value>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        found
            .into_iter()
            .map(|found| format!("{} {} {}", found.place(), show(found.expected), show(found.got)))
            .collect()
    }

    #[test]
    fn differences_have_a_place() {
        let (expected, got) = (
            json!({ "a": [1, { "b": "x" }], "c": 1, "d": 2 }),
            json!({ "a": [1, { "b": "y" }, 3], "c": 1.0, "e": null }),
        );
        assert_eq!(
            differences(expected.clone(), got.clone(), &[]),
            ["a[1].b \"x\" \"y\"", "a[2] nothing 3", "d 2 nothing", "e nothing null"]
        );
        assert_eq!(differences(expected.clone(), got.clone(), &["a[*].b", "d", "e"]), ["a[2] nothing 3"]);
        assert_eq!(differences(expected, got, &["."]), [""; 0]);
        assert_eq!(differences(json!(1), json!("1"), &[]), [". 1 \"1\""]);
    }
}
