use std::{sync::Arc, time::Duration};

use cereus_core::{
    CloseReason, Instant, Message, MessageId, ServerConfig, ServerConnection, ServerEvent, packet::PacketType,
};
use cereus_sim::{Pair, Rng, seeds};

use super::support::{H, HOUR, MINUTE, ROUTE, SECOND, build, connected, data, mute, packet, raw_connected, send};

#[test]
fn idle_connections_stay_alive_over_any_link() {
    seeds(60, |seed| {
        let config = build(ServerConfig::builder().heartbeat(SECOND * (1 + seed as u32 % 40)));
        let mut pair = connected(Pair::builder(seed).server(config).random_links());
        pair.advance(HOUR * 3);
        assert!(!pair.server.is_closed() && !pair.client.is_closed(), "{pair:#?}");
        let heartbeats = |packets: &[cereus_sim::Timed<cereus_core::packet::Packet>]| {
            packets.iter().filter(|(_, packet)| packet.kind == PacketType::Heartbeat).count()
        };
        let expected = (HOUR * 3).as_secs() as usize / (1 + seed as usize % 40);
        for sent in [heartbeats(&pair.server_sent), heartbeats(&pair.client_sent)] {
            assert!(sent.abs_diff(expected) <= 1, "{sent} heartbeats instead of {expected}");
        }
    });
}

#[test]
fn silent_client_is_given_up_after_two_and_at_most_three_heartbeats() {
    let mut rng = Rng::new(1);
    for phase in (0..60).map(|_| rng.duration(Duration::ZERO..=H * 2)) {
        let mut pair = raw_connected(ServerConfig::default());
        // Keeps it alive until the phase is reached.
        for part in [phase / 2, phase - phase / 2] {
            pair.advance(part);
            send(&mut pair, &packet(PacketType::Heartbeat, b""));
        }
        let last = pair.now();
        pair.run_until(|pair| pair.server_closed().is_some());
        let (at, reason) = pair.server_closed().expect("it is closed");
        assert_eq!(reason, &CloseReason::HeartbeatTimeout);
        let silence = at - last;
        assert!(silence > H * 2 && silence <= H * 3, "given up after {silence:?} in phase {phase:?}");
    }
}

#[test]
fn exactly_two_heartbeats_of_silence_are_allowed() {
    let mut pair = raw_connected(ServerConfig::default());
    for _ in 0..50 {
        pair.advance(H * 2);
        assert!(!pair.server.is_closed());
        send(&mut pair, &packet(PacketType::Heartbeat, b""));
    }
}

#[test]
fn silent_server_is_given_up_by_the_client() {
    seeds(40, |seed| {
        let mut pair = connected(mute(seed));
        let phase = Rng::new(seed).duration(Duration::ZERO..=MINUTE);
        pair.advance(phase);
        pair.downlink.stall(None);
        let last = pair.server_sent.last().map(|(at, _)| *at).expect("a handshake was sent");
        let closed = pair.run_until(|pair| pair.client_closed().is_some());
        assert_eq!(pair.client_closed().map(|(_, reason)| reason), Some(&CloseReason::HeartbeatTimeout));
        let silence = closed - last;
        assert!(silence > H * 2 && silence <= H * 3, "given up after {silence:?} in phase {phase:?}");
    });
}

#[test]
fn short_stalls_are_survived_and_long_ones_are_not() {
    seeds(40, |seed| {
        let mut rng = Rng::new(seed);
        let mut pair = connected(Pair::builder(seed));
        for _ in 0..20 {
            pair.advance(rng.duration(Duration::ZERO..=MINUTE));
            // The client's last heartbeat may be a whole interval old.
            let end = pair.now() + rng.duration(Duration::ZERO..=H);
            pair.uplink.stall(Some(end));
            pair.downlink.stall(Some(end));
            pair.advance(H);
            assert!(!pair.server.is_closed() && !pair.client.is_closed(), "{pair:#?}");
        }
        pair.uplink.stall(None);
        pair.downlink.stall(None);
        pair.advance(H * 3 + SECOND);
        assert!(pair.server.is_closed() && pair.client.is_closed(), "{pair:#?}");
    });
}

#[test]
fn half_a_packet_is_no_sign_of_life() {
    let mut pair = raw_connected(ServerConfig::default());
    let start = pair.now();
    pair.uplink.send(&[4, 0xff, 0xff, 0xff], start);
    for _ in 0..100 {
        pair.advance(SECOND);
        pair.uplink.send(b"x", pair.now());
    }
    let (at, reason) = pair.server_closed().expect("it is closed");
    assert_eq!(reason, &CloseReason::HeartbeatTimeout);
    assert!(at - start <= H * 3);
}

#[test]
fn silence_does_not_count_while_nobody_reads() {
    let config = || build(ServerConfig::builder().max_waiting_input(100));
    let notify = data(&Message::notify(ROUTE, vec![b'x'; 200]));

    let mut pair = connected(mute(0).server(config()));
    pair.pause_server(true);
    pair.client.notify(&ROUTE, vec![b'x'; 200]).expect("connected");
    pair.advance(MINUTE * 10);
    assert!(!pair.server.wants_input() && !pair.server.is_closed(), "{pair:#?}");
    pair.pause_server(false);
    pair.advance(HOUR);
    assert!(!pair.server.is_closed(), "{pair:#?}");

    // A client that is gone meanwhile is found out from then on.
    let mut pair = raw_connected(config());
    pair.pause_server(true);
    send(&mut pair, &notify);
    pair.advance(MINUTE * 10 + SECOND);
    assert!(!pair.server.is_closed());
    pair.pause_server(false);
    pair.run_idle();
    let resumed = pair.now();
    let closed = pair.run_until(|pair| pair.server_closed().is_some());
    assert!(closed - resumed > H * 2 && closed - resumed <= H * 4, "given up after {:?}", closed - resumed);
}

#[test]
fn busy_handler_does_not_stop_heartbeats() {
    let mut pair = connected(mute(0));
    pair.client.request(&ROUTE, "slow").expect("connected");
    pair.advance(HOUR);
    assert_eq!(pair.server.pending_requests(), 1);
    assert!(!pair.server.is_closed() && !pair.client.is_closed());
    pair.server.respond(MessageId::new(1), "at last").expect("it waits");
    pair.run_idle();
    assert_eq!(pair.client.pending_requests(), 0);
}

#[test]
fn at_most_one_heartbeat_waits_and_it_overtakes() {
    let mut pair = connected(mute(0));
    // The link is full and stands still.
    pair.downlink.stall(None);
    let filler = vec![b'x'; 70_000];
    pair.server.push(&ROUTE, filler).expect("there is room");
    pair.server.push(&ROUTE, "waits").expect("there is room");
    pair.advance(H * 2);
    pair.downlink.resume();
    pair.run_idle();
    let sent: Vec<_> = pair.server_sent.iter().map(|(_, packet)| packet.kind).collect();
    use PacketType::{Data, Handshake, Heartbeat};
    assert_eq!(sent, [Handshake, Data, Heartbeat, Data]);
}

#[test]
fn client_that_is_kicked_with_a_running_request_is_not_silent() {
    let config = build(ServerConfig::builder().heartbeat(SECOND).close_timeout(SECOND * 20));
    let mut pair = connected(mute(0).server(config));
    let id = pair.client.request(&ROUTE, "slow").expect("connected");
    pair.run_idle();
    pair.server.kick(Some("maintenance"), pair.now());
    pair.advance(SECOND * 10);
    assert!(!pair.server.is_closed(), "the client sends heartbeats, and is taken for silent: {pair:#?}");
    pair.server.respond(id, "answer").expect("it waits");
    pair.run_until(|pair| pair.client_closed().is_some());
    assert_eq!(pair.client_closed().map(|(_, reason)| reason), Some(&CloseReason::Kicked));
}

/// A client of JavaScript's sends its heartbeat an interval after the server's, so it is heard just after every second
/// tick. A driver that handles a tick late must not take that for silence.
#[test]
fn client_that_is_heard_just_after_a_late_tick_stays() {
    let late = Duration::from_millis(5);
    let mut server = ServerConnection::new(Arc::new(build(ServerConfig::builder().heartbeat(SECOND))), Instant::EPOCH);
    let shake_hands = Instant::EPOCH + Duration::from_millis(1);
    server.handle_input(b"\x01\0\0\x02{}", shake_hands);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Handshake(_))));
    server.accept(shake_hands);
    server.handle_input(b"\x02\0\0\0", shake_hands);
    assert_eq!(server.poll_event(), Some(ServerEvent::Connected));
    for tick in 1..20 {
        let now = Instant::EPOCH + SECOND * tick + late;
        server.handle_timeout(now);
        assert!(!server.is_closed(), "closed at tick {tick}");
        if tick % 2 == 0 {
            server.handle_input(b"\x03\0\0\0", now + Duration::from_millis(1));
        }
    }
}
