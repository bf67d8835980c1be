use thiserror::Error;

use crate::{
    DictionaryError, HandshakeError, MessageId, MessageType,
    message::MessageError,
    packet::{PacketError, PacketType},
};

/// What the peer did wrong. It ends the connection.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A packet cannot be read.
    #[error("bad packet: {0}")]
    Packet(#[from] PacketError),
    /// A message cannot be read.
    #[error("bad message: {0}")]
    Message(#[from] MessageError),
    /// A handshake cannot be read.
    #[error("bad handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// A packet that has no place in this state of the connection.
    #[error("a {kind:?} packet came {when}")]
    OutOfOrder {
        /// The packet.
        kind: PacketType,
        /// The state that the connection was in.
        when: &'static str,
    },
}

/// What the caller asked for and cannot have. The connection goes on, unless it says otherwise.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SendError {
    /// The handshake is not finished.
    #[error("the handshake is not finished: wait for the `Connected` event")]
    NotConnected,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// No request with this id waits for an answer: it was answered, or there never was one.
    #[error("no request {0} waits for an answer")]
    NotPending(MessageId),
    /// Too many requests are in flight.
    #[error("{0} requests are in flight already: wait for answers, or raise `max_pending_requests`")]
    TooManyRequests(usize),
    /// The send queue is full, and the policy closes the connection of a peer that does not read.
    #[error("{0} bytes wait to be sent already: the peer does not read")]
    QueueFull(usize),
    /// The route does not fit into a message.
    #[error("a route of {0} bytes is too long: 255 at most")]
    RouteTooLong(usize),
    /// The message does not fit into a packet.
    #[error("a message of {0} bytes does not fit into a packet: 16777215 at most")]
    TooLarge(usize),
    /// libpitaya cannot take a push without a body.
    #[error("this client cannot take a push with an empty body: send at least one byte")]
    EmptyPush,
    /// libpitaya cannot take an error without a body.
    #[error("an error answer cannot have an empty body: send at least a code")]
    EmptyError,
    /// The push was encoded for another configuration.
    #[error("the push was encoded with another `ServerConfig`")]
    OtherConfig,
    /// This type of message cannot be sent from this side.
    #[error("a {0:?} cannot be sent from this side")]
    WrongSide(MessageType),
}

impl SendError {
    pub(crate) fn from_message(error: MessageError) -> Self {
        match error {
            MessageError::RouteTooLong(len) => Self::RouteTooLong(len),
            // Encoding fails in no other way.
            _ => Self::TooLarge(usize::MAX),
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed its side between two packets.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The handshake was refused: by the application, or by the server with this code.
    #[error("the handshake was refused with code {0}")]
    HandshakeRefused(u16),
    /// The handshake was not finished in time.
    #[error("the handshake was not finished in time")]
    HandshakeTimeout,
    /// Nothing came from the peer for more than two heartbeat intervals.
    #[error("the peer was silent for more than two heartbeats")]
    HeartbeatTimeout,
    /// The server kicked the client.
    #[error("kicked")]
    Kicked,
    /// This side closed the connection.
    #[error("closed by this side")]
    Local,
    /// The peer does not read, and the send queue is full.
    #[error("the peer does not read: the send queue is full")]
    SlowPeer,
    /// The driver saw that the process holds more than it may, and this connection more than its share.
    #[error("too many bytes wait for this connection")]
    Overloaded,
    /// The driver saw that a write made no progress in time.
    #[error("a write made no progress in time")]
    WriteTimeout,
    /// The driver saw the transport end or fail.
    #[error("the transport failed")]
    Transport,
}

/// A mistake in a configuration. The caller is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Clients read the interval as a whole number of seconds and set a timer with it.
    #[error("a heartbeat of {0:?} is no whole number of seconds from 1 on: clients read it as one")]
    Heartbeat(core::time::Duration),
    /// A client that sends its heartbeat at the last moment would be thrown out.
    #[error("a handshake timeout of {timeout:?} is shorter than two heartbeats ({:?}): raise it", *.heartbeat * 2)]
    HandshakeTimeout {
        /// The timeout.
        timeout: core::time::Duration,
        /// The heartbeat interval.
        heartbeat: core::time::Duration,
    },
    /// A limit that lets nothing through.
    #[error("`{0}` is zero: nothing would ever pass")]
    ZeroLimit(&'static str),
    /// A limit beyond what the protocol can express.
    #[error("`{name}` is {value}, more than the {max} bytes that a packet can carry")]
    LimitTooLarge {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: usize,
        /// The most that makes sense.
        max: usize,
    },
    /// The dictionary.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
}
