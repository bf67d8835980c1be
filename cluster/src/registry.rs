use std::{
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use thiserror::Error;

use crate::{
    ServerInfo,
    queue::{self, Receiver, Sender},
};

/// The number of a lease: what a record in the registry hangs on.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LeaseId(i64);

impl LeaseId {
    /// The lease with this number.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// What the node wants done in the registry.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RegistryCommand {
    /// A new lease.
    Grant {
        /// How long it lasts without being kept alive.
        ttl: Duration,
    },
    /// The own record, under a lease.
    Put {
        /// The lease.
        lease: LeaseId,
        /// The record.
        info: Arc<ServerInfo>,
    },
    /// One more time to live for a lease.
    KeepAlive {
        /// The lease.
        lease: LeaseId,
    },
    /// The end of a lease and of the record under it.
    Revoke {
        /// The lease.
        lease: LeaseId,
    },
    /// All records, and from then on what changes.
    Watch,
}

/// What the registry says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RegistryEvent {
    /// A lease was granted.
    Granted(LeaseId),
    /// The own record is in.
    Registered,
    /// The lease was kept alive.
    KeptAlive,
    /// The lease is over.
    LeaseLost,
    /// The lease and the record are gone, as was asked.
    Revoked,
    /// A command but [`RegistryCommand::Watch`] failed.
    Failed(RegistryError),
    /// A server's record came or changed.
    Put(ServerInfo),
    /// A server's record is gone.
    Delete {
        /// The server's type. A server that came back as another type is not gone.
        server_type: String,
        /// The server's id.
        id: String,
    },
    /// These are all the records that there are.
    Resync(Vec<ServerInfo>),
    /// No more changes come until there is a new [`RegistryCommand::Watch`].
    WatchLost(RegistryError),
}

/// Where servers put their records and look for those of others: in-process, etcd, or one of your own.
///
/// Every method may fail at any time, may be tried again, and is given up after the cluster's `registry_timeout`.
///
/// A registry of your own, with servers that never change:
///
/// ```
/// use cereus_cluster::{Changes, KeptAlive, LeaseId, Registry, RegistryError, ServerInfo};
/// use std::{future, sync::Arc, time::Duration};
///
/// #[derive(Debug)]
/// struct Fixed(Vec<ServerInfo>);
///
/// impl Registry for Fixed {
///     async fn grant(&self, _ttl: Duration) -> Result<LeaseId, RegistryError> { Ok(LeaseId::new(1)) }
///     async fn put(&self, _info: Arc<ServerInfo>, _lease: LeaseId) -> Result<(), RegistryError> { Ok(()) }
///     async fn keep_alive(&self, _lease: LeaseId) -> Result<KeptAlive, RegistryError> { Ok(KeptAlive::Yes) }
///     async fn revoke(&self, _lease: LeaseId) -> Result<(), RegistryError> { Ok(()) }
///     async fn watch(&self, changes: Changes) -> RegistryError {
///         changes.resync(self.0.clone()).await;
///         future::pending().await
///     }
/// }
/// ```
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// Grants a lease that lasts so long without being kept alive.
    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId, RegistryError>> + Send;

    /// Puts a record in, or replaces it. It goes with its lease.
    fn put(&self, info: Arc<ServerInfo>, lease: LeaseId) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Keeps a lease alive for one more time to live.
    fn keep_alive(&self, lease: LeaseId) -> impl Future<Output = Result<KeptAlive, RegistryError>> + Send;

    /// Ends a lease, and with it the record under it.
    fn revoke(&self, lease: LeaseId) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Tells all records and then every change. Ends when changes may have been missed: it is called again then.
    fn watch(&self, changes: Changes) -> impl Future<Output = RegistryError> + Send;
}

/// Whether a lease is still there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum KeptAlive {
    /// It is.
    Yes,
    /// It is over: what was under it is gone.
    Lost,
}

/// Where a [watch](Registry::watch) tells what it sees. Waits when it is told faster than it can be taken.
#[derive(Clone, Debug)]
pub struct Changes(Sender<RegistryEvent>);

impl Changes {
    /// How many changes may wait.
    const CAPACITY: usize = 1024;

    /// A pair of ends.
    pub fn new() -> (Self, ChangesReceiver) {
        let (sender, receiver) = queue::bounded(Self::CAPACITY);
        (Self(sender), ChangesReceiver(receiver))
    }

    /// These are all the records that there are.
    pub async fn resync(&self, all: Vec<ServerInfo>) {
        self.0.send(RegistryEvent::Resync(all)).await;
    }

    /// A record came or changed.
    pub async fn put(&self, info: ServerInfo) {
        self.0.send(RegistryEvent::Put(info)).await;
    }

    /// A record is gone.
    pub async fn delete(&self, server_type: impl Into<String>, id: impl Into<String>) {
        self.0.send(RegistryEvent::Delete { server_type: server_type.into(), id: id.into() }).await;
    }
}

/// Where the cluster takes from what a watch tells.
#[derive(Debug)]
pub struct ChangesReceiver(Receiver<RegistryEvent>);

impl ChangesReceiver {
    /// The next one. Pending: there is none, and the task is woken when there is. `None`: all senders are gone.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<RegistryEvent>> {
        self.0.poll_recv(cx)
    }
}

/// Why the registry could not do something: it is away, or refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub struct RegistryError(String);

impl RegistryError {
    /// An error with a text for the log.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
