//! Two apps in one process share nothing: each client sees the settings of its own.
#![cfg(all(feature = "json", feature = "websocket"))]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::time::Duration;

use bytes::Bytes;
use cereus::{
    App, Compression, Error, Protobuf, ProtobufSerializer, Raw, Route, Service, State, Tcp, WebSocket,
    core::{HandshakeRequest, SendError, packet::PacketType},
};

use crate::{
    client::{Client, Wire},
    server::{Running, Runtime},
};

#[path = "support/client.rs"]
mod client;
#[path = "support/net.rs"]
mod net;
#[path = "support/server.rs"]
mod server;

async fn raw(State(name): State<&'static str>, Raw(body): Raw) -> Raw {
    Raw(if body.is_empty() { name.into() } else { body })
}

async fn wait() -> Raw {
    std::future::pending().await
}

/// JSON, a dictionary, no compression, short limits.
fn room() -> App<&'static str> {
    App::new("the room")
        .server_type("room")
        .service(Service::new("echo").request("raw", raw))
        .service(Service::new("wait").request("long", wait))
        .handler_deadline(Duration::from_millis(50))
        .dictionary([("echo.raw", 7), ("onNews", 8)])
        .protocol(|protocol| {
            protocol
                .heartbeat(Duration::from_secs(5))
                .compression(Compression::Off)
                .max_packet_size(1000)
                .max_inflated_size(1000)
        })
}

/// Protobuf, no dictionary, all compressed, limits as they come.
fn chat() -> App<&'static str> {
    App::new("the chat")
        .server_type("chat")
        .serializer(ProtobufSerializer)
        .service(Service::new("echo").request("raw", raw))
        .service(Service::new("other").request("raw", raw))
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(9)).compression(Compression::On))
}

fn check(runtime: Runtime) {
    let endpoints = || [Tcp::bind("127.0.0.1:0"), WebSocket::bind("127.0.0.1:0")];
    let room = Running::start(runtime, room().build().unwrap(), endpoints());
    let chat = Running::start(runtime, chat().build().unwrap(), endpoints());
    for (room_endpoint, chat_endpoint) in room.endpoints().iter().zip(chat.endpoints()) {
        let mut in_room = Client::connect(room_endpoint);
        let mut in_chat = Client::connect_native(chat_endpoint);
        check_handshakes(&in_room, &in_chat);
        check_routes(&mut in_room, &mut in_chat);
        check_errors(&mut in_room, &mut in_chat);
        check_limits(in_room, in_chat);
    }
    check_pushes(&room, &chat);
}

fn check_handshakes(in_room: &Client, in_chat: &Client) {
    assert_eq!((&*in_room.welcome.serializer, &*in_chat.welcome.serializer), ("json", "protobuf"));
    assert_eq!((in_room.welcome.heartbeat.as_secs(), in_chat.welcome.heartbeat.as_secs()), (5, 9));
    let dictionary = [(Route::from_static("echo.raw"), 7), (Route::from_static("onNews"), 8)];
    assert_eq!((&in_room.welcome.dictionary[..], &in_chat.welcome.dictionary[..]), (&dictionary[..], &[][..]));
}

fn check_routes(in_room: &mut Client, in_chat: &mut Client) {
    assert_eq!(in_room.request("echo.raw", "").unwrap(), "the room");
    assert_eq!(in_chat.request("echo.raw", "").unwrap(), "the chat");
    assert_eq!(in_room.request("room.echo.raw", "").unwrap(), "the room");
    assert_eq!(in_chat.request("other.raw", "").unwrap(), "the chat");
    assert_eq!(in_room.refused("chat.echo.raw", "").code, Error::NOT_FOUND);
    assert_eq!(in_chat.refused("room.echo.raw", "").code, Error::NOT_FOUND);
}

/// The client reads them by the serializer that it was told of.
fn check_errors(in_room: &mut Client, in_chat: &mut Client) {
    let (in_room_, in_chat_) = (in_room.refused("other.raw", ""), in_chat.refused("wait.long", ""));
    assert_eq!(in_room_.message, "pitaya/handler: room.other.raw not found");
    assert_eq!(in_chat_.message, "pitaya/handler: chat.wait.long not found");
    assert_eq!(in_room.refused("wait.long", "").code, Error::TIMEOUT);
}

fn check_limits(mut in_room: Client, mut in_chat: Client) {
    let long = vec![b'a'; 1100];
    assert_eq!(in_chat.request("echo.raw", long.clone()).unwrap(), long);
    in_room.send("echo.raw", long);
    in_room.expect_closed();
}

/// The packets of a browser, as they are.
fn browser(endpoint: &str) -> Wire {
    let mut wire = Wire::connect(endpoint);
    let handshake = HandshakeRequest::default().encode();
    wire.send(&[&[PacketType::Handshake as u8, 0, 0, handshake.len() as u8], &handshake[..]].concat());
    assert_eq!(wire.receive_packet().0, PacketType::Handshake as u8);
    wire.send(b"\x02\0\0\0");
    wire
}

fn check_pushes(room: &Running, chat: &Running) {
    let (mut in_room, mut in_chat) = (browser(room.endpoint()), browser(chat.endpoint()));
    let long = Bytes::from("news ".repeat(100));
    assert_eq!(room.server().broadcast("onNews", long.clone()).unwrap(), 1);
    assert_eq!(chat.server().broadcast("onNews", long.clone()).unwrap(), 1);
    // A code and the body as it is; text and a deflated body.
    assert_eq!(in_room.receive_packet(), (4, [&b"\x07\0\x08"[..], &long].concat()));
    let (_, push) = in_chat.receive_packet();
    let deflated = push.strip_prefix(b"\x16\x06onNews").expect("a push with a deflated body");
    assert_eq!(miniz_oxide::inflate::decompress_to_vec_zlib(deflated).unwrap(), long);
    // What was not encoded for an app is not sent by it.
    assert!(room.server().broadcast("on", Protobuf(())).is_err());
    assert!(chat.server().broadcast("on", Protobuf(())).is_ok());
    assert!(matches!(
        chat.server().broadcast("r".repeat(256), Raw(long)),
        Err(cereus::PushError::Send(SendError::RouteTooLong(256)))
    ));
    // Groups and users are those of one app.
    smol::block_on(room.server().groups().create("all")).unwrap();
    assert!(smol::block_on(chat.server().groups().count("all")).is_err());
}

#[test]
fn two_apps_on_tokio() {
    check(Runtime::Tokio);
}

#[test]
fn two_apps_on_smol() {
    check(Runtime::Smol);
}

#[test]
fn two_apps_on_async_std() {
    check(Runtime::AsyncStd);
}

#[test]
fn two_apps_in_simulation() {
    check(Runtime::Simulated);
}
