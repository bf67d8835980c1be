//! The bus over NATS, with a real nats-server.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    future::{Future, poll_fn},
    path::PathBuf,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cereus_cluster::{
    Address, Bus, BusEvent, BusEvents, CallId, Kind, Nats, ReplyTo, ServerInfo, Transmit, Undelivered,
};
use cereus_service_tests::{Nats as NatsServer, free_port};
use futures_util::StreamExt;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long anything may take that should happen.
const PATIENCE: Duration = Duration::from_secs(20);
const UP: BusEvent = BusEvent::Up { max_payload: 1 << 20 };

/// A server of the cluster, as far as its bus goes.
struct Peer {
    info: Arc<ServerInfo>,
    bus: Arc<Nats>,
    events: Box<dyn BusEvents>,
}

impl Peer {
    async fn start(server: &NatsServer, server_type: &str, id: &str) -> Self {
        let mut peer = Self::start_with(Nats::new(server.url()), server_type, id).await;
        assert_eq!(peer.next().await, UP);
        peer
    }

    async fn start_with(bus: Nats, server_type: &str, id: &str) -> Self {
        let info = Arc::new(ServerInfo::new(server_type, id));
        let events = within(bus.start(Arc::clone(&info))).await.unwrap();
        Self { info, bus: Arc::new(bus), events }
    }

    async fn next(&mut self) -> BusEvent {
        self.next_or_end().await.expect("the bus has not ended")
    }

    async fn next_or_end(&mut self) -> Option<BusEvent> {
        within(poll_fn(|cx| self.events.poll_next(cx))).await
    }

    async fn send(&self, to: Address, kind: Kind, call: Option<CallId>, payload: impl Into<Bytes>) {
        send(&self.bus, Transmit { to, kind, call, payload: payload.into() }).await;
    }

    /// Done when the subscriptions to a user are at the server.
    async fn subscribe(&mut self, uid: &str) {
        self.bus.subscribe_user(uid).await.unwrap();
        self.send(user(uid), Kind::Push, None, "to itself").await;
        assert_eq!(self.next().await, message(Kind::Push, "to itself"));
    }

    async fn call(&self, to: &Self, call: CallId, payload: &'static str) {
        self.send(Address::Server(Arc::clone(&to.info)), Kind::Call, Some(call), payload).await;
    }

    async fn reply(&self, to: ReplyTo, payload: &'static str) {
        self.send(Address::Reply(to), Kind::Reply, None, payload).await;
    }

    /// Takes in a call, and answers it with the same.
    async fn echo(&mut self) {
        match self.next().await {
            BusEvent::Message { kind: Kind::Call, reply: Some(reply), payload } => {
                self.send(Address::Reply(reply), Kind::Reply, None, payload).await;
            }
            event => panic!("not a call: {event:?}"),
        }
    }
}

/// Sends as soon as there is room.
async fn send(bus: &Nats, mut message: Transmit) {
    within(async {
        while let Err(back) = bus.send(message) {
            message = back;
            smol::future::yield_now().await;
        }
    })
    .await;
}

/// Bounds what should happen, under whatever runtime.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("it did not happen in time")
    };
    smol::future::or(future, late).await
}

fn user(uid: &str) -> Address {
    Address::User { frontend_type: "gate".into(), uid: uid.into() }
}

fn call(number: u64) -> CallId {
    CallId::parse(&format!("{number:x}")).unwrap()
}

fn message(kind: Kind, payload: &'static str) -> BusEvent {
    BusEvent::Message { kind, reply: None, payload: payload.into() }
}

fn reply(number: u64, payload: &'static str) -> BusEvent {
    BusEvent::Reply { call: call(number), result: Ok(payload.into()) }
}

async fn raw(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.unwrap()
}

async fn start_error(bus: Nats) -> String {
    match within(bus.start(Arc::new(ServerInfo::new("gate", "g1")))).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

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

/// What a backend sends to a frontend, which has one call of it open for each answer.
fn many_turns() -> Vec<Kind> {
    let mut sent = Vec::new();
    for turn in 0..TURNS {
        sent.extend((0..(turn * 7) % 300).map(|push| if push % 10 == 9 { Kind::Kick } else { Kind::Push }));
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
            _ => (user(&format!("u{}", number % USERS)), None),
        };
        send(room, Transmit { to, kind, call, payload: number.to_string().into() }).await;
    }
}

/// What comes out before something that was sent later.
const fn kept_before(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Reply => &[Kind::Push, Kind::Kick, Kind::Call, Kind::Reply],
        Kind::Call => &[Kind::Push, Kind::Kick, Kind::Call],
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_found_within_two_seconds() {
    let mut server = NatsServer::start();
    let (mut gate, mut room) = (Peer::start(&server, "gate", "g1").await, Peer::start(&server, "room", "r1").await);
    gate.bus.subscribe_user("u1").await.unwrap();
    for round in 0..3 {
        server.kill();
        assert_eq!((gate.next().await, room.next().await), (BusEvent::Down, BusEvent::Down));
        // Down or not, users come and go.
        gate.bus.subscribe_user(&format!("of{round}")).await.unwrap();
        server.restart();
        let back = Instant::now();
        assert_eq!((gate.next().await, room.next().await), (UP, UP));
        gate.call(&room, call(round), "a question").await;
        room.echo().await;
        assert_eq!(gate.next().await, reply(round, "a question"));
        for uid in ["u1".to_owned(), format!("of{round}")] {
            room.send(user(&uid), Kind::Push, None, "a push").await;
            assert_eq!(gate.next().await, message(Kind::Push, "a push"));
        }
        room.send(Address::Type("gate".into()), Kind::Bind, None, "a bind").await;
        assert_eq!(gate.next().await, message(Kind::Bind, "a bind"));
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_and_goes_is_found_in_the_end() {
    let mut server = NatsServer::start();
    let bus = Nats::new(server.url()).reconnect_wait(Duration::from_millis(1)).reconnect_jitter(Duration::ZERO);
    let mut gate = Peer::start_with(bus, "gate", "g1").await;
    gate.bus.subscribe_user("u1").await.unwrap();
    for _ in 0..10 {
        server.restart();
    }
    loop {
        match gate.next().await {
            BusEvent::Message { .. } => break,
            UP => gate.send(user("u1"), Kind::Push, None, "to itself").await,
            event => assert_eq!(event, BusEvent::Down),
        }
    }
}

#[tokio::test]
async fn a_bus_that_may_not_go_on_ends() {
    let mut server = NatsServer::start();
    let bus = Nats::new(server.url()).max_reconnects(Some(2)).reconnect_wait(Duration::from_millis(10));
    let mut gate = Peer::start_with(bus, "gate", "g1").await;
    assert_eq!(gate.next().await, UP);
    server.kill();
    assert_eq!((gate.next().await, gate.next_or_end().await), (BusEvent::Down, None));
    gate.send(user("u1"), Kind::Push, Some(call(1)), "").await;
    assert!(gate.bus.subscribe_user("u1").await.is_err());
    within(gate.bus.stop()).await;
}

#[tokio::test]
async fn the_limit_of_the_server_is_told_and_kept() {
    let server = NatsServer::start_with_config("max_payload: 1024");
    let mut gate = Peer::start_with(Nats::new(server.url()), "gate", "g1").await;
    assert_eq!(gate.next().await, BusEvent::Up { max_payload: 1024 });
    gate.bus.subscribe_user("u1").await.unwrap();
    gate.send(user("u1"), Kind::Push, Some(call(1)), vec![0; 1025]).await;
    let BusEvent::Reply { call: failed, result: Err(Undelivered::Failed(text)) } = gate.next().await else {
        panic!("not a failure")
    };
    assert!(failed == call(1) && text.contains("1024"), "{text}");
    gate.send(user("u1"), Kind::Push, None, vec![0; 1025]).await;
    gate.send(user("u1"), Kind::Push, None, vec![0; 1024]).await;
    assert!(matches!(gate.next().await, BusEvent::Message { payload, .. } if payload.len() == 1024));
}

#[tokio::test]
async fn what_has_no_subject_fails() {
    let server = NatsServer::start();
    let mut gate = Peer::start(&server, "gate", "g1").await;
    let info = Address::Server(Arc::clone(&gate.info));
    let wrong =
        [(user("a b"), Kind::Push), (user("*"), Kind::Kick), (user(&"u".repeat(5000)), Kind::Push), (info, Kind::Push)];
    for (to, kind) in wrong {
        gate.send(to.clone(), kind, None, "").await;
        gate.send(to, kind, Some(call(1)), "").await;
        assert!(matches!(gate.next().await, BusEvent::Reply { result: Err(Undelivered::Failed(_)), .. }));
    }
    for uid in ["", "a b", "*", "a.>", "a\r\nPING", &"u".repeat(5000)] {
        assert!(gate.bus.subscribe_user(uid).await.is_err(), "{uid}");
    }
    // The server has nothing against it.
    gate.send(Address::Type("gate".into()), Kind::Bind, None, "still there").await;
    assert_eq!(gate.next().await, message(Kind::Bind, "still there"));
}

#[tokio::test]
async fn whoever_may_not_log_in_is_told() {
    let server = NatsServer::start_with(&["--user", "us er", "--pass", "p@ss"]);
    let with = |auth: &str| server.url().replace("//", &format!("//{auth}@"));
    for url in [server.url(), with("us%20er:wrong"), with("token")] {
        let error = start_error(Nats::new(url)).await;
        assert!(error.contains("127.0.0.1") && error.contains("authorization violation"), "{error}");
        assert!(!error.contains("wrong") && !error.contains("token@"), "{error}");
    }
    for bus in [Nats::new(with("us%20er:p%40ss")), Nats::new(with("us%20er:wrong")).user("us er", "p@ss")] {
        assert!(!format!("{bus:?}").contains("p@ss"));
        assert_eq!(Peer::start_with(bus, "gate", "g1").await.next().await, UP);
    }
    let server = NatsServer::start_with(&["--auth", "secret"]);
    let url = server.url().replace("//", "//secret@");
    for bus in [Nats::new(url), Nats::new(server.url()).token("secret")] {
        assert_eq!(Peer::start_with(bus, "gate", "g1").await.next().await, UP);
    }
}

#[tokio::test]
async fn a_server_that_permits_too_little_is_named() {
    let server = NatsServer::start_with_config(
        "authorization { users = [ { user: u, password: p, permissions: { subscribe: [\"x\"] } } ] }",
    );
    let bus = Nats::new(server.url()).user("u", "p").connection_timeout(Duration::from_millis(100));
    let error = start_error(bus.start_timeout(Duration::from_millis(300))).await;
    assert!(error.contains("permits"), "{error}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_once() {
    let server = NatsServer::start();
    for bus in [Nats::new(""), Nats::new("http://localhost"), Nats::new(server.url()).client_capacity(0)] {
        let error = start_error(bus).await;
        assert!(error.contains("Nats::"), "{error}");
    }
    let gate = Peer::start(&server, "gate", "g1").await;
    assert!(gate.bus.start(Arc::clone(&gate.info)).await.is_err_and(|error| error.to_string().contains("before")));
    let idle = Nats::new(server.url());
    let message = Transmit { to: user("u1"), kind: Kind::Push, call: None, payload: Bytes::new() };
    assert_eq!(idle.send(message.clone()), Err(message));
    assert!(idle.subscribe_user("u1").await.is_err());
    idle.unsubscribe_user("u1").await;
    idle.stop().await;
}

#[tokio::test]
async fn starting_waits_for_a_server_but_not_for_ever() {
    let url = format!("nats://user:secret@127.0.0.1:{}", free_port());
    let begin = Instant::now();
    let error = start_error(Nats::new(url).start_timeout(Duration::from_millis(300))).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(error.contains("nats://user:***@127.0.0.1") && error.contains("start_timeout"), "{error}");

    let mut server = NatsServer::start();
    server.kill();
    let bus = Nats::new(server.url());
    let start = tokio::spawn(async move { Peer::start_with(bus, "gate", "g1").await });
    // It is tried at once, and again.
    tokio::task::yield_now().await;
    server.restart();
    assert_eq!(within(start).await.unwrap().next().await, UP);
}

#[tokio::test]
async fn a_task_may_send_as_much_as_there_is_room_for() {
    let server = NatsServer::start();
    let mut gate = Peer::start(&server, "gate", "g1").await;
    gate.subscribe("u1").await;
    let push = Transmit { to: user("u1"), kind: Kind::Push, call: None, payload: "a push".into() };
    for _ in 0..1_000 {
        assert_eq!(gate.bus.send(push.clone()), Ok(()));
    }
    for _ in 0..1_000 {
        assert_eq!(gate.next().await, message(Kind::Push, "a push"));
    }
}

#[tokio::test]
async fn what_finds_no_room_is_given_back_and_nothing_is_lost() {
    const MESSAGES: u32 = 5_000;
    let server = NatsServer::start();
    let mut gate = Peer::start(&server, "gate", "g1").await;
    gate.subscribe("u1").await;
    let room = Nats::new(server.url()).client_capacity(4);
    let mut room = Peer::start_with(room, "room", "r1").await;
    assert_eq!(room.next().await, UP);
    server.pause();
    let mut given_back = 0;
    let mut resumed = false;
    let mut next = 0;
    while next < MESSAGES {
        let payload = [&next.to_be_bytes()[..], &[0; 2_000]].concat().into();
        match room.bus.send(Transmit { to: user("u1"), kind: Kind::Push, call: None, payload }) {
            Ok(()) => next += 1,
            Err(_) => {
                given_back += 1;
                // By then the library and the system hold all that they can.
                if given_back > 10_000 && !resumed {
                    server.resume();
                    resumed = true;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(resumed);
    for number in 0..MESSAGES {
        match gate.next().await {
            BusEvent::Message { payload, .. } => assert_eq!(payload[..4], number.to_be_bytes()),
            event => panic!("unexpected: {event:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_sends_what_waits() {
    const MESSAGES: u32 = 20_000;
    let server = NatsServer::start();
    let (mut gate, mut room) = (Peer::start(&server, "gate", "g1").await, Peer::start(&server, "room", "r1").await);
    gate.subscribe("u1").await;
    for number in 0..MESSAGES {
        room.send(user("u1"), Kind::Push, None, number.to_be_bytes().to_vec()).await;
    }
    within(room.bus.stop()).await;
    for number in 0..MESSAGES {
        match gate.next().await {
            BusEvent::Message { payload, .. } => assert_eq!(payload[..], number.to_be_bytes()),
            event => panic!("unexpected: {event:?}"),
        }
    }
    room.send(user("u1"), Kind::Push, Some(call(2)), "").await;
    assert!(matches!(room.next().await, BusEvent::Reply { result: Err(Undelivered::Failed(_)), .. }));
    assert_eq!(room.next_or_end().await, None);
    within(room.bus.stop()).await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_server_that_is_away() {
    let mut server = NatsServer::start();
    let mut gate = Peer::start(&server, "gate", "g1").await;
    server.kill();
    assert_eq!(gate.next().await, BusEvent::Down);
    let begin = Instant::now();
    gate.bus.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(gate.next_or_end().await, None);
}

#[tokio::test]
async fn stopping_is_bounded() {
    let server = NatsServer::start();
    let bus = Nats::new(server.url()).drain_timeout(Duration::from_millis(200));
    let gate = Peer::start_with(bus, "gate", "g1").await;
    server.pause();
    let begin = Instant::now();
    gate.bus.stop().await;
    assert!((200..2_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_is_not_taken_out_is_dropped_and_the_rest_goes_on() {
    let server = NatsServer::start();
    let bus = Nats::new(server.url()).subscription_capacity(4);
    let mut gate = Peer::start_with(bus, "gate", "g1").await;
    assert_eq!(gate.next().await, UP);
    let room = Peer::start(&server, "room", "r1").await;
    gate.subscribe("u1").await;
    for _ in 0..1_000 {
        room.send(user("u1"), Kind::Push, None, "a push").await;
    }
    room.send(Address::Type("gate".into()), Kind::Bind, None, "a bind").await;
    within(room.bus.stop()).await;
    let mut pushes = 0;
    while gate.next().await == message(Kind::Push, "a push") {
        pushes += 1;
    }
    assert!((4..1_000).contains(&pushes), "{pushes}");
    gate.subscribe("u1").await;
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

/// Two servers that know each other, the files that hold their process ids, and a folder that has both.
fn two_servers() -> ([NatsServer; 2], [PathBuf; 2]) {
    let ports = [free_port(), free_port()];
    let files = ports.map(|port| env::temp_dir().join(format!("cereus-nats-{}-{port}", process::id())));
    let start = |index: usize| {
        let (own, other) = (ports[index], ports[1 - index]);
        let (own, other) = (format!("nats://127.0.0.1:{own}"), format!("nats://127.0.0.1:{other}"));
        let file = files[index].to_str().unwrap();
        NatsServer::start_with(&["--cluster_name", "c", "--cluster", &own, "--routes", &other, "--pid", file])
    };
    ([start(0), start(1)], files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_will_stop_is_left_for_another() {
    let (servers, files) = two_servers();
    // They find each other in their own time, and tell whoever connects then.
    let other = servers[1].url().replace("nats://", "");
    let begin = Instant::now();
    while !servers[0].info(PATIENCE).unwrap().contains(&other) {
        assert!(begin.elapsed() < PATIENCE);
    }
    let mut gate = Peer::start(&servers[0], "gate", "g1").await;
    let mut room = Peer::start(&servers[1], "room", "r1").await;
    gate.bus.subscribe_user("u1").await.unwrap();
    let pid = fs::read_to_string(&files[0]).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGUSR2).unwrap();
    let begin = Instant::now();
    assert_eq!((gate.next().await, gate.next().await), (BusEvent::Down, UP));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // Both are at the other server now.
    gate.call(&room, call(1), "a question").await;
    room.echo().await;
    assert_eq!(gate.next().await, reply(1, "a question"));
    room.send(user("u1"), Kind::Push, None, "a push").await;
    assert_eq!(gate.next().await, message(Kind::Push, "a push"));
    drop(servers);
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
}
