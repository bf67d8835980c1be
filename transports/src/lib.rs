//! Transports of Cereus: a socket's bytes to packet bytes and back, without IO; and the seam to a runtime.
//!
//! ```text
//!   socket ── wire bytes ──► Transport::decode ── packet bytes ──► ServerConnection::handle_input
//!   socket ◄── wire bytes ── Transport::encode ◄─ packet bytes ─── ServerConnection::poll_transmit
//! ```
//!
//! A [`Transport`] is a value that does no IO: [`Raw`] for TCP, [`WebSocket`] for browsers, `Tls` around either of them (feature
//! `tls`), or your own. A server listens with it on an [`Endpoint::custom`]; what is only to see the bytes of others, or to
//! change them, is an [`Endpoint::layer`] around theirs, for which a [`Tap`] is enough in most cases. [`rt`] holds the five traits
//! that a runtime implements.

mod endpoint;
#[cfg(feature = "websocket")]
mod http;
#[cfg(feature = "websocket")]
mod origin;
mod proxy;
pub mod rt;
mod tap;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;

use std::{fmt, net::SocketAddr};

use bytes::BytesMut;
use cereus_core::packet::PacketError;
use thiserror::Error;

pub use endpoint::{Endpoint, Tcp, Transports};
pub use proxy::ProxyHeader;
pub use tap::{Tap, Tapped};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsClientConfig, TlsConfig, TlsConfigError};
#[cfg(feature = "websocket")]
pub use {
    http::Page,
    origin::{OriginError, Origins},
    websocket::{WebSocket, WebSocketClient, WebSocketClientConfig, WebSocketConfig},
};

/// A layer between a socket's bytes and the bytes of packets. It does no IO.
///
/// The driver of a connection reads the socket, gives the bytes to [`decode`](Self::decode), asks
/// [`encode`](Self::encode) for what to write, and writes that. After an error it asks `encode` once more (a refusal or a
/// close frame may wait), writes that and closes the socket.
pub trait Transport: fmt::Debug + Send {
    /// Takes what the socket delivered and gives the packet bytes in it to `sink`, in order, in any segmentation.
    ///
    /// # Errors
    ///
    /// The peer broke the transport's own rules, or ended it. Nothing more can be read.
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError>;

    /// Appends to `wire` the transport's own control output first, then packets from `next`, until `limit` bytes wait in
    /// `wire` or `next` has no more. `next` appends exactly one packet to the buffer it is given and returns its length.
    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize);

    /// The socket delivered its last byte.
    ///
    /// # Errors
    ///
    /// The peer left in the middle of something.
    fn handle_eof(&mut self) -> Result<(), TransportError>;

    /// Appends the transport's farewell to `wire`. Nothing is encoded after it.
    fn close(&mut self, wire: &mut BytesMut);

    /// Gives back what memory it holds without need. Called when the connection has been idle for a while.
    fn release(&mut self) {}

    /// The bytes it holds of messages that are not whole yet, or that were not taken yet.
    fn buffered(&self) -> usize {
        0
    }

    /// Whether it is known who the peer is. Until then the connection is only read, for as long as a handshake may take, and
    /// is nobody's session.
    fn is_open(&self) -> bool {
        true
    }

    /// The address of the real peer, where a layer below learned it.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }
}

/// How a transport ended, other than by this side's wish.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TransportError {
    /// A message of the transport was not exactly one packet.
    #[error("a message is not exactly one packet: {0}")]
    Packet(#[from] PacketError),
    /// The peer broke the rules of the transport.
    #[error("transport protocol violated: {0}")]
    Protocol(String),
    /// A plain HTTP request was answered with a page or a refusal; there is no connection to speak of.
    #[error("a plain HTTP request was answered with status {status}")]
    Answered {
        /// The HTTP status.
        status: u16,
    },
    /// This side does not serve the peer, or the peer does not serve this side: why.
    #[error("refused: {0}")]
    Refused(String),
    /// The peer is not who it should be.
    #[error("not trusted: {0}")]
    Untrusted(String),
    /// The peer ended the transport in an orderly way.
    #[error("the peer closed the transport")]
    Closed,
}

/// The bytes of the socket are the bytes of the packets.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Raw;

impl Transport for Raw {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        sink(wire);
        Ok(())
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        while wire.len() < limit && next(wire).is_some() {}
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        Ok(())
    }

    fn close(&mut self, _wire: &mut BytesMut) {}
}
