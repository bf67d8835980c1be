//! How much a client may send.

use std::time::Duration;

use cereus_core::{Message, MessageId, RateLimit, Route, ServerConfig, ServerEvent, packet::PacketType};
use cereus_sim::Pair;

use super::support::{ROUTE, SECOND, build, data, packet, raw_connected, send, server_events};

fn limited(limit: RateLimit) -> Pair {
    raw_connected(build(ServerConfig::builder().rate_limit(limit)))
}

fn request(id: u64) -> Message {
    Message::request(MessageId::new(id), ROUTE, "x")
}

/// How many of the events of the server were handled, and how many were over the limit.
fn outcomes(pair: &Pair) -> (usize, usize) {
    let events = server_events(pair);
    let count = |which: fn(&ServerEvent) -> bool| events.iter().filter(|event| which(event)).count();
    (
        count(|event| matches!(event, ServerEvent::Request { .. } | ServerEvent::Notify { .. })),
        count(|event| matches!(event, ServerEvent::Limited { .. })),
    )
}

#[test]
fn so_many_packets_pass_in_any_interval() {
    let mut pair = limited(RateLimit::new(5, SECOND));
    // The handshake and its acknowledgement are two of them.
    for id in 1..=10 {
        send(&mut pair, &data(&request(id)));
    }
    assert_eq!(outcomes(&pair), (3, 7));
    assert_eq!(pair.server.limited_packets(), 7);
    pair.advance(SECOND - Duration::from_nanos(1));
    send(&mut pair, &data(&request(11)));
    assert_eq!(outcomes(&pair), (3, 8));
    pair.advance(Duration::from_nanos(1));
    for id in 12..=20 {
        send(&mut pair, &data(&request(id)));
    }
    assert_eq!(outcomes(&pair), (8, 12));
}

/// The interval slides: what came at its end counts in the next one as well.
#[test]
fn no_two_intervals_beside_each_other_let_more_through() {
    let mut pair = limited(RateLimit::new(10, SECOND));
    pair.advance(10 * SECOND);
    let mut passed = Vec::new();
    for _ in 0..400 {
        let before = outcomes(&pair).0;
        send(&mut pair, &data(&Message::notify(ROUTE, "x")));
        if outcomes(&pair).0 > before {
            passed.push(pair.now());
        }
        pair.advance(Duration::from_millis(7));
    }
    assert!(passed.len() > 20);
    assert!(passed.windows(11).all(|window| window[10] - window[0] >= SECOND));
}

#[test]
fn a_limited_request_can_be_answered_once() {
    let mut pair = limited(RateLimit::new(2, SECOND));
    send(&mut pair, &data(&request(7)));
    let limited = ServerEvent::Limited { id: MessageId::new(7), route: ROUTE };
    assert_eq!(server_events(&pair).last(), Some(&limited));
    assert_eq!(pair.server.pending_requests(), 1);
    assert_eq!(pair.server.respond_error(MessageId::new(7), "slow down"), Ok(()));
    assert!(pair.server.respond_error(MessageId::new(7), "slow down").is_err());
    // Nobody waits for an answer to these.
    send(&mut pair, &data(&Message::notify(ROUTE, "x")));
    send(&mut pair, &data(&request(0)));
    let ids: Vec<_> = server_events(&pair)
        .into_iter()
        .filter_map(|event| if let ServerEvent::Limited { id, .. } = event { Some(id) } else { None })
        .collect();
    assert_eq!(ids, [MessageId::new(7), MessageId::NONE, MessageId::NONE]);
    assert_eq!(pair.server.pending_requests(), 0);
}

#[test]
fn limited_messages_may_be_dropped_in_silence() {
    let mut pair = limited(RateLimit::new(3, SECOND).drop_silently(true));
    for id in 1..=5 {
        send(&mut pair, &data(&request(id)));
    }
    assert_eq!(outcomes(&pair), (1, 0));
    assert_eq!((pair.server.limited_packets(), pair.server.pending_requests()), (4, 1));
}

#[test]
fn bytes_are_limited_too_and_one_long_packet_passes_alone() {
    let mut pair = limited(RateLimit::new(100, SECOND).max_bytes(1000));
    pair.advance(SECOND);
    let notify = |len| data(&Message::notify(Route::from_static("a.b"), vec![b'x'; len]));
    send(&mut pair, &notify(5000));
    send(&mut pair, &notify(1));
    assert_eq!(outcomes(&pair), (1, 1));
    pair.advance(SECOND);
    for _ in 0..10 {
        send(&mut pair, &notify(191));
    }
    // Each has 200 bytes with its headers.
    assert_eq!(outcomes(&pair), (1 + 5, 1 + 5));
}

#[test]
fn an_inflated_body_counts_as_what_it_has_become() {
    let mut pair = limited(RateLimit::new(100, SECOND).max_bytes(10_000));
    pair.advance(SECOND);
    let deflated = miniz_oxide::deflate::compress_to_vec_zlib(&[0; 9900], 9);
    let notify = packet(PacketType::Data, &[b"\x12\x03a.b", &deflated[..]].concat());
    assert!(notify.len() < 100);
    send(&mut pair, &notify);
    send(&mut pair, &data(&Message::notify(ROUTE, vec![b'x'; 100])));
    assert_eq!(outcomes(&pair), (1, 1));
    pair.advance(SECOND);
    send(&mut pair, &notify);
    assert_eq!(outcomes(&pair), (2, 1));
}

#[test]
fn a_limited_body_is_not_inflated() {
    let mut pair = limited(RateLimit::new(2, SECOND));
    send(&mut pair, &packet(PacketType::Data, b"\x12\x03a.bthis is not zlib"));
    assert_eq!((outcomes(&pair), pair.server.is_closed()), ((0, 1), false));
    send(&mut pair, &packet(PacketType::Data, b"\x12\xffa.b"));
    assert!(pair.server.is_closed(), "what cannot be read ends the connection all the same");
}

#[test]
fn the_handshake_passes_whatever_the_limit_and_is_not_repeated_beyond_it() {
    let mut pair = limited(RateLimit::new(1, SECOND));
    let handshakes =
        |pair: &Pair| server_events(pair).iter().filter(|event| matches!(event, ServerEvent::Handshake(_))).count();
    for _ in 0..10 {
        send(&mut pair, &packet(PacketType::Handshake, b"{}"));
    }
    assert_eq!((handshakes(&pair), pair.server.is_connected()), (1, true));
    pair.advance(SECOND);
    send(&mut pair, &packet(PacketType::Handshake, b"{}"));
    assert_eq!(handshakes(&pair), 2);
}

#[test]
fn a_limit_that_lets_nothing_through_is_refused() {
    let limits = [RateLimit::new(0, SECOND), RateLimit::new(1, Duration::ZERO), RateLimit::new(1, SECOND).max_bytes(0)];
    for limit in limits {
        let error = ServerConfig::builder().rate_limit(limit).build().expect_err("nothing would pass").to_string();
        assert_eq!(error, "`rate_limit` is zero: nothing would ever pass");
    }
}
