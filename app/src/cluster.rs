//! The app's part in a cluster: what it forwards, calls and answers. Who is there and what is in flight is decided in
//! `cereus_cluster`.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use cereus_cluster::{BindingStorage, Bus, InProcess, NodeConfig, Policy, Registry, ServerInfo};
use cereus_core::Route;

use crate::{BuildError, Error, Session};

mod bindings;
mod call;
#[cfg(loom)]
#[cfg(test)]
mod checks;
mod drivers;
mod forward;
mod incoming;
mod lane;
mod rpc;
mod shared;
mod sys;
mod task;
mod users;

pub use call::Kicking;
pub(crate) use call::{Call, Origin};
pub(crate) use drivers::{DynBindings, DynBus, DynRegistry};
pub(crate) use forward::{Forwards, forward};
pub(crate) use incoming::Incoming;
pub use rpc::Rpc;
pub(crate) use shared::Shared;
pub(crate) use sys::tell_closed;
pub(crate) use task::{join, start};
pub use users::Users;

/// How an app is part of a cluster: over what it talks, and the settings. Given to [`App::cluster`](crate::App::cluster).
///
/// ```
/// use cereus_app::{App, Cluster, Forward, InProcess};
///
/// let world = InProcess::new(); // or `Cluster::new(Nats::new(..), Etcd::new(..))`
/// let gate = App::new(())
///     .server_type("gate")
///     .cluster(Cluster::in_process(&world).forward("room", Forward::new().sticky()))
///     .build()?;
/// let room = App::new(()).server_type("room").cluster(Cluster::in_process(&world)).build()?;
/// # Ok::<(), cereus_app::BuildErrors>(())
/// ```
#[derive(Debug)]
#[must_use = "a cluster does nothing until an app has it"]
pub struct Cluster {
    pub(crate) bus: Arc<dyn DynBus>,
    pub(crate) registry: Arc<dyn DynRegistry>,
    pub(crate) bindings: Option<Arc<dyn DynBindings>>,
    pub(crate) forwards: BTreeMap<String, Forward>,
    pub(crate) others: Forward,
    pub(crate) node: NodeConfig,
    pub(crate) settings: Settings,
    pub(crate) id: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) request_timeout: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) registry_timeout: Duration,
    pub(crate) leave_delay: Duration,
    pub(crate) bus_timeout: Duration,
    pub(crate) max_requests: usize,
    pub(crate) max_watched_sessions: usize,
    pub(crate) unique_session: bool,
    pub(crate) bindings_ttl: Duration,
    pub(crate) registry_retry: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            start_timeout: Duration::from_secs(30),
            registry_timeout: Duration::from_secs(5),
            leave_delay: Duration::from_millis(300),
            bus_timeout: Duration::from_secs(5),
            max_requests: 65_536,
            max_watched_sessions: 1_000_000,
            unique_session: true,
            bindings_ttl: Duration::from_secs(5 * 60 * 60),
            registry_retry: Duration::from_millis(500),
        }
    }
}

impl Cluster {
    /// A cluster that talks over a bus and meets in a registry.
    pub fn new(bus: impl Bus, registry: impl Registry) -> Self {
        Self {
            bus: Arc::new(bus),
            registry: Arc::new(registry),
            bindings: None,
            forwards: BTreeMap::new(),
            others: Forward::new(),
            node: NodeConfig::default(),
            settings: Settings::default(),
            id: None,
            metadata: BTreeMap::new(),
        }
    }

    /// A cluster inside this process: the same envelopes, no service. Apps that are given the same `world` see each other.
    pub fn in_process(world: &InProcess) -> Self {
        // Nobody learns late that a server left.
        Self::new(world.bus(), world.registry()).leave_delay(Duration::ZERO)
    }

    /// The id of this server, which no other has. Default: a random one.
    pub fn server_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds something to the record by which others know this server.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// How messages of clients to servers of a type are forwarded. Default: [`Forward::new`].
    pub fn forward(mut self, server_type: impl Into<String>, forward: Forward) -> Self {
        self.forwards.insert(server_type.into(), forward);
        self
    }

    /// Where it is written down which user is bound on which server. A bus that reaches users by name needs none, gRPC does.
    pub fn bindings(mut self, storage: impl BindingStorage) -> Self {
        self.bindings = Some(Arc::new(storage));
        self
    }

    /// Whether a user that is bound on one frontend is kicked on all others of its type. Default: yes.
    pub const fn unique_session(mut self, unique: bool) -> Self {
        self.settings.unique_session = unique;
        self
    }

    /// How long a call may take, where nothing else is said. Default: 5 s.
    pub const fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// How long the start waits for the bus and the registry. Default: 30 s.
    pub const fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = timeout;
        self
    }

    /// How long the registry may take for one thing before it is given up and tried again. Default: 5 s.
    pub const fn registry_timeout(mut self, timeout: Duration) -> Self {
        self.settings.registry_timeout = timeout;
        self
    }

    /// How long others get to notice that this server left the registry, before it stops. Default: 300 ms.
    pub const fn leave_delay(mut self, delay: Duration) -> Self {
        self.settings.leave_delay = delay;
        self
    }

    /// How long the bus gets to send what waits at the end. Default: 5 s.
    pub const fn bus_timeout(mut self, timeout: Duration) -> Self {
        self.settings.bus_timeout = timeout;
        self
    }

    /// How long the record of this server stays in the registry when the server is gone. Default: 60 s.
    pub const fn record_ttl(mut self, ttl: Duration) -> Self {
        self.node.ttl = ttl;
        self
    }

    /// How long to wait before the registry is tried again. Default: 500 ms.
    pub const fn registry_retry(mut self, interval: Duration) -> Self {
        self.node.registry_retry = interval;
        self.settings.registry_retry = interval;
        self
    }

    /// How long what is written in [`bindings`](Self::bindings) stays when this server is gone. Default: 5 h.
    pub const fn bindings_ttl(mut self, ttl: Duration) -> Self {
        self.settings.bindings_ttl = ttl;
        self
    }

    /// How many calls of this server may be in flight. More fail at once. Default: 100,000.
    pub const fn max_calls(mut self, calls: usize) -> Self {
        self.node.max_calls = calls;
        self
    }

    /// How many bytes may wait for the bus. More is refused. Default: 16 MiB.
    pub const fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.node.max_queued_bytes = bytes;
        self
    }

    /// How many requests of other servers may run or wait here. More are answered with PIT-500. Default: 65,536.
    pub const fn max_requests(mut self, requests: usize) -> Self {
        self.settings.max_requests = requests;
        self
    }

    /// How many sessions of other servers may be watched for their end. Default: 1,000,000.
    pub const fn max_watched_sessions(mut self, sessions: usize) -> Self {
        self.settings.max_watched_sessions = sessions;
        self
    }

    /// How many servers are known at most. Default: 10,000.
    pub const fn max_servers(mut self, servers: usize) -> Self {
        self.node.max_servers = servers;
        self
    }

    /// Takes no notice of servers of a type.
    pub fn exclude(mut self, server_type: impl Into<String>) -> Self {
        self.node.excluded_types.insert(server_type.into());
        self
    }

    pub(crate) fn check(&self, errors: &mut Vec<BuildError>) {
        let settings = &self.settings;
        let zero = [
            ("request_timeout", settings.request_timeout.is_zero()),
            ("start_timeout", settings.start_timeout.is_zero()),
            ("registry_timeout", settings.registry_timeout.is_zero()),
            ("record_ttl", self.node.ttl.is_zero()),
            ("registry_retry", self.node.registry_retry.is_zero()),
            ("bindings_ttl", settings.bindings_ttl.is_zero()),
            ("max_calls", self.node.max_calls == 0),
            ("max_requests", settings.max_requests == 0),
            ("max_queued_bytes", self.node.max_queued_bytes == 0),
            ("max_servers", self.node.max_servers == 0),
        ];
        errors.extend(zero.into_iter().filter(|(_, zero)| *zero).map(|(name, _)| BuildError::ZeroSetting(name)));
        let zero = self
            .forwards
            .iter()
            .filter(|(_, forward)| forward.concurrency == Some(0) || forward.timeout.is_some_and(|t| t.is_zero()));
        errors.extend(zero.map(|(name, _)| BuildError::NothingRuns { service: name.clone() }));
        for (what, name) in
            self.id.iter().map(|id| ("server id", id)).chain(self.forwards.keys().map(|name| ("server type", name)))
        {
            if !cereus_cluster::names::is_server_name(name) {
                errors.push(BuildError::ServerName { what, name: name.clone() });
            }
        }
    }
}

/// How messages of clients are forwarded to the servers of a type.
///
/// A session's messages are handled one after the other, in the order they were sent, also when they go to different servers:
/// each waits for the answer to the one before, a notify for being handled. [`concurrency`](Self::concurrency) opts out. When
/// an answer does not come in time, the next message goes on although that one may still be on its way.
#[derive(Debug, Default)]
#[must_use = "settings do nothing until a cluster has them"]
pub struct Forward {
    /// Any server, if nothing is said.
    pub(crate) routing: Option<Routing>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) timeout: Option<Duration>,
}

pub(crate) enum Routing {
    Policy(Policy),
    Custom(Custom),
}

type Custom = Box<dyn Fn(&Session, &Route, &[u8], &[Arc<ServerInfo>]) -> Result<Arc<ServerInfo>, Error> + Send + Sync>;

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => policy.fmt(f),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

impl Forward {
    /// To any of them, one message of a session after the other, within the cluster's `request_timeout`.
    pub fn new() -> Self {
        Self::default()
    }

    /// To each in turn.
    pub fn fair(mut self) -> Self {
        self.routing = Some(Routing::Policy(Policy::fair()));
        self
    }

    /// All messages of a session to the same one, as long as it is there.
    pub fn sticky(mut self) -> Self {
        self.routing = Some(Routing::Policy(Policy::sticky()));
        self
    }

    /// To the one that a function chooses, from the session, the route, the body and the servers that there are.
    ///
    /// ```
    /// use cereus_app::{Error, Forward};
    ///
    /// let forward = Forward::new().route(|session, _route, _body, servers| {
    ///     let room = session.data(|data| data.string("room"));
    ///     let server = servers.iter().find(|server| Some(&server.id) == room.as_ref());
    ///     server.cloned().ok_or_else(|| Error::new("GAME-001", "join a room first"))
    /// });
    /// ```
    pub fn route(
        mut self,
        choose: impl Fn(&Session, &Route, &[u8], &[Arc<ServerInfo>]) -> Result<Arc<ServerInfo>, Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.routing = Some(Routing::Custom(Box::new(choose)));
        self
    }

    /// Lets up to `messages` messages of one session to servers of this type be on their way at the same time, beside its
    /// others.
    pub const fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = Some(messages);
        self
    }

    /// How long one may take. Default: the cluster's `request_timeout`.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}
