//! Every order in which the servers of one process can meet: `bash .ci/loom`. Who sleeps for ever is found as a deadlock.

use std::{future::poll_fn, sync::Arc, time::Duration};

use loom::{future::block_on, thread};

use super::{InProcess, InProcessBus};
use crate::{
    Address, Bus, BusEvent, BusEvents, CallId, Kind, Registry, RegistryEvent, ServerInfo, Transmit, Undelivered,
    checks::check,
};

fn record(id: &str) -> Arc<ServerInfo> {
    Arc::new(ServerInfo::new("room", id))
}

fn start(world: &InProcess, id: &str) -> (InProcessBus, Box<dyn BusEvents>) {
    let bus = world.bus();
    let mut events = block_on(bus.start(record(id))).unwrap();
    assert!(matches!(next(&mut *events), BusEvent::Up { .. }));
    (bus, events)
}

fn next(events: &mut dyn BusEvents) -> BusEvent {
    block_on(poll_fn(|cx| events.poll_next(cx))).unwrap()
}

fn send(bus: &InProcessBus, to: &str, call: Option<CallId>, name: char) {
    let payload = name.to_string().into();
    bus.send(Transmit { to: Address::Server(record(to)), kind: Kind::Call, call, payload }).unwrap();
}

#[test]
fn envelopes_arrive_once_in_their_order() {
    check(|| {
        let world = InProcess::new();
        let (_, mut events) = start(&world, "r1");
        let senders = ["ab", "x"].map(|names| {
            let bus = world.bus();
            thread::spawn(move || names.chars().for_each(|name| send(&bus, "r1", None, name)))
        });
        let arrived: String = (0..3)
            .map(|_| match next(&mut *events) {
                BusEvent::Message { payload, .. } => char::from(payload[0]),
                event => unreachable!("nobody sent {event:?}"),
            })
            .collect();
        assert!(["abx", "axb", "xab"].contains(&&*arrived), "{arrived}");
        senders.into_iter().for_each(|sending| sending.join().unwrap());
    });
}

#[test]
fn who_calls_a_server_that_goes_is_told() {
    check(|| {
        let world = InProcess::new();
        let (bus, mut events) = start(&world, "r1");
        let (_, leaving) = start(&world, "r2");
        let call = CallId::parse("1").unwrap();
        let calling = thread::spawn(move || {
            send(&bus, "r2", Some(call), 'a');
            next(&mut *events)
        });
        drop(leaving);
        let told = BusEvent::Reply { call, result: Err(Undelivered::NoResponders) };
        assert_eq!(calling.join().unwrap(), told);
    });
}

#[test]
fn who_watches_sees_every_record() {
    check(|| {
        let world = InProcess::new();
        let registry = world.registry();
        let lease = block_on(registry.grant(Duration::ZERO)).unwrap();
        let putting = thread::spawn(move || block_on(registry.put(record("r1"), lease)).unwrap());
        let (changes, there) = world.registry().subscribe();
        if there.is_empty() {
            let change = block_on(poll_fn(|cx| changes.poll_recv(cx)));
            assert!(matches!(change, Some(RegistryEvent::Put(_))), "{change:?}");
        }
        putting.join().unwrap();
    });
}
