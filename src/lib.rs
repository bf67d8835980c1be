//! Cereus: a game server framework that speaks the Pitaya protocol.
//!
//! Pitaya, nano and pomelo clients connect over TCP or WebSocket; you write async functions.
//!
//! ```no_run
//! use cereus::{App, Error, Json, Service, Session, Tcp, WebSocket};
//!
//! async fn join(session: Session, Json(name): Json<String>) -> Result<Json<String>, Error> {
//!     session.bind(&*name).await?;
//!     session.server().broadcast("onJoin", Json(&name))?;
//!     Ok(Json(format!("welcome, {name}")))
//! }
//!
//! # #[cfg(feature = "tokio")]
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = App::new(()).service(Service::new("room").request("join", join)).build()?;
//!     cereus::tokio::serve(server, [Tcp::bind("0.0.0.0:3250"), WebSocket::bind("0.0.0.0:3251")]).await?;
//!     Ok(())
//! }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! # Which part do I want?
//!
//! | to … | take |
//! | --- | --- |
//! | write a server | this crate, and the feature of your runtime: `tokio` (default), `smol`, `async-std` |
//! | make several servers one | [`Cluster`], in process or with the features `nats`, `grpc`, `etcd` |
//! | write a bus or a registry of your own | [`cluster`] |
//! | embed the protocol in something else | [`core`] alone: bytes in, events out, no IO |
//! | write a transport of your own | [`transports`] |
//!
//! # What is promised
//!
//! - The messages of one session are handled in the order they were sent, those of different sessions in parallel.
//! - Every request gets exactly one answer: a reply, an error, or the end of the connection.
//! - A slow or stalled client delays nobody else; every queue and every wait has a bound, and the bound is a setting.
//! - No input from the network can panic the process or make it hold more than the settings allow: [all of them](limits).
//! - A handler that has started runs to its end, unless its deadline cuts it at an `.await`.
//! - A call to another server has exactly one end, at its deadline if not before.

pub mod limits;

pub use cereus_app::*;
pub use cereus_cluster as cluster;
pub use cereus_core as core;
pub use cereus_core::{Compression, RouteDictionary};
pub use cereus_transports as transports;
#[cfg(feature = "websocket")]
pub use cereus_transports::WebSocket;
pub use cereus_transports::{Endpoint, Tcp};
#[cfg(feature = "tls")]
pub use cereus_transports::{TlsConfig, TlsConfigError};

/// On tokio.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use cereus_tokio::*;
}

/// On smol.
#[cfg(feature = "smol")]
pub mod smol {
    pub use cereus_async_std::{Smol, serve};
}

/// On async-std, which is no longer developed: prefer smol.
#[cfg(feature = "async-std")]
pub mod async_std {
    pub use cereus_async_std::async_std::{AsyncStd, serve};
}

/// The examples of the README compile.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
mod readme {}
