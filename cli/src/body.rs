//! What bodies look like to people and to machines.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Value, json, value::RawValue};

/// How many bytes of a body that is no text people see.
const LONGEST_HEX: usize = 4096;

/// A body, once it is known what it is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Empty,
    /// JSON, as it came: numbers and the order of members stay what they were.
    Json(String),
    Text(String),
    Binary(Bytes),
}

impl Body {
    /// Takes it for what it looks like.
    pub(crate) fn guess(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        match String::from_utf8(bytes.into()) {
            Ok(text) if serde_json::from_str::<IgnoredAny>(&text).is_ok() => Self::Json(text),
            Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => Self::Text(text),
            Ok(text) => Self::Binary(text.into()),
            Err(error) => Self::Binary(error.into_bytes().into()),
        }
    }

    /// What expectations look at: a text that is no JSON is a string, bytes are a string in base64.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Json(text) => serde_json::from_str(text).unwrap_or_default(),
            Self::Text(text) => text.clone().into(),
            Self::Binary(bytes) => BASE64_STANDARD.encode(bytes).into(),
        }
    }

    /// For people.
    pub(crate) fn shown(&self, is_pretty: bool) -> String {
        match self {
            Self::Empty => "(empty)".to_owned(),
            Self::Json(text) => tame(&if is_pretty { pretty(text) } else { compact(text) }).into_owned(),
            Self::Text(text) => tame(text).into_owned(),
            Self::Binary(bytes) => hex(bytes),
        }
    }

    /// The member of an event for machines: `body` with JSON, `text`, `base64`, or none.
    pub(crate) fn member(&self) -> Option<(&'static str, Box<RawValue>)> {
        let (name, json) = match self {
            Self::Empty => return None,
            Self::Json(text) => ("body", compact(text)),
            Self::Text(text) => ("text", json!(text).to_string()),
            Self::Binary(bytes) => ("base64", json!(BASE64_STANDARD.encode(bytes)).to_string()),
        };
        RawValue::from_string(json).ok().map(|json| (name, json))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Json(text) | Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(LONGEST_HEX)];
    let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("({} bytes) {digits}{more}", bytes.len())
}

/// What a server sends must not steer the terminal.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    let is_wild = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_wild) {
        return Cow::Borrowed(text);
    }
    let tamed = text.chars().map(|c| if is_wild(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() });
    Cow::Owned(tamed.collect())
}

/// The same JSON without blanks.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for token in Tokens(json) {
        out.push_str(token);
    }
    out
}

/// The same JSON with a line for each member.
fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut tokens = Tokens(json).peekable();
    while let Some(token) = tokens.next() {
        match token {
            "{" | "[" => {
                out.push_str(token);
                if let Some(end @ ("}" | "]")) = tokens.peek().copied() {
                    out.push_str(end);
                    tokens.next();
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            "}" | "]" => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push_str(token);
            }
            "," => {
                out.push(',');
                line(&mut out, depth);
            }
            ":" => out.push_str(": "),
            _ => out.push_str(token),
        }
    }
    out
}

/// The tokens of a text that is JSON.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start();
        let end = match self.0.bytes().next()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => string_end(self.0),
            _ => self.0.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(self.0.len()).max(1),
        };
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_changes_nothing_else() {
        let json = r#" {"b" : [1e400, 12345678901234567890123, {}, [ ], "a\" : {é"], "a":{ "x" : null}} "#;
        assert_eq!(compact(json), r#"{"b":[1e400,12345678901234567890123,{},[],"a\" : {é"],"a":{"x":null}}"#);
        let expected = "{\n  \"b\": [\n    1e400,\n    12345678901234567890123,\n    {},\n    [],\n    \"a\\\" : {é\"\n  ],\n  \"a\": {\n    \"x\": null\n  }\n}";
        assert_eq!(pretty(json), expected);
        assert_eq!(compact(&pretty(json)), compact(json));
    }

    #[test]
    fn is_taken_for_what_it_looks_like() {
        let shown = |bytes: &'static [u8]| Body::guess(Bytes::from_static(bytes)).shown(false);
        assert_eq!(shown(b""), "(empty)");
        assert_eq!(shown(b"{\"a\": 1}"), "{\"a\":1}");
        assert_eq!(shown(b"hello"), "hello");
        assert_eq!(shown(b"\x0a\x01\xff"), "(3 bytes) 0a01ff");
        assert_eq!(shown(b"\x1b[2J"), "(4 bytes) 1b5b324a");
        assert_eq!(shown("\"\u{9b}2J\"".as_bytes()), "\"\\u009b2J\"");
    }
}
