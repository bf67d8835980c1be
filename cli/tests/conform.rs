//! `cereus conform` against a server of Cereus, and against little servers that do one thing wrong.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

mod wrong;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::mpsc,
    thread,
    time::Duration,
};

use cereus::{App, Endpoint, Error, Json, Raw, Server, Service, Session, Tcp, TlsConfig, WebSocket};
use serde_json::Value;

use crate::wrong::{Fault, Wrong};

const ROUTES: &str = r#"
family = "cereus"
serializer = "json"
heartbeat = 1

[refused]
handshake = '{"sys":{"platform":"unwanted"}}'
[echo]
route = "room.echo"
body = '"$TEXT"'
[notify]
route = "room.say"
body = '"hello"'
push = "onSay"
[error]
route = "room.fail"
code = "GAME-001"
[missing]
route = "room.nothing"
[kick]
route = "room.leave"
[slow]
route = "room.think"
body = '"hard"'
"#;

/// A server with everything that the routes say.
fn app() -> Server {
    async fn echo(body: Raw) -> Raw {
        body
    }
    async fn say(session: Session, Raw(body): Raw) {
        let _ = session.push("onSay", Raw(body));
    }
    async fn fail() -> Result<Json<()>, Error> {
        Err(Error::new("GAME-001", "as you wish").with("why", "asked"))
    }
    async fn leave(session: Session) -> Raw {
        session.kick(None);
        Raw(Default::default())
    }
    async fn think(body: Raw) -> Raw {
        tokio::time::sleep(Duration::from_millis(400)).await;
        body
    }
    async fn wanted(_: Session, request: cereus::HandshakeRequest) -> Result<(), Error> {
        match &*request.platform {
            "unwanted" => Err(Error::new("GAME-002", "not you")),
            _ => Ok(()),
        }
    }
    let room = Service::new("room")
        .request("echo", echo)
        .notify("say", say)
        .request("fail", fail)
        .request("leave", leave)
        .request("think", think);
    App::new(())
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(1)))
        .dictionary([("room.echo", 1), ("onSay", 2)])
        .handshake_validator("wanted", wanted)
        .service(room)
        .build()
        .unwrap()
}

/// Serves until the test is over: where it listens.
fn serve(endpoint: Endpoint) -> String {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = app();
            let serving = tokio::spawn(cereus::tokio::serve(server.clone(), [endpoint]));
            tell.send(server.listening().await.unwrap()[0].to_string()).unwrap();
            serving.await.unwrap().unwrap();
        });
    });
    told.recv_timeout(Duration::from_secs(20)).unwrap()
}

/// A place for files of one test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn cereus(name: &str, arguments: &[&str]) -> Output {
    cereus_with(name, ROUTES, arguments)
}

fn cereus_with(name: &str, offer: &str, arguments: &[&str]) -> Output {
    let routes = folder(name).join("routes.toml");
    fs::write(&routes, offer).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cereus"));
    command.arg("conform").args(arguments).arg("--routes").arg(routes);
    command.output().unwrap()
}

/// Runs these checks: how the command ended, and each verdict with its reason.
fn check(name: &str, address: &str, only: &[&str]) -> (i32, Value) {
    let only = only.iter().flat_map(|id| ["--only", id]);
    let arguments: Vec<_> = [address, "--json", "--timeout", "3"].into_iter().chain(only).collect();
    let output = cereus(name, &arguments);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    fs::write(folder(name).join("report.json"), &output.stdout).unwrap();
    (output.status.code().unwrap(), report)
}

fn row<'a>(report: &'a Value, id: &str) -> &'a Value {
    let rows = report["checks"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("{id} is not in {report}"))
}

fn assert_verdict(report: &Value, id: &str, verdict: &str, reason: &str) {
    let row = row(report, id);
    assert_eq!(row["verdict"], verdict, "{row:#}");
    assert!(row["reason"].as_str().unwrap().contains(reason), "{row:#}");
}

/// Everything passes, nothing is skipped.
fn assert_passes(name: &str, endpoint: Endpoint) {
    let address = serve(endpoint);
    let (code, report) = check(name, &address, &[]);
    let others: Vec<_> = report["checks"].as_array().unwrap().iter().filter(|row| row["verdict"] != "pass").collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(code, 0);
}

#[test]
fn cereus_passes_over_tcp() {
    assert_passes("tcp", Tcp::bind("127.0.0.1:0"));
}

#[test]
fn cereus_passes_over_websocket() {
    assert_passes("websocket", WebSocket::bind("127.0.0.1:0"));
}

/// The same over TLS; what it carries is checked above.
fn assert_passes_encrypted(name: &str, endpoint: Endpoint) {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let address = serve(endpoint.tls(&TlsConfig::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()));
    let ca = folder(name).join("ca.pem");
    fs::write(&ca, chain).unwrap();
    let address = address.replace("127.0.0.1", "localhost");
    let arguments = [&*address, "--ca", ca.to_str().unwrap(), "--json", "--timeout", "3"];
    let groups = ["framing", "websocket", "messages", "kick", "robust"];
    let arguments: Vec<_> = arguments.into_iter().chain(groups.iter().flat_map(|group| ["--only", group])).collect();
    let output = cereus(name, &arguments);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let others: Vec<_> = report["checks"].as_array().unwrap().iter().filter(|row| row["verdict"] != "pass").collect();
    assert!(others.is_empty(), "{others:#?}");
    // Nobody else is trusted.
    let arguments = [&*address, "--only", "handshake.minimal"];
    let output = cereus(name, &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn cereus_passes_over_tls() {
    assert_passes_encrypted("tls", Tcp::bind("127.0.0.1:0"));
}

#[test]
fn cereus_passes_over_wss() {
    assert_passes_encrypted("wss", WebSocket::bind("127.0.0.1:0"));
}

#[test]
fn a_server_that_does_nothing_wrong_passes() {
    let server = Wrong::start(None);
    let ids =
        ["framing.split-bytes", "heartbeat.unprompted", "messages.echo", "order.pipelined", "framing.unknown-type"];
    let (code, report) = check("right", &server.address, &ids);
    assert_eq!((code, &report["summary"]["pass"]), (0, &5.into()), "{report:#}");
}

/// The little server is too little for the rest of the protocol: each check says what is missing.
#[test]
fn what_a_little_server_does_not_do() {
    let server = Wrong::start(None);
    let missing = [
        ("errors.unknown-route", "the answer has no error bit"),
        ("handshake.ack-first", "the connection stayed open"),
        ("handshake.bad-json", "the handshake `{` was answered with the code 200"),
        ("handshake.data-before-ack", "the server sent a packet of type 0x04, and the connection stayed open"),
        ("handshake.refused-code", "the code is 200, not 400"),
        ("heartbeat.silence", "the connection was still open after 4.5s"),
        ("kick.then-close", "a packet of type 0x04 came, and the connection stayed open"),
        ("messages.id-zero", "the answer to request 1 did not come: an answer to 0 came instead"),
        ("messages.ids", "the answer to request 128 did not come"),
        ("messages.notify-push", "the push onSay did not come within 1s"),
        ("messages.odd-route", "was answered without the error bit"),
        ("messages.unknown-code", "the connection stayed open"),
        ("messages.zlib", "the answer to request 1 did not come within 1s"),
    ];
    for (family, of_pitaya) in [("cereus", "fail"), ("pitaya", "warning")] {
        let offer = ROUTES.replace("\"cereus\"", &format!("\"{family}\""));
        let only = missing.iter().flat_map(|(id, _)| ["--only", id]);
        let arguments: Vec<_> = [&*server.address, "--json", "--timeout", "1"].into_iter().chain(only).collect();
        let output = cereus_with(&format!("little-{family}"), &offer, &arguments);
        let report = serde_json::from_slice(&output.stdout).unwrap();
        for (id, reason) in missing {
            assert_verdict(&report, id, if id == "handshake.ack-first" { of_pitaya } else { "fail" }, reason);
        }
    }
}

#[test]
fn packets_in_pieces() {
    let server = Wrong::start(Some(Fault::WantsWholePackets));
    let (code, report) = check("pieces", &server.address, &["framing.split-bytes", "messages.echo"]);
    assert_eq!(code, 1);
    assert_verdict(&report, "messages.echo", "pass", "");
    assert_verdict(&report, "framing.split-bytes", "fail", "the answer to the handshake did not come: ");
    // The bytes are there: each that was sent is an exchange.
    let exchange = &row(&report, "framing.split-bytes")["exchange"];
    assert_eq!((&exchange[0]["direction"], &exchange[0]["bytes"]), (&"sent".into(), &"01".into()));
}

#[test]
fn no_heartbeats() {
    let server = Wrong::start(Some(Fault::NeverBeats));
    let (code, report) = check("heartbeats", &server.address, &["heartbeat.unprompted", "heartbeat.kept-open"]);
    assert_eq!(code, 1);
    assert_verdict(&report, "heartbeat.unprompted", "fail", "no heartbeat came in 3.5s, though the server told 1s");
    assert_verdict(&report, "heartbeat.kept-open", "pass", "");
}

#[test]
fn two_answers() {
    let server = Wrong::start(Some(Fault::AnswersTwice));
    let (code, report) = check("twice", &server.address, &["order.pipelined", "messages.id-repeated"]);
    assert_eq!(code, 1);
    assert_verdict(&report, "order.pipelined", "fail", "request 1 was answered 2 times");
    assert_verdict(&report, "messages.id-repeated", "fail", "an answer to 5 came that nothing asked for");
}

#[test]
fn no_answers() {
    let server = Wrong::start(Some(Fault::IgnoresRequests));
    let (code, report) = check("ignores", &server.address, &["messages.echo", "handshake.reply"]);
    assert_eq!(code, 1);
    assert_verdict(&report, "handshake.reply", "pass", "");
    assert_verdict(&report, "messages.echo", "fail", "the answer to request 1 did not come within 3s");
}

#[test]
fn the_end_of_the_server() {
    let server = Wrong::start(Some(Fault::DiesOfGarbage));
    let (code, report) =
        check("dies", &server.address, &["framing.unknown-type", "framing.empty-data", "messages.echo"]);
    assert_eq!(code, 1);
    assert_verdict(&report, "messages.echo", "pass", "");
    assert_verdict(&report, "framing.unknown-type", "fail", "after it the server served no new client");
    assert_verdict(&report, "framing.empty-data", "skipped", "served anybody after framing.unknown-type");
}

#[test]
fn the_end_of_other_clients() {
    let server = Wrong::start(Some(Fault::DropsOthers));
    let (code, report) = check("others", &server.address, &["framing.empty-data", "framing.body-of-heartbeat"]);
    assert_eq!(code, 1);
    assert_verdict(&report, "framing.empty-data", "fail", "after it a client that was there before was not served");
    assert_verdict(&report, "framing.body-of-heartbeat", "pass", "");
}

#[test]
fn what_is_missing_is_skipped() {
    let address = serve(Tcp::bind("127.0.0.1:0"));
    let output = Command::new(env!("CARGO_BIN_EXE_cereus"))
        .args([
            "conform",
            &address,
            "--json",
            "--only",
            "messages.echo",
            "--only",
            "kick.then",
            "--only",
            "handshake.minimal",
        ])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_verdict(&report, "messages.echo", "skipped", "the file of routes has no [echo]");
    assert_verdict(&report, "kick.then-close", "skipped", "the file of routes has no [kick]");
    assert_verdict(&report, "handshake.minimal", "pass", "");
    assert_eq!((output.status.code(), &report["family"]), (Some(0), &"pitaya".into()));
}

#[test]
fn reports() {
    let server = Wrong::start(Some(Fault::IgnoresRequests));
    let folder = folder("reports");
    let [page, data] = ["report.html", "report.json"].map(|name| folder.join(name));
    let only = ["--only", "messages.echo", "--only", "handshake", "--timeout", "1"];
    let files = ["--report", page.to_str().unwrap(), "--report", data.to_str().unwrap()];
    let output = cereus("reports", &[&[server.address.as_str()], &only[..], &files[..]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("fail     messages.echo") && !text.contains('\x1b'), "{text}");
    assert!(text.contains("72 6f 6f 6d 2e 65 63 68 6f"), "the bytes are not there: {text}");

    let report: Value = serde_json::from_str(&fs::read_to_string(data).unwrap()).unwrap();
    assert_verdict(&report, "messages.echo", "fail", "did not come within 1s");
    assert_well_formed(&fs::read_to_string(page).unwrap());
}

/// Every tag is closed, in order, and nothing comes from elsewhere.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag has no end");
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if ["!doctype", "meta", "input"].contains(&name) => {}
            None => open.push(name),
        }
        for elsewhere in ["src=", "href=", "http", "<script"] {
            assert!(!tag.contains(elsewhere), "{tag}");
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!page.contains("url(") && page.contains("id=\"messages.echo\" open"));
}

#[test]
fn asked_wrongly() {
    for (arguments, expected) in [
        (&["http://a:1"][..], "`http://` is not known"),
        (&["tcp://127.0.0.1:1", "--only", "nothing"], "no check begins with nothing"),
        (&["tcp://127.0.0.1:1", "--only", "websocket"], "none of these checks makes sense over tcp://127.0.0.1:1"),
        (&["tcp://127.0.0.1:1", "--report", "a.pdf"], "must end in .html or .json"),
        (&[], "required arguments were not provided"),
    ] {
        let output = cereus("wrongly", arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let output = cereus("wrongly", &["tcp://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("tcp://127.0.0.1:1 cannot be reached"));
}
