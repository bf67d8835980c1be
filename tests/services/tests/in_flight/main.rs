//! What ten thousand calls at once cost their caller: an entry in a table for each, no task and no thread.
//!
//! In a program of its own: no other test starts threads meanwhile.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "../../../support/client.rs"]
mod client;
#[path = "../../../support/net.rs"]
mod net;
#[path = "../cluster/support.rs"]
mod support;

use std::{
    fs,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cereus::{App, Error, Forward, Protobuf, Raw, Remote, Service, State};
use client::Client;
use futures_util::future::{join, join_all};
use support::{Meeting, PATIENCE, Running, Services};

/// The bar.
const CALLS: usize = 10_000;
/// Clients that share them, and how many each has in flight: no more than a client may by default.
const CLIENTS: usize = 100;
const PER_CLIENT: usize = CALLS / CLIENTS;
/// What tasks and threads may come and go meanwhile for other reasons.
const FEW: usize = 8;
/// No call ends by itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Which of so many were there: so many notes are one of each.
struct Each(Vec<bool>);

impl Each {
    fn of(count: usize) -> Self {
        Self(vec![false; count])
    }

    fn note(&mut self, number: usize) {
        assert!(!std::mem::replace(&mut self.0[number], true), "number {number} came twice");
    }
}

/// Holds whoever comes until it is opened.
struct Barrier {
    came: smol::channel::Sender<usize>,
    coming: smol::channel::Receiver<usize>,
    open: smol::channel::Sender<()>,
    opened: smol::channel::Receiver<()>,
}

impl Barrier {
    fn new() -> Self {
        let ((came, coming), (open, opened)) = (smol::channel::unbounded(), smol::channel::bounded(1));
        Self { came, coming, open, opened }
    }

    async fn hold(&self, number: usize) {
        self.came.send(number).await.unwrap();
        // It is closed, which is how it opens.
        let _ = self.opened.recv().await;
    }

    /// Waits until every call has come, each once.
    async fn all_came(&self) {
        let mut came = Each::of(CALLS);
        for _ in 0..CALLS {
            came.note(within(self.coming.recv()).await.unwrap());
        }
    }

    fn open(&self) {
        self.open.close();
    }
}

/// Bounds what should happen.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("it did not happen in time")
    };
    smol::future::or(future, late).await
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    number: u64,
}

async fn hold_call(State(barrier): State<Arc<Barrier>>, Protobuf(asked): Protobuf<Number>) -> Protobuf<Number> {
    barrier.hold(asked.number as usize).await;
    Protobuf(asked)
}

async fn hold_message(State(barrier): State<Arc<Barrier>>, Raw(body): Raw) -> Raw {
    barrier.hold(str::from_utf8(&body).unwrap().parse().unwrap()).await;
    Raw(body)
}

/// A frontend and a backend that holds every call until all have come.
struct World {
    front: Running,
    room: Running,
    barrier: Arc<Barrier>,
    _services: Services,
    /// The tests run one after the other: each counts threads.
    _alone: MutexGuard<'static, ()>,
}

impl World {
    fn start(meeting: impl FnOnce(&Services) -> Meeting) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let services = Services::start();
        let meeting = meeting(&services);
        let cluster = |id| meeting.cluster(id).request_timeout(CALL_TIMEOUT);
        let front = App::new(()).server_type("gate").handler_deadline(CALL_TIMEOUT);
        let front = front.cluster(cluster("g1").forward("room", Forward::new().concurrency(PER_CLIENT)));
        let barrier = Arc::new(Barrier::new());
        let room = App::new(Arc::clone(&barrier))
            .server_type("room")
            .handler_deadline(CALL_TIMEOUT)
            .service(Service::new("room").request("hold", hold_message).concurrency(PER_CLIENT))
            .remote(Remote::new("remote").call("hold", hold_call))
            .cluster(cluster("r1"));
        let (front, room) = (Running::frontend(front), Running::backend(room));
        front.wait_for("r1", true);
        room.wait_for("g1", true);
        Self { front, room, barrier, _services: services, _alone: alone }
    }

    fn alive(&self) -> Alive {
        let threads = fs::read_dir("/proc/self/task").unwrap().count();
        Alive { calling: self.front.tasks(), called: self.room.tasks(), threads }
    }

    /// Waits until all calls wait at the barrier, looks what that costs, and lets them go. Returns what there was.
    async fn hold_all(&self, before: Alive) -> Alive {
        self.barrier.all_came().await;
        assert_eq!(self.front.server.rpc().calls_in_flight(), CALLS);
        let during = self.alive();
        eprintln!("{CALLS} calls in flight: {during:?}, before them {before:?}");
        assert!(during.calling <= before.calling + FEW, "a task for each call: {during:?} after {before:?}");
        assert!(during.threads <= before.threads + FEW, "a thread for each call: {during:?} after {before:?}");
        self.barrier.open();
        during
    }

    fn check_stats(&self) {
        let (rpc, stats) = (self.front.server.rpc(), self.front.server.rpc().call_stats());
        assert_eq!(rpc.calls_in_flight(), 0);
        assert_eq!((stats.begun, stats.answered), (CALLS as u64, CALLS as u64), "{stats:?}");
        assert_eq!((stats.late, stats.duplicate, stats.unknown), (0, 0, 0), "{stats:?}");
    }
}

/// How much there is: tasks of the calling and of the called server, and threads of both together.
#[derive(Clone, Copy, Debug)]
struct Alive {
    calling: usize,
    called: usize,
    threads: usize,
}

#[test]
fn ten_thousand_calls_of_a_server_are_in_flight_over_nats() {
    calls_of_a_server(&World::start(Services::over_nats));
}

#[test]
fn ten_thousand_calls_of_a_server_are_in_flight_over_grpc() {
    calls_of_a_server(&World::start(Services::over_grpc));
}

/// They are futures in one task, that of the test.
fn calls_of_a_server(world: &World) {
    let rpc = world.front.server.rpc();
    let call = async |number| {
        let asked = Number { number };
        assert_eq!(rpc.call::<Number>("room.remote.hold", &asked).await?, asked, "the answer to another call");
        Ok::<_, Error>(())
    };
    let before = world.alive();
    let calls = join_all((0..CALLS as u64).map(call));
    let (answers, _) = smol::block_on(join(within(calls), world.hold_all(before)));
    assert_eq!(answers, vec![Ok(()); CALLS]);
    world.check_stats();
}

#[test]
fn ten_thousand_messages_of_clients_are_in_flight_over_nats() {
    let during = messages_of_clients(&World::start(Services::over_nats));
    assert!(during.called <= during.calling + FEW, "more than a task for each session: {during:?}");
}

/// Here tonic has a task for each call that it serves.
#[test]
fn ten_thousand_messages_of_clients_are_in_flight_over_grpc() {
    messages_of_clients(&World::start(Services::over_grpc));
}

/// They belong to a few sessions, each of which has one task, whatever it waits for.
fn messages_of_clients(world: &World) -> Alive {
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&world.front.endpoint)).collect();
    let before = world.alive();
    let mut numbers = (0..CALLS).map(|number| ("room.room.hold", number.to_string()));
    let sent: Vec<_> = clients.iter_mut().map(|client| client.send_all(numbers.by_ref().take(PER_CLIENT))).collect();
    let during = smol::block_on(world.hold_all(before));
    for (client, (mut connection, ids)) in clients.into_iter().zip(sent).enumerate() {
        let mut answered = Each::of(PER_CLIENT);
        for _ in 0..PER_CLIENT {
            let (id, answer) = connection.next_answer();
            let place = ids.iter().position(|of| *of == id).expect("the answer to a request of this client");
            assert_eq!(answer.unwrap(), (client * PER_CLIENT + place).to_string(), "the answer to another request");
            answered.note(place);
        }
    }
    world.check_stats();
    during
}
