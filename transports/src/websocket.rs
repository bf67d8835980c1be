//! WebSocket, the server's side (specification, section 1.7): one message is one packet.

use std::sync::Arc;

use bytes::BytesMut;
use cereus_core::packet::{MAX_BODY_LEN, PacketHeader};

use self::open::{Body, Open, Sizes};
use crate::{
    Origins, Transport, TransportError,
    http::{self, Answer, Page},
};

mod client;
mod open;

pub use client::{WebSocketClient, WebSocketClientConfig};

/// What all WebSocket connections of a listener share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WebSocketConfig {
    /// The longest message that is received, in bytes. Default: the largest packet there can be.
    pub max_message_size: usize,
    /// The longest frame that is received, in bytes; a message may consist of several. Default: the largest packet.
    pub max_frame_size: usize,
    /// The longest head of an HTTP request, in bytes. Default: 8 KiB.
    pub max_head_size: usize,
    /// What plain HTTP requests to this port can get. Default: nothing.
    pub pages: Vec<Page>,
    /// The pages that may connect. Default: those of any origin.
    pub origins: Origins,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        let largest_packet = PacketHeader::LEN + MAX_BODY_LEN;
        Self {
            max_message_size: largest_packet,
            max_frame_size: largest_packet,
            max_head_size: 8 * 1024,
            pages: Vec::new(),
            origins: Origins::default(),
        }
    }
}

impl WebSocketConfig {
    const fn sizes(&self) -> Sizes {
        Sizes { message: self.max_message_size, frame: self.max_frame_size }
    }
}

/// The server's side of a WebSocket, from the HTTP upgrade to the close frames.
///
/// Every path and query is accepted, and every `Origin` that the [config](WebSocketConfig::origins) allows; sub-protocols
/// and extensions are not negotiated. Text and binary messages are both received, binary ones are sent. A plain HTTP request
/// gets a page of the [config](WebSocketConfig::pages) or a refusal, as does whatever is not HTTP at all, and ends in
/// [`TransportError::Answered`].
///
/// Only the latest ping is answered if several came since the last [`encode`](Transport::encode).
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::BytesMut;
/// use cereus_transports::{Transport, WebSocket, WebSocketConfig};
///
/// let mut transport = WebSocket::new(Arc::new(WebSocketConfig::default()));
/// let upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// transport.decode(upgrade, &mut |_| {})?;
///
/// let mut wire = BytesMut::new();
/// transport.encode(&mut |_| None, &mut wire, 1024);
/// assert!(wire.starts_with(b"HTTP/1.1 101 "));
/// # Ok::<(), cereus_transports::TransportError>(())
/// ```
#[derive(Debug)]
pub struct WebSocket {
    config: Arc<WebSocketConfig>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The head of the request, as far as it came.
    Head(Vec<u8>),
    Body(Body),
}

impl WebSocket {
    /// A transport that waits for the request of its client.
    pub const fn new(config: Arc<WebSocketConfig>) -> Self {
        Self { config, state: State::Head(Vec::new()) }
    }

    /// Reads the head of the request. Returns what follows it in `wire` once there is a WebSocket.
    fn read_head<'a>(&mut self, wire: &'a [u8]) -> Result<Option<&'a [u8]>, TransportError> {
        let State::Head(head) = &mut self.state else {
            return Ok(Some(wire));
        };
        let before = head.len();
        let room = self.config.max_head_size.saturating_sub(before);
        head.extend_from_slice(&wire[..wire.len().min(room)]);
        let (len, answer) = match http::answer(head, &self.config) {
            Some(found) => found,
            None if head.len() < self.config.max_head_size => return Ok(None),
            None => (head.len(), Answer::head_too_large()),
        };
        if answer.status != 101 {
            self.state = State::Body(Body::Done(answer.bytes));
            return Err(TransportError::Answered { status: answer.status });
        }
        self.state = State::Body(Body::Open(Box::new(Open::server(answer.bytes))));
        Ok(wire.get(len.saturating_sub(before)..))
    }
}

impl Transport for WebSocket {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        let Some(wire) = self.read_head(wire)? else {
            return Ok(());
        };
        match &mut self.state {
            State::Head(_) => Ok(()),
            State::Body(body) => body.decode(self.config.sizes(), wire, sink),
        }
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        if let State::Body(body) = &mut self.state {
            body.encode(next, wire, limit);
        }
    }

    /// # Errors
    ///
    /// - [`TransportError::Closed`]: the peer went away between two messages without a close frame, as clients do that
    ///   are killed or lose their network.
    /// - [`TransportError::Protocol`]: it went away in the middle of a message.
    /// - [`TransportError::Answered`]: it went away in the middle of the HTTP request, which is refused.
    ///
    /// It is fine to leave before a request, after a refusal, and when either side has sent a close frame.
    fn handle_eof(&mut self) -> Result<(), TransportError> {
        let (farewell, result) = match &mut self.state {
            State::Body(body) => return body.handle_eof(),
            State::Head(head) if head.is_empty() => (Vec::new(), Ok(())),
            State::Head(_) => {
                let Answer { status, bytes } = Answer::bad_request();
                (bytes, Err(TransportError::Answered { status }))
            }
        };
        self.state = State::Body(Body::Done(farewell));
        result
    }

    fn close(&mut self, wire: &mut BytesMut) {
        match &mut self.state {
            State::Head(_) => self.state = State::Body(Body::Done(Vec::new())),
            State::Body(body) => body.close(self.config.sizes(), wire),
        }
    }

    fn release(&mut self) {
        if let State::Body(body) = &mut self.state {
            body.release();
        }
    }

    fn buffered(&self) -> usize {
        match &self.state {
            State::Head(head) => head.len(),
            State::Body(body) => body.buffered(),
        }
    }
}
