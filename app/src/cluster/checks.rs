//! Every order in which the one task of the cluster meets those who wait for it: `bash .ci/loom`. Who sleeps for ever is found
//! as a deadlock.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        // Not loom's: what is checked must not be synchronised by the check.
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{
    Address, Bus, BusError, BusEvent, BusEvents, CallError, InProcess, Kind, Registry, ServerInfo, Transmit,
    protos::{self, Response},
};
use cereus_core::{Instant, session::SessionData};
use loom::{explore, future::block_on, stop_exploring};
use prost::Message;

use super::{Call, Cluster, Origin, Shared, join, start};
use crate::{
    App, Server, Session,
    checks::{Still, check, on_thread, spawn},
    sync::Mutex,
};

/// A bus that answers every call with what was sent.
#[derive(Clone, Debug, Default)]
struct Echo(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    /// How much was sent that nobody waits for.
    sent: AtomicUsize,
    users: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<BusEvent>,
    task: Option<Waker>,
}

impl Echo {
    fn tell(&self, event: BusEvent) {
        let mut waiting = self.0.waiting.lock().unwrap();
        waiting.events.push_back(event);
        let task = waiting.task.take();
        drop(waiting);
        task.into_iter().for_each(Waker::wake);
    }

    fn is_subscribed(&self, uid: &str) -> bool {
        self.0.users.lock().unwrap().contains(uid)
    }
}

impl Bus for Echo {
    async fn start(&self, _: Arc<ServerInfo>) -> Result<Box<dyn BusEvents>, BusError> {
        Ok(Box::new(self.clone()))
    }

    fn send(&self, Transmit { call, payload, .. }: Transmit) -> Result<(), Transmit> {
        match call {
            Some(call) => self.tell(BusEvent::Reply { call, result: Ok(payload) }),
            None => {
                self.0.sent.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    async fn subscribe_user(&self, uid: &str) -> Result<(), BusError> {
        assert!(self.0.users.lock().unwrap().insert(uid.to_owned()), "subscribed twice");
        Ok(())
    }

    async fn unsubscribe_user(&self, uid: &str) {
        assert!(self.0.users.lock().unwrap().remove(uid), "not subscribed");
    }

    async fn stop(&self) {}
}

impl BusEvents for Echo {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        let mut waiting = self.0.waiting.lock().unwrap();
        let Some(event) = waiting.events.pop_front() else {
            waiting.task = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(Some(event))
    }
}

/// A server in a cluster with one other, whose bus is not up yet.
struct World {
    server: Server,
    bus: Echo,
    runtime: Still,
}

impl World {
    /// Its start is not what is checked.
    fn started(change: impl FnOnce(Cluster) -> Cluster) -> Arc<Self> {
        stop_exploring();
        let world = Self::start(change);
        explore();
        world
    }

    fn start(change: impl FnOnce(Cluster) -> Cluster) -> Arc<Self> {
        let (bus, runtime) = (Echo::default(), Still::default());
        let registry = InProcess::new().registry();
        let lease = block_on(registry.grant(Duration::ZERO)).unwrap();
        block_on(registry.put(other(), lease)).unwrap();
        let cluster = change(Cluster::new(bus.clone(), registry));
        let server = App::new(()).server_type("room").cluster(cluster).build().unwrap();
        block_on(start(&runtime, &server, false)).unwrap();
        Arc::new(Self { server, bus, runtime })
    }

    fn up(&self) {
        self.bus.tell(BusEvent::Up { max_payload: 1 << 20 });
    }

    fn shared(&self) -> &Arc<Shared> {
        self.server.shared().unwrap()
    }

    fn call(&self, name: &'static str, deadline: Instant) -> Call {
        let payload = Response { data: Bytes::from_static(name.as_bytes()), error: None }.encode_to_vec();
        self.shared().call(Address::Server(other()), Kind::Call, payload.into(), deadline).unwrap()
    }

    /// Calls, and has the answer to that.
    fn ask(&self, name: &'static str) {
        assert_eq!(block_on(self.call(name, LATER)).unwrap().data, name);
    }

    /// Its end is not what is checked either.
    fn end(&self) {
        stop_exploring();
        self.shared().end();
        self.runtime.join();
    }

    /// Of a client of the other server.
    fn session(&self) -> Session {
        let asked = protos::Session { id: 1, uid: "ada".to_owned(), data: Bytes::new() };
        Session::backend(
            self.server.clone(),
            &asked,
            SessionData::default(),
            other().id.clone(),
            Origin::default().into(),
        )
    }
}

fn other() -> Arc<ServerInfo> {
    ServerInfo::new("gate", "g1").into()
}

const NOW: Instant = Instant::EPOCH;
const LATER: Instant = Instant::from_epoch(Duration::from_nanos(1));

#[test]
fn who_starts_knows_the_others_and_is_told_that_it_has_joined() {
    check(|| {
        let world = World::start(|cluster| cluster);
        assert!(world.shared().servers().by_id("g1").is_some());
        block_on(join(&world.runtime, &world.server)).unwrap();
        assert!(world.shared().is_registered());
        world.end();
    });
}

#[test]
fn calls_have_their_own_answers() {
    check(|| {
        let world = World::started(|cluster| cluster);
        world.up();
        // The next may have its place before its answer has come.
        drop(world.call("given up", LATER));
        world.ask("a");
        assert_eq!(world.shared().calls_in_flight(), 0);
        world.end();
    });
}

#[test]
fn calls_wait_for_the_bus() {
    check(|| {
        let world = World::started(|cluster| cluster);
        let calling = on_thread(&world, |world| world.ask("a"));
        world.up();
        calling.join().unwrap();
        world.end();
    });
}

#[test]
fn a_call_whose_deadline_comes_first_ends_first() {
    check(|| {
        let world = World::started(|cluster| cluster);
        let _later = world.call("a", LATER);
        assert_eq!(block_on(world.call("b", NOW)), Err(CallError::Timeout));
        world.end();
    });
}

#[test]
fn pushes_that_wait_for_room_get_it_when_the_bus_is_up() {
    check(|| {
        // There is room for one.
        let world = World::started(|cluster| cluster.max_queued_bytes(1500));
        let session = world.session();
        let pushing = spawn(move || {
            for _ in 0..2 {
                block_on(session.push_wait("r", vec![0; 1000])).unwrap();
            }
        });
        world.up();
        pushing.join().unwrap();
        assert_eq!(world.bus.0.sent.load(Ordering::SeqCst), 2);
        world.end();
    });
}

#[test]
fn a_user_is_subscribed_as_long_as_a_session_of_his_is_there() {
    check(|| {
        let world = World::started(|cluster| cluster);
        let uid: Arc<str> = "ada".into();
        let name = Arc::clone(&uid);
        let short = on_thread(&world, move |world| {
            block_on(world.shared().subscribe(&name)).unwrap();
            block_on(world.shared().unsubscribe(&name));
        });
        block_on(world.shared().subscribe(&uid)).unwrap();
        short.join().unwrap();
        assert!(world.bus.is_subscribed("ada"));
        block_on(world.shared().unsubscribe(&uid));
        assert!(!world.bus.is_subscribed("ada"));
        world.end();
    });
}
