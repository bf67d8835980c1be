use bytes::Bytes;
use cereus_core::{
    ClientConfig, ClientEvent, CloseReason, FullPolicy, InflateError, Message, MessageId, ProtocolError, Route,
    SendError, ServerConfig, ServerEvent,
    message::MessageError,
    packet::{MAX_BODY_LEN, PacketError, PacketType},
};
use cereus_sim::Pair;

use super::support::{
    H, MINUTE, ROUTE, SECOND, build, connected, data, mute, packet, raw_connected, send, server_events,
};

/// A client behind a link that stands still, and a server whose pushes fill the queue.
fn slow_reader(policy: FullPolicy) -> Pair {
    let config = build(ServerConfig::builder().max_queued_bytes(10_000).full_policy(policy));
    let mut pair = connected(mute(0).server(config));
    pair.downlink.stall(None);
    // Fills the link, so that from here on pushes stay in the queue.
    while pair.downlink.has_room() {
        pair.server.push(&ROUTE, vec![b'x'; 9000]).expect("there is room");
        pair.run_idle();
    }
    pair
}

/// What the client is told once the link moves again, but for what filled it.
fn pushes_after_the_stall(pair: &mut Pair) -> Vec<(Route, Bytes)> {
    pair.downlink.resume();
    pair.run_idle();
    let push = |event: &ClientEvent| match event {
        ClientEvent::Push { route, body } if body.len() != 9000 => Some((route.clone(), body.clone())),
        _ => None,
    };
    pair.client_events.iter().filter_map(|(_, event)| push(event)).collect()
}

fn numbered(number: u16) -> Vec<u8> {
    let mut body = vec![b'.'; 1000];
    body[..2].copy_from_slice(&number.to_be_bytes());
    body
}

#[test]
fn slow_reader_is_closed_by_default() {
    let mut pair = slow_reader(FullPolicy::default());
    let refused = (0..100).find_map(|number| pair.server.push(&ROUTE, numbered(number)).err());
    assert!(matches!(refused, Some(SendError::QueueFull(bytes)) if bytes > 8000 && bytes <= 10_000), "{refused:?}");
    assert!(pair.server.is_closed());
    pair.run_idle();
    assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&CloseReason::SlowPeer));
    assert_eq!(pair.server.buffered(), 0);
}

#[test]
fn slow_reader_may_miss_the_oldest_pushes() {
    let mut pair = slow_reader(FullPolicy::DropOldest);
    for number in 0..100 {
        pair.server.push(&ROUTE, numbered(number)).expect("the oldest makes room");
        assert!(pair.server.queued() <= 10_000);
    }
    let bodies: Vec<_> = pushes_after_the_stall(&mut pair).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, (92..100).map(numbered).collect::<Vec<_>>());
    assert!(!pair.server.is_closed() && !pair.client.is_closed());
}

#[test]
fn slow_reader_may_get_the_latest_push_of_every_route() {
    let mut pair = slow_reader(FullPolicy::KeepLatest);
    let routes = ["position", "score"].map(Route::from_static);
    for number in 0..100 {
        pair.server.push(&routes[usize::from(number % 2)], numbered(number)).expect("the last one makes room");
        assert!(pair.server.queued() <= 3000);
    }
    let expected = [(routes[0].clone(), Bytes::from(numbered(98))), (routes[1].clone(), numbered(99).into())];
    assert_eq!(pushes_after_the_stall(&mut pair), expected);
}

#[test]
fn answers_are_never_dropped_for_pushes() {
    let mut pair = slow_reader(FullPolicy::DropOldest);
    let ids: Vec<_> = (0..5).map(|_| pair.client.request(&ROUTE, "x").expect("connected")).collect();
    pair.run_idle();
    for (number, id) in ids.iter().enumerate() {
        pair.server.respond(*id, vec![b'a'; 3000]).expect("answers need no room");
        for more in 0..20 {
            pair.server.push(&ROUTE, numbered(number as u16 * 20 + more)).expect("the oldest makes room");
        }
    }
    assert!(!pair.server.has_room());
    assert_eq!(pushes_after_the_stall(&mut pair).len(), 8);
    assert_eq!(pair.client.pending_requests(), 0);
}

#[test]
fn tiny_pushes_count_for_the_memory_that_they_take() {
    let mut pair = slow_reader(FullPolicy::Close);
    let taken = (0..10_000).take_while(|_| pair.server.push(&ROUTE, "x").is_ok()).count();
    assert!((50..100).contains(&taken), "{taken} pushes of one byte were taken");
}

#[test]
fn push_larger_than_the_queue_passes_alone() {
    for policy in [FullPolicy::Close, FullPolicy::DropOldest, FullPolicy::KeepLatest] {
        let config = build(ServerConfig::builder().max_queued_bytes(100).full_policy(policy));
        let mut pair = connected(mute(0).server(config));
        pair.server.push(&ROUTE, vec![b'x'; 5000]).expect("it is alone");
        pair.run_idle();
        assert!(pair.client_saw(|event| matches!(event, ClientEvent::Push { body, .. } if body.len() == 5000)));
    }
}

#[test]
fn handlers_start_only_while_there_is_room() {
    let config = build(ServerConfig::builder().max_queued_bytes(1000).max_waiting_input(200));
    let client = ClientConfig::builder().max_pending_requests(5000).build().expect("valid");
    let mut pair = connected(Pair::builder(0).server(config).client(client));
    pair.downlink.stall(None);
    // The client asks and never reads. What it gets back is larger than the link and the queue together.
    let mut asked = 0;
    for _ in 0..2000 {
        asked += usize::from(pair.client.request(&ROUTE, vec![b'x'; 900]).is_ok());
        pair.run_idle();
    }
    assert!(pair.server.queued() < 2000 && pair.server.buffered() < 4000, "{}", pair.server.buffered());
    assert!(!pair.server.wants_input() && !pair.server.has_room());
    assert!(pair.uplink.in_flight() >= 64 << 10, "the client feels nothing");
    pair.downlink.resume();
    pair.run_idle();
    let answers = pair.client_events.iter().filter(|(_, event)| matches!(event, ClientEvent::Response { .. }));
    assert_eq!((answers.count(), pair.client.pending_requests()), (asked, 0));
}

#[test]
fn requests_in_flight_are_bounded() {
    let config = build(ServerConfig::builder().max_pending_requests(3).max_waiting_input(64));
    let mut pair = raw_connected(config);
    for id in 1..200 {
        pair.uplink.send(&data(&Message::request(MessageId::new(id), ROUTE, "x")), pair.now());
    }
    for id in 1..200 {
        pair.run_idle();
        assert!(pair.server.pending_requests() <= 3);
        pair.server.respond(MessageId::new(id), "x").expect("it waits");
    }
    assert_eq!(pair.server_events.len(), 2 + 199);
}

#[test]
fn announcing_a_packet_takes_no_memory() {
    let mut pair = raw_connected(ServerConfig::default());
    send(&mut pair, &[4, 0xff, 0xff, 0xff, b'x']);
    assert_eq!((pair.server.buffered(), pair.server.wants_input()), (5, true));
    assert!(format!("{:?}", pair.server).len() < 4000, "something large is held");
}

#[test]
fn longest_packet_passes() {
    let mut pair = raw_connected(build(ServerConfig::builder().max_waiting_input(1)));
    let body = vec![b'x'; MAX_BODY_LEN - 5];
    send(&mut pair, &data(&Message::notify(Route::from_static("a.b"), body)));
    let Some(ServerEvent::Notify { body, .. }) = server_events(&pair).pop() else {
        panic!("the notify is not told");
    };
    assert_eq!((body.len(), pair.server.is_closed()), (MAX_BODY_LEN - 5, false));
}

#[test]
fn packet_over_the_limit_ends_the_connection_with_its_header() {
    let mut pair = raw_connected(build(ServerConfig::builder().max_packet_size(1000)));
    send(&mut pair, &[4, 0, 3, 0xe8]);
    assert!(!pair.server.is_closed());
    let mut pair = raw_connected(build(ServerConfig::builder().max_packet_size(1000)));
    send(&mut pair, &[4, 0, 3, 0xe9]);
    let error = PacketError::TooLarge { len: 1001, max: 1000 };
    let expected = CloseReason::Protocol(ProtocolError::Packet(error));
    assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&expected));
}

#[test]
fn packets_before_a_bad_one_are_told_first() {
    let mut pair = raw_connected(ServerConfig::default());
    let notify = data(&Message::notify(ROUTE, "x"));
    send(&mut pair, &[&notify, &notify, &b"\0junk"[..]].concat());
    let events = server_events(&pair);
    assert_eq!(events.len(), 5, "{events:?}");
    assert!(matches!(events[4], ServerEvent::Closed(CloseReason::Protocol(_))));
}

#[test]
fn what_follows_a_bad_packet_is_not_kept_while_nobody_polls() {
    let mut pair = raw_connected(ServerConfig::default());
    pair.pause_server(true);
    for _ in 0..100 {
        send(&mut pair, &[0; 10_000]);
    }
    assert!(pair.server.buffered() < 100, "{} bytes are held", pair.server.buffered());
}

#[test]
fn inflate_bomb_is_refused() {
    let bomb = |len: usize| {
        let body = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; len], 9);
        packet(PacketType::Data, &[b"\x12\x03a.b", &body[..]].concat())
    };
    let mut pair = raw_connected(build(ServerConfig::builder().max_inflated_size(1 << 20)));
    send(&mut pair, &bomb(1 << 20));
    let Some(ServerEvent::Notify { body, .. }) = server_events(&pair).pop() else {
        panic!("as much as is allowed is refused");
    };
    assert_eq!(body.len(), 1 << 20);
    send(&mut pair, &bomb((1 << 20) + 1));
    let error = MessageError::Inflate(InflateError::TooLarge(1 << 20));
    let expected = CloseReason::Protocol(ProtocolError::Message(error));
    assert_eq!(pair.server_closed().map(|(_, reason)| reason), Some(&expected));
}

/// A body shares the memory that it was received into, until the connection lets go of it.
#[test]
fn idle_connection_gives_its_buffer_back_at_the_heartbeat() {
    let mut pair = raw_connected(ServerConfig::default());
    send(&mut pair, &data(&Message::notify(ROUTE, vec![b'x'; 30_000])));
    let Some((_, ServerEvent::Notify { route, body })) = pair.server_events.pop() else {
        panic!("the notify is not told");
    };
    drop(route);
    assert!(!body.is_unique(), "a busy connection keeps its buffer");
    pair.advance(H - SECOND * 2);
    assert!(!body.is_unique());
    pair.advance(SECOND * 2);
    assert!(body.is_unique(), "an idle connection holds memory");
}

#[test]
fn half_a_packet_survives_the_heartbeat() {
    let mut pair = raw_connected(ServerConfig::default());
    let notify = data(&Message::notify(ROUTE, "in two halves"));
    send(&mut pair, &notify[..9]);
    pair.advance(MINUTE);
    send(&mut pair, &notify[9..]);
    let expected = ServerEvent::Notify { route: ROUTE, body: "in two halves".into() };
    assert_eq!(server_events(&pair).last(), Some(&expected));
}
