//! Packets and messages: well-formed ones by the encoders of the core, others by hand.

use bytes::{Bytes, BytesMut};
use cereus_core::{
    Message, MessageId, MessageType, Route, RouteDictionary,
    packet::{self, PacketType},
};

pub(super) const ACK: &[u8] = &[2, 0, 0, 0];
pub(super) const HEARTBEAT: &[u8] = &[3, 0, 0, 0];
pub(super) const KICK: &[u8] = &[5, 0, 0, 0];

/// What the kit shakes hands with, unless the file of routes says otherwise.
pub(super) const HANDSHAKE: &str =
    r#"{"sys":{"platform":"cereus-conform","libVersion":"0.1.0","clientBuildNumber":"1","clientVersion":"0.1.0"}}"#;

/// What browsers shake hands with: nothing says that they can inflate.
pub(super) const BROWSER: &str = r#"{"sys":{"type":"js-websocket","version":"0.0.1","rsa":{}},"user":{}}"#;

pub(super) fn packet(kind: PacketType, body: &[u8]) -> Vec<u8> {
    let mut buf = BytesMut::new();
    // The kit sends nothing that is as long.
    let _ = packet::encode(kind, body, &mut buf);
    buf.to_vec()
}

pub(super) fn handshake(body: impl AsRef<[u8]>) -> Vec<u8> {
    packet(PacketType::Handshake, body.as_ref())
}

/// A Data packet with a message that was made by hand.
pub(super) fn data(message: &[u8]) -> Vec<u8> {
    packet(PacketType::Data, message)
}

pub(super) fn request(id: u64, route: &str, body: &[u8]) -> Vec<u8> {
    message(MessageType::Request, id, route, body)
}

pub(super) fn notify(route: &str, body: &[u8]) -> Vec<u8> {
    message(MessageType::Notify, 0, route, body)
}

pub(super) fn message(kind: MessageType, id: u64, route: &str, body: &[u8]) -> Vec<u8> {
    let route = Route::from_bytes(Bytes::copy_from_slice(route.as_bytes()));
    let message = Message::new(kind, MessageId::new(id), route, body.to_vec());
    let mut buf = BytesMut::new();
    let _ = message.encode(&RouteDictionary::default(), false, &mut buf);
    data(&buf)
}

/// A message whose every part is given: flags, id, length of the route, route, body.
pub(super) fn by_hand(flags: u8, id: &[u8], route: &[u8], body: &[u8]) -> Vec<u8> {
    data(&[&[flags], id, &[route.len() as u8], route, body].concat())
}

pub(super) fn zlib(body: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(body, 6)
}
