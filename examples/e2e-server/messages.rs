//! What the suites send and expect: protobuf between servers, JSON for clients.

use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TestRequest {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) msg: String,
}

/// As Go writes messages of protobuf in JSON, without what is zero.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub(crate) struct TestResponse {
    #[prost(int32, tag = "1")]
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) msg: String,
}

impl TestResponse {
    pub(crate) fn ok(msg: impl Into<String>) -> Self {
        Self { code: 200, msg: msg.into() }
    }
}

fn is_zero(code: &i32) -> bool {
    *code == 0
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct TestRpc {
    pub(crate) route: String,
    pub(crate) data: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct TestSendToUsers {
    pub(crate) uids: Vec<String>,
    pub(crate) msg: String,
}
