use std::{
    any::{Any, TypeId},
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cereus_core::{Instant, MessageId, Route};

use crate::{Error, Server, Session};

/// One message on its way to its handler, and what hooks add to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) session: Session,
    pub(crate) route: Route,
    pub(crate) id: Option<MessageId>,
    pub(crate) body: Bytes,
    pub(crate) number: u64,
    pub(crate) deadline: Instant,
    extensions: Option<Arc<Extensions>>,
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
        Self { session, route, id, body, number, deadline, extensions: None }
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

    /// A name for this message that no other message of this server has.
    pub fn request_id(&self) -> RequestId {
        RequestId { session: self.session.id().get(), number: self.number }
    }

    /// When the handler is cut.
    pub const fn deadline(&self) -> Deadline {
        Deadline(self.deadline)
    }

    /// Hands a value on to later hooks and to the handler, which takes it as [`Extension`].
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        let next = self.extensions.take();
        self.extensions = Some(Arc::new(Extensions { id: TypeId::of::<T>(), value: Arc::new(value), next }));
    }

    /// The latest value of this type that a hook handed on.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let mut link = self.extensions.as_ref();
        while let Some(extensions) = link {
            if extensions.id == TypeId::of::<T>() {
                return Arc::downcast(Arc::clone(&extensions.value)).ok();
            }
            link = extensions.next.as_ref();
        }
        None
    }
}

/// A list that clones of a context share. Few values, so the latest is found by walking.
struct Extensions {
    id: TypeId,
    value: Arc<dyn Any + Send + Sync>,
    next: Option<Arc<Self>>,
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
    note = "a handler takes `State<T>`, `Session`, `Server`, `UserId`, `Route`, `RequestId`, `Deadline`, `Peer`, `Extension<T>`, `Context`, and a body (`Json<T>`, `Protobuf<T>`, `Raw`) as its last argument",
    note = "`State<T>` needs the `T` that was given to `App::new`, or `impl FromState<S> for T`"
)]
pub trait FromContext<S>: Sized + Send {
    /// Takes it from the message.
    ///
    /// # Errors
    ///
    /// What the client is answered.
    fn from_context(context: &Context, state: &S) -> Result<Self, Error>;
}

impl<S> FromContext<S> for Context {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(context.clone())
    }
}

impl<S> FromContext<S> for Session {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(context.session.clone())
    }
}

impl<S> FromContext<S> for Server {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(context.server().clone())
    }
}

impl<S> FromContext<S> for Route {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(context.route.clone())
    }
}

/// The app's state, or a part of it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct State<T>(pub T);

impl<S, T: FromState<S> + Send> FromContext<S> for State<T> {
    fn from_context(_context: &Context, state: &S) -> Result<Self, Error> {
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

impl<S, T: Send + Sync + 'static> FromContext<S> for Extension<T> {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        context
            .extension()
            .map(Self)
            .ok_or_else(|| Error::new(Error::INTERNAL, format!("no hook handed on a `{}`", std::any::type_name::<T>())))
    }
}

/// A name for one message that no other message of this server has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RequestId {
    session: i64,
    number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session, self.number)
    }
}

impl<S> FromContext<S> for RequestId {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(context.request_id())
    }
}

/// When the handler is cut, on the server's clock.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Deadline(Instant);

impl Deadline {
    /// The time.
    pub const fn at(self) -> Instant {
        self.0
    }

    /// How much time is left.
    pub fn remaining(self, server: &Server) -> Duration {
        self.0 - server.now()
    }
}

impl<S> FromContext<S> for Deadline {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(context.deadline())
    }
}

/// The address of the client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct Peer(pub SocketAddr);

impl<S> FromContext<S> for Peer {
    fn from_context(context: &Context, _state: &S) -> Result<Self, Error> {
        Ok(Self(context.session.peer()))
    }
}
