//! Connections that a load balancer hands on.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::Duration,
};

use cereus::{App, Raw, Service, Session};

use crate::{
    client::{Wire, open},
    common::{On, Scheme, echo},
    net::Stream,
    server::{Running, Runtime},
};

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

fn serve(on: On, heartbeat: Duration) -> Running {
    let peer = async |session: Session| Raw(session.peer().map(|peer| peer.to_string()).unwrap_or_default().into());
    let app = App::new(())
        .protocol(|protocol| protocol.heartbeat(heartbeat))
        .service(Service::new("who").request("ami", peer))
        .service(echo());
    Running::start(on.runtime, app.build().unwrap(), [on.endpoint().proxy_protocol()])
}

/// A connection that begins so.
fn say(running: &Running, bytes: &[u8]) -> Stream {
    let mut stream = open(running.endpoint()).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

pub(crate) fn the_header_names_the_peer(on: On) {
    let running = serve(on, Duration::from_secs(60));
    let mut wire = Wire::connect_after(HEADER, running.endpoint());
    wire.send(b"\x01\0\0\x02{}");
    assert_eq!(wire.receive_packet().0, 1);
    wire.send(b"\x02\0\0\0");
    wire.send(b"\x04\0\0\x0a\0\x05\x07who.ami");
    assert_eq!(wire.receive_packet(), (4, b"\x04\x05192.0.2.7:56324".to_vec()));
    let peers: Vec<SocketAddr> = vec!["192.0.2.7:56324".parse().unwrap()];
    let mut seen = Vec::new();
    running.server().sessions().for_each(|session| seen.extend(session.peer()));
    assert_eq!(seen, peers);
}

pub(crate) fn who_has_no_header_is_nobody(on: On) {
    let running = serve(on, Duration::from_secs(60));
    for header in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY UNKNOWN\r\n", b"\x01\0\0\x02{}"] {
        let mut stream = say(&running, header);
        let mut answer = Vec::new();
        // Closed with bytes unread, a socket may be reset.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{}", String::from_utf8_lossy(header));
    }
    assert_eq!(running.server().sessions().count(), 0);
}

/// After two heartbeats.
pub(crate) fn silent_load_balancers_are_closed(runtime: Runtime) {
    let running = serve(On { runtime, scheme: Scheme::Tcp }, Duration::from_secs(1));
    let mut stream = say(&running, &HEADER[..20]);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(running.server().sessions().count(), 0);
}

pub(crate) fn a_shutdown_does_not_wait_for_them(on: On) {
    let running = serve(on, Duration::from_secs(60));
    let mut stream = say(&running, &HEADER[..20]);
    running.stop().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}
