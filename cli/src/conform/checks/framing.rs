//! Packets in the stream of bytes (specification, section 1).

use std::{thread, time::Duration};

use super::super::{
    bytes::{ACK, HEARTBEAT, handshake, request},
    check::{After, Check, Over, Risk},
    peer::Event,
    probe::{Probe, QUIET},
    verdict::{Found, Mark, fail, pass, warn},
};

const REQUIRED: (After, Mark) = (After::Acknowledgement, Mark::Required);

pub(super) const CHECKS: &[Check] = &[
    Check::with("framing.split-bytes", "1.6", "Packets may come byte by byte", split_bytes),
    Check::with("framing.split-header", "1.6", "A header may come in two parts with a pause between", split_header),
    Check::with("framing.coalesced", "1.6", "Several packets may come in one write", coalesced),
    Check::with(
        "framing.all-at-once",
        "1.6",
        "Handshake, acknowledgement and request may come in one write",
        all_at_once,
    )
    .known_of_pomelo("takes an acknowledgement only after its answer"),
    Check::with(
        "framing.body-of-heartbeat",
        "1.1",
        "A heartbeat with a body is taken for a heartbeat",
        body_of_heartbeat,
    ),
    Check::closes(
        "framing.unknown-type",
        "1.4, 3.9",
        "A packet of an unknown type ends the connection",
        REQUIRED,
        &[b"\x00\0\0\0", b"\x06\0\0\0", b"\xff\0\0\x01x"],
    ),
    Check::closes(
        "framing.empty-data",
        "2.8",
        "A Data packet without a body ends the connection",
        REQUIRED,
        &[b"\x04\0\0\0"],
    ),
    Check::closes(
        "framing.http-on-tcp",
        "1.4",
        "An HTTP request on the port for packets ends the connection",
        (After::Connecting, Mark::Required),
        &[b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    )
    .over(Over::Stream),
    Check::with(
        "framing.cut-packet",
        "1.6",
        "A packet that is cut short by the end of the stream ends the connection",
        cut_packet,
    )
    .over(Over::Stream)
    .risk(Risk::Hostile),
    Check::with(
        "framing.longest-header",
        "1.2, 1.6",
        "The longest header with few bytes after it harms nobody",
        longest_header,
    )
    .over(Over::Stream)
    .risk(Risk::Hostile),
];

fn split_bytes(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    for byte in peer.wrapped(&[handshake(probe.handshake())]) {
        peer.send_bytes(&[byte]);
    }
    probe.reply(&mut peer)?;
    for byte in peer.wrapped(&[ACK]) {
        peer.send_bytes(&[byte]);
    }
    probe.settle(&mut peer);
    if let Ok(echo) = probe.offer.echo() {
        let body = echo.body("bytes");
        for byte in peer.wrapped(&[request(1, &echo.route, &body)]) {
            peer.send_bytes(&[byte]);
        }
        probe.is_echo(&peer.answer(1)?, &body)?;
    }
    pass("packets that came byte by byte were answered")
}

fn split_header(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    let echo = probe.offer.echo()?;
    let body = echo.body("header");
    let bytes = peer.wrapped(&[request(1, &echo.route, &body)]);
    // In the middle of the header of the packet, not of the frame around it.
    let (first, rest) = bytes.split_at(bytes.len() - body.len() - echo.route.len() - 5);
    peer.send_bytes(first);
    thread::sleep(Duration::from_millis(100));
    peer.send_bytes(rest);
    probe.is_echo(&peer.answer(1)?, &body)?;
    pass("a packet that came in two parts was answered")
}

fn coalesced(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    let echo = probe.offer.echo()?;
    let packets = [1, 2].map(|id| request(id, &echo.route, &echo.body("coalesced")));
    peer.send_all(&[HEARTBEAT, &packets[0], HEARTBEAT, &packets[1]]);
    let mut ids: Vec<_> = probe.answers(&mut peer, 2)?.iter().map(|answer| answer.message.id.get()).collect();
    ids.sort_unstable();
    match ids[..] {
        [1, 2] => pass("both requests of one write were answered"),
        _ => Err(fail(format!("requests 1 and 2 came in one write, and {ids:?} were answered"))),
    }
}

fn all_at_once(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.connect()?;
    let body = echo.body("at once");
    peer.send_all(&[&handshake(probe.handshake()), ACK, &request(1, &echo.route, &body)]);
    probe.reply(&mut peer)?;
    probe.settle(&mut peer);
    probe.is_echo(&peer.answer(1)?, &body)?;
    pass("handshake and request of one write were answered")
}

fn body_of_heartbeat(probe: &Probe<'_>) -> Found {
    probe.offer.echo()?;
    let mut peer = probe.greet()?;
    peer.send(b"\x03\0\0\x01x");
    match probe.echo(&mut peer, 1) {
        Ok(()) => pass("the connection works on after a heartbeat with a body"),
        Err(stop) => Err(warn(format!("after a heartbeat with a body {}; no client sends one", stop.reason))),
    }
}

fn cut_packet(probe: &Probe<'_>) -> Found {
    for bytes in [&b"\x04\0"[..], b"\x04\0\0\x64\0\x01\x04echo"] {
        let mut peer = probe.greet()?;
        peer.send(bytes);
        peer.finish();
        probe.is_ended(&mut peer, After::Acknowledgement, Mark::Required)?;
    }
    pass("the server ends the connection without a word")
}

fn longest_header(probe: &Probe<'_>) -> Found {
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = probe.greet()?;
        peer.send(b"\x04\xff\xff\xff\0\x01\x04echo");
        peers.push(peer);
    }
    let events = peers[0].within(QUIET)?;
    let packets = events.iter().filter(|event| matches!(event, Event::Packet(..))).count();
    if packets > 0 {
        return Err(fail("the server answered a packet of which it had but a few bytes"));
    }
    probe.is_alive()?;
    pass("while 20 clients are in the middle of a packet of 16 MiB, another is served")
}
