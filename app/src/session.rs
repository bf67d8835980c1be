use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use cereus_cluster::{names, protos};
use cereus_core::{
    HandshakeRequest, Route,
    session::{SessionData, SessionId, SessionState},
};

use crate::{
    Error, IntoBody, Kicking, PushError, Server,
    cluster::{Origin, tell_closed},
    hook::{BoxFuture, run_all},
    mailbox::{Letter, Mailbox},
    push::encode,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

mod remote;

use remote::Remote;

/// One client's connection, as handlers see it. Cheap to clone; it may outlive the connection.
///
/// Nothing here waits for the session's current message: binding, data, pushes and kicks take effect beside it.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    id: SessionId,
    server: Server,
    home: Home,
    /// Made when it is first needed: an idle client that only connected needs none of it.
    profile: Mutex<Option<Box<Profile>>>,
}

/// Where the client is connected.
enum Home {
    Here(Here),
    There(Remote),
}

/// To this server.
struct Here {
    peer: SocketAddr,
    mailbox: Mailbox,
    /// Whether the client is a native one, which cannot take an empty push.
    native: AtomicBool,
    closed: AtomicBool,
}

#[derive(Default)]
struct Profile {
    state: SessionState,
    /// Whether the data has what every session starts with.
    seeded: bool,
    /// A user that was forgotten, by whose uid the session is still found.
    cleared: Option<Arc<str>>,
    /// The data as it travels to backends, as long as nobody touched it.
    encoded: Option<Bytes>,
    /// The users whose names this session holds in the cluster.
    held: Vec<Arc<str>>,
    /// The servers that want to know when it ends.
    watchers: Vec<Arc<str>>,
    handshake: Option<HandshakeRequest>,
    on_close: Vec<OnClose>,
}

type OnClose = Box<dyn FnOnce() -> BoxFuture<()> + Send>;

impl Session {
    pub(crate) fn new(id: SessionId, peer: SocketAddr, server: Server) -> Self {
        let here =
            Here { peer, mailbox: Mailbox::default(), native: AtomicBool::new(false), closed: AtomicBool::new(false) };
        Self(Arc::new(Inner { id, server, home: Home::Here(here), profile: Mutex::new(None) }))
    }

    /// Its id, unique within this process. On a backend it is new for each message: [`frontend`](Self::frontend) tells the
    /// one that stays.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The id of the frontend that the client is connected to, and the session's id there; on a backend only.
    pub fn frontend(&self) -> Option<(&str, SessionId)> {
        match &self.0.home {
            Home::There(remote) => Some((&remote.frontend, remote.session)),
            Home::Here(_) => None,
        }
    }

    /// The address of the client. A backend does not know it.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.here().map(|here| here.peer)
    }

    /// The server that handles its message.
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// The user that it is bound to.
    pub fn uid(&self) -> Option<Arc<str>> {
        self.existing_profile().as_ref()?.state.uid().cloned()
    }

    /// Whether the connection ended. A backend does not know: see [`on_close`](Self::on_close).
    pub fn is_closed(&self) -> bool {
        self.here().is_some_and(|here| here.closed.load(Ordering::Acquire))
    }

    /// What the client told in its handshake. A backend does not know.
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
        self.with_profile(|profile| {
            profile.encoded = None;
            change(profile.data(self.peer()))
        })
    }

    /// Replaces the data that the frontend remembers by what is remembered here: other servers get it with the next message.
    /// The last one to do so wins. Does nothing on the frontend itself.
    ///
    /// # Errors
    ///
    /// The frontend cannot be reached or knows the session no more.
    pub async fn push_to_front(&self) -> Result<(), Error> {
        match &self.0.home {
            Home::Here(_) => Ok(()),
            Home::There(remote) => remote.push_data(self).await,
        }
    }

    /// Binds the session to a user: from now on it is found by that uid, and an older session of the same user on this
    /// server is closed. In a cluster it is kicked on the other frontends of the same type as well, unless
    /// [`Cluster::unique_session`](crate::Cluster::unique_session) says otherwise.
    ///
    /// The app's `on_bind` callbacks run first, then the session can be found, then `on_after_bind`. An error of one
    /// takes everything back. On a backend they run here and on the frontend.
    ///
    /// # Errors
    ///
    /// An empty uid or one that could not be part of a subject (white space, wildcards), a session that is bound or closed
    /// already, and whatever a callback says.
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
        if let Home::There(remote) = &self.0.home {
            run_all(&callbacks.bind, self.clone()).await?;
            remote.bind(self, &uid).await?;
            run_all(&callbacks.after_bind, self.clone()).await?;
            undo.keep();
            return Ok(true);
        }
        let shared = self.server().shared();
        if let Some(shared) = shared {
            if !names::is_plain(&uid) {
                return Err(Error::new(Error::BAD_REQUEST, "illegal uid: it has white space or is a wildcard")
                    .with("uid", &uid));
            }
            shared.subscribe(&uid).await?;
            self.with_profile(|profile| profile.held.push(Arc::clone(&uid)));
        }
        run_all(&callbacks.bind, self.clone()).await?;
        let unique = shared.filter(|shared| shared.settings.unique_session);
        if let Some(shared) = unique
            && self.server().sessions().by_uid(&uid).is_none()
        {
            shared.broadcast_binding(&uid).await?;
        }
        let Some(older) = self.server().sessions().insert_uid(Arc::clone(&uid), self, replace)? else {
            return Ok(false);
        };
        match older {
            Some(older) if unique.is_some() => drop(older.kick(None)),
            Some(older) => older.close(),
            None => {}
        }
        if let Some(shared) = shared {
            shared.store_binding(&uid).await?;
        }
        run_all(&callbacks.after_bind, self.clone()).await?;
        undo.keep();
        Ok(true)
    }

    /// Forgets user and data. The session is still found by its uid, as in Pitaya.
    pub fn clear(&self) {
        let older = self.with_profile(|profile| {
            profile.seeded = true;
            profile.encoded = None;
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
        let route = route.into();
        match &self.0.home {
            Home::Here(here) => self.server().post(&here.mailbox, here.letter(self.server(), route, body)?),
            Home::There(remote) => remote.push(self, &route, encode(self.server(), &route, body)?),
        }
    }

    /// Sends a push once there is room for it, also inside the session's own handler.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`], and what is wrong with the push itself.
    pub async fn push_wait(&self, route: impl Into<Route>, body: impl IntoBody) -> Result<(), PushError> {
        let route = route.into();
        match &self.0.home {
            Home::Here(here) => {
                let (server, letter) = (self.server(), here.letter(self.server(), route, body)?);
                let max = server.settings().max_mailbox_bytes.min(server.config().max_queued_bytes());
                here.mailbox.push_wait(letter, max, server.budget()).await
            }
            Home::There(remote) => remote.push_wait(self, &route, encode(self.server(), &route, body)?).await,
        }
    }

    /// Throws the client out: its running request is still answered, then it is told, then the connection closes.
    /// Browser clients are told the reason; native ones cannot take one. On a backend the frontend is asked to do it, without
    /// the reason. It takes place whether or not what is returned is waited for.
    pub fn kick(&self, reason: Option<&str>) -> Kicking {
        match &self.0.home {
            Home::Here(here) => {
                here.mailbox.command(Letter::Kick(reason.map(str::to_owned)));
                Kicking::done()
            }
            Home::There(remote) => remote.kick(self),
        }
    }

    /// Closes the connection. The client is told nothing. On a backend this is a [kick](Self::kick): servers have no other word
    /// for it.
    pub fn close(&self) {
        match &self.0.home {
            Home::Here(here) => here.mailbox.command(Letter::Close),
            Home::There(remote) => drop(remote.kick(self)),
        }
    }

    /// Adds something to run when the connection ends: after the session can no longer be found and its last handler
    /// has ended, in the order in which it was added. User and data can still be read then. On a backend the frontend is
    /// asked to tell; it runs also when the frontend is lost.
    ///
    /// # Errors
    ///
    /// The connection has ended already; on a backend also: the frontend cannot be reached, or is none of Cereus.
    pub async fn on_close<Fut>(&self, callback: impl FnOnce() -> Fut + Send + 'static) -> Result<(), Error>
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let callback: OnClose = Box::new(move || Box::pin(callback()));
        if let Home::There(remote) = &self.0.home {
            return remote.on_close(self, callback).await;
        }
        self.with_profile(|profile| {
            if self.is_closed() {
                return Err(SessionClosed.into());
            }
            profile.on_close.push(callback);
            Ok(())
        })
    }

    fn here(&self) -> Option<&Here> {
        match &self.0.home {
            Home::Here(here) => Some(here),
            Home::There(_) => None,
        }
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
    pub(crate) fn backend(
        server: Server,
        asked: &protos::Session,
        data: SessionData,
        frontend: String,
        origin: Arc<Origin>,
    ) -> Self {
        let id = server.sessions().next_id();
        let remote = Remote { frontend: frontend.into(), session: SessionId::new(asked.id), origin };
        let mut state = SessionState::default();
        // An empty uid is none.
        let _ = state.bind(asked.uid.as_str());
        state.data = data;
        let profile = Profile { state, seeded: true, ..Profile::default() };
        let profile = Mutex::new(Some(Box::new(profile)));
        Self(Arc::new(Inner { id, server, home: Home::There(remote), profile }))
    }

    /// The mailbox of its connection. Only sessions of this server's connections get here.
    /// Reads a little of what a push is going to touch.
    pub(crate) fn prefetch(&self) {
        std::hint::black_box((Arc::strong_count(&self.0), self.0.id, self.is_closed(), self.mailbox().is_untold()));
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        match &self.0.home {
            Home::Here(here) => &here.mailbox,
            Home::There(_) => unreachable!("a backend's session has no connection"),
        }
    }

    /// The data as it travels to backends.
    pub(crate) fn encoded_data(&self) -> Bytes {
        self.with_profile(|profile| {
            if profile.encoded.is_none() {
                let encoded = profile.data(self.peer()).encode().unwrap_or_default();
                profile.encoded = Some(encoded.into());
            }
            profile.encoded.clone().unwrap_or_default()
        })
    }

    /// Remembers a server that wants to know when it ends. It does not if it has ended.
    pub(crate) fn add_watcher(&self, server_id: &str) -> bool {
        self.with_profile(|profile| {
            let open = !self.is_closed();
            if open && !profile.watchers.iter().any(|known| **known == *server_id) {
                profile.watchers.push(server_id.into());
            }
            open
        })
    }

    /// Gives back what it held in the cluster, and tells who wanted to know.
    pub(crate) async fn leave_cluster(&self) {
        let Some(shared) = self.server().shared() else {
            return;
        };
        let left = self
            .existing_profile()
            .as_mut()
            .map(|profile| (std::mem::take(&mut profile.held), std::mem::take(&mut profile.watchers)));
        let (held, watchers) = left.unwrap_or_default();
        for uid in held {
            shared.unsubscribe(&uid).await;
        }
        for watcher in watchers {
            self.server().spawn(tell_closed(self.server().clone(), watcher, self.id().get()));
        }
    }

    pub(crate) fn set_handshake(&self, handshake: HandshakeRequest) {
        if let Some(here) = self.here() {
            here.native.store(handshake.inflates(), Ordering::Relaxed);
        }
        self.with_profile(|profile| profile.handshake = Some(handshake));
    }

    /// Whether application code has seen it.
    pub(crate) fn was_introduced(&self) -> bool {
        self.existing_profile().as_ref().is_some_and(|profile| profile.handshake.is_some())
    }

    pub(crate) fn set_closed(&self) {
        if let Some(here) = self.here() {
            here.closed.store(true, Ordering::Release);
            here.mailbox.close(self.server().budget());
        }
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

impl Here {
    fn letter(&self, server: &Server, route: Route, body: impl IntoBody) -> Result<Letter, PushError> {
        let push = encode(server, &route, body)?;
        if push.body.is_empty() && self.native.load(Ordering::Relaxed) {
            return Err(PushError::Empty);
        }
        Ok(Letter::Push(route, push))
    }
}

impl Profile {
    /// The data, with what every session starts with: put in when it is first looked at, because most never are.
    fn data(&mut self, peer: Option<SocketAddr>) -> &mut SessionData {
        if !std::mem::replace(&mut self.seeded, true)
            && let Some(peer) = peer
        {
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
            let held = self.session.with_profile(|profile| {
                profile.state.unbind();
                let held = profile.held.iter().position(|held| *held == uid);
                held.map(|index| profile.held.swap_remove(index))
            });
            if let (Some(uid), Some(shared)) = (held, self.session.server().shared().cloned()) {
                self.session.server().spawn(async move { shared.unsubscribe(&uid).await });
            }
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
        f.debug_struct("Session").field("id", &self.0.id).field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl From<SessionClosed> for Error {
    fn from(SessionClosed: SessionClosed) -> Self {
        PushError::Closed.into()
    }
}

/// The session ended before it could be bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionClosed;
