//! `cereus bot` against servers of this process.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "support/explorable.rs"]
mod explorable;
#[path = "support/redis.rs"]
mod redis;
#[path = "support/server.rs"]
mod server;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use cereus::{App, Json, Service, Session};
use cereus_cli::bot::{Bot, BotError, Player, Runner};
use serde_json::{Value, json};

use crate::{redis::Redis, server::Running};

/// How it ended, and what it wrote.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// It ended so, and said so: the report, or what was wrong.
    #[track_caller]
    fn ended(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(self.out.contains(text) || self.err.contains(text), "{text} is not in {self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect(&self.out)
    }
}

/// `cereus bot` in this folder.
fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cereus"));
    command.current_dir(folder).arg("bot").args(arguments.split_whitespace());
    command
}

fn run(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Each bot runs once, and begins at once.
fn once(folder: &Path, arguments: &str) -> Ran {
    run(command(folder, &format!("run --duration 0 --max-sleep 0 {arguments}")))
}

/// A folder with this spec at `specs/a.json`.
fn folder(spec: &Value) -> PathBuf {
    let folder = server::folder();
    write(&folder, spec);
    folder
}

fn write(folder: &Path, spec: &Value) {
    fs::create_dir_all(folder.join("specs")).unwrap();
    fs::write(folder.join("specs/a.json"), spec.to_string()).unwrap();
}

fn steps(steps: Value) -> Value {
    json!({ "sequentialOperations": steps })
}

/// The server that pitaya-bot's own spec is for.
fn connector() -> Running {
    let player = || json!({ "accessToken": "6f1a", "name": "nina" });
    let create = move || async move { Json(json!({ "code": "200", "player": player() })) };
    let authenticate = move |Json(told): Json<Value>| async move {
        let code = if told["accessToken"] == "6f1a" { "200" } else { "403" };
        Json(json!({ "code": code, "player": player() }))
    };
    let find = async |session: Session, Json(wanted): Json<Value>| {
        // It comes before the answer: bots listen later.
        let found = json!({ "code": "200", "ip": "127.0.0.1", "port": 9090, "room": wanted["roomType"] });
        let _ = session.push("connector.playerHandler.matchfound", Json(found));
        Json(json!({ "code": "200" }))
    };
    let service = Service::new("playerHandler")
        .request("create", create)
        .request("authenticate", authenticate)
        .request("findmatch", find);
    Running::serve(App::new(()).server_type("connector").service(service), Arc::default())
}

/// Of the same shape as pitaya-bot's.
fn match_spec(code: &str) -> Value {
    let ok = json!({ "type": "string", "value": code });
    let token = json!({ "type": "string", "value": "$store.token" });
    json!({
        "numberOfInstances": 1,
        "preRun": { "function": "redis", "args": { "name": "test", "failEmpty": false } },
        "postRun": { "function": "redis", "args": { "name": "test" } },
        "sequentialOperations": [
            {
                "type": "request", "uri": "connector.playerHandler.create",
                "expect": { "$response.code": ok },
                "store": { "token": { "type": "string", "value": "$response.player.accessToken" } }
            },
            { "type": "function", "uri": "reconnect" },
            {
                "type": "request", "uri": "connector.playerHandler.authenticate",
                "args": { "accessToken": token },
                "expect": { "$response.code": ok, "$response[\"player\"].accessToken": token }
            },
            {
                "type": "request", "uri": "connector.playerHandler.findmatch",
                "args": { "roomType": { "type": "string", "value": "default" } },
                "expect": { "$response.code": ok }
            },
            {
                "type": "listen", "uri": "connector.playerHandler.matchfound", "timeout": 10000,
                "expect": {
                    "$response.code": ok,
                    "$response.port": { "type": "int", "value": 9090 }
                }
            }
        ]
    })
}

#[test]
fn a_spec_of_pitaya_bot_runs_unchanged() {
    let (server, redis) = (connector(), Redis::start(&[r#"{"level": 3}"#]));
    let folder = folder(&match_spec("200"));
    let config = format!("server:\n  host: \"{}\"\n  handshake: >\n    {{}}\n", server.place("tcp"));
    fs::create_dir_all(folder.join("config")).unwrap();
    fs::write(folder.join("config/config.yaml"), config).unwrap();
    let bot = || {
        let mut command = command(&folder, "run --duration 0 --max-sleep 0");
        command.env("PITAYABOT_CUSTOM_REDIS_PRE_URL", redis.url());
        command.env("PITAYABOT_CUSTOM_REDIS_POST_URL", redis.url());
        command
    };
    let ran = run(bot()).ended(0, "runs       1, 0 failed");
    assert!(ran.out.contains("1 of connector.playerHandler.create: p50 "), "{ran:#?}");
    assert_eq!(redis.available(), [r#"{"level":3,"token":"6f1a"}"#]);

    write(&folder, &match_spec("201"));
    run(bot()).ended(
        1,
        "1 x ./specs/a.json: step 1 (request connector.playerHandler.create): expected $response.code == \"201\", but it is \"200\"",
    );
    // A run that failed keeps nothing.
    assert!(redis.available().is_empty());
    let mut spec = match_spec("200");
    spec["preRun"]["args"]["failEmpty"] = true.into();
    write(&folder, &spec);
    run(bot()).ended(1, "./specs/a.json: preRun (redis): nothing is available for `test`");
}

#[test]
fn loops_parallels_and_delays() {
    let server = server::room();
    let echo = json!({
        "type": "request", "uri": "room.echo", "args": { "n": { "type": "float", "value": 1.5 } },
        "expect": { "$response.n": { "type": "float", "op": ">", "value": 1.25 } }
    });
    let say =
        json!({ "type": "notify", "uri": "room.say", "args": { "text": { "type": "string", "value": "hello" } } });
    let hear = json!({
        "type": "listen", "uri": "onMessage", "expect": { "$response.text": { "type": "string", "value": "hello" } }
    });
    let both = json!({ "type": "parallel", "operations": [hear, say, { "type": "delay", "ms": 1 }] });
    let mut spec = steps(json!([{ "type": "loop", "times": 3, "operations": [echo, echo, both] }]));
    spec["numberOfInstances"] = 2.into();
    let folder = folder(&spec);
    let host = server.address("ws");
    let report = once(&folder, &format!("--host {host} --json -q")).ended(0, "").json();
    assert_eq!((&report["runs"], &report["failed"], &report["answered"]), (&2.into(), &0.into(), &12.into()));
    assert_eq!((&report["notifies"], &report["pushes"]), (&6.into(), &6.into()));
    assert_eq!(report["routes"][0]["route"], "room.echo");

    let mut config = command(&folder, &format!("run --duration 0 --host {host} --instances 3 --json"));
    config.env("PITAYABOT_BOT_SPEC_PARALLELISM", "2").env("PITAYABOT_BOT_OPERATION_MAXSLEEP", "1ms");
    assert_eq!(run(config).ended(0, "").json()["runs"], 6);

    let mut deaf = hear;
    deaf["timeout"] = 50.into();
    let parallel = json!({ "type": "parallel", "operations": [echo, deaf] });
    write(&folder, &steps(json!([{ "type": "loop", "times": 1, "operations": [parallel] }])));
    once(&folder, &format!("--host {host}")).ended(1, "step 1.1.2 (listen onMessage): none came within 50ms");
}

#[test]
fn errors_are_answers_unless_they_may_not_be() {
    let server = server::room();
    let folder = folder(&steps(json!([
        { "type": "request", "uri": "room.fail", "expect": { "$response.code": { "type": "string", "value": "ROOM-002" } } },
        { "type": "request", "uri": "room.nothing" }
    ])));
    let host = server.place("ws");
    let ran = once(&folder, &format!("--host {host}")).ended(0, "errors     1 x ROOM-002 (room.fail)");
    assert!(ran.out.contains("1 x PIT-404 (room.nothing)"), "{ran:#?}");
    once(&folder, &format!("--host {host} --strict"))
        .ended(1, "step 1 (request room.fail): the server answered with an error: ROOM-002: no");
    let token = json!({ "token": { "type": "string", "value": "$response.token" } });
    write(&folder, &steps(json!([{ "type": "request", "uri": "room.fail", "store": token }])));
    // It would go on for an hour otherwise.
    let stops = command(&folder, &format!("run --host {host} --stop-on-error --duration 1h --max-sleep 0"));
    run(stops).ended(1, "`token` cannot be stored from $response.token: there is no `token` in");
    write(&folder, &steps(json!([{ "type": "request", "uri": "room.silent", "timeout": 50 }])));
    once(&folder, &format!("--host {host}")).ended(1, "step 1 (request room.silent): no answer within 50ms");
    let kick = json!([{ "type": "notify", "uri": "room.kick" }, { "type": "listen", "uri": "onX" }]);
    write(&folder, &steps(kick));
    once(&folder, &format!("--host {host}")).ended(1, "none came, and the connection ended: kicked");
}

#[test]
fn every_transport() {
    let server = server::room();
    let echo = json!({ "type": "request", "uri": "room.echo" });
    let connect = |host: &str| {
        json!({
            "type": "function", "uri": "connect", "args": { "host": { "type": "string", "value": host } }
        })
    };
    let there = server.address("tcp");
    let folder = folder(&steps(json!([
        echo, { "type": "function", "uri": "disconnect" }, { "type": "function", "uri": "connect" }, echo,
        connect(there), echo, { "type": "function", "uri": "reconnect" }, echo
    ])));
    for (scheme, flags) in [("tcp", ""), ("ws", ""), ("tls", "--tls --insecure"), ("wss", "--tls --insecure")] {
        for host in [server.address(scheme), server.place(scheme)] {
            let report = once(&folder, &format!("--host {host} {flags} --json")).ended(0, "").json();
            assert_eq!(report["answered"], 4, "{host}");
        }
    }
    once(&folder, &format!("--tls --host {}", server.place("wss"))).ended(1, "--insecure");
    let mut trusting = command(&folder, &format!("run --duration 0 --tls --host {}", server.place("tls")));
    trusting.env("PITAYABOT_SERVER_INSECURE", "true");
    run(trusting).ended(0, "");
    let gone = json!([{ "type": "function", "uri": "disconnect" }, echo]);
    write(&folder, &steps(gone));
    once(&folder, &format!("--host {there}")).ended(1, "step 2 (request room.echo): there is no connection");
}

/// One request by hand.
fn scrape(port: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn prometheus_reads_the_last_counts() {
    let server = server::room();
    let folder = folder(&steps(json!([
        { "type": "request", "uri": "room.echo" }, { "type": "request", "uri": "room.fail" },
        { "type": "request", "uri": "room.silent", "timeout": 20 }
    ])));
    let arguments =
        format!("run --duration 0 --max-sleep 0 --host {} --report-metrics --metrics-port 0", server.address("tcp"));
    let mut bot = command(&folder, &arguments);
    let mut child = bot.env("PITAYABOT_GAME", "demo").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let port =
        lines.find_map(|line| Some(line.split_once("http://localhost:")?.1.split_once('/')?.0.to_owned())).unwrap();
    lines.find(|line| line.contains("waiting for Prometheus")).unwrap();
    assert!(scrape(&port, "/").starts_with("HTTP/1.1 404 "));
    let page = scrape(&port, "/metrics");
    let labels = |route: &str| format!("{{clientType=\"pitaya-bot\",game=\"demo\",route=\"{route}\"");
    for line in [
        format!("pitaya_bot_demo_handler_response_time_ms_count{}}} 1", labels("room.echo")),
        format!("pitaya_bot_demo_handler_response_time_histogram_ms_bucket{},le=\"+Inf\"}} 1", labels("room.echo")),
        format!("pitaya_bot_demo_handler_error_count{}}} 1", labels("room.silent")),
        format!("pitaya_bot_demo_handler_error_answer_count{},code=\"ROOM-002\"}} 1", labels("room.fail")),
        "pitaya_bot_demo_run_failure_count{clientType=\"pitaya-bot\",game=\"demo\"} 1".to_owned(),
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let unread = format!("{arguments} --metrics-wait 10ms");
    run(command(&folder, &unread)).ended(1, "nobody has read the metrics");
}

#[test]
fn a_history_becomes_a_spec() {
    let server = server::room();
    let folder = server::folder();
    let history =
        "connect a:1\nrequest room.echo {\"text\": \"a  b\", \"n\": 1.5}\nnotify room.say {}\nrequest room.bad {\n";
    fs::write(folder.join("history"), history).unwrap();
    let ran = run(command(&folder, "history history")).ended(0, "history:4: left out: its body is no JSON");
    let mut spec = ran.json();
    assert_eq!(spec["sequentialOperations"].as_array().unwrap().len(), 1);
    spec["sequentialOperations"][0]["expect"] = json!({ "$response.text": { "type": "string", "value": "a  b" } });
    fs::write(folder.join("played.json"), spec.to_string()).unwrap();
    once(&folder, &format!("played.json --host {}", server.address("tcp"))).ended(0, "1 of room.echo: p50 ");
    run(command(&folder, "history history -s out.json")).ended(0, "");
    assert!(fs::read_to_string(folder.join("out.json")).unwrap().contains("\"numberOfInstances\": 1"));
    fs::write(folder.join("history"), "connect a:1\n").unwrap();
    run(command(&folder, "history history")).ended(1, "there is no request in it");
    run(command(&folder, "history nothing")).ended(2, "nothing cannot be read");
}

#[test]
fn bodies_in_protobuf() {
    let folder = server::folder();
    let server = explorable::server(&folder);
    let place =
        |kind: &str, value: i32| json!({ "type": "object", "value": { kind: { "type": "int", "value": value } } });
    write(
        &folder,
        &json!({
            "preRun": { "function": "initializeDb" }, "postRun": { "function": "saveToFile" },
            "sequentialOperations": [
                { "type": "request", "uri": "game.room.join",
                  "args": { "name": { "type": "string", "value": "nina" }, "place": place("x", 3) },
                  "expect": { "$response.code": { "type": "int", "value": 200 }, "$response.you.place.y": { "type": "int", "value": 0 } },
                  "store": { "name": { "type": "string", "value": "$response.you.name" } } },
                { "type": "request", "uri": "game.room.join",
                  "expect": { "$response.code": { "type": "string", "value": "ROOM-001" },
                              "$response.metadata.hint": { "type": "string", "value": "name" } } },
                { "type": "notify", "uri": "game.room.say", "args": { "place": place("y", -4) } },
                { "type": "listen", "uri": "onMove", "expect": { "$response.to.y": { "type": "int", "value": -4 } } }
            ]
        }),
    );
    let config = "server:\n  serializer: protobuffer\n  protobuffer:\n    docs: game.room.docs\n    pushinfo:\n      routes:\n        - onMove\n      protos:\n        - game.Moved\n";
    fs::write(folder.join("bot.yaml"), config).unwrap();
    let ran = once(&folder, &format!("--config bot.yaml --host {}", server.place("tcp"))).ended(0, "0 failed");
    assert!(
        ran.err.contains("cereus: ./specs/a.json: preRun: the function `initializeDb` is not known, and does nothing"),
        "{ran:#?}"
    );
    let types = "--proto game.proto --route-type game.room.join=game.Join,game.Joined --route-type game.room.say=game.Join, --push-type onMove=game.Moved";
    once(&folder, &format!("{types} --host {}", server.address("ws"))).ended(0, "0 failed");
    let types = "--proto game.proto --route-type game.room.join=game.Join,game.Joined";
    once(&folder, &format!("{types} --host {}", server.address("ws")))
        .ended(1, "step 3 (notify game.room.say): the type of its body is not known");
}

#[test]
fn mistakes_are_told_in_a_line() {
    let server = server::room();
    let host = server.address("tcp");
    let folder = folder(&steps(json!([{ "type": "request", "uri": "room.echo", "delay": 1 }])));
    let file = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    file("bad.json", "{\"sequentialOperations\": [{\"type\": \"reqest\", \"uri\": \"a\"}]}");
    file("broken.json", "{");
    file("idle.json", "{\"numberOfInstances\": 0, \"sequentialOperations\": []}");
    file("redis.json", "{\"preRun\": {\"function\": \"redis\"}, \"sequentialOperations\": []}");
    file("cluster.yaml", "kubernetes:\n  cpu: 1");
    file("unknown.yaml", "server:\n  hots: a\nbot:\n  x: 1");
    file("broken.yaml", "server:\n  host: [");
    file("storage.yaml", "storage:\n  type: disk");
    fs::create_dir(folder.join("empty")).unwrap();
    file(
        "wrong.json",
        "{\"expect\": 1, \"sequentialOperations\": [{\"type\": \"request\", \"uri\": \"room.echo\", \"expects\": {\"x\": 1}}]}",
    );
    let nowhere = server::nowhere();
    for (arguments, code, why) in [
        (
            &*format!("--host {host}"),
            0,
            "./specs/a.json: ignored, for it means nothing there: `delay` of step 1 (request room.echo)",
        ),
        (&format!("--host {nowhere}"), 1, "cannot be reached: Connection refused"),
        ("--host localhost", 2, "`localhost` has no port"),
        ("bad.json", 2, "cereus: bad.json: step 1 (reqest a): `reqest` is no type of operation"),
        ("broken.json", 2, "cereus: broken.json: this is no JSON: EOF"),
        (&format!("wrong.json --host {host}"), 0, "`expects` (did you mean `expect`?) of step 1 (request room.echo)"),
        ("specs", 2, "which server? Say --host ADDRESS"),
        ("redis.json", 2, "redis.json: preRun: the function redis needs a text as `name`"),
        (&format!("idle.json --host {host}"), 1, "idle.json: it has no instances"),
        ("nothing.json", 2, "nothing.json cannot be read: No such file"),
        ("-d empty", 2, "there is no spec, a file *.json, in empty"),
        ("--config nothing.yaml", 2, "nothing.yaml cannot be read"),
        (&format!("--config cluster.yaml --host {host}"), 0, "cluster.yaml: `kubernetes` is for a cluster"),
        (
            &format!("--config unknown.yaml --host {host}"),
            0,
            "`server.hots` is not known (did you mean `server.host`?)",
        ),
        ("--config broken.yaml", 2, "cereus: broken.yaml: this is no YAML: "),
        ("--config storage.yaml", 2, "storage.type: `disk` is not known"),
        ("--timeout 5", 2, "`5` is no duration: write it as 1m30s or 500ms"),
        ("--handshake {", 2, "this is no handshake"),
        ("--push-type onMove", 2, "write it as ROUTE=TYPE"),
        ("--docs a --proto b", 2, "cannot be used with"),
    ] {
        once(&folder, arguments).ended(code, why);
    }
    run(command(&folder.join("empty"), "run")).ended(2, "there are no specs in ./specs/: name files or folders");
    run(command(&folder, "run --help")).ended(0, "\"type\": \"loop\", \"times\": 3");
}

#[test]
fn what_is_typed_for_pitaya_bot() {
    let server = server::room();
    let host = server.address("tcp");
    let folder = folder(&steps(json!([{ "type": "request", "uri": "room.fail", "args": {} }])));
    for (arguments, code, why) in [
        ("-d specs -t local -v 1 -j", 0, "\"runs\":1"),
        (
            "--pitaya-bot-type=local --logJSON -v3",
            0,
            "bot 0: ./specs/a.json: step 1 (request room.fail): {\"code\":\"ROOM-002\",",
        ),
        ("-v3 --strict", 1, "step 1 (request room.fail): FAILED: the server answered with an error: ROOM-002: no"),
        ("--delete", 0, "--delete does nothing"),
        ("-t deploy-manager", 2, "there is no `deploy-manager`, for nothing here manages a cluster"),
        ("-t delete-all", 2, "let a Job of yours run `cereus bot run`"),
        ("-t lokal", 2, "it can only be `local`"),
    ] {
        once(&folder, &format!("{arguments} --host {host}")).ended(code, why);
    }
    fs::write(folder.join("history"), "request room.echo {\"n\": 1}\n").unwrap();
    run(command(&folder, "parseHistory -p history -s specs/a.json")).ended(0, "");
    once(&folder, &format!("--host {host}")).ended(0, "1 of room.echo: p50 ");
}

#[test]
fn pushes_that_nobody_takes_are_dropped_and_counted() {
    let server = server::room();
    let say = |text: &str| json!({ "type": "notify", "uri": "room.say", "args": { "text": { "type": "string", "value": text } } });
    let folder = folder(&steps(json!([
        { "type": "loop", "times": 9, "operations": [say("again")] }, say("last"),
        // Its answer comes after the pushes.
        { "type": "request", "uri": "room.echo" },
        { "type": "listen", "uri": "onMessage", "expect": { "$response.text": { "type": "string", "value": "last" } } }
    ])));
    let host = server.address("tcp");
    let report = once(&folder, &format!("--host {host} --json --push-buffer 1")).ended(0, "").json();
    assert_eq!((&report["pushes"], &report["pushes_dropped"]), (&1.into(), &9.into()));
    once(&folder, &format!("--host {host}")).ended(1, "expected $response.text == \"last\", but it is \"again\"");
}

#[test]
fn the_example_of_a_bot_of_ones_own() {
    let server = server::room();
    // `cargo test` builds examples, too.
    let example = Path::new(env!("CARGO_BIN_EXE_cereus")).with_file_name("examples").join("custom-bot");
    let mut greet = Command::new(&example);
    greet.arg(server.address("tcp"));
    run(greet).ended(0, "runs       10, 0 failed");
    let mut nobody = Command::new(example);
    nobody.arg(server::nowhere());
    run(nobody).ended(1, "cannot be reached");
}

/// Even ones are content, odd ones are not, and the first one is wrong.
struct Picky(u32);

impl Bot for Picky {
    async fn run(&mut self, player: &mut Player) -> Result<(), BotError> {
        let echo: Value = player.request("room.echo", &json!({ "n": self.0 })).await?;
        assert_ne!(echo["n"], 0, "somebody must make a mistake");
        if self.0 % 2 == 1 {
            Err(format!("{} is odd", echo["n"]))?
        }
        let (a, b) = tokio::join!(player.request::<Value>("room.echo", &1), player.request::<Value>("room.fail", &2));
        assert_eq!(a?, 1);
        let error = b.unwrap_err();
        assert_eq!(error.code(), Some("ROOM-002"), "{error}");
        let late = player.push::<Value>("onNothing", Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(late, BotError::Push { .. }) && late.code().is_none(), "{late}");
        let number = "x".parse::<u8>().map_err(BotError::other).unwrap_err();
        assert_eq!(number.to_string(), "invalid digit found in string");
        player.reconnect().await
    }
}

/// Waits for ever once it has told that it plays.
struct Waiting(Arc<tokio::sync::Notify>);

impl Bot for Waiting {
    async fn run(&mut self, player: &mut Player) -> Result<(), BotError> {
        let _: Value = player.request("room.echo", &1).await?;
        self.0.notify_one();
        std::future::pending().await
    }
}

#[test]
fn bots_of_ones_own_can_be_ended() {
    let server = server::room();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plays = Arc::new(tokio::sync::Notify::new());
    let (bots, end) = (Arc::clone(&plays), plays.notified());
    let report =
        runtime.block_on(Runner::new(server.address("tcp")).run_until(move |_| Waiting(Arc::clone(&bots)), end));
    let report = report.unwrap();
    assert_eq!((report.runs(), report.answers(), report.is_good()), (0, 1, false));
}

#[test]
fn bots_of_ones_own_are_counted_the_same() {
    let server = server::room();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runner = Runner::new(server.place("ws")).instances(6).client(|builder| builder.platform("test"));
    let report = runtime.block_on(runner.run(Picky)).unwrap();
    assert_eq!((report.runs(), report.failures(), report.answers(), report.is_good()), (6, 4, 10, false));
    assert_eq!(report.errors(), [("ROOM-002".to_owned(), 2)].into());
    let text = report.to_string();
    for line in [
        "1 x bot: the bot panicked: assertion `left != right` failed: somebody must make a mistake\n",
        "1 x bot: 3 is odd\n",
        "2 x ROOM-002 (room.fail)\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}
