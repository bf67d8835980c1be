//! Messages of clients that other servers handle.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cereus_app::{Error, Forward, Raw, RequestId, Service, Session, State};
use cereus_core::Instant;
use cereus_sim::SimRuntime;

use super::{World, code, echo, room, text};
use crate::app::support::SECOND;

type Log = Arc<Mutex<Vec<String>>>;

/// A service that notes when its messages begin and end, and takes as many seconds as the body says.
fn noting(log: &Log, server: &'static str) -> Service<SimRuntime> {
    let log = Arc::clone(log);
    let nap = move |State(runtime): State<SimRuntime>, Raw(body): Raw| {
        let log = Arc::clone(&log);
        async move {
            let (name, seconds) = text(&body).split_once(' ').expect("a name and seconds");
            log.lock().unwrap().push(format!("{server} begins {name}"));
            runtime.sleep(SECOND * seconds.parse().expect("a number")).await;
            log.lock().unwrap().push(format!("{server} ends {name}"));
            Raw(name.to_owned().into())
        }
    };
    let noted = nap.clone();
    let note = move |state, body| {
        let noted = noted(state, body);
        async { drop(noted.await) }
    };
    Service::new("nap").request("take", nap).notify("note", note)
}

#[test]
fn a_request_to_another_type_is_answered_by_a_server_of_it() {
    let world = World::new();
    world.frontend("g1", 3250, world.app("gate").service(Service::new("local").request("echo", echo)));
    world.backend("r1", world.app("room").service(room()));
    let client = world.client(3250);
    assert_eq!(client.ask("room.room.echo", "hi").unwrap(), "hi");
    assert_eq!(client.ask("room.room.whoami", "").unwrap(), "r1");
    assert_eq!(client.ask("gate.local.echo", "me").unwrap(), "me");
    assert_eq!(client.ask("room.room.echo", Bytes::new()).unwrap(), "");
}

#[test]
fn what_cannot_be_forwarded_is_answered_with_its_code() {
    let world = World::new();
    let fail = async || Err::<Raw, _>(Error::new("GAME-7", "no <luck>").with("some", "meta"));
    let panics = async || -> Raw { panic!("boom, on purpose") };
    let note = async |Raw(_): Raw| {};
    world.frontend("g1", 3250, world.app("gate"));
    let service = Service::new("room").request("fail", fail).request("panics", panics).notify("note", note);
    world.backend("r1", world.app("room").service(service));
    let client = world.client(3250);
    assert_eq!(code(client.ask("shop.shop.buy", "")), "PIT-500");
    let missing = client.ask("room.room.missing", "").unwrap_err();
    assert_eq!(text(&missing), r#"{"code":"PIT-404","msg":"pitaya/handler: room.room.missing not found"}"#);
    assert_eq!(
        text(&client.ask("room.room.fail", "").unwrap_err()),
        r#"{"code":"GAME-7","msg":"no <luck>","metadata":{"some":"meta"}}"#
    );
    assert_eq!(
        text(&client.ask("room.room.panics", "").unwrap_err()),
        r#"{"code":"PIT-000","msg":"boom, on purpose"}"#
    );
    assert_eq!(code(client.ask("room.room.note", "")), "PIT-400");
    assert_eq!(code(client.ask("room.room.a.b", "")), "PIT-400");
}

#[test]
fn messages_of_a_session_are_handled_in_order_also_on_different_servers() {
    let world = World::new();
    let log = Log::default();
    world.frontend("g1", 3250, world.app("gate").service(noting(&log, "g1")));
    world.backend("r1", world.app("room").service(noting(&log, "r1")));
    world.backend("s1", world.app("shop").service(noting(&log, "s1")));
    let client = world.client(3250);
    client.request("room.nap.take", "a 3");
    client.notify("shop.nap.note", "b 2");
    client.request("nap.take", "c 1");
    let last = client.request("room.nap.take", "d 0");
    world.runtime.run_until(|| client.answer(last).is_some());
    let expected = [
        "r1 begins a",
        "r1 ends a",
        "s1 begins b",
        "s1 ends b",
        "g1 begins c",
        "g1 ends c",
        "r1 begins d",
        "r1 ends d",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
    assert_eq!(world.runtime.now(), Instant::EPOCH + 6 * SECOND);
}

#[test]
fn messages_of_different_sessions_do_not_wait_for_each_other() {
    let world = World::new();
    let log = Log::default();
    world.frontend("g1", 3250, world.app("gate"));
    world.backend("r1", world.app("room").service(noting(&log, "r1")));
    let clients = [world.client(3250), world.client(3250)];
    let ids = clients.each_ref().map(|client| client.request("room.nap.take", "x 2"));
    world.runtime.run_until(|| clients.iter().zip(ids).all(|(client, id)| client.answer(id).is_some()));
    assert_eq!(world.runtime.now(), Instant::EPOCH + 2 * SECOND);
}

#[test]
fn concurrency_lets_forwarded_messages_overtake_each_other() {
    let world = World::new();
    let log = Log::default();
    let gate = world.in_process("g1").forward("room", Forward::new().concurrency(2));
    world.serve(world.app("gate").cluster(gate), Some(3250));
    world.backend("r1", world.app("room").service(noting(&log, "r1").concurrency(2)));
    let client = world.client(3250);
    let ids = ["a 3", "b 1", "c 1"].map(|body| client.request("room.nap.take", body));
    world.runtime.run_until(|| ids.iter().all(|id| client.answer(*id).is_some()));
    let expected = ["r1 begins a", "r1 begins b", "r1 ends b", "r1 begins c", "r1 ends c", "r1 ends a"];
    let mut noted = log.lock().unwrap().clone();
    noted[3..5].sort_by_key(|line| !line.contains('c'));
    assert_eq!(noted.len(), expected.len(), "{noted:?}");
    assert_eq!(world.runtime.now(), Instant::EPOCH + 3 * SECOND);
}

#[test]
fn a_backend_keeps_the_order_of_a_session_that_is_sent_too_fast() {
    let world = World::new();
    let log = Log::default();
    // The frontend sends both at once, the service of the backend takes one at a time.
    let gate = world.in_process("g1").forward("room", Forward::new().concurrency(9));
    world.serve(world.app("gate").cluster(gate), Some(3250));
    world.backend("r1", world.app("room").service(noting(&log, "r1")));
    let client = world.client(3250);
    let ids = ["a 2", "b 1"].map(|body| client.request("room.nap.take", body));
    world.runtime.run_until(|| ids.iter().all(|id| client.answer(*id).is_some()));
    assert_eq!(*log.lock().unwrap(), ["r1 begins a", "r1 ends a", "r1 begins b", "r1 ends b"]);
}

#[test]
fn a_call_that_is_not_answered_in_time_is_answered_with_a_timeout_and_the_handler_goes_on() {
    let world = World::new();
    let log = Log::default();
    world.frontend("g1", 3250, world.app("gate"));
    world.backend("r1", world.app("room").service(noting(&log, "r1")));
    let client = world.client(3250);
    let answer = client.ask("room.nap.take", "a 7").unwrap_err();
    assert_eq!(
        text(&answer),
        r#"{"code":"PIT-408","msg":"the call was not answered in time","metadata":{"peer.id":"r1","route":"room.nap.take","server":"g1","timeout":"5s"}}"#
    );
    assert_eq!(world.runtime.now(), Instant::EPOCH + 5 * SECOND);
    world.runtime.advance(3 * SECOND);
    assert_eq!(*log.lock().unwrap(), ["r1 begins a", "r1 ends a"]);
}

#[test]
fn policies_choose_among_servers() {
    let world = World::new();
    let by_data = |session: &Session, _: &cereus_app::Route, _: &[u8], servers: &[Arc<cereus_app::ServerInfo>]| {
        let id = session.data(|data| data.string("room"));
        let found = servers.iter().find(|server| Some(&server.id) == id.as_ref());
        found.cloned().ok_or_else(|| Error::new("GAME-1", "no room"))
    };
    let choose = async |session: Session, Raw(id): Raw| -> Result<Raw, Error> {
        session.data(|data| data.set("room", text(&id)))?;
        Ok(Raw(id))
    };
    let cluster = world
        .in_process("g1")
        .forward("fair", Forward::new().fair())
        .forward("sticky", Forward::new().sticky())
        .forward("custom", Forward::new().route(by_data));
    let gate = world.app("gate").service(Service::new("local").request("choose", choose));
    world.serve(gate.cluster(cluster), Some(3250));
    for server_type in ["fair", "sticky", "custom", "random"] {
        for n in 1..=3 {
            world.backend(&format!("{server_type}{n}"), world.app(server_type).service(room()));
        }
    }
    let client = world.client(3250);
    let ask = |route| {
        let mut answers: Vec<_> = (0..30).map(|_| client.ask(route, "").unwrap()).collect();
        answers.sort();
        answers.dedup();
        answers.len()
    };
    assert_eq!((ask("fair.room.whoami"), ask("sticky.room.whoami"), ask("random.room.whoami")), (3, 1, 3));
    assert_eq!(code(client.ask("custom.room.whoami", "")), "GAME-1");
    client.ask("local.choose", "custom2").unwrap();
    assert_eq!(client.ask("custom.room.whoami", "").unwrap(), "custom2");
}

#[test]
fn a_message_has_the_same_request_id_on_every_server() {
    let world = World::new();
    let tell = async |id: RequestId| Raw(id.to_string().into());
    world.frontend("g1", 3250, world.app("gate"));
    world.backend("r1", world.app("room").service(Service::new("room").request("id", tell)));
    let client = world.client(3250);
    let (first, second) = (client.ask("room.room.id", "").unwrap(), client.ask("room.room.id", "").unwrap());
    assert!(first != second && text(&first).starts_with("g1-"), "{first:?} {second:?}");
}
