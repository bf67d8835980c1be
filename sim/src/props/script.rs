use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the length byte of an input can tell.
const MAX_INPUT: usize = 255;

/// What is done to a server connection, and in what order. Any bytes are a script.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Script {
    /// Bits that choose the configuration.
    pub settings: u8,
    /// One after the other.
    pub ops: Vec<Op>,
}

/// One thing that is done to a server connection.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// The peer sends these bytes. In the encoded form, 255 at once.
    Input(Bytes),
    /// The peer sends a whole packet: type and body, 255 bytes at most.
    Packet(u8, Bytes),
    /// The peer sends so many kibibytes of whole packets of this type.
    Flood(u8, u8),
    /// The peer sends no more.
    Eof,
    /// So many tenths of a second pass; deadlines are met on time.
    Wait(u16),
    /// So many tenths of a second pass before the driver looks at a deadline.
    Oversleep(u16),
    /// At most so many events are polled.
    Poll(u8),
    /// The handshake is accepted.
    Accept,
    /// The handshake is refused.
    Reject,
    /// One of the waiting requests is answered with so many bytes.
    Respond(u8, u16),
    /// One of the waiting requests is answered with an error of so many bytes.
    RespondError(u8, u16),
    /// A request with this id is answered, whether it waits or not.
    RespondTo(u64),
    /// A push to one of the routes, of so many bytes.
    Push(u8, u16),
    /// The same, encoded before.
    PushEncoded(u8, u16),
    /// A push that was encoded for another configuration.
    PushForeign,
    /// The client is kicked, with a reason or without.
    Kick(bool),
    /// The connection is closed.
    Close,
    /// The driver gives the connection up.
    Abort,
    /// At most so many packets are transmitted.
    Transmit(u8),
}

impl Script {
    /// A script of these settings and operations.
    pub const fn new(settings: u8, ops: Vec<Op>) -> Self {
        Self { settings, ops }
    }

    /// The script that `bytes` are. What is missing at their end is zero or empty.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut reader = Reader(bytes);
        let settings = reader.u8();
        let mut ops = Vec::new();
        while !reader.0.is_empty() {
            ops.push(Op::decode(&mut reader));
        }
        Self { settings, ops }
    }

    /// The bytes that are this script.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::new();
        buf.put_u8(self.settings);
        self.ops.iter().for_each(|op| op.encode(&mut buf));
        buf.freeze()
    }
}

impl Op {
    fn decode(reader: &mut Reader<'_>) -> Self {
        match reader.u8() % 19 {
            0 => Self::Input(reader.bytes()),
            1 => Self::Packet(reader.u8(), reader.bytes()),
            2 => Self::Flood(reader.u8(), reader.u8()),
            3 => Self::Eof,
            4 => Self::Wait(reader.u16()),
            5 => Self::Oversleep(reader.u16()),
            6 => Self::Poll(reader.u8()),
            7 => Self::Accept,
            8 => Self::Reject,
            9 => Self::Respond(reader.u8(), reader.u16()),
            10 => Self::RespondError(reader.u8(), reader.u16()),
            11 => Self::RespondTo(reader.u64()),
            12 => Self::Push(reader.u8(), reader.u16()),
            13 => Self::PushEncoded(reader.u8(), reader.u16()),
            14 => Self::PushForeign,
            15 => Self::Kick(reader.u8() & 1 != 0),
            16 => Self::Close,
            17 => Self::Abort,
            _ => Self::Transmit(reader.u8()),
        }
    }

    fn encode(&self, buf: &mut BytesMut) {
        if let Self::Input(bytes) = self
            && bytes.len() > MAX_INPUT
        {
            return bytes.chunks(MAX_INPUT).for_each(|bytes| Self::Input(Bytes::copy_from_slice(bytes)).encode(buf));
        }
        let code: u8 = match self {
            Self::Input(_) => 0,
            Self::Packet(..) => 1,
            Self::Flood(..) => 2,
            Self::Eof => 3,
            Self::Wait(_) => 4,
            Self::Oversleep(_) => 5,
            Self::Poll(_) => 6,
            Self::Accept => 7,
            Self::Reject => 8,
            Self::Respond(..) => 9,
            Self::RespondError(..) => 10,
            Self::RespondTo(_) => 11,
            Self::Push(..) => 12,
            Self::PushEncoded(..) => 13,
            Self::PushForeign => 14,
            Self::Kick(_) => 15,
            Self::Close => 16,
            Self::Abort => 17,
            Self::Transmit(_) => 18,
        };
        buf.put_u8(code);
        match self {
            Self::Input(bytes) => put_bytes(buf, bytes),
            Self::Packet(kind, body) => {
                buf.put_u8(*kind);
                put_bytes(buf, body);
            }
            Self::Flood(kind, kibibytes) => buf.put_slice(&[*kind, *kibibytes]),
            Self::Wait(tenths) | Self::Oversleep(tenths) => buf.put_u16(*tenths),
            Self::Poll(count) | Self::Transmit(count) => buf.put_u8(*count),
            Self::RespondTo(id) => buf.put_u64(*id),
            Self::Respond(which, len)
            | Self::RespondError(which, len)
            | Self::Push(which, len)
            | Self::PushEncoded(which, len) => {
                buf.put_u8(*which);
                buf.put_u16(*len);
            }
            Self::Kick(reason) => buf.put_u8((*reason).into()),
            Self::Eof | Self::Accept | Self::Reject | Self::PushForeign | Self::Close | Self::Abort => {}
        }
    }
}

fn put_bytes(buf: &mut BytesMut, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_INPUT)];
    buf.put_u8(bytes.len() as u8);
    buf.put_slice(bytes);
}

/// Reads numbers; what is missing is zero.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u8(&mut self) -> u8 {
        self.0.try_get_u8().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn u64(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.u8()))
    }

    fn bytes(&mut self) -> Bytes {
        let len = usize::from(self.u8()).min(self.0.len());
        self.0.copy_to_bytes(len)
    }
}
