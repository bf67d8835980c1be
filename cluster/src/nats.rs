mod connect;
mod events;
mod link;
mod running;
mod settings;
mod signals;
mod users;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use self::{
    running::Running,
    settings::{Auth, Settings},
};
use crate::{Bus, BusError, BusEvents, ServerInfo, Transmit, background::Background};

/// A bus over NATS, as Go's Pitaya has it: one connection, the subjects of [`names`](crate::names).
///
/// ```
/// use cereus_cluster::Nats;
/// use std::time::Duration;
///
/// let bus = Nats::new("nats://one:4222, nats://two:4222").start_timeout(Duration::from_secs(10));
/// ```
///
/// # Runtimes
///
/// The connection is kept on the tokio runtime in which the bus is started, or else on a thread of its own: under
/// another runtime the bus is used in the same way.
///
/// # Order
///
/// A push or a kick that one server sends to a user before it answers or calls the user's frontend comes out before the
/// answer or the call. So does word of a binding, and a call that it sends before an answer, unless more than a thousand of
/// them wait.
///
/// # Outages
///
/// A connection that is lost is made again, for as long as it takes, and every subscription with it. What other servers
/// send meanwhile is lost: NATS keeps nothing. When its server says that it will stop, the bus goes to another one at
/// once if it knows of any.
///
/// # Memory
///
/// Two subscriptions for each bound user cost 10 KiB of memory, 18 KiB once they are much used (measured with
/// async-nats 0.51), and none of it is given back before the user is gone.
pub struct Nats {
    settings: Settings,
    background: Background,
    running: OnceLock<Arc<Running>>,
}

impl Nats {
    /// A bus on these servers: addresses as `nats://localhost:4222` or `tls://user:password@nats.example.com`,
    /// separated by commas. Other servers of the same NATS cluster are found through them if they are there when the
    /// bus connects.
    ///
    /// A user and a password, or a token alone, may be part of an address, percent-encoded; those of all addresses must
    /// be the same.
    pub fn new(servers: impl Into<String>) -> Self {
        Self { settings: Settings::new(servers.into()), background: Background::default(), running: OnceLock::new() }
    }

    /// How long one attempt to connect to one server may take; more than zero. Default: 2 s.
    #[must_use]
    pub const fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connection_timeout = timeout;
        self
    }

    /// How long to wait before a server that could not be reached is tried again; more than zero. It stays the same
    /// however often that is. Default: 250 ms.
    #[must_use]
    pub const fn reconnect_wait(mut self, wait: Duration) -> Self {
        self.settings.reconnect_wait = wait;
        self
    }

    /// How much longer to wait at most, so that not all servers come back at the same time. Default: 100 ms.
    #[must_use]
    pub const fn reconnect_jitter(mut self, jitter: Duration) -> Self {
        self.settings.reconnect_jitter = jitter;
        self
    }

    /// How often each server is tried again, at least once, before the bus gives up and ends: `None` is for ever.
    /// Default: `None`.
    #[must_use]
    pub const fn max_reconnects(mut self, times: Option<usize>) -> Self {
        self.settings.max_reconnects = times;
        self
    }

    /// How long to go on trying to connect at the start; more than zero. Default: 30 s.
    #[must_use]
    pub const fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = timeout;
        self
    }

    /// How often to ask whether the server is still there; more than zero. It is given up when it has not answered
    /// twice, so this matters where a server or a network vanishes without a word. Default: 2 min.
    #[must_use]
    pub const fn ping_interval(mut self, interval: Duration) -> Self {
        self.settings.ping_interval = interval;
        self
    }

    /// How many messages may wait to be taken in, of each kind and of each user: 1 to 16,777,216. What comes when so
    /// many wait is dropped, and said so in the log. Default: 65,536.
    #[must_use]
    pub const fn subscription_capacity(mut self, messages: usize) -> Self {
        self.settings.subscription_capacity = messages;
        self
    }

    /// How many messages may wait to be sent: 1 to 16,777,216. When so many wait the cluster keeps the others.
    /// Default: 8,192.
    #[must_use]
    pub const fn client_capacity(mut self, messages: usize) -> Self {
        self.settings.client_capacity = messages;
        self
    }

    /// How long to go on sending what waits when the bus is stopped. Default: 5 s.
    #[must_use]
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    /// Logs in with a name and a password, whatever the addresses say.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.auth = Some(Auth::User { name: name.into(), password: password.into() });
        self
    }

    /// Logs in with a token, whatever the addresses say.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.settings.auth = Some(Auth::Token(token.into()));
        self
    }

    /// Logs in with the credentials in this file, as `nsc` writes it, whatever else was set. It is read at the start.
    #[cfg(feature = "nats-credentials")]
    #[must_use]
    pub fn credentials_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.credentials = Some(file.into());
        self
    }

    /// Trusts the certificates in this PEM file, and none of the system's.
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.tls.roots = Some(file.into());
        self
    }

    /// Proves who it is with the certificate and the private key in these PEM files.
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.settings.tls.client = Some((certificate.into(), key.into()));
        self
    }

    /// Connects with TLS only, whatever the addresses say. Default: where an address begins with `tls://`, or the
    /// server asks for it.
    #[must_use]
    pub const fn require_tls(mut self) -> Self {
        self.settings.tls.required = true;
        self
    }
}

impl Bus for Nats {
    async fn start(&self, own: Arc<ServerInfo>) -> Result<Box<dyn BusEvents>, BusError> {
        let started_before = || BusError::new("the bus was started before: give each server a bus of its own");
        let plan = self.settings.plan(own)?;
        if self.running.get().is_some() {
            return Err(started_before());
        }
        let connected = self.background.run(connect::connect(plan)).await;
        let events =
            connected.map_err(|error| BusError::new(format!("the bus has no thread to run on: {error}")))??;
        self.running.set(events.running()).map_err(|_| started_before())?;
        Ok(Box::new(events))
    }

    fn send(&self, message: Transmit) -> Result<(), Transmit> {
        match self.running.get() {
            Some(running) => running.send(message),
            None => Err(message),
        }
    }

    async fn subscribe_user(&self, uid: &str) -> Result<(), BusError> {
        let running = self.running.get().ok_or_else(|| BusError::new("the bus has not been started"))?;
        running.subscribe(uid).await?;
        let running = Arc::clone(running);
        let settled = self.background.run(async move { running.settle().await }).await;
        settled.map_err(|error| BusError::new(error.to_string()))
    }

    async fn unsubscribe_user(&self, uid: &str) {
        if let Some(running) = self.running.get() {
            running.unsubscribe(uid);
        }
    }

    async fn stop(&self) {
        let Some(running) = self.running.get().map(Arc::clone) else {
            return;
        };
        let limit = self.settings.drain_timeout;
        if let Err(error) = self.background.run(async move { running.stop(limit).await }).await {
            tracing::warn!(%error, "the NATS connection could not be drained");
        }
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Both may hold passwords.
        f.debug_struct("Nats").field("running", &self.running.get()).finish_non_exhaustive()
    }
}
