//! What servers say to each other, and how it is on the wire.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cereus_cluster::{Address, Bus, BusEvent, Kind, ReplyTo, ServerInfo, Undelivered};
use cereus_service_tests::Nats as NatsServer;
use futures_util::StreamExt;

use crate::peer::{Peer, call, message, raw, reply, user, within};

/// A frontend and a backend say to each other all that servers say.
async fn conversation(server: &NatsServer) {
    let (mut gate, mut room) = (Peer::start(server, "gate", "g1").await, Peer::start(server, "room", "r1").await);
    gate.call(&room, call(7), "a question").await;
    let BusEvent::Message { kind: Kind::Call, reply: Some(to), payload } = room.next().await else {
        panic!("not a call");
    };
    assert_eq!(payload, "a question");
    room.reply(to, "an answer").await;
    assert_eq!(gate.next().await, reply(7, "an answer"));

    gate.bus.subscribe_user("u1").await.unwrap();
    gate.subscribe("u1").await;
    room.send(user("u1"), Kind::Push, None, "a push").await;
    assert_eq!(gate.next().await, message(Kind::Push, "a push"));
    room.send(user("u1"), Kind::Kick, Some(call(8)), "a kick").await;
    let BusEvent::Message { kind: Kind::Kick, reply: Some(to), payload } = gate.next().await else {
        panic!("not a kick");
    };
    assert_eq!(payload, "a kick");
    gate.reply(to, "kicked").await;
    assert_eq!(room.next().await, reply(8, "kicked"));
    room.send(Address::Type("gate".into()), Kind::Bind, None, "a bind").await;
    assert_eq!(gate.next().await, message(Kind::Bind, "a bind"));

    gate.bus.unsubscribe_user("u1").await;
    gate.bus.unsubscribe_user("u1").await;
    // An answer tells that the unsubscription has come to the server.
    gate.call(&room, call(9), "").await;
    room.echo().await;
    assert_eq!(gate.next().await, reply(9, ""));
    room.send(user("u1"), Kind::Push, Some(call(10)), "nobody hears it").await;
    assert_eq!(room.next().await, BusEvent::Reply { call: call(10), result: Err(Undelivered::NoResponders) });
    let Peer { info, bus, events } = gate;
    drop(events);
    within(bus.stop()).await;
    room.send(Address::Server(info), Kind::Call, Some(call(11)), "is anybody there?").await;
    assert_eq!(room.next().await, BusEvent::Reply { call: call(11), result: Err(Undelivered::NoResponders) });
}

#[tokio::test]
async fn servers_talk() {
    conversation(&NatsServer::start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_talk_on_several_threads() {
    conversation(&NatsServer::start()).await;
}

#[test]
fn servers_talk_under_another_runtime() {
    let server = NatsServer::start();
    assert!(tokio::runtime::Handle::try_current().is_err());
    smol::block_on(smol::Executor::new().run(conversation(&server)));
}

#[tokio::test]
async fn what_is_sent_is_on_the_wire_as_pitaya_has_it() {
    let server = NatsServer::start();
    let (gate, client) = (Peer::start(&server, "gate", "g1").await, raw(&server).await);
    let mut all = client.subscribe(">").await.unwrap();
    // What another client sends is behind the subscription once its answer is there.
    client.flush().await.unwrap();
    let echo = client.new_inbox();
    client.publish(echo.clone(), Bytes::new()).await.unwrap();
    while within(all.next()).await.unwrap().subject.as_str() != echo {}

    let info = Arc::new(ServerInfo::new("room", "r1"));
    gate.send(Address::Server(info), Kind::Call, Some(call(0x1f)), "1").await;
    gate.send(user("u.1"), Kind::Push, None, "2").await;
    gate.send(user("u.1"), Kind::Kick, None, "3").await;
    gate.send(user("u.1"), Kind::Kick, Some(call(0x20)), "4").await;
    gate.send(Address::Type("room".into()), Kind::Bind, None, "5").await;
    gate.send(Address::Reply(ReplyTo::new("_INBOX.x.y")), Kind::Reply, None, "6").await;

    let mut sent = Vec::new();
    while sent.len() < 6 {
        let message = within(all.next()).await.unwrap();
        if message.status.is_none() {
            sent.push((message.subject.to_string(), message.reply.map(|reply| reply.to_string()), message.payload));
        }
    }
    let reply_of = |index: usize| sent[index].1.clone().unwrap();
    assert!(reply_of(0).starts_with("_INBOX.") && reply_of(0).ends_with(".1f"), "{}", reply_of(0));
    assert!(reply_of(3).ends_with(".20") && reply_of(3).trim_end_matches("20") == reply_of(0).trim_end_matches("1f"));
    let subjects: Vec<_> = sent.iter().map(|(subject, _, payload)| (subject.as_str(), &payload[..])).collect();
    let expected: [(&str, &[u8]); 6] = [
        ("pitaya/servers/room/r1", b"1"),
        ("pitaya/gate/user/u.1/push", b"2"),
        ("pitaya/gate/user/u.1/kick", b"3"),
        ("pitaya/gate/user/u.1/kick", b"4"),
        ("pitaya/room/bindings", b"5"),
        ("_INBOX.x.y", b"6"),
    ];
    assert_eq!(subjects, expected);
    assert!([1, 2, 4, 5].iter().all(|index| sent[*index].1.is_none()));
}

#[tokio::test]
async fn what_others_send_is_taken_in() {
    let server = NatsServer::start();
    let (mut gate, client) = (Peer::start(&server, "gate", "g1").await, raw(&server).await);
    gate.subscribe("u1").await;

    let asked = client.clone();
    let answer = tokio::spawn(async move { asked.request("pitaya/servers/gate/g1", "a question".into()).await });
    gate.echo().await;
    assert_eq!(within(answer).await.unwrap().unwrap().payload, "a question");

    client.publish("pitaya/gate/bindings", "a bind".into()).await.unwrap();
    assert_eq!(gate.next().await, message(Kind::Bind, "a bind"));
    client.publish("pitaya/gate/user/u1/push", "a push".into()).await.unwrap();
    assert_eq!(gate.next().await, message(Kind::Push, "a push"));
    client.publish_with_reply("pitaya/gate/user/u1/kick", "somewhere", "a kick".into()).await.unwrap();
    let kick = BusEvent::Message { kind: Kind::Kick, reply: Some(ReplyTo::new("somewhere")), payload: "a kick".into() };
    assert_eq!(gate.next().await, kick);
    // Not for it.
    client.publish("pitaya/gate/user/u2/push", "a push".into()).await.unwrap();
    client.publish("pitaya/servers/gate/g2", "a question".into()).await.unwrap();
    client.publish("pitaya/room/bindings", "a bind".into()).await.unwrap();
    client.publish("pitaya/gate/bindings", "the end".into()).await.unwrap();
    assert_eq!(gate.next().await, message(Kind::Bind, "the end"));
}

#[tokio::test]
async fn answers_to_nothing_are_left_out() {
    let server = NatsServer::start();
    let (mut gate, mut room) = (Peer::start(&server, "gate", "g1").await, Peer::start(&server, "room", "r1").await);
    gate.call(&room, call(0xabc), "").await;
    let BusEvent::Message { reply: Some(to), .. } = room.next().await else { panic!("not a call") };
    let inbox = to.as_str().strip_suffix("abc").unwrap();
    for wrong in ["ready", "-1", "11111111111111111"] {
        room.reply(ReplyTo::new(format!("{inbox}{wrong}")), "to nobody").await;
    }
    room.reply(ReplyTo::new(format!("{inbox}5")), "to a call that there is not").await;
    room.reply(to, "an answer").await;
    assert_eq!(gate.next().await, reply(5, "to a call that there is not"));
    assert_eq!(gate.next().await, reply(0xabc, "an answer"));
}

#[tokio::test]
async fn a_call_to_nobody_fails_at_once() {
    let server = NatsServer::start();
    let mut gate = Peer::start(&server, "gate", "g1").await;
    let begin = Instant::now();
    gate.send(Address::Server(Arc::new(ServerInfo::new("room", "r1"))), Kind::Call, Some(call(3)), "").await;
    assert_eq!(gate.next().await, BusEvent::Reply { call: call(3), result: Err(Undelivered::NoResponders) });
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_users_are_reached() {
    const USERS: usize = 10_000;
    let server = NatsServer::start();
    let (mut gate, room) = (Peer::start(&server, "gate", "g1").await, Peer::start(&server, "room", "r1").await);
    for number in 0..USERS {
        gate.bus.subscribe_user(&number.to_string()).await.unwrap();
    }
    for number in (0..USERS).step_by(2) {
        gate.bus.unsubscribe_user(&number.to_string()).await;
    }
    gate.send(user("1"), Kind::Push, None, "1").await;
    assert_eq!(gate.next().await, message(Kind::Push, "1"));
    for number in 0..USERS {
        room.send(user(&number.to_string()), Kind::Push, None, number.to_string()).await;
    }
    let mut missing: BTreeSet<_> = (1..USERS).step_by(2).collect();
    while !missing.is_empty() {
        match gate.next().await {
            BusEvent::Message { kind: Kind::Push, payload, .. } => {
                assert!(missing.remove(&str::from_utf8(&payload).unwrap().parse().unwrap()));
            }
            event => panic!("unexpected: {event:?}"),
        }
    }
}
