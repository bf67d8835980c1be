//! The client with the shipping server, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cereus_app::{App, Error, Json, Raw, Server, Service, Session};
use cereus_client::{Client, ClientBuilder, Disconnect, Reconnect, RequestError, State, WhileAway};
use cereus_core::{CloseReason, Instant};
use cereus_sim::{Profile, Rng, SimRuntime, SimStream};
use cereus_transports::{
    Tcp,
    rt::{Connector, Runtime},
};

const ADDRESS: &str = "127.0.0.1:3250";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A server with a handler of each kind.
fn app(runtime: &SimRuntime) -> App<()> {
    let sleeper = runtime.clone();
    let slow = move |Json(millis): Json<u64>| {
        let slept = sleeper.sleep(Duration::from_millis(millis));
        async move {
            slept.await;
            Json(millis)
        }
    };
    let push = |session: Session, Json(count): Json<u32>| async move {
        for number in 0..count {
            session.push("onNumber", Json(number))?;
        }
        Ok::<_, Error>(Json(count))
    };
    let fail = || async { Err::<Raw, _>(Error::new("SHOP-001", "sold out").with("left", 0)) };
    let kick = |session: Session| async move { drop(session.kick(Some("cheater"))) };
    let service = Service::new("room")
        .request("echo", |body: Raw| async { body })
        .request("slow", slow)
        .request("push", push)
        .request("fail", fail)
        .notify("kick", kick);
    App::new(()).server_type("game").service(service)
}

fn serve(runtime: &SimRuntime) -> Server {
    let server = app(runtime).build().unwrap();
    runtime.serve(server.clone(), [Tcp::bind(ADDRESS)]);
    runtime.run_idle();
    server
}

/// Runs a future to its end in virtual time.
fn block_on<T: Send + 'static>(runtime: &SimRuntime, future: impl Future<Output = T> + Send + 'static) -> T {
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    Runtime::spawn(runtime, async move {
        let value = future.await;
        *place.lock().unwrap() = Some(value);
    });
    runtime.run_until(|| result.lock().unwrap().is_some());
    result.lock().unwrap().take().unwrap()
}

fn connect(runtime: &SimRuntime, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let builder = set(Client::builder(ADDRESS));
    block_on(runtime, builder.connect(runtime.clone())).unwrap()
}

#[test]
fn requests_are_answered() {
    let runtime = SimRuntime::new();
    serve(&runtime);
    let client = connect(&runtime, |builder| builder);
    assert_eq!(client.state(), State::Open);
    assert_eq!(client.handshake().unwrap().heartbeat, seconds(30));

    let reply = client.request("room.echo", "hello");
    assert_eq!(block_on(&runtime, reply.into_future()).unwrap(), "hello");
    let reply = client.request_json::<Vec<u8>>("game.room.echo", &[1, 2, 3]);
    assert_eq!(block_on(&runtime, reply.into_future()).unwrap(), [1, 2, 3]);
    let reply = client.request_json::<String>("room.echo", &7);
    let Err(RequestError::Body(text)) = block_on(&runtime, reply.into_future()) else { panic!() };
    assert!(text.starts_with("the body is not the JSON that was expected: invalid type: integer `7`"), "{text}");

    let Err(RequestError::Server(error)) = block_on(&runtime, client.request("room.fail", "").into_future()) else {
        panic!()
    };
    assert_eq!(
        (error.code.as_str(), error.message.as_str(), error.metadata["left"].as_str()),
        ("SHOP-001", "sold out", "0")
    );
    assert_eq!(error.to_string(), "SHOP-001: sold out");
    let missing = block_on(&runtime, client.request("room.nothing", "").into_future());
    assert!(matches!(&missing, Err(RequestError::Server(error)) if error.code == "PIT-404"), "{missing:?}");

    block_on(&runtime, client.request("room.slow", "250").into_future()).unwrap();
    let round_trip = client.round_trip().unwrap();
    assert_eq!((round_trip.last, round_trip.shortest), (Duration::from_millis(250), Duration::ZERO));
    assert!(round_trip.smoothed > Duration::ZERO && round_trip.smoothed < round_trip.last);
}

#[test]
fn a_request_has_its_time_and_can_be_given_up() {
    let runtime = SimRuntime::new();
    serve(&runtime);
    let client = connect(&runtime, |builder| builder.request_timeout(seconds(2)));
    let begin = runtime.now();
    let late = block_on(&runtime, client.request("room.slow", "60000").into_future());
    assert_eq!(late, Err(RequestError::Timeout(seconds(2))));
    assert_eq!(runtime.now(), begin + seconds(2));
    let patient = block_on(&runtime, client.request("room.slow", "500").timeout(seconds(90)).into_future());
    // The server answers in order: the one that was given up runs first, until its own deadline.
    assert!(patient.is_ok(), "{patient:?}");
    assert!(runtime.now() >= begin + seconds(30));

    // One that is dropped makes room at once.
    let narrow = connect(&runtime, |builder| builder.protocol(|protocol| protocol.max_pending_requests(1)));
    let mut first = Box::pin(narrow.request("room.slow", "1000").into_future());
    let full = block_on(&runtime, {
        async move {
            let _ = futures_poll(&mut first).await;
            let full = narrow.request("room.echo", "").await;
            drop(first);
            (full, narrow.request("room.echo", "x").await)
        }
    });
    assert!(matches!(full.0, Err(RequestError::Full(_))), "{full:?}");
    assert_eq!(full.1.unwrap(), "x");
}

/// Polls it once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_ready())).await
}

#[test]
fn pushes_go_to_whoever_wants_them() {
    let runtime = SimRuntime::new();
    serve(&runtime);
    let (called, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (to_call, to_all) = (Arc::clone(&called), Arc::clone(&all));
    let client = connect(&runtime, |builder| {
        // A push of some bytes counts 64 more, so four of them fit.
        let builder = builder.push_buffer(4 * (64 + "onNumber".len() + 1));
        builder.on_any_push(move |_| {
            to_all.fetch_add(1, Ordering::Relaxed);
        })
    });
    let mut numbers = client.pushes("onNumber");
    let mut others = client.pushes("onOther");
    let subscription = client.on_push("onNumber", move |push| {
        assert!(push.json::<u32>().is_ok());
        to_call.fetch_add(1, Ordering::Relaxed);
    });
    block_on(&runtime, client.request("room.push", "3").into_future()).unwrap();
    let three: Vec<u32> = std::iter::from_fn(|| numbers.try_next()).map(|push| push.json().unwrap()).collect();
    assert_eq!((three, numbers.missed()), (vec![0, 1, 2], 0));

    // Nobody takes them: the latest are kept.
    block_on(&runtime, client.request("room.push", "9").into_future()).unwrap();
    let four: Vec<u32> = std::iter::from_fn(|| numbers.try_next()).map(|push| push.json().unwrap()).collect();
    assert_eq!((four, numbers.missed()), (vec![5, 6, 7, 8], 5));

    subscription.cancel();
    block_on(&runtime, client.request("room.push", "1").into_future()).unwrap();
    assert_eq!((called.load(Ordering::Relaxed), all.load(Ordering::Relaxed)), (12, 13));
    assert_eq!(others.try_next(), None);

    block_on(&runtime, async move { client.close().await });
    let (last, end) = block_on(&runtime, async move { (numbers.next().await, numbers.next().await) });
    assert_eq!((last.unwrap().body.as_ref(), end), (b"0".as_slice(), None));
    assert_eq!(block_on(&runtime, async move { others.next().await }), None);
}

#[test]
fn a_client_that_is_kicked_stays_away() {
    let runtime = SimRuntime::new();
    serve(&runtime);
    let client = connect(&runtime, |builder| {
        let mut handshake = cereus_client::HandshakeRequest::default();
        handshake.platform = "browser".into();
        builder.handshake(handshake)
    });
    let pending = client.request("room.slow", "90000").into_future();
    client.notify("room.kick", "").unwrap();
    let lost = block_on(&runtime, pending);
    let kicked = Disconnect::Kicked { reason: Some("cheater".to_owned()) };
    assert_eq!(lost, Err(RequestError::Lost(kicked.clone())));
    runtime.run_idle();
    assert_eq!(client.state(), State::Closed(kicked.clone()));
    assert_eq!(kicked.to_string(), "kicked: cheater");
    assert_eq!(client.notify("room.echo", ""), Err(RequestError::NotConnected(kicked.clone())));
    let refused = block_on(&runtime, client.request("room.echo", "").into_future());
    assert_eq!(refused, Err(RequestError::NotConnected(kicked)));
}

#[test]
fn closing_sends_what_was_given_to_it() {
    let runtime = SimRuntime::new();
    let told = Arc::new(AtomicUsize::new(0));
    let tell = Arc::clone(&told);
    let count = move || {
        tell.fetch_add(1, Ordering::Relaxed);
        async {}
    };
    let server = App::new(()).service(Service::new("room").notify("count", count)).build().unwrap();
    runtime.serve(server.clone(), [Tcp::bind(ADDRESS)]);
    runtime.run_idle();
    let client = connect(&runtime, |builder| builder);
    for _ in 0..100 {
        client.notify("room.count", vec![0; 10_000]).unwrap();
    }
    let closed = client.clone();
    block_on(&runtime, async move { closed.close().await });
    assert_eq!(client.state(), State::Closed(Disconnect::Local));
    runtime.run_idle();
    assert_eq!((told.load(Ordering::Relaxed), server.sessions().count()), (100, 0));

    // The last one that goes closes it as well.
    let client = connect(&runtime, |builder| builder);
    assert_eq!(server.sessions().count(), 1);
    drop(client);
    runtime.run_until(|| server.sessions().count() == 0);
}

#[test]
fn a_silent_server_is_left_and_found_again() {
    let runtime = SimRuntime::new();
    let server = app(&runtime).protocol(|protocol| protocol.heartbeat(seconds(5))).build().unwrap();
    runtime.serve(server, [Tcp::bind(ADDRESS)]);
    runtime.run_idle();
    let net = Net::new(&runtime, |_| Profile::perfect());
    let client = block_on(&runtime, Client::builder(ADDRESS).connect(net.clone())).unwrap();
    let begin = runtime.now();
    net.stall();
    runtime.run_until(|| !client.state().is_open());
    let silent = runtime.now() - begin;
    assert!(silent >= seconds(10) && silent <= seconds(15), "{silent:?}");
    let State::Reconnecting { attempt: 1, reason, .. } = client.state() else { panic!("{:?}", client.state()) };
    assert_eq!(reason, Disconnect::Ended(CloseReason::HeartbeatTimeout));
    runtime.run_until(|| client.state().is_open());
}

#[test]
fn requests_wait_for_a_server_or_fail_at_once() {
    let runtime = SimRuntime::new();
    let refused = block_on(&runtime, Client::builder(ADDRESS).connect(runtime.clone()));
    let text = refused.unwrap_err().to_string();
    assert_eq!(text, "tcp://127.0.0.1:3250: connection refused");

    let builder = Client::builder(ADDRESS).while_away(WhileAway::Keep { bytes: 200 });
    let keeping = builder.start(runtime.clone()).unwrap();
    let failing = Client::builder(ADDRESS).while_away(WhileAway::Fail).start(runtime.clone()).unwrap();
    let kept = block_on(&runtime, {
        let late = keeping.request("room.echo", "late").timeout(Duration::from_millis(10));
        async move { late.await }
    });
    assert_eq!(kept, Err(RequestError::Timeout(Duration::from_millis(10))));
    let failed = block_on(&runtime, failing.request("room.echo", "").into_future());
    assert!(matches!(&failed, Err(RequestError::NotConnected(Disconnect::Unreachable(_)))), "{failed:?}");

    let waiting = Arc::new(Mutex::new(Vec::new()));
    for number in ["1", "2", "3"] {
        let waiting = Arc::clone(&waiting);
        keeping.request("room.echo", number).call(move |answer| waiting.lock().unwrap().push(answer));
    }
    // The third was one too much.
    assert!(matches!(waiting.lock().unwrap().as_slice(), [Err(RequestError::Full(_))]));
    serve(&runtime);
    keeping.reconnect_now();
    runtime.run_until(|| waiting.lock().unwrap().len() == 3);
    let answers: Vec<_> = waiting.lock().unwrap().drain(1..).map(Result::unwrap).collect();
    assert_eq!(answers, ["1", "2"]);
}

#[test]
fn attempts_are_counted_and_states_are_told() {
    let runtime = SimRuntime::new();
    let reconnect = Reconnect::default().min_delay(seconds(1)).max_delay(seconds(4)).attempts(4);
    let client = Client::builder(ADDRESS).reconnect(reconnect).start(runtime.clone()).unwrap();
    let mut states = client.states();
    let seen = block_on(&runtime, async move {
        let mut seen = Vec::new();
        while let Some(state) = states.next().await {
            seen.push(state);
        }
        seen
    });
    let attempts = seen.iter().filter_map(|state| match state {
        State::Reconnecting { attempt, delay, .. } => Some((*attempt, *delay)),
        _ => None,
    });
    let attempts: Vec<_> = attempts.collect();
    assert_eq!(attempts.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for ((_, delay), longest) in attempts.iter().zip([1, 2, 4, 4]) {
        assert!(*delay >= seconds(longest) / 2 && *delay <= seconds(longest), "{delay:?}");
    }
    let Some(State::Closed(Disconnect::GaveUp { attempts: 5, .. })) = seen.last() else { panic!("{seen:?}") };
}

/// When the runtime drops everything, nobody waits for ever.
#[test]
fn a_runtime_that_ends_ends_its_requests() {
    let runtime = SimRuntime::new();
    serve(&runtime);
    let process = runtime.process();
    let client = block_on(&runtime, Client::builder(ADDRESS).connect(process.clone())).unwrap();
    let answer = Arc::new(Mutex::new(None));
    let place = Arc::clone(&answer);
    client.request("room.slow", "1000").call(move |answer| *place.lock().unwrap() = Some(answer));
    process.kill();
    assert!(matches!(*answer.lock().unwrap(), Some(Err(RequestError::Lost(Disconnect::RuntimeEnded)))));
    assert_eq!(client.state(), State::Closed(Disconnect::RuntimeEnded));
}

/// A callback that panics is only that.
#[test]
fn a_callback_that_panics_ends_nothing() {
    let runtime = SimRuntime::new();
    serve(&runtime);
    let client = connect(&runtime, |builder| builder.on_push("onNumber", |_| panic!("on purpose")));
    let mut numbers = client.pushes("onNumber");
    block_on(&runtime, client.request("room.push", "2").into_future()).unwrap();
    client.request("room.echo", "").call(|_| panic!("on purpose"));
    block_on(&runtime, client.request("room.echo", "").into_future()).unwrap();
    let numbers = std::iter::from_fn(|| numbers.try_next()).count();
    assert_eq!((numbers, client.state()), (2, State::Open));
}

/// A link that breaks every few seconds: the client comes back each time, and each request ends exactly once.
#[test]
fn breaking_links() {
    cereus_sim::seeds(40, |seed| {
        let runtime = SimRuntime::new();
        let server = app(&runtime).protocol(|protocol| protocol.heartbeat(seconds(5))).build().unwrap();
        runtime.serve(server.clone(), [Tcp::bind(ADDRESS)]);
        runtime.run_idle();
        let net = Net::new(&runtime, move |rng| {
            let profile = if rng.below(2) == 0 { Profile::wifi() } else { Profile::random(rng) };
            let (up, down) = (200 + rng.below(3000) as u64, 200 + rng.below(3000) as u64);
            profile.up(|link| link.reset_at(up)).down(|link| link.reset_at(down))
        });
        net.seed(seed);
        let reconnect = Reconnect::default().min_delay(Duration::from_millis(50)).max_delay(seconds(1));
        let builder = Client::builder(ADDRESS).reconnect(reconnect).connect_timeout(seconds(30));
        let client = builder.start(net.clone()).unwrap();
        let ends: Arc<Mutex<Vec<u32>>> = Arc::new(Mutex::new(vec![0; 400]));
        let (answered, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for index in 0..400 {
            let (ends, answered, lost) = (Arc::clone(&ends), Arc::clone(&answered), Arc::clone(&lost));
            let body = format!("{index}");
            client.request("room.echo", body.clone()).call(move |answer| {
                ends.lock().unwrap()[index] += 1;
                match answer {
                    Ok(answer) => {
                        assert_eq!(answer, body, "seed {seed}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(RequestError::Lost(_) | RequestError::Timeout(_)) => {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            });
            runtime.advance(Duration::from_millis(20 + index as u64 % 7 * 50));
        }
        runtime.advance(seconds(120));
        assert!(ends.lock().unwrap().iter().all(|ends| *ends == 1), "seed {seed}: {:?}", ends.lock().unwrap());
        assert!(net.connections() >= 3, "seed {seed}: {} connections", net.connections());
        assert!(answered.load(Ordering::Relaxed) > 0, "seed {seed}: nothing was answered");
        drop(client);
        runtime.advance(seconds(60));
        assert_eq!(server.sessions().count(), 0, "seed {seed}");
    });
}

/// A network whose connections are all different.
#[derive(Clone)]
struct Net {
    sim: SimRuntime,
    profile: Arc<dyn Fn(&mut Rng) -> Profile + Send + Sync>,
    connections: Arc<AtomicU64>,
    seed: Arc<AtomicU64>,
    wires: Arc<Mutex<Vec<cereus_sim::Wire>>>,
}

impl Net {
    fn new(sim: &SimRuntime, profile: impl Fn(&mut Rng) -> Profile + Send + Sync + 'static) -> Self {
        let (connections, seed, wires) = Default::default();
        Self { sim: sim.clone(), profile: Arc::new(profile), connections, seed, wires }
    }

    fn seed(&self, seed: u64) {
        self.seed.store(seed, Ordering::Relaxed);
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Nothing comes from the server any more on the connections that there are.
    fn stall(&self) {
        for wire in self.wires.lock().unwrap().iter() {
            wire.stall(cereus_sim::Direction::Down, None);
        }
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Net")
    }
}

impl Runtime for Net {
    type Timer = <SimRuntime as Runtime>::Timer;
    type Listener = <SimRuntime as Runtime>::Listener;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        Runtime::spawn(&self.sim, task);
    }

    fn timer(&self) -> Self::Timer {
        Runtime::timer(&self.sim)
    }

    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send {
        self.sim.bind(address)
    }
}

impl Connector for Net {
    type Stream = SimStream;

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.load(Ordering::Relaxed) << 20 | number;
        let profile = (self.profile)(&mut Rng::new(seed));
        let stream = self.sim.connect_over(address, &profile, seed)?;
        self.wires.lock().unwrap().push(stream.wire());
        Ok(stream)
    }
}
