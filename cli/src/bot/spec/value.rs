//! Values of specs: `{"type": …, "value": …}`.

use std::{
    fmt::{self, Display},
    sync::{Mutex, PoisonError},
};

use serde_json::{Map, Number, Value};

use crate::{compare::shortened, random::uuid};

/// What a bot keeps within a run.
#[derive(Debug, Default)]
pub(in crate::bot) struct Storage(Mutex<Map<String, Value>>);

impl Storage {
    pub(super) const fn new(values: Map<String, Value>) -> Self {
        Self(Mutex::new(values))
    }

    pub(super) fn get(&self, key: &str) -> Result<Value, String> {
        let value = self.lock().get(key).cloned();
        value.ok_or_else(|| format!("nothing is stored as `{key}`"))
    }

    pub(super) fn set(&self, key: &str, value: Value) {
        self.lock().insert(key.to_owned(), value);
    }

    pub(super) fn all(&self) -> Map<String, Value> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Map<String, Value>> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The types that specs name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Type {
    String,
    Int,
    Float,
    Bool,
    Object,
    Array,
    Nil,
}

impl Type {
    const ALL: [(&str, Self); 7] = [
        ("string", Self::String),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("object", Self::Object),
        ("array", Self::Array),
        ("<nil>", Self::Nil),
    ];

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found
            .map(|(_, kind)| kind)
            .ok_or_else(|| format!("`{text}` is no type: use string, int, float, bool, object, array or <nil>"))
    }

    /// The value, if it is of this type. An int is cut off a number that is none.
    pub(super) fn cast(self, value: &Value) -> Result<Value, String> {
        let cast = match (self, value) {
            (Self::Int, Value::Number(number)) => truncated(number),
            (Self::Float, Value::Number(_))
            | (Self::String, Value::String(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Object, Value::Object(_))
            | (Self::Array, Value::Array(_))
            | (Self::Nil, Value::Null) => Some(value.clone()),
            _ => None,
        };
        cast.ok_or_else(|| format!("{} is no {self}", shortened(value)))
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.into_iter().find(|(_, kind)| kind == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

fn truncated(number: &Number) -> Option<Value> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone().into());
    }
    let number = number.as_f64()?.trunc();
    // Beyond that there is no integer that it could be told as.
    (number.abs() < 9.2e18).then(|| Value::from(number as i64))
}

/// A value that is known only when it is used.
#[derive(Debug)]
pub(super) enum Template {
    Literal(Value),
    /// `$store.key`; without a type it is whatever it is.
    Store {
        key: String,
        kind: Option<Type>,
    },
    /// `$util.uuid`.
    Uuid,
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
}

impl Template {
    /// Reads the arguments of an operation: an object of `{type, value}`.
    pub(super) fn args(args: Option<&Value>) -> Result<Self, String> {
        match args {
            None | Some(Value::Null) => Ok(Self::Object(Vec::new())),
            Some(Value::Object(members)) => Self::object(members).map_err(|why| format!("args{why}")),
            Some(other) => Err(format!("args: {} is no object", shortened(other))),
        }
    }

    fn object(members: &Map<String, Value>) -> Result<Self, String> {
        let read = members
            .iter()
            .map(|(name, value)| Ok((name.clone(), Self::typed(value).map_err(|why| format!(".{name}{why}"))?)));
        read.collect::<Result<_, String>>().map(Self::Object)
    }

    /// `{"type": …, "value": …}`, in which objects and arrays hold the same again. An error begins with the path to it.
    pub(super) fn typed(value: &Value) -> Result<Self, String> {
        let (Value::Object(members), Some(Value::String(kind))) = (value, value.get("type")) else {
            return Err(format!(": {} is no {{\"type\": …, \"value\": …}}", shortened(value)));
        };
        let kind = Type::parse(kind).map_err(|why| format!(": {why}"))?;
        let value = members.get("value").unwrap_or(&Value::Null);
        match (kind, value) {
            (Type::Object, Value::Object(members)) => Self::object(members),
            (Type::Array, Value::Array(items)) => {
                let read =
                    items.iter().enumerate().map(|(at, item)| Self::typed(item).map_err(|why| format!("[{at}]{why}")));
                read.collect::<Result<_, _>>().map(Self::Array)
            }
            _ => Self::plain(value, Some(kind)).map_err(|why| format!(": {why}")),
        }
    }

    /// A value that holds no others with types.
    pub(super) fn plain(value: &Value, kind: Option<Type>) -> Result<Self, String> {
        if let Value::String(text) = value {
            if let Some(key) = text.strip_prefix("$store.") {
                return Ok(Self::Store { key: key.to_owned(), kind });
            }
            if text == "$util.uuid" {
                return Ok(Self::Uuid);
            }
            if text.starts_with("$store") || text.starts_with("$util") {
                return Err(format!("`{text}` is not known: use $store.key or $util.uuid"));
            }
        }
        kind.map_or_else(|| Ok(value.clone()), |kind| kind.cast(value)).map(Self::Literal)
    }

    /// The paths of what means nothing in arguments that can be read.
    pub(super) fn unknown(args: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in args.as_object().into_iter().flatten() {
            Self::unknown_in(value, name, &mut found);
        }
        found
    }

    fn unknown_in(value: &Value, path: &str, found: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match (&**name, value) {
                ("value", Value::Object(members)) => {
                    members
                        .iter()
                        .for_each(|(name, value)| Self::unknown_in(value, &format!("{path}.value.{name}"), found));
                }
                ("value", Value::Array(items)) => {
                    let items = items.iter().enumerate();
                    items.for_each(|(at, item)| Self::unknown_in(item, &format!("{path}.value[{at}]"), found));
                }
                ("type" | "value", _) => {}
                _ => found.push(format!("{path}.{name}")),
            }
        }
    }

    pub(super) fn build(&self, storage: &Storage) -> Result<Value, String> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Store { key, kind } => {
                let value = storage.get(key)?;
                kind.map_or_else(|| Ok(value.clone()), |kind| kind.cast(&value))
                    .map_err(|why| format!("what is stored as `{key}`, {why}"))
            }
            Self::Uuid => Ok(uuid().into()),
            Self::Object(members) => {
                let built = members.iter().map(|(name, value)| Ok((name.clone(), value.build(storage)?)));
                built.collect::<Result<_, _>>().map(Value::Object)
            }
            Self::Array(items) => {
                items.iter().map(|item| item.build(storage)).collect::<Result<_, _>>().map(Value::Array)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn build(args: &Value, storage: &Storage) -> Result<Value, String> {
        Template::args(Some(args))?.build(storage)
    }

    #[test]
    fn arguments_nest() {
        let storage = Storage::default();
        storage.set("name", json!("nina"));
        storage.set("level", json!(7.9));
        let args = json!({
            "name": {"type": "string", "value": "$store.name"},
            "level": {"type": "int", "value": "$store.level"},
            "cut": {"type": "int", "value": -1.9},
            "big": {"type": "int", "value": 9_007_199_254_740_993_u64},
            "exact": {"type": "float", "value": 1.5},
            "nothing": {"type": "<nil>"},
            "place": {"type": "object", "value": {"x": {"type": "bool", "value": true}}},
            "items": {"type": "array", "value": [{"type": "string", "value": "a"}, {"type": "int", "value": 2}]}
        });
        let expected = json!({
            "name": "nina", "level": 7, "cut": -1, "big": 9_007_199_254_740_993_u64, "exact": 1.5, "nothing": null,
            "place": {"x": true}, "items": ["a", 2]
        });
        assert_eq!(build(&args, &storage), Ok(expected));
        assert_eq!(Template::args(None).and_then(|args| args.build(&storage)), Ok(json!({})));
        let uuid = build(&json!({"id": {"type": "string", "value": "$util.uuid"}}), &storage).unwrap();
        assert_eq!(uuid["id"].as_str().map(str::len), Some(36));
    }

    #[test]
    fn says_what_is_wrong() {
        let storage = Storage::default();
        storage.set("name", json!("nina"));
        for (args, why) in [
            (json!([]), "args: [] is no object"),
            (json!({"a": 1}), "args.a: 1 is no {\"type\": …, \"value\": …}"),
            (json!({"a": {"type": "text", "value": ""}}), "args.a: `text` is no type: use string, int,"),
            (json!({"a": {"type": "string", "value": 1}}), "args.a: 1 is no string"),
            (json!({"a": {"type": "string"}}), "args.a: null is no string"),
            (
                json!({"a": {"type": "object", "value": {"b": {"type": "int", "value": ""}}}}),
                "args.a.b: \"\" is no int",
            ),
            (json!({"a": {"type": "array", "value": [{}]}}), "args.a[0]: {} is no {\"type\""),
            (
                json!({"a": {"type": "string", "value": "$util.now"}}),
                "args.a: `$util.now` is not known: use $store.key",
            ),
            (json!({"a": {"type": "string", "value": "$store.x"}}), "nothing is stored as `x`"),
            (json!({"a": {"type": "int", "value": "$store.name"}}), "what is stored as `name`, \"nina\" is no int"),
        ] {
            let error = build(&args, &storage).unwrap_err();
            assert!(error.starts_with(why), "{args}: {error}");
        }
    }
}
