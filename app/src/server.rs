use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cereus_core::{EncodedPush, HandshakeRequest, Instant, Route, ServerConfig};
use cereus_transports::Endpoint;
use event_listener::{Event, listener};

use crate::{
    BuildError, Error, Groups, IntoBody, PushError, Serializer, Session, Sessions,
    group::SharedGroupTable,
    hook::{BoxFuture, Callback, catch_panic, run_all},
    mailbox::Letter,
    module::Part,
    router::Router,
    session,
};

/// A built app: what `serve` runs, and the handle by which handlers, modules and other tasks reach everything. Cheap to
/// clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    parts: Parts,
    sessions: Sessions,
    groups: SharedGroupTable,
    clock: OnceLock<Box<dyn Fn() -> Instant + Send + Sync>>,
    listening: Mutex<Option<Vec<Endpoint>>>,
    stopping: AtomicBool,
    /// Tasks of connections that have not ended.
    tasks: AtomicUsize,
    /// Told when it listens, when it stops, and when the last task ends.
    changed: Event,
}

pub(crate) struct Parts {
    pub(crate) router: Router,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) serializer: Arc<dyn Serializer>,
    pub(crate) callbacks: Callbacks,
    pub(crate) services: Vec<Part>,
    pub(crate) modules: Vec<Part>,
    pub(crate) settings: Settings,
}

type Listening = Box<dyn Fn(&[Endpoint]) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) handshake: BTreeMap<String, Callback<(Session, HandshakeRequest)>>,
    pub(crate) bind: Vec<Callback<Session>>,
    pub(crate) after_bind: Vec<Callback<Session>>,
    pub(crate) close: Vec<Box<dyn Fn(Session) -> BoxFuture<()> + Send + Sync>>,
    pub(crate) listening: Vec<Listening>,
}

pub(crate) struct Settings {
    pub(crate) handler_deadline: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_mailbox_bytes: usize,
    pub(crate) groups_tick: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            handler_deadline: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            max_mailbox_bytes: 1 << 20,
            groups_tick: Duration::from_secs(30),
        }
    }
}

impl Settings {
    pub(crate) fn check(&self, errors: &mut Vec<BuildError>) {
        let zero = [
            ("handler_deadline", self.handler_deadline.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("max_mailbox_bytes", self.max_mailbox_bytes == 0),
            ("groups_tick", self.groups_tick.is_zero()),
        ];
        errors.extend(zero.into_iter().filter(|(_, zero)| *zero).map(|(name, _)| BuildError::ZeroSetting(name)));
    }
}

impl Server {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            sessions: Sessions::new(),
            groups: SharedGroupTable::default(),
            clock: OnceLock::new(),
            listening: Mutex::new(None),
            stopping: AtomicBool::new(false),
            tasks: AtomicUsize::new(0),
            changed: Event::new(),
        }))
    }

    /// All sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// All groups.
    pub fn groups(&self) -> Groups<'_> {
        Groups::new(self)
    }

    /// A module, by its name and type.
    pub fn module<M: Send + Sync + 'static>(&self, name: &str) -> Option<Arc<M>> {
        let part = self.0.parts.modules.iter().find(|part| part.name == name)?;
        Arc::downcast(Arc::clone(part.module.as_ref()?) as Arc<dyn Any + Send + Sync>).ok()
    }

    /// The settings of the client protocol.
    pub fn config(&self) -> &ServerConfig {
        &self.0.parts.config
    }

    /// The time on the clock of the runtime that serves this; the epoch before it is served.
    pub fn now(&self) -> Instant {
        self.0.clock.get().map_or(Instant::EPOCH, |clock| clock())
    }

    /// Pushes to every session, encoded once. Returns how many sessions took it.
    ///
    /// # Errors
    ///
    /// The push itself is at fault.
    pub fn broadcast(&self, route: impl Into<Route>, body: impl IntoBody) -> Result<usize, PushError> {
        self.multicast(route, body, |_| true)
    }

    /// Pushes to every session that matches, encoded once. Returns how many sessions took it.
    ///
    /// # Errors
    ///
    /// The push itself is at fault.
    pub fn multicast(
        &self,
        route: impl Into<Route>,
        body: impl IntoBody,
        mut matches: impl FnMut(&Session) -> bool,
    ) -> Result<usize, PushError> {
        let push = self.encode(route.into(), body)?;
        let mut taken = 0;
        self.sessions().for_each(|session| {
            if matches(session) && self.push_encoded(session, &push).is_ok() {
                taken += 1;
            }
        });
        Ok(taken)
    }

    /// Pushes to users, encoded once. Returns those that were not reached: without a session here, or whose session takes
    /// no more.
    ///
    /// # Errors
    ///
    /// The push itself is at fault.
    pub fn push_to_users(
        &self,
        uids: &[impl AsRef<str>],
        route: impl Into<Route>,
        body: impl IntoBody,
    ) -> Result<Vec<Arc<str>>, PushError> {
        let push = self.encode(route.into(), body)?;
        let reached = |uid: &str| {
            let session = self.sessions().by_uid(uid).ok_or(PushError::Closed);
            session.and_then(|session| self.push_encoded(&session, &push)).is_ok()
        };
        Ok(uids.iter().map(AsRef::as_ref).filter(|uid| !reached(uid)).map(Arc::from).collect())
    }

    /// Kicks users. Returns those without a session here.
    pub fn kick_users(&self, uids: &[impl AsRef<str>], reason: Option<&str>) -> Vec<Arc<str>> {
        let found = |uid: &str| self.sessions().by_uid(uid).map(|session| session.kick(reason)).is_some();
        uids.iter().map(AsRef::as_ref).filter(|uid| !found(uid)).map(Arc::from).collect()
    }

    /// Where it listens; waits until it does. `None`: it stopped before it did.
    pub async fn listening(&self) -> Option<Vec<Endpoint>> {
        loop {
            listener!(self.0.changed => changed);
            if let Some(endpoints) = &*self.0.listening.lock().unwrap_or_else(PoisonError::into_inner) {
                return Some(endpoints.clone());
            }
            if self.is_stopping() {
                return None;
            }
            changed.await;
        }
    }

    /// Stops serving: no new clients, no new messages; handlers that run may end within the drain timeout; then sessions
    /// are closed and everything is shut down in order, and `serve` returns. A second call does nothing.
    pub fn shutdown(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.changed.notify(usize::MAX);
    }

    /// Whether it is stopping or has stopped.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    fn encode<B: IntoBody>(&self, route: Route, body: B) -> Result<EncodedPush, PushError> {
        let body = session::encode(self, &route, body)?;
        EncodedPush::new(self.config(), &route, body).map_err(PushError::Send)
    }

    fn push_encoded(&self, session: &Session, push: &EncodedPush) -> Result<(), PushError> {
        session.mailbox().push(Letter::Encoded(push.clone()), self.max_mailbox_bytes())
    }
}

/// What only the crate itself does.
impl Server {
    pub(crate) fn router(&self) -> &Router {
        &self.0.parts.router
    }

    pub(crate) fn shared_config(&self) -> &Arc<ServerConfig> {
        &self.0.parts.config
    }

    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.0.parts.callbacks
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.parts.settings
    }

    pub(crate) fn max_mailbox_bytes(&self) -> usize {
        self.0.parts.settings.max_mailbox_bytes
    }

    pub(crate) fn group_table(&self) -> &SharedGroupTable {
        &self.0.groups
    }

    pub(crate) fn error_body(&self, error: &Error) -> Bytes {
        self.0.parts.serializer.error(error)
    }

    pub(crate) fn parts(&self) -> (&[Part], &[Part]) {
        (&self.0.parts.services, &self.0.parts.modules)
    }

    /// Starts the clock. Only one `serve` can.
    pub(crate) fn set_clock(&self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> bool {
        self.0.clock.set(Box::new(clock)).is_ok()
    }

    pub(crate) fn set_listening(&self, endpoints: Vec<Endpoint>) {
        for callback in &self.callbacks().listening {
            callback(&endpoints);
        }
        *self.0.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoints);
        self.0.changed.notify(usize::MAX);
    }

    pub(crate) async fn stopping(&self) {
        self.wait_until(Self::is_stopping).await;
    }

    pub(crate) async fn all_tasks_ended(&self) {
        self.wait_until(|server| server.0.tasks.load(Ordering::Acquire) == 0).await;
    }

    async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            listener!(self.0.changed => changed);
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    /// Counts a task as long as what is returned lives.
    pub(crate) fn task(&self) -> Task {
        self.0.tasks.fetch_add(1, Ordering::Relaxed);
        Task(self.clone())
    }

    /// Runs the validators on a handshake.
    pub(crate) async fn validate(&self, session: Session, request: HandshakeRequest) -> bool {
        for (name, validator) in &self.callbacks().handshake {
            let argument = (session.clone(), request.clone());
            if let Err(error) = run_all(std::slice::from_ref(validator), argument).await {
                tracing::debug!(session = %session.id(), validator = name, %error, "handshake refused");
                return false;
            }
        }
        true
    }

    /// Runs what is to be run when a session has ended.
    pub(crate) async fn after_close(&self, session: Session) {
        for callback in session.take_on_close() {
            catch_panic("a session's on-close callback", async move { callback().await }).await;
        }
        for callback in &self.callbacks().close {
            let session = session.clone();
            catch_panic("an on-close callback", async move { callback(session).await }).await;
        }
    }
}

/// Counts as a task of the server while it lives.
pub(crate) struct Task(Server);

impl Drop for Task {
    fn drop(&mut self) {
        if self.0.0.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.changed.notify(usize::MAX);
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("sessions", &self.0.sessions)
            .field("stopping", &self.0.stopping)
            .finish_non_exhaustive()
    }
}
