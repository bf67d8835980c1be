//! What a Cereus server is written with: [`App`], [`Service`], handlers, [`Session`], groups, modules, hooks.
#![forbid(unsafe_code)]

mod app;
mod body;
mod context;
mod driver;
mod error;
mod group;
mod handler;
mod handlers;
mod hook;
mod mailbox;
mod module;
mod router;
mod serializer;
mod serve;
mod server;
mod service;
mod session;
mod sessions;

pub use app::{App, BuildError, BuildErrors};
#[cfg(feature = "json")]
pub use body::Json;
#[cfg(feature = "protobuf")]
pub use body::Protobuf;
pub use body::{FromBody, IntoBody, IntoNothing, IntoReply, Raw};
pub use cereus_core::{HandshakeRequest, Route, session::SessionId};
pub use context::{Context, Deadline, Extension, FromContext, FromState, Peer, RequestId, State, UserId};
pub use error::Error;
pub use group::{GroupError, Groups};
pub use handler::{Handler, LastArgument, ViaBody, ViaContext};
pub use hook::Hooks;
pub use module::{Lifecycle, Module};
#[cfg(feature = "protobuf")]
pub use serializer::ProtobufSerializer;
pub use serializer::{JsonSerializer, Serializer};
pub use serve::{ServeError, serve};
pub use server::Server;
pub use service::Service;
pub use session::{PushError, Session};
pub use sessions::Sessions;
