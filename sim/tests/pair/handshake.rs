use std::time::Duration;

use cereus_core::{
    ClientConnection, ClientEvent, CloseReason, HandshakeResponse, Instant, ProtocolError, ServerConfig, ServerEvent,
    packet::PacketType,
};
use cereus_sim::{Pair, seeds};

use super::support::{
    H, ROUTE, SECOND, browser, build, coded, connected, native, packet, raw, raw_connected, send, sent,
};

#[test]
fn both_sides_know_that_they_are_connected() {
    seeds(100, |seed| {
        let client = if seed % 2 == 0 { native() } else { browser() };
        let config = build(coded().heartbeat(SECOND * 30).serializer("protobuf"));
        let mut pair = connected(Pair::builder(seed).server(config).client(client).random_links());
        let Some((_, ClientEvent::Connected(response))) = pair.client_events.first() else {
            panic!("the client's first event is another one: {pair:#?}");
        };
        assert_eq!((response.code, response.heartbeat), (HandshakeResponse::OK, SECOND * 30));
        assert_eq!(&*response.serializer, "protobuf");
        assert_eq!(response.dictionary, coded().build().expect("valid").dictionary().entries());
        let Some((_, ServerEvent::Handshake(request))) = pair.server_events.first() else {
            panic!("the server's first event is another one: {pair:#?}");
        };
        assert_eq!(request.inflates(), seed % 2 == 0);

        let id = pair.client.request(&ROUTE, "hello").expect("connected");
        let answer = ClientEvent::Response { id, body: "hello".into() };
        pair.run_until(|pair| pair.client_saw(|event| *event == answer));
    });
}

#[test]
fn refusal_is_flushed_before_the_end() {
    seeds(100, |seed| {
        let refuse = Pair::builder(seed).random_links().on_server(|event, server, now| {
            if matches!(event, ServerEvent::Handshake(_)) {
                server.reject(now);
            }
        });
        let mut pair = refuse.build();
        pair.run_until(|pair| pair.client_closed().is_some() && pair.server_closed().is_some());
        let refused = CloseReason::HandshakeRefused(HandshakeResponse::REFUSED);
        assert_eq!(pair.client_closed().map(|(_, reason)| reason), Some(&refused));
        assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&refused));
        assert_eq!(pair.client_events.len(), 1, "{:?}", pair.client_events);
    });
}

#[test]
fn unreadable_handshake_is_refused() {
    for body in ["", "[]", "{", r#"{"sys":{"platform":1}}"#, "{}x", "\u{feff}{}"] {
        let mut pair = raw(ServerConfig::default());
        send(&mut pair, &packet(PacketType::Handshake, body.as_bytes()));
        let Some((_, CloseReason::Protocol(ProtocolError::Handshake(_)))) = pair.server_closed() else {
            panic!("{body}: {:?}", pair.server_events);
        };
        let answers = sent(&pair, PacketType::Handshake);
        let response = HandshakeResponse::parse(&answers[0]).expect("the refusal can be read");
        assert_eq!((response.code, answers.len()), (HandshakeResponse::REFUSED, 1), "{body}");
        assert_eq!(pair.server_events.len(), 1, "{body}: {:?}", pair.server_events);
    }
}

#[test]
fn too_long_handshake_ends_the_connection() {
    let mut pair = raw(build(ServerConfig::builder().max_handshake_size(64)));
    send(&mut pair, &packet(PacketType::Handshake, format!("{{{}}}", " ".repeat(63)).as_bytes()));
    assert!(matches!(pair.server_closed(), Some((_, CloseReason::Protocol(_)))), "{:?}", pair.server_events);
}

#[test]
fn missing_handshake_missing_decision_and_missing_ack_end_at_the_deadline() {
    let config = || build(ServerConfig::builder().handshake_timeout(SECOND * 75));
    for with_handshake in [false, true] {
        for accepts in [false, true] {
            let mut pair = Pair::builder(0)
                .server(config())
                .without_client()
                .on_server(move |event, server, now| {
                    if accepts && matches!(event, ServerEvent::Handshake(_)) {
                        server.accept(now);
                    }
                })
                .build();
            if with_handshake {
                pair.advance(SECOND);
                send(&mut pair, &packet(PacketType::Handshake, b"{}"));
            }
            // The peer is there, so that only the deadline of the handshake can end it.
            for _ in 0..7 {
                pair.advance(SECOND * 10);
                send(&mut pair, &packet(PacketType::Heartbeat, b""));
                assert!(!pair.server.is_closed());
            }
            pair.run_until(|pair| pair.server_closed().is_some());
            let end = Instant::EPOCH + SECOND * 75;
            assert_eq!(pair.server_closed(), Some((end, &CloseReason::HandshakeTimeout)));
        }
    }
}

#[test]
fn no_heartbeat_is_sent_before_the_ack() {
    let mut pair = raw(build(ServerConfig::builder().handshake_timeout(H * 20)));
    send(&mut pair, &packet(PacketType::Handshake, b"{}"));
    for _ in 0..20 {
        pair.advance(H / 2);
        send(&mut pair, &packet(PacketType::Heartbeat, b""));
    }
    assert_eq!((sent(&pair, PacketType::Heartbeat).len(), pair.server.is_closed()), (0, false));
    send(&mut pair, &packet(PacketType::HandshakeAck, b""));
    pair.advance(H);
    assert_eq!(sent(&pair, PacketType::Heartbeat).len(), 1);
}

#[test]
fn what_comes_too_early_ends_the_connection() {
    let data = packet(PacketType::Data, b"\0\x01\x03a.bx");
    let handshake = packet(PacketType::Handshake, b"{}");
    let ack = packet(PacketType::HandshakeAck, b"");
    for (name, packets) in
        [("data first", vec![&data]), ("ack first", vec![&ack]), ("data before the ack", vec![&handshake, &data])]
    {
        let mut pair = raw(ServerConfig::default());
        packets.iter().for_each(|packet| send(&mut pair, packet));
        let Some((_, CloseReason::Protocol(ProtocolError::OutOfOrder { .. }))) = pair.server_closed() else {
            panic!("{name}: {:?}", pair.server_events);
        };
    }
}

#[test]
fn ack_in_one_piece_with_the_handshake_waits_for_the_decision() {
    let mut pair = Pair::builder(0).without_client().on_server(|_, _, _| {}).build();
    let both = [packet(PacketType::Handshake, b"{}"), packet(PacketType::HandshakeAck, b"")].concat();
    send(&mut pair, &both);
    assert_eq!(pair.server_events.len(), 1, "{:?}", pair.server_events);
    pair.server.accept(pair.now());
    pair.run_idle();
    assert_eq!(pair.server_events.last().map(|(_, event)| event), Some(&ServerEvent::Connected));
}

#[test]
fn second_handshake_while_working_needs_a_second_ack() {
    let mut pair = raw_connected(ServerConfig::default());
    send(&mut pair, &packet(PacketType::Handshake, br#"{"sys":{"platform":"again"}}"#));
    assert_eq!(sent(&pair, PacketType::Handshake).len(), 2);
    let mut acked = raw_connected(ServerConfig::default());
    send(&mut acked, &packet(PacketType::Handshake, b"{}"));
    send(&mut acked, &packet(PacketType::HandshakeAck, b""));

    for (pair, closed) in [(&mut pair, true), (&mut acked, false)] {
        send(pair, &packet(PacketType::Data, b"\x02\x03a.bhi"));
        assert_eq!(pair.server.is_closed(), closed, "{:?}", pair.server_events);
    }
    assert!(matches!(acked.server_events.last(), Some((_, ServerEvent::Notify { .. }))));
}

#[test]
fn requests_of_before_a_second_handshake_can_be_answered() {
    let mut pair = raw_connected(ServerConfig::default());
    send(&mut pair, &packet(PacketType::Data, b"\0\x07\x03a.bx"));
    send(&mut pair, &packet(PacketType::Handshake, b"{}"));
    pair.server.respond(cereus_core::MessageId::new(7), "late").expect("it waits");
    pair.run_idle();
    assert_eq!(sent(&pair, PacketType::Data), ["\x04\x07late"]);
}

#[test]
fn second_ack_is_ignored() {
    let mut pair = raw_connected(ServerConfig::default());
    send(&mut pair, &packet(PacketType::HandshakeAck, b""));
    assert_eq!((pair.server_events.len(), pair.server.is_closed()), (2, false));
}

#[test]
fn silent_server_ends_the_client_at_its_deadline() {
    let start = Instant::EPOCH;
    let config = cereus_core::ClientConfig::builder().handshake_timeout(SECOND * 7).build().expect("valid");
    let mut client = ClientConnection::new(config, start);
    assert_eq!(client.poll_timeout(), Some(start + SECOND * 7));
    client.handle_timeout(start + (SECOND * 7 - Duration::from_nanos(1)));
    assert_eq!(client.poll_event(), None);
    client.handle_timeout(start + SECOND * 7);
    assert_eq!(client.poll_event(), Some(ClientEvent::Closed(CloseReason::HandshakeTimeout)));
    assert_eq!((client.poll_event(), client.poll_timeout()), (None, None));
}
