//! What is done to a machine, and in what order. Any bytes are a script.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the length byte of an input can tell.
const MAX_INPUT: usize = 255;

/// Operations on one kind of machine, one after the other. Any bytes are a script.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Script<O: Operation> {
    /// Bits that choose the configuration.
    pub settings: O::Settings,
    /// One after the other.
    pub ops: Vec<O>,
}

impl<O: Operation> Script<O> {
    /// A script of these settings and operations.
    pub const fn new(settings: O::Settings, ops: Vec<O>) -> Self {
        Self { settings, ops }
    }

    /// The script that `bytes` are. What is missing at their end is zero or empty.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut reader = Reader(bytes);
        let settings = O::Settings::read(&mut reader);
        let mut ops = Vec::new();
        while !reader.0.is_empty() {
            ops.push(O::decode(&mut reader));
        }
        Self { settings, ops }
    }

    /// The bytes that are this script.
    pub fn encode(&self) -> Bytes {
        let mut buf = BytesMut::new();
        self.settings.write(&mut buf);
        self.ops.iter().for_each(|op| op.encode(&mut buf));
        buf.freeze()
    }
}

/// One thing that is done to a machine.
pub trait Operation: Clone + fmt::Debug + Eq + Sized {
    /// Bits that choose the configuration.
    type Settings: Field;

    /// Reads one.
    fn decode(reader: &mut Reader<'_>) -> Self;
    /// Writes it.
    fn encode(&self, buf: &mut BytesMut);
}

/// Makes an enum an [`Operation`]: a byte that chooses the variant, then what it has.
macro_rules! operations {
    (
        $(#[$about:meta])*
        pub enum $name:ident: $settings:ty { $($(#[$doc:meta])* $code:literal $variant:ident $(($($field:ident: $type:ty),+))?,)+ }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant $(($($type),+))?,)+ }

        impl $crate::props::script::Operation for $name {
            type Settings = $settings;

            fn decode(reader: &mut $crate::props::script::Reader<'_>) -> Self {
                const COUNT: u8 = [$($code),+].len() as u8;
                match reader.u8() % COUNT {
                    $($code => Self::$variant $(($(<$type as $crate::props::script::Field>::read(reader)),+))?,)+
                    _ => unreachable!("the codes are the numbers below their count"),
                }
            }

            fn encode(&self, buf: &mut bytes::BytesMut) {
                match self {
                    $(Self::$variant $(($($field),+))? => {
                        bytes::BufMut::put_u8(buf, $code);
                        $($($crate::props::script::Field::write($field, buf);)+)?
                    })+
                }
            }
        }
    };
}
pub(super) use operations;

/// What an operation has.
pub trait Field: Clone + fmt::Debug + Default + Eq {
    /// Reads it.
    fn read(reader: &mut Reader<'_>) -> Self;
    /// Writes it.
    fn write(&self, buf: &mut BytesMut);
}

impl Field for u8 {
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.u8()
    }

    fn write(&self, buf: &mut BytesMut) {
        buf.put_u8(*self);
    }
}

impl Field for u16 {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self::from_be_bytes([reader.u8(), reader.u8()])
    }

    fn write(&self, buf: &mut BytesMut) {
        buf.put_u16(*self);
    }
}

impl Field for u64 {
    fn read(reader: &mut Reader<'_>) -> Self {
        (0..8).fold(0, |number, _| number << 8 | Self::from(reader.u8()))
    }

    fn write(&self, buf: &mut BytesMut) {
        buf.put_u64(*self);
    }
}

impl Field for bool {
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.u8() & 1 != 0
    }

    fn write(&self, buf: &mut BytesMut) {
        buf.put_u8((*self).into());
    }
}

/// At most 255 of them; what is longer is cut off.
impl Field for Bytes {
    fn read(reader: &mut Reader<'_>) -> Self {
        let len = usize::from(reader.u8()).min(reader.0.len());
        reader.0.copy_to_bytes(len)
    }

    fn write(&self, buf: &mut BytesMut) {
        let bytes = &self[..self.len().min(MAX_INPUT)];
        buf.put_u8(bytes.len() as u8);
        buf.put_slice(bytes);
    }
}

/// Reads the bytes of a script; what is missing is zero.
#[derive(Debug)]
pub struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn u8(&mut self) -> u8 {
        self.0.try_get_u8().unwrap_or(0)
    }
}
