//! The handshake of core against the golden vectors, in both directions.

use std::{collections::BTreeMap, time::Duration};

use cereus_core::{
    HandshakeRequest, HandshakeResponse, Route,
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
    let inflated = miniz_oxide::inflate::decompress_to_vec_zlib(body).map_err(|error| error.to_string())?;
    expect_eq("the inflated body", &inflated, &vector.hex("json_hex"))?;
    Ok(inflated)
}

/// The response that has the settings of the vector. Dictionaries are configured with routes that get trimmed.
fn described_response(vector: &Vector) -> Result<HandshakeResponse, String> {
    let dictionary: BTreeMap<String, u16> =
        serde_json::from_value(vector.get("dict").clone()).map_err(|error| error.to_string())?;
    Ok(HandshakeResponse::new(
        vector.u64("code") as u16,
        Duration::from_nanos(vector.u64("heartbeat_ns")),
        dictionary.iter().map(|(route, code)| (Route::from(route.trim()), *code)),
        vector.str("serializer"),
    ))
}

fn json(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}
