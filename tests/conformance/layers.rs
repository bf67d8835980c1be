//! What an endpoint puts before its sessions: which pages may connect, taps, transports of one's own.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::BytesMut;
use cereus::{
    App, Endpoint, Server, Tcp,
    transports::{Raw, Tap, Tapped, Transport, TransportError},
};
use tungstenite::client::IntoClientRequest;

use crate::{
    client::{Wire, open, tls::Socket},
    common::{On, Scheme, assert_works, echo},
    server::{Running, Runtime, eventually},
};

const PAGE: &str = "https://play.example.com";

fn server() -> Server {
    App::new(()).service(echo()).build().unwrap()
}

fn connect(running: &Running) -> Socket {
    let stream = open(running.endpoint()).unwrap();
    Socket::new(running.endpoint(), stream)
}

/// Whether a page of this origin can connect.
fn can_connect(running: &Running, origin: &str) -> bool {
    let mut request = running.endpoint().into_client_request().unwrap();
    request.headers_mut().insert("Origin", origin.parse().unwrap());
    match tungstenite::client(request, connect(running)) {
        Ok(_) => true,
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            assert_eq!(answer.status(), 403);
            false
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn pages_of_other_origins_are_refused(on: On) {
    if !on.scheme.has_messages() {
        let endpoint = on.endpoint().origins([PAGE]);
        let error = Running::try_start(on.runtime, server(), [endpoint]).err().unwrap();
        assert!(error.to_string().contains("WebSocket::bind"), "{error}");
        return;
    }
    let any = on.serve(App::new(()).service(echo()));
    assert!(can_connect(&any, "https://evil.example.org") && can_connect(&any, "null"));

    let endpoint = on.endpoint().origins([PAGE]).same_origin();
    let running = Running::start(on.runtime, server(), [endpoint]);
    let own = running.endpoint().replacen("ws", "http", 1);
    assert!(can_connect(&running, PAGE) && can_connect(&running, &own));
    assert!(!can_connect(&running, "https://evil.example.org") && !can_connect(&running, "null"));
    // Native clients name no origin.
    assert_works(&mut running.connect());

    let mut socket = connect(&running);
    let headers =
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://other\r\n";
    let upgrade = format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}\r\n");
    socket.write_all(upgrade.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nPages of this origin may not connect here.\n"), "{answer}");
    eventually("no session is left", || running.server().sessions().count() == 0);
}

pub(crate) fn an_origin_that_is_none(on: On) {
    let endpoint = on.endpoint().origins(["play.example.com"]);
    let error = Running::try_start(on.runtime, server(), [Tcp::bind("127.0.0.1:0"), endpoint]).err().unwrap();
    assert!(error.to_string().contains("`play.example.com` is no origin"), "{error}");
}

/// Bytes in and out.
#[derive(Clone, Debug, Default)]
struct Traffic(Arc<[AtomicU64; 2]>);

impl Traffic {
    fn add(&self, direction: usize, bytes: &[u8]) {
        self.0[direction].fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    fn tap(&self, endpoint: Endpoint) -> Endpoint {
        let all = self.clone();
        endpoint.layer(move |_, inner| Ok(Box::new(Tapped::new(all.clone(), inner))))
    }

    fn seen(&self) -> [u64; 2] {
        [0, 1].map(|direction: usize| self.0[direction].load(Ordering::Relaxed))
    }
}

impl Tap for Traffic {
    fn handle_input(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.add(0, bytes);
        Ok(())
    }

    fn handle_output(&mut self, bytes: &[u8]) {
        self.add(1, bytes);
    }
}

pub(crate) fn taps_see_all_bytes(on: On) {
    let traffic = Traffic::default();
    let running = Running::start(on.runtime, server(), [traffic.tap(on.endpoint())]);
    let mut wire = Wire::connect(running.endpoint());
    let (handshake, acknowledgement, request) = (b"\x01\0\0\x02{}", b"\x02\0\0\0", b"\x04\0\0\x0d\0\x05\x08echo.rawhi");
    wire.send(handshake);
    let welcome = wire.receive_packet().1.len() + 4;
    wire.send(acknowledgement);
    wire.send(request);
    let answer = wire.receive_packet().1.len() + 4;
    let sent = handshake.len() + acknowledgement.len() + request.len();
    let [input, output] = traffic.seen();
    let (at_least_in, at_least_out) = (sent as u64, (welcome + answer) as u64);
    if on.scheme == Scheme::Tcp {
        assert_eq!((input, output), (at_least_in, at_least_out));
    } else {
        assert!(
            input > at_least_in && output > at_least_out,
            "{input} and {output} of {at_least_in} and {at_least_out}"
        );
    }
}

pub(crate) fn layers_refuse_peers(on: On) {
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
    let banned: SocketAddr = "192.0.2.7:56324".parse().unwrap();
    let guard = move |peer: SocketAddr, inner| {
        if peer == banned { Err(io::Error::other("banned")) } else { Ok(inner) }
    };
    let endpoint = on.endpoint().layer(guard).proxy_protocol();
    let running = Running::start(on.runtime, server(), [endpoint]);
    let mut refused = open(running.endpoint()).unwrap();
    refused.write_all(header).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
    let mut served = Wire::connect_after(b"PROXY TCP4 192.0.2.8 198.51.100.1 56324 443\r\n", running.endpoint());
    served.send(b"\x01\0\0\x02{}");
    assert_eq!(served.receive_packet().0, 1);

    let closed = on.endpoint().layer(|_, _| Err(io::Error::other("closed")));
    let running = Running::start(on.runtime, server(), [closed]);
    let mut stream = open(running.endpoint()).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(running.server().sessions().count(), 0);
}

/// Every bit is the other one.
#[derive(Debug, Default)]
struct Inverted(Raw);

impl Transport for Inverted {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        sink(&wire.iter().map(|byte| !byte).collect::<Vec<_>>());
        Ok(())
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        let start = wire.len();
        self.0.encode(next, wire, limit);
        wire[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        Ok(())
    }

    fn close(&mut self, wire: &mut BytesMut) {
        wire.extend_from_slice(b"bye");
    }
}

pub(crate) fn a_transport_of_ones_own(runtime: Runtime) {
    let endpoint = Endpoint::custom("inverted", "127.0.0.1:0", || Box::new(Inverted::default()));
    let running = Running::start(runtime, server(), [endpoint]);
    assert!(running.endpoint().starts_with("inverted://127.0.0.1:"), "{}", running.endpoint());
    let mut stream = connect(&running);
    let inverted = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
    stream.write_all(&inverted(b"\x01\0\0\x02{}\x02\0\0\0\x04\0\0\x0d\0\x05\x08echo.rawhi\x05\0\0\0")).unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let [1, high, middle, low] = head.map(|byte| !byte) else { panic!("no answer to the handshake: {head:?}") };
    let mut welcome = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    stream.read_exact(&mut welcome).unwrap();
    assert!(inverted(&welcome).starts_with(b"{\"code\":200,"));
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(inverted(&answer), b"\x04\0\0\x04\x04\x05hi");
    running.server().sessions().for_each(|session| session.close());
    let mut farewell = Vec::new();
    stream.read_to_end(&mut farewell).unwrap();
    assert_eq!(farewell, b"bye");
}
