//! Tests without a socket and without a clock: virtual time, byte-stream links with faults, and the properties that
//! every connection of Cereus has.
//!
//! - [`Pair`] joins a real server connection and a real client connection by two [`Link`]s in virtual time. Links cut,
//!   join, delay, stall and break the bytes as their seed says; hours pass in milliseconds.
//! - [`SimRuntime`] is a whole runtime in virtual time: servers that ship run on it, with their handlers and timers.
//! - [`nodes`] is a cluster of bare nodes, with a bus and a registry that fail as they are told, and a model of each.
//! - [`props`] has the properties, as functions over bytes that panic when one is violated. The fuzz targets and the
//!   property tests call the same ones.
//! - [`strategies`] makes sessions, whole and damaged, for `proptest`.
//!
//! The same seed gives the same run. A test over [`seeds`] tells the one that failed, and `CEREUS_SEED=…` repeats it alone:
//!
//! ```
//! use cereus_core::{ClientEvent, Route, ServerEvent};
//! use cereus_sim::{LinkConfig, Pair, seeds};
//! use std::time::Duration;
//!
//! seeds(3, |seed| {
//!     let slow = LinkConfig::default().chunk(1..=3).delay(Duration::ZERO..=Duration::from_millis(80));
//!     let mut pair = Pair::builder(seed)
//!         .uplink(slow.clone())
//!         .downlink(slow)
//!         .on_server(|event, server, now| match event {
//!             ServerEvent::Handshake(_) => server.accept(now),
//!             ServerEvent::Request { id, .. } => server.respond(*id, "pong").expect("it waits"),
//!             _ => {}
//!         })
//!         .build();
//!
//!     pair.run_until(Pair::is_connected);
//!     let id = pair.client.request(&Route::from_static("game.ping"), "ping").expect("connected");
//!     pair.advance(Duration::from_secs(3600));
//!     assert!(pair.client_saw(|event| *event == ClientEvent::Response { id, body: "pong".into() }));
//!     assert!(!pair.server.is_closed());
//! });
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
