use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::names::record;

/// One server of the cluster, as its record in the registry tells (specification, section 11.2).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The id, which no other server has.
    pub id: String,
    /// The type: what a route's first field names.
    #[serde(rename = "type")]
    pub server_type: String,
    /// What else the server tells, such as where it serves gRPC.
    #[serde(deserialize_with = "lenient_metadata")]
    pub metadata: BTreeMap<String, String>,
    /// Whether clients connect to it.
    pub frontend: bool,
    /// The name of its machine.
    pub hostname: String,
}

impl ServerInfo {
    /// A record without metadata.
    pub fn new(server_type: impl Into<String>, id: impl Into<String>) -> Self {
        Self { id: id.into(), server_type: server_type.into(), ..Self::default() }
    }

    /// The record's text.
    ///
    /// ```
    /// use cereus_cluster::ServerInfo;
    ///
    /// let text = r#"{"id":"r1","type":"room","metadata":{},"frontend":false,"hostname":""}"#;
    /// assert_eq!(ServerInfo::new("room", "r1").to_json(), text);
    /// ```
    pub fn to_json(&self) -> String {
        // Strings always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a record. Members that are missing are empty; metadata that is no object is taken as none.
    ///
    /// # Errors
    ///
    /// The text is no JSON object, a member has a wrong type, or the type or the id is missing: whoever wrote it is at
    /// fault.
    pub fn from_json(text: &[u8]) -> Result<Self, RecordError> {
        let info: Option<Self> = serde_json::from_slice(text).map_err(|error| RecordError::Json(error.to_string()))?;
        match info {
            Some(info) if !info.id.is_empty() && !info.server_type.is_empty() => Ok(info),
            _ => Err(RecordError::Nameless),
        }
    }

    /// Whether it has the remotes that are not in Pitaya.
    pub fn is_cereus(&self) -> bool {
        self.metadata.contains_key(record::CEREUS)
    }
}

/// Other servers write `null`, or an empty text, for no metadata.
fn lenient_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Metadata {
        Map(BTreeMap<String, String>),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Metadata::deserialize(deserializer)? {
        Metadata::Map(map) => map,
        Metadata::Other(_) => BTreeMap::new(),
    })
}

/// Why a record cannot be read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RecordError {
    /// It is not what a record is.
    #[error("not a server record: {0}")]
    Json(String),
    /// It has no type or no id.
    #[error("a server record without type or id")]
    Nameless,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_writes() {
        let text = br#"{"id":"i","type":"t","metadata":{"grpcHost":"1","region":"r"},"frontend":true,"hostname":"h"}"#;
        let info = ServerInfo::from_json(text).unwrap();
        assert_eq!(
            (info.id.as_str(), info.server_type.as_str(), info.frontend, info.hostname.as_str()),
            ("i", "t", true, "h")
        );
        assert_eq!(info.metadata["region"], "r");
        assert_eq!(info.to_json().as_bytes(), text);
    }

    #[test]
    fn metadata_of_any_other_type_is_none() {
        for metadata in ["null", "\"\"", "[1]", "{\"a\":1}"] {
            let text = format!(r#"{{"id":"i","type":"t","metadata":{metadata},"more":1}}"#);
            assert_eq!(ServerInfo::from_json(text.as_bytes()).unwrap(), ServerInfo::new("t", "i"));
        }
    }

    #[test]
    fn refuses_what_is_no_record() {
        for text in ["null", "", "1", "{}", r#"{"id":"i"}"#, r#"{"id":1,"type":"t"}"#, "{"] {
            assert!(ServerInfo::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }
}
