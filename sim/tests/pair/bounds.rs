//! What is exactly at a limit, and what is one more.

use std::sync::Arc;

use bytes::BytesMut;
use cereus_core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, HandshakeError, Instant, Message, MessageId,
    ProtocolError, ServerConfig, ServerConfigBuilder, ServerConnection, ServerEvent,
    packet::{PacketError, PacketType},
};

use super::support::{ROUTE, build, data, packet};

const NOW: Instant = Instant::EPOCH;

/// A handshake of either side, of so many bytes.
fn handshake(len: usize) -> Vec<u8> {
    let mut body = br#"{"code":200,"sys":{"heartbeat":30}}"#.to_vec();
    body.resize(len, b' ');
    packet(PacketType::Handshake, &body).to_vec()
}

fn server(config: ServerConfigBuilder) -> ServerConnection {
    let mut server = ServerConnection::new(Arc::new(build(config)), NOW);
    server.handle_input(&handshake(40), NOW);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Handshake(_))));
    server.accept(NOW);
    server.handle_input(&packet(PacketType::HandshakeAck, b""), NOW);
    assert_eq!(server.poll_event(), Some(ServerEvent::Connected));
    drain(&mut server);
    server
}

fn drain(server: &mut ServerConnection) {
    while server.poll_transmit(&mut BytesMut::new()).is_some() {}
}

fn client(max_queued: usize) -> ClientConnection {
    let config = ClientConfig::builder().max_queued_bytes(max_queued).max_handshake_size(100).build().expect("valid");
    let mut client = ClientConnection::new(config, NOW);
    while client.poll_transmit(&mut BytesMut::new()).is_some() {}
    client
}

fn connected_client(max_queued: usize) -> ClientConnection {
    let mut client = client(max_queued);
    client.handle_input(&handshake(100), NOW);
    assert!(matches!(client.poll_event(), Some(ClientEvent::Connected(_))), "100 bytes are allowed");
    while client.poll_transmit(&mut BytesMut::new()).is_some() {}
    client
}

#[test]
fn handshakes_may_be_as_long_as_the_limit() {
    let config = Arc::new(build(ServerConfig::builder().max_handshake_size(100)));
    for (len, is_read) in [(100, true), (101, false)] {
        let mut server = ServerConnection::new(config.clone(), NOW);
        server.handle_input(&handshake(len), NOW);
        assert_eq!(matches!(server.poll_event(), Some(ServerEvent::Handshake(_))), is_read);
    }
    connected_client(1);
    let too_large = ProtocolError::Packet(PacketError::TooLarge { len: 102, max: 100 });
    let mut client = client(1);
    client.handle_input(&handshake(102), NOW);
    assert_eq!(client.poll_event(), Some(ClientEvent::Closed(CloseReason::Protocol(too_large))));
}

#[test]
fn two_bytes_are_no_compressed_handshake() {
    let mut client = client(1);
    client.handle_input(&packet(PacketType::Handshake, b"\x78\x9c"), NOW);
    let no_json = CloseReason::Protocol(HandshakeError::NotJson { offset: 0 }.into());
    assert_eq!(client.poll_event(), Some(ClientEvent::Closed(no_json)));
}

#[test]
fn there_is_room_until_the_queue_is_full() {
    let mut first = server(ServerConfig::builder());
    first.push(&ROUTE, "x").expect("it is empty");
    let one = first.queued();
    for (max, has_room) in [(one, false), (one + 1, true)] {
        let mut server = server(ServerConfig::builder().max_queued_bytes(max));
        assert!(server.has_room());
        server.push(&ROUTE, "x").expect("it is empty");
        assert_eq!(server.has_room(), has_room);
        drain(&mut server);
        assert!(server.has_room());
    }
    let mut first = connected_client(1000);
    first.notify(&ROUTE, "x").expect("it is empty");
    let one = first.buffered();
    for (max, has_room) in [(one, false), (one + 1, true)] {
        let mut client = connected_client(max);
        assert!(client.has_room());
        client.notify(&ROUTE, "x").expect("it is empty");
        assert_eq!((client.has_room(), client.buffered()), (has_room, one));
    }
}

#[test]
fn what_was_sent_takes_no_room() {
    let mut server = server(ServerConfig::builder().max_queued_bytes(100));
    for _ in 0..3 {
        server.push(&ROUTE, vec![b'x'; 5000]).expect("it is alone");
        drain(&mut server);
        assert_eq!(server.queued(), 0);
    }
}

#[test]
fn input_is_wanted_until_the_limit_waits() {
    let mut server = server(ServerConfig::builder().max_waiting_input(8));
    let heartbeat = packet(PacketType::Heartbeat, b"");
    server.handle_input(&heartbeat, NOW);
    assert!(server.wants_input());
    server.handle_input(&heartbeat, NOW);
    assert!(!server.wants_input(), "8 bytes wait");
}

#[test]
fn the_room_that_buffers_have_is_told() {
    assert_eq!(ServerConnection::new(Arc::default(), NOW).capacity(), 0);
    let mut server = server(ServerConfig::builder());
    let tick = |server: &mut ServerConnection| {
        server.handle_timeout(server.poll_timeout().expect("it beats"));
        drain(server);
        server.capacity()
    };
    assert_eq!(tick(&mut server), 0);

    for bytes in 1..100 {
        server.push(&ROUTE, "x").expect("there is room");
        let (held, memory) = (server.buffered(), server.capacity());
        assert!((held..=4 * held).contains(&memory), "{bytes} pushes: {memory} bytes for {held}");
    }
    drain(&mut server);
    // The places of those that have waited.
    assert_eq!(server.buffered(), 0);
    assert!(server.capacity() > 99 * 40, "{}", server.capacity());
    assert_eq!(tick(&mut server), 0);

    server.handle_input(&[PacketType::Data as u8, 0, 0x40, 0], NOW);
    for _ in 0..100 {
        server.handle_input(&[b'x'; 100], NOW);
        let (held, memory) = (server.buffered(), server.capacity());
        assert!((held..=2 * held + 100).contains(&memory), "{memory} bytes for {held}");
    }
    assert!(server.capacity() > 10_004, "it grows by more than it needs");
}

#[test]
fn what_comes_from_a_kicked_client_is_not_kept() {
    let mut server = server(ServerConfig::builder());
    let request = data(&Message::request(MessageId::new(1), ROUTE, "x"));
    server.handle_input(&request, NOW);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Request { .. })));
    server.kick(None, NOW);
    for _ in 0..9 {
        server.handle_input(&request, NOW);
        assert_eq!(server.buffered(), server.queued());
        assert!(server.wants_input());
    }
}

#[test]
fn who_breaks_the_order_is_told_when() {
    let mut server = ServerConnection::new(Arc::default(), NOW);
    server.handle_input(&packet(PacketType::HandshakeAck, b""), NOW);
    let Some(ServerEvent::Closed(reason)) = server.poll_event() else { panic!("it goes on") };
    assert_eq!(reason.to_string(), "a HandshakeAck packet came before the handshake");
}
