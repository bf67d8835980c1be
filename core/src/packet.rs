//! The outer frame of the protocol: a type byte, a 24-bit length, a body (specification, section 1).
//!
//! ```text
//!  0      1             4
//! ┌──────┬─────────────┬──────────────┐
//! │ type │ body length │ body         │   length: unsigned, big-endian, header not counted
//! └──────┴─────────────┴──────────────┘
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// The longest body that the 24-bit length field can express.
pub const MAX_BODY_LEN: usize = 0xff_ffff;

/// What a packet is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum PacketType {
    /// The client's request and the server's response, both JSON.
    Handshake = 1,
    /// The client accepts the server's handshake response.
    HandshakeAck = 2,
    /// Either side is alive.
    Heartbeat = 3,
    /// One [message](crate::message).
    Data = 4,
    /// The server ends the connection.
    Kick = 5,
}

impl TryFrom<u8> for PacketType {
    type Error = PacketError;

    fn try_from(byte: u8) -> Result<Self, PacketError> {
        Ok(match byte {
            1 => Self::Handshake,
            2 => Self::HandshakeAck,
            3 => Self::Heartbeat,
            4 => Self::Data,
            5 => Self::Kick,
            _ => return Err(PacketError::WrongType(byte)),
        })
    }
}

/// The four bytes before every body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PacketHeader {
    /// What the packet is for.
    pub kind: PacketType,
    /// How many bytes of body follow, at most [`MAX_BODY_LEN`].
    pub body_len: usize,
}

impl PacketHeader {
    /// The size of a header in bytes.
    pub const LEN: usize = 4;

    /// A header for a body of this length.
    ///
    /// # Errors
    ///
    /// [`PacketError::TooLarge`] when the length field cannot express it.
    pub const fn new(kind: PacketType, body_len: usize) -> Result<Self, PacketError> {
        if body_len > MAX_BODY_LEN {
            return Err(PacketError::TooLarge { len: body_len, max: MAX_BODY_LEN });
        }
        Ok(Self { kind, body_len })
    }

    /// Reads a header. The type is checked before the length.
    ///
    /// # Errors
    ///
    /// [`PacketError::InvalidHeader`] for anything but exactly four bytes, [`PacketError::WrongType`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let &[kind, high, middle, low] = bytes else {
            return Err(PacketError::InvalidHeader);
        };
        let kind = PacketType::try_from(kind)?;
        Ok(Self { kind, body_len: u32::from_be_bytes([0, high, middle, low]) as usize })
    }

    /// The four bytes of this header.
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [_, high, middle, low] = (self.body_len as u32).to_be_bytes();
        [self.kind as u8, high, middle, low]
    }
}

/// One whole packet.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Packet {
    /// What the packet is for.
    pub kind: PacketType,
    /// Its body: a slice of the buffer that it was read into.
    pub body: Bytes,
}

/// Appends one packet to `buf`.
///
/// # Errors
///
/// [`PacketError::TooLarge`]; nothing was written then.
///
/// ```
/// use bytes::BytesMut;
/// use cereus_core::packet::{self, PacketType};
///
/// let mut buf = BytesMut::new();
/// packet::encode(PacketType::Heartbeat, b"", &mut buf)?;
/// assert_eq!(&buf[..], [3, 0, 0, 0]);
/// # Ok::<(), packet::PacketError>(())
/// ```
pub fn encode(kind: PacketType, body: &[u8], buf: &mut BytesMut) -> Result<(), PacketError> {
    let header = PacketHeader::new(kind, body.len())?;
    buf.reserve(PacketHeader::LEN + body.len());
    buf.put_slice(&header.encode());
    buf.put_slice(body);
    Ok(())
}

/// Reads `bytes` as exactly one packet, as a WebSocket message must be (specification, section 1.7).
///
/// # Errors
///
/// A bad header, and [`PacketError::Truncated`] or [`PacketError::Excess`] when the body is shorter or longer than
/// announced.
pub fn decode_exact(bytes: &[u8]) -> Result<(PacketHeader, &[u8]), PacketError> {
    let Some((header, body)) = bytes.split_at_checked(PacketHeader::LEN) else {
        return Err(PacketError::InvalidHeader);
    };
    let header = PacketHeader::parse(header)?;
    match body.len() {
        len if len < header.body_len => Err(PacketError::Truncated),
        len if len > header.body_len => Err(PacketError::Excess),
        _ => Ok((header, body)),
    }
}

/// What is wrong with a packet. Whoever sent it is at fault; while sending, that is the caller.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PacketError {
    /// A header is exactly four bytes long.
    #[error("a packet header is exactly 4 bytes long")]
    InvalidHeader,
    /// The first byte of a header is not one of the five types.
    #[error("wrong packet type {0:#04x}")]
    WrongType(u8),
    /// The body is longer than allowed.
    #[error("a packet body of {len} bytes is longer than the {max} that are allowed")]
    TooLarge {
        /// The length that was announced or attempted.
        len: usize,
        /// The limit in force.
        max: usize,
    },
    /// The bytes end before the announced body does.
    #[error("less data than the packet header announced")]
    Truncated,
    /// Bytes follow the announced body where only one packet may stand.
    #[error("more data than the packet header announced")]
    Excess,
}

/// Cuts a stream of bytes into packets, whatever its segmentation.
///
/// Bytes are copied in once; the bodies that come out are slices of that copy. Headers are looked at as they arrive, so
/// that the number of whole packets waiting is known; a bad header fails [`next_packet`](Self::next_packet) when its turn
/// comes, after all packets before it.
///
/// ```
/// use cereus_core::packet::{PacketDecoder, PacketType};
///
/// let mut decoder = PacketDecoder::new(1024);
/// decoder.push(&[3, 0, 0, 0, 4, 0, 0]);
/// assert_eq!(decoder.next_packet()?.map(|packet| packet.kind), Some(PacketType::Heartbeat));
/// assert_eq!(decoder.next_packet()?, None);
/// decoder.push(&[2, b'h', b'i']);
/// assert_eq!(decoder.next_packet()?.unwrap().body, "hi");
/// # Ok::<(), cereus_core::packet::PacketError>(())
/// ```
#[derive(Debug)]
pub struct PacketDecoder {
    buffer: BytesMut,
    /// Where the first header that is not followed by its whole body begins.
    scanned: usize,
    /// How many packets lie before `scanned`.
    complete: usize,
    /// The header at `scanned` is known to be bad: nothing behind it can be read.
    bad: bool,
    max_body: u32,
}

impl PacketDecoder {
    /// A decoder that refuses bodies longer than `max_body` bytes.
    pub fn new(max_body: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            complete: 0,
            bad: false,
            max_body: max_body.min(MAX_BODY_LEN) as u32,
        }
    }

    /// Appends what the peer sent. Returns whether at least one packet became whole.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if self.bad {
            return false;
        }
        self.buffer.extend_from_slice(bytes);
        let before = self.complete;
        while !self.bad {
            match self.header_at(self.scanned) {
                Ok(Some(end)) if end <= self.buffer.len() => {
                    self.scanned = end;
                    self.complete += 1;
                }
                Ok(_) => break,
                Err(_) => {
                    self.bad = true;
                    self.buffer.truncate(self.scanned + PacketHeader::LEN);
                }
            }
        }
        self.complete > before
    }

    /// The next packet, or `None` until more bytes arrive.
    ///
    /// # Errors
    ///
    /// A wrong type or a body over the limit: the stream cannot be read any further.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, PacketError> {
        if self.complete == 0 {
            return if self.bad { self.header_at(0).map(|_| None) } else { Ok(None) };
        }
        let header = PacketHeader::parse(&self.buffer[..PacketHeader::LEN])?;
        let end = PacketHeader::LEN + header.body_len;
        let mut packet = self.buffer.split_to(end).freeze();
        self.scanned -= end;
        self.complete -= 1;
        bytes::Buf::advance(&mut packet, PacketHeader::LEN);
        Ok(Some(Packet { kind: header.kind, body: packet }))
    }

    /// What it means that the stream ends here.
    ///
    /// # Errors
    ///
    /// [`PacketError::InvalidHeader`] inside a header, [`PacketError::Truncated`] inside a body.
    pub fn finish(&self) -> Result<(), PacketError> {
        match self.buffer.len() - self.scanned {
            0 => Ok(()),
            1..PacketHeader::LEN => Err(PacketError::InvalidHeader),
            _ => self.header_at(self.scanned).and(Err(PacketError::Truncated)),
        }
    }

    /// How long the body of the packet will be that is not whole yet, if none before it waits and its header is there.
    pub fn announced(&self) -> Option<usize> {
        if self.complete > 0 {
            return None;
        }
        let header = PacketHeader::parse(self.buffer.get(..PacketHeader::LEN)?).ok()?;
        Some(header.body_len)
    }

    /// The bytes held: whole packets that wait and the incomplete rest.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The memory of the buffer in bytes: what it holds, and the room for more.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The bytes of whole packets that wait, a bad header included.
    pub fn ready(&self) -> usize {
        self.scanned + if self.bad { PacketHeader::LEN } else { 0 }
    }

    /// The incomplete rest: what a peer that ends here leaves behind.
    pub fn tail(&self) -> &[u8] {
        &self.buffer[self.scanned..]
    }

    /// Gives the memory back if nothing waits.
    pub fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buffer = BytesMut::new();
        self.scanned = 0;
        self.complete = 0;
        self.bad = false;
    }

    /// The end of the packet whose header begins at `offset`, if the header is there.
    fn header_at(&self, offset: usize) -> Result<Option<usize>, PacketError> {
        let Some(bytes) = self.buffer.get(offset..offset + PacketHeader::LEN) else {
            return Ok(None);
        };
        let header = PacketHeader::parse(bytes)?;
        if header.body_len > self.max_body as usize {
            return Err(PacketError::TooLarge { len: header.body_len, max: self.max_body as usize });
        }
        Ok(Some(offset + PacketHeader::LEN + header.body_len))
    }
}
