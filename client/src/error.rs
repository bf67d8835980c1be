use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use cereus_core::{CloseReason, ConfigErrors, SendError};
use thiserror::Error;

use crate::AddressError;

/// How a request ended other than with its answer. A request ends once: with this or with the answer.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum RequestError {
    /// The server answered with an error.
    #[error(transparent)]
    Server(#[from] Box<ServerError>),
    /// There was no answer in time. The server may still have handled the request.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection ended before the answer came. The server may have handled the request or not.
    #[error("the connection ended before the answer: {0}")]
    Lost(Disconnect),
    /// There is no connection, and what is sent meanwhile is [not kept](crate::WhileAway). It was not sent.
    #[error("there is no connection: {0}")]
    NotConnected(Disconnect),
    /// Too much waits for answers, or to be sent, already. It was not sent.
    #[error("{0}")]
    Full(String),
    /// It cannot be sent at all: the caller is at fault.
    #[error(transparent)]
    Send(SendError),
    /// The value cannot be written as a body, or the answer is not what was expected.
    #[error("{0}")]
    Body(String),
}

/// The error that a server answered with (specification, section 4).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServerError {
    /// What kind of error it is: `PIT-404`, or one of the application's own. Empty if the body tells none.
    pub code: String,
    /// What people read.
    pub message: String,
    /// What else is told.
    pub metadata: BTreeMap<String, String>,
    /// The body as it came.
    pub body: Bytes,
}

impl std::error::Error for ServerError {}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, "{}: {}", self.code, self.message),
            (false, true) => f.write_str(&self.code),
            (true, _) => write!(f, "the server answered with an error: {:?}", self.body),
        }
    }
}

impl ServerError {
    /// Reads the body of an error as the serializer of this name writes it: `protobuf`, or else JSON.
    pub fn parse(serializer: &str, body: Bytes) -> Self {
        let read = if serializer == "protobuf" { Self::protobuf(&body) } else { Self::json(&body) };
        Self { body, ..read.unwrap_or_default() }
    }

    fn json(body: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Payload {
            // Other servers of the family send numbers.
            code: serde_json::Value,
            #[serde(default)]
            msg: String,
            #[serde(default)]
            metadata: BTreeMap<String, String>,
        }
        let Payload { code, msg, metadata } = serde_json::from_slice(body).ok()?;
        let code = code.as_str().map_or_else(|| code.to_string(), str::to_owned);
        Some(Self { code, message: msg, metadata, body: Bytes::new() })
    }

    fn protobuf(body: &[u8]) -> Option<Self> {
        #[derive(prost::Message)]
        struct Payload {
            #[prost(string, tag = "1")]
            code: String,
            #[prost(string, tag = "2")]
            msg: String,
            #[prost(btree_map = "string, string", tag = "3")]
            metadata: BTreeMap<String, String>,
        }
        let Payload { code, msg, metadata } = prost::Message::decode(body).ok()?;
        Some(Self { code, message: msg, metadata, body: Bytes::new() })
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Disconnect {
    /// [`close`](crate::Client::close) was called, or the last [`Client`](crate::Client) dropped.
    #[error("closed by this side")]
    Local,
    /// The first connection is still being made.
    #[error("the first connection is still being made")]
    NotYet,
    /// The server threw the client out, perhaps with a reason.
    #[error("kicked{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Kicked {
        /// What the server says.
        reason: Option<String>,
    },
    /// The server does not want this client.
    #[error("the server refused the handshake with code {0}")]
    Refused(u16),
    /// No server was reached: its name is unknown, nobody listens, the TLS handshake failed.
    #[error("{0}")]
    Unreachable(String),
    /// The server showed a certificate that is not trusted, or not the key that is expected.
    #[error("the server is not trusted: {0}")]
    Untrusted(String),
    /// There was no connection within the time for it.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The server's side ended it, was silent for too long, or broke the protocol.
    #[error(transparent)]
    Ended(CloseReason),
    /// It was tried as often as it may be.
    #[error("gave up after {attempts} attempts: {last}")]
    GaveUp {
        /// How often it was tried since there was a connection.
        attempts: u32,
        /// Why the last attempt failed.
        last: Box<Self>,
    },
    /// The runtime ended.
    #[error("the runtime ended")]
    RuntimeEnded,
}

/// Why there is no client.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the settings or the address need is not compiled in, or cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// There is no connection.
    #[error(transparent)]
    Disconnect(#[from] Disconnect),
}
