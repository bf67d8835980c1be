//! Every mistake in the making of an app: all are told at once, and each text says what to change.
#![cfg(feature = "json")]

use std::time::Duration;

use cereus::{
    App, BuildError, Bytes, Cluster, Forward, InProcess, Json, Lifecycle, Module, Protobuf, ProtobufSerializer, Raw,
    Remote, Service,
};

struct Part(&'static str);

impl Lifecycle for Part {}

impl Module for Part {
    fn name(&self) -> &str {
        self.0
    }
}

async fn raw(body: Raw) -> Raw {
    body
}

async fn json(body: Json<u32>) -> Json<u32> {
    body
}

async fn takes_protobuf(_: Protobuf<()>) -> Raw {
    Raw("".into())
}

async fn returns_protobuf() -> Protobuf<()> {
    Protobuf(())
}

async fn notified(_: Protobuf<()>) {}

/// The texts of all mistakes of an app.
fn mistakes(app: App<()>) -> Vec<String> {
    let errors = app.build().expect_err("the app was built");
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    // What a `main` that returns it shows: all of it, one in a line.
    let shown = format!("{errors:?}");
    assert_eq!(shown, errors.to_string());
    assert_eq!(shown.lines().count(), texts.len() + 1, "{shown}");
    assert!(texts.iter().all(|text| shown.contains(&format!("\n- {text}"))), "{shown}");
    texts
}

#[test]
fn every_mistake_is_told_at_once() {
    let app = App::new(())
        .server_type("a.b")
        .service(Service::new("room").request("join", raw))
        .service(Service::new("room").request("leave", raw))
        .service(Service::new("chat").request("say", raw).notify("say", || async {}))
        .service(Service::new("mapped").request("Join", raw).request("join", raw).map_names(str::to_lowercase))
        .service(Service::new("").request("join", raw))
        .service(Service::new("a.b").request("c.d", raw).request(" ", raw))
        .service(
            Service::new("proto")
                .request("takes", takes_protobuf)
                .request("returns", returns_protobuf)
                .notify("notified", notified),
        )
        .service(Service::new("late").deadline(Duration::ZERO))
        .service(Service::new("alone").concurrency(0))
        .module(Part("board"))
        .module_before(Part("board"))
        .handler_deadline(Duration::ZERO)
        .write_timeout(Duration::ZERO)
        .max_mailbox_bytes(0)
        .groups_tick(Duration::ZERO)
        .dictionary([("a", 1), ("b", 1)])
        .protocol(|protocol| {
            protocol
                .heartbeat(Duration::from_millis(1500))
                .handshake_timeout(Duration::from_secs(1))
                .close_timeout(Duration::ZERO)
                .max_packet_size(1 << 24)
                .max_queued_bytes(0)
        });
    let name = |what: &str, name: &str| {
        format!("the {what} name `{name}` cannot be part of a route: it must not be empty or contain a dot")
    };
    let serializer = |route: &str| {
        format!(
            "the handler of `{route}` takes or returns protobuf, but the app's serializer is json: change the handler, or \
             set `App::serializer`"
        )
    };
    let nothing_runs = |service: &str| {
        format!("the service `{service}` has a deadline or a concurrency of zero: none of its handlers could run")
    };
    let mut expected = vec![
        name("service", ""),
        name("service", "a.b"),
        name("handler", "c.d"),
        name("handler", " "),
        "there are two services `room`: rename one, or put their handlers into one service".into(),
        "there are two handlers for `chat.say`: remove or rename one".into(),
        "there are two handlers for `mapped.join`: remove or rename one".into(),
        "there are two modules `board`: rename one".into(),
        "the server type `a.b` cannot name a server: it must not be empty or contain a dot, a slash, white space or a wildcard".into(),
        serializer("proto.takes"),
        serializer("proto.returns"),
        serializer("proto.notified"),
        nothing_runs("late"),
        nothing_runs("alone"),
        "`handler_deadline` is zero: set it to something above".into(),
        "`write_timeout` is zero: set it to something above".into(),
        "`max_mailbox_bytes` is zero: set it to something above".into(),
        "`groups_tick` is zero: set it to something above".into(),
        "the routes `a` and `b` have the same code 1 in the dictionary: change one".into(),
        "a heartbeat of 1.5s is no whole number of seconds from 1 on: clients read it as one".into(),
        "a handshake timeout of 1s is shorter than two heartbeats (3s): raise it".into(),
        "`close_timeout` is zero: nothing would ever pass".into(),
        "`max_queued_bytes` is zero: nothing would ever pass".into(),
        "`max_packet_size` is 16777216, more than the 16777215 bytes that a packet can carry".into(),
    ];
    let mut told = mistakes(app);
    expected.sort();
    told.sort();
    assert_eq!(told, expected);
}

#[test]
fn a_deadline_of_zero_for_all_is_told_once() {
    let app = App::new(()).handler_deadline(Duration::ZERO).service(Service::new("room").request("join", raw));
    assert_eq!(mistakes(app), ["`handler_deadline` is zero: set it to something above"]);
}

#[test]
fn handlers_of_json_do_not_go_with_protobuf() {
    let app = App::new(())
        .serializer(ProtobufSerializer)
        .service(Service::new("room").request("json", json).request("raw", raw).request("takes", takes_protobuf));
    let errors = app.build().expect_err("the app was built");
    let [BuildError::Serializer { route, body, app, .. }] = &errors.iter().collect::<Vec<_>>()[..] else {
        panic!("{errors}");
    };
    assert_eq!((&**route, *body, *app), ("room.json", "json", "protobuf"));
}

#[test]
fn dictionaries_have_each_route_and_code_once() {
    let dictionary = |entries: [(&str, u16); 2]| mistakes(App::new(()).dictionary(entries));
    assert_eq!(dictionary([("a", 1), (" a ", 2)]), ["the route `a` is in the dictionary twice: remove one"]);
    let empty = "the route of code 2 in the dictionary is empty: give it a name or remove it";
    assert_eq!(dictionary([("a", 1), ("", 2)]), [empty]);
}

#[test]
fn mistakes_of_a_cluster_are_told_before_anything_is_opened() {
    let cluster = Cluster::in_process(&InProcess::new())
        .server_id("a/b")
        .request_timeout(Duration::ZERO)
        .max_calls(0)
        .forward("room*", Forward::new().timeout(Duration::ZERO))
        .forward("a b", Forward::new().concurrency(2));
    let remote = || Remote::new("stats").call("get", async |Raw(body): Raw| Raw(body));
    let app = App::new(())
        .cluster(cluster)
        .remote(remote())
        .remote(remote())
        .remote(Remote::new("sys"))
        .remote(Remote::new("json").call("get", async |Json(()): Json<()>| Raw(Bytes::new())));
    let mut told = mistakes(app);
    told.sort();
    let expected = [
        "`max_calls` is zero: set it to something above",
        "`request_timeout` is zero: set it to something above",
        "the remote `json.get` takes or returns json, but servers speak protobuf: use `Protobuf` or `Raw`",
        "the server id `a/b` cannot name a server: it must not be empty or contain a dot, a slash, white space or a wildcard",
        "the server type `a b` cannot name a server: it must not be empty or contain a dot, a slash, white space or a wildcard",
        "the service `room*` has a deadline or a concurrency of zero: none of its handlers could run",
        "there are two remotes `stats`: rename one, or put their functions into one remote (`sys` is taken)",
        "there are two remotes `sys`: rename one, or put their functions into one remote (`sys` is taken)",
    ];
    assert_eq!(told, expected);
}
