//! The Pitaya client protocol as a sans-IO state machine: bytes ⇄ packets ⇄ messages ⇄ events.
//!
//! ```text
//!   socket          ┌───────────────────────────── this crate ─────────────────────────────┐     you
//!                   │                                                                       │
//!   read  ─ bytes ─►│ handle_input ─► packets ─► messages ─► poll_event ─► ServerEvent ─────┼─► handlers
//!   clock ─ now ───►│ handle_timeout                                                        │
//!                   │                                                                       │
//!   write ◄─ bytes ─│ poll_transmit ◄─ packets ◄─ messages ◄─ respond, push, kick, close ◄──┼── answers
//!   timer ◄─ when ──│ poll_timeout                                                          │
//!                   └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! No IO, no clock, no async, no locks, no globals, no `unsafe`: it runs in a server, a browser, a game engine, a fuzzer.
//! [`ServerConnection`] and [`ClientConnection`] are driven by a loop of this shape (`examples/blocking.rs` is a whole
//! program):
//!
//! ```
//! # use bytes::BytesMut;
//! # use cereus_core::{Instant, ServerConfig, ServerConnection, ServerEvent};
//! # enum Wake { Read(Vec<u8>), Eof, Deadline }
//! # fn wait(_: &mut BytesMut, _: Option<Instant>) -> Wake { Wake::Eof }
//! # fn now() -> Instant { Instant::EPOCH }
//! # fn act(_: ServerEvent, _: &mut ServerConnection) {}
//! # let mut connection = ServerConnection::new(Default::default(), now());
//! let mut out = BytesMut::new();
//! loop {
//!     while let Some(event) = connection.poll_event() {
//!         act(event, &mut connection); // accept, respond, push, …
//!     }
//!     while out.len() < 64 << 10 && connection.poll_transmit(&mut out).is_some() {}
//!     if connection.is_closed() && out.is_empty() {
//!         break;
//!     }
//!     // Writes `out`, reads while `connection.wants_input()`, sleeps until the deadline.
//!     match wait(&mut out, connection.poll_timeout()) {
//!         Wake::Read(bytes) => connection.handle_input(&bytes, now()),
//!         Wake::Eof => connection.handle_eof(now()),
//!         Wake::Deadline => connection.handle_timeout(now()),
//!     }
//! }
//! ```
//!
//! # Guarantees
//!
//! - No input panics, whatever its bytes and its segmentation; the same bytes give the same events in any segmentation.
//! - A connection holds at most what its configuration allows; an idle one holds next to nothing.
//! - A request that was given out is answered once: a second answer is refused.
//! - A silent peer is given up after more than two and at most three heartbeats. Time in which input was not wanted does
//!   not count: silence begins anew when it is wanted again.
//! - [`ServerEvent::Closed`] is always the last event and comes exactly once.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod client;
mod compression;
mod config;
mod dictionary;
pub mod duration;
mod engine;
mod error;
mod handshake;
mod heartbeat;
mod json;
pub mod message;
pub mod packet;
mod push;
mod queue;
mod rate;
mod route;
mod server;
pub mod session;
mod time;

pub use client::{ClientConnection, ClientEvent};
pub use compression::InflateError;
pub use config::{
    AUTO_COMPRESSION_MIN, ClientConfig, ClientConfigBuilder, Compression, ConfigErrors, FullPolicy, ServerConfig,
    ServerConfigBuilder,
};
pub use dictionary::{DictionaryError, RouteDictionary};
pub use error::{CloseReason, ConfigError, ProtocolError, SendError};
pub use handshake::{HandshakeError, HandshakeRequest, HandshakeResponse};
pub use message::{Message, MessageId, MessageType};
pub use push::EncodedPush;
pub use queue::PushLosses;
pub use rate::RateLimit;
pub use route::{MAX_ROUTE_LEN, Route, RouteError, RoutePath};
pub use server::{ServerConnection, ServerEvent};
pub use time::Instant;
