use cereus_core::{
    ClientEvent, CloseReason, Instant, Message, MessageId, ProtocolError, SendError, ServerConfig, ServerConnection,
    ServerEvent,
    packet::{PacketError, PacketType},
};
use cereus_sim::{LinkConfig, Pair, Rng, seeds};

use super::support::{
    H, ROUTE, SECOND, browser, build, connected, data, mute, native, packet, raw_connected, send, sent, server_events,
};

#[test]
fn eof_drops_what_was_not_polled() {
    let mut pair = raw_connected(ServerConfig::default());
    pair.pause_server(true);
    for _ in 0..3 {
        send(&mut pair, &data(&Message::request(MessageId::new(1), ROUTE, "x")));
    }
    pair.uplink.close(pair.now());
    pair.run_idle();
    assert!(pair.server.is_closed());
    pair.pause_server(false);
    pair.run_idle();
    assert_eq!(server_events(&pair)[2..], [ServerEvent::Closed(CloseReason::PeerClosed)]);
}

#[test]
fn eof_inside_a_packet_is_the_peers_fault() {
    for (bytes, error) in [
        (&[4][..], PacketError::InvalidHeader),
        (&[4, 0, 0], PacketError::InvalidHeader),
        (&[4, 0, 0, 9], PacketError::Truncated),
        (&[4, 0, 0, 9, 0], PacketError::Truncated),
    ] {
        let mut pair = raw_connected(ServerConfig::default());
        send(&mut pair, bytes);
        pair.uplink.close(pair.now());
        pair.run_idle();
        let expected = CloseReason::Protocol(ProtocolError::Packet(error));
        assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&expected), "{bytes:?}");
    }
}

#[test]
fn eof_while_a_request_runs_ends_it_without_an_answer() {
    let mut pair = connected(mute(0));
    let id = pair.client.request(&ROUTE, "x").expect("connected");
    pair.run_idle();
    pair.client.close(pair.now());
    pair.run_idle();
    assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&CloseReason::PeerClosed));
    assert_eq!(pair.client_closed().map(|(_, reason)| reason), Some(&CloseReason::Local));
    assert_eq!(pair.server.respond(id, "late"), Err(SendError::Closed));
}

#[test]
fn closing_lets_out_what_was_queued() {
    seeds(50, |seed| {
        let mut pair = connected(mute(seed).random_links());
        for _ in 0..20 {
            pair.server.push(&ROUTE, vec![b'x'; 50]).expect("connected");
        }
        pair.server.close(pair.now());
        pair.run_until(|pair| pair.client_closed().is_some());
        let pushes = pair.client_events.iter().filter(|(_, event)| matches!(event, ClientEvent::Push { .. }));
        assert_eq!(pushes.count(), 20);
        assert_eq!(pair.client_closed().map(|(_, reason)| reason), Some(&CloseReason::PeerClosed));
        assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&CloseReason::Local));
    });
}

#[test]
fn aborting_drops_what_was_queued() {
    let mut pair = connected(mute(0));
    pair.server.push(&ROUTE, "x").expect("connected");
    pair.server.abort(CloseReason::Transport);
    pair.run_idle();
    assert_eq!(sent(&pair, PacketType::Data).len(), 0);
    assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&CloseReason::Transport));
}

#[test]
fn closing_takes_no_longer_than_allowed() {
    let config = build(ServerConfig::builder().close_timeout(SECOND * 3));
    let mut pair = connected(mute(0).server(config));
    pair.downlink.stall(None);
    pair.server.push(&ROUTE, vec![b'x'; 100_000]).expect("connected");
    pair.server.push(&ROUTE, "waits").expect("connected");
    let start = pair.now();
    pair.server.close(start);
    pair.run_idle();
    assert_eq!(pair.server.poll_timeout(), Some(start + SECOND * 3));
    assert!(pair.server.buffered() > 0);
    pair.advance(SECOND * 3);
    assert_eq!((pair.server.poll_timeout(), pair.server.buffered()), (None, 0));
}

#[test]
fn kick_waits_for_the_answer_that_runs() {
    seeds(50, |seed| {
        let client = if seed % 2 == 0 { native() } else { browser() };
        let mut pair = connected(mute(seed).client(client).random_links());
        let id = pair.client.request(&ROUTE, "x").expect("connected");
        pair.run_until(|pair| pair.server.pending_requests() == 1);
        pair.server.kick(Some("maintenance"), pair.now());
        pair.advance(SECOND);
        assert!(!pair.server.is_closed());
        assert_eq!(pair.server.push(&ROUTE, "x"), Err(SendError::Closed));
        pair.server.respond(id, "answer").expect("it waits");
        assert!(pair.server.is_closed());
        pair.run_until(|pair| pair.client_closed().is_some());

        let events: Vec<_> = pair.client_events[1..].iter().map(|(_, event)| event.clone()).collect();
        let body = if seed % 2 == 0 { "" } else { r#"{"reason":"maintenance"}"# };
        let answer = ClientEvent::Response { id, body: "answer".into() };
        assert_eq!(events, [answer, ClientEvent::Kicked(body.into()), ClientEvent::Closed(CloseReason::Kicked)]);
        assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&CloseReason::Kicked));
    });
}

#[test]
fn kick_does_not_wait_for_ever() {
    let config = build(ServerConfig::builder().close_timeout(SECOND * 3));
    let mut pair = connected(mute(0).server(config));
    let id = pair.client.request(&ROUTE, "x").expect("connected");
    pair.run_idle();
    let start = pair.now();
    pair.server.kick(None, start);
    let closed = pair.run_until(|pair| pair.client_closed().is_some());
    assert_eq!(closed, start + SECOND * 3);
    assert_eq!(pair.client_closed().map(|(_, reason)| reason), Some(&CloseReason::Kicked));
    assert_eq!(pair.server.respond(id, "late"), Err(SendError::Closed));
}

#[test]
fn kick_goes_out_even_if_its_deadline_is_met_late() {
    let mut server = ServerConnection::new(Default::default(), Instant::EPOCH);
    for bytes in [packet(PacketType::Handshake, b"{}"), packet(PacketType::HandshakeAck, b"")] {
        server.handle_input(&bytes, Instant::EPOCH);
        let _ = server.poll_event();
        server.accept(Instant::EPOCH);
    }
    server.handle_input(&data(&Message::request(MessageId::new(1), ROUTE, "x")), Instant::EPOCH);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Request { .. })));
    server.kick(None, Instant::EPOCH);

    let late = Instant::EPOCH + H / 2;
    server.handle_timeout(late);
    assert!(server.is_closed());
    assert!(server.poll_timeout().is_none_or(|deadline| deadline > late), "{:?}", server.poll_timeout());
    server.handle_timeout(late);
    let mut out = bytes::BytesMut::new();
    while server.poll_transmit(&mut out).is_some() {}
    assert!(out.ends_with(b"\x05\0\0\x02{}"), "{out:?}");
}

#[test]
fn kick_speaks_the_clients_language() {
    let reason = "quote \" and \u{1f98b}\n";
    for (client, reason, body) in [
        (native(), Some(reason), ""),
        (native(), None, ""),
        (browser(), Some(reason), "{\"reason\":\"quote \\\" and \u{1f98b}\\n\"}"),
        (browser(), None, "{}"),
    ] {
        let mut pair = connected(mute(0).client(client));
        pair.server.kick(reason, pair.now());
        pair.run_idle();
        assert_eq!(sent(&pair, PacketType::Kick), [body]);
        assert!(pair.client_saw(|event| *event == ClientEvent::Kicked(body.into())));
    }
}

#[test]
fn kick_before_the_handshake_is_a_close() {
    let mut pair = mute(0).without_client().build();
    pair.server.kick(Some("full"), pair.now());
    pair.run_idle();
    assert_eq!(server_events(&pair), [ServerEvent::Closed(CloseReason::Local)]);
    assert_eq!(pair.server_sent.len(), 0);
}

#[test]
fn client_that_is_kicked_is_read_and_not_heard() {
    let config = build(ServerConfig::builder().max_waiting_input(16));
    let mut pair = connected(mute(0).server(config));
    let id = pair.client.request(&ROUTE, "slow").expect("connected");
    pair.run_idle();
    pair.pause_server(true);
    pair.client.notify(&ROUTE, "waits to be polled").expect("connected");
    pair.run_idle();
    pair.server.kick(None, pair.now());
    assert!(pair.server.wants_input(), "what is not read can turn the end into a reset, and the kick is lost");
    pair.pause_server(false);
    pair.client.notify(&ROUTE, "too late").expect("connected");
    pair.advance(SECOND);
    pair.server.respond(id, "x").expect("it waits");
    pair.run_until(|pair| pair.client_closed().is_some());
    let heard = pair.server_events.iter().filter(|(_, event)| matches!(event, ServerEvent::Notify { .. }));
    assert_eq!(heard.count(), 0);
}

#[test]
fn link_that_breaks_anywhere_ends_both_sides_once() {
    seeds(300, |seed| {
        let mut rng = Rng::new(seed);
        let breaks = LinkConfig::random(&mut rng).reset_at(rng.below(400) as u64);
        let fine = LinkConfig::random(&mut rng);
        let (uplink, downlink) = if seed % 2 == 0 { (breaks, fine) } else { (fine, breaks) };
        let talk = |event: &ClientEvent, client: &mut cereus_core::ClientConnection, _| match event {
            ClientEvent::Connected(_) | ClientEvent::Response { .. } => {
                client.request(&ROUTE, "again").expect("connected");
            }
            _ => {}
        };
        let mut pair = Pair::builder(seed).uplink(uplink).downlink(downlink).on_client(talk).build();
        pair.run_until(|pair| pair.server_closed().is_some() && pair.client_closed().is_some());
        assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&CloseReason::Transport));
        assert_eq!(pair.client_closed().map(|(_, reason)| reason), Some(&CloseReason::Transport));
        while pair.step() {}
        let ends = server_events(&pair).iter().filter(|event| matches!(event, ServerEvent::Closed(_))).count();
        assert_eq!((ends, pair.server.buffered(), pair.client.buffered()), (1, 0, 0));
    });
}
