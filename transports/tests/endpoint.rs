//! What endpoints make of their settings: layers in their order, taps, transports of one's own.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{BufMut, BytesMut};
use cereus_transports::{Endpoint, Raw, Tap, Tapped, Tcp, Transport, TransportError};

/// Writes down what it sees.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn add(&self, entry: String) {
        self.0.lock().unwrap().push(entry);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Adds a tap to an endpoint.
    fn tap(&self, endpoint: Endpoint, name: &'static str) -> Endpoint {
        let all = self.clone();
        endpoint.layer(move |peer, inner| {
            all.add(format!("{name}: {peer}"));
            Ok(Box::new(Tapped::new(Recording { name, all: all.clone() }, inner)))
        })
    }
}

#[derive(Debug)]
struct Recording {
    name: &'static str,
    all: Recorder,
}

impl Tap for Recording {
    fn handle_input(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.all.add(format!("{} < {}", self.name, bytes.escape_ascii()));
        if bytes == b"stop" { Err(TransportError::Refused("enough".into())) } else { Ok(()) }
    }

    fn handle_output(&mut self, bytes: &[u8]) {
        self.all.add(format!("{} > {}", self.name, bytes.escape_ascii()));
    }
}

/// Adds one to every byte that goes out and says when it ends.
#[derive(Debug)]
struct Shift(Box<dyn Transport>);

impl Transport for Shift {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        self.0.decode(&wire.iter().map(|byte| byte - 1).collect::<Vec<_>>(), sink)
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        let start = wire.len();
        self.0.encode(next, wire, limit);
        wire[start..].iter_mut().for_each(|byte| *byte += 1);
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        Err(TransportError::Closed)
    }

    fn close(&mut self, wire: &mut BytesMut) {
        self.0.close(wire);
        wire.put_slice(b"bye");
    }
}

fn peer() -> SocketAddr {
    ([192, 0, 2, 1], 1).into()
}

fn open(endpoint: Endpoint) -> Box<dyn Transport> {
    endpoint.transports(1024)(peer()).unwrap()
}

fn receive(transport: &mut dyn Transport, wire: &[u8]) -> Result<Vec<u8>, TransportError> {
    let mut packets = Vec::new();
    transport.decode(wire, &mut |bytes| packets.extend_from_slice(bytes))?;
    Ok(packets)
}

fn send(transport: &mut dyn Transport, packet: &'static [u8]) -> BytesMut {
    let (mut wire, mut packet) = (BytesMut::new(), Some(packet));
    let mut next = |buf: &mut BytesMut| packet.take().map(|packet| (buf.put_slice(packet), packet.len()).1);
    transport.encode(&mut next, &mut wire, 1024);
    wire
}

#[test]
fn layers_are_around_each_other_in_their_order() {
    let recorder = Recorder::default();
    let endpoint = recorder.tap(Tcp::bind("127.0.0.1:0"), "inner");
    let endpoint = endpoint.layer(|_, inner| Ok(Box::new(Shift(inner))));
    let mut transport = open(recorder.tap(endpoint, "outer"));
    assert_eq!(recorder.take(), ["inner: 192.0.2.1:1", "outer: 192.0.2.1:1"]);
    assert_eq!(receive(&mut *transport, b"bcd").unwrap(), b"abc");
    assert_eq!(recorder.take(), ["outer < bcd", "inner < abc"]);
    assert_eq!(send(&mut *transport, b"xy"), "yz");
    assert_eq!(recorder.take(), ["inner > xy", "outer > yz"]);
    // Nothing is shown as nothing.
    assert_eq!(send(&mut *transport, b""), "");
    assert_eq!(recorder.take(), [""; 0]);
    assert_eq!(transport.handle_eof(), Err(TransportError::Closed));
    let mut wire = BytesMut::from("before");
    transport.close(&mut wire);
    assert_eq!((&wire[..], recorder.take()), (&b"beforebye"[..], vec!["outer > bye".to_owned()]));
}

#[test]
fn a_tap_can_end_the_connection() {
    let recorder = Recorder::default();
    let mut transport = open(recorder.tap(Tcp::bind("127.0.0.1:0"), "tap"));
    assert_eq!(receive(&mut *transport, b"go").unwrap(), b"go");
    let error = receive(&mut *transport, b"stop").unwrap_err();
    assert_eq!((error.to_string(), recorder.take().len()), ("refused: enough".to_owned(), 3));
}

#[test]
fn a_layer_can_refuse_a_peer() {
    let guarded = || {
        Tcp::bind("127.0.0.1:0").layer(|peer, inner| match peer.port() {
            1 => Err(io::Error::other("not this one")),
            _ => Ok(inner),
        })
    };
    let transports = guarded().transports(1024);
    assert_eq!(transports(peer()).unwrap_err().to_string(), "not this one");
    assert!(transports(([192, 0, 2, 1], 2).into()).is_ok());

    // Behind a load balancer it is the one whom the header names.
    let transports = guarded().proxy_protocol().transports(1024);
    let mut refused = transports(([10, 0, 0, 1], 2).into()).unwrap();
    let error = receive(&mut *refused, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 443\r\nabc").unwrap_err();
    assert_eq!(error, TransportError::Refused("not this one".into()));
    assert_eq!((refused.is_open(), refused.peer(), send(&mut *refused, b"abc").len()), (false, None, 0));
    let mut served = transports(peer()).unwrap();
    assert!(!served.is_open());
    assert_eq!(receive(&mut *served, b"PROXY TCP4 192.0.2.7 198.51.100.1 2 443\r\nabc").unwrap(), b"abc");
    assert_eq!(served.peer(), Some(([192, 0, 2, 7], 2).into()));
}

#[test]
fn layers_do_not_see_the_proxy_header() {
    let recorder = Recorder::default();
    let mut transport = open(recorder.tap(Tcp::bind("127.0.0.1:0").proxy_protocol(), "tap"));
    assert_eq!(receive(&mut *transport, b"PROXY TCP4 192.0.2.7 198.51.100.1 2 443\r\nabc").unwrap(), b"abc");
    assert_eq!(recorder.take(), ["tap: 192.0.2.7:2", "tap < abc"]);
}

#[test]
fn transports_of_ones_own() {
    let custom = || Endpoint::custom("shift", "127.0.0.1:0", || Box::new(Shift(Box::new(Raw::default()))));
    assert_eq!(custom().to_string(), "shift://127.0.0.1:0");
    assert_eq!(format!("{:?}", custom()), "Endpoint(shift://127.0.0.1:0)");
    assert_eq!(send(&mut *open(custom()), b"xy"), "yz");
    assert_eq!(receive(&mut *open(custom()), b"yz").unwrap(), b"xy");
}

#[cfg(feature = "websocket")]
#[test]
fn origins_and_pages_are_for_websockets_and_checked_first() {
    use cereus_transports::WebSocket;

    let wrong = |endpoint: Endpoint| endpoint.resolve().unwrap_err().to_string();
    for endpoint in [
        Tcp::bind("127.0.0.1:0").same_origin(),
        Tcp::bind("127.0.0.1:0").origins(["https://example.com"]),
        Endpoint::custom("own", "127.0.0.1:0", || Box::new(Raw::default())).page("/", "text/html", ""),
    ] {
        assert!(wrong(endpoint).contains("`WebSocket::bind`"));
    }
    let endpoint =
        WebSocket::bind("127.0.0.1:0").origins(["https://example.com", "example.org", "https://*.example.net"]);
    assert!(wrong(endpoint).starts_with("`example.org` is no origin: "));
    let endpoint = WebSocket::bind("127.0.0.1:0").same_origin().origins(["https://*.example.com:8443", "null"]);
    assert_eq!(endpoint.resolve().unwrap().len(), 1);
}

#[cfg(feature = "websocket")]
#[test]
fn an_empty_list_lets_no_page_in() {
    use cereus_transports::WebSocket;

    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let endpoint = WebSocket::bind("127.0.0.1:0").origins([""; 0]);
    let transports = endpoint.transports(1024);
    let ask = |rest: &str| receive(&mut *transports(peer()).unwrap(), format!("{upgrade}{rest}\r\n").as_bytes());
    assert_eq!(ask(""), Ok(Vec::new()));
    assert_eq!(ask("Origin: http://a\r\n"), Err(TransportError::Answered { status: 403 }));
}
