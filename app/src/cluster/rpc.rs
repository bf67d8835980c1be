use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use cereus_cluster::{Address, CallStats, Kind, PropagatedError, ServerInfo, Servers};
use prost::Message;
use serde::Serialize;

use crate::{
    Error, Server,
    cluster::{
        Shared,
        call::{Call, Called, Origin},
    },
};

/// Calls to other servers (specification, section 12.4), and who they are.
///
/// As an argument of a handler or of a remote it is part of that call: it hands on what was
/// [propagated](Self::propagate) with it, and its calls have no more time than that one has left.
///
/// Arguments and replies are protobuf messages, whatever clients speak; `()` is none.
///
/// ```
/// use cereus_app::{Error, Json, Rpc};
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct Close { #[prost(string, tag = "1")] reason: String }
///
/// async fn close(rpc: Rpc, Json(room): Json<String>) -> Result<Json<bool>, Error> {
///     let close = Close { reason: "the game is over".into() };
///     rpc.call::<()>("game.room.close", &close).await?;          // any server of the type `game`
///     rpc.call_to::<()>(&room, "game.room.close", &close).await?; // this one
///     Ok(Json(true))
/// }
/// ```
#[derive(Clone)]
pub struct Rpc {
    server: Server,
    origin: Origin,
    timeout: Option<Duration>,
}

impl Rpc {
    pub(crate) const fn new(server: Server, origin: Origin) -> Self {
        Self { server, origin, timeout: None }
    }

    /// How long a call may take. It takes no longer than the call that it is part of. Default: the cluster's
    /// `request_timeout`.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a value that travels with every call from here on, from server to server.
    ///
    /// # Errors
    ///
    /// The key is one of the protocol's own, or the value has no JSON form.
    pub fn propagate<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Result<Self, PropagatedError> {
        self.origin.propagated.set(key, value)?;
        Ok(self)
    }

    /// Calls a remote on any server of the type that the route begins with.
    ///
    /// # Errors
    ///
    /// What the remote answered, with its code and metadata; [`Error::TIMEOUT`]; [`Error::INTERNAL`]: there is no such server;
    /// [`Error::BAD_REQUEST`]: the route; [`Error::UNKNOWN`]: it is this server's own type, or the bus failed.
    pub async fn call<Reply: Message + Default>(&self, route: &str, argument: &impl Message) -> Result<Reply, Error> {
        let target = self.shared()?.any_server(route)?;
        self.call_server(&target, route, argument).await
    }

    /// Calls a remote on one server. The type in the route may be any.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); [`Error::UNKNOWN`]: there is no such server, or it is this one.
    pub async fn call_to<Reply: Message + Default>(
        &self,
        server_id: &str,
        route: &str,
        argument: &impl Message,
    ) -> Result<Reply, Error> {
        let shared = self.shared()?;
        if server_id == shared.own.id {
            return Err(Error::new(Error::UNKNOWN, NONSENSE));
        }
        let servers = shared.servers();
        let target = servers
            .by_id(server_id)
            .ok_or_else(|| Error::new(Error::UNKNOWN, "server not found").with("server", server_id))?;
        self.call_server(target, route, argument).await
    }

    async fn call_server<Reply: Message + Default>(
        &self,
        target: &Arc<ServerInfo>,
        route: &str,
        argument: &impl Message,
    ) -> Result<Reply, Error> {
        let data = self.call_raw(target, route, argument.encode_to_vec().into())?.await?;
        Reply::decode(data).map_err(|error| Error::new(Error::UNKNOWN, format!("the reply cannot be read: {error}")))
    }

    /// Starts a call at once; what is returned waits for its end.
    pub(crate) fn call_raw(
        &self,
        target: &Arc<ServerInfo>,
        route: &str,
        data: Bytes,
    ) -> Result<impl Future<Output = Result<Bytes, Error>> + Send + use<>, Error> {
        self.start(target, route, data, |call| call)
    }

    /// As [`call_raw`](Self::call_raw), for a call that is to be sent whether or not anybody waits.
    pub(crate) fn cast(
        &self,
        target: &Arc<ServerInfo>,
        route: &str,
        data: Bytes,
    ) -> Result<impl Future<Output = Result<Bytes, Error>> + Send + use<>, Error> {
        self.start(target, route, data, Call::detach)
    }

    fn start(
        &self,
        target: &Arc<ServerInfo>,
        route: &str,
        data: Bytes,
        wrap: fn(Call) -> Call,
    ) -> Result<impl Future<Output = Result<Bytes, Error>> + Send + use<>, Error> {
        let shared = self.shared()?;
        let (timeout, deadline) = shared.limit(self.timeout, self.origin.deadline);
        let called = Called { server: target, route, timeout };
        let envelope = called.request(shared, &self.origin, self.server.unix_nanos(), data);
        let call = shared.call(Address::Server(Arc::clone(target)), Kind::Call, envelope, deadline);
        let call = wrap(call.map_err(|error| called.error(shared, &error))?);
        let (shared, target, route) = (Arc::clone(shared), Arc::clone(target), route.to_owned());
        Ok(async move {
            let result = call.await;
            Called { server: &target, route: &route, timeout }.result(&shared, result)
        })
    }

    /// The servers that are there.
    pub fn servers(&self) -> Arc<Servers> {
        self.server.shared().map(|shared| shared.servers()).unwrap_or_default()
    }

    /// This server, as others know it.
    pub fn own(&self) -> Option<&Arc<ServerInfo>> {
        self.server.shared().map(|shared| &shared.own)
    }

    /// How many calls are in flight.
    pub fn calls_in_flight(&self) -> usize {
        self.server.shared().map_or(0, |shared| shared.calls_in_flight())
    }

    /// How calls ended so far.
    pub fn call_stats(&self) -> CallStats {
        self.server.shared().map(|shared| shared.call_stats()).unwrap_or_default()
    }

    fn shared(&self) -> Result<&Arc<Shared>, Error> {
        self.server.shared().ok_or_else(|| Error::new(Error::UNKNOWN, "this server is in no cluster"))
    }
}

/// What other implementations answer, word for word (section 4.6).
const NONSENSE: &str =
    "you are making a rpc that may be processed locally, either specify a different server type or specify a server id";

impl Shared {
    /// Any server of the type that a route begins with, but not one of the own type.
    fn any_server(&self, route: &str) -> Result<Arc<ServerInfo>, Error> {
        let path = cereus_core::Route::from(route);
        let path =
            path.path().map_err(|error| Error::new(Error::BAD_REQUEST, error.to_string()).with("route", route))?;
        let server_type = path.server_type.ok_or_else(|| {
            Error::new(Error::BAD_REQUEST, "the route of a call begins with a server type").with("route", route)
        })?;
        if server_type == self.own.server_type {
            return Err(Error::new(Error::UNKNOWN, NONSENSE));
        }
        let servers = self.servers();
        // Whatever is set for messages of clients (section 5).
        self.calls_policy.choose("", servers.of_type(server_type)).cloned().ok_or_else(|| {
            Error::new(Error::INTERNAL, format!("there is no server of type `{server_type}`")).with("route", route)
        })
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("origin", &self.origin).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
