//! Packets in WebSocket messages (specification, section 1.7).

use std::time::Instant;

use super::super::{
    bytes::{ACK, HEARTBEAT, handshake, request},
    check::{After, Check, Over, Risk},
    peer::Event,
    probe::{Probe, QUIET},
    trace::Direction,
    verdict::{Found, Mark, fail, pass, warn},
    websocket::{self, BINARY, CLOSE, CONTINUATION, PING, TEXT},
    wire::{Target, Wire},
};

pub(super) const CHECKS: &[Check] = &[
    row("websocket.binary-frames", "1.7", "The server sends one packet in each binary message", binary_frames),
    row("websocket.mask", "RFC 6455, 5.3", "Every key of a mask is understood", mask),
    row("websocket.text-opcode", "1.7", "A packet may come in a text message", text_opcode),
    row("websocket.fragments", "1.7", "A message may come in fragments with a ping between", fragments),
    row("websocket.several-frames", "1.7", "Several frames may come in one write", several_frames),
    row("websocket.ping", "RFC 6455, 5.5.2", "A ping is answered with a pong of the same bytes", ping),
    row("websocket.any-path", "1.7", "A WebSocket may be asked for at any path", any_path),
    row("websocket.plain-http", "1.7", "A plain HTTP request is answered", plain_http)
        .known_of_pomelo("answers upgrades only"),
    row("websocket.close", "RFC 6455, 5.5.1", "A close frame ends the connection", close),
    hostile(
        "websocket.several-packets",
        "1.7",
        "Two packets in one message are both taken, or end the connection",
        several_packets,
    ),
    hostile("websocket.partial-packet", "1.7", "A packet in two messages ends the connection", partial_packet),
    hostile(
        "websocket.short-message",
        "1.7",
        "A message that is shorter than a header ends the connection",
        short_message,
    ),
    hostile(
        "websocket.reserved-opcode",
        "RFC 6455, 5.2",
        "A frame with a reserved opcode ends the connection",
        reserved_opcode,
    ),
    hostile("websocket.unmasked", "RFC 6455, 5.1", "A frame that is not masked ends the connection", unmasked),
];

const fn row(id: &'static str, section: &'static str, title: &'static str, run: fn(&Probe<'_>) -> Found) -> Check {
    Check::with(id, section, title, run).over(Over::WebSocket)
}

const fn hostile(id: &'static str, section: &'static str, title: &'static str, run: fn(&Probe<'_>) -> Found) -> Check {
    row(id, section, title, run).risk(Risk::Hostile)
}

fn binary_frames(probe: &Probe<'_>) -> Found {
    // Whatever else comes fails as it is read.
    let mut peer = probe.greet()?;
    probe.works_if_offered(&mut peer)?;
    pass("all that came was one packet in one binary message")
}

fn mask(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    peer.send_bytes(&websocket::masked(BINARY, &handshake(probe.handshake())));
    probe.reply(&mut peer)?;
    pass("a handshake behind another key was answered")
}

fn text_opcode(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    peer.send_bytes(&websocket::frame(TEXT, &handshake(probe.handshake())));
    probe.reply(&mut peer)?;
    probe.acknowledge(&mut peer);
    probe.works_if_offered(&mut peer)?;
    pass("a handshake in a text message was answered")
}

fn fragments(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    let packet = handshake(probe.handshake());
    peer.send_bytes(&websocket::fragment(BINARY, &packet[..2]));
    peer.send_bytes(&websocket::fragment(CONTINUATION, &packet[2..7]));
    peer.send_bytes(&websocket::frame(PING, b"between"));
    peer.send_bytes(&websocket::frame(CONTINUATION, &packet[7..]));
    probe.reply(&mut peer)?;
    pass("a handshake in three fragments was answered")
}

fn several_frames(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    let body = echo.body("frames");
    peer.send_all(&[HEARTBEAT, &request(1, &echo.route, &body), HEARTBEAT, &request(2, &echo.route, &body)]);
    probe.answers(&mut peer, 2)?;
    pass("all frames of one write were taken")
}

fn ping(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    peer.send_bytes(&websocket::frame(PING, b"are you there"));
    let until = peer.deadline();
    loop {
        match peer.next(until)? {
            Event::Pong(bytes) if bytes == b"are you there" => return pass("the pong came"),
            Event::Pong(_) => return Err(fail("the pong has other bytes than the ping")),
            Event::Packet(..) => {}
            Event::End(why) => return Err(fail(format!("the pong did not come: {why}"))),
            Event::Nothing => return Err(fail(format!("the pong did not come within {:?}", probe.patience()))),
        }
    }
}

fn any_path(probe: &Probe<'_>) -> Found {
    let mut peer = match probe.connect_at("/cereus/conform?any=path") {
        Ok(peer) => peer,
        Err(stop) => return Err(warn(format!("at another path than that of the address {}", stop.reason))),
    };
    probe.shake(&mut peer, probe.handshake().as_bytes())?;
    pass("another path leads to the same server")
}

fn plain_http(probe: &Probe<'_>) -> Found {
    let target: &Target = probe.target;
    let mut wire = Wire::connect(target).map_err(|why| fail(format!("no connection could be made: {why}")))?;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.address.host());
    probe.trace.bytes(1, Direction::Sent, request.as_bytes());
    wire.send(request.as_bytes()).map_err(|error| fail(format!("a plain HTTP request could not be sent: {error}")))?;
    let (head, _) = websocket::head(&mut wire, Instant::now() + probe.patience()).map_err(fail)?;
    probe.trace.bytes(1, Direction::Received, head.as_bytes());
    match websocket::status(&head) {
        Some(status) if status != 101 && status < 500 => pass(format!("it was answered with the status {status}")),
        _ => Err(fail(format!("it was answered with `{}`", head.lines().next().unwrap_or_default()))),
    }
}

fn close(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    peer.send_bytes(&websocket::frame(CLOSE, &1000_u16.to_be_bytes()));
    probe.is_ended(&mut peer, After::Acknowledgement, Mark::Required)
}

fn several_packets(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    probe.shake(&mut peer, probe.handshake().as_bytes())?;
    peer.send(&[ACK, HEARTBEAT].concat());
    let ended = peer.within(QUIET)?.iter().any(|event| matches!(event, Event::End(_)));
    if ended {
        return pass("the server ends the connection, as Pitaya does");
    }
    probe.settle(&mut peer);
    match probe.works_if_offered(&mut peer) {
        Ok(()) => pass("both are taken, which is optional"),
        Err(stop) => Err(fail(format!("the connection stayed open but does not work: {}", stop.reason))),
    }
}

/// What ends the connection once it works.
fn ends(probe: &Probe<'_>, messages: &[Vec<u8>]) -> Found {
    for bytes in messages {
        let mut peer = probe.greet()?;
        peer.send_bytes(bytes);
        probe.is_ended(&mut peer, After::Acknowledgement, Mark::Required)?;
    }
    pass("the server ends the connection without a word")
}

fn partial_packet(probe: &Probe<'_>) -> Found {
    let parts = [&b"\x04\0\0\x0a\0\x01\x04"[..], b"echotext"];
    ends(probe, &[parts.map(|part| websocket::frame(BINARY, part)).concat()])
}

fn short_message(probe: &Probe<'_>) -> Found {
    ends(probe, &[websocket::frame(BINARY, b"\x03\0\0"), websocket::frame(BINARY, b"")])
}

fn reserved_opcode(probe: &Probe<'_>) -> Found {
    ends(probe, &[websocket::frame(3, HEARTBEAT), websocket::frame(11, b"")])
}

fn unmasked(probe: &Probe<'_>) -> Found {
    ends(probe, &[websocket::unmasked(BINARY, HEARTBEAT)])
}
