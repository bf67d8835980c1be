//! `cereus record` and `cereus replay` between real clients and servers.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "support/recording.rs"]
mod recording;
#[path = "support/run.rs"]
mod run;
#[path = "support/server.rs"]
mod server;

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use cereus::{App, Error, Json, Raw, Service, Session};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    recording::{Client, Recording, lines, request, run},
    run::repl,
    server::{Running, folder},
};

const ONE: [&str; 3] = ["--max-sessions", "1", "--exit-at-limit"];

/// What is different on the other server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Changed {
    #[default]
    Nothing,
    Answers,
    Pushes,
    Kicks,
}

/// A server that gives each session a token, and serves only who shows it.
fn shop(changed: Changed) -> Running {
    static LOGINS: AtomicU32 = AtomicU32::new(0);
    let login = |session: Session, Json(login): Json<Value>| async move {
        let token = format!("token-{:08}", LOGINS.fetch_add(1, Relaxed));
        session.data(|data| data.set("token", &token)).unwrap();
        Json(json!({ "token": token, "name": login["name"] }))
    };
    let buy = move |session: Session, Json(order): Json<Value>| async move {
        if session.data(|data| data.string("token")).as_deref() != order["token"].as_str() {
            return Err(Error::new("SHOP-401", "who are you?"));
        }
        if changed == Changed::Answers && order["item"] == "sword" {
            return Err(Error::new("SHOP-404", "sold out"));
        }
        let price = if changed == Changed::Answers { 12 } else { 10 };
        Ok(Json(json!({ "items": [{ "name": order["item"], "price": price }], "time": LOGINS.load(Relaxed) })))
    };
    let say = move |session: Session, Json(said): Json<Value>| async move {
        if changed == Changed::Kicks {
            // Instead of the push, for which the replay waits: so it sees this in any case.
            session.kick(Some("too loud"));
            return Ok(());
        }
        let text = if changed == Changed::Pushes { json!("shh") } else { said["text"].clone() };
        session.push("onSaid", Json(json!({ "text": text })))?;
        Ok::<_, Error>(())
    };
    let service = Service::new("shop")
        .request("login", login)
        .request("buy", buy)
        .request("echo", |body: Raw| async { body })
        .notify("leave", leave)
        .notify("say", say);
    let app = App::new(()).server_type("game").service(service).dictionary([("shop.buy", 1), ("onSaid", 2)]);
    Running::serve(app, Arc::new(Notify::new()))
}

async fn leave(session: Session) {
    session.kick(Some("bye"));
}

const SCRIPT: &str = r#"request shop.login {"name": "nina", "password": "geheim"}
request shop.echo {"a": [1, 2.50, "x"]}
notify shop.say {"text": "hello"}
expect push onSaid within 20
request shop.echo plain
request shop.echo
request shop.echo null
request shop.nothing
expect error PIT-404
"#;

/// Records one session of this script.
fn record(scheme: &str, server: &str, folder: &Path, arguments: &[&str], script: &str) -> Vec<Value> {
    let recording = Recording::start(scheme, server, folder, &[&ONE[..], arguments].concat());
    repl(&[&recording.address, "--insecure"], script).ended(0, "");
    recording.ended().1
}

fn replay(folder: &Path, address: &str, arguments: &[&str]) -> run::Ran {
    let file = folder.join("recording.jsonl");
    run(&[&["replay", file.to_str().unwrap(), address, "--insecure"][..], arguments].concat())
}

#[test]
fn the_same_over_every_transport() {
    let (server, folder) = (shop(Changed::Nothing), folder());
    for (listens, to) in [("tcp", "tcp"), ("ws", "ws"), ("tcp", "wss"), ("ws", "tls")] {
        let lines = record(listens, server.address(to), &folder, &["--insecure"], SCRIPT);
        assert_eq!(lines[0]["cereus-record"], 1);
        let messages: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
        assert_eq!((&messages[0]["route"], &messages[0]["body"]["name"]), (&json!("shop.login"), &json!("nina")));
        assert!(lines.iter().any(|line| line["message"] == "push" && line["route"] == "onSaid"), "{lines:#?}");
        assert_eq!((&messages[2]["text"], &messages[3].get("text")), (&json!("plain"), &None));
        assert_eq!(lines.last().unwrap()["line"], "end");
        for to in ["tcp", "ws", "tls", "wss"] {
            let ran = replay(&folder, server.address(to), &["--ignore", "token"]).ended(0, "");
            let summary = "1 sessions, 6 requests and 1 notifies sent, 6 answers and 1 pushes compared: all the same";
            assert!(ran.out.contains(summary), "{ran:#?}");
        }
    }
}

#[test]
fn differences_are_named() {
    let (server, folder) = (shop(Changed::Nothing), folder());
    let recording = Recording::start("tcp", server.address("tcp"), &folder, &ONE);
    let mut client = Client::connect(&recording.address, r#"{"sys":{"platform":"x"}}"#);
    client.send(4, &request(1, "shop.login", r#"{"name":"nina"}"#));
    let answer: Value = serde_json::from_slice(&client.receive().1[2..]).unwrap();
    for (id, item) in [(2, "shield"), (3, "sword")] {
        let body = json!({ "item": item, "token": answer["token"] }).to_string();
        // The route as a code of the dictionary, which is not text on the wire.
        client.send(4, &[&[1, id, 0, 1][..], body.as_bytes()].concat());
        client.receive();
    }
    client.send(4, b"\x02\x08shop.say{\"text\":\"hello\"}");
    client.receive();
    client.send(4, &request(4, "shop.echo", "1"));
    client.receive();
    client.leave();
    let (_, lines) = recording.ended();
    assert_eq!(lines.iter().filter(|line| line["route"] == "shop.buy").count(), 4, "{lines:#?}");

    // The token is another one each time, and so is the time.
    replay(&folder, server.address("tcp"), &["--ignore", "time"]).ended(0, "");
    let ran = replay(&folder, server.address("tcp"), &["--no-learn", "--ignore", "time"]).ended(1, "");
    assert!(ran.out.contains("session 1, 1 shop.login: token: expected \"token-"), "{ran:#?}");
    assert!(ran.out.contains("session 1, 2 shop.buy: an error came: expected {\"items\""), "{ran:#?}");

    let ran = replay(&folder, shop(Changed::Answers).address("ws"), &["--ignore", "time"]).ended(1, "");
    assert!(ran.out.contains("session 1, 2 shop.buy: items[0].price: expected 10, got 12\n"), "{ran:#?}");
    assert!(ran.out.contains("session 1, 3 shop.buy: an error came: expected "), "{ran:#?}");
    assert!(ran.out.contains("got {\"code\":\"SHOP-404\""), "{ran:#?}");
    assert!(ran.out.contains("learnt in session 1: token: \"token-"), "{ran:#?}");
    assert!(ran.out.ends_with(": 2 differences\n"), "{ran:#?}");

    let quiet = shop(Changed::Pushes);
    let ran = replay(&folder, quiet.address("tcp"), &["--ignore", "time", "--json"]).ended(1, "");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let expected = json!([{ "session": 1, "of": "push", "number": 1, "route": "onSaid", "path": "text",
                            "expected": "hello", "got": "shh" }]);
    assert_eq!((&report["same"], &report["differences"]), (&json!(false), &expected));
    for arguments in [["--ignore", "time", "--no-pushes"], ["--ignore", "time", "--ignore=route:onSaid#text"]] {
        replay(&folder, quiet.address("tcp"), &arguments).ended(0, "");
    }

    let ran = replay(&folder, shop(Changed::Kicks).address("tcp"), &["--ignore=time"]).ended(1, "");
    assert!(ran.out.contains("session 1, kick: it was not recorded: expected nothing, got "), "{ran:#?}");
}

#[test]
fn redacted_values_never_reach_the_file() {
    let (server, folder) = (shop(Changed::Nothing), folder());
    let rules = ["--redact", "token", "--redact", "route:shop.login#password"];
    let recording = Recording::start("tcp", server.address("tcp"), &folder, &[&ONE[..], &rules].concat());
    let mut client =
        Client::connect(&recording.address, r#"{"sys":{"platform":"x"},"user":{"token":"from-the-user"}}"#);
    let mut ask = |message: &[u8]| {
        client.send(4, message);
        client.receive().1
    };
    let answer = ask(&request(1, "shop.login", r#"{"name": "nina", "password": "geh\u0065im!"}"#));
    let answer: Value = serde_json::from_slice(&answer[2..]).unwrap();
    let token = answer["token"].as_str().unwrap();
    ask(&[&[1, 2, 0, 1][..], json!({ "item": "sword", "token": token }).to_string().as_bytes()].concat());
    // In other places, and deflated.
    ask(&request(3, "shop.echo", &json!({ "auth": format!("Bearer {token}") }).to_string()));
    let long = json!({ "auth": format!("{token} {}", "x".repeat(200)) }).to_string();
    let deflated = miniz_oxide::deflate::compress_to_vec_zlib(long.as_bytes(), 6);
    ask(&[&[0x10, 4, 9][..], b"shop.echo", &deflated].concat());
    ask(&request(5, "shop.echo", &format!("token={token}")));
    client.leave();
    let (err, _) = recording.ended();
    assert!(err.contains("2 bodies are left out"), "{err}");

    let file = folder.join("recording.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    for secret in ["geheim", "from-the-user", token] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    for line in lines(&file) {
        let raw = line["raw"].as_str().unwrap_or_default();
        let raw = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, raw).unwrap();
        let inflated =
            miniz_oxide::inflate::decompress_to_vec_zlib(raw.get(16..).unwrap_or_default()).unwrap_or_default();
        for bytes in [raw, inflated] {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(!text.contains("geh") && !text.contains(token) && !text.contains("from-the-user"), "{line}");
        }
    }
    // Each value has a placeholder of its own, wherever it is.
    let lines = lines(&file);
    let body = |message: &str, id: u64| {
        let line = lines.iter().find(|line| line["message"] == message && line["id"] == id).unwrap();
        line["body"].clone()
    };
    assert_eq!(body("request", 1), json!({ "name": "nina", "password": "{{password#2}}" }));
    assert_eq!(body("response", 1), json!({ "name": "nina", "token": "{{token#3}}" }));
    assert_eq!(body("request", 2), json!({ "item": "sword", "token": "{{token#3}}" }));
    assert_eq!(body("request", 3), json!({ "auth": "Bearer {{token#3}}" }));
    let dropped = lines.iter().filter(|line| line.get("dropped").is_some()).count();
    assert_eq!(dropped, 2, "{lines:#?}");

    // What nobody tells has to be given; the token comes with the login.
    let address = server.address("tcp");
    replay(&folder, address, &["--ignore", "time"])
        .ended(2, "{{token#1}} of session 1 was redacted, and no answer before tells it: --set 'token#1=…'");
    replay(&folder, address, &["--set", "pasword=x"])
        .ended(2, "--set pasword: nothing that is sent was redacted under this name, but password#2, token#1, token#3");
    let given = ["--ignore", "time", "--set", "token#1=abc", "--set", "password=geheim"];
    let ran = replay(&folder, address, &given).ended(0, "");
    assert!(ran.out.contains("not played: session 1, 5 shop.echo: its body was left out of the recording"), "{ran:#?}");
    assert!(ran.out.contains("4 requests and 0 notifies sent, 4 answers"), "{ran:#?}");
}

#[test]
fn what_was_pipelined_is_pipelined_again() {
    let (server, folder) = (shop(Changed::Nothing), folder());
    let recording = Recording::start("tcp", server.address("tcp"), &folder, &ONE);
    let mut client = Client::connect(&recording.address, "{}");
    for id in 1..=50 {
        client.send(4, &request(id, "shop.echo", &format!("{{\"n\":{id}}}")));
    }
    for _ in 1..=50 {
        client.receive();
    }
    client.leave();
    recording.ended();
    let ran = replay(&folder, server.address("tcp"), &["--speed", "100"]).ended(0, "");
    assert!(ran.out.contains("50 answers"), "{ran:#?}");
}

/// A room whose members are told of those who come.
fn lobby() -> Running {
    let members = Arc::new(Mutex::new(Vec::<Session>::new()));
    let join = move |session: Session, Json(name): Json<String>| {
        let members = Arc::clone(&members);
        async move {
            let mut members = members.lock().unwrap();
            for member in members.iter() {
                // Those who left are there as well.
                let _ = member.push("onJoin", Json(json!({ "name": name })));
            }
            members.push(session);
            Json(true)
        }
    };
    let service = Service::new("lobby").request("join", join);
    Running::serve(App::new(()).server_type("game").service(service), Arc::new(Notify::new()))
}

#[test]
fn several_sessions_are_played_together() {
    let (server, folder) = (lobby(), folder());
    let arguments = ["--max-sessions", "2", "--exit-at-limit"];
    let recording = Recording::start("tcp", server.address("tcp"), &folder, &arguments);
    let mut clients = ["\"nina\"", "\"nino\""].map(|name| {
        let mut client = Client::connect(&recording.address, "{}");
        client.send(4, &request(1, "lobby.join", name));
        client.receive();
        client
    });
    clients[0].receive();
    for client in clients {
        client.leave();
    }
    recording.ended();
    let ran = replay(&folder, server.address("ws"), &[]).ended(0, "");
    assert!(ran.out.contains("2 sessions, 2 requests and 0 notifies sent, 2 answers and 1 pushes"), "{ran:#?}");
    let ran = replay(&folder, lobby().address("tcp"), &["--session", "1", "--timeout", "0.5"]).ended(1, "");
    let expected = "session 1, push 1 onJoin: it did not come: expected {\"name\":\"nino\"}, got nothing\n";
    assert!(ran.out.contains(expected), "{ran:#?}");
}

#[test]
fn a_server_that_ends_it_is_expected_to() {
    let (server, folder) = (shop(Changed::Nothing), folder());
    let recording = Recording::start("tcp", server.address("tcp"), &folder, &ONE);
    let mut client = Client::connect(&recording.address, "{}");
    client.send(4, b"\x02\x0ashop.leave");
    while client.receive().0 != 5 {}
    client.leave();
    let (_, lines) = recording.ended();
    assert!(lines.iter().any(|line| line["packet"] == "kick"), "{lines:#?}");
    replay(&folder, server.address("tcp"), &[]).ended(0, "");
}

#[test]
fn recording_is_bounded() {
    let (server, folder) = (shop(Changed::Nothing), folder());
    let mut recording = Recording::start("tcp", server.address("tcp"), &folder, &["--max-bytes", "3000"]);
    let mut client = Client::connect(&recording.address, "{}");
    for id in 1..=100 {
        client.send(4, &request(id, "shop.echo", "{\"text\":\"0123456789\"}"));
        client.receive();
    }
    // It went on as a proxy.
    recording.until("is as long as --max-bytes allows");
    client.leave();
    recording.interrupt();
    let file = recording.file.clone();
    let (_, lines) = recording.ended();
    assert_eq!(lines.last().unwrap()["why"], "max-bytes");
    let len = fs::metadata(file).unwrap().len();
    assert!((2000..=3000).contains(&len), "{len}");
    // What has an answer in it can be replayed.
    replay(&folder, server.address("tcp"), &[]).ended(0, "");

    let recording = Recording::start("tcp", server.address("tcp"), &folder, &["--max-sessions", "2"]);
    for _ in 0..3 {
        let mut client = Client::connect(&recording.address, "{}");
        client.send(4, &request(1, "shop.echo", "1"));
        client.receive();
        client.leave();
    }
    recording.interrupt();
    let (_, lines) = recording.ended();
    let sessions: Vec<_> = lines.iter().filter(|line| line["line"] == "close").map(|line| &line["session"]).collect();
    assert_eq!(sessions, [1, 2]);
    let ran = replay(&folder, server.address("tcp"), &["--session", "2"]).ended(0, "");
    assert!(ran.out.contains("1 sessions, 1 requests"), "{ran:#?}");
    replay(&folder, server.address("tcp"), &["--session", "3"]).ended(2, "has no such session");

    let arguments = ["--max-duration", "0.2", "--exit-at-limit"];
    let (err, lines) = Recording::start("ws", server.address("ws"), &folder, &arguments).ended();
    assert!(err.contains("--max-duration"), "{err}");
    assert_eq!(lines.last().unwrap()["why"], "max-duration");
}

#[test]
fn mistakes_are_told_in_a_line() {
    let (server, folder) = (shop(Changed::Nothing), folder());
    record("tcp", server.address("tcp"), &folder, &[], "request shop.echo 1\n");
    let nowhere = server::nowhere();
    replay(&folder, &nowhere, &[]).ended(1, &format!("cereus: tcp://{nowhere}: Connection refused"));
    replay(&folder, "http://a", &[]).ended(2, "`http://` is not known");
    replay(&folder, &nowhere, &["--speed", "0"]).ended(2, "this must be 'max' or a number above 0");
    replay(&folder, &nowhere, &["--ignore", "a..b"]).ended(2, "has a name that is empty");
    replay(&folder, &nowhere, &["--set", "a"]).ended(2, "name=value");
    let file = folder.join("recording.jsonl");
    let file = file.to_str().unwrap();
    let text = fs::read(file).unwrap();
    fs::write(file, [&text[..], b"{\"line\":\"party\"}\n"].concat()).unwrap();
    replay(&folder, &nowhere, &[]).ended(2, ": this is no line of a recording: unknown variant `party`");
    // Whoever recorded was killed: what is whole is played.
    fs::write(file, &text[..text.len() - 10]).unwrap();
    replay(&folder, server.address("tcp"), &[]).ended(0, "");
    for wrong in [&b"{\"a\": 1}\n"[..], b"", b"\xff\x00"] {
        fs::write(file, wrong).unwrap();
        replay(&folder, &nowhere, &[]).ended(2, "recording.jsonl:1: this is no recording of `cereus record`");
    }
    fs::write(file, "{\"cereus-record\":2,\"started\":\"\",\"server\":\"\"}\n").unwrap();
    replay(&folder, &nowhere, &[]).ended(2, "this recording has version 2, and only 1 is known");
    run(&["replay", "/nothing", &nowhere]).ended(2, "/nothing cannot be read: No such file");

    for (arguments, code, why) in [
        (["wss://a:1", "tcp://a:1", file], 2, "use tcp or ws"),
        (["tcp://a", "tcp://a:1", file], 2, "write it as 'tcp://host:port'"),
        (["tcp://127.0.0.1:0", "tcp://a", file], 2, "has no port"),
        (["tcp://127.0.0.1:0", "tcp://a:1", "/nothing/file"], 2, "/nothing/file cannot be written"),
        ([server.address("tcp"), "tcp://a:1", file], 1, "choose another port"),
    ] {
        let [listen, to, out] = arguments;
        run(&["record", listen, to, "--out", out]).ended(code, why);
    }
}

#[test]
fn nobody_behind_the_proxy() {
    let folder = folder();
    let nowhere = server::nowhere();
    let mut recording = Recording::start("tcp", &nowhere, &folder, &[]);
    let place = recording.address.strip_prefix("tcp://").unwrap().to_owned();
    repl(&[&format!("tcp://{place}")], "").ended(1, "the server closed the connection without an answer");
    recording.until("is turned away: tcp://");
}
