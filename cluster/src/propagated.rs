use std::{fmt, sync::Arc, time::Duration};

use cereus_core::duration;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};
use thiserror::Error;

use crate::names::metadata;

/// What travels with a request from server to server (specification, section 12.5): who called, how long he waits, what
/// the application added. A copy that is changed leaves the others as they are.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Propagated {
    /// What joins the parts of one client message's way.
    pub request_id: Option<Arc<str>>,
    /// The caller's server id.
    pub peer_id: String,
    /// The caller's server type.
    pub peer_service: String,
    /// How long the caller waits.
    pub timeout: Option<Duration>,
    /// When the way began, in nanoseconds since 1970.
    pub start: Option<u64>,
    /// What the application added, and what others added that nobody here knows.
    values: Option<Arc<Values>>,
}

type Values = Vec<(String, Box<RawValue>)>;

/// What a call adds to what it propagates.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "all of it is needed")]
pub struct Hop<'a> {
    /// The own server id.
    pub peer_id: &'a str,
    /// The own server type.
    pub peer_service: &'a str,
    /// The route, as it is called.
    pub route: &'a str,
    /// How long the caller waits.
    pub timeout: Duration,
    /// The time of day, in nanoseconds since 1970.
    pub unix_nanos: u64,
}

impl Propagated {
    /// Reads a request's metadata. `null` is taken as empty.
    ///
    /// # Errors
    ///
    /// The caller is at fault: there is none, or it is no JSON object, or its timeout is no duration.
    pub fn parse(json: &[u8]) -> Result<Self, PropagatedError> {
        let parsed: Option<Self> =
            serde_json::from_slice(json).map_err(|error| PropagatedError::NotAnObject(error.to_string()))?;
        Ok(parsed.unwrap_or_default())
    }

    /// A value that the application added.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let (_, value) = self.values.as_ref()?.iter().find(|(name, _)| name == key)?;
        serde_json::from_str(value.get()).ok()
    }

    /// Adds a value, or replaces it.
    ///
    /// # Errors
    ///
    /// The key is one of the protocol's own, or the value has no JSON form.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), PropagatedError> {
        use metadata::{PEER_ID, PEER_SERVICE, REQUEST_ID, ROUTE, START_TIME, TIMEOUT};
        if [PEER_ID, PEER_SERVICE, REQUEST_ID, ROUTE, START_TIME, TIMEOUT].contains(&key) {
            return Err(PropagatedError::Reserved(key.to_owned()));
        }
        let value = to_raw_value(value).map_err(|error| PropagatedError::NotSerializable(error.to_string()))?;
        let values = Arc::make_mut(self.values.get_or_insert_default());
        match values.iter_mut().find(|(name, _)| name == key) {
            Some((_, known)) => *known = value,
            None => values.push((key.to_owned(), value)),
        }
        Ok(())
    }

    /// Writes the metadata of a request.
    pub fn encode(&self, hop: &Hop<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        let mut member = |name: &str, write: &mut dyn FnMut(&mut Vec<u8>)| {
            out.push(if out.is_empty() { b'{' } else { b',' });
            write_string(name, &mut out);
            out.push(b':');
            write(&mut out);
        };
        member(metadata::PEER_ID, &mut |out| write_string(hop.peer_id, out));
        member(metadata::PEER_SERVICE, &mut |out| write_string(hop.peer_service, out));
        member(metadata::ROUTE, &mut |out| write_string(hop.route, out));
        let start = self.start.unwrap_or(hop.unix_nanos);
        member(metadata::START_TIME, &mut |out| out.extend_from_slice(start.to_string().as_bytes()));
        let nanos = i64::try_from(hop.timeout.as_nanos()).unwrap_or(i64::MAX);
        member(metadata::TIMEOUT, &mut |out| write_string(&duration::format(nanos), out));
        if let Some(id) = &self.request_id {
            member(metadata::REQUEST_ID, &mut |out| write_string(id, out));
        }
        for (name, value) in self.values.as_deref().into_iter().flatten() {
            member(name, &mut |out| out.extend_from_slice(value.get().as_bytes()));
        }
        out.push(b'}');
        out
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    // A text always has a JSON form, and a vector takes it.
    let _ = serde_json::to_writer(out, text);
}

impl<'de> Deserialize<'de> for Propagated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Propagated;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of a request, an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Propagated, A::Error> {
        let mut read = Propagated::default();
        let mut values = Values::new();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*name {
                metadata::PEER_ID => read.peer_id = lenient(map.next_value()?).unwrap_or_default(),
                metadata::PEER_SERVICE => read.peer_service = lenient(map.next_value()?).unwrap_or_default(),
                metadata::REQUEST_ID => {
                    read.request_id = lenient::<Arc<str>>(map.next_value()?).filter(|id| !id.is_empty());
                }
                metadata::START_TIME => read.start = lenient::<f64>(map.next_value()?).map(|nanos| nanos as u64),
                metadata::ROUTE => drop(map.next_value::<IgnoredAny>()?),
                metadata::TIMEOUT => {
                    let text: String = map.next_value()?;
                    let nanos = duration::parse(&text).map_err(serde::de::Error::custom)?;
                    read.timeout = Some(Duration::from_nanos(nanos.max(0).unsigned_abs()));
                }
                _ => {
                    let value: Box<RawValue> = map.next_value()?;
                    values.retain(|(known, _)| *known != name);
                    values.push((name.into_owned(), value));
                }
            }
        }
        read.values = (!values.is_empty()).then(|| Arc::new(values));
        Ok(read)
    }
}

/// A member of another type than it should be is taken as missing.
fn lenient<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// Why metadata cannot be read or written.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PropagatedError {
    /// The caller sent something else.
    #[error("the request's metadata cannot be read: {0}")]
    NotAnObject(String),
    /// The protocol uses this key itself.
    #[error("`{0}` is a key of the protocol: choose another")]
    Reserved(String),
    /// The value has no JSON form.
    #[error("the value has no JSON form: {0}")]
    NotSerializable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: Hop<'_> = Hop {
        peer_id: "f1",
        peer_service: "connector",
        route: "room.room.join",
        timeout: Duration::from_secs(5),
        unix_nanos: 1_700_000_000_000_000_000,
    };

    #[test]
    fn is_what_go_writes() {
        let text = br#"{"peer.id":"f1","peer.service":"connector","req-route":"room.room.join","req-start-time":1700000000000000000,"reqTimeout":"5s","request.id":"r1"}"#;
        let propagated = Propagated { request_id: Some("r1".into()), ..Propagated::default() };
        assert_eq!(propagated.encode(&HOP), text);
        let read = Propagated::parse(text).unwrap();
        assert_eq!((read.request_id.as_deref(), read.timeout), (Some("r1"), Some(Duration::from_secs(5))));
        assert_eq!((read.peer_id.as_str(), read.peer_service.as_str()), ("f1", "connector"));
        assert_eq!(read.start, Some(HOP.unix_nanos));
    }

    #[test]
    fn values_travel_and_copies_differ() {
        let mut first = Propagated::parse(br#"{"a":[1,2],"n":9007199254740993,"otel-span":7}"#).unwrap();
        let second = first.clone();
        first.set("a", "x").unwrap();
        first.set("b", &None::<u8>).unwrap();
        assert_eq!((first.get::<String>("a"), second.get::<Vec<u8>>("a")), (Some("x".to_owned()), Some(vec![1, 2])));
        let text = String::from_utf8(first.encode(&HOP)).unwrap();
        assert!(text.ends_with(r#","a":"x","n":9007199254740993,"otel-span":7,"b":null}"#), "{text}");
        assert_eq!(first.set("peer.id", "x"), Err(PropagatedError::Reserved("peer.id".to_owned())));
    }

    #[test]
    fn null_is_empty_and_the_rest_is_refused() {
        assert!(Propagated::parse(b"null").unwrap().values.is_none());
        assert!(Propagated::parse(br#"{"request.id":7,"peer.id":null}"#).unwrap().request_id.is_none());
        for text in ["", "1", "[]", "{", r#"{"reqTimeout":5}"#, r#"{"reqTimeout":"5"}"#, "{}x"] {
            assert!(Propagated::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Propagated::parse(br#"{"reqTimeout":"-5s"}"#).unwrap().timeout, Some(Duration::ZERO));
    }
}
