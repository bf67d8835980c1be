//! `cereus bot run` in a terminal, and how it ends before its time.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "support/server.rs"]
mod server;
#[path = "support/terminal.rs"]
mod terminal;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::terminal::{CTRL_C, Terminal};

/// Two bots ask, and then wait for ever.
fn endless() -> PathBuf {
    let folder = server::folder();
    let echo = json!({ "type": "request", "uri": "room.echo" });
    let silent = json!({ "type": "request", "uri": "room.silent", "timeout": 3_600_000 });
    write(&folder, "endless", &json!({ "numberOfInstances": 2, "sequentialOperations": [echo, silent] }));
    folder
}

fn write(folder: &Path, name: &str, spec: &Value) {
    fs::create_dir_all(folder.join("specs")).unwrap();
    fs::write(folder.join(format!("specs/{name}.json")), spec.to_string()).unwrap();
}

#[test]
fn progress_is_written_over_until_ctrl_c() {
    let (server, folder) = (server::room(), endless());
    let arguments = ["bot", "run", "--max-sleep", "0", "--duration", "1h", "--host", server.address("tcp")];
    let mut terminal = Terminal::command(&arguments, &folder, &[]);
    // Lines that are too long are cut off, or there would be more to be written over than there were.
    terminal.until("\x1b[?7l").until("of 3600 s, 2 bots play").until("answers ").until("runs      0, 0 failed");
    terminal.until("errors    none").until("\x1b[?7h").until("\x1b[5A\x1b[J").until("2 bots play");
    terminal.send(CTRL_C);
    terminal.until("\x1b[5A\x1b[J").until("interrupted; what 2 bots were doing is not in the report");
    terminal.until("runs       0, 0 failed").until("answers    2, ").until("errors     none");
    terminal.ends_with(130);
}

#[test]
fn failures_count_more_than_ctrl_c() {
    let (server, folder) = (server::room(), endless());
    write(&folder, "failing", &json!({ "sequentialOperations": [{ "type": "listen", "uri": "onX", "timeout": 1 }] }));
    let arguments = ["bot", "run", "--stop-on-error", "--duration", "1h", "--host", server.address("ws")];
    let mut terminal = Terminal::command(&arguments, &folder, &[]);
    terminal.until("runs      1, 1 failed").send(CTRL_C).until("1 x ./specs/failing.json: step 1 (listen onX)");
    terminal.ends_with(1);
}

/// Starts bots, and reads what they tell until this.
fn until(folder: &Path, arguments: &str, text: &str) -> (Child, BufReader<impl Read>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cereus"));
    command.current_dir(folder).args(["bot", "run", "--max-sleep", "0"]).args(arguments.split_whitespace());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0, "{text} does not come");
    }
    (child, told)
}

fn signal(name: &str, child: &Child) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_system_may_end_it_too() {
    let (server, folder) = (server::room(), endless());
    let host = server.address("tcp");
    // Nobody waits for Prometheus then.
    let arguments = format!("--duration 1h --host {host} --report-metrics --metrics-port 0");
    let (child, mut told) = until(&folder, &arguments, "2 bots play");
    signal("-TERM", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert!(String::from_utf8(output.stdout).unwrap().contains("answers    2, "));
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("interrupted; what 2 bots were doing") && !rest.contains("waiting for Prometheus"), "{rest}");
}

#[test]
fn waiting_for_prometheus_can_be_ended() {
    let (server, folder) = (server::room(), server::folder());
    write(&folder, "a", &json!({ "sequentialOperations": [{ "type": "request", "uri": "room.echo" }] }));
    let arguments = format!("--duration 0 --host {} --report-metrics --metrics-port 0", server.address("tcp"));
    let (child, _told) = until(&folder, &arguments, "waiting for Prometheus");
    signal("-INT", &child);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}
