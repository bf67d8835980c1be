//! Clients that break the rules, and clients that say nothing (specification, sections 1 to 3).

use std::time::Duration;

use bytes::Bytes;
use cereus::{App, Tcp, WebSocket, core::CloseReason};

use crate::{
    client::{Client, Wire, http_get},
    common::{On, assert_works, echo},
    net,
    server::{Running, Runtime, eventually},
};

pub(crate) fn malformed_bytes_close_their_connection(on: On) {
    let app = App::new(()).service(echo()).dictionary([("echo.raw", 1)]);
    let running = on.serve(app.protocol(|protocol| protocol.max_packet_size(1000).max_inflated_size(1000)));
    let mut other = running.connect();
    let bomb = {
        let deflated = miniz_oxide::deflate::compress_to_vec_zlib(&[0; 100_000], 9);
        let message = [&[0x12, 8][..], b"echo.raw", &deflated].concat();
        [&[4, 0, 0, message.len() as u8][..], &message].concat()
    };
    let cases: [(&str, &[u8]); 11] = [
        ("a request without a route", b"\x04\0\0\x02\0\x01"),
        ("a request whose id has no end", b"\x04\0\0\x02\0\x80"),
        ("a message that is too short", b"\x04\0\0\x01\0"),
        ("a route that is too short", b"\x04\0\0\x06\x02\x08echo"),
        ("no such message", b"\x04\0\0\x04\x0e\x01\x01a"),
        ("no such code", b"\x04\0\0\x03\x03\0\x02"),
        ("half a code", b"\x04\0\0\x02\x03\0"),
        ("no such packet", b"\x06\0\0\0"),
        ("a packet that is too long", &[&[4, 0, 3, 0xe9][..], &[0; 1001]].concat()),
        ("a body that cannot be inflated", b"\x04\0\0\x0d\x12\x08echo.raw\x78\x9c\xff"),
        ("a body that becomes too long", &bomb),
    ];
    for (what, bytes) in cases {
        let mut client = running.connect();
        assert_works(&mut client);
        client.send_raw(bytes);
        let reason = client.expect_closed();
        assert!(matches!(reason, CloseReason::PeerClosed | CloseReason::Transport), "{what}: {reason}");
        assert_works(&mut other);
    }
    eventually("their sessions ended", || running.server().sessions().count() == 1);
}

pub(crate) fn out_of_order_packets_close(on: On) {
    let running = on.serve(App::new(()).service(echo()));
    let request = b"\x04\0\0\x0d\0\x05\x08echo.rawhi";
    // Data or an acknowledgement before the handshake.
    for first in [&request[..], b"\x02\0\0\0"] {
        let mut wire = Wire::connect(running.endpoint());
        wire.send(first);
        assert_eq!(wire.receive_to_end(), b"");
    }
    // Data before the acknowledgement.
    let mut wire = Wire::connect(running.endpoint());
    wire.send(b"\x01\0\0\x02{}");
    assert_eq!(wire.receive_packet().0, 1);
    wire.send(request);
    assert_eq!(wire.receive_to_end(), b"");
    // A second handshake is answered, and wants to be acknowledged.
    let mut wire = Wire::connect(running.endpoint());
    for _ in 0..2 {
        wire.send(b"\x01\0\0\x02{}");
        assert_eq!(wire.receive_packet().0, 1);
        wire.send(b"\x02\0\0\0");
        // Ignored.
        wire.send(b"\x03\0\0\0");
        wire.send(b"\x05\0\0\0");
        wire.send(request);
        assert_eq!(wire.receive_packet(), (4, b"\x04\x05hi".to_vec()));
    }
    drop(wire);
    eventually("their sessions ended", || running.server().sessions().count() == 0);
}

pub(crate) fn plain_http(on: On) {
    if !on.scheme.has_messages() {
        let running = on.serve(App::new(()));
        let mut wire = Wire::connect(running.endpoint());
        wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(wire.receive_to_end(), b"");
        return;
    }
    let running = on.serve(App::new(()).service(echo()));
    let (status, head, body) = http_get(running.endpoint(), "/");
    assert_eq!(status, 400);
    assert!(head.contains("text/plain") && body.contains("WebSocket"), "{head}\n{body}");
    assert_works(&mut running.connect());

    let page = Bytes::from("<h1>lobby</h1>".repeat(50_000));
    let endpoint = on.endpoint().page("/", "text/html", page.clone());
    let running = Running::start(on.runtime, App::new(()).service(echo()).build().unwrap(), [endpoint]);
    let (status, head, body) = http_get(running.endpoint(), "/?v=1");
    assert_eq!((status, body.as_bytes()), (200, &page[..]));
    assert!(head.contains("text/html"), "{head}");
    assert_eq!(http_get(running.endpoint(), "/other").0, 404);
    assert_works(&mut running.connect());
    eventually("no session is left", || running.server().sessions().count() == 0);
}

pub(crate) fn whole_packets_in_pieces(on: On) {
    let running = on.serve(App::new(()).service(echo()));
    let mut wire = Wire::connect(running.endpoint());
    if on.scheme.has_messages() {
        // One message is one packet, no more and no less.
        for bytes in [&b"\x01\0\0\x02{"[..], b"\x01\0\0\x02{}\x02\0\0\0", b"\x01\0", b""] {
            let mut wire = Wire::connect(running.endpoint());
            wire.send(bytes);
            assert_eq!(wire.receive_to_end(), b"", "{bytes:?}");
        }
        return;
    }
    for byte in b"\x01\0\0\x02{}" {
        wire.send(&[*byte]);
    }
    assert_eq!(wire.receive_packet().0, 1);
    wire.send(b"\x02\0\0\0\x04\0\0\x0d\0\x05\x08echo");
    wire.send(b".rawhi");
    assert_eq!(wire.receive_packet(), (4, b"\x04\x05hi".to_vec()));
    // The end in the middle of a packet.
    wire.send(b"\x04\0");
    wire.finish();
    assert_eq!(wire.receive_to_end(), b"");
}

pub(crate) fn silent_clients_are_closed_and_idle_ones_stay(runtime: Runtime) {
    const HEARTBEAT: Duration = Duration::from_secs(1);
    let server = App::new(()).service(echo()).protocol(|protocol| protocol.heartbeat(HEARTBEAT)).build().unwrap();
    let running = Running::start(runtime, server, [Tcp::bind("127.0.0.1:0"), WebSocket::bind("127.0.0.1:0")]);
    let mut clients: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for endpoint in running.endpoints() {
        clients.push(Box::new(move || {
            let mut client = Client::connect(endpoint);
            client.idle(HEARTBEAT * 4);
            assert_works(&mut client);
        }));
        // One that said something, and one that never did.
        for handshake in [true, false] {
            clients.push(Box::new(move || {
                let start = net::now();
                let mut wire = Wire::connect(endpoint);
                if handshake {
                    wire.send(b"\x01\0\0\x02{}");
                    assert_eq!(wire.receive_packet().0, 1);
                    wire.send(b"\x02\0\0\0");
                }
                let heartbeats = wire.receive_to_end();
                assert!(net::since(start) >= HEARTBEAT * 2, "closed after {:?}", net::since(start));
                let expected = if handshake { b"\x03\0\0\0".repeat(heartbeats.len() / 4) } else { vec![] };
                assert_eq!(heartbeats, expected);
                assert_eq!(handshake, !heartbeats.is_empty());
            }));
        }
    }
    net::together(clients);
    eventually("their sessions ended", || running.server().sessions().count() == 0);
}
