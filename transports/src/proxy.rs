//! The PROXY protocol, versions 1 and 2 (specification, section 1.9): a header in which a load balancer tells whose connection
//! it hands on.

use std::{
    fmt, io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use bytes::BytesMut;
use thiserror::Error;

use crate::{Transport, TransportError};

const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its end of line.
const MAX_TEXT: usize = 107;
/// The longest rest of a header of version 2.
const MAX_BINARY: usize = 2048;
/// What comes before that rest.
const BINARY_HEAD: usize = 16;

/// A layer that reads the header before anything else and knows the real peer from then on.
///
/// The header is mandatory: whoever comes without one is refused, as is a connection of the load balancer's own (`UNKNOWN`,
/// `LOCAL`), for which there is no peer.
pub struct ProxyHeader(State);

/// Makes what is spoken behind the header.
type Make = Box<dyn FnOnce(SocketAddr) -> io::Result<Box<dyn Transport>> + Send>;

enum State {
    Reading {
        /// As far as it came.
        header: Vec<u8>,
        make: Make,
    },
    Read(SocketAddr, Box<dyn Transport>),
    Refused,
}

impl ProxyHeader {
    /// A layer that waits for the header.
    pub fn new(inner: Box<dyn Transport>) -> Self {
        Self::with(|_| Ok(inner))
    }

    /// A layer that makes the transport within once the header has told the peer. An error refuses him.
    pub fn with(make: impl FnOnce(SocketAddr) -> io::Result<Box<dyn Transport>> + Send + 'static) -> Self {
        Self(State::Reading { header: Vec::new(), make: Box::new(make) })
    }

    /// Reads the header. Returns what follows it in `wire` once it is whole.
    fn read_header<'a>(&mut self, wire: &'a [u8]) -> Result<Option<&'a [u8]>, TransportError> {
        let State::Reading { header, .. } = &mut self.0 else {
            return Ok(self.is_open().then_some(wire));
        };
        let before = header.len();
        let room = BINARY_HEAD + MAX_BINARY - before;
        header.extend_from_slice(&wire[..wire.len().min(room)]);
        let Some(parsed) = parse(header).transpose() else {
            return Ok(None);
        };
        let State::Reading { make, .. } = mem::replace(&mut self.0, State::Refused) else {
            return Ok(None);
        };
        let (len, peer) = parsed.map_err(|wrong| TransportError::Protocol(format!("PROXY header: {wrong}")))?;
        let inner = make(peer).map_err(|error| TransportError::Refused(error.to_string()))?;
        self.0 = State::Read(peer, inner);
        Ok(Some(&wire[len - before..]))
    }
}

impl Transport for ProxyHeader {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        match (self.read_header(wire)?, &mut self.0) {
            (Some(rest), State::Read(_, inner)) if !rest.is_empty() => inner.decode(rest, sink),
            _ => Ok(()),
        }
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        if let State::Read(_, inner) = &mut self.0 {
            inner.encode(next, wire, limit);
        }
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        match &mut self.0 {
            State::Read(_, inner) => inner.handle_eof(),
            State::Reading { .. } => Err(TransportError::Protocol("PROXY header: it was cut short".to_owned())),
            State::Refused => Ok(()),
        }
    }

    fn close(&mut self, wire: &mut BytesMut) {
        if let State::Read(_, inner) = &mut self.0 {
            inner.close(wire);
        }
    }

    fn release(&mut self) {
        if let State::Read(_, inner) = &mut self.0 {
            inner.release();
        }
    }

    fn buffered(&self) -> usize {
        match &self.0 {
            State::Read(_, inner) => inner.buffered(),
            _ => 0,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.0, State::Read(..))
    }

    fn peer(&self) -> Option<SocketAddr> {
        match self.0 {
            State::Read(peer, _) => Some(peer),
            _ => None,
        }
    }
}

impl fmt::Debug for ProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = match &self.0 {
            State::Read(_, inner) => Some(inner),
            _ => None,
        };
        f.debug_struct("ProxyHeader").field("peer", &self.peer()).field("inner", &inner).finish()
    }
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
enum Wrong {
    #[error("there is none: only a load balancer that sends it may connect here")]
    None,
    #[error("it is longer than it may be")]
    TooLong,
    #[error("it cannot be read")]
    Text,
    #[error("its version or its command is unknown")]
    Version,
    #[error("its address is not one of IPv4 or IPv6")]
    Family,
    #[error("its addresses are cut short")]
    Addresses,
    #[error("it names no peer: a connection of the load balancer's own")]
    NoPeer,
}

/// The length of a header and the address of its peer, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(usize, SocketAddr)>, Wrong> {
    if starts(bytes, TEXT) {
        parse_text(bytes)
    } else if starts(bytes, BINARY) {
        parse_binary(bytes)
    } else {
        Err(Wrong::None)
    }
}

/// As far as there is anything to compare.
fn starts(bytes: &[u8], with: &[u8]) -> bool {
    let len = bytes.len().min(with.len());
    bytes[..len] == with[..len]
}

fn parse_text(bytes: &[u8]) -> Result<Option<(usize, SocketAddr)>, Wrong> {
    let limit = bytes.len().min(MAX_TEXT);
    let Some(end) = bytes[..limit].windows(2).position(|pair| pair == b"\r\n") else {
        return if limit == MAX_TEXT { Err(Wrong::TooLong) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[TEXT.len()..end]).map_err(|_| Wrong::Text)?;
    let words: Vec<_> = line.split(' ').collect();
    let peer = match words[..] {
        ["UNKNOWN", ..] => return Err(Wrong::NoPeer),
        ["TCP4", source, destination, port, _] => text_address::<Ipv4Addr>(source, destination, port)?,
        ["TCP6", source, destination, port, _] => text_address::<Ipv6Addr>(source, destination, port)?,
        _ => return Err(Wrong::Text),
    };
    Ok(Some((end + 2, peer)))
}

fn text_address<A: FromStr + Into<IpAddr>>(source: &str, destination: &str, port: &str) -> Result<SocketAddr, Wrong> {
    let address = |text: &str| text.parse::<A>().map_err(|_| Wrong::Text);
    address(destination)?;
    Ok(SocketAddr::new(address(source)?.into(), port.parse().map_err(|_| Wrong::Text)?))
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(usize, SocketAddr)>, Wrong> {
    let Some(head) = bytes.first_chunk::<BINARY_HEAD>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *head;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_BINARY {
        return Err(Wrong::TooLong);
    }
    let Some(rest) = bytes.get(BINARY_HEAD..BINARY_HEAD + len) else {
        return Ok(None);
    };
    match command {
        0x20 => return Err(Wrong::NoPeer),
        0x21 => {}
        _ => return Err(Wrong::Version),
    }
    // Stream or datagram: what is handed on came as a stream.
    let peer = match family {
        0x11 | 0x12 => binary_address::<4>(rest)?,
        0x21 | 0x22 => binary_address::<16>(rest)?,
        _ => return Err(Wrong::Family),
    };
    Ok(Some((BINARY_HEAD + len, peer)))
}

/// Source, destination, their ports; what follows is not looked at.
fn binary_address<const N: usize>(rest: &[u8]) -> Result<SocketAddr, Wrong>
where
    IpAddr: From<[u8; N]>,
{
    let source = rest.first_chunk::<N>().ok_or(Wrong::Addresses)?;
    let ports = rest.get(2 * N..2 * N + 4).ok_or(Wrong::Addresses)?;
    Ok(SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([ports[0], ports[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Raw;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [&BINARY[..], &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    /// What comes out, however the bytes are cut.
    fn read(bytes: &[u8]) -> Result<(Option<SocketAddr>, Vec<u8>), TransportError> {
        let results = [1, 3, usize::MAX].map(|chunk| {
            let (mut layer, mut out) = (ProxyHeader::new(Box::new(Raw)), Vec::new());
            for part in bytes.chunks(chunk.min(bytes.len())) {
                layer.decode(part, &mut |bytes| out.extend_from_slice(bytes))?;
            }
            Ok((layer.peer(), out))
        });
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
        let [result, ..] = results;
        result
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn both_versions_name_the_peer() {
        let text = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nrest";
        assert_eq!(read(text), Ok((address("192.0.2.1:56324"), b"rest".to_vec())));
        let text = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n";
        assert_eq!(read(text), Ok((address("[2001:db8::1]:56324"), Vec::new())));
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 187, 3, 0, 1, 9];
        let with_rest = [binary(0x21, 0x11, &four), b"rest".to_vec()].concat();
        assert_eq!(read(&with_rest), Ok((address("192.0.2.1:56324"), b"rest".to_vec())));
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 80, 0, 81]].concat();
        assert_eq!(read(&binary(0x21, 0x21, &six)), Ok((address("[::1]:80"), Vec::new())));
    }

    #[test]
    fn whatever_else_is_refused() {
        let refused = |bytes: &[u8]| match read(bytes) {
            Err(TransportError::Protocol(text)) => text,
            other => panic!("{other:?}"),
        };
        for (bytes, wrong) in [
            (&b"\x01\0\0\x02{}"[..], Wrong::None),
            (b"PROXIES", Wrong::None),
            (b"PROXY UNKNOWN\r\n", Wrong::NoPeer),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Wrong::NoPeer),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", Wrong::Text),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", Wrong::Text),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Wrong::Text),
            (b"PROXY TCP4 \xff\r\n", Wrong::Text),
            (&[b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(), Wrong::TooLong),
            (&binary(0x20, 0, b""), Wrong::NoPeer),
            (&binary(0x31, 0x11, &[0; 12]), Wrong::Version),
            (&binary(0x21, 0x31, &[0; 216]), Wrong::Family),
            (&binary(0x21, 0x11, &[0; 11]), Wrong::Addresses),
            (&binary(0x21, 0x11, &[0; MAX_BINARY + 1]), Wrong::TooLong),
        ] {
            assert_eq!(refused(bytes), format!("PROXY header: {wrong}"), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn nothing_is_sent_before_it() {
        let mut layer = ProxyHeader::new(Box::new(Raw));
        let mut wire = BytesMut::new();
        layer.encode(&mut |_| panic!("asked for a packet"), &mut wire, usize::MAX);
        layer.decode(b"PROXY TCP4 1.2", &mut |_| panic!("nothing came")).unwrap();
        layer.close(&mut wire);
        assert_eq!((wire.len(), layer.peer()), (0, None));
        assert!(layer.handle_eof().is_err());
    }
}
