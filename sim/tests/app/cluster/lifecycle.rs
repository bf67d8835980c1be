//! Coming and going: readiness, drain, shutdown.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cereus_app::{Raw, Server, Service, Signal, State};
use cereus_cluster::BusEvent;
use cereus_core::{CloseReason, Instant};
use cereus_sim::SimRuntime;
use cereus_transports::rt::Connector;

use super::{World, address, code, echo, room};
use crate::app::support::SECOND;

async fn nap(State(runtime): State<SimRuntime>) -> Raw {
    runtime.sleep(3 * SECOND).await;
    Raw("slept".into())
}

fn ids(server: &Server) -> Vec<String> {
    server.rpc().servers().iter().map(|server| server.id.clone()).collect()
}

#[test]
fn servers_see_each_other_come_and_go() {
    let world = World::new();
    let (gate, _) = world.frontend("g1", 3250, world.app("gate"));
    let (room, serving) = world.backend("r1", world.app("room").service(room()));
    assert_eq!((ids(&gate), ids(&room)), (vec!["g1".into(), "r1".into()], vec!["g1".into(), "r1".into()]));
    let seen = gate.rpc().servers();
    let record = seen.by_id("r1").expect("it is there");
    assert_eq!((record.server_type.as_str(), record.frontend, record.is_cereus()), ("room", false, true));
    assert!(seen.by_id("g1").is_some_and(|own| own.frontend));
    room.shutdown();
    world.runtime.run_until(|| serving.is_over());
    world.runtime.run_idle();
    assert_eq!(ids(&gate), ["g1"]);
    assert_eq!(world.runtime.now(), Instant::EPOCH, "an idle server that stops waits for nothing");
    let client = world.client(3250);
    assert_eq!(code(client.ask("room.room.echo", "")), "PIT-500");
    // The same id may come back.
    world.backend("r1", world.app("room").service(super::room()));
    assert_eq!(client.ask("room.room.echo", "again").unwrap(), "again");
}

#[test]
fn a_server_with_the_id_of_another_does_not_start() {
    let world = World::new();
    world.backend("r1", world.app("room"));
    let server = world.app("room").cluster(world.in_process("r1")).build().unwrap();
    let serving = world.runtime.serve(server, []);
    world.runtime.run_until(|| serving.is_over());
    let error = serving.take_result().expect("it ended").expect_err("it did not start").to_string();
    assert!(error.contains("there is a server with the id `r1`"), "{error}");
}

#[test]
fn a_backend_that_stops_lets_what_runs_end_and_is_asked_no_more() {
    let world = World::new();
    let (gate, _) = world.frontend("g1", 3250, world.app("gate"));
    let (room, serving) = world.backend("r1", world.app("room").service(Service::new("room").request("nap", nap)));
    let client = world.client(3250);
    let id = client.request("room.room.nap", "");
    world.runtime.advance(SECOND);
    room.shutdown();
    world.runtime.run_idle();
    assert_eq!(ids(&gate), ["g1"]);
    world.runtime.run_until(|| serving.is_over());
    assert_eq!(world.runtime.now(), Instant::EPOCH + 3 * SECOND);
    world.runtime.run_idle();
    assert_eq!(client.answer(id).map(|(_, answer)| answer), Some(Ok("slept".into())));
}

#[test]
fn a_drained_frontend_takes_no_new_clients_and_serves_those_it_has() {
    let world = World::new();
    let app = world.app("gate").session_drain(60 * SECOND).service(Service::new("local").request("echo", echo));
    let (gate, serving) = world.frontend("g1", 3250, app);
    let (other, _) = world.backend("r1", world.app("room").service(room()));
    let client = world.client(3250);
    gate.signal(Signal::Terminate);
    world.runtime.run_idle();
    assert_eq!((ids(&other), gate.is_ready()), (vec!["r1".into()], false));
    let refused = {
        let mut connecting = Box::pin(world.runtime.connect(address(3250)));
        connecting
            .as_mut()
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            .map(|result| result.is_err())
    };
    assert_eq!(refused, std::task::Poll::Ready(true));
    world.runtime.advance(10 * SECOND);
    assert_eq!(client.ask("local.echo", "still").unwrap(), "still");
    assert_eq!(client.ask("room.room.echo", "here").unwrap(), "here");
    // The last one leaves.
    gate.sessions().for_each(|session| session.close());
    world.runtime.run_until(|| serving.is_over());
    assert_eq!(world.runtime.now(), Instant::EPOCH + 10 * SECOND);
}

#[test]
fn a_drain_has_an_end_and_a_second_signal_ends_it_at_once() {
    let start = |world: &World| {
        let service = Service::new("local").request("nap", nap);
        let (gate, serving) = world.frontend("g1", 3250, world.app("gate").session_drain(60 * SECOND).service(service));
        let client = world.client(3250);
        gate.signal(Signal::Terminate);
        (gate, serving, client)
    };
    let world = World::new();
    let (_gate, serving, client) = start(&world);
    world.runtime.run_until(|| serving.is_over());
    let lasted = world.runtime.now() - Instant::EPOCH;
    assert!(lasted >= 60 * SECOND && lasted < 62 * SECOND, "{lasted:?}");
    assert_eq!(client.closed().map(|(_, reason)| reason), Some(CloseReason::PeerClosed));

    let world = World::new();
    let (gate, serving, client) = start(&world);
    client.request("local.nap", "");
    world.runtime.advance(SECOND);
    gate.signal(Signal::Terminate);
    world.runtime.run_until(|| serving.is_over());
    let lasted = world.runtime.now() - Instant::EPOCH;
    assert!(lasted < 7 * SECOND, "the second signal did not hurry it: {lasted:?}");
}

#[test]
fn what_cannot_be_read_is_answered_and_stops_nothing() {
    use cereus_cluster::{Address, Bus, Kind, ServerInfo, Transmit};

    let world = World::new();
    let (gate, _) = world.frontend("g1", 3250, world.app("gate"));
    world.backend("r1", world.app("room").service(room()));
    let target = gate.rpc().servers().by_id("r1").expect("it is there").clone();
    let bus = Arc::new(world.cluster.bus());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (noted, sender) = (Arc::clone(&heard), Arc::clone(&bus));
    cereus_transports::rt::Runtime::spawn(&world.runtime, async move {
        let mut events = sender.start(Arc::new(ServerInfo::new("stranger", "s1"))).await.expect("the id is free");
        std::future::poll_fn(move |cx| {
            while let std::task::Poll::Ready(Some(event)) = events.poll_next(cx) {
                if let BusEvent::Reply { result, .. } = event {
                    noted.lock().unwrap().push(result.expect("an answer"));
                }
            }
            std::task::Poll::<()>::Pending
        })
        .await;
    });
    world.runtime.run_idle();
    let mut slots =
        cereus_cluster::ClusterNode::new(Arc::new(ServerInfo::new("x", "y")), cereus_cluster::NodeConfig::default());
    let mut send = |payload: &'static [u8]| {
        let call = slots.call(&target, Bytes::new(), Instant::EPOCH + SECOND).expect("there is room");
        let to = Address::Server(target.clone());
        bus.send(Transmit { to, kind: Kind::Call, call: Some(call), payload: payload.into() }).expect("there is room");
        world.runtime.run_idle();
        let answers = std::mem::take(&mut *heard.lock().unwrap());
        answers.into_iter().map(|answer| String::from_utf8_lossy(&answer).into_owned()).collect::<Vec<_>>().concat()
    };
    // Garbage, no message, no metadata, metadata of other kinds, an unknown type, a broken route.
    assert!(send(b"\xff\xff").contains("PIT-400"));
    assert!(send(b"").contains("PIT-400"));
    let request = b"\x1a\x0b\x12\x09room.echo";
    assert!(send(request).contains("PIT-500"), "no metadata");
    assert!(send(b"\x1a\x0b\x12\x09room.echo\x2a\x01{").contains("PIT-500"));
    assert!(send(b"\x1a\x0b\x12\x09room.echo\x2a\x10{\"reqTimeout\":5}").contains("PIT-500"));
    assert!(send(b"\x1a\x0b\x12\x09room.echo\x2a\x10{\"reqTimeout\":\"x\"}").contains("PIT-"));
    assert!(send(b"\x08\x07\x1a\x0b\x12\x09room.echo\x2a\x02{}").contains("PIT-400"));
    assert!(send(b"\x1a\x03\x12\x01x\x2a\x02{}").contains("PIT-400"));
    assert!(send(b"\x1a\x0b\x12\x09room.none\x2a\x02{}").contains("PIT-404"));
    assert!(
        send(b"\x12\x03\x1a\x011\x1a\x0b\x12\x09room.echo\x2a\x02{}").contains("PIT-500"),
        "data that is no object"
    );
    // `null` is taken as empty.
    assert_eq!(send(b"\x1a\x0f\x12\x09room.echo\x1a\x02hi\x2a\x04null"), "\n\x02hi");
    let client = world.client(3250);
    assert_eq!(client.ask("room.room.echo", "fine").unwrap(), "fine");
}
