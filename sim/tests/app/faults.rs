//! What goes wrong on the way: links of the runtime, and a bus and a registry that fail as they are told.

use std::{io, time::Duration};

use cereus_app::{App, Server};
use cereus_core::{CloseReason, Instant};
use cereus_sim::{Client, Direction, LinkConfig, Profile, Serving, SimCluster, SimRuntime};
use cereus_transports::rt::Runtime;

use super::support::{MINUTE, NANO, SECOND, app, connect, serve};

const TTL: Duration = Duration::from_secs(10);

/// A client of the server at the usual port, over this link.
fn connect_over(runtime: &SimRuntime, profile: &Profile) -> io::Result<Client> {
    Client::start(runtime, ([127, 0, 0, 1], 3250).into(), cereus_core::ClientConfig::default(), profile, 7)
}

#[test]
fn bytes_take_the_time_of_their_link() {
    let runtime = SimRuntime::new();
    serve(&runtime, app(&runtime));
    let second = Profile::new(LinkConfig::default().delay(SECOND..=SECOND));
    let client = connect_over(&runtime, &second).expect("it listens");
    runtime.advance(2 * SECOND - NANO);
    assert!(!client.is_connected());
    runtime.advance(NANO);
    assert!(client.is_connected());
}

#[test]
fn a_stall_holds_one_direction_and_a_reset_ends_both() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, app(&runtime));
    let client = connect(&runtime);
    let mut pushes = 0;
    let mut push = || server.broadcast("on", b"!".as_slice()).map(|_| pushes += 1).expect("it is right");
    client.wire().stall(Direction::Down, None);
    push();
    runtime.advance(5 * SECOND);
    assert!(client.pushes().is_empty() && client.wire().in_flight(Direction::Down) > 0);
    client.wire().resume(Direction::Down);
    runtime.run_idle();
    assert_eq!(client.pushes(), ["!"]);

    client.wire().reset();
    runtime.run_idle();
    assert_eq!(client.closed(), Some((runtime.now(), CloseReason::Transport)));
    assert_eq!(server.sessions().count(), 0);
}

#[test]
fn a_process_that_is_killed_takes_its_own_tasks_and_its_connections_along() {
    let runtime = SimRuntime::new();
    let process = runtime.process();
    let server = App::new(()).build().expect("the app is right");
    process.serve(server, [cereus_transports::Tcp::bind("127.0.0.1:3250")]);
    runtime.spawn(runtime.sleep(MINUTE));
    runtime.run_idle();
    let client = connect(&runtime);
    process.kill();
    assert_eq!((process.tasks(), client.closed()), (0, None));
    runtime.run_idle();
    assert_eq!(client.closed(), Some((Instant::EPOCH, CloseReason::PeerClosed)));
    assert_eq!(runtime.tasks(), 1, "others run on");
    assert!(connect_over(&runtime, &Profile::perfect()).is_err(), "nobody listens any more");
}

/// Two servers that know each other, and their processes.
fn servers() -> (SimRuntime, SimCluster, [(Server, Serving, SimRuntime); 2]) {
    let runtime = SimRuntime::new();
    let cluster = SimCluster::new(&runtime, 7);
    let servers = [("gate", "g1"), ("room", "r1")].map(|(server_type, id)| {
        let app = App::new(()).server_type(server_type).cluster(cluster.of(id).record_ttl(TTL));
        let (server, process) = (app.build().expect("the app is right"), runtime.process());
        let serving = process.serve(server.clone(), []);
        (server, serving, process)
    });
    runtime.run_until(|| servers.iter().all(|(server, ..)| known(server).len() == 2));
    (runtime, cluster, servers)
}

fn known(server: &Server) -> Vec<String> {
    server.rpc().servers().iter().map(|info| info.id.clone()).collect()
}

#[test]
fn the_record_of_a_server_that_crashed_goes_with_its_lease() {
    let (runtime, cluster, [(gate, ..), (_, _, room)]) = servers();
    let crashed = runtime.now();
    room.kill();
    runtime.advance(SECOND);
    assert_eq!(known(&gate), ["g1", "r1"]);
    let gone = runtime.run_until(|| known(&gate) == ["g1"]) - crashed;
    assert!(gone > TTL / 2 && gone <= TTL + SECOND, "gone after {gone:?}");
    assert_eq!(cluster.records().len(), 1);
}

#[test]
fn a_server_whose_lease_is_lost_comes_back() {
    let (runtime, cluster, [(gate, ..), _]) = servers();
    cluster.lose_lease("r1");
    runtime.run_until(|| known(&gate) == ["g1"]);
    let back = runtime.run_until(|| known(&gate) == ["g1", "r1"]);
    assert!(back - Instant::EPOCH < 2 * TTL);
}

#[test]
fn changes_that_a_watch_has_missed_are_found_when_it_begins_anew() {
    let (runtime, cluster, [(gate, ..), (_, _, room)]) = servers();
    cluster.cut_registry("g1");
    room.kill();
    runtime.run_until(|| cluster.records().len() == 1);
    cluster.start_registry();
    cluster.compact();
    runtime.run_until(|| known(&gate) == ["g1"]);
}
