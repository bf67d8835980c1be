use std::{
    any::{Any, TypeId},
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{Propagated, PropagatedError};
use cereus_core::{Instant, MessageId, Route};
use serde::Serialize;

use crate::{Error, Rpc, Server, Session, cluster::Origin};

/// One message on its way to its handler, and what hooks add to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) session: Session,
    pub(crate) route: Route,
    pub(crate) id: Option<MessageId>,
    pub(crate) body: Bytes,
    pub(crate) number: u64,
    pub(crate) deadline: Instant,
    /// What came with it, if another server forwarded it, and what hooks added.
    origin: Option<Arc<Origin>>,
    extensions: Extensions,
}

impl Context {
    pub(crate) const fn new(
        session: Session,
        route: Route,
        id: Option<MessageId>,
        body: Bytes,
        number: u64,
        deadline: Instant,
    ) -> Self {
        Self { session, route, id, body, number, deadline, origin: None, extensions: Extensions(None) }
    }

    pub(crate) fn forwarded(
        session: Session,
        route: Route,
        id: Option<MessageId>,
        body: Bytes,
        deadline: Instant,
        origin: Arc<Origin>,
    ) -> Self {
        Self { origin: Some(origin), ..Self::new(session, route, id, body, 0, deadline) }
    }

    /// Whose message it is.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The server that handles it.
    pub fn server(&self) -> &Server {
        self.session.server()
    }

    /// The route, as the client sent it.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// Whether it is answered: a request is, a notify is not.
    pub const fn is_request(&self) -> bool {
        self.id.is_some()
    }

    /// The body, as the client sent it.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// A name for this message that no other message has. Servers that it is forwarded to know it by the same name.
    pub fn request_id(&self) -> RequestId {
        let given = self.origin.as_ref().and_then(|origin| origin.propagated.request_id.clone());
        let own = || RequestIdKind::Own { session: self.session.id().get(), number: self.number };
        RequestId(given.map_or_else(own, RequestIdKind::Given))
    }

    /// What travels with this message and with calls that are made for it.
    pub fn propagated(&self) -> Propagated {
        let mut propagated = self.origin.as_ref().map(|origin| origin.propagated.clone()).unwrap_or_default();
        if propagated.request_id.is_none() {
            // Unique in the cluster, not only here.
            let own = self.server().shared().map(|shared| shared.own.id.as_str()).unwrap_or_default();
            propagated.request_id = Some(format!("{own}-{}", self.request_id()).into());
        }
        propagated
    }

    /// Adds a value that travels with calls that are made for this message, from server to server.
    ///
    /// # Errors
    ///
    /// The key is one of the protocol's own, or the value has no JSON form.
    pub fn propagate<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), PropagatedError> {
        Arc::make_mut(self.origin.get_or_insert_default()).propagated.set(key, value)
    }

    /// When the handler is cut.
    pub const fn deadline(&self) -> Deadline {
        Deadline(self.deadline)
    }

    /// Hands a value on to later hooks and to the handler, which takes it as [`Extension`].
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.extensions.insert(value);
    }

    /// The latest value of this type that a hook handed on.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.extensions.get()
    }
}

/// A list that clones of a context share. Few values, so the latest is found by walking.
#[derive(Clone, Default)]
pub(crate) struct Extensions(Option<Arc<ExtensionLink>>);

struct ExtensionLink {
    id: TypeId,
    value: Arc<dyn Any + Send + Sync>,
    next: Option<Arc<Self>>,
}

impl Extensions {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        let next = self.0.take();
        self.0 = Some(Arc::new(ExtensionLink { id: TypeId::of::<T>(), value: Arc::new(value), next }));
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let mut link = self.0.as_ref();
        while let Some(extension) = link {
            if extension.id == TypeId::of::<T>() {
                return Arc::downcast(Arc::clone(&extension.value)).ok();
            }
            link = extension.next.as_ref();
        }
        None
    }
}

/// What a [`Context`] and a [`RemoteContext`](crate::RemoteContext) both know: what takes its arguments from this can be an
/// argument of handlers and of remotes.
pub trait AnyContext: Clone + Send + Sync + 'static {
    /// The server that handles it.
    fn server(&self) -> &Server;

    /// The route, as it was sent.
    fn route(&self) -> &Route;

    /// The body, as it was sent.
    fn body(&self) -> &Bytes;

    /// Its name.
    fn request_id(&self) -> RequestId;

    /// When the handler is cut.
    fn deadline(&self) -> Deadline;

    /// The latest value of this type that a hook handed on.
    fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>>;

    /// Calls to other servers, as parts of this one.
    fn rpc(&self) -> Rpc;
}

impl AnyContext for Context {
    fn server(&self) -> &Server {
        self.server()
    }

    fn route(&self) -> &Route {
        self.route()
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
        let outer = self.origin.as_ref().and_then(|origin| origin.deadline);
        let deadline = outer.map_or(self.deadline, |outer| outer.min(self.deadline));
        Rpc::new(self.server().clone(), Origin { propagated: self.propagated(), deadline: Some(deadline) })
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extensions")
    }
}

/// What a handler or hook can be told about its message: every argument of a handler, but a body in the last place.
///
/// Implement it for types of your own:
///
/// ```
/// use cereus_app::{Context, Error, FromContext};
///
/// struct Level(i64);
///
/// impl<S> FromContext<S> for Level {
///     fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
///         let level = context.session().data(|data| data.i64("level"));
///         level.map(Self).ok_or_else(|| Error::new("GAME-001", "log in first"))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of this handler",
    label = "cannot be taken from a message",
    note = "a handler takes `State<T>`, `Session`, `Server`, `Rpc`, `UserId`, `Route`, `RequestId`, `Deadline`, `Peer`, `Extension<T>`, `Context`, and a body (`Json<T>`, `Protobuf<T>`, `Raw`) as its last argument",
    note = "a remote takes `State<T>`, `Server`, `Rpc`, `Caller`, `Route`, `RequestId`, `Deadline`, `Extension<T>`, `RemoteContext`, and a body (`Protobuf<T>`, `Raw`) as its last argument",
    note = "`State<T>` needs the `T` that was given to `App::new`, or `impl FromState<S> for T`"
)]
pub trait FromContext<S, C = Context>: Sized + Send {
    /// Takes it from the message.
    ///
    /// # Errors
    ///
    /// What the client is answered.
    fn from_context(context: &C, state: &S) -> Result<Self, Error>;
}

impl<S> FromContext<S> for Context {
    fn from_context(context: &Self, _state: &S) -> Result<Self, Error> {
        Ok(context.clone())
    }
}

impl<S> FromContext<S> for Session {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(context.session.clone())
    }
}

impl<S, C: AnyContext> FromContext<S, C> for Server {
    fn from_context(context: &C, _state: &S) -> Result<Self, Error> {
        Ok(context.server().clone())
    }
}

impl<S, C: AnyContext> FromContext<S, C> for Rpc {
    fn from_context(context: &C, _state: &S) -> Result<Self, Error> {
        Ok(context.rpc())
    }
}

impl<S, C: AnyContext> FromContext<S, C> for Route {
    fn from_context(context: &C, _state: &S) -> Result<Self, Error> {
        Ok(context.route().clone())
    }
}

/// The app's state, or a part of it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct State<T>(pub T);

impl<S, C: AnyContext, T: FromState<S> + Send> FromContext<S, C> for State<T> {
    fn from_context(_context: &C, state: &S) -> Result<Self, Error> {
        Ok(Self(T::from_state(state)))
    }
}

/// A part of the app's state. The whole is a part of itself if it can be cloned (put an `Arc` inside).
pub trait FromState<S> {
    /// Takes the part.
    fn from_state(state: &S) -> Self;
}

impl<S: Clone> FromState<S> for S {
    fn from_state(state: &S) -> Self {
        state.clone()
    }
}

/// The user that the session is bound to. Refuses messages of sessions that are not bound.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct UserId(pub Arc<str>);

impl<S> FromContext<S> for UserId {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        let uid = context.session.uid();
        uid.map(Self).ok_or_else(|| Error::new(Error::BAD_REQUEST, "the session is not bound to a user: log in first"))
    }
}

/// A value that a hook handed on with [`Context::insert`].
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct Extension<T>(pub Arc<T>);

impl<S, C: AnyContext, T: Send + Sync + 'static> FromContext<S, C> for Extension<T> {
    fn from_context(context: &C, _state: &S) -> Result<Self, Error> {
        context
            .extension()
            .map(Self)
            .ok_or_else(|| Error::new(Error::INTERNAL, format!("no hook handed on a `{}`", std::any::type_name::<T>())))
    }
}

/// A name for one message that no other message has, for logs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RequestId(RequestIdKind);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum RequestIdKind {
    Own {
        session: i64,
        number: u64,
    },
    /// By the server that it came from.
    Given(Arc<str>),
}

impl RequestId {
    pub(crate) fn given(id: Option<Arc<str>>) -> Self {
        Self(RequestIdKind::Given(id.unwrap_or_default()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            RequestIdKind::Own { session, number } => write!(f, "{session}-{number}"),
            RequestIdKind::Given(id) => f.write_str(id),
        }
    }
}

impl<S, C: AnyContext> FromContext<S, C> for RequestId {
    fn from_context(context: &C, _state: &S) -> Result<Self, Error> {
        Ok(context.request_id())
    }
}

/// When the handler is cut, on the server's clock.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Deadline(Instant);

impl Deadline {
    pub(crate) const fn new(at: Instant) -> Self {
        Self(at)
    }

    /// The time.
    pub const fn at(self) -> Instant {
        self.0
    }

    /// How much time is left.
    pub fn remaining(self, server: &Server) -> Duration {
        self.0 - server.now()
    }
}

impl<S, C: AnyContext> FromContext<S, C> for Deadline {
    fn from_context(context: &C, _state: &S) -> Result<Self, Error> {
        Ok(context.deadline())
    }
}

/// The address of the client. A backend does not know it: there the message is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct Peer(pub SocketAddr);

impl<S> FromContext<S> for Peer {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        let peer = context.session.peer();
        peer.map(Self).ok_or_else(|| {
            Error::new(Error::INTERNAL, "only the server that the client is connected to knows its address")
        })
    }
}
