//! The golden vectors: where they are, how they are read, how failures are told.
//!
//! Their form and rules are in `tests/vectors/README.md`. `CEREUS_VECTORS` names another folder of the same form.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{env, fmt::Debug, fs, path::PathBuf};

use serde_json::Value;

/// One vector of a file.
#[derive(Debug)]
pub(crate) struct Vector {
    index: usize,
    value: Value,
}

impl Vector {
    /// Whether the vector has this member, `null` included.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some()
    }

    /// A member that must be there.
    pub(crate) fn get(&self, name: &str) -> &Value {
        self.value.get(name).unwrap_or_else(|| panic!("vector {} has no `{name}`", self.index))
    }

    /// A string that must be there.
    pub(crate) fn str(&self, name: &str) -> &str {
        self.get(name).as_str().unwrap_or_else(|| panic!("`{name}` of vector {} is not a string", self.index))
    }

    /// A number that must be there: in JSON, or a decimal string when it may need 64 bits.
    pub(crate) fn u64(&self, name: &str) -> u64 {
        let value = self.get(name);
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.unwrap_or_else(|| panic!("`{name}` of vector {} is not an unsigned integer", self.index))
    }

    /// Bytes that must be there, written in hex.
    pub(crate) fn hex(&self, name: &str) -> Vec<u8> {
        decode_hex(self.str(name)).unwrap_or_else(|| panic!("`{name}` of vector {} is not hex", self.index))
    }

    /// A flag; a missing one is off.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.value.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether an implementation may decide otherwise than the vector.
    pub(crate) fn is_lenient(&self) -> bool {
        self.has("optional") || self.flag("quirk")
    }
}

/// Checks every vector of `file`, tells all failures at once, and how many vectors there were.
///
/// # Panics
///
/// When a vector that is not lenient failed, and when there is none that could.
pub(crate) fn check(file: &str, check: impl Fn(&Vector) -> Result<(), String>) {
    let vectors = load(file);
    let (lenient, strict): (Vec<_>, Vec<_>) = vectors.iter().partition(|vector| vector.is_lenient());
    let failures = |vectors: &[&Vector]| -> Vec<String> {
        vectors.iter().filter_map(|vector| Some(describe(vector, check(vector).err()?))).collect()
    };
    let (allowed, failed) = (failures(&lenient), failures(&strict));
    eprintln!(
        "{file}: {} vectors, {} lenient ones, of which {} differ:\n{}",
        vectors.len(),
        lenient.len(),
        allowed.len(),
        allowed.join("\n")
    );
    assert!(failed.is_empty(), "{file}: {} of {} vectors failed:\n{}", failed.len(), strict.len(), failed.join("\n"));
    assert!(!strict.is_empty(), "{file}: no vector was tested");
}

/// All vectors of a file.
pub(crate) fn load(file: &str) -> Vec<Vector> {
    let path = folder().join(file);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut document: Value =
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let Value::Array(vectors) = document["vectors"].take() else {
        panic!("{}: `vectors` is not an array", path.display());
    };
    vectors.into_iter().enumerate().map(|(index, value)| Vector { index, value }).collect()
}

/// The bytes that `text` is the hex form of.
pub(crate) fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs.iter().map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect()
}

/// An error that tells both sides, unless they are equal.
pub(crate) fn expect_eq<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} is {got:?} instead of {expected:?}")) }
}

/// Whether two JSON values are equal, with all numbers as 64-bit floats.
pub(crate) fn is_same_json(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same_json(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let is_same = |(name, left)| right.get(name).is_some_and(|right| is_same_json(left, right));
            left.len() == right.len() && left.iter().all(is_same)
        }
        _ => left == right,
    }
}

fn folder() -> PathBuf {
    match env::var_os("CEREUS_VECTORS") {
        Some(folder) => folder.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"),
    }
}

fn describe(vector: &Vector, failure: String) -> String {
    let case = vector.value.get("case").and_then(Value::as_str).unwrap_or("-");
    format!("  #{} ({case}): {failure}", vector.index)
}
