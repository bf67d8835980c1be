//! The WebSocket transport against raw bytes and against tungstenite's client.
#![cfg(feature = "websocket")]

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use bytes::BytesMut;
use cereus_core::packet::PacketError;
use cereus_transports::{Origins, Page, Transport, TransportError, WebSocket, WebSocketConfig};
use proptest::prelude::*;
use tungstenite::{
    Message,
    protocol::{Role, WebSocketContext, frame::coding::CloseCode},
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const HEARTBEAT: [u8; 4] = [3, 0, 0, 0];
const HELLO: &[u8] = b"\x04\0\0\x05hello";

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn upgrade() -> String {
    upgrade_with("GET /any/path?a=b HTTP/1.1", &format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"))
}

fn upgrade_with(line: &str, headers: &str) -> String {
    format!("{line}\r\nHost: a\r\nOrigin: http://b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}\r\n")
}

/// A frame as clients send it. The first byte is that of the wire.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..0x1_0000 => frame.extend([&[0xfe][..], &(len as u16).to_be_bytes()].concat()),
        len => frame.extend([&[0xff][..], &(len as u64).to_be_bytes()].concat()),
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn close_frame(code: CloseCode) -> Vec<u8> {
    frame(CLOSE, &u16::from(code).to_be_bytes())
}

/// A transport with what came out of it.
struct Server {
    transport: WebSocket,
    packets: Vec<Vec<u8>>,
}

impl Server {
    fn new(config: WebSocketConfig) -> Self {
        Self { transport: WebSocket::new(Arc::new(config)), packets: Vec::new() }
    }

    /// After the upgrade, whose answer is taken.
    fn open(config: WebSocketConfig) -> Self {
        let mut server = Self::new(config);
        assert_eq!(server.feed(upgrade()), Ok(()));
        assert!(server.output().starts_with(b"HTTP/1.1 101 "));
        server
    }

    fn feed(&mut self, wire: impl AsRef<[u8]>) -> Result<(), TransportError> {
        self.transport.decode(wire.as_ref(), &mut |packet| self.packets.push(packet.to_vec()))
    }

    fn output(&mut self) -> Vec<u8> {
        self.send(&[], usize::MAX).0
    }

    /// What is written for these packets, and how many of them were taken.
    fn send(&mut self, packets: &[&[u8]], limit: usize) -> (Vec<u8>, usize) {
        let mut wire = BytesMut::new();
        let mut taken = 0;
        let mut next = |buf: &mut BytesMut| {
            let packet = packets.get(taken)?;
            taken += 1;
            buf.extend_from_slice(packet);
            Some(packet.len())
        };
        self.transport.encode(&mut next, &mut wire, limit);
        (wire.to_vec(), taken)
    }

    fn close(&mut self) -> Vec<u8> {
        let mut wire = BytesMut::new();
        self.transport.close(&mut wire);
        wire.to_vec()
    }
}

/// A request to a fresh server: the status and the whole answer.
fn answer(config: WebSocketConfig, request: impl AsRef<[u8]>) -> (u16, String) {
    let mut server = Server::new(config);
    let Err(TransportError::Answered { status }) = server.feed(request) else {
        panic!("no answer");
    };
    let text = String::from_utf8(server.output()).expect("text");
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.contains("Connection: "), "{text}");
    assert_eq!(server.feed("GET"), Err(TransportError::Closed));
    assert_eq!(server.transport.handle_eof(), Ok(()));
    assert!(server.output().is_empty() && server.packets.is_empty());
    (status, text)
}

fn status(request: impl AsRef<[u8]>) -> u16 {
    answer(WebSocketConfig::default(), request).0
}

fn with_page() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.pages.push(Page::new("/client.js", "text/javascript", "play()"));
    config
}

fn with_limits(message: usize, frame: usize) -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = message;
    config.max_frame_size = frame;
    config
}

/// tungstenite's client end.
struct Client {
    context: WebSocketContext,
    pipe: Pipe,
}

#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buf.len().min(self.input.len());
        buf[..len].copy_from_slice(&self.input[..len]);
        self.input.drain(..len);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Client {
    fn new() -> Self {
        Self { context: WebSocketContext::new(Role::Client, None), pipe: Pipe::default() }
    }

    fn write(&mut self, message: Message) -> Vec<u8> {
        self.context.write(&mut self.pipe, message).expect("open");
        self.context.flush(&mut self.pipe).expect("open");
        std::mem::take(&mut self.pipe.output)
    }

    fn read(&mut self, wire: &[u8]) -> Vec<Message> {
        self.pipe.input.extend_from_slice(wire);
        std::iter::from_fn(|| self.context.read(&mut self.pipe).ok()).collect()
    }

    /// Reads output that ends in a close frame and gives its code.
    fn close_code(wire: &[u8]) -> CloseCode {
        match Self::new().read(wire).pop() {
            Some(Message::Close(Some(frame))) => frame.code,
            other => panic!("not a close frame: {other:?}"),
        }
    }
}

#[test]
fn upgrade_is_answered_and_nothing_is_sent_before() {
    let mut server = Server::new(WebSocketConfig::default());
    assert_eq!(server.send(&[HELLO], usize::MAX), (vec![], 0));
    let request = upgrade();
    for byte in request.as_bytes() {
        assert!(server.output().is_empty());
        server.feed([*byte]).unwrap();
    }
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(server.send(&[&HEARTBEAT], usize::MAX), ([expected.as_bytes(), b"\x82\x04\x03\0\0\0"].concat(), 1));
}

#[test]
fn upgrade_headers_are_lists_in_any_case() {
    let request = format!(
        "GET http://h/ HTTP/1.1\r\nUPGRADE: h2c, WebSocket\r\nconnection: keep-alive\r\nConnection: x ,\tUPGRADE\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n\
         sec-websocket-key:  {KEY} \r\nSec-Websocket-Version: 13\r\n\r\n"
    );
    let mut server = Server::new(WebSocketConfig::default());
    server.feed(request).unwrap();
    let output = String::from_utf8(server.output()).unwrap();
    assert!(output.starts_with("HTTP/1.1 101 "));
    assert!(!output.contains("Extensions") && !output.contains("Protocol:"));
}

#[test]
fn bytes_after_the_head_belong_to_the_websocket() {
    let mut server = Server::new(WebSocketConfig::default());
    server.feed([upgrade().into_bytes(), frame(BINARY, HELLO), frame(PING, b"?")].concat()).unwrap();
    assert_eq!(server.packets, [HELLO]);
    assert!(server.output().ends_with(b"\r\n\r\n\x8a\x01?"));
}

#[test]
fn bad_upgrades_are_refused() {
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let both = format!("{version}{key}");
    let get = "GET / HTTP/1.1";
    let old = upgrade_with(get, &format!("Sec-WebSocket-Version: 8\r\n{key}"));
    let (code, text) = answer(WebSocketConfig::default(), old);
    assert_eq!(code, 426);
    assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n") && text.contains("\r\nUpgrade: websocket\r\n"));
    assert_eq!(status(upgrade_with(get, &key)), 426);
    assert_eq!(status(upgrade_with(get, version)), 400);
    assert_eq!(status(upgrade_with(get, &format!("{both}{key}"))), 400);
    for bad in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZSEh",
        "?Ghl IHNhbXBsZSBub25jZQ==",
    ] {
        assert_eq!(status(upgrade_with(get, &format!("{version}Sec-WebSocket-Key: {bad}\r\n"))), 400, "{bad}");
    }
    assert_eq!(status(upgrade_with("POST / HTTP/1.1", &both)), 405);
    assert_eq!(status(upgrade_with("HEAD / HTTP/1.1", &both)), 400);
    assert_eq!(status(upgrade_with("GET / HTTP/1.0", &both)), 505);
    assert_eq!(status(upgrade().replace("Connection: Upgrade", "Connection: close")), 400);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let only = |origin: &str| {
        let mut config = with_page();
        config.origins = Origins::default().allow(origin).expect("an origin");
        config
    };
    let (code, text) = answer(only("http://a"), upgrade());
    assert_eq!(code, 403);
    assert!(
        text.starts_with("HTTP/1.1 403 Forbidden\r\n")
            && text.ends_with("\r\n\r\nPages of this origin may not connect here.\n")
    );
    let twice = upgrade().replace("Origin: http://b", "Origin: http://a\r\nOrigin: http://a");
    assert_eq!(answer(only("http://a"), twice).0, 403);
    Server::open(only("http://b"));
    assert_eq!(Server::new(only("http://a")).feed(upgrade().replace("Origin: http://b\r\n", "")), Ok(()));
    // Pages themselves are for everybody.
    assert_eq!(answer(only("http://a"), "GET /client.js HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n").0, 200);

    let mut same = WebSocketConfig::default();
    same.origins = Origins::default().allow_same();
    assert_eq!(answer(same.clone(), upgrade()).0, 403);
    assert_eq!(Server::new(same).feed(upgrade().replace("http://b", "http://a")), Ok(()));
}

#[test]
fn pages_are_served() {
    let (code, text) = answer(with_page(), "GET /client.js?v=2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(code, 200);
    assert!(text.contains("\r\nContent-Type: text/javascript\r\nContent-Length: 6\r\nCache-Control: no-cache\r\n"));
    assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("\r\n\r\nplay()"));
    let (code, head) = answer(with_page(), "HEAD /client.js HTTP/1.0\r\n\r\n");
    assert_eq!((code, head), (200, text.strip_suffix("play()").unwrap().to_owned()));
}

#[test]
fn other_requests_are_refused() {
    let (code, text) = answer(with_page(), "GET /client HTTP/1.1\r\n\r\n");
    assert!(code == 404 && text.contains("speaks WebSocket"));
    assert!(answer(with_page(), "HEAD / HTTP/1.1\r\n\r\n").1.ends_with("\r\n\r\n"));
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
    let (code, text) = answer(with_page(), "DELETE / HTTP/1.1\r\n\r\n");
    assert!(code == 405 && text.contains("\r\nAllow: GET, HEAD\r\n"));
    assert_eq!(status("GET / HTTP/1.1\r\nbad header\r\n\r\n"), 400);
    assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    assert_eq!(status(format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100))), 431);
}

#[test]
fn what_cannot_be_http_is_refused_at_once() {
    assert_eq!(status(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"), 400);
    assert_eq!(status(b"\x16"), 400);
    for kind in 1..=5 {
        assert_eq!(status([kind, 0, 0, 0]), 400);
    }
}

#[test]
fn head_size_is_bounded() {
    for chunk in [1, 100, 1 << 20] {
        let mut server = Server::new(WebSocketConfig::default());
        let endless = [b"GET /".to_vec(), vec![b'a'; 10_000]].concat();
        let read = endless.chunks(chunk).take_while(|chunk| server.feed(chunk).is_ok()).count() * chunk;
        assert!(read <= 8192, "{read}");
        assert!(server.output().starts_with(b"HTTP/1.1 431 "));
    }
}

#[test]
fn a_message_is_one_packet() {
    let mut server = Server::open(WebSocketConfig::default());
    let large = [&[4, 1, 0, 0][..], &[7; 65_536]].concat();
    let messages = [frame(BINARY, HELLO), frame(TEXT, HELLO), frame(BINARY, &large), frame(TEXT, &HEARTBEAT)];
    server.feed(messages.concat()).unwrap();
    assert_eq!(server.packets, [HELLO, HELLO, &large, &HEARTBEAT]);
    assert!(server.output().is_empty());
}

#[test]
fn other_messages_end_the_connection() {
    let cases: [(&[u8], PacketError); 5] = [
        (b"", PacketError::InvalidHeader),
        (b"\x03\0\0", PacketError::InvalidHeader),
        (b"\x06\0\0\0", PacketError::WrongType(6)),
        (b"\x04\0\0\x05hell", PacketError::Truncated),
        (b"\x03\0\0\0\x03\0\0\0", PacketError::Excess),
    ];
    for (message, error) in cases {
        let mut server = Server::open(WebSocketConfig::default());
        let wire = [frame(BINARY, HELLO), frame(PING, b""), frame(BINARY, message), frame(BINARY, HELLO)].concat();
        assert_eq!(server.feed(wire), Err(TransportError::Packet(error)));
        assert_eq!(server.packets, [HELLO]);
        let (output, taken) = server.send(&[HELLO], usize::MAX);
        assert_eq!((Client::close_code(&output), taken), (CloseCode::Protocol, 0));
        assert_eq!(server.feed(frame(BINARY, HELLO)), Err(TransportError::Closed));
    }
}

#[test]
fn fragments_are_joined_around_control_frames() {
    let mut server = Server::open(WebSocketConfig::default());
    let parts =
        [frame(0x02, &HELLO[..3]), frame(PING, b"a"), frame(0x00, b""), frame(PONG, b"b"), frame(0x80, &HELLO[3..])];
    server.feed(parts.concat()).unwrap();
    assert_eq!(server.packets, [HELLO]);
    assert_eq!(server.output(), b"\x8a\x01a");
}

#[test]
fn only_the_latest_ping_is_answered() {
    let mut server = Server::open(WebSocketConfig::default());
    let flood: Vec<u8> = (0..10_000_u32).flat_map(|n| frame(PING, &n.to_be_bytes())).collect();
    for chunk in flood.chunks(1000) {
        server.feed(chunk).unwrap();
    }
    assert_eq!(server.output(), [&[PONG, 4][..], &9_999_u32.to_be_bytes()].concat());
    server.feed(frame(PING, &[7; 125])).unwrap();
    assert_eq!(server.output().len(), 127);
}

#[test]
fn violations_are_answered_with_a_close_frame() {
    let large = with_limits(100, 60);
    let unmasked = vec![BINARY, 4, 3, 0, 0, 0];
    let fragments = [frame(0x02, &[4; 60]), frame(0x80, &[4; 60])].concat();
    let cases = [
        (unmasked, CloseCode::Protocol),
        (frame(BINARY | 0x40, &HEARTBEAT), CloseCode::Protocol),
        (frame(0x83, b""), CloseCode::Protocol),
        (frame(0x8b, b""), CloseCode::Protocol),
        (frame(0x09, b""), CloseCode::Protocol),
        (
            frame(PING, &[0; 60]).iter().map(|byte| if *byte == PING { 0x80 } else { *byte }).collect(),
            CloseCode::Protocol,
        ),
        ([frame(0x02, b""), frame(BINARY, HELLO)].concat(), CloseCode::Protocol),
        (frame(CLOSE, b"x"), CloseCode::Protocol),
        (frame(TEXT, b"\x04\0\0\x01\xff"), CloseCode::Invalid),
        (frame(BINARY, &[4; 61])[..8].to_vec(), CloseCode::Size),
        (vec![BINARY, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], CloseCode::Size),
        (fragments, CloseCode::Size),
    ];
    for (wire, code) in cases {
        let mut server = Server::open(large.clone());
        let result = server.feed([frame(BINARY, HELLO), wire.clone()].concat());
        assert!(matches!(result, Err(TransportError::Protocol(_))), "{wire:x?}: {result:?}");
        assert_eq!(server.packets, [HELLO]);
        assert_eq!(Client::close_code(&server.output()), code, "{wire:x?}");
        assert_eq!(server.transport.handle_eof(), Ok(()));
    }
}

#[test]
fn the_default_limit_is_the_largest_packet() {
    let mut server = Server::open(WebSocketConfig::default());
    let mut largest = vec![0; (1 << 24) + 3];
    largest[..4].copy_from_slice(b"\x04\xff\xff\xff");
    server.feed(frame(BINARY, &largest)).unwrap();
    assert!(server.packets == [&largest[..]]);
    let (wire, _) = server.send(&[&largest], 1);
    assert_eq!(Client::new().read(&wire[..]), [], "16 MiB is tungstenite's own frame limit");
    assert!(wire[..10] == [BINARY, 127, 0, 0, 0, 0, 1, 0, 0, 3] && wire[10..] == largest);
    largest.push(0);
    assert!(server.feed(frame(BINARY, &largest)).is_err());
}

#[test]
fn packets_become_binary_messages() {
    let mut server = Server::open(WebSocketConfig::default());
    assert_eq!(server.send(&[&HEARTBEAT], usize::MAX).0, [0x82, 4, 3, 0, 0, 0]);
    let bodies: Vec<Vec<u8>> =
        [0, 4, 125, 126, 127, 1000, 65_535, 65_536, 100_000].map(|len| (0..len).map(|n| n as u8).collect()).to_vec();
    let packets: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    server.feed(frame(PING, b"first")).unwrap();
    let (wire, taken) = server.send(&packets, usize::MAX);
    assert_eq!(taken, packets.len());
    let mut expected = vec![Message::Pong("first".into())];
    expected.extend(bodies.iter().map(|body| Message::binary(body.clone())));
    assert_eq!(Client::new().read(&wire), expected);
}

#[test]
fn packets_over_the_limit_stay_with_the_caller() {
    let mut server = Server::open(WebSocketConfig::default());
    let packets = [&HEARTBEAT[..]; 5];
    assert_eq!(server.send(&packets, 0).1, 0);
    assert_eq!(server.send(&packets, 7), ([0x82, 4, 3, 0, 0, 0].repeat(2), 2));
    assert_eq!(server.send(&packets, 12).1, 2);
    server.feed(frame(PING, b"1234567")).unwrap();
    assert_eq!(server.send(&packets, 9).1, 0);
}

#[test]
fn the_client_closes() {
    let mut server = Server::open(WebSocketConfig::default());
    let mut client = Client::new();
    let last =
        [client.write(Message::binary(HELLO)), client.write(Message::Close(None)), frame(BINARY, HELLO)].concat();
    assert_eq!(server.feed(last), Err(TransportError::Closed));
    assert_eq!(server.packets, [HELLO]);
    assert_eq!(server.transport.handle_eof(), Ok(()));
    let (wire, taken) = server.send(&[HELLO], usize::MAX);
    assert_eq!((&wire[..], taken), (&[CLOSE, 0][..], 0));
    assert_eq!(client.read(&wire), [Message::Close(None)]);
    assert!(server.close().is_empty());

    let mut server = Server::open(WebSocketConfig::default());
    assert_eq!(server.feed(close_frame(CloseCode::Away)), Err(TransportError::Closed));
    assert_eq!(Client::close_code(&server.close()), CloseCode::Away);
}

#[test]
fn the_server_closes() {
    let mut server = Server::open(WebSocketConfig::default());
    server.feed(frame(PING, b"!")).unwrap();
    assert_eq!(server.close(), b"\x8a\x01!\x88\x02\x03\xe8");
    assert!(server.close().is_empty());
    server.feed([frame(PING, b"?"), frame(BINARY, HELLO)].concat()).unwrap();
    assert_eq!(server.send(&[HELLO], usize::MAX), (vec![], 0));
    server.transport.release();
    assert_eq!(server.feed(close_frame(CloseCode::Normal)), Err(TransportError::Closed));
    assert!(server.output().is_empty());
    assert_eq!(server.transport.handle_eof(), Ok(()));
}

#[test]
fn close_before_the_upgrade_says_nothing() {
    let mut server = Server::new(WebSocketConfig::default());
    server.feed("GET /").unwrap();
    assert!(server.close().is_empty());
    assert_eq!(server.feed(" HTTP"), Err(TransportError::Closed));
}

#[test]
fn what_the_end_of_the_stream_means() {
    assert_eq!(Server::new(WebSocketConfig::default()).transport.handle_eof(), Ok(()));

    let mut server = Server::new(WebSocketConfig::default());
    server.feed("GET / HT").unwrap();
    assert_eq!(server.transport.handle_eof(), Err(TransportError::Answered { status: 400 }));
    assert!(server.output().starts_with(b"HTTP/1.1 400 "));

    let inside = [&frame(BINARY, HELLO)[..1], &frame(BINARY, HELLO)[..9], &frame(0x02, HELLO)];
    for part in inside {
        let mut server = Server::open(WebSocketConfig::default());
        server.feed([&frame(PING, b"")[..], part].concat()).unwrap();
        server.transport.release();
        assert!(matches!(server.transport.handle_eof(), Err(TransportError::Protocol(_))), "{part:x?}");
    }

    let mut server = Server::open(WebSocketConfig::default());
    server.feed([frame(BINARY, HELLO), frame(PING, b"")].concat()).unwrap();
    assert_eq!(server.transport.handle_eof(), Err(TransportError::Closed));
    assert_eq!(server.feed(frame(BINARY, HELLO)), Err(TransportError::Closed));

    let mut server = Server::open(WebSocketConfig::default());
    server.close();
    assert_eq!(server.transport.handle_eof(), Ok(()));
}

#[test]
fn what_is_held_of_a_message_is_told_until_it_is_whole() {
    let mut server = Server::new(WebSocketConfig::default());
    let upgrade = upgrade();
    server.feed(&upgrade[..20]).unwrap();
    assert_eq!(server.transport.buffered(), 20);
    server.feed(&upgrade[20..]).unwrap();
    server.output();
    assert_eq!(server.transport.buffered(), 0);
    let long = frame(BINARY, &[&[4, 0, 0x27, 0x10][..], &[0; 10_000]].concat());
    for end in 1..20 {
        server.feed(&long[(end - 1) * 500..end * 500]).unwrap();
        assert_eq!(server.transport.buffered(), end * 500);
    }
    server.feed(&long[9500..]).unwrap();
    assert_eq!((server.transport.buffered(), server.packets.len()), (0, 1));
    // What came of the next message with the end of one counts for no more than what came.
    server.feed([frame(BINARY, HELLO), long[..100].to_vec()].concat()).unwrap();
    assert!((100..200).contains(&server.transport.buffered()));
}

#[test]
fn a_connection_is_small() {
    assert!(size_of::<WebSocket>() <= 40, "{}", size_of::<WebSocket>());
}

/// Frames of a well-behaved client, and now and then one of the other kind.
fn client_bytes() -> impl Strategy<Value = Vec<u8>> {
    let packet = prop::collection::vec(any::<u8>(), 0..300).prop_map(|body| {
        let len = (body.len() as u32).to_be_bytes();
        [&[4][..], &len[1..], &body].concat()
    });
    let element = prop_oneof![
        8 => packet.clone().prop_map(|packet| frame(BINARY, &packet)),
        4 => (packet, any::<prop::sample::Index>()).prop_map(|(packet, cut)| {
            let (a, b) = packet.split_at(cut.index(packet.len()));
            [frame(0x02, a), frame(PING, b"between"), frame(0x80, b)].concat()
        }),
        4 => prop::collection::vec(any::<u8>(), 0..126).prop_map(|payload| frame(PING, &payload)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(|message| frame(BINARY, &message)),
        1 => Just(close_frame(CloseCode::Normal)),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(element, 0..8).prop_map(|elements| elements.concat())
}

/// What the server makes of these chunks, given back memory in between or not.
fn outcome<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    release: bool,
) -> (Vec<Vec<u8>>, Result<(), TransportError>, Vec<u8>) {
    let mut server = Server::new(with_page());
    let mut result = Ok(());
    for chunk in chunks {
        result = server.feed(chunk);
        if result.is_err() {
            break;
        }
        if release {
            server.transport.release();
        }
    }
    let result = result.and_then(|()| server.transport.handle_eof());
    let output = server.output();
    (server.packets, result, output)
}

fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    sizes.iter().cycle().map_while(move |size| {
        let (chunk, tail) = rest.split_at((*size).min(rest.len()));
        rest = tail;
        (!chunk.is_empty()).then_some(chunk)
    })
}

proptest! {
    #[test]
    fn chunks_do_not_matter(tail in client_bytes(), sizes in prop::collection::vec(1..400_usize, 1..20)) {
        let wire = [upgrade().into_bytes(), tail].concat();
        let whole = outcome([&wire[..]], false);
        prop_assert_eq!(&outcome(wire.chunks(1), false), &whole);
        prop_assert_eq!(&outcome(cut(&wire, &sizes), true), &whole);
    }

    #[test]
    fn chunks_of_a_head_do_not_matter(head in "(GET|HEAD|POST|\u{1}) /(client\\.js)? HTTP/[12]\\.[01]\r\n([A-Z:\\n ]{0,9}\r\n){0,3}\r\n") {
        let whole = outcome([head.as_bytes()], false);
        prop_assert_eq!(outcome(head.as_bytes().chunks(1), true), whole);
    }

    #[test]
    fn random_bytes_do_not_panic(head in any::<bool>(), wire in prop::collection::vec(any::<u8>(), 0..200), sizes in prop::collection::vec(1..50_usize, 1..5)) {
        let head = if head { upgrade() } else { String::new() };
        let _ = outcome(cut(&[head.as_bytes(), &wire].concat(), &sizes), true);
    }
}
