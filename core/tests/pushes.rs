//! What becomes of pushes, to the byte.

use std::sync::Arc;

use bytes::BytesMut;
use cereus_core::{
    FullPolicy, Instant, Message, PushLosses, Route, RouteDictionary, SendError, ServerConfig, ServerConnection,
    ServerEvent,
    packet::{MAX_BODY_LEN, PacketDecoder, PacketType},
};

const ROUTE: Route = Route::from_static("a");
const MAX: usize = 10_000;

fn connected() -> ServerConnection {
    let config = ServerConfig::builder().max_queued_bytes(MAX).build().expect("valid");
    let mut server = ServerConnection::new(Arc::new(config), Instant::EPOCH);
    server.handle_input(b"\x01\0\0\x02{}", Instant::EPOCH);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Handshake(_))));
    server.accept(Instant::EPOCH);
    server.handle_input(b"\x02\0\0\0", Instant::EPOCH);
    assert_eq!(server.poll_event(), Some(ServerEvent::Connected));
    sent(&mut server);
    server
}

/// The lengths of the pushes that are sent now.
fn sent(server: &mut ServerConnection) -> Vec<usize> {
    let mut bytes = BytesMut::new();
    while server.poll_transmit(&mut bytes).is_some() {}
    let mut decoder = PacketDecoder::new(MAX_BODY_LEN);
    decoder.push(&bytes);
    let packets = std::iter::from_fn(|| decoder.next_packet().expect("whole packets"));
    let pushes = packets.filter(|packet| packet.kind == PacketType::Data);
    let read = |body| Message::decode(body, &RouteDictionary::default(), MAX).expect("a push can be read");
    pushes.map(|packet| read(packet.body).body.len()).collect()
}

fn push(server: &mut ServerConnection, len: usize, policy: FullPolicy) -> Result<(), SendError> {
    server.push_with_policy(&ROUTE, vec![b'x'; len], policy)
}

/// The length of a push that just fits when these wait and those of them are dropped.
fn fitting(waiting: &[usize], dropped: &[usize]) -> usize {
    let queued = |lens: &[usize]| {
        let mut server = connected();
        lens.iter().for_each(|len| push(&mut server, *len, FullPolicy::Close).expect("there is room"));
        server.queued()
    };
    let head = queued(&[1]) - 1;
    MAX + queued(dropped) - queued(waiting) - head
}

fn dropped(count: u64) -> PushLosses {
    let mut losses = PushLosses::default();
    losses.dropped = count;
    losses
}

#[test]
fn what_just_fits_costs_nobody_his_place() {
    for policy in [FullPolicy::Close, FullPolicy::DropOldest] {
        let (mut server, len) = (connected(), fitting(&[1000], &[]));
        push(&mut server, 1000, FullPolicy::DropOldest).expect("there is room");
        assert!(server.has_room());
        push(&mut server, len, policy).expect("it just fits");
        assert_eq!((server.queued(), server.has_room(), server.push_losses()), (MAX, false, dropped(0)));
        assert_eq!(sent(&mut server), [1000, len]);
    }
}

#[test]
fn no_more_are_dropped_than_are_just_enough() {
    let (mut server, len) = (connected(), fitting(&[1000, 2000], &[1000]));
    push(&mut server, 1000, FullPolicy::DropOldest).expect("there is room");
    push(&mut server, 2000, FullPolicy::DropOldest).expect("there is room");
    push(&mut server, len, FullPolicy::Close).expect("one makes room");
    assert_eq!((server.queued(), server.push_losses()), (MAX, dropped(1)));
    assert_eq!(sent(&mut server), [2000, len]);
}

#[test]
fn behind_one_that_must_arrive_as_many_are_dropped() {
    let (mut server, len) = (connected(), fitting(&[500, 1000, 2000], &[1000]));
    for (len, policy) in [(500, FullPolicy::Close), (1000, FullPolicy::DropOldest), (2000, FullPolicy::DropOldest)] {
        push(&mut server, len, policy).expect("there is room");
    }
    push(&mut server, len, FullPolicy::Close).expect("one makes room");
    assert_eq!((server.queued(), server.push_losses()), (MAX, dropped(1)));
    assert_eq!(sent(&mut server), [500, 2000, len]);
}

#[test]
fn all_are_dropped_if_that_is_just_enough_and_none_if_it_is_not() {
    let len = fitting(&[500, 1000], &[1000]);
    for excess in [0, 1] {
        let mut server = connected();
        push(&mut server, 500, FullPolicy::Close).expect("there is room");
        push(&mut server, 1000, FullPolicy::DropOldest).expect("there is room");
        let queued = server.queued();
        let pushed = push(&mut server, len + excess, FullPolicy::Close);
        if excess == 0 {
            assert_eq!((pushed, server.push_losses()), (Ok(()), dropped(1)));
            assert_eq!(sent(&mut server), [500, len]);
        } else {
            assert_eq!((pushed, server.push_losses()), (Err(SendError::QueueFull(queued)), dropped(0)));
            assert!(server.is_closed());
        }
    }
}
