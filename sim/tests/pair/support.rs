//! What the tests of pairs share.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cereus_core::{
    ClientConfig, HandshakeRequest, Message, Route, RouteDictionary, ServerConfig, ServerConfigBuilder, ServerEvent,
    packet::{self, Packet, PacketType},
};
use cereus_sim::{Pair, PairBuilder};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The interval of heartbeats when a test says nothing else.
pub(crate) const H: Duration = Duration::from_secs(30);

pub(crate) const ROUTE: Route = Route::from_static("room.join");
pub(crate) const CODED: Route = Route::from_static("onMessage");

/// A builder with a dictionary that has [`CODED`].
pub(crate) fn coded() -> ServerConfigBuilder {
    let dictionary = RouteDictionary::new([("onMessage", 258)]).expect("one route");
    ServerConfig::builder().dictionary(dictionary)
}

/// A client like libpitaya.
pub(crate) fn native() -> ClientConfig {
    let mut handshake = HandshakeRequest::default();
    handshake.lib_version = "0.3.5-release".into();
    ClientConfig::builder().handshake(handshake).build().expect("a valid configuration")
}

/// A client like the ones of JavaScript.
pub(crate) fn browser() -> ClientConfig {
    ClientConfig::default()
}

pub(crate) fn build(config: ServerConfigBuilder) -> ServerConfig {
    config.build().expect("a valid configuration")
}

/// A builder whose server accepts everyone and answers nothing.
pub(crate) fn mute(seed: u64) -> PairBuilder {
    Pair::builder(seed).on_server(|event, server, now| {
        if matches!(event, ServerEvent::Handshake(_)) {
            server.accept(now);
        }
    })
}

/// The pair of this builder, connected.
pub(crate) fn connected(builder: PairBuilder) -> Pair {
    let mut pair = builder.build();
    pair.run_until(Pair::is_connected);
    pair
}

/// A server that accepts everyone and answers nothing, and bytes instead of a client.
pub(crate) fn raw(config: ServerConfig) -> Pair {
    mute(0).server(config).without_client().build()
}

/// The same, after a handshake.
pub(crate) fn raw_connected(config: ServerConfig) -> Pair {
    let mut pair = raw(config);
    send(&mut pair, &packet(PacketType::Handshake, b"{}"));
    send(&mut pair, &packet(PacketType::HandshakeAck, b""));
    assert_eq!(pair.server_events.last().map(|(_, event)| event), Some(&ServerEvent::Connected));
    pair
}

/// Sends bytes to the server and waits until they have arrived.
pub(crate) fn send(pair: &mut Pair, bytes: &[u8]) {
    pair.uplink.send(bytes, pair.now());
    pair.run_idle();
}

pub(crate) fn packet(kind: PacketType, body: &[u8]) -> Bytes {
    let mut buf = BytesMut::new();
    packet::encode(kind, body, &mut buf).expect("it is not too long");
    buf.freeze()
}

/// A packet with this message, its route as text and its body as it is.
pub(crate) fn data(message: &Message) -> Bytes {
    let mut buf = BytesMut::new();
    message.encode(&RouteDictionary::default(), false, &mut buf).expect("the route is short enough");
    packet(PacketType::Data, &buf)
}

/// The events of the server, without their times.
pub(crate) fn server_events(pair: &Pair) -> Vec<ServerEvent> {
    pair.server_events.iter().map(|(_, event)| event.clone()).collect()
}

/// What the server sent, of this type.
pub(crate) fn sent(pair: &Pair, kind: PacketType) -> Vec<Bytes> {
    let of_kind = |packet: &Packet| (packet.kind == kind).then(|| packet.body.clone());
    pair.server_sent.iter().filter_map(|(_, packet)| of_kind(packet)).collect()
}
