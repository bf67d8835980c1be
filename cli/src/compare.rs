//! Comparisons of JSON.

use std::cmp::Ordering;

use serde_json::Value;

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    Exists,
    Missing,
}

impl Op {
    const ALL: [(&str, Self); 10] = [
        ("==", Self::Equal),
        ("=", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
        ("contains", Self::Contains),
        ("exists", Self::Exists),
        ("missing", Self::Missing),
    ];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, op)| op)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    pub(crate) const fn has_operand(self) -> bool {
        !matches!(self, Self::Exists | Self::Missing)
    }

    /// Whether this is so of what was found.
    pub(crate) fn compare(self, found: &Value, operand: &Value) -> bool {
        match self {
            Self::Equal => is_same(found, operand),
            Self::NotEqual => !is_same(found, operand),
            Self::Less => order(found, operand) == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order(found, operand), Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order(found, operand) == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order(found, operand), Some(Ordering::Greater | Ordering::Equal)),
            Self::Contains => contains(found, operand),
            Self::Exists | Self::Missing => false,
        }
    }
}

/// Enough of it to see what is wrong.
pub(crate) fn shortened(value: &Value) -> String {
    shortened_text(&value.to_string())
}

pub(crate) fn shortened_text(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Numbers are the same when they are equal, however they are written: 1 and 1.0.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_same(a, b)))
        }
        _ => a == b,
    }
}

/// Numbers by size, texts by letter; nothing else has an order.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    if let (Value::String(a), Value::String(b)) = (a, b) {
        return Some(a.cmp(b));
    }
    match (a.as_i64(), b.as_i64(), a.as_u64(), b.as_u64()) {
        (Some(a), Some(b), ..) => Some(a.cmp(&b)),
        (_, _, Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// A text in a text, an item in an array, a member's name in an object.
fn contains(found: &Value, operand: &Value) -> bool {
    match (found, operand) {
        (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
        (Value::Array(items), _) => items.iter().any(|item| is_same(item, operand)),
        (Value::Object(members), Value::String(name)) => members.contains_key(name),
        _ => false,
    }
}
