//! The load: every connection keeps a fixed number of requests in flight, all from one thread.
//!
//! It shares the machine with the server, so it does little: one read and one write per wake-up of a connection,
//! requests copied from a finished tail. It reads the protocol with its own few lines, not with `cereus-core`: a
//! mistake there cannot hide here. An echo of the request itself counts as an answer, so that one loader serves the
//! baseline too.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::UsageWho;

use crate::args::Args;
use crate::servers::cpu_time;

const HANDSHAKE: u8 = 1;
const HANDSHAKE_ACK: u8 = 2;
const HEARTBEAT: u8 = 3;
const DATA: u8 = 4;

const HANDSHAKE_BODY: &[u8] = br#"{"sys":{"platform":"bench"}}"#;

/// A server that answers nothing for so long is stuck.
const STALL: Duration = Duration::from_secs(5);

/// What one run amounts to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Answers in the whole run.
    pub(crate) answered: u64,
    /// Answers within the window.
    pub(crate) measured: u64,
    pub(crate) window: Duration,
    /// What the loader itself took within the window.
    pub(crate) loader_cpu: Duration,
}

/// Connects, warms up, measures, and lets the last answers in.
pub(crate) fn run(address: SocketAddr, args: &Args, depth: usize) -> Result<Load, Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(args.connections);
    for index in 0..args.connections {
        let mut connection = Connection::open(address, args, index)
            .map_err(|error| format!("connection {index} to {address}: {error}"))?;
        poll.registry().register(&mut connection.stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        connections.push(connection);
    }

    let mut events = Events::with_capacity(args.connections);
    let largest = 32 + args.route.len() + args.body;
    let mut scratch = vec![0; (2 * largest).max(64 * 1024)];
    let mut phase = Phase::WarmUp { until: Instant::now() + args.warm_up };
    let mut answered = 0;
    let mut in_flight = args.connections * depth;
    for connection in &mut connections {
        connection.ask(depth);
        connection.flush()?;
    }
    loop {
        poll.poll(&mut events, Some(STALL)).or_else(|error| match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        })?;
        if events.is_empty() {
            return Err(format!("no answer for {STALL:?}, {in_flight} requests in flight, {answered} answered").into());
        }
        for event in &events {
            let index = event.token().0;
            let connection = &mut connections[index];
            let asking = !matches!(phase, Phase::Drain(_));
            let answers = connection
                .turn(&mut scratch, asking)
                .map_err(|error| format!("connection {index}, {answered} answered: {error}"))?;
            answered += answers as u64;
            if !asking {
                in_flight -= answers;
            }
        }
        phase = phase.advance(answered, args.window)?;
        if let Phase::Drain(load) = phase
            && in_flight == 0
        {
            if connections.iter().any(|connection| connection.ids != 0) {
                return Err("a request was answered twice and another never".into());
            }
            return Ok(Load { answered, ..load });
        }
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    WarmUp {
        until: Instant,
    },
    Measure {
        start: Instant,
        answered: u64,
        cpu: Duration,
    },
    /// Nothing more is asked.
    Drain(Load),
}

impl Phase {
    /// `answered` requests have been answered by now.
    fn advance(self, answered: u64, window: Duration) -> nix::Result<Self> {
        let now = Instant::now();
        Ok(match self {
            Self::WarmUp { until } if now >= until => {
                Self::Measure { start: now, answered, cpu: cpu_time(UsageWho::RUSAGE_SELF)? }
            }
            Self::Measure { start, answered: before, cpu } if now >= start + window => Self::Drain(Load {
                answered,
                measured: answered - before,
                window: now - start,
                loader_cpu: cpu_time(UsageWho::RUSAGE_SELF)?.saturating_sub(cpu),
            }),
            unchanged => unchanged,
        })
    }
}

/// One client.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Route and body, the end of every request. Each connection has its own body.
    tail: Vec<u8>,
    body_len: usize,
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
    fn open(address: SocketAddr, args: &Args, index: usize) -> io::Result<Self> {
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

        let mut tail = vec![args.route.len() as u8];
        tail.extend_from_slice(args.route.as_bytes());
        tail.extend(random_bytes(index as u64).take(args.body));
        Ok(Self {
            stream: TcpStream::from_std(stream),
            tail,
            body_len: args.body,
            next_id: 1,
            ids: 0,
            partial: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// Takes in what has arrived and, if `asking`, sends as many new requests. Returns the number of answers.
    fn turn(&mut self, scratch: &mut [u8], asking: bool) -> io::Result<usize> {
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
    fn ask(&mut self, count: usize) {
        for _ in 0..count {
            let (id, id_len) = varint(self.next_id);
            let length = (1 + id_len + self.tail.len()) as u32;
            let [_, high, middle, low] = length.to_be_bytes();
            // The last byte is the message's flags: a request with a plain route.
            self.unsent.extend_from_slice(&[DATA, high, middle, low, 0]);
            self.unsent.extend_from_slice(&id[..id_len]);
            self.unsent.extend_from_slice(&self.tail);
            self.ids = self.ids.wrapping_add(self.next_id);
            self.next_id += 1;
        }
    }

    /// Writes what the socket takes; the rest goes when it is writable again.
    fn flush(&mut self) -> io::Result<()> {
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
        let expected = match message.first() {
            Some(0x04) => &self.tail[self.tail.len() - self.body_len..],
            // An echo of the request.
            Some(0x00) => &self.tail[..],
            Some(0x24) => return wrong("the server answered an error"),
            _ => return wrong("no answer"),
        };
        let Some((id, id_len)) = read_varint(&message[1..]) else {
            return wrong("an answer without an id");
        };
        if id == 0 || id >= self.next_id {
            return wrong("an answer to nothing");
        }
        if &message[1 + id_len..] != expected {
            return wrong("an answer with another body than the request's");
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
