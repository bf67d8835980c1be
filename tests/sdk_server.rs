//! The example `sdk-server`: every route of both servers, on each transport, as native clients and as browsers.
#![cfg(all(feature = "json", feature = "tls", feature = "tokio", feature = "websocket"))]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{collections::BTreeMap, fs, path::Path};

use cereus::core::{HandshakeRequest, Route};
use prost::Message;

use crate::{
    client::{Client, ErrorBody, Wire, tls},
    sdk_server::{
        Arguments, build,
        protobuf::{BigMessage, Response, SessionData},
    },
    server::{Running, Runtime},
};

#[path = "support/client.rs"]
mod client;
#[path = "support/net.rs"]
mod net;
#[path = "../examples/sdk-server/main.rs"]
#[expect(dead_code, reason = "its `main` is for itself")]
mod sdk_server;
#[path = "support/server.rs"]
mod server;

const OK: &str = r#"{"Code":200,"Msg":"Ok"}"#;

fn read(line: &str) -> Result<Option<Arguments>, String> {
    Arguments::read(line.split_whitespace().map(str::to_owned))
}

/// Both servers on all transports, at ports of their own.
fn start(name: &str) -> [Running; 2] {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let [chain, key] = ["cert.pem", "key.pem"].map(|file| folder.join(file));
    fs::write(&chain, &tls::certificate().0).unwrap();
    fs::write(&key, &tls::certificate().1).unwrap();
    let mut arguments = read("--host 127.0.0.1 --json 0 --protobuf 0").unwrap().unwrap();
    arguments.certificate = Some((chain.display().to_string(), key.display().to_string()));
    build(&arguments).unwrap().map(|(server, endpoints)| Running::start(Runtime::Tokio, server, endpoints))
}

fn native() -> HandshakeRequest {
    let body = br#"{"sys":{"platform":"mac","libVersion":"1.0","clientBuildNumber":"20","clientVersion":"2.1"},"user":{"age":30}}"#;
    HandshakeRequest::parse(body).unwrap()
}

fn not_found(route: &str) -> ErrorBody {
    let message = format!("pitaya/handler: {route} not found");
    ErrorBody { code: "PIT-404".into(), message, metadata: BTreeMap::new() }
}

#[test]
fn json_on_each_transport() {
    let [json, _] = start("json");
    let schemes: Vec<_> = json.endpoints().iter().map(|endpoint| endpoint.split_once(':').unwrap().0).collect();
    assert_eq!(schemes, ["ws", "tcp", "tls", "wss"]);
    for endpoint in json.endpoints() {
        for handshake in [HandshakeRequest::default(), native()] {
            check_json(Client::connect_as(endpoint, handshake.clone()), &handshake);
        }
    }
}

fn check_json(mut client: Client, handshake: &HandshakeRequest) {
    assert_eq!(client.welcome.serializer, "json");
    let mut dictionary = client.welcome.dictionary.clone();
    dictionary.sort_by_key(|(_, code)| *code);
    let routes = [
        "connector.getsessiondata",
        "connector.setsessiondata",
        "room.room.getsessiondata",
        "onMessage",
        "onMembers",
        "connector.geterror",
    ];
    assert_eq!(dictionary, routes.map(Route::from_static).into_iter().zip(1..).collect::<Vec<_>>());

    let told = if handshake.inflates() {
        r#"{"sys":{"platform":"mac","libVersion":"1.0","clientBuildNumber":"20","clientVersion":"2.1"},"user":{"age":30}}"#
    } else {
        r#"{"sys":{"platform":"","libVersion":"","clientBuildNumber":"","clientVersion":""}}"#
    };
    assert_eq!(client.request("connector.gethandshakedata", r#"{"name": "test"}"#).unwrap(), told);
    check_session_data(&mut client);

    assert_eq!(client.request("connector.sendpush", "{}").unwrap(), OK);
    assert!(client.has_push("some.push.route"), "the push comes before the answer");
    assert_eq!(client.expect_push("some.push.route"), r#"{"key1":10,"key2":true}"#);
    assert_eq!(client.request("connector.pushdict", "").unwrap(), OK);
    assert_eq!(client.expect_push("onMessage"), r#"{"key1":10,"key2":true}"#);

    let error = client.refused("connector.geterror", "{}");
    assert_eq!((&*error.code, &*error.message), ("PIT-000", "GetError is returning a custom error"));
    assert_eq!(error.metadata, BTreeMap::new());
    assert_eq!(client.refused("invalid.route", "{}"), not_found("connector.invalid.route"));
    assert_eq!(client.refused("connector.absent", "{}"), not_found("connector.connector.absent"));

    let big = client.request("connector.big", "").unwrap();
    assert_eq!((big.len(), &big[..31]), (1401, &br#"{"Code":200,"Msg":"big big big "#[..]));
    check_raw(&mut client);
    assert_eq!(client.request("connector.kickme", "").unwrap(), OK);
    client.expect_kick();
    client.expect_closed();
}

fn check_session_data(client: &mut Client) {
    let get = |client: &mut Client| client.request("connector.getsessiondata", "{}").unwrap();
    assert_eq!(get(client), r#"{"Data":{"ipversion":"ipv4"}}"#);
    for data in
        [r#"{"Data":{"animal":2}}"#, r#"{"Data":{"big":9007199254740993,"list":[1.50,null]}}"#, r#"{"Data":{}}"#]
    {
        assert_eq!(client.request("connector.setsessiondata", data).unwrap(), r#"{"Code":200,"Msg":"success"}"#);
        assert_eq!(get(client), data);
    }
    let error = client.refused("connector.setsessiondata", r#"{"Data":5}"#);
    assert_eq!(error.code, "CN-000");
    assert_eq!(error.metadata, BTreeMap::from([("failed".to_owned(), "set data".to_owned())]));
    assert_eq!(get(client), r#"{"Data":{}}"#);
}

fn check_raw(client: &mut Client) {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(client.request("connector.echo", bytes.clone()).unwrap(), bytes);
    assert_eq!(client.request("connector.echo", "").unwrap(), "");
    client.notify("connector.notify", bytes.clone());
    assert_eq!(client.expect_push("onNotify"), bytes);
    // A notify on a route that is answered runs it, and is not answered.
    client.notify("connector.echo", "unheard");
    assert_eq!(client.request("connector.echo", "heard").unwrap(), "heard");
}

#[test]
fn protobuf_on_each_transport() {
    let [_, protobuf] = start("protobuf");
    for endpoint in protobuf.endpoints() {
        for handshake in [HandshakeRequest::default(), native()] {
            check_protobuf(Client::connect_as(endpoint, handshake));
        }
    }
}

fn check_protobuf(mut client: Client) {
    assert_eq!(client.welcome.serializer, "protobuf");
    let mut dictionary = client.welcome.dictionary.clone();
    dictionary.sort_by_key(|(_, code)| *code);
    let routes = ["connector.getsessiondata", "connector.setsessiondata"].map(Route::from_static);
    assert_eq!(dictionary, routes.into_iter().zip(1..).collect::<Vec<_>>());

    let the_data = SessionData { data: "THIS IS THE SESSION DATA".into() };
    let data = client.request("connector.getsessiondata", "").unwrap();
    assert_eq!(SessionData::decode(data).unwrap(), the_data);
    for data in ["", "fake data"] {
        let body = SessionData { data: data.into() }.encode_to_vec();
        let response = client.request("connector.connector.setsessiondata", body).unwrap();
        assert_eq!(Response::decode(response).unwrap(), Response { code: 200, msg: "success".into() });
    }
    client.notify("connector.notifysessiondata", SessionData { data: "x".into() }.encode_to_vec());
    assert_eq!(SessionData::decode(client.expect_push("some.push.route")).unwrap(), the_data);

    let big = BigMessage::decode(client.request("connector.getbigmessage", "").unwrap()).unwrap();
    let response = big.response.unwrap();
    assert_eq!((&*big.code, response.player.unwrap().items.len()), ("ABC-200", 12));
    assert_eq!((response.npcs.len(), response.chests.len()), (5, 12));

    assert_eq!(client.refused("connector.route", ""), not_found("connector.connector.route"));
    check_raw(&mut client);
    let response = client.request("connector.kickme", "").unwrap();
    assert_eq!(Response::decode(response).unwrap(), Response { code: 200, msg: "Ok".into() });
    client.expect_kick();
    client.expect_closed();
}

/// The bytes themselves: a code for browsers, text for native clients, which cannot read codes.
#[test]
fn the_dictionary_on_the_wire() {
    let [json, _] = start("dictionary");
    let body = br#"{"key1":10,"key2":true}"#;
    for (handshake, head) in [(HandshakeRequest::default(), &b"\x07\0\x04"[..]), (native(), b"\x06\x09onMessage")] {
        // On WebSocket packets come one by one.
        let (mut wire, handshake) = (Wire::connect(json.endpoint()), handshake.encode());
        wire.send(&[&[1, 0, 0, handshake.len() as u8], &handshake[..]].concat());
        assert_eq!(wire.receive_packet().0, 1);
        wire.send(b"\x02\0\0\0");
        wire.send(b"\x04\0\0\x15\0\x01\x12connector.pushdict");
        assert_eq!(wire.receive_packet(), (4, [head, body].concat()));
        assert_eq!(wire.receive_packet(), (4, [b"\x04\x01", OK.as_bytes()].concat()));
        // A request by code, for an error.
        wire.send(b"\x04\0\0\x04\x01\x02\0\x06");
        let error = br#"{"code":"PIT-000","msg":"GetError is returning a custom error"}"#;
        assert_eq!(wire.receive_packet(), (4, [&b"\x24\x02"[..], error].concat()));
    }
}

#[test]
fn the_big_message_can_be_another() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("big.bin");
    fs::write(&file, "of some suite").unwrap();
    let mut arguments = read("--host 127.0.0.1 --json 0 --protobuf 0").unwrap().unwrap();
    arguments.big_message = Some(file.display().to_string());
    let [_, (server, endpoints)] = build(&arguments).unwrap();
    let running = Running::start(Runtime::Tokio, server, endpoints);
    let mut client = Client::connect_native(running.endpoint());
    assert_eq!(client.request("connector.getbigmessage", "").unwrap(), "of some suite");
}

#[test]
fn ports_are_as_documented() {
    let ports = |line: &str| {
        let arguments = read(line).unwrap().unwrap();
        build(&arguments).unwrap().map(|(_, endpoints)| endpoints.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let [json, protobuf] = ports("");
    assert_eq!(json, ["ws://0.0.0.0:3250", "tcp://0.0.0.0:3251"]);
    assert_eq!(protobuf, ["ws://0.0.0.0:3350", "tcp://0.0.0.0:3351"]);
    let [json, _] = ports("--json 65532 --host localhost");
    assert_eq!(json, ["ws://localhost:65532", "tcp://localhost:65533"]);
}

#[test]
fn mistakes_are_told() {
    let mistake = |line: &str| read(line).err().unwrap();
    assert_eq!(mistake("--cert cert.pem"), "--cert needs the --key that belongs to it");
    assert_eq!(mistake("--key key.pem"), "--key needs the --cert that belongs to it");
    assert_eq!(mistake("--cert --key key.pem"), "--cert needs a value");
    assert_eq!(mistake("--host"), "--host needs a value");
    assert_eq!(mistake("--json 65533"), "`65533` is no port that has 3 after it");
    assert_eq!(mistake("--protobuf x"), "`x` is no port that has 3 after it");
    assert_eq!(mistake("serve"), "what is `serve`?");
    assert!(read("--json 1 --help").unwrap().is_none());
    let arguments = read("--cert missing.pem --key missing.key").unwrap().unwrap();
    let error = build(&arguments).err().unwrap().to_string();
    assert!(error.starts_with("missing.pem cannot be read: "), "{error}");
    let error = build(&read("--big missing.bin").unwrap().unwrap()).err().unwrap().to_string();
    assert!(error.starts_with("missing.bin cannot be read: "), "{error}");
}
