//! What both sides of a WebSocket do once it is open.

use std::{
    io::{self, Cursor, Read, Write},
    mem,
};

use bytes::{BufMut, BytesMut};
use cereus_core::packet;
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

use crate::TransportError;

/// How much tungstenite reads at once, and what a connection that receives holds at least.
const READ_BUFFER: usize = 4096;

/// The longest header of a frame.
const MAX_FRAME_HEADER: usize = 14;

/// The longest reason that fits into a close frame.
const MAX_REASON: usize = 123;

/// How long what is received may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) message: usize,
    pub(super) frame: usize,
}

/// What follows the head, on both sides.
#[derive(Debug)]
pub(super) enum Body {
    Open(Box<Open>),
    /// What is still to be written.
    Done(Vec<u8>),
}

impl Body {
    pub(super) fn decode(
        &mut self,
        sizes: Sizes,
        wire: &[u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        let Self::Open(open) = self else {
            return Err(TransportError::Closed);
        };
        let Err((error, code)) = open.read(sizes, wire, sink) else {
            return Ok(());
        };
        if let Some(code) = code {
            open.close(sizes, code, &error.to_string());
        }
        *self = Self::Done(open.take_output());
        Err(error)
    }

    pub(super) fn encode(
        &mut self,
        next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>,
        wire: &mut BytesMut,
        limit: usize,
    ) {
        match self {
            Self::Open(open) => open.write(next, wire, limit),
            Self::Done(farewell) => wire.extend_from_slice(&mem::take(farewell)),
        }
    }

    pub(super) fn handle_eof(&mut self) -> Result<(), TransportError> {
        let Self::Open(open) = self else {
            return Ok(());
        };
        let result = open.handle_eof();
        *self = Self::Done(Vec::new());
        result
    }

    pub(super) fn close(&mut self, sizes: Sizes, wire: &mut BytesMut) {
        match self {
            Self::Open(open) => {
                open.write_control(wire);
                open.close(sizes, CloseCode::Normal, "");
                open.write_control(wire);
            }
            Self::Done(farewell) => wire.extend_from_slice(&mem::take(farewell)),
        }
    }

    pub(super) fn release(&mut self) {
        if let Self::Open(open) = self {
            open.release();
        }
    }

    pub(super) const fn buffered(&self) -> usize {
        match self {
            Self::Open(open) => open.held + open.control.len(),
            Self::Done(bytes) => bytes.len(),
        }
    }
}

/// The error, and the code of the close frame that it calls for.
type Failure = (TransportError, Option<CloseCode>);

/// What exists between the upgrade and the end.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// The answer to the upgrade, until it is written.
    answer: Vec<u8>,
    /// The control frame that waits to be written.
    control: Vec<u8>,
    /// A client's, which masks what it sends.
    masks: Option<Masks>,
    boundary: Boundary,
    /// What came of the message that is not whole yet, at most.
    held: usize,
    /// Made when bytes arrive, dropped by `release`.
    context: Option<Box<WebSocketContext>>,
}

impl Open {
    pub(super) fn server(answer: Vec<u8>) -> Self {
        Self { answer, ..Self::default() }
    }

    pub(super) fn client(masks: Masks) -> Self {
        Self { masks: Some(masks), ..Self::default() }
    }

    fn read(&mut self, sizes: Sizes, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        if wire.is_empty() {
            return Ok(());
        }
        let role = self.role();
        let context = self.context.get_or_insert_with(|| new_context(role, sizes));
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
    fn close(&mut self, sizes: Sizes, code: CloseCode, reason: &str) {
        let role = self.role();
        let context = self.context.get_or_insert_with(|| new_context(role, sizes));
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        let mut pipe = Pipe { input: &[], control: &mut self.control };
        // Writing to the pipe cannot fail.
        let _ = context.close(&mut pipe, Some(CloseFrame { code, reason: reason.into() }));
    }

    /// Appends messages with the packets of `next`, until `limit` bytes wait in `wire`.
    fn write(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        self.write_control(wire);
        if self.can_write() {
            while wire.len() < limit && write_message(self.masks.as_mut(), next, wire) {}
        }
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

    const fn role(&self) -> Role {
        if self.masks.is_some() { Role::Client } else { Role::Server }
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

fn new_context(role: Role, sizes: Sizes) -> Box<WebSocketContext> {
    let settings = Settings::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(sizes.message))
        .max_frame_size(Some(sizes.frame.min(sizes.message)));
    Box::new(WebSocketContext::new(role, Some(settings)))
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
fn write_message(
    masks: Option<&mut Masks>,
    next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>,
    wire: &mut BytesMut,
) -> bool {
    let start = wire.len();
    let mask = masks.map(Masks::next);
    let (head, mut head_len) = message_head(0, mask);
    wire.put_slice(&head[..head_len]);
    if next(wire).is_none() {
        wire.truncate(start);
        return false;
    }
    let packet = start + head_len..wire.len();
    let (head, needed) = message_head(packet.len(), mask);
    if needed > head_len {
        // Only packets over 125 bytes move, and nobody needs to know their length beforehand.
        wire.put_bytes(0, needed - head_len);
        wire.copy_within(packet, start + needed);
        head_len = needed;
    }
    wire[start..start + head_len].copy_from_slice(&head[..head_len]);
    if let Some(mask) = mask {
        wire[start + head_len..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
    true
}

/// The header of a whole, binary message, and how many of these bytes it has.
const fn message_head(len: usize, mask: Option<[u8; 4]>) -> ([u8; MAX_FRAME_HEADER], usize) {
    const BINARY: u8 = 0x82;
    const MASKED: u8 = 0x80;
    let mut head = [0; MAX_FRAME_HEADER];
    head[0] = BINARY;
    let [a, b, c, d, e, f, g, h] = (len as u64).to_be_bytes();
    let mut end = match len {
        0..=125 => {
            head[1] = h;
            2
        }
        126..=0xffff => {
            [head[1], head[2], head[3]] = [126, g, h];
            4
        }
        _ => {
            [head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9]] =
                [127, a, b, c, d, e, f, g, h];
            10
        }
    };
    if let Some(mask) = mask {
        head[1] |= MASKED;
        [head[end], head[end + 1], head[end + 2], head[end + 3]] = mask;
        end += mask.len();
    }
    (head, end)
}

/// What a client's frames are masked with: each with another one, which no proxy can foresee.
#[derive(Debug)]
pub(super) struct Masks(u64);

impl Masks {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> [u8; 4] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed ^ mixed >> 31).to_le_bytes();
        [a, b, c, d]
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
