use std::{fmt, future::Future, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{KeptAlive, LeaseId};

/// Where frontends write down which users are bound on them, so that others find them (specification, section 11.9).
///
/// A bus that reaches users by name needs none; gRPC does. What is written goes with its lease.
pub trait BindingStorage: fmt::Debug + Send + Sync + 'static {
    /// Grants a lease that lasts so long without being kept alive.
    fn grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId, StorageError>> + Send;

    /// Keeps a lease alive for one more time to live.
    fn keep_alive(&self, lease: LeaseId) -> impl Future<Output = Result<KeptAlive, StorageError>> + Send;

    /// Ends a lease, and with it all that was written under it.
    fn revoke(&self, lease: LeaseId) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Writes down that users are bound on a server.
    fn put(
        &self,
        frontend_type: &str,
        uids: &[Arc<str>],
        server_id: &str,
        lease: LeaseId,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Takes out that a user is bound on this server; a note that he is bound on another stays.
    fn remove(
        &self,
        frontend_type: &str,
        uid: &str,
        server_id: &str,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// The id of the server that a user is bound on.
    fn get(&self, frontend_type: &str, uid: &str) -> impl Future<Output = Result<Option<String>, StorageError>> + Send;
}

/// Where groups are kept when more than one server uses them (specification, section 11.10).
pub trait GroupStorage: fmt::Debug + Send + Sync + 'static {
    /// Makes a group, with a time to live or without.
    fn create(&self, name: &str, ttl: Option<Duration>) -> impl Future<Output = Result<(), GroupError>> + Send;

    /// The uids of all members, in order.
    fn members(&self, name: &str) -> impl Future<Output = Result<Vec<Arc<str>>, GroupError>> + Send;

    /// How many members there are.
    fn count(&self, name: &str) -> impl Future<Output = Result<usize, GroupError>> + Send;

    /// Whether a user is a member.
    fn contains(&self, name: &str, uid: &str) -> impl Future<Output = Result<bool, GroupError>> + Send;

    /// Adds a user.
    fn add(&self, name: &str, uid: &str) -> impl Future<Output = Result<(), GroupError>> + Send;

    /// Removes a user.
    fn remove(&self, name: &str, uid: &str) -> impl Future<Output = Result<(), GroupError>> + Send;

    /// Removes all users.
    fn remove_all(&self, name: &str) -> impl Future<Output = Result<(), GroupError>> + Send;

    /// Removes the group.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), GroupError>> + Send;

    /// Starts the time to live anew.
    fn renew_ttl(&self, name: &str) -> impl Future<Output = Result<(), GroupError>> + Send;
}

/// Why a storage could not do something: it is away, or refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub struct StorageError(String);

impl StorageError {
    /// An error with a text for the log.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Why a group cannot do what was asked. The caller is at fault, but for [`Storage`](Self::Storage).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum GroupError {
    /// There is no such group.
    #[error("group not found")]
    NotFound,
    /// There is such a group.
    #[error("group already exists")]
    AlreadyExists,
    /// A uid has at least one character.
    #[error("empty uid")]
    EmptyUid,
    /// The user is a member already.
    #[error("the user is a member of the group already")]
    AlreadyMember,
    /// The user is no member.
    #[error("the user is no member of the group")]
    NotMember,
    /// The group was created without a time to live.
    #[error("the group has no time to live")]
    NoTtl,
    /// No key could be made of this name or uid.
    #[error("`{0}` cannot be the name of a group")]
    Name(String),
    /// The storage failed.
    #[error("the groups cannot be reached: {0}")]
    Storage(#[from] StorageError),
}
