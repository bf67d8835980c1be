//! What a session is, apart from its connection: identity, uid, data (specification, sections 7.1 to 7.3).

use alloc::{borrow::ToOwned, boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::fmt;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use thiserror::Error;

/// Names a session within one process: 1, 2, 3, …
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(i64);

impl SessionId {
    /// The id with this number.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who the session's user is, and what is remembered of him.
///
/// ```
/// use cereus_core::session::{BindError, SessionState};
///
/// let mut state = SessionState::default();
/// state.bind("alice")?;
/// assert_eq!(state.bind("bob"), Err(BindError::AlreadyBound));
/// state.data.set("level", &7)?;
/// assert_eq!(state.data.encode().as_deref(), Some(&br#"{"level":7}"#[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionState {
    uid: Option<Arc<str>>,
    /// What is remembered.
    pub data: SessionData,
}

impl SessionState {
    /// The user, once bound.
    pub fn uid(&self) -> Option<&Arc<str>> {
        self.uid.as_ref()
    }

    /// Binds the session to a user, for good.
    ///
    /// # Errors
    ///
    /// An empty uid, or a second bind.
    pub fn bind(&mut self, uid: impl Into<Arc<str>>) -> Result<(), BindError> {
        let uid = uid.into();
        if uid.is_empty() {
            return Err(BindError::EmptyUid);
        }
        if self.uid.is_some() {
            return Err(BindError::AlreadyBound);
        }
        self.uid = Some(uid);
        Ok(())
    }

    /// Takes back a bind that something else refused.
    pub fn unbind(&mut self) {
        self.uid = None;
    }

    /// Forgets user and data.
    pub fn clear(&mut self) {
        self.uid = None;
        self.data.clear();
    }
}

/// Why a session cannot be bound. The caller is at fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BindError {
    /// A uid has at least one character.
    #[error("illegal uid: it is empty")]
    EmptyUid,
    /// A session is bound once.
    #[error("session is already bound to an uid")]
    AlreadyBound,
}

/// Values by name, in the JSON form in which they travel between servers.
///
/// Each value is kept as the JSON text that it came as: a server that only passes data on changes nothing in it, and
/// integers keep their exact value whatever their size. Names come out in order.
///
/// ```
/// use cereus_core::session::SessionData;
///
/// let mut data = SessionData::default();
/// data.replace(br#"{"id": 9007199254740993, "ratio": 2.0}"#)?;
/// assert_eq!(data.i64("id"), Some(9007199254740993));
/// assert_eq!(data.i64("ratio"), Some(2));
/// assert_eq!(data.f64("id"), None); // no float has that value
/// assert_eq!(data.i64("missing"), None);
/// # Ok::<(), cereus_core::session::DataError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SessionData {
    values: BTreeMap<String, Box<RawValue>>,
    /// Was there ever a change? Only then is there an encoded form.
    touched: bool,
}

impl SessionData {
    /// A value, if it is there and of that type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.json(key)?).ok()
    }

    /// The JSON text of a value.
    pub fn json(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.get())
    }

    /// A number that is an integer, however it is written.
    pub fn i64(&self, key: &str) -> Option<i64> {
        exact_integer(self.json(key)?).and_then(|integer| i64::try_from(integer).ok())
    }

    /// A number that is an integer and not negative, however it is written.
    pub fn u64(&self, key: &str) -> Option<u64> {
        exact_integer(self.json(key)?).and_then(|integer| u64::try_from(integer).ok())
    }

    /// A number; an integer only if a float has exactly that value.
    pub fn f64(&self, key: &str) -> Option<f64> {
        let json = self.json(key)?;
        let float: f64 = serde_json::from_str(json).ok()?;
        match json.parse::<i128>() {
            Ok(integer) if float as i128 != integer => None,
            _ => Some(float),
        }
    }

    /// A text.
    pub fn string(&self, key: &str) -> Option<String> {
        self.get(key)
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)
    }

    /// Whether there is such a value.
    pub fn contains_key(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// All names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Sets a value.
    ///
    /// # Errors
    ///
    /// [`DataError`] when the value has no JSON form; nothing changed then.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), DataError> {
        let value = to_raw_value(value).map_err(|_| DataError::NotSerializable)?;
        self.values.insert(key.to_owned(), value);
        self.touched = true;
        Ok(())
    }

    /// Removes a value. Returns whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.touched = true;
        self.values.remove(key).is_some()
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.touched = true;
        self.values.clear();
    }

    /// The JSON object of all values; `None` as long as nothing was ever set.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if !self.touched {
            return None;
        }
        // A map of strings to JSON text always has a JSON form.
        serde_json::to_vec(&self.values).ok()
    }

    /// Replaces all values by those of a JSON object. No bytes at all change nothing, `null` is an empty object.
    ///
    /// # Errors
    ///
    /// [`DataError`] when it is no JSON object; nothing changed then.
    pub fn replace(&mut self, encoded: &[u8]) -> Result<(), DataError> {
        if encoded.is_empty() {
            return Ok(());
        }
        let values: Option<BTreeMap<String, Box<RawValue>>> =
            serde_json::from_slice(encoded).map_err(|_| DataError::NotAnObject)?;
        self.values = values.unwrap_or_default();
        self.touched = true;
        Ok(())
    }
}

/// Why session data cannot be set. The caller is at fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DataError {
    /// The value cannot be written as JSON.
    #[error("the value has no JSON form (a map whose keys are no strings?)")]
    NotSerializable,
    /// Encoded session data is one JSON object.
    #[error("encoded session data is not a JSON object")]
    NotAnObject,
}

/// The value of a JSON number, if it is an integer.
fn exact_integer(json: &str) -> Option<i128> {
    if let Ok(integer) = json.parse() {
        return Some(integer);
    }
    let float: f64 = serde_json::from_str(json).ok()?;
    let integer = float as i128;
    (integer as f64 == float && float.is_finite()).then_some(integer)
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, string::ToString};

    use super::*;

    #[test]
    fn encodes_as_the_reference_does() {
        let mut data = SessionData::default();
        assert_eq!(data.encode(), None);
        data.set("string", "aaa").unwrap();
        assert_eq!(data.encode().unwrap(), br#"{"string":"aaa"}"#);
        data.set("int", &1).unwrap();
        assert_eq!(data.encode().unwrap(), br#"{"int":1,"string":"aaa"}"#);
        data.clear();
        assert_eq!(data.encode().unwrap(), b"{}");
    }

    #[test]
    fn integers_of_any_size_survive_a_hop() {
        for integer in
            ["9007199254740993", "18446744073709551615", "-9223372036854775808", "123456789012345678901234567890"]
        {
            let encoded = alloc::format!("{{\"n\":{integer}}}");
            let mut data = SessionData::default();
            data.replace(encoded.as_bytes()).unwrap();
            assert_eq!(data.encode().unwrap(), encoded.as_bytes());
        }
    }

    #[test]
    fn numbers_convert_only_without_loss() {
        let mut data = SessionData::default();
        data.replace(br#"{"a":1e3,"b":1.5,"c":-1,"d":9007199254740993,"e":"1","f":4,"g":1e300}"#).unwrap();
        assert_eq!((data.i64("a"), data.u64("a"), data.f64("a")), (Some(1000), Some(1000), Some(1000.0)));
        assert_eq!((data.i64("b"), data.f64("b")), (None, Some(1.5)));
        assert_eq!((data.i64("c"), data.u64("c")), (Some(-1), None));
        assert_eq!((data.u64("d"), data.f64("d")), (Some(9007199254740993), None));
        assert_eq!((data.i64("e"), data.string("e")), (None, Some("1".to_string())));
        assert_eq!((data.f64("f"), data.get::<u8>("f"), data.bool("f")), (Some(4.0), Some(4), None));
        assert_eq!((data.i64("g"), data.u64("g")), (None, None));
    }

    #[test]
    fn replacing_by_nothing_changes_nothing_and_null_is_empty() {
        let mut data = SessionData::default();
        data.replace(b"").unwrap();
        assert_eq!(data.encode(), None);
        data.set("a", &true).unwrap();
        data.replace(b"").unwrap();
        assert_eq!(data.bool("a"), Some(true));
        assert_eq!(data.replace(b"[1]"), Err(DataError::NotAnObject));
        assert!(data.contains_key("a"));
        data.replace(b"null").unwrap();
        assert_eq!(data.encode().unwrap(), b"{}");
        data.set("b", &1).unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_value_without_json_form_changes_nothing() {
        let mut data = SessionData::default();
        assert_eq!(data.set("a", &BTreeMap::from([((1, 2), 3)])), Err(DataError::NotSerializable));
        assert_eq!(data.encode(), None);
    }

    #[test]
    fn binds_once() {
        let mut state = SessionState::default();
        assert_eq!(state.bind(""), Err(BindError::EmptyUid));
        state.bind("a").unwrap();
        assert_eq!(state.bind("a"), Err(BindError::AlreadyBound));
        state.unbind();
        state.bind("b").unwrap();
        state.clear();
        assert_eq!(state.uid(), None);
        assert_eq!(state.data.encode().unwrap(), b"{}");
    }
}
