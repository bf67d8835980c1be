//! The file of a recording: one JSON object a line. README.md tells of it to those who read it by other means.

use base64::{Engine, prelude::BASE64_STANDARD};
use cereus_core::packet::PacketType;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::body::Body;

/// The version that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Head {
    #[serde(rename = "cereus-record")]
    pub(crate) version: u32,
    /// When the recording began.
    pub(crate) started: String,
    pub(crate) server: String,
    /// The rules of redaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) redact: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A client came.
    Open,
    Packet,
    /// A client or the server left.
    Close,
    /// The last line.
    End,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Client,
    Server,
}

/// The type of a packet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PacketName {
    Handshake,
    Ack,
    Heartbeat,
    Data,
    Kick,
    Other,
}

impl From<PacketType> for PacketName {
    fn from(kind: PacketType) -> Self {
        match kind {
            PacketType::Handshake => Self::Handshake,
            PacketType::HandshakeAck => Self::Ack,
            PacketType::Heartbeat => Self::Heartbeat,
            PacketType::Data => Self::Data,
            PacketType::Kick => Self::Kick,
            _ => Self::Other,
        }
    }
}

/// The type of a message.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MessageName {
    Request,
    Notify,
    Response,
    Push,
}

impl From<cereus_core::MessageType> for MessageName {
    fn from(kind: cereus_core::MessageType) -> Self {
        match kind {
            cereus_core::MessageType::Request => Self::Request,
            cereus_core::MessageType::Notify => Self::Notify,
            cereus_core::MessageType::Response => Self::Response,
            _ => Self::Push,
        }
    }
}

/// Every line but the first.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) line: Kind,
    /// Microseconds since the recording began.
    pub(crate) us: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) session: u32,
    /// Who sent the packet, or left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) packet: Option<PacketName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<MessageName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    /// Of a response: that of its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) error: bool,
    /// A body that is JSON, inflated and perhaps redacted.
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Box<RawValue>>,
    /// A body that is other text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// A body that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
    /// Why the body is not there, although there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dropped: Option<String>,
    /// The whole packet with its header in base64, unless something was redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) raw: Option<String>,
    /// Why a packet cannot be read, who came, or why somebody left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// What is there is a body, also when it is `null`.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(truth: &bool) -> bool {
    !truth
}

impl Line {
    pub(crate) fn new(line: Kind, session: u32) -> Self {
        Self {
            line,
            us: 0,
            session,
            from: None,
            packet: None,
            message: None,
            id: None,
            route: None,
            error: false,
            body: None,
            text: None,
            base64: None,
            dropped: None,
            raw: None,
            why: None,
        }
    }

    /// The body, as what it is.
    pub(crate) fn set_body(&mut self, body: Body) {
        match body {
            Body::Empty => {}
            Body::Json(_) => self.body = body.member().map(|(_, json)| json),
            Body::Text(text) => self.text = Some(text),
            Body::Binary(bytes) => self.base64 = Some(BASE64_STANDARD.encode(bytes)),
        }
    }
}
