//! The handshake of core against the golden vectors, in both directions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use cereus_core::{
    Compression, HandshakeRequest, HandshakeResponse, Instant, RouteDictionary, ServerConfig, ServerConnection,
    ServerEvent,
    packet::{self, PacketHeader, PacketType},
};
use serde_json::Value;

use crate::support::{Vector, check, expect_eq, is_same_json};

#[path = "support/vectors.rs"]
mod support;

#[test]
fn vectors_of_handshake_requests() {
    check("handshake_requests.json", check_request);
}

#[test]
fn vectors_of_handshake_responses() {
    check("handshake_responses.json", check_response);
}

#[test]
fn vectors_of_handshake_responses_sent_by_a_server() {
    check("handshake_responses.json", check_sent);
}

fn check_request(vector: &Vector) -> Result<(), String> {
    match HandshakeRequest::parse(&vector.hex("json_hex")) {
        Ok(_) if !vector.flag("accept") => Err("accepted".into()),
        Err(error) if vector.flag("accept") => Err(format!("refused: {error}")),
        Err(_) => Ok(()),
        Ok(request) => {
            check_parsed(vector, &request)?;
            let again = HandshakeRequest::parse(&request.encode()).map_err(|error| error.to_string())?;
            expect_eq("what comes back after encoding", again, request)
        }
    }
}

fn check_parsed(vector: &Vector, request: &HandshakeRequest) -> Result<(), String> {
    let parsed = vector.get("parsed");
    for (name, got) in [
        ("platform", &request.platform),
        ("libVersion", &request.lib_version),
        ("clientBuildNumber", &request.client_build_number),
        ("clientVersion", &request.client_version),
    ] {
        expect_eq(name, Some(&**got), parsed[name].as_str())?;
    }
    let user = Value::from(request.user.clone());
    if vector.flag("user_omitted") || is_same_json(&user, &parsed["user"]) {
        Ok(())
    } else {
        Err(format!("user is {user} instead of {}", parsed["user"]))
    }
}

fn check_response(vector: &Vector) -> Result<(), String> {
    let body = plain_body(vector)?;
    let expected = described_response(vector)?;

    let encoded = expected.encode();
    let (ours, theirs) = (json(&encoded)?, json(&body)?);
    if !is_same_json(&ours, &theirs) {
        return Err(format!("encoded as {ours} instead of {theirs}"));
    }
    let read = HandshakeResponse::parse(&body).map_err(|error| format!("refused: {error}"))?;
    expect_eq("the parsed response", &read, &expected)?;
    let again = HandshakeResponse::parse(&encoded).map_err(|error| format!("our own is refused: {error}"))?;
    expect_eq("what comes back after encoding", again, expected)
}

/// The body of the packet, inflated: one whole handshake packet whose length is that of its body.
fn plain_body(vector: &Vector) -> Result<Vec<u8>, String> {
    let packet = vector.hex("packet_hex");
    let (header, body) = packet::decode_exact(&packet).map_err(|error| error.to_string())?;
    let expected = PacketHeader::new(PacketType::Handshake, body.len()).map_err(|error| error.to_string())?;
    expect_eq("the header", header, expected)?;
    if !vector.flag("body_compressed") {
        return Ok(body.to_vec());
    }
    let inflated = inflate(body)?;
    expect_eq("the inflated body", &inflated, &vector.hex("json_hex"))?;
    Ok(inflated)
}

/// The response that has the settings of the vector.
fn described_response(vector: &Vector) -> Result<HandshakeResponse, String> {
    Ok(HandshakeResponse::new(
        vector.u64("code") as u16,
        Duration::from_nanos(vector.u64("heartbeat_ns")),
        dictionary(vector)?.entries().iter().cloned(),
        vector.str("serializer"),
    ))
}

/// A server with the settings of the vector answers what the vector says.
fn check_sent(vector: &Vector) -> Result<(), String> {
    let config = ServerConfig::builder()
        .heartbeat(Duration::from_nanos(vector.u64("heartbeat_ns")))
        .dictionary(dictionary(vector)?)
        .serializer(vector.str("serializer"))
        .compression(if vector.flag("compression") { Compression::On } else { Compression::Off })
        .build()
        .map_err(|errors| errors.to_string())?;
    let sent = answer(config, vector.u64("code") == u64::from(HandshakeResponse::OK))?;
    let (header, body) = packet::decode_exact(&sent).map_err(|error| error.to_string())?;
    expect_eq("the type", header.kind, PacketType::Handshake)?;
    // A body of JSON begins with a brace, one of zlib never does.
    let compressed = body.first() != Some(&b'{');
    if !vector.flag("borderline") {
        expect_eq("whether the body is compressed", compressed, vector.flag("body_compressed"))?;
    }
    let inflated = if compressed { inflate(body)? } else { body.to_vec() };
    if compressed {
        expect_eq("whether compressing shortens", body.len() < inflated.len(), true)?;
    }
    let (ours, theirs) = (json(&inflated)?, json(&plain_body(vector)?)?);
    if is_same_json(&ours, &theirs) { Ok(()) } else { Err(format!("answered {ours} instead of {theirs}")) }
}

/// What a server sends to a client that presents itself.
fn answer(config: ServerConfig, accept: bool) -> Result<BytesMut, String> {
    let mut connection = ServerConnection::new(Arc::new(config), Instant::EPOCH);
    connection.handle_input(b"\x01\0\0\x02{}", Instant::EPOCH);
    let event = connection.poll_event();
    expect_eq("whether the handshake is told", matches!(event, Some(ServerEvent::Handshake(_))), true)?;
    match accept {
        true => connection.accept(Instant::EPOCH),
        false => connection.reject(Instant::EPOCH),
    }
    expect_eq("whether it is closed", connection.is_closed(), !accept)?;
    let mut sent = BytesMut::new();
    expect_eq("the first packet", connection.poll_transmit(&mut sent), Some(sent.len()))?;
    expect_eq("the second packet", connection.poll_transmit(&mut BytesMut::new()), None)?;
    Ok(sent)
}

fn dictionary(vector: &Vector) -> Result<RouteDictionary, String> {
    let entries: BTreeMap<String, u16> =
        serde_json::from_value(vector.get("dict").clone()).map_err(|error| error.to_string())?;
    RouteDictionary::new(entries).map_err(|error| error.to_string())
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, String> {
    miniz_oxide::inflate::decompress_to_vec_zlib(body).map_err(|error| error.to_string())
}

fn json(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}
