//! The servers that the other tests are given.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    collections::HashSet,
    env, fs,
    io::{self, BufRead, BufReader, ErrorKind},
    net::TcpStream,
    panic,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cereus_service_tests::{Etcd, GoServer, Nats, free_port};

/// How long anything may take that should happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must happen.
const WHILE: Duration = Duration::from_millis(300);

#[test]
fn nats_comes_back_where_it_was() {
    let mut nats = Nats::start();
    let url = nats.url();
    assert!(nats.info(PATIENCE).unwrap().contains("\"max_payload\":1048576"));
    nats.kill();
    assert_eq!(nats.info(PATIENCE).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    nats.kill();
    for _ in 0..3 {
        nats.restart();
        assert_eq!(nats.url(), url);
        nats.info(PATIENCE).unwrap();
    }
}

#[test]
fn a_paused_nats_is_silent_until_it_goes_on() {
    let nats = Nats::start();
    nats.pause();
    assert!(is_late(&nats.info(WHILE)));
    nats.resume();
    nats.info(PATIENCE).unwrap();
}

#[test]
fn nats_takes_arguments_and_a_configuration() {
    let closed = Nats::start_with(&["--user", "ada", "--pass", "secret"]);
    assert!(closed.info(PATIENCE).unwrap().contains("\"auth_required\":true"));
    let narrow = Nats::start_with_config("max_payload: 1024");
    assert!(narrow.info(PATIENCE).unwrap().contains("\"max_payload\":1024"));
}

#[test]
fn etcd_comes_back_with_its_data() {
    let mut etcd = Etcd::start();
    let url = etcd.url();
    put(&etcd, "a2V5", "b25l");
    etcd.kill();
    let health = etcd.http("GET", "/health", "", PATIENCE);
    assert_eq!(health.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    etcd.restart();
    assert_eq!(etcd.url(), url);
    assert!(get(&etcd, "a2V5").contains("b25l"));
}

#[test]
fn a_paused_etcd_is_silent_until_it_goes_on() {
    let etcd = Etcd::start();
    etcd.pause();
    assert!(is_late(&etcd.http("GET", "/health", "", WHILE)));
    etcd.resume();
    assert!(etcd.http("GET", "/health", "", PATIENCE).unwrap().contains("true"));
}

#[test]
fn two_of_each_know_nothing_of_each_other() {
    let (mut one, other) = (Nats::start(), Nats::start());
    assert_ne!(one.url(), other.url());
    one.kill();
    other.info(PATIENCE).unwrap();

    let (mut one, other) = (Etcd::start(), Etcd::start());
    assert_ne!(one.url(), other.url());
    put(&one, "a2V5", "b25l");
    assert!(!get(&other, "a2V5").contains("b25l"));
    one.kill();
    put(&other, "a2V5", "dHdv");
    one.restart();
    assert!(get(&one, "a2V5").contains("b25l"));
}

#[test]
fn a_server_that_does_not_start_tells_why() {
    let failure = panic::catch_unwind(|| Nats::start_with_config("max_payload: a lot")).unwrap_err();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(text.contains("nats-server ended") && text.contains("Parse error"), "{text}");
}

/// Makes this program one that holds servers until the end of its input.
const HOLDER: &str = "CEREUS_HOLDS_SERVERS";

/// Neither of servers that are dropped nor of those whose process is killed, and be it while they are paused.
#[test]
fn nothing_is_left_of_servers() {
    if env::var_os(HOLDER).is_some() {
        let (nats, etcd) = (Nats::start(), Etcd::start());
        nats.pause();
        println!("\n{}\n{}", nats.url(), etcd.url());
        io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    for is_killed in [false, true] {
        let folder = env::temp_dir().join(format!("cereus-fixtures-{}-{is_killed}", process::id()));
        fs::create_dir(&folder).unwrap();
        let mut holder = Command::new(env::current_exe().unwrap())
            .args(["--exact", "nothing_is_left_of_servers", "--nocapture"])
            .envs([(HOLDER, "1".as_ref()), ("TMPDIR", folder.as_os_str())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut address = || lines.find_map(|line| Some(line.split_once("://")?.1.to_owned())).unwrap();
        let addresses = [address(), address()];
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        addresses.iter().for_each(|address| drop(TcpStream::connect(address).unwrap()));

        if is_killed {
            holder.kill().unwrap();
            holder.wait().unwrap();
        } else {
            drop(holder.stdin.take());
            lines.for_each(drop);
            assert!(holder.wait().unwrap().success());
        }
        let deadline = Instant::now() + if is_killed { PATIENCE } else { Duration::ZERO };
        let is_left = || fs::read_dir(&folder).unwrap().count() > 0 || addresses.iter().any(|at| !is_refused(at));
        while is_left() {
            assert!(Instant::now() < deadline, "servers are left, killed: {is_killed}");
            thread::sleep(Duration::from_millis(5));
        }
        fs::remove_dir(folder).unwrap();
    }
}

/// Makes this program one that has a shell for a Go server, of whose arguments only its own tests know.
const SHELL: &str = "CEREUS_GO_IS_A_SHELL";

#[test]
fn a_go_server_is_ready_when_it_says_so() {
    if env::var_os(SHELL).is_none() {
        let test = Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_go_server_is_ready_when_it_says_so"])
            .envs([(SHELL, "1"), ("CEREUS_GO_INTEROP", "/bin/sh")])
            .output()
            .unwrap();
        assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stdout));
        return;
    }
    let script = "echo out; echo error >&2; sleep 0.2; echo 'now all modules started!' >&2; exec sleep 1000";
    let mut server = GoServer::start(["-c", script]);
    assert_eq!(server.output(), "out\nerror\nnow all modules started!\n");
    server.pause();
    server.resume();
    server.kill();

    let failure = panic::catch_unwind(|| GoServer::start(["-c", "echo why >&2; exit 3"])).unwrap_err();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(text.contains("exit status: 3") && text.contains("why"), "{text}");
}

#[test]
fn a_port_is_given_once() {
    let threads = [(); 4].map(|()| thread::spawn(|| [(); 200].map(|()| free_port())));
    let ports: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
}

/// Base64 in both.
fn put(etcd: &Etcd, key: &str, value: &str) {
    let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    etcd.http("POST", "/v3/kv/put", &body, PATIENCE).unwrap();
}

fn get(etcd: &Etcd, key: &str) -> String {
    etcd.http("POST", "/v3/kv/range", &format!(r#"{{"key":"{key}"}}"#), PATIENCE).unwrap()
}

/// Whether a server took the connection and then said nothing.
fn is_late(answer: &io::Result<String>) -> bool {
    matches!(answer, Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()))
}

fn is_refused(address: &str) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
