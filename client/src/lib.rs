//! A client of Cereus, Pitaya, nano and pomelo servers: the same protocol core as the server's, on tokio, smol, async-std or any
//! [runtime](cereus_transports::rt) of yours.
//!
//! ```no_run
//! use cereus_client::Client;
//! # use cereus_transports::rt::{Connector, Runtime};
//!
//! # async fn play(runtime: impl Runtime + Connector) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(runtime, "ws://localhost:3251").await?;
//! let mut messages = client.pushes("onMessage");
//! let greeting: String = client.request_json("room.join", &"nina").await?;
//! while let Some(message) = messages.next().await {
//!     println!("{greeting} {}", message.json::<String>()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is certain
//!
//! - A request ends exactly once: with the body of its answer, or with a [`RequestError`] that says whether the server may have
//!   handled it. A reply that is dropped is given up.
//! - Answers and pushes are handed out in the order in which they came.
//! - A server that is silent for longer than two heartbeats is left, and the client comes [back](Reconnect) with growing
//!   delays.
//! - What waits is bounded: requests and notifies while there is no [connection](WhileAway), pushes that nobody
//!   [takes](Pushes), requests in flight and bytes that wait to be sent (see [`ClientBuilder::protocol`]).

mod address;
mod builder;
mod client;
mod connect;
mod driver;
mod error;
mod push;
mod reconnect;
mod request;
mod shared;
mod state;

pub use address::{Address, AddressError, Scheme};
pub use builder::{ClientBuilder, WhileAway};
pub use bytes::Bytes;
pub use cereus_core::{HandshakeRequest, HandshakeResponse, Route};
#[cfg(feature = "tls")]
pub use cereus_transports::{TlsClientConfig, TlsConfigError};
pub use client::Client;
pub use error::{ConnectError, Disconnect, RequestError, ServerError};
pub use push::{Push, Pushes, Subscription};
pub use reconnect::Reconnect;
pub use request::{Reply, Request};
pub use state::{RoundTrip, State, States};
