//! WebSocket, the server's side (specification, section 1.7): one message is one packet.

use std::{
    io::{self, Cursor, Read, Write},
    mem,
    sync::Arc,
};

use bytes::{BufMut, BytesMut};
use cereus_core::packet::{self, MAX_BODY_LEN, PacketHeader};
use tungstenite::{
    Error, Message,
    protocol::{
        CloseFrame, Role, WebSocketConfig as Settings, WebSocketContext,
        frame::{
            FrameHeader,
            coding::{CloseCode, OpCode},
        },
    },
};

use crate::{
    Origins, Transport, TransportError,
    http::{self, Answer, Page},
};

/// How much tungstenite reads at once, and what a connection that receives holds at least.
const READ_BUFFER: usize = 4096;

/// The longest header of a frame.
const MAX_FRAME_HEADER: usize = 14;

/// The longest reason that fits into a close frame.
const MAX_REASON: usize = 123;

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
    Open(Box<Open>),
    /// What is still to be written.
    Done(Vec<u8>),
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
            self.state = State::Done(answer.bytes);
            return Err(TransportError::Answered { status: answer.status });
        }
        self.state = State::Open(Box::new(Open { answer: answer.bytes, ..Open::default() }));
        Ok(wire.get(len.saturating_sub(before)..))
    }
}

impl Transport for WebSocket {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        let Some(wire) = self.read_head(wire)? else {
            return Ok(());
        };
        let State::Open(open) = &mut self.state else {
            return Err(TransportError::Closed);
        };
        let Err((error, code)) = open.read(&self.config, wire, sink) else {
            return Ok(());
        };
        if let Some(code) = code {
            open.close(&self.config, code, &error.to_string());
        }
        self.state = State::Done(open.take_output());
        Err(error)
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        match &mut self.state {
            State::Head(_) => {}
            State::Open(open) => {
                open.write_control(wire);
                if open.can_write() {
                    while wire.len() < limit && write_message(next, wire) {}
                }
            }
            State::Done(farewell) => wire.extend_from_slice(&mem::take(farewell)),
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
        let (farewell, result) = match &self.state {
            State::Done(_) => return Ok(()),
            State::Head(head) if head.is_empty() => (Vec::new(), Ok(())),
            State::Head(_) => {
                let Answer { status, bytes } = Answer::bad_request();
                (bytes, Err(TransportError::Answered { status }))
            }
            State::Open(open) => (Vec::new(), open.handle_eof()),
        };
        self.state = State::Done(farewell);
        result
    }

    fn close(&mut self, wire: &mut BytesMut) {
        match &mut self.state {
            State::Head(_) => self.state = State::Done(Vec::new()),
            State::Open(open) => {
                open.write_control(wire);
                open.close(&self.config, CloseCode::Normal, "");
                open.write_control(wire);
            }
            State::Done(farewell) => wire.extend_from_slice(&mem::take(farewell)),
        }
    }

    fn release(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.release();
        }
    }

    fn buffered(&self) -> usize {
        match &self.state {
            State::Head(bytes) | State::Done(bytes) => bytes.len(),
            State::Open(open) => open.held + open.control.len(),
        }
    }
}

/// The error, and the code of the close frame that it calls for.
type Failure = (TransportError, Option<CloseCode>);

/// What exists between the upgrade and the end.
#[derive(Debug, Default)]
struct Open {
    /// The answer to the upgrade, until it is written.
    answer: Vec<u8>,
    /// The control frame that waits to be written.
    control: Vec<u8>,
    boundary: Boundary,
    /// What came of the message that is not whole yet, at most.
    held: usize,
    /// Made when bytes arrive, dropped by `release`.
    context: Option<Box<WebSocketContext>>,
}

impl Open {
    fn read(&mut self, config: &WebSocketConfig, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        if wire.is_empty() {
            return Ok(());
        }
        let context = self.context.get_or_insert_with(|| new_context(config));
        let mut pipe = Pipe { input: wire, control: &mut self.control };
        let mut deliver = |message: &[u8]| {
            self.held = 0;
            deliver(message, sink)
        };
        loop {
            match context.read(&mut pipe) {
                Ok(Message::Binary(message)) => deliver(&message)?,
                Ok(Message::Text(message)) => deliver(message.as_bytes())?,
                Ok(Message::Close(_)) => {
                    // The reply is in the pipe then; the result only says that this is the end.
                    let _ = context.flush(&mut pipe);
                    return Err((TransportError::Closed, None));
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(failure(&error)),
            }
        }
        self.boundary.feed(wire);
        self.held = if self.boundary.is_clean() { 0 } else { self.held + wire.len() };
        Ok(())
    }

    /// Leaves a close frame to be written, unless one was before.
    fn close(&mut self, config: &WebSocketConfig, code: CloseCode, reason: &str) {
        let context = self.context.get_or_insert_with(|| new_context(config));
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        let mut pipe = Pipe { input: &[], control: &mut self.control };
        // Writing to the pipe cannot fail.
        let _ = context.close(&mut pipe, Some(CloseFrame { code, reason: reason.into() }));
    }

    fn handle_eof(&self) -> Result<(), TransportError> {
        if !self.can_write() {
            return Ok(());
        }
        if !self.boundary.is_clean() {
            return Err(TransportError::Protocol("the stream ended in the middle of a message".into()));
        }
        Err(TransportError::Closed)
    }

    /// No close frame was sent.
    fn can_write(&self) -> bool {
        self.context.as_ref().is_none_or(|context| context.can_write())
    }

    fn write_control(&mut self, wire: &mut BytesMut) {
        wire.extend_from_slice(&mem::take(&mut self.answer));
        wire.extend_from_slice(&self.control);
        self.control.clear();
    }

    fn take_output(&mut self) -> Vec<u8> {
        let mut output = mem::take(&mut self.answer);
        output.append(&mut self.control);
        output
    }

    fn release(&mut self) {
        if self.can_write() && self.boundary.is_clean() {
            self.context = None;
        }
        self.control.shrink_to_fit();
    }
}

fn new_context(config: &WebSocketConfig) -> Box<WebSocketContext> {
    let settings = Settings::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(config.max_message_size))
        .max_frame_size(Some(config.max_frame_size.min(config.max_message_size)));
    Box::new(WebSocketContext::new(Role::Server, Some(settings)))
}

fn deliver(message: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
    packet::decode_exact(message).map_err(|error| (error.into(), Some(CloseCode::Protocol)))?;
    sink(message);
    Ok(())
}

fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::ConnectionClosed | Error::AlreadyClosed => return (TransportError::Closed, None),
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => CloseCode::Protocol,
    };
    (TransportError::Protocol(error.to_string()), Some(code))
}

/// Appends one message with the next packet in it, if there is one.
fn write_message(next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut) -> bool {
    let start = wire.len();
    let (head, mut head_len) = message_head(0);
    wire.put_slice(&head[..head_len]);
    if next(wire).is_none() {
        wire.truncate(start);
        return false;
    }
    let packet = start + head_len..wire.len();
    let (head, needed) = message_head(packet.len());
    if needed > head_len {
        // Only packets over 125 bytes move, and nobody needs to know their length beforehand.
        wire.put_bytes(0, needed - head_len);
        wire.copy_within(packet, start + needed);
        head_len = needed;
    }
    wire[start..start + head_len].copy_from_slice(&head[..head_len]);
    true
}

/// The header of a whole, unmasked, binary message, and how many of these bytes it has.
const fn message_head(len: usize) -> ([u8; 10], usize) {
    const BINARY: u8 = 0x82;
    let [a, b, c, d, e, f, g, h] = (len as u64).to_be_bytes();
    match len {
        0..=125 => ([BINARY, h, 0, 0, 0, 0, 0, 0, 0, 0], 2),
        126..=0xffff => ([BINARY, 126, g, h, 0, 0, 0, 0, 0, 0], 4),
        _ => ([BINARY, 127, a, b, c, d, e, f, g, h], 10),
    }
}

/// What tungstenite takes for a socket. It writes nothing but control frames, each with one `write`, and only the latest
/// of them counts: a pong answers the pings before it too, and a close frame is the last word.
struct Pipe<'a> {
    input: &'a [u8],
    control: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.control.clear();
        self.control.extend_from_slice(frame);
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Follows the frames, because tungstenite does not tell whether it holds a part of one.
#[derive(Debug, Default)]
struct Boundary {
    /// The header as far as it came.
    head: [u8; MAX_FRAME_HEADER],
    head_len: usize,
    payload_left: u64,
    /// The last data frame was not the last of its message.
    fragmented: bool,
}

impl Boundary {
    /// Nothing of a message was received without the rest of it.
    const fn is_clean(&self) -> bool {
        self.head_len == 0 && self.payload_left == 0 && !self.fragmented
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.payload_left.min(bytes.len() as u64);
            self.payload_left -= skipped;
            bytes = &bytes[skipped as usize..];
            if !bytes.is_empty() {
                bytes = self.feed_head(bytes);
            }
        }
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.head_len;
        let taken = bytes.len().min(MAX_FRAME_HEADER - before);
        self.head_len += taken;
        self.head[before..self.head_len].copy_from_slice(&bytes[..taken]);
        let mut cursor = Cursor::new(&self.head[..self.head_len]);
        let Ok(Some((header, len))) = FrameHeader::parse(&mut cursor) else {
            // Incomplete. What is wrong with a header has ended the connection before.
            return &[];
        };
        let used = (cursor.position() as usize).saturating_sub(before);
        self.head_len = 0;
        self.payload_left = len;
        if matches!(header.opcode, OpCode::Data(_)) {
            self.fragmented = !header.is_final;
        }
        &bytes[used.min(taken)..]
    }
}
