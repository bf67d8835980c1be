use bytes::Bytes;
use cereus_core::{
    ClientEvent, Compression, EncodedPush, Message, MessageId, Route, SendError, ServerConfig, ServerEvent,
    packet::PacketType,
};
use cereus_sim::{Pair, seeds};

use super::support::{
    CODED, ROUTE, browser, build, coded, connected, data, mute, native, packet, raw_connected, send, sent,
    server_events,
};

const COMPRESSED: u8 = 0x10;
const ROUTE_IS_CODE: u8 = 0x01;

#[test]
fn everything_arrives_in_order_over_any_link() {
    seeds(60, |seed| {
        let mut pair = connected(Pair::builder(seed).server(build(coded())).random_links());
        let mut ids = Vec::new();
        for number in 0..30 {
            ids.push(pair.client.request(&ROUTE, format!("request {number}")).expect("connected"));
            pair.client.notify(&CODED, format!("notify {number}")).expect("connected");
            pair.server.push(&CODED, format!("push {number}")).expect("connected");
        }
        pair.run_until(|pair| pair.client.pending_requests() == 0);
        pair.run_idle();
        let told = server_events(&pair).split_off(2);
        let expected: Vec<_> = (0..30)
            .flat_map(|number| {
                let body = format!("request {number}").into();
                let request = ServerEvent::Request { id: ids[number], route: ROUTE, body };
                [request, ServerEvent::Notify { route: CODED, body: format!("notify {number}").into() }]
            })
            .collect();
        assert_eq!(told, expected);

        let pushes: Vec<_> = pair.client_events.iter().filter_map(|(_, event)| push_of(event)).collect();
        let expected: Vec<_> = (0..30).map(|number| (CODED, Bytes::from(format!("push {number}")))).collect();
        assert_eq!(pushes, expected);
        for (number, id) in ids.into_iter().enumerate() {
            let answer = ClientEvent::Response { id, body: format!("request {number}").into() };
            assert!(pair.client_saw(|event| *event == answer));
        }
    });
}

#[test]
fn errors_are_answers_too() {
    let mut pair = connected(mute(0));
    let id = pair.client.request(&ROUTE, "x").expect("connected");
    pair.run_idle();
    assert_eq!(pair.server.respond_error(id, ""), Err(SendError::EmptyError));
    pair.server.respond_error(id, r#"{"code":"PIT-404"}"#).expect("it waits");
    pair.run_idle();
    let error = ClientEvent::Error { id, body: r#"{"code":"PIT-404"}"#.into() };
    assert!(pair.client_saw(|event| *event == error));
}

#[test]
fn second_answer_is_refused() {
    let mut pair = connected(mute(0));
    let id = pair.client.request(&ROUTE, "x").expect("connected");
    assert_eq!(pair.server.respond(id, "early"), Err(SendError::NotPending(id)));
    pair.run_idle();
    assert_eq!(pair.server.respond(id, "first"), Ok(()));
    assert_eq!(pair.server.respond(id, "second"), Err(SendError::NotPending(id)));
    assert_eq!(pair.server.respond_error(id, "third"), Err(SendError::NotPending(id)));
    pair.run_idle();
    assert_eq!(sent(&pair, PacketType::Data), ["\x04\x01first"]);
}

#[test]
fn request_without_an_id_runs_and_cannot_be_answered() {
    let mut pair = raw_connected(ServerConfig::default());
    send(&mut pair, &data(&Message::request(MessageId::NONE, ROUTE, "x")));
    let expected = ServerEvent::Request { id: MessageId::NONE, route: ROUTE, body: "x".into() };
    assert_eq!(server_events(&pair).last(), Some(&expected));
    assert_eq!(pair.server.respond(MessageId::NONE, "x"), Err(SendError::NotPending(MessageId::NONE)));
    assert_eq!((pair.server.pending_requests(), pair.server.is_closed()), (0, false));
}

#[test]
fn two_requests_with_one_id_get_two_answers() {
    let mut pair = raw_connected(ServerConfig::default());
    let id = MessageId::new(u64::MAX);
    for _ in 0..2 {
        send(&mut pair, &data(&Message::request(id, ROUTE, "x")));
    }
    assert_eq!(pair.server.pending_requests(), 2);
    assert_eq!(pair.server.respond(id, "one"), Ok(()));
    assert_eq!(pair.server.respond(id, "two"), Ok(()));
    assert_eq!(pair.server.respond(id, "three"), Err(SendError::NotPending(id)));
    pair.run_idle();
    let head = b"\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert_eq!(sent(&pair, PacketType::Data), [[&head[..], b"one"].concat(), [&head[..], b"two"].concat()]);
}

#[test]
fn handler_pushes_into_its_own_session_before_it_answers() {
    seeds(30, |seed| {
        let push_and_answer = Pair::builder(seed).random_links().on_server(|event, server, now| match event {
            ServerEvent::Handshake(_) => server.accept(now),
            ServerEvent::Request { id, .. } => {
                for number in 0..5 {
                    server.push(&CODED, number.to_string()).expect("connected");
                }
                server.respond(*id, "done").expect("it waits");
            }
            _ => {}
        });
        let mut pair = connected(push_and_answer);
        pair.client.request(&ROUTE, "x").expect("connected");
        pair.run_until(|pair| pair.client.pending_requests() == 0);
        let pushes = pair.client_events.iter().filter(|(_, event)| push_of(event).is_some()).count();
        assert_eq!(pushes, 5, "pushes of before the answer come before it");
    });
}

#[test]
fn answer_passes_a_queue_that_is_full_of_pushes() {
    let config = build(ServerConfig::builder().max_queued_bytes(500).full_policy(cereus_core::FullPolicy::DropOldest));
    let mut pair = connected(mute(0).server(config));
    let id = pair.client.request(&ROUTE, "x").expect("connected");
    pair.run_idle();
    for _ in 0..20 {
        pair.server.push(&CODED, vec![b'x'; 100]).expect("the oldest makes room");
    }
    pair.server.respond(id, vec![b'y'; 1000]).expect("answers need no room");
    pair.server.push(&CODED, vec![b'x'; 100]).expect("the oldest makes room");
    pair.run_idle();
    assert_eq!(pair.client.pending_requests(), 0);
}

#[test]
fn routes_of_pushes_are_text_for_native_clients_and_codes_for_browsers() {
    for (client, is_native) in [(native(), true), (browser(), false)] {
        for encoded in [false, true] {
            let mut pair = connected(mute(0).server(build(coded())).client(client.clone()));
            let mut push = |body: &'static str| match encoded {
                false => pair.server.push(&CODED, body),
                true => pair.server.push_encoded(EncodedPush::new(pair.server.config(), &CODED, body)?),
            };
            assert_eq!(push("hi"), Ok(()));
            assert_eq!(push(""), if is_native { Err(SendError::EmptyPush) } else { Ok(()) });
            pair.run_idle();
            let expected: &[&[u8]] = match is_native {
                true => &[b"\x06\x09onMessagehi"],
                false => &[b"\x07\x01\x02hi", b"\x07\x01\x02"],
            };
            assert_eq!(sent(&pair, PacketType::Data), expected);
            assert!(pair.client_saw(|event| push_of(event) == Some((CODED, "hi".into()))));
        }
    }
}

#[test]
fn codes_are_understood_from_every_client() {
    let mut pair = connected(mute(0).server(build(coded())).client(native()));
    pair.client.notify(&CODED, "hi").expect("connected");
    pair.run_idle();
    assert_eq!(pair.client_sent.last().map(|(_, packet)| packet.body[0] & ROUTE_IS_CODE), Some(ROUTE_IS_CODE));
    assert_eq!(server_events(&pair).last(), Some(&ServerEvent::Notify { route: CODED, body: "hi".into() }));
}

#[test]
fn bodies_are_compressed_for_those_who_inflate() {
    use Compression::{Auto, Off, On};
    let long = Bytes::from(vec![b'x'; 1000]);
    let short = Bytes::from(vec![b'x'; 100]);
    for (compression, client, compresses_long, compresses_short) in [
        (Auto, native(), true, false),
        (Auto, browser(), false, false),
        (On, native(), true, true),
        (On, browser(), true, true),
        (Off, native(), false, false),
        (Off, browser(), false, false),
    ] {
        for (body, compresses) in [(&long, compresses_long), (&short, compresses_short)] {
            let config = build(ServerConfig::builder().compression(compression));
            let mut pair = connected(mute(0).server(config).client(client.clone()));
            let id = pair.client.request(&ROUTE, "x").expect("connected");
            pair.run_idle();
            pair.server.respond(id, body.clone()).expect("it waits");
            pair.server.push(&CODED, body.clone()).expect("connected");
            let push = EncodedPush::new(pair.server.config(), &CODED, body.clone()).expect("it is short");
            pair.server.push_encoded(push).expect("connected");
            pair.run_idle();
            for packet in sent(&pair, PacketType::Data) {
                assert_eq!(packet[0] & COMPRESSED != 0, compresses, "{compression:?}: {} bytes", body.len());
            }
            let events: Vec<_> = pair.client_events[1..].iter().map(|(_, event)| event.clone()).collect();
            let push = ClientEvent::Push { route: CODED, body: body.clone() };
            assert_eq!(events, [ClientEvent::Response { id, body: body.clone() }, push.clone(), push]);
        }
    }
}

#[test]
fn what_would_not_become_shorter_is_sent_as_it_is() {
    let config = build(ServerConfig::builder().compression(Compression::On));
    let mut pair = connected(mute(0).server(config).client(native()));
    for body in ["x", "short text"] {
        pair.server.push(&ROUTE, body).expect("connected");
    }
    pair.run_idle();
    assert!(sent(&pair, PacketType::Data).iter().all(|packet| packet[0] & COMPRESSED == 0));
}

#[test]
fn compressed_bodies_of_clients_are_always_inflated() {
    let body = vec![b'x'; 1000];
    let deflated = miniz_oxide::deflate::compress_to_vec_zlib(&body, 6);
    let mut pair = raw_connected(build(ServerConfig::builder().compression(Compression::Off)));
    send(&mut pair, &packet(PacketType::Data, &[b"\x12\x03a.b", &deflated[..]].concat()));
    let expected = ServerEvent::Notify { route: Route::from_static("a.b"), body: body.into() };
    assert_eq!(server_events(&pair).last(), Some(&expected));
}

#[test]
fn encoded_push_of_another_config_is_refused() {
    let mut pair = connected(mute(0).server(build(coded())));
    for other in [build(coded()), ServerConfig::default()] {
        let push = EncodedPush::new(&other, &CODED, "hi").expect("it is short");
        assert_eq!(pair.server.push_encoded(push), Err(SendError::OtherConfig));
    }
    let own = ServerConfig::clone(pair.server.config());
    let push = EncodedPush::new(&own, &CODED, "hi").expect("it is short");
    assert_eq!(pair.server.push_encoded(push), Ok(()));
}

#[test]
fn what_is_too_long_is_refused_and_harms_nobody() {
    let mut pair = connected(mute(0));
    let long = Route::from("x".repeat(256));
    assert_eq!(pair.server.push(&long, "x"), Err(SendError::RouteTooLong(256)));
    assert_eq!(pair.client.notify(&long, "x"), Err(SendError::RouteTooLong(256)));
    let huge = Bytes::from(vec![0; 1 << 24]);
    assert!(matches!(pair.server.push(&ROUTE, huge.clone()), Err(SendError::TooLarge(_))));
    assert!(matches!(pair.client.request(&ROUTE, huge.clone()), Err(SendError::TooLarge(_))));
    let id = pair.client.request(&ROUTE, "x").expect("connected");
    pair.run_idle();
    assert!(matches!(pair.server.respond(id, huge), Err(SendError::TooLarge(_))));
    pair.server.respond_error(id, "too large").expect("it still waits");
    pair.run_idle();
    assert_eq!(pair.client.pending_requests(), 0);
    assert!(!pair.server.is_closed() && !pair.client.is_closed());
}

#[test]
fn messages_that_no_client_sends_are_ignored() {
    let mut pair = raw_connected(ServerConfig::default());
    send(&mut pair, &data(&Message::push(ROUTE, "x")));
    send(&mut pair, &data(&Message::response(MessageId::new(1), "x")));
    send(&mut pair, &packet(PacketType::Kick, b""));
    assert_eq!((pair.server_events.len(), pair.server.is_closed()), (2, false));
}

fn push_of(event: &ClientEvent) -> Option<(Route, Bytes)> {
    match event {
        ClientEvent::Push { route, body } => Some((route.clone(), body.clone())),
        _ => None,
    }
}

/// Some clients write ids with more bytes than they need, and know only the same bytes again.
#[test]
fn id_is_echoed_byte_for_byte() {
    for id in [&[0x81, 0x00][..], &[0x80, 0x80, 0x01], &[0xac, 0x82, 0x80, 0x00]] {
        let mut pair = raw_connected(ServerConfig::default());
        send(&mut pair, &packet(PacketType::Data, &[&[0][..], id, b"\x03a.b"].concat()));
        let Some((_, ServerEvent::Request { id: given, .. })) = pair.server_events.last() else {
            panic!("no request: {pair:#?}")
        };
        pair.server.respond(*given, "x").expect("it waits");
        pair.run_idle();
        assert_eq!(sent(&pair, PacketType::Data), [[&[4][..], id, b"x"].concat()]);
    }
}
