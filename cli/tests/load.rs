//! `cereus load` against a server of this process.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    fs, future,
    process::{Command, Output},
    time::Duration,
};

use cereus::{App, Error, Raw, Server, Service, Tcp};
use serde_json::Value;
use tokio::sync::mpsc;

/// A server, and where it listens.
async fn serve() -> (Server, String) {
    let fail = || async { Err::<Raw, _>(Error::new("GAME-001", "no")) };
    let service = Service::new("room")
        .request("echo", |body: Raw| async { body })
        .request("fail", fail)
        .request("hang", async || future::pending::<Raw>().await)
        .notify("note", async || {});
    let server = App::new(()).service(service).build().unwrap();
    tokio::spawn(cereus::tokio::serve(server.clone(), [Tcp::bind("127.0.0.1:0")]));
    let address = server.listening().await.unwrap()[0].to_string();
    (server, address)
}

/// Runs the command while the server goes on.
async fn load(arguments: Vec<String>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cereus"));
    command.arg("load").args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_loops_report_what_they_saw() {
    let (server, address) = serve().await;
    for how in ["--closed 4", "--rate 500", "--rate 500 --arrivals even --ramp 0.2"] {
        let output = load(words(&format!(
            "{address} --route room.echo --body 0123456789 {how} -c 5 -d 1.2 --warm-up 0.1 --json"
        )))
        .await;
        assert!(output.status.success(), "{how}: {}", err(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let answered = report["answered"].as_u64().unwrap();
        assert!(answered > 0, "{report}");
        assert_eq!((&report["errors"], &report["received_bytes"]), (&serde_json::json!({}), &(answered * 10).into()));
        let latency = &report["latency_us"];
        assert!(latency["p50"].as_u64() > Some(0) && latency["p50"].as_u64() <= latency["max"].as_u64(), "{report}");
    }
    server.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_is_counted_by_route_and_errors_by_code() {
    let (server, address) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mix =
        r#"[{"route": "room.echo", "weight": 8}, {"route": "room.fail"}, {"route": "room.note", "notify": true}]"#;
    fs::write(file("mix.json"), mix).unwrap();
    let (csv, hdr, html) = (file("a.csv"), file("a.hgrm"), file("a.html"));
    let output = load(words(&format!(
        "{address} --mix {} --rate 1000 -d 1.5 --warm-up 0.1 --csv {csv} --hdr {hdr} --html {html}",
        file("mix.json")
    )))
    .await;
    // There were errors.
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [" x GAME-001", " of room.echo: p50 ", " of room.note (notify): p50 ", "open loop, 1000 per second"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let csv = fs::read_to_string(csv).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.lines().all(|line| line.split(',').count() == 10), "{csv}");
    assert!(fs::read_to_string(hdr).unwrap().contains("#[Max     = "));
    let page = fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("GAME-001") && !page.contains("http"), "{page}");
    server.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_goes_on_after_notifies_and_after_what_is_never_answered() {
    let (server, address) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let mix = folder.path().join("mix.json").display().to_string();
    let report = async |mix_text: &str, more: &str| -> Value {
        fs::write(&mix, mix_text).unwrap();
        let arguments = format!("{address} --mix {mix} --closed 2 -c 3 --warm-up 0.1 --json {more}");
        serde_json::from_slice(&load(words(&arguments)).await.stdout).unwrap()
    };
    let notifies =
        report(r#"[{"route": "room.echo"}, {"route": "room.note", "notify": true, "weight": 9}]"#, "-d 0.5").await;
    assert!(notifies["answered"].as_u64() > Some(500), "{notifies}");
    let late = report(r#"[{"route": "room.hang"}]"#, "-d 1 --timeout 0.2").await;
    // Six at a time, given up five times a second.
    assert!((18..=36).contains(&late["errors"]["no answer in time"].as_u64().unwrap()), "{late}");
    assert_eq!(late["answered"], 0, "{late}");
    server.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_is_told_of_and_ends_it() {
    let (asked, mut heard) = mpsc::channel(4);
    let hang = move || {
        let asked = asked.clone();
        async move {
            asked.send(()).await.unwrap();
            future::pending::<Raw>().await
        }
    };
    let server = App::new(()).service(Service::new("room").request("hang", hang)).drain_timeout(Duration::ZERO);
    let server = server.build().unwrap();
    tokio::spawn(cereus::tokio::serve(server.clone(), [Tcp::bind("127.0.0.1:0")]));
    let address = &server.listening().await.unwrap()[0];
    let arguments = format!("{address} --route room.hang --closed 1 -c 4 -d 600 --json");
    let loading = tokio::spawn(load(words(&arguments)));
    for _ in 0..4 {
        heard.recv().await.unwrap();
    }
    server.shutdown();
    let output = loading.await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["errors"]["connection lost before the answer"] == 4, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_with_little_to_say_keep_their_heartbeat() {
    let echo = Service::new("room").request("echo", |body: Raw| async { body });
    let app = App::new(()).service(echo).protocol(|protocol| protocol.heartbeat(Duration::from_secs(1)));
    let server = app.build().unwrap();
    tokio::spawn(cereus::tokio::serve(server.clone(), [Tcp::bind("127.0.0.1:0")]));
    let address = &server.listening().await.unwrap()[0];
    let output = load(words(&format!("{address} --route room.echo --rate 2 -c 9 -d 3 --json"))).await;
    assert!(output.status.success(), "{}{}", err(&output), String::from_utf8_lossy(&output.stdout));
    server.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_told_in_a_line() {
    for (arguments, code, why) in [
        ("tcp://127.0.0.1:1 --route a.b", 1, "cereus: connection 1 of 10: tcp://127.0.0.1:1: Connection refused"),
        ("tcp://127.0.0.1 --route a.b", 2, "cereus: `tcp://127.0.0.1` has no port between 1 and 65535"),
        ("tcp://127.0.0.1:1", 2, "--route <ROUTE>"),
        ("tcp://127.0.0.1:1 --route a.b --rate 0", 2, "this must be more than nothing"),
        ("tcp://127.0.0.1:1 --route a.b --closed 1 --rate 5", 2, "cannot be used with"),
        ("tcp://127.0.0.1:1 --mix /nothing.json", 2, "cereus: /nothing.json cannot be read: No such file"),
        ("tcp://127.0.0.1:1 --route a.b --html /nothing/a.html", 2, "cereus: /nothing/a.html cannot be written"),
    ] {
        let output = load(words(arguments)).await;
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", err(&output));
        assert!(err(&output).contains(why), "{arguments}: {}", err(&output));
    }
}
