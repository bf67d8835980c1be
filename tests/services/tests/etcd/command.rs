//! `cereus servers`, which looks at the registry from outside.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::{
    access::{Secure, locked},
    *,
};

/// The program, which `cargo xtask test` builds.
fn servers(arguments: &[&str]) -> Command {
    let Some(program) = std::env::var_os("CEREUS_CLI") else {
        panic!("CEREUS_CLI is not set: run `cargo xtask test`, which sets it");
    };
    let mut command = Command::new(program);
    command.arg("servers").args(arguments);
    command
}

/// Runs it while the runtime goes on.
async fn run(arguments: &[&str]) -> Output {
    let mut command = servers(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_tells_of_servers_and_their_leases() {
    let etcd = Server::start();
    let registry = Etcd::new([etcd.url()]);
    let lease = registry.grant(TTL).await.unwrap();
    registry.put(Arc::new(server_with("room", "r1", "region", "eu")), lease).await.unwrap();
    registry.put(Arc::new(server("connector", "c1")), lease).await.unwrap();
    let mut raw = raw(&etcd).await;
    raw.put("pitaya/servers/room/r2", "no json", None).await.unwrap();

    let output = run(&[&format!("http://127.0.0.1:1,{}", etcd.url())]).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["connector  c1", "region=eu", "/60 s", "2 servers: 1 connector, 1 room", "room/r2 cannot be read"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let output = run(&[&etcd.url(), "--json", "--type", "room"]).await;
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&all["servers"][0]["id"], &all["servers"][0]["lease"]["granted"]), (&json!("r1"), &json!(60)));
    assert_eq!(all["servers"][0]["lease"]["id"], format!("{:x}", lease.get()));
    assert_eq!((all["servers"].as_array().unwrap().len(), &all["unreadable"][0]["lease"]), (1, &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_is_known_by_a_password_or_a_certificate() {
    let etcd = locked().await;
    let url = etcd.url();
    for (options, code, part) in [
        (&["--user", "games", "--password", "secret"][..], 0, "0 servers"),
        (&[], 1, "--user"),
        (&["--user", "games", "--password", "guess"], 1, "see --user"),
        (&["--user", "games", "--password", "secret", "--prefix", "other/"], 1, "permission denied"),
        (&["--user", "games"], 2, "--password-env"),
        (&["--ca", "/nowhere.pem"], 2, "--ca is for https"),
    ] {
        let output = run(&[&[url.as_str()], options].concat()).await;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.code() == Some(code) && text.contains(part), "{options:?}: {text}");
    }

    let etcd = Secure::start("https-of-the-command");
    let file = |name: &str| etcd.folder.join(name).to_str().unwrap().to_owned();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(file);
    let known = [&etcd.url, "--ca", &ca, "--cert", &cert, "--key", &key];
    until_ok(|| async {
        let output = run(&known).await;
        if output.status.success() { Ok(()) } else { Err(output) }
    })
    .await;
    for (options, part) in [(&known[..3], "--cert"), (&[&etcd.url.replace("https", "http")], "http or https")] {
        let output = run(options).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains(part), "{options:?}: {text}");
    }
}

/// `cereus servers --watch --json`.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watching {
    fn start(etcd: &Server) -> Self {
        let mut child = servers(&[&etcd.url(), "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What happened next, to whom.
    fn next(&mut self) -> (String, String) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let change: Value = serde_json::from_str(&line).expect("a line");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&change["change"]), text(&change["server"]["id"]))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_tells_what_changes() {
    let mut etcd = Server::start();
    let registry = Etcd::new([etcd.url()]);
    let lease = registry.grant(TTL).await.unwrap();
    registry.put(Arc::new(server("room", "r1")), lease).await.unwrap();
    let mut watching = Watching::start(&etcd);
    let change = |kind: &str, id: &str| (kind.to_owned(), id.to_owned());
    assert_eq!(watching.next(), change("there", "r1"));
    let other = registry.grant(TTL).await.unwrap();
    registry.put(Arc::new(server("room", "r2")), other).await.unwrap();
    assert_eq!(watching.next(), change("came", "r2"));
    registry.put(Arc::new(server_with("room", "r1", "a", "b")), lease).await.unwrap();
    assert_eq!(watching.next(), change("changed", "r1"));
    // It finds out what happened while etcd was away.
    etcd.restart();
    registry.revoke(other).await.unwrap();
    assert_eq!(watching.next(), change("gone", "r2"));
}
