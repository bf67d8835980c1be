//! `cereus repl` with scripts, against real servers.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "support/run.rs"]
mod run;
#[path = "support/server.rs"]
mod server;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
};

use serde_json::json;

use crate::run::repl;

#[test]
fn a_script_that_goes_well() {
    let room = server::room();
    let script = format!(
        "# Comments and empty lines are nothing.

         connect {}
         request room.join {{\"name\": \"nina  b\"}}
         expect code == 200
         expect members contains \"nina  b\"
         expect big == 12345678901234567
         expect push onJoin number == 1
         expect push onJoin name contains \"nina  b\"
         notify room.say {{\"text\": \"hello\"}}
         expect push onMessage within 20 text == \"hello\"
         request room.fail
         expect error ROOM-002 msg == \"no\"
         request game.room.join {{}}
         expect error ROOM-001 metadata.hint == \"name\"
         disconnect
         connect
         request room.echo plain  text
         expect . == \"plain  text\"
         expect push onJoin number == 2
         exit
         and nothing after that",
        room.address("ws")
    );
    let ran = repl(&[], &script).ended(0, "");
    assert!(ran.out.contains(r#"sv-> {"big":12345678901234567,"code":200,"members":["nina  b"]}"#), "{ran:#?}");
    assert!(ran.out.contains("push onMessage {\"text\":\"hello\"}"), "{ran:#?}");
    assert!(ran.out.contains("sv-> error ROOM-002: no"), "{ran:#?}");
    assert!(!ran.out.contains('\x1b'), "{ran:#?}");
}

#[test]
fn every_transport_named_or_found() {
    let room = server::room();
    for scheme in ["tcp", "ws", "tls", "wss"] {
        for place in [room.address(scheme), room.place(scheme)] {
            let ran = repl(&[place, "--insecure"], "request room.echo 1\nexpect . == 1\n").ended(0, "");
            assert!(ran.out.contains(&format!("connected to {}", room.address(scheme))), "{ran:#?}");
        }
    }
    // Going on without encryption would not be what the user wants.
    repl(&[room.place("tls")], "").ended(1, "is not trusted").ended(1, "--insecure");
    repl(&[&server::nowhere()], "").ended(1, "cannot be reached: ");
}

#[test]
fn a_failure_names_its_line() {
    let room = server::room();
    let address = room.address("tcp");
    for (line, code, error) in [
        ("expect name == \"nino\"", 1, "stdin:3: expected name == \"nino\", but it is \"nina\" (room.echo)"),
        ("expect age exists", 1, "stdin:3: expected age exists, but there is no age in {\"name\":\"nina\"}"),
        (
            "expect error PIT-404",
            1,
            "stdin:3: expected the error PIT-404 of room.echo, but it answered: {\"name\":\"nina\"}",
        ),
        ("expect push onMessage within 0.05", 1, "stdin:3: expected a push onMessage within 50ms: no push came"),
        ("expect kick within 0.05", 1, "stdin:3: expected a kick within 50ms: none came"),
        ("request room.fail", 1, "stdin:3: the server answered with an error: ROOM-002: no"),
        ("request room.fail\nexpect code == 1", 1, "stdin:3: the server answered with an error: ROOM-002: no"),
        (
            "request room.fail\nexpect error ROOM-001",
            1,
            "stdin:4: expected the error ROOM-001 of room.fail, but it is: ROOM-002: no",
        ),
        ("timeout 0.05\nrequest room.silent", 1, "stdin:4: room.silent: no answer within 50ms"),
        (
            "notify room.kick\nexpect push onX",
            1,
            "stdin:4: expected a push onX, but the connection ended: kicked; no push came",
        ),
        ("notify room.kick\nexpect kick\nrequest room.echo", 1, "stdin:5: there is no connection any more: kicked"),
        ("expect name = nina", 2, "stdin:3: `nina` is no JSON"),
        ("conect", 2, "stdin:3: there is no command `conect`: `help` lists them"),
        ("push onMessage game.Message", 2, "stdin:3: only for protobuf"),
        ("connect http://a:1", 2, "stdin:3: `http://` is not known: use tcp, tls, ws or wss"),
    ] {
        let script = format!("connect {address}\nrequest room.echo {{\"name\": \"nina\"}}\n{line}\n");
        repl(&[], &script).ended(code, error);
    }
    repl(&[], "request room.echo\n").ended(1, "stdin:1: there is no connection: `connect tcp://host:port` makes one");
}

#[test]
fn scripts_in_files() {
    let room = server::room();
    let file = server::folder().join("smoke.txt");
    let file = file.to_str().unwrap();
    fs::write(file, "\u{feff}# a script\r\nrequest room.echo {\"a\": 1}\r\nexpect a == 2\r\n").unwrap();
    let ran =
        repl(&[room.address("tcp"), "-p", "-f", file], "").ended(1, &format!("{file}:3: expected a == 2, but it is 1"));
    assert!(ran.out.contains("sv-> {\n  \"a\": 1\n}"), "{ran:#?}");
    repl(&["-f", "no such file"], "").ended(2, "no such file cannot be read");
    fs::write(file, b"\xff").unwrap();
    repl(&["-f", file], "").ended(2, &format!("{file}:1: this cannot be read"));
    repl(&["--docs"], "").ended(2, "a value is required");
}

#[test]
fn the_handshake_is_what_was_set() {
    let room = server::room();
    let script = "
        request room.who
        expect . == {\"platform\": \"toaster\", \"version\": \"\", \"build\": \"\", \"user\": {\"age\": 30}}
        sethandshake platform fridge
        sethandshake version 1.2.3
        sethandshake buildNumber 20
        connect
        request room.who
        expect . == {\"platform\": \"fridge\", \"version\": \"1.2.3\", \"build\": \"20\", \"user\": {\"age\": 30}}
        sethandshake {\"sys\": {\"platform\": \"web\"}, \"user\": {\"a b\": [1]}}
        connect
        request room.who
        expect . == {\"platform\": \"web\", \"version\": \"\", \"build\": \"\", \"user\": {\"a b\": [1]}}";
    repl(&[room.address("tcp"), "--platform", "toaster", "--user", "{\"age\": 30}"], script).ended(0, "");
}

#[test]
fn events_for_machines() {
    let room = server::room();
    let script =
        "request room.join {\"name\": \"nina\"}\nrequest room.bytes\nrequest room.echo plain\nrequest room.echo
        request room.fail\nexpect error\nroutes\nstate\nnotify room.kick\nexpect kick\nrequest room.echo";
    let ran = repl(&["--json", "--browser", room.address("tcp")], script)
        .ended(1, "stdin:11: there is no connection any more");
    let mut events = ran.events();
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        let time = event.remove("time").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        if let Some(ms) = event.remove("ms") {
            assert!(ms.as_f64().unwrap() > 0.0);
        }
    }
    let join = |number: u32| json!({ "kind": "push", "route": "onJoin", "body": { "name": "nina", "number": number } });
    let is_push = |event: &&serde_json::Value| event["kind"] == "push";
    let pushes: Vec<_> = events.iter().filter(is_push).cloned().collect();
    assert_eq!(pushes, [join(0), join(1), join(2)]);
    events.retain(|event| event["kind"] != "push");
    let expected = [
        json!({ "kind": "response", "route": "room.join",
                "body": { "big": 12_345_678_901_234_567_u64, "code": 200, "members": ["nina"] } }),
        json!({ "kind": "response", "route": "room.bytes", "base64": "AP8Q" }),
        json!({ "kind": "response", "route": "room.echo", "text": "plain" }),
        json!({ "kind": "response", "route": "room.echo" }),
        json!({ "kind": "error", "route": "room.fail", "code": "ROOM-002", "message": "no", "metadata": {},
                "body": { "code": "ROOM-002", "msg": "no" } }),
        json!({ "kind": "routes", "routes": ["onJoin", "room.bytes", "room.echo", "room.fail", "room.join"] }),
    ];
    assert_eq!(events[0]["state"], "connected");
    assert_eq!(events[1..7], expected);
    assert_eq!((&events[7]["state"], &events[7]["serializer"]), (&json!("connected"), &json!("json")));
    assert_eq!(events[8], json!({ "kind": "kick", "reason": "too loud" }));
    assert_eq!((&events[9]["kind"], &events[9]["fault"]), (&json!("failure"), &json!("failed")));
    assert_eq!(events.len(), 10, "{events:#?}");
}

#[test]
fn pushes_are_more_than_anybody_waits_for() {
    let room = server::room();
    let mut script = String::new();
    for number in 0..3000 {
        script += &format!("notify room.say {{\"number\": {number}}}\n");
    }
    script += "expect push onMessage within 20 number == 2999\n";
    repl(&[room.address("ws")], &script).ended(0, "");
}

#[test]
fn comes_back() {
    let room = server::room();
    let mut child = run::start(&["--reconnect", "--json", room.address("tcp")]);
    let mut input = child.stdin.take().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |state: &str| {
        let part = format!("\"state\":\"{state}\"");
        assert!(events.any(|event| event.unwrap().contains(&part)), "{state}");
    };
    until("connected");
    writeln!(input, "notify room.leave").unwrap();
    until("reconnecting");
    writeln!(input, "request room.echo 1\nexpect . == 1").unwrap();
    until("connected");
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn nobody_reads_what_is_printed() {
    let mut child = run::start(&[]);
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"help\nhelp\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("cereus: stdin:1: nobody reads"), "{output:?}");
}

#[test]
fn help_has_an_example() {
    let ran = repl(&["--help"], "").ended(0, "");
    assert!(ran.out.contains("expect push onMembers within 2"), "{}", ran.out);
    let ran = repl(&[], "help").ended(0, "");
    assert!(ran.out.contains("request ROUTE [BODY]"), "{}", ran.out);
}
