//! Processes that are told to end, and servers that cannot start.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cereus::{App, Cluster, Etcd, Nats};
use cereus_service_tests::free_port;

use crate::{
    Services,
    support::{Running, eventually},
};

#[test]
fn a_server_that_cannot_reach_the_services_says_which_and_does_not_listen() {
    let services = Services::start();
    let nowhere = free_port();
    let serve = |cluster: Cluster| {
        let server =
            App::new(()).cluster(cluster.start_timeout(Duration::from_millis(300))).build().expect("the app is right");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(cereus::serve(cereus::tokio::Tokio::new(), server, [])).expect_err("it started").to_string()
    };
    let error = serve(Cluster::new(Nats::new(format!("nats://127.0.0.1:{nowhere}")), Etcd::new([services.etcd.url()])));
    assert!(error.contains("the bus of the cluster"), "{error}");
    let error = serve(Cluster::new(Nats::new(services.nats.url()), Etcd::new([format!("http://127.0.0.1:{nowhere}")])));
    assert!(error.contains("the registry of the cluster"), "{error}");
}

#[test]
fn a_server_that_ends_leaves_the_registry_before_it_stops() {
    let services = Services::start();
    let meeting = services.over_nats();
    let watcher = Running::backend(App::new(()).server_type("watcher").cluster(meeting.cluster("w1")));
    let room = Running::backend(App::new(()).server_type("room").cluster(meeting.cluster("r1")));
    watcher.wait_for("r1", true);
    room.server.shutdown();
    let began = Instant::now();
    watcher.wait_for("r1", false);
    // Far less than the time to live of its record.
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(room);
    let again = Running::backend(App::new(()).server_type("room").cluster(meeting.cluster("r1")));
    watcher.wait_for("r1", true);
    drop(again);
    eventually("it left again", || watcher.server.rpc().servers().by_id("r1").is_none());
}

/// The program `cluster` of the examples, as three processes.
#[test]
fn the_example_runs_as_processes_and_ends_on_a_signal() {
    let Some(program) = std::env::var_os("CEREUS_CLUSTER_EXAMPLE") else {
        panic!("CEREUS_CLUSTER_EXAMPLE is not set: run `cargo xtask test`, which sets it");
    };
    let services = Services::start();
    let (tcp, web) = (free_port(), free_port());
    let arguments = [
        "--nats".to_owned(),
        services.nats.url(),
        "--etcd".to_owned(),
        services.etcd.url(),
        "--tcp".to_owned(),
        format!("127.0.0.1:{tcp}"),
        "--web".to_owned(),
        format!("127.0.0.1:{web}"),
    ];
    for option in [None, Some("--protobuf"), Some("--compression")] {
        let start = |server: &str| {
            let mut command = Command::new(&program);
            command.args(&arguments).args(option).arg(server).stdout(Stdio::piped());
            command.spawn().expect("the example starts")
        };
        let mut servers = ["room", "game", "connector"].map(start);
        let mut lines = BufReader::new(servers[2].stdout.take().expect("it is piped")).lines();
        lines.next().expect("the connector says where it listens").expect("a line");
        let began = Instant::now();
        loop {
            let played = Command::new(&program).args(&arguments).args(option).arg("play").output().expect("it plays");
            if played.status.success() {
                let said = String::from_utf8_lossy(&played.stdout).into_owned();
                assert!(said.contains("onAnnounce: game: "), "{said}");
                break;
            }
            // The other two may not be there yet.
            let said = String::from_utf8_lossy(&played.stderr).into_owned();
            assert!(began.elapsed() < Duration::from_secs(20), "{said}");
        }
        for server in &mut servers {
            let id = nix::unistd::Pid::from_raw(server.id() as i32);
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        }
        for server in &mut servers {
            assert!(server.wait().expect("it ends").success());
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
