//! Tests without a socket and without a clock: your servers, their cluster and their clients in virtual time, in one
//! thread, over links that cut, join, delay, stall and break the bytes as a seed says.
//!
//! A [`World`] runs apps as they ship: the same driver, handlers and modules, the same envelopes between servers. Whenever
//! time has passed it checks what is promised of every server, its [`invariants`], and what you add; hours pass in
//! milliseconds:
//!
//! ```
//! use cereus_app::{App, Error, Raw, Service, Session};
//! use cereus_sim::{Host, Profile, World, seeds};
//! use std::time::Duration;
//!
//! async fn login(session: Session, Raw(name): Raw) -> Result<Raw, Error> {
//!     session.bind(String::from_utf8_lossy(&name).as_ref()).await?;
//!     Ok(Raw("welcome".into()))
//! }
//!
//! fn app(host: &Host, server_type: &str) -> App<()> {
//!     let service = Service::new("door").request("login", login);
//!     App::new(()).server_type(server_type).service(service).cluster(host.cluster())
//! }
//!
//! seeds(3, |seed| {
//!     let mut world = World::new(seed);
//!     let gate = world.frontend("gate-1", |host| app(host, "gate"));
//!     world.backend("room-1", |host| app(host, "room"));
//!     world.invariant("nobody is lost", move |world| {
//!         let found = gate.sessions().by_uid("ann").is_some();
//!         if found || world.now().since_epoch() < Duration::from_secs(5) { Ok(()) } else { Err("ann".into()) }
//!     });
//!
//!     let phone = world.client("gate-1", &Profile::cellular());
//!     phone.request("room.door.login", "ann"); // which the backend handles
//!     world.advance(Duration::from_secs(3600));
//!     assert_eq!(phone.events().len(), 2); // connected, and answered
//!
//!     world.crash("room-1");
//!     world.restart("room-1");
//!     world.converge();
//! });
//! ```
//!
//! A world that fails tells its seed, the name of what does not hold, and the last of what happened. `CEREUS_SEED=17` runs
//! that seed alone, with `CEREUS_TRACE=1` all that happens is told, and `CEREUS_SEEDS=1000` runs so many: see [`seeds`].
//! `examples/simulate.rs` in the repository finds a bug in a handler that way.
//!
//! What is random has to come from the seed for that: take it from [`World::rng`], and give handlers the time and the tasks
//! of their [`Host`]. A [`SimCluster`] loses, repeats and delays envelopes, cuts servers off, ends leases and forgets
//! changes; a [`Wire`] stalls, half-closes and resets a connection.
//!
//! # Smaller worlds
//!
//! - [`SimRuntime`] is the runtime alone: to run what is written for [`rt`](cereus_transports::rt), step by step.
//! - [`Pair`] joins a bare server connection and a bare client connection by two [`Link`]s.
//! - [`nodes`] is a cluster of bare nodes, with a bus and a registry that fail as they are told, and a model of each.
//! - [`props`] has the properties, as functions over bytes that panic when one is violated. The fuzz targets and the
//!   property tests call the same ones.
//! - [`strategies`] makes sessions, whole and damaged, for `proptest`.
//!
//! ```
//! use cereus_core::{ClientEvent, Route, ServerEvent};
//! use cereus_sim::{LinkConfig, Pair};
//! use std::time::Duration;
//!
//! let slow = LinkConfig::default().chunk(1..=3).delay(Duration::ZERO..=Duration::from_millis(80));
//! let mut pair = Pair::builder(7)
//!     .uplink(slow.clone())
//!     .downlink(slow)
//!     .on_server(|event, server, now| match event {
//!         ServerEvent::Handshake(_) => server.accept(now),
//!         ServerEvent::Request { id, .. } => server.respond(*id, "pong").expect("it waits"),
//!         _ => {}
//!     })
//!     .build();
//!
//! pair.run_until(Pair::is_connected);
//! let id = pair.client.request(&Route::from_static("game.ping"), "ping").expect("connected");
//! pair.advance(Duration::from_secs(3600));
//! assert!(pair.client_saw(|event| *event == ClientEvent::Response { id, body: "pong".into() }));
//! assert!(!pair.server.is_closed());
//! ```
//!
//! A [`SimRuntime`] runs the driver, the handlers and the modules of an app as they ship, and whatever else is written for
//! [`rt`](cereus_transports::rt), in one thread and in an order that is always the same. Time passes when nothing else can
//! happen, so deadlines, heartbeats and shutdowns are tested to the nanosecond and without waiting for them:
//!
//! ```
//! use cereus_app::{App, Service, State};
//! use cereus_core::Instant;
//! use cereus_sim::SimRuntime;
//! use cereus_transports::{Tcp, rt::{ByteStream, Connector, Runtime}};
//! use std::{future::poll_fn, time::Duration};
//!
//! async fn nap(State(runtime): State<SimRuntime>) {
//!     runtime.sleep(Duration::from_secs(20)).await;
//! }
//!
//! let runtime = SimRuntime::new();
//! let app = App::new(runtime.clone()).service(Service::new("room").notify("nap", nap));
//! let server = app.build().expect("the app is right");
//! let serving = runtime.serve(server.clone(), [Tcp::bind("127.0.0.1:3250")]);
//! runtime.run_idle();
//!
//! let client = runtime.clone();
//! runtime.spawn(async move {
//!     let mut stream = client.connect(([127, 0, 0, 1], 3250).into()).await.expect("it listens");
//!     let bytes = b"\x01\0\0\x02{}\x02\0\0\0\x04\0\0\x0a\x02\x08room.nap"; // handshake, acknowledgement, notify
//!     poll_fn(|cx| stream.poll_write(cx, bytes)).await.expect("it is read");
//!     // It reads until the server closes.
//!     let mut buf = [0; 1024];
//!     while poll_fn(|cx| stream.poll_read(cx, &mut buf)).await.is_ok_and(|len| len > 0) {}
//! });
//! runtime.advance(Duration::from_secs(1));
//!
//! // The handler sleeps on, and the server waits for it.
//! server.shutdown();
//! let end = runtime.run_until(|| serving.is_over());
//! assert_eq!(end - Instant::EPOCH, Duration::from_secs(20));
//! ```

mod client;
mod clock;
mod cluster;
mod journal;
mod link;
pub mod nodes;
mod pair;
mod profile;
pub mod props;
mod rng;
mod runtime;
pub mod strategies;
mod world;

pub use client::Client;
pub use clock::Clock;
pub use cluster::{SimBus, SimCluster, SimRegistry};
pub use journal::Journal;
pub use link::{Delivery, Link, LinkConfig};
pub use pair::{Pair, PairBuilder, Timed};
pub use profile::Profile;
pub use rng::{Rng, seeds};
pub use runtime::{Direction, Serving, SimListener, SimRuntime, SimStream, SimTimer, Wire};
pub use world::{Host, World, invariants};
