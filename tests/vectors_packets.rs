//! Packets of core against the golden vectors, in both directions and in any segmentation.

use bytes::BytesMut;
use cereus_core::packet::{self, MAX_BODY_LEN, PacketDecoder, PacketError, PacketHeader, PacketType};
use cereus_sim::Rng;
use serde_json::Value;

use crate::support::{Vector, check, decode_hex, expect_eq};

#[path = "support/vectors.rs"]
mod support;

/// Bodies of their types, as the vectors write them.
type Packets = Vec<(u8, Vec<u8>)>;

#[test]
fn vectors_of_packets_decoded() {
    check("packets_decode.json", check_decode);
}

#[test]
fn vectors_of_packets_encoded() {
    check("packets_encode.json", check_encode);
}

#[test]
fn vectors_of_frames() {
    check("frames_decode.json", |vector| match vector.str("mode") {
        "header" => check_header(vector),
        "tcp_stream" => check_stream(vector),
        "ws_message" => check_message(vector),
        mode => Err(format!("unknown mode {mode}")),
    })
}

/// What a decoder made of a stream.
#[derive(Debug, PartialEq)]
struct Decoded {
    packets: Packets,
    error: Option<PacketError>,
    tail: Vec<u8>,
    end: Result<(), PacketError>,
}

fn check_decode(vector: &Vector) -> Result<(), String> {
    let bytes = vector.hex("hex");
    let decoded = decode(&bytes, &[]);
    if vector.has("error") {
        expect_eq("the error", kind_of(decoded.error), Some(vector.str("error")))?;
        expect_eq("the packets before it", decoded.packets.len() as u64, vector.u64("good_before"))?;
    } else {
        expect_eq("the error", decoded.error, None)?;
        expect_eq("the packets", &decoded.packets, &packets(vector))?;
        let tail = if vector.has("tail_hex") { vector.hex("tail_hex") } else { Vec::new() };
        expect_eq("the rest", &decoded.tail, &tail)?;
        expect_eq("what comes back after encoding", encode(&decoded.packets, &tail)?, bytes.clone())?;
    }
    check_segmentations(&bytes, &decoded)
}

fn check_encode(vector: &Vector) -> Result<(), String> {
    let zeros = vector.has("body_zeros");
    let body = if zeros { vec![0; vector.u64("body_zeros") as usize] } else { vector.hex("body_hex") };
    let mut encoded = BytesMut::new();
    let kind = PacketType::try_from(vector.u64("type") as u8);
    let result = kind.and_then(|kind| packet::encode(kind, &body, &mut encoded));
    if let Some(expected) = expected_error(vector) {
        expect_eq("what was written", encoded.len(), 0)?;
        return expect_eq("the error", kind_of(result.err()), Some(expected));
    }
    expect_eq("the result", result, Ok(()))?;
    if zeros {
        let (header, rest) = encoded.split_at(PacketHeader::LEN);
        expect_eq("the header", header, &vector.hex("header_hex")[..])?;
        expect_eq("the length", encoded.len() as u64, vector.u64("total_len"))?;
        expect_eq("whether the body is zeros", rest.iter().all(|&byte| byte == 0), true)?;
    } else {
        expect_eq("the packet", &encoded[..], &vector.hex("hex")[..])?;
    }
    let expected =
        Decoded { packets: vec![(vector.u64("type") as u8, body)], error: None, tail: Vec::new(), end: Ok(()) };
    match decode(&encoded, &[]) == expected {
        true => Ok(()),
        false => Err("something else comes back after decoding".into()),
    }
}

fn check_header(vector: &Vector) -> Result<(), String> {
    let bytes = vector.hex("hex");
    let header = PacketHeader::parse(&bytes);
    if let Some(expected) = expected_error(vector) {
        return expect_eq("the error", kind_of(header.err()), Some(expected));
    }
    let header = header.map_err(|error| error.to_string())?;
    expect_eq("the type", header.kind as u64, vector.u64("type"))?;
    expect_eq("the length", header.body_len as u64, vector.u64("body_len"))?;
    expect_eq("what comes back after encoding", &header.encode()[..], &bytes[..])
}

fn check_stream(vector: &Vector) -> Result<(), String> {
    let bytes = vector.hex("hex");
    let decoded = decode(&bytes, &[]);
    expect_eq("the packets", &decoded.packets, &packets(vector))?;
    let end = decoded.error.or_else(|| decoded.end.err());
    expect_eq("the end", end.map_or("connection_closed", name_of), vector.str("end"))?;
    check_segmentations(&bytes, &decoded)
}

fn check_message(vector: &Vector) -> Result<(), String> {
    let bytes = vector.hex("hex");
    let decoded = packet::decode_exact(&bytes);
    if let Some(expected) = expected_error(vector) {
        return expect_eq("the error", kind_of(decoded.err()), Some(expected));
    }
    let (header, body) = decoded.map_err(|error| error.to_string())?;
    expect_eq("the type", header.kind as u64, vector.u64("type"))?;
    expect_eq("the body", body, &vector.hex("body_hex")[..])?;
    expect_eq("what comes back after encoding", encode(&[(header.kind as u8, body.to_vec())], b"")?, bytes.clone())
}

/// Byte by byte and in pieces of random lengths, the same comes out.
fn check_segmentations(bytes: &[u8], expected: &Decoded) -> Result<(), String> {
    let every_byte: Vec<_> = (1..bytes.len()).collect();
    expect_eq("what single bytes give", &decode(bytes, &every_byte), expected)?;
    let mut rng = Rng::new(bytes.len() as u64);
    for _ in 0..8 {
        let mut cuts: Vec<_> = (0..rng.below(9)).map(|_| rng.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        expect_eq(&format!("what pieces cut at {cuts:?} give"), &decode(bytes, &cuts), expected)?;
    }
    Ok(())
}

/// Decodes `bytes`, cut at these places. Packets are taken after every piece.
fn decode(bytes: &[u8], cuts: &[usize]) -> Decoded {
    let mut decoder = PacketDecoder::new(MAX_BODY_LEN);
    let (mut packets, mut error, mut start) = (Vec::new(), None, 0);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        decoder.push(&bytes[start..end]);
        start = end;
        while error.is_none() {
            match decoder.next_packet() {
                Ok(Some(packet)) => packets.push((packet.kind as u8, packet.body.to_vec())),
                Ok(None) => break,
                Err(bad) => error = Some(bad),
            }
        }
    }
    // Behind a bad header nothing has a meaning, and the decoder need not keep it.
    let tail = if error.is_none() { decoder.tail().to_vec() } else { Vec::new() };
    Decoded { packets, error, tail, end: decoder.finish() }
}

fn encode(packets: &[(u8, Vec<u8>)], tail: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoded = BytesMut::new();
    for (kind, body) in packets {
        let kind = PacketType::try_from(*kind);
        let result = kind.and_then(|kind| packet::encode(kind, body, &mut encoded));
        result.map_err(|error| format!("what was decoded cannot be encoded: {error}"))?;
    }
    encoded.extend_from_slice(tail);
    Ok(encoded.to_vec())
}

fn packets(vector: &Vector) -> Packets {
    let packet = |value: &Value| {
        let kind = value["type"].as_u64().expect("`type` is a number");
        let body = value["body_hex"].as_str().and_then(decode_hex).expect("`body_hex` is hex");
        (kind as u8, body)
    };
    vector.get("packets").as_array().expect("`packets` is an array").iter().map(packet).collect()
}

fn expected_error(vector: &Vector) -> Option<&str> {
    ["error", "expect"].into_iter().find(|name| vector.has(name)).map(|name| vector.str(name))
}

fn kind_of(error: Option<PacketError>) -> Option<&'static str> {
    error.map(name_of)
}

/// The name that the vectors give an error.
fn name_of(error: PacketError) -> &'static str {
    match error {
        PacketError::InvalidHeader => "invalid_header",
        PacketError::WrongType(_) => "wrong_packet_type",
        PacketError::TooLarge { .. } => "packet_too_large",
        PacketError::Truncated => "less_data_than_expected",
        PacketError::Excess => "more_data_than_expected",
        _ => "another one",
    }
}
