//! What can be sent, what cannot, and what happens to it at the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cereus_cluster::{Address, Bus, BusEvent, Kind, Nats, Transmit, Undelivered};
use cereus_service_tests::Nats as NatsServer;

use crate::peer::{Peer, UP, call, message, user, within};

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
