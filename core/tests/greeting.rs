//! What is said before messages go either way.

use std::sync::Arc;

use bytes::BytesMut;
use cereus_core::{
    CloseReason, Compression, Instant, ProtocolError, RouteDictionary, ServerConfig, ServerConnection, ServerEvent,
    packet::{PacketHeader, PacketType},
};

const BROWSER: &[u8] = b"\x01\0\0\x02{}";
const NATIVE: &[u8] = b"\x01\0\0\x1e{\"sys\":{\"libVersion\":\"0.3.5\"}}";

/// A server that has accepted the client which sent this.
fn accepted(config: ServerConfig, handshake: &[u8]) -> ServerConnection {
    let mut server = ServerConnection::new(Arc::new(config), Instant::EPOCH);
    server.handle_input(handshake, Instant::EPOCH);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Handshake(_))));
    server.accept(Instant::EPOCH);
    server
}

#[test]
fn answers_are_deflated_for_those_who_inflate() {
    let starts_with = |compression, handshake| {
        let dictionary = RouteDictionary::new((1..100).map(|code| (format!("room.{code}"), code))).expect("routes");
        let config = ServerConfig::builder().dictionary(dictionary).compression(compression).build().expect("valid");
        let mut answer = BytesMut::new();
        accepted(config, handshake).poll_transmit(&mut answer).expect("the handshake is answered");
        answer[PacketHeader::LEN]
    };
    let (plain, deflated) = (b'{', 0x78);
    for (compression, browser, native) in
        [(Compression::Auto, plain, deflated), (Compression::On, deflated, deflated), (Compression::Off, plain, plain)]
    {
        assert_eq!(starts_with(compression, BROWSER), browser, "{compression:?}");
        assert_eq!(starts_with(compression, NATIVE), native, "{compression:?}");
    }
}

#[test]
fn what_comes_too_early_is_told_with_when_it_came() {
    let mut before = ServerConnection::new(Arc::new(ServerConfig::default()), Instant::EPOCH);
    let mut accepted = accepted(ServerConfig::default(), BROWSER);
    for (server, when) in
        [(&mut before, "before the handshake"), (&mut accepted, "before the handshake was acknowledged")]
    {
        server.handle_input(b"\x04\0\0\x05\x02\x03a.b", Instant::EPOCH);
        let error = ProtocolError::OutOfOrder { kind: PacketType::Data, when };
        assert_eq!(server.poll_event(), Some(ServerEvent::Closed(CloseReason::Protocol(error))));
    }
}
