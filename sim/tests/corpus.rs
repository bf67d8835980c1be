//! Every committed input of the fuzz targets, through the property that its target calls.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use cereus_sim::props::{self, ClientOp, Operation, Script, ServerOp};

#[test]
fn corpus_of_packets_holds() {
    replay("packet", |bytes| {
        props::packet(bytes);
        props::any_chunking(bytes, &[1, 2, 3, 5, 8, 13, 21]);
    });
}

macro_rules! corpora {
    ($($test:ident $target:ident)+) => {$(
        #[test]
        fn $test() {
            replay(stringify!($target), props::$target);
        }
    )+};
}

corpora! {
    corpus_of_messages_holds message
    corpus_of_handshakes_holds handshake
    corpus_of_compressed_bodies_holds inflate
    corpus_of_servers_holds server
    corpus_of_clients_holds client
    corpus_of_websockets_holds websocket
    corpus_of_proxy_headers_holds proxy_header
    corpus_of_envelopes_holds envelope
    corpus_of_registry_records_holds registry_record
    corpus_of_cluster_nodes_holds cluster_node
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

/// The seeds that are scripts by name. `CEREUS_WRITE_CORPUS=1` writes them.
#[test]
fn hand_made_scripts_are_in_the_corpus() {
    is_written("server", scripts());
    is_written("client", client_scripts());
}

fn is_written<O: Operation>(target: &str, scripts: Vec<(&'static str, O::Settings, Vec<O>)>) {
    for (name, settings, ops) in scripts {
        let (file, script) = (folder(target).join(name), Script::new(settings, ops).encode());
        if std::env::var_os("CEREUS_WRITE_CORPUS").is_some() {
            fs::write(&file, &script).expect("the folder is there");
        }
        assert_eq!(fs::read(&file).ok().as_deref(), Some(&script[..]), "{name} is not up to date");
    }
}

/// A handshake of 1025 bytes, one more than either side takes here, in pieces that a script can tell.
fn long_handshake() -> impl Iterator<Item = Bytes> {
    [&b"\x01\0\x04\x01"[..]].into_iter().chain([&[b' '; 205][..]; 5]).map(Bytes::from_static)
}

fn client_scripts() -> Vec<(&'static str, u8, Vec<ClientOp>)> {
    let packet = |kind, body: &'static [u8]| ClientOp::Packet(kind, Bytes::from_static(body));
    let accepted = || packet(1, br#"{"code":200,"sys":{"heartbeat":2,"dict":{"room.join":1}}}"#);
    let connected = |rest: Vec<ClientOp>| [vec![accepted(), ClientOp::Poll(1), ClientOp::Transmit(2)], rest].concat();
    let response = || ClientOp::Answer(0, false, Bytes::from_static(b"ok"));
    vec![
        ("handshake-too-long", 0, long_handshake().map(ClientOp::Input).chain([ClientOp::Poll(1)]).collect()),
        ("refused", 0, vec![packet(1, br#"{"code":400}"#), ClientOp::Poll(1)]),
        ("code-twice", 0, vec![packet(1, br#"{"code":200,"sys":{"dict":{"a":1,"b":1}}}"#), ClientOp::Poll(1)]),
        ("never-answered", 0, vec![ClientOp::Wait(60), ClientOp::Poll(1)]),
        ("silent", 0, connected(vec![ClientOp::Wait(60), ClientOp::Poll(1)])),
        ("answered", 0, connected(vec![ClientOp::Request(0, 9), ClientOp::Transmit(1), response(), ClientOp::Poll(1)])),
        (
            "answered-twice",
            0,
            connected(vec![ClientOp::Request(0, 9), response(), ClientOp::Poll(1), response(), ClientOp::Poll(1)]),
        ),
        (
            "cancelled",
            0,
            connected(vec![ClientOp::Request(0, 9), ClientOp::Cancel(0), packet(4, b"\x04\x01ok"), ClientOp::Poll(1)]),
        ),
        ("too-many", 2, connected(vec![ClientOp::Request(0, 9), ClientOp::Request(0, 9)])),
        (
            "queue-full",
            0,
            connected(vec![ClientOp::Notify(0, 2000), ClientOp::Notify(0, 2000), ClientOp::Notify(0, 9)]),
        ),
        ("route-too-long", 0, connected(vec![ClientOp::Notify(0xff, 9), ClientOp::Request(0xff, 9)])),
        ("kicked", 0, connected(vec![packet(5, br#"{"reason":"x"}"#), ClientOp::Poll(2)])),
        (
            "close",
            0,
            connected(vec![ClientOp::Notify(0, 9), ClientOp::Close, ClientOp::Transmit(9), ClientOp::Poll(1)]),
        ),
        ("close-too-slow", 0, connected(vec![ClientOp::Notify(0, 9), ClientOp::Close, ClientOp::Oversleep(30)])),
    ]
}

fn packet(kind: u8, body: &'static [u8]) -> ServerOp {
    ServerOp::Packet(kind, Bytes::from_static(body))
}

fn handshake() -> ServerOp {
    packet(1, br#"{"sys":{"platform":"web"}}"#)
}

fn native() -> ServerOp {
    packet(1, br#"{"sys":{"libVersion":"0.3.5"}}"#)
}

fn request() -> ServerOp {
    packet(4, b"\0\x01\x03a.bhello")
}

fn notify() -> ServerOp {
    packet(4, b"\x02\x03a.bhello")
}

fn connected(hello: ServerOp, rest: Vec<ServerOp>) -> Vec<ServerOp> {
    let greeting =
        [hello, ServerOp::Poll(1), ServerOp::Accept, packet(2, b""), ServerOp::Poll(1), ServerOp::Transmit(9)];
    [greeting.to_vec(), rest].concat()
}

fn scripts() -> Vec<(&'static str, u16, Vec<ServerOp>)> {
    vec![
        (
            "refused",
            0,
            vec![handshake(), ServerOp::Poll(1), ServerOp::Reject, ServerOp::Poll(1), ServerOp::Transmit(2)],
        ),
        ("handshake-too-long", 0, long_handshake().map(ServerOp::Input).chain([ServerOp::Poll(1)]).collect()),
        (
            "route-too-long",
            1,
            connected(handshake(), vec![ServerOp::Push(0xff, 9, 0), ServerOp::PushEncoded(0xff, 9, 0)]),
        ),
        ("unreadable", 0, vec![packet(1, b"[]"), ServerOp::Poll(1), ServerOp::Transmit(2)]),
        ("ack-first", 0, vec![packet(2, b""), ServerOp::Poll(1)]),
        ("data-first", 0, vec![request(), ServerOp::Poll(1)]),
        (
            "never-acks",
            0,
            vec![handshake(), ServerOp::Poll(1), ServerOp::Accept, ServerOp::Wait(30), ServerOp::Poll(1)],
        ),
        (
            "echo",
            1,
            connected(handshake(), vec![request(), ServerOp::Poll(1), ServerOp::Respond(0, 9), ServerOp::Transmit(1)]),
        ),
        (
            "error",
            3,
            connected(
                native(),
                vec![request(), ServerOp::Poll(1), ServerOp::RespondError(0, 99), ServerOp::Transmit(1)],
            ),
        ),
        ("empty-error", 0, connected(native(), vec![request(), ServerOp::Poll(1), ServerOp::RespondError(0, 0)])),
        (
            "wrong-answer",
            0,
            connected(
                native(),
                vec![
                    request(),
                    ServerOp::Poll(1),
                    ServerOp::RespondTo(7),
                    ServerOp::RespondTo(1),
                    ServerOp::RespondTo(1),
                ],
            ),
        ),
        (
            "without-id",
            0,
            connected(handshake(), vec![packet(4, b"\0\0\x03a.b"), ServerOp::Poll(1), ServerOp::RespondTo(0)]),
        ),
        (
            "same-id",
            0,
            connected(
                handshake(),
                vec![
                    request(),
                    request(),
                    ServerOp::Poll(2),
                    ServerOp::RespondTo(1),
                    ServerOp::RespondTo(1),
                    ServerOp::RespondTo(1),
                ],
            ),
        ),
        (
            "pushes",
            1,
            connected(
                handshake(),
                vec![
                    ServerOp::Push(0, 10, 0),
                    ServerOp::PushEncoded(1, 500, 0),
                    ServerOp::Push(0, 0, 0),
                    ServerOp::PushForeign,
                    ServerOp::Transmit(9),
                ],
            ),
        ),
        (
            "native-pushes",
            1,
            connected(
                native(),
                vec![
                    ServerOp::Push(2, 10, 0),
                    ServerOp::PushEncoded(2, 500, 0),
                    ServerOp::Push(2, 0, 0),
                    ServerOp::Transmit(9),
                ],
            ),
        ),
        (
            "queue-full",
            0,
            connected(handshake(), vec![ServerOp::Push(0, 2000, 0), ServerOp::Push(0, 2000, 0), ServerOp::Poll(1)]),
        ),
        (
            "drop-oldest",
            8,
            connected(
                handshake(),
                vec![
                    ServerOp::Push(0, 900, 0),
                    ServerOp::Push(1, 900, 0),
                    ServerOp::Push(2, 900, 0),
                    ServerOp::Transmit(9),
                ],
            ),
        ),
        (
            "keep-latest",
            16,
            connected(
                handshake(),
                vec![
                    ServerOp::Push(0, 900, 0),
                    ServerOp::Push(0, 901, 0),
                    ServerOp::Push(0, 902, 0),
                    ServerOp::Transmit(9),
                ],
            ),
        ),
        ("kick", 0, connected(handshake(), vec![ServerOp::Kick(true), ServerOp::Transmit(2), ServerOp::Poll(1)])),
        (
            "kick-while-running",
            0,
            connected(
                handshake(),
                vec![
                    request(),
                    ServerOp::Poll(1),
                    ServerOp::Kick(true),
                    ServerOp::Wait(5),
                    ServerOp::Respond(0, 5),
                    ServerOp::Transmit(3),
                ],
            ),
        ),
        (
            "kick-oversleeps",
            0x80,
            connected(
                native(),
                vec![
                    request(),
                    ServerOp::Poll(1),
                    ServerOp::Kick(false),
                    ServerOp::Oversleep(120),
                    ServerOp::Transmit(3),
                ],
            ),
        ),
        (
            "kick-is-heard",
            0x40,
            connected(
                handshake(),
                vec![
                    request(),
                    ServerOp::Poll(1),
                    ServerOp::Kick(true),
                    ServerOp::Wait(15),
                    packet(3, b""),
                    ServerOp::Wait(15),
                    packet(3, b""),
                    ServerOp::Wait(15),
                    ServerOp::Respond(0, 1),
                ],
            ),
        ),
        (
            "close",
            0,
            connected(
                handshake(),
                vec![
                    ServerOp::Push(0, 9, 0),
                    ServerOp::Close,
                    ServerOp::Transmit(9),
                    ServerOp::Poll(1),
                    ServerOp::Poll(1),
                ],
            ),
        ),
        (
            "close-too-slow",
            0,
            connected(
                handshake(),
                vec![ServerOp::Push(0, 9, 0), ServerOp::Close, ServerOp::Wait(20), ServerOp::Transmit(9)],
            ),
        ),
        (
            "abort",
            0,
            connected(
                handshake(),
                vec![ServerOp::Push(0, 9, 0), ServerOp::Abort, ServerOp::Transmit(9), ServerOp::Poll(1)],
            ),
        ),
        ("eof", 0, connected(handshake(), vec![request(), ServerOp::Eof, ServerOp::Poll(2)])),
        (
            "eof-in-packet",
            0,
            connected(
                handshake(),
                vec![ServerOp::Input(Bytes::from_static(b"\x04\0\0\x09x")), ServerOp::Eof, ServerOp::Poll(2)],
            ),
        ),
        (
            "again",
            0,
            connected(
                handshake(),
                vec![
                    native(),
                    ServerOp::Poll(1),
                    ServerOp::Push(0, 1, 0),
                    ServerOp::Accept,
                    packet(2, b""),
                    ServerOp::Poll(1),
                    ServerOp::Push(0, 1, 0),
                ],
            ),
        ),
        (
            "silent",
            0,
            connected(handshake(), vec![ServerOp::Wait(29), packet(3, b""), ServerOp::Wait(31), ServerOp::Poll(1)]),
        ),
        (
            "flood",
            0,
            connected(
                handshake(),
                vec![
                    ServerOp::Flood(4, 64),
                    ServerOp::Wait(100),
                    ServerOp::Poll(200),
                    ServerOp::Flood(4, 64),
                    ServerOp::Poll(9),
                ],
            ),
        ),
        (
            "flood-after-fault",
            0,
            connected(handshake(), vec![ServerOp::Flood(0, 200), ServerOp::Wait(10), ServerOp::Poll(1)]),
        ),
        (
            "few-requests",
            0x20,
            connected(
                handshake(),
                vec![request(), request(), request(), ServerOp::Poll(5), ServerOp::Respond(1, 3), ServerOp::Poll(1)],
            ),
        ),
        (
            "too-long",
            0,
            connected(handshake(), vec![ServerOp::Input(Bytes::from_static(b"\x04\0\x08\x01")), ServerOp::Poll(1)]),
        ),
        (
            "notify",
            1,
            connected(
                native(),
                vec![notify(), packet(4, b"\x03\xff\xffhi"), packet(4, b"\x03\0\x09hi"), ServerOp::Poll(5)],
            ),
        ),
        (
            "compressed",
            1,
            connected(
                native(),
                vec![packet(4, b"\x12\x03a.b\x78\x9c\x03\0\0\0\0\x01"), packet(4, b"\x12\x03a.b"), ServerOp::Poll(5)],
            ),
        ),
        ("bypass", 0, connected(handshake(), vec![packet(4, b"\0\x01"), ServerOp::Poll(1)])),
    ]
    .into_iter()
    .chain(limited_scripts())
    .chain(policy_scripts())
    .collect()
}

/// Three packets in seven seconds, or twenty of 300 bytes together: the handshake is two of them.
fn limited_scripts() -> Vec<(&'static str, u16, Vec<ServerOp>)> {
    let few = |rest| connected(handshake(), rest);
    vec![
        (
            "limited",
            0x1400,
            few(vec![
                request(),
                request(),
                notify(),
                ServerOp::Poll(9),
                ServerOp::RespondError(1, 9),
                ServerOp::Wait(70),
                request(),
                ServerOp::Poll(9),
            ]),
        ),
        ("limited-in-silence", 0x3400, few(vec![request(), request(), notify(), ServerOp::Poll(9)])),
        ("limited-unread", 0x1400, few(vec![notify(), packet(4, b"\x12\x03a.bno zlib"), ServerOp::Poll(9)])),
        ("limited-bytes", 0x1e00, few([vec![notify(); 20], vec![ServerOp::Poll(20)]].concat())),
        (
            "limited-when-inflated",
            0x1e00,
            few(vec![
                packet(4, b"\x12\x03a.b\x78\xda\xab\xa8\x18\x05\x83\x09\x00\x00\xe3\xde\xbb\x81"),
                notify(),
                ServerOp::Poll(9),
                ServerOp::Wait(70),
                notify(),
                ServerOp::Poll(9),
            ]),
        ),
        (
            "limited-handshake",
            0x1200,
            vec![handshake(), ServerOp::Poll(1), ServerOp::Accept, handshake(), packet(2, b""), ServerOp::Poll(9)],
        ),
        (
            "limited-while-full",
            0x1420,
            few([
                vec![request(); 4],
                vec![ServerOp::Poll(9), ServerOp::Wait(71), ServerOp::Respond(0, 1), ServerOp::Poll(9)],
            ]
            .concat()),
        ),
    ]
}

fn policy_scripts() -> Vec<(&'static str, u16, Vec<ServerOp>)> {
    const CLOSE: u8 = 1;
    const OLDEST: u8 = 2;
    const LATEST: u8 = 3;
    let pushes = |pushes: Vec<ServerOp>| connected(handshake(), [pushes, vec![ServerOp::Transmit(9)]].concat());
    vec![
        (
            "policies-of-routes",
            0x100,
            pushes(
                [(0, 900), (1, 10), (1, 11), (2, 500), (0, 600)]
                    .map(|(route, len)| ServerOp::Push(route, len, 0))
                    .into(),
            ),
        ),
        (
            "policies-of-pushes",
            1,
            pushes(vec![
                ServerOp::Push(0, 900, OLDEST),
                ServerOp::Push(3, 700, CLOSE),
                ServerOp::PushEncoded(1, 60, LATEST),
                ServerOp::PushEncoded(1, 61, LATEST),
                ServerOp::Push(1, 62, OLDEST),
                ServerOp::Push(3, 900, CLOSE),
            ]),
        ),
        (
            "dropped-itself",
            0,
            pushes(vec![
                ServerOp::Push(0, 1800, CLOSE),
                ServerOp::Push(1, 500, OLDEST),
                ServerOp::Push(1, 501, LATEST),
            ]),
        ),
        (
            "full-for-good",
            0,
            pushes(vec![
                ServerOp::Push(0, 500, OLDEST),
                ServerOp::Push(0, 1000, CLOSE),
                ServerOp::Push(0, 1500, CLOSE),
            ]),
        ),
        ("long-and-alone", 0, pushes([5000, 9, 5000, 8000].map(|len| ServerOp::Push(0, len, OLDEST)).into())),
        (
            "squeezed",
            0,
            pushes(
                [
                    vec![ServerOp::Push(0, 300, OLDEST); 4],
                    vec![ServerOp::Squeeze(900), ServerOp::Push(0, 301, OLDEST), ServerOp::Squeeze(0xffff)],
                    vec![ServerOp::Push(0, 302, OLDEST); 6],
                ]
                .concat(),
            ),
        ),
        (
            "latest-of-another-kind",
            1,
            pushes(vec![
                ServerOp::Push(0, 10, LATEST),
                native(),
                ServerOp::Poll(1),
                ServerOp::Accept,
                ServerOp::Push(0, 11, LATEST),
                ServerOp::Push(0, 12, LATEST),
            ]),
        ),
    ]
}
