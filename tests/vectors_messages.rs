//! Messages of core against the golden vectors: both directions, and as a server connection receives them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use cereus_core::{
    CloseReason, Instant, Message, MessageId, MessageType, ProtocolError, Route, RouteDictionary, ServerConfig,
    ServerConnection, ServerEvent,
    message::MessageError,
    packet::{self, PacketType},
};
use miniz_oxide::inflate::decompress_to_vec_zlib;
use serde_json::Value;

use crate::support::{Vector, check, decode_hex, expect_eq};

#[path = "support/sha256.rs"]
mod sha256;
#[path = "support/vectors.rs"]
mod support;

/// The limit that the vectors assume.
const MAX_INFLATED: usize = 16 << 20;

/// The bit of the flag byte that tells a compressed body.
const COMPRESSED: u8 = 0x10;

#[test]
fn vectors_of_messages_encoded() {
    check("messages_encode.json", check_encode);
}

#[test]
fn vectors_of_messages_decoded() {
    check("messages_decode.json", check_decode);
}

#[test]
fn vectors_of_messages_received_by_a_server() {
    check("messages_decode.json", check_received);
}

fn check_encode(vector: &Vector) -> Result<(), String> {
    let dictionary = dictionary(vector)?;
    let compression = vector.flag("compression");
    let encoded = described_message(vector.get("message")).and_then(|message| {
        let mut buf = BytesMut::new();
        message.encode(&dictionary, compression, &mut buf)?;
        Ok((message, buf.freeze()))
    });
    let (message, encoded) = match (encoded, expected_error(vector)) {
        (Ok(encoded), None) => encoded,
        (Ok(_), Some(expected)) => return Err(format!("encoded instead of {expected}")),
        (Err(error), Some(expected)) => return expect_eq("the error", names_of(error)[0], expected),
        (Err(error), None) => return Err(format!("refused: {error}")),
    };
    check_encoded(vector, &encoded, &message.body)?;
    for bytes in [encoded, vector.hex("hex").into()] {
        let decoded = Message::decode(bytes, &dictionary, MAX_INFLATED).map_err(|error| error.to_string())?;
        expect_eq("what comes back after decoding", decoded, as_received(message.clone()))?;
    }
    Ok(())
}

/// Compares head and body apart: only the content of a compressed body counts.
fn check_encoded(vector: &Vector, encoded: &[u8], body: &[u8]) -> Result<(), String> {
    let expected = vector.hex("hex");
    let head_len = match vector.has("normative_prefix_len") {
        true => vector.u64("normative_prefix_len") as usize,
        false => expected.len() - body.len(),
    };
    let compressed = encoded[0] & COMPRESSED != 0;
    if !vector.flag("borderline") {
        expect_eq("whether the body is compressed", compressed, vector.flag("body_compressed"))?;
    }
    let mut head = expected[..head_len].to_vec();
    head[0] = head[0] & !COMPRESSED | encoded[0] & COMPRESSED;
    expect_eq("the head", encoded.get(..head_len), Some(&head[..]))?;
    let rest = &encoded[head_len..];
    if compressed {
        expect_eq("whether compressing shortens", rest.len() < body.len(), true)?;
        let inflated = decompress_to_vec_zlib(rest).map_err(|error| error.to_string())?;
        expect_eq("the inflated body", &inflated[..], body)
    } else {
        expect_eq("the body", rest, body)
    }
}

fn check_decode(vector: &Vector) -> Result<(), String> {
    let dictionary = dictionary(vector)?;
    let decoded = Message::decode(vector.hex("hex").into(), &dictionary, MAX_INFLATED);
    let message = match (decoded, expected_error(vector)) {
        (Ok(message), None) => message,
        (Ok(_), Some(expected)) => return Err(format!("decoded instead of {expected}")),
        (Err(error), Some(expected)) => return check_error(error, expected),
        (Err(error), None) => return Err(format!("refused: {error}")),
    };
    check_message(vector, &message)?;
    for compress in [false, true] {
        let mut buf = BytesMut::new();
        message.encode(&dictionary, compress, &mut buf).map_err(|error| error.to_string())?;
        let again = Message::decode(buf.freeze(), &dictionary, MAX_INFLATED).map_err(|error| error.to_string())?;
        if again != message {
            return Err(format!("something else comes back after encoding with compression {compress}"));
        }
    }
    Ok(())
}

/// A bad message closes its connection and no other; a good one is told, or ignored if no client sends such.
fn check_received(vector: &Vector) -> Result<(), String> {
    let config = ServerConfig::builder().dictionary(dictionary(vector)?).max_inflated_size(MAX_INFLATED).build();
    let config = Arc::new(config.map_err(|error| error.to_string())?);
    let (mut connection, mut neighbour) = (connected(&config)?, connected(&config)?);
    connection.handle_input(&packet(PacketType::Data, &vector.hex("hex"))?, Instant::EPOCH);
    let event = connection.poll_event();
    match (&event, expected_error(vector)) {
        (Some(ServerEvent::Closed(CloseReason::Protocol(ProtocolError::Message(error)))), Some(expected)) => {
            check_error(*error, expected)?;
            expect_eq("whether it is closed", connection.is_closed(), true)?;
        }
        (_, Some(expected)) => return Err(format!("{event:?} instead of {expected}")),
        (_, None) => {
            check_event(vector, event)?;
            expect_eq("whether it is closed", connection.is_closed(), false)?;
        }
    }
    expect_eq("the next event", connection.poll_event(), None)?;
    neighbour.handle_input(&packet(PacketType::Data, b"\x02\x03a.bhi")?, Instant::EPOCH);
    let expected = ServerEvent::Notify { route: Route::from_static("a.b"), body: "hi".into() };
    expect_eq("what its neighbour tells", neighbour.poll_event(), Some(expected))
}

fn check_event(vector: &Vector, event: Option<ServerEvent>) -> Result<(), String> {
    let kind = vector.get("message")["type"].as_u64();
    let message = match event {
        Some(ServerEvent::Request { id, route, body }) => Message::request(id, route, body),
        Some(ServerEvent::Notify { route, body }) => Message::notify(route, body),
        None if matches!(kind, Some(2 | 3)) => return Ok(()),
        event => return Err(format!("the event is {event:?}")),
    };
    let sent = Message::decode(vector.hex("hex").into(), &dictionary(vector)?, MAX_INFLATED);
    let expected = sent.map(|mut sent| {
        sent.error = false;
        sent
    });
    if expected != Ok(message.clone()) {
        return Err(format!("the event is {message:?} instead of {expected:?}"));
    }
    expect_eq("the type", Some(message.kind as u64), kind)
}

fn check_message(vector: &Vector, message: &Message) -> Result<(), String> {
    let expected = vector.get("message");
    expect_eq("the type", Some(message.kind as u64), expected["type"].as_u64())?;
    expect_eq("the id", Some(&*message.id.to_string()), expected["id"].as_str())?;
    expect_eq("the error bit", Some(message.error), expected["error"].as_bool())?;
    let route = match expected["route_hex"].as_str() {
        Some(hex) => decode_hex(hex).ok_or("`route_hex` is not hex")?,
        None => expected["route"].as_str().ok_or("`route` is not a string")?.as_bytes().to_vec(),
    };
    expect_eq("the route", message.route.as_bytes(), &route[..])?;
    match expected["body_hex"].as_str() {
        Some(hex) => expect_eq("the body", Some(message.body.to_vec()), decode_hex(hex)),
        None => {
            expect_eq("the body's length", Some(message.body.len() as u64), expected["body_len"].as_u64())?;
            expect_eq("the body's hash", Some(&*sha256::hex(&message.body)), expected["body_sha256"].as_str())
        }
    }
}

/// The kinds are informative where we have other ones.
fn check_error(error: MessageError, expected: &str) -> Result<(), String> {
    match names_of(error).contains(&expected) {
        true => Ok(()),
        false => Err(format!("the error is {error:?} instead of {expected}")),
    }
}

/// A message with what the vector says, unless its type does not exist.
fn described_message(value: &Value) -> Result<Message, MessageError> {
    let text = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("`{name}` of a message is not a string"));
    let kind = MessageType::try_from(value["type"].as_u64().expect("`type` is a number") as u8)?;
    let id = MessageId::new(text("id").parse().expect("`id` is a number"));
    let body = decode_hex(text("body_hex")).expect("`body_hex` is hex");
    let mut message = Message::new(kind, id, Route::from(text("route")), body);
    message.error = value["error"].as_bool().expect("`error` is a flag");
    Ok(message)
}

/// The message without what its type has no place for.
fn as_received(mut message: Message) -> Message {
    match message.kind {
        MessageType::Response => message.route = Route::default(),
        MessageType::Notify | MessageType::Push => message.id = MessageId::NONE,
        _ => {}
    }
    message
}

fn connected(config: &Arc<ServerConfig>) -> Result<ServerConnection, String> {
    let mut connection = ServerConnection::new(config.clone(), Instant::EPOCH);
    connection.handle_input(&packet(PacketType::Handshake, b"{}")?, Instant::EPOCH);
    let event = connection.poll_event();
    expect_eq("whether the handshake is told", matches!(event, Some(ServerEvent::Handshake(_))), true)?;
    connection.accept(Instant::EPOCH);
    connection.handle_input(&packet(PacketType::HandshakeAck, b"")?, Instant::EPOCH);
    expect_eq("what follows the ack", connection.poll_event(), Some(ServerEvent::Connected))?;
    Ok(connection)
}

fn packet(kind: PacketType, body: &[u8]) -> Result<Bytes, String> {
    let mut buf = BytesMut::new();
    packet::encode(kind, body, &mut buf).map_err(|error| error.to_string())?;
    Ok(buf.freeze())
}

fn dictionary(vector: &Vector) -> Result<RouteDictionary, String> {
    let entries: BTreeMap<String, u16> =
        serde_json::from_value(vector.get("dict").clone()).map_err(|error| error.to_string())?;
    RouteDictionary::new(entries).map_err(|error| error.to_string())
}

fn expected_error(vector: &Vector) -> Option<&str> {
    ["error", "expect"].into_iter().find(|name| vector.has(name)).map(|name| vector.str(name))
}

/// The names that the vectors may give an error, the usual one first.
fn names_of(error: MessageError) -> &'static [&'static str] {
    match error {
        MessageError::Truncated | MessageError::InvalidId => &["invalid_message"],
        MessageError::WrongType(_) => &["wrong_message_type"],
        MessageError::UnknownCode(_) => &["route_not_found"],
        MessageError::RouteTooLong(_) => &["route_too_long"],
        MessageError::Inflate(_) => &["inflate", "invalid_message"],
        _ => &["another one"],
    }
}
