//! The packets that a client's messages are sent in.

use bytes::{Bytes, BytesMut};
use cereus_core::{
    Message as Wire, MessageId, MessageType, Route, RouteDictionary,
    packet::{PacketError, PacketHeader, PacketType},
};

use super::plan::{Body, Message};
use crate::link;

/// The flag of a route that is a code of a dictionary, and that of a body that is deflated.
const ROUTE_CODE: u8 = 0x01;
const COMPRESSED: u8 = 0x10;

/// The bytes of a body that is to be sent.
pub(super) fn bytes(body: &Body) -> Bytes {
    match body {
        Body::Json(value) => value.to_string().into(),
        Body::Text(text) => text.clone().into(),
        Body::Bytes(bytes) => bytes.clone(),
        Body::Empty | Body::Dropped(_) => Bytes::new(),
    }
}

/// A handshake.
pub(super) fn handshake(raw: Option<&Bytes>, body: &Body) -> Result<Bytes, PacketError> {
    raw.map_or_else(|| link::packet(PacketType::Handshake, &bytes(body)), |raw| Ok(raw.clone()))
}

/// A message as it was recorded, but with its route as text: the other server's dictionary may be another one.
pub(super) fn recorded(raw: &Bytes, route: &str) -> Result<Bytes, PacketError> {
    let message = &raw[PacketHeader::LEN..];
    match message.first() {
        Some(flags) if flags & ROUTE_CODE != 0 => {}
        _ => return Ok(raw.clone()),
    }
    // The type is between the flags; only a request has an id before the route.
    let is_request = message[0] >> 1 & 0x07 == MessageType::Request as u8;
    let id_len = match is_request {
        true => message[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1,
        false => 0,
    };
    let (head, rest) = message.split_at_checked(1 + id_len).ok_or(PacketError::Truncated)?;
    let body = rest.get(2..).ok_or(PacketError::Truncated)?;
    let len = u8::try_from(route.len()).map_err(|_| PacketError::Excess)?;
    let mut text = BytesMut::from(head);
    text[0] &= !ROUTE_CODE;
    text.extend_from_slice(&[len]);
    text.extend_from_slice(route.as_bytes());
    text.extend_from_slice(body);
    link::packet(PacketType::Data, &text)
}

/// A message with another body than the recorded one.
pub(super) fn changed(message: &Message, body: &Body) -> Result<Bytes, String> {
    let kind = if message.is_request { MessageType::Request } else { MessageType::Notify };
    let id = MessageId::new(message.id.unwrap_or_default());
    let wire = Wire::new(kind, id, Route::from(message.route.as_str()), bytes(body));
    let flags = message.raw.as_ref().and_then(|raw| raw.get(PacketHeader::LEN));
    let mut buf = BytesMut::new();
    wire.encode(&RouteDictionary::default(), flags.is_some_and(|flags| flags & COMPRESSED != 0), &mut buf)
        .map_err(|error| error.to_string())?;
    link::packet(PacketType::Data, &buf).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_becomes_a_route() {
        let raw = |message: &[u8]| link::packet(PacketType::Data, message).expect("it is short");
        let text = |message: &[u8]| recorded(&raw(message), "a.b").expect("it is whole");
        // An id in more bytes than it needs, a deflated body.
        assert_eq!(text(b"\x11\x81\x00\x00\x07body"), raw(b"\x10\x81\x00\x03a.bbody"));
        assert_eq!(text(b"\x03\x00\x07"), raw(b"\x02\x03a.b"));
        assert_eq!(text(b"\x00\x01\x03c.dx"), raw(b"\x00\x01\x03c.dx"));
        assert!(recorded(&raw(b"\x01\x81"), "a.b").is_err());
    }
}
