use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use cereus_core::{
    HandshakeRequest, MAX_ROUTE_LEN, Route, SendError,
    packet::MAX_BODY_LEN,
    session::{SessionData, SessionId, SessionState},
};
use thiserror::Error;

use crate::{
    Error, IntoBody, Server,
    hook::{BoxFuture, run_all},
    mailbox::{Letter, Mailbox},
};

/// One client's connection, as handlers see it. Cheap to clone; it may outlive the connection.
///
/// Nothing here waits for the session's current message: binding, data, pushes and kicks take effect beside it.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    id: SessionId,
    peer: SocketAddr,
    server: Server,
    mailbox: Mailbox,
    /// Whether the client is a native one, which cannot take an empty push.
    native: AtomicBool,
    closed: AtomicBool,
    /// Made when it is first needed: an idle client that only connected needs none of it.
    profile: Mutex<Option<Box<Profile>>>,
}

#[derive(Default)]
struct Profile {
    state: SessionState,
    /// Whether the data has what every session starts with.
    seeded: bool,
    /// A user that was forgotten, by whose uid the session is still found.
    cleared: Option<Arc<str>>,
    handshake: Option<HandshakeRequest>,
    on_close: Vec<OnClose>,
}

type OnClose = Box<dyn FnOnce() -> BoxFuture<()> + Send>;

impl Session {
    pub(crate) fn new(id: SessionId, peer: SocketAddr, server: Server) -> Self {
        Self(Arc::new(Inner {
            id,
            peer,
            server,
            mailbox: Mailbox::default(),
            native: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            profile: Mutex::new(None),
        }))
    }

    /// Its id, unique within this process.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The address of the client.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// The server that it is connected to.
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// The user that it is bound to.
    pub fn uid(&self) -> Option<Arc<str>> {
        self.existing_profile().as_ref()?.state.uid().cloned()
    }

    /// Whether the connection ended.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// What the client told in its handshake.
    pub fn handshake(&self) -> Option<HandshakeRequest> {
        self.existing_profile().as_ref()?.handshake.clone()
    }

    /// Reads, changes or replaces what is remembered of the session. `ipversion` is there from the start.
    ///
    /// ```
    /// # use cereus_app::{Error, Session};
    /// # fn handler(session: Session) -> Result<(), Error> {
    /// session.data(|data| data.set("level", &7))?;
    /// let level = session.data(|data| data.i64("level"));
    /// # Ok(()) }
    /// ```
    ///
    /// The session is locked meanwhile; do not touch it from inside.
    pub fn data<T>(&self, change: impl FnOnce(&mut SessionData) -> T) -> T {
        self.with_profile(|profile| change(profile.data(self.0.peer)))
    }

    /// Binds the session to a user: from now on it is found by that uid, and an older session of the same user on this
    /// server is closed.
    ///
    /// The app's `on_bind` callbacks run first, then the session can be found, then `on_after_bind`. An error of one
    /// takes everything back.
    ///
    /// # Errors
    ///
    /// An empty uid, a session that is bound or closed already, and whatever a callback says.
    pub async fn bind(&self, uid: impl Into<Arc<str>>) -> Result<(), Error> {
        self.bind_as(uid.into(), true).await.map(drop)
    }

    /// As [`bind`](Self::bind), but leaves an older session of the same user alone: returns `false` then, and nothing
    /// has changed.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub async fn try_bind(&self, uid: impl Into<Arc<str>>) -> Result<bool, Error> {
        let uid = uid.into();
        Ok(self.server().sessions().by_uid(&uid).is_none() && self.bind_as(uid, false).await?)
    }

    async fn bind_as(&self, uid: Arc<str>, replace: bool) -> Result<bool, Error> {
        self.with_profile(|profile| profile.state.bind(Arc::clone(&uid)))?;
        let undo = Unbind { session: self, uid: Some(Arc::clone(&uid)) };
        let callbacks = self.server().callbacks();
        run_all(&callbacks.bind, self.clone()).await?;
        let Some(older) = self.server().sessions().insert_uid(uid, self, replace)? else {
            return Ok(false);
        };
        if let Some(older) = older {
            older.close();
        }
        run_all(&callbacks.after_bind, self.clone()).await?;
        undo.keep();
        Ok(true)
    }

    /// Forgets user and data. The session is still found by its uid, as in Pitaya.
    pub fn clear(&self) {
        let older = self.with_profile(|profile| {
            profile.seeded = true;
            let uid = profile.state.uid().cloned();
            profile.state.clear();
            let older = uid.and_then(|uid| profile.cleared.replace(uid));
            older.filter(|older| profile.cleared.as_ref() != Some(older))
        });
        // Whoever comes and goes again and again leaves one name behind, not all of them.
        if let Some(older) = older {
            self.server().sessions().remove_uid(&older, self);
        }
    }

    /// Sends a push, now or never.
    ///
    /// It goes out after everything that was pushed before, and before the answer of a handler that ends after it. When
    /// the client does not read, pushes wait in the connection up to `max_queued_bytes`, and the full policy of the app's
    /// protocol settings says what happens then.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] when more is pushed than the connection takes over in the meantime; try
    /// [`push_wait`](Self::push_wait). [`PushError::Closed`], and what is wrong with the push itself.
    pub fn push(&self, route: impl Into<Route>, body: impl IntoBody) -> Result<(), PushError> {
        let letter = self.letter(route.into(), body)?;
        self.0.mailbox.push(letter, self.server().max_mailbox_bytes())
    }

    /// Sends a push once there is room for it, also inside the session's own handler.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`], and what is wrong with the push itself.
    pub async fn push_wait(&self, route: impl Into<Route>, body: impl IntoBody) -> Result<(), PushError> {
        let letter = self.letter(route.into(), body)?;
        let max = self.server().max_mailbox_bytes().min(self.server().config().max_queued_bytes());
        self.0.mailbox.push_wait(letter, max).await
    }

    /// Throws the client out: its running request is still answered, then it is told, then the connection closes.
    /// Browser clients are told the reason; native ones cannot take one.
    pub fn kick(&self, reason: Option<&str>) {
        self.0.mailbox.command(Letter::Kick(reason.map(str::to_owned)));
    }

    /// Closes the connection. The client is told nothing.
    pub fn close(&self) {
        self.0.mailbox.command(Letter::Close);
    }

    /// Adds something to run when the connection ends: after the session can no longer be found and its last handler
    /// has ended, in the order in which it was added. User and data can still be read then. If the connection has ended
    /// already, it never runs, and `false` is returned.
    pub fn on_close<Fut>(&self, callback: impl FnOnce() -> Fut + Send + 'static) -> bool
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.with_profile(|profile| {
            let open = !self.is_closed();
            if open {
                profile.on_close.push(Box::new(move || Box::pin(callback())));
            }
            open
        })
    }

    fn letter(&self, route: Route, body: impl IntoBody) -> Result<Letter, PushError> {
        let body = encode(self.server(), &route, body)?;
        if body.is_empty() && self.0.native.load(Ordering::Relaxed) {
            return Err(PushError::Empty);
        }
        Ok(Letter::Push(route, body))
    }

    fn with_profile<T>(&self, change: impl FnOnce(&mut Profile) -> T) -> T {
        let mut profile = self.existing_profile();
        change(profile.get_or_insert_default())
    }

    fn existing_profile(&self) -> MutexGuard<'_, Option<Box<Profile>>> {
        // A panic inside `data` leaves whole values behind.
        self.0.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What only the driver and the registry do.
impl Session {
    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.0.mailbox
    }

    pub(crate) fn set_handshake(&self, handshake: HandshakeRequest) {
        self.0.native.store(handshake.inflates(), Ordering::Relaxed);
        self.with_profile(|profile| profile.handshake = Some(handshake));
    }

    /// Whether application code has seen it.
    pub(crate) fn was_introduced(&self) -> bool {
        self.existing_profile().as_ref().is_some_and(|profile| profile.handshake.is_some())
    }

    pub(crate) fn set_closed(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.mailbox.close();
    }

    pub(crate) fn take_on_close(&self) -> Vec<OnClose> {
        self.existing_profile().as_mut().map(|profile| std::mem::take(&mut profile.on_close)).unwrap_or_default()
    }

    /// By which uids it may be found.
    pub(crate) fn uids(&self) -> impl Iterator<Item = Arc<str>> + use<> {
        let uids =
            self.existing_profile().as_ref().map(|profile| [profile.state.uid().cloned(), profile.cleared.clone()]);
        uids.into_iter().flatten().flatten()
    }
}

impl Profile {
    /// The data, with what every session starts with: put in when it is first looked at, because most never are.
    fn data(&mut self, peer: SocketAddr) -> &mut SessionData {
        if !std::mem::replace(&mut self.seeded, true) {
            let version = if peer.ip().to_canonical().is_ipv6() { "ipv6" } else { "ipv4" };
            // A text always has a JSON form.
            let _ = self.state.data.set("ipversion", version);
        }
        &mut self.state.data
    }
}

/// Takes a bind back that was not finished, also when its future is dropped.
struct Unbind<'a> {
    session: &'a Session,
    uid: Option<Arc<str>>,
}

impl Unbind<'_> {
    fn keep(mut self) {
        self.uid = None;
    }
}

impl Drop for Unbind<'_> {
    fn drop(&mut self) {
        if let Some(uid) = self.uid.take() {
            self.session.server().sessions().remove_uid(&uid, self.session);
            self.session.with_profile(|profile| profile.state.unbind());
        }
    }
}

impl Eq for Session {}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.0.id).field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

/// Encodes the body of a push and checks what can be checked before it is on its way.
pub(crate) fn encode<B: IntoBody>(server: &Server, route: &Route, body: B) -> Result<bytes::Bytes, PushError> {
    if let Some(format) = B::FORMAT
        && format != server.config().serializer()
    {
        return Err(PushError::Serializer { body: format, app: server.config().serializer().to_owned() });
    }
    if route.len() > MAX_ROUTE_LEN && server.config().dictionary().code(route).is_none() {
        return Err(PushError::Send(SendError::RouteTooLong(route.len())));
    }
    let body = body.into_body().map_err(|error| PushError::Body(error.message().to_owned()))?;
    if body.len() + route.len() + 4 > MAX_BODY_LEN {
        return Err(PushError::Send(SendError::TooLarge(body.len())));
    }
    Ok(body)
}

/// Why a push was not taken. The caller is at fault, or the client is gone.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PushError {
    /// The connection ended.
    #[error("the session is closed")]
    Closed,
    /// More is pushed than the connection takes over.
    #[error("too many pushes wait for this session: use `push_wait`, or push less")]
    Full,
    /// libpitaya and the Go client cannot take a push without a body.
    #[error("this client cannot take a push with an empty body: send at least one byte")]
    Empty,
    /// The route or the body is too long.
    #[error(transparent)]
    Send(SendError),
    /// The body cannot be encoded.
    #[error("the body of the push cannot be encoded: {0}")]
    Body(String),
    /// The body is of another serializer than the app.
    #[error("a {body} body cannot be pushed by an app whose serializer is {app}")]
    Serializer {
        /// The serializer that the body belongs to.
        body: &'static str,
        /// The app's.
        app: String,
    },
}

impl From<SessionClosed> for Error {
    fn from(SessionClosed: SessionClosed) -> Self {
        PushError::Closed.into()
    }
}

/// The session ended before it could be bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionClosed;
