//! What a Cereus server is written with: [`App`], [`Service`], handlers, [`Session`], groups, modules, hooks.
//!
//! Most people use this through the crate `cereus`, which re-exports all of it beside a runtime.
//!
//! # Handlers
//!
//! A handler is an async function. Its arguments are taken from the message; the body, if it wants one, is the last. What
//! it returns is the reply, or an error that the client sees:
//!
//! ```
//! use cereus_app::{App, Error, Json, Service, Session, State, UserId};
//! use std::{collections::HashMap, sync::{Arc, Mutex}};
//!
//! #[derive(Clone, Default)]
//! struct Scores(Arc<Mutex<HashMap<Arc<str>, u32>>>);
//!
//! // A request: answered with what it returns.
//! async fn login(session: Session, Json(name): Json<String>) -> Result<Json<String>, Error> {
//!     session.bind(&*name).await?;
//!     Ok(Json(format!("hello, {name}")))
//! }
//!
//! // `UserId` refuses sessions that are not bound.
//! async fn score(State(scores): State<Scores>, UserId(user): UserId, Json(points): Json<u32>) -> Result<Json<u32>, Error> {
//!     if points > 100 {
//!         return Err(Error::new("GAME-001", "nobody is that good").with("points", points));
//!     }
//!     let mut scores = scores.0.lock().map_err(|_| Error::new(Error::INTERNAL, "the scores are lost"))?;
//!     let total = scores.entry(user).or_default();
//!     *total += points;
//!     Ok(Json(*total))
//! }
//!
//! // A notify: never answered.
//! async fn leave(session: Session) {
//!     session.close();
//! }
//!
//! let server = App::new(Scores::default())
//!     .service(Service::new("game").request("login", login).request("score", score).notify("leave", leave))
//!     .build()?;
//! # Ok::<(), cereus_app::BuildErrors>(())
//! ```
//!
//! | argument | what it is |
//! | --- | --- |
//! | [`State<T>`](State) | the app's state, or a part of it |
//! | [`Session`], [`Server`] | the client's connection; the whole server |
//! | [`Rpc`] | calls to other servers, as part of this message |
//! | [`UserId`] | who the session is bound to; refuses others |
//! | [`Route`], [`RequestId`], [`Deadline`], [`Peer`] | facts about the message |
//! | [`Extension<T>`](Extension) | what a hook handed on |
//! | [`Context`] | all of the above |
//! | `Json<T>`, `Protobuf<T>`, [`Raw`] | the body, as the last argument; [yours](FromBody) |
//!
//! A request handler returns a body (`Json`, `Protobuf`, [`Raw`], bytes), an `Option` or a `Result` of one; a notify handler
//! returns nothing or `Result<(), Error>`. A body that cannot be read is answered with PIT-400, a panic with PIT-000, a
//! handler that is not done at its deadline with PIT-408.
//!
//! # Order
//!
//! The messages of one session are handled one after the other, in the order they were sent. Different sessions run in
//! parallel. [`Service::concurrency`] lets messages of one session to a service overtake each other.
//!
//! Only messages wait for each other. Pushes, kicks, binding and data take effect beside the message that a session is
//! busy with, so a handler may push to its own session and wait for room.
//!
//! # Clusters
//!
//! An app with a [`Cluster`] is one of several servers. Messages whose route begins with another server type are forwarded to a
//! server of that type, which runs its handler with a [`Session`] that stands for the client: binding, data, pushes and kicks
//! reach the frontend while that waits for the answer. [`Rpc`] calls the [`Remote`]s of other servers, [`Server::users`] reaches
//! users wherever they are bound.
//!
//! The order of a session's messages holds across servers: the next is sent on when the one before was answered, or its time is
//! over. [`Forward::concurrency`] opts out. A call has exactly one end: the answer, an error, or [`Error::TIMEOUT`] at its
//! deadline, and then it may still have been handled. Calls that are made for a message take no longer than that one may.
//!
//! # Cancel safety
//!
//! A handler that has started is polled to its end, also when its client is gone; then its result goes nowhere. Only its
//! deadline ends it early: its future is dropped at the `.await` where it waits. What must not be cut there belongs into a
//! task of its own.
//!
//! # Shutdown
//!
//! [`Server::drain`] takes the server out of the registry and makes it take no new clients; those that are there may stay for as
//! long as `session_drain` says. [`Server::shutdown`] makes `serve` start no more handlers, let those that run end within the
//! drain timeout, close all sessions, and shut modules, remotes and services down in the reverse of their [order](Lifecycle).
//! The `serve` of a runtime crate does so on [signals](Server::signal).
#![forbid(unsafe_code)]

mod app;
mod body;
mod build_error;
#[cfg(loom)]
#[cfg(test)]
mod checks;
mod cluster;
mod context;
mod driver;
mod error;
mod group;
mod handler;
mod handlers;
mod hook;
mod limits;
mod mailbox;
mod module;
mod opening;
mod push;
mod random;
mod remote;
mod router;
mod running;
mod serializer;
mod serve;
mod server;
mod service;
mod session;
mod sessions;
mod stats;
mod sync;

pub use app::App;
#[cfg(feature = "json")]
pub use body::Json;
pub use body::Protobuf;
pub use body::{FromBody, IntoBody, IntoNothing, IntoReply, OnFull, Raw};
pub use build_error::{BuildError, BuildErrors};
pub use bytes::Bytes;
#[cfg(feature = "grpc")]
pub use cereus_cluster::Grpc;
#[cfg(feature = "nats")]
pub use cereus_cluster::Nats;
pub use cereus_cluster::{
    BindingStorage, Bus, GroupError, GroupStorage, InProcess, Propagated, Registry, ServerInfo, Servers,
};
#[cfg(feature = "etcd")]
pub use cereus_cluster::{Etcd, EtcdBindings, EtcdGroups};
pub use cereus_core::{FullPolicy, HandshakeRequest, PushLosses, RateLimit, Route, session::SessionId};
pub use cluster::{Cluster, Forward, Kicking, Rpc, Users};
pub use context::{AnyContext, Context, Deadline, Extension, FromContext, FromState, Peer, RequestId, State, UserId};
pub use error::Error;
pub use group::Groups;
pub use handler::{Handler, LastArgument, ViaBody, ViaContext};
pub use module::{Lifecycle, Module};
pub use push::PushError;
pub use remote::{Caller, Remote, RemoteContext};
pub use serializer::ProtobufSerializer;
pub use serializer::{JsonSerializer, Serializer};
pub use serve::{ServeError, serve};
pub use server::{Server, Signal};
pub use service::Service;
pub use session::Session;
pub use sessions::Sessions;
pub use stats::Stats;
