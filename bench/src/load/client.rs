//! One client.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};

use mio::net::TcpStream;

use super::{Answer, Plan, STALL};

const HANDSHAKE: u8 = 1;
const HANDSHAKE_ACK: u8 = 2;
const HEARTBEAT: u8 = 3;
const DATA: u8 = 4;

/// The flags of messages.
const REQUEST: u8 = 0x00;
const RESPONSE: u8 = 0x04;
const ERROR: u8 = 0x24;

const HANDSHAKE_BODY: &[u8] = br#"{"sys":{"platform":"bench"}}"#;

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Route and body, the end of every request. Each connection has its own body.
    tail: Vec<u8>,
    /// Flags and bodies that are answers.
    answers: Vec<(u8, Vec<u8>)>,
    next_id: u64,
    /// The ids asked minus the ids answered: zero when nothing is in flight.
    ids: u64,
    /// The start of a packet that is still to come.
    partial: Vec<u8>,
    /// Requests that the socket did not take yet.
    unsent: Vec<u8>,
}

impl Connection {
    /// Connects and shakes hands.
    pub(super) fn open(address: SocketAddr, plan: &Plan<'_>, index: usize) -> io::Result<Self> {
        let mut stream = StdTcpStream::connect_timeout(&address, STALL)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STALL))?;
        shake_hands(&mut stream).map_err(|error| match error.kind() {
            // What a read that times out gives.
            ErrorKind::WouldBlock => io::Error::other(format!("no handshake within {STALL:?}")),
            ErrorKind::UnexpectedEof => io::Error::other("the server closed it in the handshake"),
            _ => error,
        })?;
        stream.set_nonblocking(true)?;

        let body: Vec<u8> = random_bytes(index as u64).take(plan.body).collect();
        let tail = [&[plan.route.len() as u8], plan.route.as_bytes(), &body].concat();
        let answers = match plan.answer {
            Answer::Echo => vec![(RESPONSE, body), (REQUEST, tail.clone())],
            Answer::Fixed(body) => vec![(RESPONSE, body.clone())],
        };
        Ok(Self {
            stream: TcpStream::from_std(stream),
            tail,
            answers,
            next_id: 1,
            ids: 0,
            partial: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// Whether nothing is in flight.
    pub(super) const fn is_even(&self) -> bool {
        self.ids == 0
    }

    /// Takes in what has arrived and, if `asking`, sends as many new requests. Returns the number of answers.
    pub(super) fn turn(&mut self, scratch: &mut [u8], asking: bool) -> io::Result<usize> {
        let mut answers = 0;
        loop {
            let held = self.partial.len();
            scratch[..held].copy_from_slice(&self.partial);
            let read = match self.stream.read(&mut scratch[held..]) {
                Ok(0) => return Err(io::Error::other("the server closed the connection")),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut bytes = &scratch[..held + read];
            while let Some((kind, body, rest)) = split_packet(bytes) {
                match kind {
                    DATA => {
                        self.answer(body)?;
                        answers += 1;
                    }
                    // The second is an echo of ours.
                    HEARTBEAT | HANDSHAKE_ACK => {}
                    _ => return Err(io::Error::other(format!("a packet of type {kind} came"))),
                }
                bytes = rest;
            }
            self.partial.clear();
            self.partial.extend_from_slice(bytes);
            // Less than there was room for: the socket is empty, and the next bytes raise a new event.
            if held + read < scratch.len() {
                break;
            }
        }
        if asking {
            self.ask(answers);
        }
        self.flush()?;
        Ok(answers)
    }

    /// Queues requests.
    pub(super) fn ask(&mut self, count: usize) {
        for _ in 0..count {
            let (id, id_len) = varint(self.next_id);
            let length = (1 + id_len + self.tail.len()) as u32;
            let [_, high, middle, low] = length.to_be_bytes();
            self.unsent.extend_from_slice(&[DATA, high, middle, low, REQUEST]);
            self.unsent.extend_from_slice(&id[..id_len]);
            self.unsent.extend_from_slice(&self.tail);
            self.ids = self.ids.wrapping_add(self.next_id);
            self.next_id += 1;
        }
    }

    /// Writes what the socket takes; the rest goes when it is writable again.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) if written == self.unsent.len() => self.unsent.clear(),
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Checks one message from the server.
    fn answer(&mut self, message: &[u8]) -> io::Result<()> {
        let wrong = |what: &str| {
            let text = String::from_utf8_lossy(message);
            Err(io::Error::other(format!("{what}: {text:?}")))
        };
        let Some((&flags, rest)) = message.split_first() else {
            return wrong("an empty message");
        };
        match flags {
            RESPONSE | REQUEST => {}
            ERROR => return wrong("the server answered an error"),
            _ => return wrong("no answer"),
        }
        let Some((id, id_len)) = read_varint(rest) else {
            return wrong("an answer without an id");
        };
        if id == 0 || id >= self.next_id {
            return wrong("an answer to nothing");
        }
        if !self.answers.iter().any(|(kind, body)| *kind == flags && *body == rest[id_len..]) {
            return wrong("an answer with another body than it should have");
        }
        self.ids = self.ids.wrapping_sub(id);
        Ok(())
    }
}

/// The exchange before the first request. An echo of the handshake is as good as an answer.
fn shake_hands(stream: &mut StdTcpStream) -> io::Result<()> {
    let mut request = vec![HANDSHAKE, 0, 0, HANDSHAKE_BODY.len() as u8];
    request.extend_from_slice(HANDSHAKE_BODY);
    stream.write_all(&request)?;
    loop {
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let [kind, high, middle, low] = header;
        let mut body = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        stream.read_exact(&mut body)?;
        match kind {
            HEARTBEAT => {}
            HANDSHAKE if accepts(&body) => break,
            _ => {
                let text = String::from_utf8_lossy(&body);
                return Err(io::Error::other(format!("no handshake: {text:?}")));
            }
        }
    }
    stream.write_all(&[HANDSHAKE_ACK, 0, 0, 0])
}

fn accepts(handshake: &[u8]) -> bool {
    // The answer may be deflated, which its first byte tells.
    handshake == HANDSHAKE_BODY
        || handshake.first() == Some(&0x78)
        || serde_json::from_slice::<serde_json::Value>(handshake).is_ok_and(|answer| answer["code"] == 200)
}

/// The type, the body, and what follows, once a packet is whole.
fn split_packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, high, middle, low], bytes) = bytes.split_first_chunk()?;
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    let (body, rest) = bytes.split_at_checked(length)?;
    Some((kind, body, rest))
}

/// Little-endian base 128, and its length.
fn varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    loop {
        bytes[length] = value as u8 & 0x7f;
        value >>= 7;
        length += 1;
        if value == 0 {
            return (bytes, length);
        }
        bytes[length - 1] |= 0x80;
    }
}

fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The same bytes for the same seed (splitmix64): random ones do not shrink when a server tries to deflate them.
fn random_bytes(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::{read_varint, varint};

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let (bytes, length) = varint(value);
            assert_eq!(read_varint(&bytes[..length]), Some((value, length)));
            assert_eq!(read_varint(&bytes[..length - 1]), None);
        }
        assert_eq!(varint(300).0[..2], [0xac, 0x02]);
    }
}
