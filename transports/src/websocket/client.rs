use std::{mem, sync::Arc};

use bytes::BytesMut;
use cereus_core::packet::{MAX_BODY_LEN, PacketHeader};
use tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::open::{Body, Masks, Open, Sizes};
use crate::{Transport, TransportError};

/// What the WebSocket connections of a client share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WebSocketClientConfig {
    /// What is asked for: a path, perhaps with a query. Default: `/`.
    pub path: String,
    /// More lines for the head of the request, names and values. Default: none.
    pub headers: Vec<(String, String)>,
    /// The longest message that is received, in bytes. Default: the largest packet there can be.
    pub max_message_size: usize,
    /// The longest frame that is received, in bytes; a message may consist of several. Default: the largest packet.
    pub max_frame_size: usize,
    /// The longest head of an HTTP answer, in bytes. Default: 8 KiB.
    pub max_head_size: usize,
}

impl Default for WebSocketClientConfig {
    fn default() -> Self {
        let largest_packet = PacketHeader::LEN + MAX_BODY_LEN;
        Self {
            path: "/".to_owned(),
            headers: Vec::new(),
            max_message_size: largest_packet,
            max_frame_size: largest_packet,
            max_head_size: 8 * 1024,
        }
    }
}

impl WebSocketClientConfig {
    const fn sizes(&self) -> Sizes {
        Sizes { message: self.max_message_size, frame: self.max_frame_size }
    }
}

/// The client's side of a WebSocket, from the HTTP upgrade to the close frames: the counterpart of
/// [`WebSocket`](crate::WebSocket).
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::BytesMut;
/// use cereus_transports::{Transport, WebSocketClient, WebSocketClientConfig};
///
/// let mut transport = WebSocketClient::new(Arc::new(WebSocketClientConfig::default()), "localhost:3251");
/// let mut wire = BytesMut::new();
/// transport.encode(&mut |_| None, &mut wire, 1024);
/// assert!(wire.starts_with(b"GET / HTTP/1.1\r\nHost: localhost:3251\r\n"));
/// ```
#[derive(Debug)]
pub struct WebSocketClient {
    config: Arc<WebSocketClientConfig>,
    state: State,
}

#[derive(Debug)]
enum State {
    Upgrading(Upgrading),
    Body(Body),
}

#[derive(Debug)]
struct Upgrading {
    /// What is to be written.
    request: Vec<u8>,
    key: String,
    /// The head of the answer, as far as it came.
    head: Vec<u8>,
}

impl WebSocketClient {
    /// A transport that asks `host`, with the port unless it is the usual one, for a WebSocket.
    pub fn new(config: Arc<WebSocketClientConfig>, host: &str) -> Self {
        let key = generate_key();
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
            config.path
        );
        for (name, value) in &config.headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.push_str("\r\n");
        Self { config, state: State::Upgrading(Upgrading { request: request.into(), key, head: Vec::new() }) }
    }

    /// Reads the head of the answer. Returns what follows it in `wire` once there is a WebSocket.
    fn read_head<'a>(&mut self, wire: &'a [u8]) -> Result<Option<&'a [u8]>, TransportError> {
        let State::Upgrading(upgrading) = &mut self.state else {
            return Ok(Some(wire));
        };
        let before = upgrading.head.len();
        let room = self.config.max_head_size.saturating_sub(before);
        upgrading.head.extend_from_slice(&wire[..wire.len().min(room)]);
        let len = match head_len(&upgrading.head, &upgrading.key) {
            Ok(Some(len)) => len,
            Ok(None) if upgrading.head.len() < self.config.max_head_size => return Ok(None),
            Ok(None) => return self.refuse("the head of the answer is too long".to_owned()),
            Err(why) => return self.refuse(why),
        };
        let masks = Masks::new(seed());
        self.state = State::Body(Body::Open(Box::new(Open::client(masks))));
        Ok(wire.get(len.saturating_sub(before)..))
    }

    fn refuse<T>(&mut self, why: String) -> Result<T, TransportError> {
        self.state = State::Body(Body::Done(Vec::new()));
        Err(TransportError::Refused(why))
    }
}

/// Where masks begin, as nobody can foresee it.
fn seed() -> u64 {
    let key = generate_key();
    key.bytes().fold(0, |seed: u64, byte| seed.rotate_left(6) ^ u64::from(byte))
}

/// How long the head is, once it is whole and says that there is a WebSocket.
fn head_len(head: &[u8], key: &str) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let len = match answer.parse(head) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("this is no server of WebSockets: {error}")),
    };
    if answer.code != Some(101) {
        let (code, reason) = (answer.code.unwrap_or_default(), answer.reason.unwrap_or_default());
        return Err(format!("the server answered with HTTP status {code} {reason}"));
    }
    let expected = derive_accept_key(key.as_bytes());
    let accepts = |header: &httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("sec-websocket-accept") && header.value == expected.as_bytes()
    };
    if answer.headers.iter().any(accepts) { Ok(Some(len)) } else { Err("the server's upgrade is not for us".into()) }
}

impl Transport for WebSocketClient {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        let Some(wire) = self.read_head(wire)? else {
            return Ok(());
        };
        match &mut self.state {
            State::Upgrading(_) => Ok(()),
            State::Body(body) => body.decode(self.config.sizes(), wire, sink),
        }
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        match &mut self.state {
            State::Upgrading(upgrading) => wire.extend_from_slice(&mem::take(&mut upgrading.request)),
            State::Body(body) => body.encode(next, wire, limit),
        }
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        match &mut self.state {
            State::Upgrading(_) => self.refuse("the server closed without an answer".to_owned()),
            State::Body(body) => body.handle_eof(),
        }
    }

    fn close(&mut self, wire: &mut BytesMut) {
        match &mut self.state {
            State::Upgrading(_) => self.state = State::Body(Body::Done(Vec::new())),
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
            State::Upgrading(upgrading) => upgrading.request.len() + upgrading.head.len(),
            State::Body(body) => body.buffered(),
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self.state, State::Upgrading(_))
    }
}
