//! `cereus bot` with specs as pitaya-bot reads them, and its configuration.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::cluster::Mixed;

/// `cereus bot run` with this spec, once, from a folder as pitaya-bot's users have it.
fn play(world: &Mixed, spec: &Value) -> Output {
    let Some(program) = std::env::var_os("CEREUS_CLI") else {
        panic!("CEREUS_CLI is not set: run `cargo xtask test`, which sets it");
    };
    let name = format!("bots-{:?}-{:?}-{}", world.front, world.link, world.user());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.join("specs")).unwrap();
    fs::create_dir_all(folder.join("config")).unwrap();
    fs::write(folder.join("specs/default.json"), spec.to_string()).unwrap();
    let host = world.endpoint().trim_start_matches("tcp://");
    let config = format!("server:\n  host: \"{host}\"\n  handshake: >\n    {{}}\nkubernetes:\n  cpu: 250m\n");
    fs::write(folder.join("config/config.yaml"), config).unwrap();
    let mut command = Command::new(program);
    command.args(["bot", "run", "-t", "local", "--duration", "0", "-j"]).current_dir(&folder);
    let output = command.output().unwrap();
    fs::remove_dir_all(folder).unwrap();
    output
}

fn is(kind: &str, value: impl Into<Value>) -> Value {
    json!({ "type": kind, "value": value.into() })
}

/// Every kind of operation, answered by both servers.
fn spec(code: &str) -> Value {
    let text = |text: &str| is("string", text);
    json!({
        "numberOfInstances": 3,
        "sequentialOperations": [
            { "type": "request", "uri": "room.interop.whoami",
              "expect": { "$response.server": text("back"), "$response[\"uid\"]": text("") },
              "store": { "server": is("string", "$response.server") } },
            { "type": "function", "uri": "reconnect" },
            { "type": "request", "uri": "room.interop.join", "args": { "uid": text("$util.uuid") },
              "expect": { "$response.server": text("$store.server") },
              "store": { "uid": is("string", "$response.uid") } },
            { "type": "request", "uri": "connector.interop.whoami", "expect": { "$response.uid": text("$store.uid") } },
            { "type": "request", "uri": "room.interop.set", "args": { "key": text("level"), "value": is("int", 7.9) },
              "expect": { "$response.ok": is("bool", true) } },
            { "type": "request", "uri": "connector.interop.get", "args": { "key": text("level") },
              "expect": { "$response.value": is("int", 7) } },
            { "type": "request", "uri": "room.interop.echo",
              "args": { "items": is("array", json!([is("object", json!({ "x": is("int", 1) })), is("<nil>", Value::Null)])) },
              "expect": { "$response.items[0].x": is("int", 1) } },
            { "type": "request", "uri": "room.interop.fail", "args": { "code": text("ROOM-001"), "msg": text("no") },
              "expect": { "$response.code": text(code), "$response.msg": text("no") } },
            { "type": "request", "uri": "connector.interop.nothing", "expect": { "$response.code": text("PIT-404") } },
            { "type": "notify", "uri": "room.interop.tell", "args": { "text": text("hello") } },
            { "type": "listen", "uri": "onTell", "timeout": 10000, "expect": { "$response.text": text("hello") } },
            { "type": "function", "uri": "disconnect" },
            { "type": "function", "uri": "connect" },
            // The push comes before the answer, for which pitaya-bot itself would wait in vain then.
            { "type": "request", "uri": "connector.interop.push", "args": { "route": text("onPush"), "text": text("again") } },
            { "type": "listen", "uri": "onPush", "timeout": 10000, "expect": { "$response.text": text("again") } }
        ]
    })
}

pub(crate) fn specs_of_pitaya_bot(world: &Mixed) {
    let output = play(world, &spec("ROOM-001"));
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["runs"], &report["failed"]), (&json!(3), &json!(0)), "{report}");
    assert_eq!((&report["answered"], &report["notifies"], &report["pushes"]), (&json!(27), &json!(3), &json!(6)));

    let output = play(world, &spec("ROOM-002"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["failures"][0]["at"], "./specs/default.json: step 8 (request room.interop.fail)", "{report}");
}
