use std::{
    fmt::Debug,
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use bytes::{BufMut, BytesMut};
use cereus_core::packet;
use cereus_transports::{Page, ProxyHeader, Raw, Transport, TransportError, WebSocket, WebSocketConfig};

/// What a request looks like that opens a WebSocket.
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The longest header of the PROXY protocol that is read.
const MAX_PROXY_HEADER: usize = 16 + 2048;

/// A client of a WebSocket is understood or refused, the same in any segmentation, and what it gets are frames.
///
/// The first byte chooses: 1: an upgrade comes before the rest; 2: the rest is a list of frames (first byte, length, payload),
/// which are written as a client writes them; 4: the rest ends with the end of the stream. The second byte says where
/// the wire is cut.
///
/// # Panics
///
/// When that is not so.
pub fn websocket(bytes: &[u8]) {
    let [settings, cut, rest @ ..] = bytes else { return };
    let mut wire = if settings & 1 == 0 { Vec::new() } else { UPGRADE.to_vec() };
    if settings & 2 == 0 {
        wire.extend_from_slice(rest)
    } else {
        put_frames(rest, &mut wire)
    }
    let eof = settings & 4 != 0;

    let transport = || WebSocket::new(Arc::clone(&WEBSOCKET));
    let whole = Heard::new(transport(), [&wire[..]], eof);
    for size in [1, 1 + usize::from(*cut)] {
        assert_eq!(Heard::new(transport(), wire.chunks(size), eof), whole, "in pieces of {size} bytes");
    }
    for message in &whole.messages {
        packet::decode_exact(message).expect("a message is exactly one packet");
    }
    let is_open = whole.sent.starts_with(b"HTTP/1.1 101 ");
    match &whole.result {
        Err(TransportError::Answered { status }) => {
            let line = format!("HTTP/1.1 {status} ");
            assert!(!is_open && whole.sent.starts_with(line.as_bytes()), "another answer than {status}");
            assert!(whole.messages.is_empty(), "a message outside of a WebSocket");
        }
        Err(TransportError::Packet(_)) => assert!(is_open),
        Ok(()) if !is_open => assert_eq!((&whole.sent[..], whole.messages.len()), (&b""[..], 0)),
        Ok(()) | Err(_) => {}
    }
    if is_open {
        let sent = read_frames(&whole.sent[head_len(&whole.sent)..]);
        let closes = sent.iter().filter(|(first, _)| *first == 0x88).count();
        assert!(closes <= 1 && sent.iter().all(|(first, _)| matches!(first, 0x88 | 0x8a)), "{sent:?}");
        echo(transport(), &wire, &whole.messages);
    }
}

static WEBSOCKET: LazyLock<Arc<WebSocketConfig>> = LazyLock::new(|| {
    let mut config = WebSocketConfig::default();
    config.max_head_size = 512;
    config.max_message_size = 4096;
    config.max_frame_size = 1024;
    config.pages = vec![Page::new("/page", "text/plain", "a page")];
    Arc::new(config)
});

/// What a transport did with a stream: everything is sent at its end.
#[derive(Debug, Eq, PartialEq)]
struct Heard {
    messages: Vec<Vec<u8>>,
    result: Result<(), TransportError>,
    sent: BytesMut,
}

impl Heard {
    fn new<'a>(mut transport: WebSocket, pieces: impl IntoIterator<Item = &'a [u8]>, eof: bool) -> Self {
        let mut messages = Vec::new();
        let mut decode = |transport: &mut WebSocket, piece: &[u8]| {
            transport.decode(piece, &mut |message| messages.push(message.to_vec()))
        };
        let mut result = pieces.into_iter().try_for_each(|piece| decode(&mut transport, piece));
        if result.is_ok() && eof {
            result = transport.handle_eof();
        }
        if result.is_err() || eof {
            assert!(decode(&mut transport, b"\x81\0").is_err(), "it goes on after its end");
        }
        let mut sent = BytesMut::new();
        transport.encode(&mut |_| None, &mut sent, usize::MAX);
        let len = sent.len();
        transport.release();
        transport.encode(&mut |_| None, &mut sent, usize::MAX);
        assert_eq!(sent.len(), len, "something is sent twice");
        Self { messages, result, sent }
    }
}

/// What came is sent back, message by message, between whatever else there is to send, and then it is closed.
fn echo(mut transport: WebSocket, wire: &[u8], messages: &[Vec<u8>]) {
    let mut sent = BytesMut::new();
    let mut next = messages.iter();
    let mut write = |transport: &mut WebSocket, sent: &mut BytesMut| {
        transport.encode(&mut |buf| next.next().map(|message| put(buf, message)), sent, sent.len() + 1);
    };
    let mut is_over = false;
    for piece in wire.chunks(7) {
        is_over |= transport.decode(piece, &mut |_| {}).is_err();
        write(&mut transport, &mut sent);
        if is_over {
            break;
        }
        transport.release();
    }
    let before = if is_over { sent.len() } else { usize::MAX };
    transport.close(&mut sent);
    transport.encode(&mut |_| panic!("asked for a packet after the end"), &mut sent, usize::MAX);
    assert!(sent.len() <= before, "a farewell after the end");
    let frames = read_frames(&sent[head_len(&sent)..]);
    let echoed: Vec<_> = frames.iter().filter(|(first, _)| *first == 0x82).map(|(_, payload)| payload).collect();
    assert!(messages.iter().zip(&echoed).all(|(message, echoed)| message == *echoed), "not what came");
    let closes = frames.iter().position(|(first, _)| *first == 0x88);
    assert!(closes.is_none_or(|at| at == frames.len() - 1), "something is sent after the close frame");
    assert!(is_over || closes.is_some(), "it is closed and does not say so");
}

fn put(buf: &mut BytesMut, packet: &[u8]) -> usize {
    buf.put_slice(packet);
    packet.len()
}

/// The length of the head of an HTTP answer.
fn head_len(answer: &[u8]) -> usize {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the head of the answer has an end");
    end + 4
}

/// Writes frames as a client does: masked, and with the shortest length.
fn put_frames(mut bytes: &[u8], wire: &mut Vec<u8>) {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    while let [first, len, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        wire.put_u8(*first);
        match payload.len() {
            len @ 0..126 => wire.put_u8(0x80 | len as u8),
            len => {
                wire.put_u8(0xfe);
                wire.put_u16(len as u16);
            }
        }
        wire.put_slice(&MASK);
        wire.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes = rest;
    }
}

/// The frames that a server sent: first byte and payload.
fn read_frames(mut wire: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while !wire.is_empty() {
        let (first, len, head) = match wire {
            [first, len @ 0..126, ..] => (*first, usize::from(*len), 2),
            [first, 126, high, low, ..] => (*first, usize::from(u16::from_be_bytes([*high, *low])), 4),
            _ => panic!("no frame of a server: {wire:?}"),
        };
        frames.push((first, wire.get(head..head + len).expect("the whole frame is sent")));
        wire = &wire[head + len..];
    }
    frames
}

/// A PROXY header is read or refused, the same in any segmentation; what follows it comes out as it was, and its peer
/// survives writing and reading in both versions.
///
/// # Panics
///
/// When that is not so.
pub fn proxy_header(bytes: &[u8]) {
    let (mut layer, rest, result) = read_proxied([bytes]);
    for size in [1, 2, 5, 13, 108] {
        let (in_pieces, pieces, end) = read_proxied(bytes.chunks(size));
        assert_eq!((in_pieces.peer(), &pieces, &end), (layer.peer(), &rest, &result), "in pieces of {size} bytes");
    }
    assert!(bytes.ends_with(&rest), "what follows the header is not what came");
    assert_eq!(layer.is_open(), layer.peer().is_some());
    let mut wire = BytesMut::new();
    if let Some(peer) = layer.peer() {
        assert_eq!((&result, layer.handle_eof()), (&Ok(()), Ok(())));
        assert!(rest.len() < bytes.len() && rest.len() + MAX_PROXY_HEADER >= bytes.len(), "a header of no length");
        for header in [text_header(peer), binary_header(peer)] {
            let again = [&header, &rest[..]].concat();
            let (layer, rest_again, result) = read_proxied([&again[..]]);
            assert_eq!((layer.peer(), rest_again, result), (Some(peer), rest.clone(), Ok(())));
        }
    } else {
        assert!(rest.is_empty(), "it goes on without a peer");
        assert!(result.is_err() || bytes.len() < MAX_PROXY_HEADER, "it waits for ever");
        layer.encode(&mut |_| panic!("asked for a packet before the peer is known"), &mut wire, usize::MAX);
        layer.close(&mut wire);
        assert!(wire.is_empty(), "sent before the peer is known");
        if result.is_err() {
            assert_eq!(layer.decode(b"more", &mut |_| panic!("it goes on after its end")), Ok(()));
        }
        assert_eq!(layer.handle_eof().is_ok(), result.is_err(), "the end is told once");
    }
}

/// The layer, what follows the header, and how it ended.
fn read_proxied<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (ProxyHeader, Vec<u8>, Result<(), TransportError>) {
    let (mut layer, mut rest) = (ProxyHeader::new(Box::new(Raw::default())), Vec::new());
    let mut pieces = pieces.into_iter();
    let result = pieces.try_for_each(|piece| layer.decode(piece, &mut |bytes| rest.extend_from_slice(bytes)));
    (layer, rest, result)
}

fn text_header(peer: SocketAddr) -> Vec<u8> {
    let (family, ip) = (if peer.is_ipv4() { "TCP4" } else { "TCP6" }, peer.ip());
    format!("PROXY {family} {ip} {ip} {} 1\r\n", peer.port()).into_bytes()
}

fn binary_header(peer: SocketAddr) -> Vec<u8> {
    let (family, ip) = match peer {
        SocketAddr::V4(peer) => (0x11, peer.ip().octets().to_vec()),
        SocketAddr::V6(peer) => (0x21, peer.ip().octets().to_vec()),
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.put_u8(family);
    header.put_u16(2 * ip.len() as u16 + 4);
    header.put_slice(&ip.repeat(2));
    header.put_u16(peer.port());
    header.put_u16(1);
    header
}
