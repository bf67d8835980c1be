use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use cereus_cluster::{Propagated, PropagatedError};
use cereus_core::{Instant, Route};
use hashbrown::HashMap;
use serde::Serialize;

use crate::{
    AnyContext, Deadline, Error, FromContext, Handler, IntoReply, Lifecycle, RequestId, Rpc, Server,
    cluster::Origin,
    context::Extensions,
    handler::{self, ErasedHandler, UnboundHandler},
    module::DynLifecycle,
};

/// What other servers may call, under one name: they reach `close` of the remote `room` on a server of type `game` by the
/// route `game.room.close`, with [`Rpc`](crate::Rpc).
///
/// A remote's function is written as a handler is, without a session: arguments are taken from the call, the body is a
/// protobuf message whatever clients speak.
///
/// ```
/// use cereus_app::{App, Caller, Error, Protobuf, Remote};
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct Close { #[prost(string, tag = "1")] reason: String }
///
/// async fn close(caller: Caller, Protobuf(close): Protobuf<Close>) -> Result<Protobuf<()>, Error> {
///     println!("{} wants to close: {}", caller.id, close.reason);
///     Ok(Protobuf(()))
/// }
///
/// let app = App::new(()).server_type("game").remote(Remote::new("room").call("close", close));
/// ```
#[must_use = "a remote does nothing until an app has it"]
pub struct Remote<S> {
    pub(crate) name: String,
    pub(crate) entries: Vec<(String, Formats, UnboundHandler<S, RemoteContext>)>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) lifecycle: Option<Arc<dyn DynLifecycle>>,
}

type Formats = [Option<&'static str>; 2];

impl<S: Send + Sync + 'static> Remote<S> {
    /// A remote without functions.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), entries: Vec::new(), deadline: None, lifecycle: None }
    }

    /// Adds a function.
    pub fn call<M: 'static, H>(mut self, name: impl Into<String>, function: H) -> Self
    where
        H: Handler<M, S, RemoteContext>,
        H::Output: IntoReply,
    {
        self.entries.push((name.into(), [H::FORMAT, H::Output::FORMAT], handler::request(function)));
        self
    }

    /// How long its functions may run; then they are dropped where they wait. Default: the app's `handler_deadline`.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What happens when the app starts and stops.
    pub fn lifecycle(mut self, lifecycle: impl Lifecycle) -> Self {
        self.lifecycle = Some(Arc::new(lifecycle));
        self
    }
}

impl<S> fmt::Debug for Remote<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions: Vec<_> = self.entries.iter().map(|(name, ..)| name).collect();
        f.debug_struct("Remote").field("name", &self.name).field("functions", &functions).finish_non_exhaustive()
    }
}

/// Which function a call means.
#[derive(Default)]
pub(crate) struct Remotes {
    functions: Vec<Function>,
    routes: HashMap<Arc<str>, usize>,
}

pub(crate) struct Function {
    /// `remote.function`.
    pub(crate) route: Arc<str>,
    pub(crate) handler: ErasedHandler<RemoteContext>,
    pub(crate) deadline: Duration,
}

impl Remotes {
    /// Adds a function. Tells whether its route was free.
    pub(crate) fn insert(&mut self, function: Function) -> bool {
        let free = self.routes.insert(Arc::clone(&function.route), self.functions.len()).is_none();
        self.functions.push(function);
        free
    }

    pub(crate) fn find(&self, route: &str) -> Option<(usize, &Function)> {
        let index = *self.routes.get(route)?;
        Some((index, self.get(index)))
    }

    pub(crate) fn get(&self, index: usize) -> &Function {
        &self.functions[index]
    }
}

/// One call of another server on its way to its function, and what hooks add to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RemoteContext {
    server: Server,
    route: Route,
    body: Bytes,
    deadline: Instant,
    origin: Arc<Origin>,
    extensions: Extensions,
}

impl RemoteContext {
    pub(crate) fn new(server: Server, route: Route, body: Bytes, deadline: Instant, origin: Arc<Origin>) -> Self {
        Self { server, route, body, deadline, origin, extensions: Extensions::default() }
    }

    /// The server that is called.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// The route, as it was called.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// The argument, as it was sent.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Who calls.
    pub fn caller(&self) -> Caller {
        let Propagated { peer_id, peer_service, .. } = &self.origin.propagated;
        Caller { id: peer_id.clone(), server_type: peer_service.clone() }
    }

    /// The name of the client message, or of the first call, that this is part of.
    pub fn request_id(&self) -> RequestId {
        RequestId::given(self.origin.propagated.request_id.clone())
    }

    /// When the function is cut.
    pub const fn deadline(&self) -> Deadline {
        Deadline::new(self.deadline)
    }

    /// What travels with this call and with those that are made for it.
    pub fn propagated(&self) -> &Propagated {
        &self.origin.propagated
    }

    /// Adds a value that travels with calls that are made for this one.
    ///
    /// # Errors
    ///
    /// The key is one of the protocol's own, or the value has no JSON form.
    pub fn propagate<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), PropagatedError> {
        Arc::make_mut(&mut self.origin).propagated.set(key, value)
    }

    /// Hands a value on to later hooks and to the function, which takes it as [`Extension`](crate::Extension).
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.extensions.insert(value);
    }

    /// The latest value of this type that a hook handed on.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.extensions.get()
    }
}

impl AnyContext for RemoteContext {
    fn server(&self) -> &Server {
        &self.server
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    fn request_id(&self) -> RequestId {
        self.request_id()
    }

    fn deadline(&self) -> Deadline {
        self.deadline()
    }

    fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.extension()
    }

    fn rpc(&self) -> Rpc {
        let deadline = self.origin.deadline.map_or(self.deadline, |outer| outer.min(self.deadline));
        let origin = Origin { propagated: self.origin.propagated.clone(), deadline: Some(deadline) };
        Rpc::new(self.server.clone(), origin)
    }
}

impl<S> FromContext<S, Self> for RemoteContext {
    fn from_context(context: &Self, _state: &S) -> Result<Self, Error> {
        Ok(context.clone())
    }
}

/// The server that calls.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Caller {
    /// Its id.
    pub id: String,
    /// Its type.
    pub server_type: String,
}

impl<S> FromContext<S, RemoteContext> for Caller {
    fn from_context(context: &RemoteContext, _state: &S) -> Result<Self, Error> {
        Ok(context.caller())
    }
}
