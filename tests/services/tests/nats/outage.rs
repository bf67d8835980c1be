//! Servers of NATS that go, and come back.

use std::{
    env, fs,
    path::PathBuf,
    process,
    time::{Duration, Instant},
};

use cereus_cluster::{Address, Bus, BusEvent, Kind, Nats};
use cereus_service_tests::{Nats as NatsServer, free_port};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::peer::{PATIENCE, Peer, UP, call, message, reply, user, within};

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
