//! Messages in Data packets (specification, section 2).

use cereus_core::MessageType;

use super::super::{
    bytes::{BROWSER, by_hand, data, message, notify, request, zlib},
    check::{After, Check, Risk},
    offer::{Call, Family},
    peer::{Event, Peer},
    probe::{Probe, QUIET},
    verdict::{Found, Mark, Stop, fail, pass, skip, warn},
};

const REQUIRED: (After, Mark) = (After::Acknowledgement, Mark::Required);
const FIX: (After, Mark) = (After::Acknowledgement, Mark::Fix);

/// Bits of the flag byte.
const CODE: u8 = 0x01;
const NOTIFY: u8 = 0x02;
const ZLIB: u8 = 0x10;
const ERROR: u8 = 0x20;

pub(super) const CHECKS: &[Check] = &[
    Check::with("messages.echo", "2.1", "A request is answered with its id", echo),
    Check::with("messages.reply-flags", "2.2", "An answer has no flags but type, error and compression", reply_flags),
    Check::with("messages.ids", "2.3", "Ids of one to ten bytes come back as they were", ids),
    Check::with("messages.id-zero", "2.3", "A request with the id 0 is not answered", id_zero),
    Check::with("messages.id-repeated", "2.3", "Two requests with one id get two answers", id_repeated),
    Check::with("messages.id-padded", "2.3", "An id in more bytes than it needs is understood", id_padded),
    Check::with("messages.notify-unanswered", "2.9", "A notify is not answered", notify_unanswered),
    Check::with("messages.notify-push", "2.1", "The push that a notify causes arrives", notify_push),
    Check::with("messages.high-bits", "2.2", "The two highest bits of the flags are ignored", high_bits),
    Check::with("messages.error-bit", "2.7", "The error bit of a client is ignored", error_bit),
    Check::with("messages.empty-body", "2.1", "A request without a body is answered", empty_body),
    Check::with("messages.zlib", "2.6", "A deflated body is inflated", zlib_body),
    Check::with(
        "messages.dictionary-request",
        "2.4, 2.5",
        "A request may name its route by the code of the dictionary",
        dictionary_request,
    ),
    Check::with(
        "messages.dictionary-push",
        "2.4, 2.5",
        "A push may have the code of its route, of the dictionary that was told",
        dictionary_push,
    ),
    Check::with(
        "messages.empty-route",
        "2.4, 5",
        "A request with an empty route is answered with an error",
        empty_route,
    ),
    Check::with(
        "messages.odd-route",
        "2.4, 5",
        "Routes of any bytes and up to 255 of them are answered with errors",
        odd_routes,
    ),
    Check::closes(
        "messages.too-short",
        "2.8",
        "A message of one byte ends the connection",
        REQUIRED,
        &[b"\x04\0\0\x01\0"],
    ),
    Check::closes(
        "messages.unknown-type",
        "2.2, 2.8",
        "A message of the types 4 to 7 ends the connection",
        REQUIRED,
        &[
            b"\x04\0\0\x04\x08\x01\x01a",
            b"\x04\0\0\x04\x0a\x01\x01a",
            b"\x04\0\0\x04\x0c\x01\x01a",
            b"\x04\0\0\x04\x0e\x01\x01a",
        ],
    ),
    Check::closes(
        "messages.truncated-route",
        "2.8",
        "A route that is longer than the message ends the connection",
        REQUIRED,
        &[b"\x04\0\0\x07\0\x01\x08echo", b"\x04\0\0\x06\x02\x08echo"],
    ),
    Check::closes(
        "messages.truncated-code",
        "2.8",
        "A code of one byte ends the connection",
        REQUIRED,
        &[b"\x04\0\0\x03\x01\x01\0", b"\x04\0\0\x02\x03\0"],
    ),
    Check::closes(
        "messages.unknown-code",
        "2.8",
        "A code that is not in the dictionary ends the connection",
        REQUIRED,
        &[b"\x04\0\0\x04\x01\x01\xff\xfe", b"\x04\0\0\x03\x03\xff\xfe"],
    ),
    Check::closes(
        "messages.endless-id",
        "2.3, A3",
        "An id that does not end, or has eleven bytes, ends the connection",
        FIX,
        &[b"\x04\0\0\x05\0\x80\x80\x80\x80", b"\x04\0\0\x10\0\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\0\x03a.b"],
    ),
    Check::with(
        "messages.bad-zlib",
        "2.6, 2.8",
        "A compressed body that is no zlib stream ends the connection",
        bad_zlib,
    )
    .risk(Risk::Hostile),
    Check::with("messages.bomb", "2.6, A2", "A body that grows to 32 MiB ends the connection", bomb)
        .risk(Risk::Hostile),
    Check::with("messages.from-server", "2.9", "Responses and pushes of a client harm nobody", from_server)
        .risk(Risk::Hostile),
];

fn echo(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    for id in 1..=3 {
        probe.echo(&mut peer, id)?;
    }
    pass("three requests were answered with their bodies")
}

fn reply_flags(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    peer.send(&request(1, &echo.route, &echo.body("flags")));
    let flags = peer.answer(1)?.flags;
    match flags & !(ZLIB | ERROR) {
        0x04 => pass(format!("the flags are {flags:#04x}")),
        0x05 => Err(probe.strays(Mark::Fix, format!("the flags {flags:#04x} say that a route follows, and none does"))),
        _ => Err(fail(format!("the flags {flags:#04x} have bits that must not be sent"))),
    }
}

fn ids(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    let all = [1, 127, 128, 16_383, 16_384, u64::from(u32::MAX) - 1, (1 << 53) - 1, u64::MAX];
    // JavaScript counts in 32 bits, as libpitaya does.
    let known = if probe.family() == Family::Pomelo { &all[..5] } else { &all[..] };
    for id in known {
        let body = echo.body(&id.to_string());
        peer.send(&request(*id, &echo.route, &body));
        probe.is_echo(&peer.answer(*id)?, &body)?;
    }
    pass(format!("{} ids up to {} came back", known.len(), known[known.len() - 1]))
}

fn id_zero(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    peer.send(&request(0, &echo.route, &echo.body("zero")));
    probe.echo(&mut peer, 1)?;
    probe.is_quiet(&mut peer)?;
    pass("only the request after it was answered")
}

fn id_repeated(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    let packet = request(5, &echo.route, &echo.body("same"));
    peer.send_all(&[&packet, &packet]);
    probe.answers(&mut peer, 2)?;
    probe.is_quiet(&mut peer)?;
    pass("two answers came, and no more")
}

fn id_padded(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    let body = echo.body("padded");
    peer.send(&by_hand(0, &[0x85, 0x80, 0x00], echo.route.as_bytes(), &body));
    probe.is_echo(&peer.answer(5)?, &body)?;
    pass("the answer has the same id")
}

fn notify_unanswered(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    peer.send(&notify(&echo.route, &echo.body("notify")));
    // nano ends the connection after one that nobody handles.
    if let (Ok(missing), true) = (probe.offer.missing(), probe.family() != Family::Nano) {
        peer.send(&notify(&missing.route, b""));
    }
    probe.echo(&mut peer, 1)?;
    probe.is_quiet(&mut peer)?;
    pass("only the request after it was answered")
}

/// Waits for a push: with which flags it came.
fn pushed(peer: &mut Peer, call: &Call, route: &str) -> Result<u8, Stop> {
    peer.send(&notify(&call.route, &call.body("push")));
    loop {
        let received = peer.message(&format!("the push {route}"))?;
        match received.message.kind {
            MessageType::Push if received.message.route.as_bytes() == route.as_bytes() => return Ok(received.flags),
            MessageType::Push => {}
            _ => return Err(fail(format!("a notify of {} was answered", call.route))),
        }
    }
}

fn push_of<'a>(call: &'a Call, entry: &str) -> Result<&'a str, Stop> {
    call.push
        .as_deref()
        .ok_or_else(|| skip(format!("the entry [{entry}] has no `push`, the route of the push that it causes")))
}

fn notify_push(probe: &Probe<'_>) -> Found {
    let call = probe.offer.notify()?;
    let route = push_of(call, "notify")?;
    let mut peer = probe.greet()?;
    pushed(&mut peer, call, route)?;
    pass(format!("{route} came"))
}

fn flagged(probe: &Probe<'_>, bits: u8) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    let body = echo.body("bits");
    peer.send(&by_hand(bits, &[1], echo.route.as_bytes(), &body));
    probe.is_echo(&peer.answer(1)?, &body)?;
    pass(format!("a request with the flags {bits:#04x} was answered"))
}

fn high_bits(probe: &Probe<'_>) -> Found {
    flagged(probe, 0xc0)
}

fn error_bit(probe: &Probe<'_>) -> Found {
    flagged(probe, ERROR)
}

fn empty_body(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    peer.send(&request(1, &echo.route, b""));
    match peer.answer(1) {
        Ok(answer) if answer.message.error => pass("it was answered with an error"),
        Ok(_) => pass("it was answered"),
        Err(stop) if probe.family().is_pitaya() => Err(stop),
        Err(stop) => {
            Err(warn(format!("{}; {} does not answer what it cannot read", stop.reason, probe.family().name())))
        }
    }
}

/// Only Pitaya knows compressed bodies.
fn compresses(probe: &Probe<'_>) -> Result<(), Stop> {
    match probe.family().is_pitaya() {
        true => Ok(()),
        false => Err(skip(format!("{} does not compress bodies", probe.family().name()))),
    }
}

fn zlib_body(probe: &Probe<'_>) -> Found {
    compresses(probe)?;
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    for text in ["z".to_owned(), "zlib".repeat(500)] {
        let body = echo.body(&text);
        peer.send(&by_hand(ZLIB, &[1], echo.route.as_bytes(), &zlib(&body)));
        probe.is_echo(&peer.answer(1)?, &body)?;
    }
    pass("the bodies came back")
}

fn dictionary_request(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let entries = probe.welcome.map(|welcome| &welcome.dictionary[..]).unwrap_or_default();
    let Some((_, code)) = entries.iter().find(|(route, _)| route.as_bytes() == echo.route.as_bytes()) else {
        return Err(skip(format!("the dictionary that the server told has no code for {}", echo.route)));
    };
    let mut peer = probe.greet()?;
    let body = echo.body("code");
    peer.send(&data(&[&[CODE, 1], &code.to_be_bytes()[..], &body].concat()));
    probe.is_echo(&peer.answer(1)?, &body)?;
    pass(format!("the code {code} was taken for {}", echo.route))
}

fn dictionary_push(probe: &Probe<'_>) -> Found {
    let call = probe.offer.dictionary()?;
    let route = push_of(call, "dictionary")?;
    let entries = probe.welcome.map(|welcome| &welcome.dictionary[..]).unwrap_or_default();
    if !entries.iter().any(|(entry, _)| entry.as_bytes() == route.as_bytes()) {
        return Err(skip(format!("the dictionary that the server told has no code for {route}")));
    }
    let browser = probe.offer.handshake.as_deref().unwrap_or(BROWSER);
    let mut peer = probe.greet_as(browser.as_bytes())?;
    match pushed(&mut peer, call, route)? & CODE {
        0 => pass(format!("{route} came as text, which every client understands")),
        _ => pass(format!("{route} came as its code")),
    }
}

fn empty_route(probe: &Probe<'_>) -> Found {
    refused(probe, &[b""])
}

fn odd_routes(probe: &Probe<'_>) -> Found {
    let long = [b"a.".repeat(127), b"a".to_vec()].concat();
    refused(probe, &[b"\xff\xfe.\x80", b"a.\0", "räum.ü".as_bytes(), b"...", &long])
}

/// Requests that cannot be for anybody.
fn refused(probe: &Probe<'_>, routes: &[&[u8]]) -> Found {
    if !probe.family().is_pitaya() {
        return Err(skip(format!("{} has no answer that says so", probe.family().name())));
    }
    let mut peer = probe.greet()?;
    for route in routes {
        peer.send(&by_hand(0, &[1], route, b""));
        if !peer.answer(1)?.message.error {
            let route = String::from_utf8_lossy(route);
            return Err(fail(format!("the request for {route:?} was answered without the error bit")));
        }
    }
    probe.works_if_offered(&mut peer)?;
    pass("errors came, and the connection works on")
}

fn bad_zlib(probe: &Probe<'_>) -> Found {
    compresses(probe)?;
    let plain = b"body".repeat(10);
    let mut damaged = zlib(&plain);
    let end = damaged.len() - 1;
    damaged[end] ^= 1;
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &miniz_oxide::deflate::compress_to_vec(&plain, 6), &[0; 8]]
        .concat();
    for body in [&b""[..], b"\x78\x9c\xff", b"plain", &damaged, &zlib(&plain)[..10], &gzip] {
        let mut peer = probe.greet()?;
        peer.send(&data(&[&[NOTIFY | ZLIB, 3], &b"a.b"[..], body].concat()));
        probe.is_ended(&mut peer, After::Acknowledgement, Mark::Required)?;
    }
    pass("the server ends the connection without a word, after gzip, too")
}

fn bomb(probe: &Probe<'_>) -> Found {
    compresses(probe)?;
    let body = zlib(&vec![0; 32 << 20]);
    let mut peer = probe.greet()?;
    peer.send(&data(&[&[NOTIFY | ZLIB, 3], &b"a.b"[..], &body].concat()));
    probe.is_ended(&mut peer, After::Acknowledgement, Mark::Fix)?;
    pass(format!("the server ends the connection after {} bytes that are 32 MiB", body.len()))
}

fn from_server(probe: &Probe<'_>) -> Found {
    let route = probe.offer.echo().map_or("a.b", |echo| &echo.route);
    for kind in [MessageType::Response, MessageType::Push] {
        let mut peer = probe.greet()?;
        peer.send(&message(kind, 9, route, b"odd"));
        let events = peer.within(QUIET)?;
        if !events.iter().any(|event| matches!(event, Event::End(_))) {
            probe.works_if_offered(&mut peer)?;
        }
        probe.is_alive()?;
    }
    pass("others are served as before")
}
