//! The golden vectors about WebSocket messages, through a whole transport.
#![cfg(feature = "websocket")]

use std::{env, fs, path::PathBuf, sync::Arc};

use cereus_core::packet::PacketError;
use cereus_transports::{Transport, TransportError, WebSocket, WebSocketConfig};
use serde_json::Value;

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn folder() -> PathBuf {
    env::var_os("CEREUS_VECTORS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors")), PathBuf::from)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// A binary message as clients send it; a mask of zeros leaves the payload as it is.
fn message(payload: &[u8]) -> Vec<u8> {
    [&[0x82, 0xff][..], &(payload.len() as u64).to_be_bytes(), &[0; 4], payload].concat()
}

fn receive(payload: &[u8]) -> Result<Vec<u8>, TransportError> {
    let mut transport = WebSocket::new(Arc::new(WebSocketConfig::default()));
    let mut packets = Vec::new();
    transport.decode(&[UPGRADE, &message(payload)].concat(), &mut |packet| packets.push(packet.to_vec()))?;
    assert_eq!(packets.len(), 1);
    Ok(packets.remove(0))
}

fn kind(error: &TransportError) -> &'static str {
    match error {
        TransportError::Packet(PacketError::InvalidHeader) => "invalid_header",
        TransportError::Packet(PacketError::WrongType(_)) => "wrong_packet_type",
        TransportError::Packet(PacketError::Truncated) => "less_data_than_expected",
        TransportError::Packet(PacketError::Excess) => "more_data_than_expected",
        other => panic!("{other}"),
    }
}

#[test]
fn websocket_message_vectors() {
    let file = folder().join("frames_decode.json");
    let file: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let vectors = file["vectors"].as_array().unwrap().iter().filter(|vector| vector["mode"] == "ws_message");
    let mut ran = 0;
    for vector in vectors {
        let input = unhex(vector["hex"].as_str().unwrap());
        match (receive(&input), vector["error"].as_str()) {
            (Ok(packet), None) => {
                assert_eq!(packet[0], vector["type"], "{vector}");
                assert_eq!(packet[4..], unhex(vector["body_hex"].as_str().unwrap()), "{vector}");
            }
            (Err(error), Some(expected)) => assert_eq!(kind(&error), expected, "{vector}"),
            (result, _) => assert!(vector["optional"].is_string(), "{vector}: {result:?}"),
        }
        ran += 1;
    }
    assert!(ran > 0, "no vectors");
}
