//! The inner frame of the protocol: flags, id, route, body (specification, section 2).
//!
//! ```text
//! ┌──────┬─────────────────────┬──────────────────────────────────┬──────────────┐
//! │ flag │ id (varint)         │ route: length byte and text,     │ body         │
//! │      │ request, response   │ or two-byte code; not: response  │ to the end   │
//! └──────┴─────────────────────┴──────────────────────────────────┴──────────────┘
//!
//! flag   0b00ez_tttr   e: error response   z: body is zlib   t: type   r: route is a dictionary code
//! ```

use core::fmt;

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

use crate::{
    MAX_ROUTE_LEN, Route, RouteDictionary,
    compression::{self, InflateError},
};

const ROUTE_CODE: u8 = 0x01;
const TYPE_MASK: u8 = 0x07;
const COMPRESSED: u8 = 0x10;
const ERROR: u8 = 0x20;

/// A u64 in groups of seven bits.
const MAX_ID_LEN: usize = 10;

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum MessageType {
    /// A client asks and expects an answer.
    Request = 0,
    /// A client tells.
    Notify = 1,
    /// The server's answer, or an error.
    Response = 2,
    /// The server tells.
    Push = 3,
}

impl TryFrom<u8> for MessageType {
    type Error = MessageError;

    fn try_from(byte: u8) -> Result<Self, MessageError> {
        Ok(match byte {
            0 => Self::Request,
            1 => Self::Notify,
            2 => Self::Response,
            3 => Self::Push,
            _ => return Err(MessageError::WrongType(byte)),
        })
    }
}

impl MessageType {
    const fn has_id(self) -> bool {
        matches!(self, Self::Request | Self::Response)
    }

    const fn has_route(self) -> bool {
        !matches!(self, Self::Response)
    }
}

/// Which request a response answers. The client chooses it; the server echoes it exactly.
///
/// Zero asks for no answer: such a request is handled and never answered.
///
/// Some clients write ids in more bytes than they need, and know only the same bytes again. So an id has a length, too.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageId {
    number: u64,
    /// How many bytes it takes on the wire.
    len: u8,
}

impl MessageId {
    /// The id that asks for no answer.
    pub const NONE: Self = Self::new(0);

    /// The id with this number, in as few bytes as possible.
    pub const fn new(number: u64) -> Self {
        Self { number, len: (64 - (number | 1).leading_zeros()).div_ceil(7) as u8 }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.number
    }

    /// Whether it asks for no answer.
    pub const fn is_none(self) -> bool {
        self.number == 0
    }

    /// Reads an id, seven bits a byte, the lowest first.
    fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut number = 0;
        for (index, byte) in bytes.iter().take(MAX_ID_LEN).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Self { number, len: index as u8 + 1 });
            }
        }
        Err(MessageError::InvalidId)
    }

    fn encode(self, buf: &mut impl BufMut) {
        let mut rest = self.number;
        for _ in 1..self.len {
            buf.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        buf.put_u8(rest as u8 & 0x7f);
    }
}

impl Default for MessageId {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// One message, the body of a Data packet.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use cereus_core::{Route, RouteDictionary, message::{Message, MessageId}};
///
/// let dictionary = RouteDictionary::default();
/// let request = Message::request(MessageId::new(1), Route::from_static("a.b"), "x");
/// let mut buf = BytesMut::new();
/// request.encode(&dictionary, false, &mut buf)?;
/// assert_eq!(&buf[..], b"\x00\x01\x03a.bx");
/// assert_eq!(Message::decode(buf.freeze(), &dictionary, 1024)?, request);
/// # Ok::<(), cereus_core::message::MessageError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// What the message is.
    pub kind: MessageType,
    /// The request that it is or answers; [`MessageId::NONE`] for the other types.
    pub id: MessageId,
    /// What it is for; empty for a response.
    pub route: Route,
    /// Whether a response carries an error. Clients that set it are ignored.
    pub error: bool,
    /// The body, inflated.
    pub body: Bytes,
}

impl Message {
    /// A message of this type. What the type has no place for is not sent.
    pub fn new(kind: MessageType, id: MessageId, route: Route, body: impl Into<Bytes>) -> Self {
        Self { kind, id, route, error: false, body: body.into() }
    }

    /// A request.
    pub fn request(id: MessageId, route: Route, body: impl Into<Bytes>) -> Self {
        Self::new(MessageType::Request, id, route, body)
    }

    /// A notify.
    pub fn notify(route: Route, body: impl Into<Bytes>) -> Self {
        Self::new(MessageType::Notify, MessageId::NONE, route, body)
    }

    /// An answer.
    pub fn response(id: MessageId, body: impl Into<Bytes>) -> Self {
        Self::new(MessageType::Response, id, Route::default(), body)
    }

    /// An answer that is an error.
    pub fn error(id: MessageId, body: impl Into<Bytes>) -> Self {
        Self { error: true, ..Self::response(id, body) }
    }

    /// A push.
    pub fn push(route: Route, body: impl Into<Bytes>) -> Self {
        Self::new(MessageType::Push, MessageId::NONE, route, body)
    }

    /// Appends the message to `buf`: the route as a code if the dictionary has one, the body deflated if `compress` and
    /// that is strictly shorter.
    ///
    /// # Errors
    ///
    /// [`MessageError::RouteTooLong`]; nothing was written then.
    pub fn encode(
        &self,
        dictionary: &RouteDictionary,
        compress: bool,
        buf: &mut impl BufMut,
    ) -> Result<(), MessageError> {
        let route = match self.kind.has_route() {
            true => RouteField::new(&self.route, dictionary)?,
            false => RouteField::None,
        };
        let deflated = if compress { compression::deflate(&self.body) } else { None };
        let head = Head { kind: self.kind, error: self.error, compressed: deflated.is_some(), id: self.id, route };
        head.encode(buf);
        buf.put_slice(deflated.as_deref().unwrap_or(&self.body));
        Ok(())
    }

    /// Reads a message. Route and body are slices of `bytes`, unless the body has to be inflated, to at most
    /// `max_inflated` bytes.
    ///
    /// # Errors
    ///
    /// Any but [`MessageError::RouteTooLong`]: the sender is at fault.
    pub fn decode(bytes: Bytes, dictionary: &RouteDictionary, max_inflated: usize) -> Result<Self, MessageError> {
        let compressed = bytes.first().is_some_and(|flags| flags & COMPRESSED != 0);
        let mut message = Self::decode_head(bytes, dictionary)?;
        if compressed {
            message.body = compression::inflate(&message.body, max_inflated)?.into();
        }
        Ok(message)
    }

    /// Reads everything but the body, which stays as it is.
    pub(crate) fn decode_head(mut bytes: Bytes, dictionary: &RouteDictionary) -> Result<Self, MessageError> {
        if bytes.len() < 2 {
            return Err(MessageError::Truncated);
        }
        let flags = bytes[0];
        let kind = MessageType::try_from((flags >> 1) & TYPE_MASK)?;
        let mut at = 1;
        let mut id = MessageId::NONE;
        if kind.has_id() {
            id = MessageId::decode(&bytes[at..])?;
            at += usize::from(id.len);
        }
        let route = match kind.has_route() {
            true if flags & ROUTE_CODE != 0 => {
                let code = bytes.get(at..at + 2).ok_or(MessageError::Truncated)?;
                let code = u16::from_be_bytes([code[0], code[1]]);
                at += 2;
                dictionary.route(code).ok_or(MessageError::UnknownCode(code))?.clone()
            }
            true => {
                let len = usize::from(*bytes.get(at).ok_or(MessageError::Truncated)?);
                at += 1;
                if bytes.len() < at + len {
                    return Err(MessageError::Truncated);
                }
                bytes.advance(at);
                at = 0;
                Route::from_bytes(bytes.split_to(len))
            }
            false => Route::default(),
        };
        bytes.advance(at);
        Ok(Self { kind, id, route, error: flags & ERROR != 0, body: bytes })
    }
}

/// Everything of a message but its body, as it will be on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) kind: MessageType,
    pub(crate) error: bool,
    pub(crate) compressed: bool,
    pub(crate) id: MessageId,
    pub(crate) route: RouteField,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RouteField {
    None,
    Code(u16),
    Text(Route),
}

impl RouteField {
    pub(crate) fn new(route: &Route, dictionary: &RouteDictionary) -> Result<Self, MessageError> {
        match dictionary.code(route) {
            Some(code) => Ok(Self::Code(code)),
            None => Self::text(route),
        }
    }

    pub(crate) fn text(route: &Route) -> Result<Self, MessageError> {
        match route.len() {
            0..=MAX_ROUTE_LEN => Ok(Self::Text(route.clone())),
            len => Err(MessageError::RouteTooLong(len)),
        }
    }
}

impl Head {
    pub(crate) fn encoded_len(&self) -> usize {
        let id = if self.kind.has_id() { usize::from(self.id.len) } else { 0 };
        let route = match &self.route {
            RouteField::None => 0,
            RouteField::Code(_) => 2,
            RouteField::Text(route) => 1 + route.len(),
        };
        1 + id + route
    }

    pub(crate) fn encode(&self, buf: &mut impl BufMut) {
        let mut flags = (self.kind as u8) << 1;
        if matches!(self.route, RouteField::Code(_)) {
            flags |= ROUTE_CODE;
        }
        if self.compressed {
            flags |= COMPRESSED;
        }
        if self.error {
            flags |= ERROR;
        }
        buf.put_u8(flags);
        if self.kind.has_id() {
            self.id.encode(buf);
        }
        match &self.route {
            RouteField::None => {}
            RouteField::Code(code) => buf.put_u16(*code),
            RouteField::Text(route) => {
                buf.put_u8(route.len() as u8);
                buf.put_slice(route.as_bytes());
            }
        }
    }
}

/// What is wrong with a message. Whoever sent it is at fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum MessageError {
    /// The message ends before its id, route length, route or code does.
    #[error("the message is too short for what it announces")]
    Truncated,
    /// The id does not end, or is longer than ten bytes.
    #[error("the message id does not end")]
    InvalidId,
    /// The type is not one of the four.
    #[error("wrong message type {0}")]
    WrongType(u8),
    /// The dictionary has no such code.
    #[error("the route code {0} is not in the dictionary")]
    UnknownCode(u16),
    /// A route as text has at most 255 bytes. Only encoding can fail so.
    #[error("a route of {0} bytes is longer than the {MAX_ROUTE_LEN} that a message can carry")]
    RouteTooLong(usize),
    /// The body cannot be inflated.
    #[error(transparent)]
    Inflate(#[from] InflateError),
}
