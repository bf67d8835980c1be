//! What a bus is given, and what it is told when it starts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cereus_cluster::{Bus, BusEvent, Kind, Nats, Transmit, Undelivered};
use cereus_service_tests::{Nats as NatsServer, free_port};

use crate::peer::{Peer, UP, call, start_error, user, within};

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
