use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    sync::{Arc, OnceLock, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use cereus_core::{EncodedPush, HandshakeRequest, Instant, Route, ServerConfig};
use cereus_transports::Endpoint;
use event_listener::{Event, listener};

use crate::{
    BuildError, Cluster, Error, Groups, IntoBody, PushError, Rpc, Serializer, Session, Sessions, Users,
    cluster::{Origin, Shared},
    group::GroupStore,
    hook::{BoxFuture, Callback, catch_panic, run_all},
    limits::{Admission, Budget},
    mailbox::{Letter, Mailbox},
    module::Part,
    push,
    remote::Remotes,
    router::{Router, Target},
    stats::{Counters, Stats},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
};

/// A built app: what `serve` runs, and the handle by which handlers, modules and other tasks reach everything. Cheap to
/// clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    parts: Parts,
    sessions: Sessions,
    admission: Admission,
    budget: Budget,
    counters: Counters,
    runtime: OnceLock<Runtime>,
    shared: OnceLock<Arc<Shared>>,
    draining: AtomicBool,
    aborting: AtomicBool,
    listening: Mutex<Option<Vec<Endpoint>>>,
    stopping: AtomicBool,
    /// Tasks of connections that have not ended.
    tasks: AtomicUsize,
    /// Told when it listens, when it stops, and when the last task ends.
    changed: Event,
}

/// What of the runtime that serves it is needed anywhere.
pub(crate) struct Runtime {
    pub(crate) now: Box<dyn Fn() -> Instant + Send + Sync>,
    pub(crate) unix_time: Box<dyn Fn() -> Duration + Send + Sync>,
    pub(crate) spawn: Box<dyn Fn(BoxFuture<()>) + Send + Sync>,
    pub(crate) sleep: Box<dyn Fn(Duration) -> BoxFuture<()> + Send + Sync>,
}

pub(crate) struct Parts {
    pub(crate) router: Router,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) serializer: Arc<dyn Serializer>,
    pub(crate) callbacks: Callbacks,
    pub(crate) remotes: Remotes,
    pub(crate) services: Vec<Part>,
    pub(crate) remote_parts: Vec<Part>,
    pub(crate) modules: Vec<Part>,
    pub(crate) settings: Settings,
    pub(crate) cluster: Mutex<Option<Cluster>>,
    pub(crate) groups: GroupStore,
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
    pub(crate) session_drain: Duration,
    pub(crate) max_mailbox_bytes: usize,
    pub(crate) max_buffered_bytes: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: Option<usize>,
    pub(crate) max_unauthenticated: usize,
    pub(crate) groups_tick: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            handler_deadline: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            session_drain: Duration::ZERO,
            max_mailbox_bytes: 1 << 20,
            max_buffered_bytes: 1 << 30,
            max_connections: 100_000,
            max_connections_per_address: None,
            max_unauthenticated: 16_384,
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
            ("max_buffered_bytes", self.max_buffered_bytes == 0),
            ("max_connections", self.max_connections == 0),
            ("max_connections_per_address", self.max_connections_per_address == Some(0)),
            ("max_unauthenticated", self.max_unauthenticated == 0),
            ("groups_tick", self.groups_tick.is_zero()),
        ];
        errors.extend(zero.into_iter().filter(|(_, zero)| *zero).map(|(name, _)| BuildError::ZeroSetting(name)));
    }
}

impl Server {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            budget: Budget::new(parts.settings.max_buffered_bytes),
            parts,
            sessions: Sessions::new(),
            admission: Admission::default(),
            counters: Counters::default(),
            runtime: OnceLock::new(),
            shared: OnceLock::new(),
            draining: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
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

    /// Calls to other servers, and who they are. In a handler take [`Rpc`] as an argument instead: it hands on what came with
    /// the message, and keeps to its deadline.
    pub fn rpc(&self) -> Rpc {
        Rpc::new(self.clone(), Origin::default())
    }

    /// Users that are bound on frontends of a type, wherever that is.
    pub fn users(&self, frontend_type: impl Into<Arc<str>>) -> Users {
        Users::new(self.clone(), frontend_type.into())
    }

    /// What met a limit so far.
    pub fn stats(&self) -> Stats {
        self.0.counters.read()
    }

    /// How many bytes wait in all connections, but for those that hold less than 4 KiB: received and not handled, and not sent.
    pub fn buffered_bytes(&self) -> usize {
        self.budget().held()
    }

    /// The type of this server.
    pub fn server_type(&self) -> &str {
        self.router().server_type()
    }

    /// Whether it listens, is connected to the bus, and is in the registry: it can do all that it should.
    pub fn is_ready(&self) -> bool {
        let listens = self.0.listening.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let joined = self.shared().is_none_or(|shared| shared.is_connected() && shared.is_registered());
        listens && joined && !self.is_draining()
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
        self.0.runtime.get().map_or(Instant::EPOCH, |runtime| (runtime.now)())
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

    /// Pushes to users that are bound here, encoded once. Returns those that were not reached.
    pub(crate) async fn push_to_local_users(
        &self,
        mut uids: impl Iterator<Item = impl AsRef<str> + Send + Sync> + Send,
        route: impl Into<Route>,
        body: impl IntoBody,
    ) -> Result<Vec<Arc<str>>, PushError> {
        let push = self.encode(route.into(), body)?;
        let mut missed = Vec::new();
        loop {
            let some: Vec<_> = uids.by_ref().take(PUSHES).collect();
            for (uid, session) in some.iter().zip(self.sessions().by_uids(&some)) {
                if session.is_none_or(|session| self.push_encoded(&session, &push).is_err()) {
                    missed.push(Arc::from(uid.as_ref()));
                }
            }
            if some.len() < PUSHES {
                return Ok(missed);
            }
            // The connections get their turn, while what was pushed is still in the cache.
            yield_now().await;
        }
    }

    /// Kicks users that are bound here. Returns those without a session.
    pub(crate) fn kick_local_users(&self, uids: &[impl AsRef<str>]) -> Vec<Arc<str>> {
        let found = |uid: &str| self.sessions().by_uid(uid).map(|session| drop(session.kick(None))).is_some();
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

    /// Prepares the end: the server leaves the registry and takes no new clients. Those that are there go on until they leave
    /// or `session_drain` is over; then it [shuts down](Self::shutdown). A second call does nothing.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
        self.0.changed.notify(usize::MAX);
    }

    /// Whether it takes no new clients any more.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire) || self.is_stopping()
    }

    /// As [`shutdown`](Self::shutdown), without waiting for anything that runs.
    pub fn abort(&self) {
        self.0.aborting.store(true, Ordering::Release);
        self.shutdown();
    }

    /// Stops serving: no new clients, no new messages; handlers that run may end within the drain timeout; then sessions
    /// are closed and everything is shut down in order, and `serve` returns. A second call does nothing.
    pub fn shutdown(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.changed.notify(usize::MAX);
    }

    /// Does what a signal of the system asks for: [`drain`](Self::drain) at the first one that asks to end,
    /// [`shutdown`](Self::shutdown) at an interruption, and at the second one of any kind [`abort`](Self::abort). The `serve` of
    /// a runtime crate calls this.
    pub fn signal(&self, signal: Signal) {
        tracing::info!(?signal, draining = self.is_draining(), "signal");
        match signal {
            _ if self.is_draining() => self.abort(),
            Signal::Terminate => self.drain(),
            Signal::Interrupt => self.shutdown(),
        }
    }

    /// Whether it is stopping or has stopped.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    fn encode<B: IntoBody>(&self, route: Route, body: B) -> Result<EncodedPush, PushError> {
        let push = push::encode(self, &route, body)?;
        EncodedPush::with_policy(self.config(), &route, push.body, push.on_full).map_err(PushError::Send)
    }

    fn push_encoded(&self, session: &Session, push: &EncodedPush) -> Result<(), PushError> {
        self.post(session.mailbox(), Letter::Encoded(push.clone()))
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

    /// Puts a push into a mailbox, now or never.
    pub(crate) fn post(&self, mailbox: &Mailbox, push: Letter) -> Result<(), PushError> {
        let posted = mailbox.push(push, self.settings().max_mailbox_bytes, self.budget());
        if posted == Err(PushError::Full) {
            self.counters().refused_push();
        }
        posted
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn group_store(&self) -> &GroupStore {
        &self.0.parts.groups
    }

    pub(crate) fn remotes(&self) -> &Remotes {
        &self.0.parts.remotes
    }

    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.0.shared.get()
    }

    pub(crate) fn set_shared(&self, shared: Arc<Shared>) {
        // A server is served once.
        let _ = self.0.shared.set(shared);
    }

    pub(crate) fn take_cluster(&self) -> Option<Cluster> {
        self.0.parts.cluster.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The time of day.
    pub(crate) fn unix_nanos(&self) -> u64 {
        self.0.runtime.get().map_or(0, |runtime| (runtime.unix_time)().as_nanos() as u64)
    }

    /// Runs a task to its end, without anybody waiting for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.0.runtime.get() {
            (runtime.spawn)(Box::pin(task));
        }
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        if let Some(runtime) = self.0.runtime.get() {
            (runtime.sleep)(duration).await;
        }
    }

    /// Where a message of a client goes.
    pub(crate) fn find_target(&self, route: &Route, is_request: bool) -> Result<Target, Error> {
        let target = self.router().find(route, self.shared().map(|shared| &shared.forwards))?;
        if let Target::Local(endpoint) = target {
            let endpoint = self.router().endpoint(endpoint);
            if is_request && !endpoint.answers {
                let text = format!("`{}` is not answered: send a notify", endpoint.route);
                return Err(Error::new(Error::BAD_REQUEST, text));
            }
        }
        Ok(target)
    }

    pub(crate) fn target_deadline(&self, target: Target) -> Duration {
        match target {
            Target::Local(endpoint) => self.router().endpoint(endpoint).deadline,
            Target::Forward(_) => self.settings().handler_deadline,
        }
    }

    /// How many messages of a session run at the same time; `None`: one after the other.
    pub(crate) fn target_concurrency(&self, target: Target) -> Option<usize> {
        match target {
            Target::Local(endpoint) => self.router().endpoint(endpoint).concurrency,
            Target::Forward(forward) => self.shared()?.forwards.concurrency(forward),
        }
    }

    /// What is counted together.
    pub(crate) fn target_group(&self, target: Target) -> (bool, u32) {
        match target {
            Target::Local(endpoint) => (false, self.router().endpoint(endpoint).service),
            Target::Forward(forward) => (true, forward),
        }
    }

    pub(crate) fn error_body(&self, error: &Error) -> Bytes {
        self.0.parts.serializer.error(error)
    }

    /// The parts that are started and stopped, in the order in which they are started.
    pub(crate) fn parts(&self) -> [&[Part]; 3] {
        [&self.0.parts.services, &self.0.parts.remote_parts, &self.0.parts.modules]
    }

    /// Tells what serves it. Only one `serve` can.
    pub(crate) fn set_runtime(&self, runtime: Runtime) -> bool {
        self.0.runtime.set(runtime).is_ok()
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

    pub(crate) async fn draining(&self) {
        self.wait_until(Self::is_draining).await;
    }

    pub(crate) async fn aborting(&self) {
        self.wait_until(|server| server.0.aborting.load(Ordering::Acquire)).await;
    }

    pub(crate) async fn all_sessions_ended(&self) {
        self.wait_until(|server| server.sessions().count() == 0).await;
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

    /// A session is gone.
    pub(crate) fn session_ended(&self) {
        // Either this sees that the server drains, or who drains sees that the session is gone.
        fence(Ordering::SeqCst);
        if self.is_draining() {
            self.0.changed.notify(usize::MAX);
        }
    }

    /// Runs what is to be run when a session has ended.
    pub(crate) async fn after_close(&self, session: Session) {
        session.leave_cluster().await;
        for callback in session.take_on_close() {
            catch_panic("a session's on-close callback", async move { callback().await }).await;
        }
        for callback in &self.callbacks().close {
            let session = session.clone();
            catch_panic("an on-close callback", async move { callback(session).await }).await;
        }
    }
}

/// What the system asks of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Signal {
    /// To end, as at a deploy: `SIGTERM`.
    Terminate,
    /// To end now: Ctrl-C, `SIGQUIT`.
    Interrupt,
}

/// Counts as a task of the server while it lives.
pub(crate) struct Task(Server);

impl Task {
    pub(crate) const fn server(&self) -> &Server {
        &self.0
    }
}

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

/// How many users are pushed to before other tasks get their turn.
const PUSHES: usize = 64;

/// Lets every other task that is ready run first.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
