//! Tests without a socket and without a clock: virtual time, byte-stream links with faults, and the properties that
//! every connection of Cereus has.
//!
//! - [`Pair`] joins a real server connection and a real client connection by two [`Link`]s in virtual time. Links cut,
//!   join, delay, stall and break the bytes as their seed says; hours pass in milliseconds.
//! - [`props`] has the properties, as functions over bytes that panic when one is violated. The fuzz targets and the
//!   property tests call the same ones.
//! - [`strategies`] makes sessions, whole and damaged, for `proptest`.
//!
//! The same seed gives the same run. A test over [`seeds`] tells the one that failed, and `SEED=…` repeats it alone:
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

mod clock;
mod link;
mod pair;
pub mod props;
mod rng;
pub mod strategies;

pub use clock::Clock;
pub use link::{Delivery, Link, LinkConfig};
pub use pair::{Pair, PairBuilder, Timed};
pub use rng::{Rng, seeds};
