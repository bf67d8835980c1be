//! Every committed input of the fuzz targets, through the property that its target calls.
//!
//! `cargo test -p cereus-sim --test corpus -- --ignored` writes the hand-made scripts anew.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use cereus_sim::props::{self, Op, Script};

#[test]
fn corpus_of_packets_holds() {
    replay("packet", |bytes| {
        props::packet(bytes);
        props::any_chunking(bytes, &[1, 2, 3, 5, 8, 13, 21]);
    });
}

#[test]
fn corpus_of_messages_holds() {
    replay("message", props::message);
}

#[test]
fn corpus_of_handshakes_holds() {
    replay("handshake", props::handshake);
}

#[test]
fn corpus_of_servers_holds() {
    replay("server", props::server);
}

fn replay(target: &str, property: impl Fn(&[u8])) {
    let folder = folder(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let _told = Told(&path);
        property(&bytes);
    }
}

/// Tells which input it was.
struct Told<'a>(&'a PathBuf);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// The seeds that are not vectors, but scripts by name. `CEREUS_WRITE_CORPUS=1` writes them.
#[test]
fn hand_made_scripts_are_in_the_corpus() {
    for (name, settings, ops) in scripts() {
        let (file, script) = (folder("server").join(name), Script::new(settings, ops).encode());
        if std::env::var_os("CEREUS_WRITE_CORPUS").is_some() {
            fs::write(&file, &script).expect("the folder is there");
        }
        assert_eq!(fs::read(&file).ok().as_deref(), Some(&script[..]), "{name} is not up to date");
    }
}

fn scripts() -> Vec<(&'static str, u8, Vec<Op>)> {
    let packet = |kind, body: &'static [u8]| Op::Packet(kind, Bytes::from_static(body));
    let handshake = || packet(1, br#"{"sys":{"platform":"web"}}"#);
    let native = || packet(1, br#"{"sys":{"libVersion":"0.3.5"}}"#);
    let connected = |hello: Op, rest: Vec<Op>| {
        [vec![hello, Op::Poll(1), Op::Accept, packet(2, b""), Op::Poll(1), Op::Transmit(9)], rest].concat()
    };
    let request = || packet(4, b"\0\x01\x03a.bhello");
    let notify = || packet(4, b"\x02\x03a.bhello");
    vec![
        ("refused", 0, vec![handshake(), Op::Poll(1), Op::Reject, Op::Poll(1), Op::Transmit(2)]),
        ("unreadable", 0, vec![packet(1, b"[]"), Op::Poll(1), Op::Transmit(2)]),
        ("ack-first", 0, vec![packet(2, b""), Op::Poll(1)]),
        ("data-first", 0, vec![request(), Op::Poll(1)]),
        ("never-acks", 0, vec![handshake(), Op::Poll(1), Op::Accept, Op::Wait(30), Op::Poll(1)]),
        ("echo", 1, connected(handshake(), vec![request(), Op::Poll(1), Op::Respond(0, 9), Op::Transmit(1)])),
        ("error", 3, connected(native(), vec![request(), Op::Poll(1), Op::RespondError(0, 99), Op::Transmit(1)])),
        ("empty-error", 0, connected(native(), vec![request(), Op::Poll(1), Op::RespondError(0, 0)])),
        (
            "wrong-answer",
            0,
            connected(native(), vec![request(), Op::Poll(1), Op::RespondTo(7), Op::RespondTo(1), Op::RespondTo(1)]),
        ),
        ("without-id", 0, connected(handshake(), vec![packet(4, b"\0\0\x03a.b"), Op::Poll(1), Op::RespondTo(0)])),
        (
            "same-id",
            0,
            connected(
                handshake(),
                vec![request(), request(), Op::Poll(2), Op::RespondTo(1), Op::RespondTo(1), Op::RespondTo(1)],
            ),
        ),
        (
            "pushes",
            1,
            connected(
                handshake(),
                vec![Op::Push(0, 10), Op::PushEncoded(1, 500), Op::Push(0, 0), Op::PushForeign, Op::Transmit(9)],
            ),
        ),
        (
            "native-pushes",
            1,
            connected(native(), vec![Op::Push(2, 10), Op::PushEncoded(2, 500), Op::Push(2, 0), Op::Transmit(9)]),
        ),
        ("queue-full", 0, connected(handshake(), vec![Op::Push(0, 2000), Op::Push(0, 2000), Op::Poll(1)])),
        (
            "drop-oldest",
            8,
            connected(handshake(), vec![Op::Push(0, 900), Op::Push(1, 900), Op::Push(2, 900), Op::Transmit(9)]),
        ),
        (
            "keep-latest",
            16,
            connected(handshake(), vec![Op::Push(0, 900), Op::Push(0, 901), Op::Push(0, 902), Op::Transmit(9)]),
        ),
        ("kick", 0, connected(handshake(), vec![Op::Kick(true), Op::Transmit(2), Op::Poll(1)])),
        (
            "kick-while-running",
            0,
            connected(
                handshake(),
                vec![request(), Op::Poll(1), Op::Kick(true), Op::Wait(5), Op::Respond(0, 5), Op::Transmit(3)],
            ),
        ),
        (
            "kick-oversleeps",
            0x80,
            connected(native(), vec![request(), Op::Poll(1), Op::Kick(false), Op::Oversleep(120), Op::Transmit(3)]),
        ),
        (
            "kick-is-heard",
            0x40,
            connected(
                handshake(),
                vec![
                    request(),
                    Op::Poll(1),
                    Op::Kick(true),
                    Op::Wait(15),
                    packet(3, b""),
                    Op::Wait(15),
                    packet(3, b""),
                    Op::Wait(15),
                    Op::Respond(0, 1),
                ],
            ),
        ),
        (
            "close",
            0,
            connected(handshake(), vec![Op::Push(0, 9), Op::Close, Op::Transmit(9), Op::Poll(1), Op::Poll(1)]),
        ),
        ("close-too-slow", 0, connected(handshake(), vec![Op::Push(0, 9), Op::Close, Op::Wait(20), Op::Transmit(9)])),
        ("abort", 0, connected(handshake(), vec![Op::Push(0, 9), Op::Abort, Op::Transmit(9), Op::Poll(1)])),
        ("eof", 0, connected(handshake(), vec![request(), Op::Eof, Op::Poll(2)])),
        (
            "eof-in-packet",
            0,
            connected(handshake(), vec![Op::Input(Bytes::from_static(b"\x04\0\0\x09x")), Op::Eof, Op::Poll(2)]),
        ),
        (
            "again",
            0,
            connected(
                handshake(),
                vec![native(), Op::Poll(1), Op::Push(0, 1), Op::Accept, packet(2, b""), Op::Poll(1), Op::Push(0, 1)],
            ),
        ),
        ("silent", 0, connected(handshake(), vec![Op::Wait(29), packet(3, b""), Op::Wait(31), Op::Poll(1)])),
        (
            "flood",
            0,
            connected(handshake(), vec![Op::Flood(4, 64), Op::Wait(100), Op::Poll(200), Op::Flood(4, 64), Op::Poll(9)]),
        ),
        ("flood-after-fault", 0, connected(handshake(), vec![Op::Flood(0, 200), Op::Wait(10), Op::Poll(1)])),
        (
            "few-requests",
            0x20,
            connected(handshake(), vec![request(), request(), request(), Op::Poll(5), Op::Respond(1, 3), Op::Poll(1)]),
        ),
        ("too-long", 0, connected(handshake(), vec![Op::Input(Bytes::from_static(b"\x04\0\x08\x01")), Op::Poll(1)])),
        (
            "notify",
            1,
            connected(native(), vec![notify(), packet(4, b"\x03\xff\xffhi"), packet(4, b"\x03\0\x09hi"), Op::Poll(5)]),
        ),
        (
            "compressed",
            1,
            connected(
                native(),
                vec![packet(4, b"\x12\x03a.b\x78\x9c\x03\0\0\0\0\x01"), packet(4, b"\x12\x03a.b"), Op::Poll(5)],
            ),
        ),
        ("bypass", 0, connected(handshake(), vec![packet(4, b"\0\x01"), Op::Poll(1)])),
    ]
}
