//! What comes before what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cereus_cluster::{Address, Bus, BusEvent, Kind, Nats, ReplyTo, ServerInfo, Transmit};
use cereus_service_tests::Nats as NatsServer;

use crate::peer::{Peer, call, send, user, within};

/// What a backend sends to a frontend, which has one call of it open for each answer.
fn many_turns() -> Vec<Kind> {
    let mut sent = Vec::new();
    for turn in 0..TURNS {
        sent.extend((0..(turn * 7) % 300).map(|push| if push % 10 == 9 { Kind::Kick } else { Kind::Push }));
        sent.extend((turn % 5 == 0).then_some(Kind::Bind));
        sent.extend((turn % 3 == 0).then_some(Kind::Call));
        sent.push(Kind::Reply);
    }
    sent
}

const TURNS: usize = 300;
const USERS: usize = 40;

async fn send_in_turns(room: &Nats, gate: &ServerInfo, replies: Vec<ReplyTo>) {
    let mut replies = replies.into_iter();
    for (number, kind) in many_turns().into_iter().enumerate() {
        let (to, call) = match kind {
            Kind::Call => (Address::Server(Arc::new(gate.clone())), Some(call(0))),
            Kind::Reply => (Address::Reply(replies.next().unwrap()), None),
            Kind::Bind => (Address::Type(gate.server_type.as_str().into()), None),
            _ => (user(&format!("u{}", number % USERS)), None),
        };
        send(room, Transmit { to, kind, call, payload: number.to_string().into() }).await;
    }
}

/// What comes out before something that was sent later.
const fn kept_before(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Reply => &[Kind::Push, Kind::Kick, Kind::Bind, Kind::Call, Kind::Reply],
        Kind::Call => &[Kind::Push, Kind::Kick, Kind::Bind, Kind::Call],
        _ => &[],
    }
}

async fn nothing_overtakes_what_it_must_not(server: &NatsServer) {
    let (mut gate, mut room) = (Peer::start(server, "gate", "g1").await, Peer::start(server, "room", "r1").await);
    for number in 0..USERS {
        gate.bus.subscribe_user(&format!("u{number}")).await.unwrap();
    }
    let mut replies = Vec::new();
    for number in 0..TURNS {
        gate.call(&room, call(number as u64), "").await;
        let BusEvent::Message { reply: Some(reply), .. } = room.next().await else { panic!("not a call") };
        replies.push(reply);
    }
    let (bus, info) = (Arc::clone(&room.bus), Arc::clone(&gate.info));
    let sender = tokio::spawn(async move { send_in_turns(&bus, &info, replies).await });
    let mut missing = BTreeMap::<Kind, BTreeSet<usize>>::new();
    for (number, kind) in many_turns().into_iter().enumerate() {
        missing.entry(kind).or_default().insert(number);
    }
    while missing.values().any(|numbers| !numbers.is_empty()) {
        let (kind, payload) = match gate.next().await {
            BusEvent::Message { kind, payload, .. } => (kind, payload),
            BusEvent::Reply { result: Ok(payload), .. } => (Kind::Reply, payload),
            event => panic!("unexpected: {event:?}"),
        };
        let number = str::from_utf8(&payload).unwrap().parse().unwrap();
        assert!(missing.get_mut(&kind).unwrap().remove(&number), "{number} came twice");
        for before in kept_before(kind) {
            let first = missing[before].first();
            assert!(
                first.is_none_or(|first| *first > number),
                "{number}, a {kind:?}, came before {first:?}, a {before:?}"
            );
        }
    }
    within(sender).await.unwrap();
}

#[tokio::test]
async fn pushes_come_before_answers_that_were_sent_later() {
    nothing_overtakes_what_it_must_not(&NatsServer::start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn pushes_come_before_answers_that_were_sent_later_on_several_threads() {
    let server = NatsServer::start();
    for _ in 0..3 {
        nothing_overtakes_what_it_must_not(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_kick_comes_after_the_pushes_before_it() {
    const KICKS: usize = 5_000;
    let server = NatsServer::start();
    let (mut gate, room) = (Peer::start(&server, "gate", "g1").await, Peer::start(&server, "room", "r1").await);
    gate.subscribe("u1").await;
    let bus = Arc::clone(&room.bus);
    let sender = tokio::spawn(async move {
        for number in 0..KICKS {
            for kind in [Kind::Push, Kind::Kick] {
                send(&bus, Transmit { to: user("u1"), kind, call: None, payload: number.to_string().into() }).await;
            }
        }
    });
    let (mut pushes, mut kicks) = (0, 0);
    while kicks < KICKS {
        let BusEvent::Message { kind, payload, .. } = gate.next().await else { panic!("not a message") };
        let (count, name) = if kind == Kind::Push { (&mut pushes, "push") } else { (&mut kicks, "kick") };
        assert_eq!(payload, count.to_string(), "{name}");
        *count += 1;
        assert!(kicks <= pushes);
    }
    within(sender).await.unwrap();
}
