//! What becomes of pushes whose client does not read.

use bytes::{Bytes, BytesMut};
use cereus_core::{FullPolicy, PushLosses, Route, SendError, ServerConfig, ServerConnection, packet};
use proptest::{collection::vec, prelude::*, test_runner::Config};

use super::support::{build, packet as packet_of, raw, raw_connected, send};

const MAX: usize = 10_000;

/// A connection that nobody takes bytes from.
fn stalled(config: cereus_core::ServerConfigBuilder) -> ServerConnection {
    use cereus_core::{Instant, ServerEvent, packet::PacketType};
    let mut server = ServerConnection::new(build(config.max_queued_bytes(MAX)).into(), Instant::EPOCH);
    server.handle_input(&packet_of(PacketType::Handshake, b"{}"), Instant::EPOCH);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Handshake(_))));
    server.accept(Instant::EPOCH);
    server.handle_input(&packet_of(PacketType::HandshakeAck, b""), Instant::EPOCH);
    assert_eq!(server.poll_event(), Some(ServerEvent::Connected));
    drain(&mut server);
    server
}

/// The pushes that wait, in their order.
fn drain(server: &mut ServerConnection) -> Vec<(Route, u16)> {
    let mut bytes = BytesMut::new();
    while server.poll_transmit(&mut bytes).is_some() {}
    let mut decoder = packet::PacketDecoder::new(packet::MAX_BODY_LEN);
    decoder.push(&bytes);
    let mut pushes = Vec::new();
    while let Some(packet) = decoder.next_packet().expect("whole packets") {
        if packet.kind == packet::PacketType::Data {
            let message =
                cereus_core::Message::decode(packet.body, &Default::default(), MAX).expect("a push can be read");
            pushes.push((message.route, u16::from_be_bytes([message.body[0], message.body[1]])));
        }
    }
    pushes
}

/// A body that tells its number, of some length.
fn numbered(number: u16, len: usize) -> Bytes {
    let mut body = vec![b'.'; len.max(2)];
    body[..2].copy_from_slice(&number.to_be_bytes());
    body.into()
}

const A: Route = Route::from_static("a");
const B: Route = Route::from_static("b");

#[test]
fn a_push_that_must_arrive_makes_room_among_those_that_need_not() {
    let mut server = stalled(ServerConfig::builder());
    for number in 0..8 {
        let policy = if number % 2 == 0 { FullPolicy::Close } else { FullPolicy::DropOldest };
        server.push_with_policy(&A, numbered(number, 1000), policy).expect("there is room");
    }
    // Three more fit when two of the four make room.
    for number in 8..11 {
        server.push(&A, numbered(number, 1000)).expect("others are dropped");
    }
    server.push_with_policy(&A, numbered(11, 1000), FullPolicy::DropOldest).expect("one may still be dropped");
    // Here nothing but itself can be.
    server.push_with_policy(&A, numbered(12, 5000), FullPolicy::DropOldest).expect("it is dropped itself");
    let left: Vec<_> = drain(&mut server).into_iter().map(|(_, number)| number).collect();
    assert_eq!(left, [0, 2, 4, 6, 7, 8, 9, 10, 11]);
    let mut losses = PushLosses::default();
    losses.dropped = 4;
    assert_eq!(server.push_losses(), losses);
}

#[test]
fn where_nothing_can_be_dropped_the_connection_is_closed_and_nothing_was_dropped_for_it() {
    let mut server = stalled(ServerConfig::builder());
    server.push_with_policy(&A, numbered(0, 1000), FullPolicy::DropOldest).expect("there is room");
    server.push(&A, numbered(1, 8000)).expect("there is room");
    assert!(matches!(server.push(&A, numbered(2, 8000)), Err(SendError::QueueFull(_))));
    assert_eq!((server.is_closed(), server.push_losses()), (true, PushLosses::default()));
}

#[test]
fn the_latest_of_a_route_replaces_only_those_that_may_be() {
    let mut server = stalled(ServerConfig::builder().route_policy("a", FullPolicy::KeepLatest));
    server.push_with_policy(&A, numbered(0, 10), FullPolicy::Close).expect("there is room");
    for number in 1..5 {
        server.push(&A, numbered(number, 10)).expect("there is room");
        server.push(&B, numbered(number, 10)).expect("there is room");
    }
    let a = |number| (A, number);
    let b = |number| (B, number);
    assert_eq!(drain(&mut server), [a(0), b(1), b(2), b(3), a(4), b(4)]);
    let mut losses = PushLosses::default();
    losses.replaced = 3;
    assert_eq!(server.push_losses(), losses);
}

#[test]
fn a_push_for_many_has_the_policy_of_its_route_or_its_own() {
    let config =
        build(ServerConfig::builder().full_policy(FullPolicy::DropOldest).route_policy("a", FullPolicy::Close));
    let policy = |route: Route, own: Option<FullPolicy>| {
        cereus_core::EncodedPush::with_policy(&config, &route, "x", own).expect("a short route").policy()
    };
    assert_eq!(policy(A, None), FullPolicy::Close);
    assert_eq!(policy(B, None), FullPolicy::DropOldest);
    assert_eq!(policy(A, Some(FullPolicy::KeepLatest)), FullPolicy::KeepLatest);
}

#[test]
fn a_squeezed_queue_holds_less_until_it_is_let_go() {
    let mut server = stalled(ServerConfig::builder().full_policy(FullPolicy::DropOldest));
    server.set_max_queued_bytes(2500);
    for number in 0..5 {
        server.push(&A, numbered(number, 1000)).expect("the oldest makes room");
    }
    assert_eq!(drain(&mut server), [(A, 3), (A, 4)]);
    server.set_max_queued_bytes(usize::MAX);
    for number in 0..20 {
        server.push(&A, numbered(number, 1000)).expect("the oldest makes room");
    }
    assert_eq!(drain(&mut server).len(), 9);
}

#[test]
fn a_long_greeting_is_not_waited_for() {
    let mut pair = raw(build(ServerConfig::builder().max_handshake_size(1000)));
    send(&mut pair, &[1, 0, 3, 0xe8]);
    assert!(!pair.server.is_closed());
    let mut pair = raw(build(ServerConfig::builder().max_handshake_size(1000)));
    send(&mut pair, &[1, 0, 3, 0xe9]);
    assert!(pair.server.is_closed());
    // The same length is nothing special afterwards.
    let mut pair = raw_connected(build(ServerConfig::builder().max_handshake_size(1000)));
    send(&mut pair, &[4, 0, 3, 0xe9]);
    assert!(!pair.server.is_closed());
}

#[derive(Clone, Copy, Debug)]
struct Pushed {
    route: u8,
    len: usize,
    policy: FullPolicy,
    /// How many packets go out before.
    sent: usize,
}

fn pushed() -> impl Strategy<Value = Pushed> {
    let policy = prop_oneof![Just(FullPolicy::Close), Just(FullPolicy::DropOldest), Just(FullPolicy::KeepLatest)];
    let len = prop_oneof![4 => 2..1500_usize, 1 => 1500..12_000_usize];
    (0..3_u8, len, policy, 0..3_usize).prop_map(|(route, len, policy, sent)| Pushed { route, len, policy, sent })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// Every push that was taken is sent, dropped or replaced; those that must arrive are sent; the rest keeps its order; the
    /// last of a route is not replaced; the bound holds.
    #[test]
    fn every_push_has_one_outcome(pushes in vec(pushed(), 1..120)) {
        let mut server = stalled(ServerConfig::builder());
        let routes = [A, B, Route::from_static("c")];
        let (mut sent, mut taken) = (Vec::new(), 0_u64);
        let mut must_arrive = Vec::new();
        for (number, push) in pushes.iter().enumerate() {
            let number = number as u16;
            for _ in 0..push.sent {
                let mut packet = BytesMut::new();
                if server.poll_transmit(&mut packet).is_some() {
                    sent.push(number_of(&packet));
                }
            }
            let before = server.queued();
            match server.push_with_policy(&routes[usize::from(push.route)], numbered(number, push.len), push.policy) {
                Ok(()) => {
                    taken += 1;
                    if push.policy == FullPolicy::Close {
                        must_arrive.push(number);
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error, SendError::QueueFull(before));
                    prop_assert_eq!(push.policy, FullPolicy::Close);
                    prop_assert!(server.is_closed());
                    return Ok(());
                }
            }
            // One that is longer than the bound may wait alone.
            prop_assert!(server.queued() <= MAX || server.queued() < push.len + 500 || before > MAX);
        }
        sent.extend(drain(&mut server).into_iter().map(|(_, number)| number));
        prop_assert!(sent.is_sorted());
        let losses = server.push_losses();
        prop_assert_eq!(sent.len() as u64 + losses.dropped + losses.replaced, taken);
        prop_assert!(must_arrive.iter().all(|number| sent.contains(number)));
    }
}

/// The number of the push that is this packet.
fn number_of(packet: &[u8]) -> u16 {
    // Header, flags, length and text of a route of one letter.
    u16::from_be_bytes([packet[7], packet[8]])
}
