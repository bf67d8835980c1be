use std::{sync::Arc, time::Duration};

use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, GetResponse, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::{
    connection::{Again, Connection},
    failure::{Failure, Kind},
};
use crate::{GroupError, GroupStorage, KeptAlive, LeaseId, StorageError, names};

/// How often a group may be replaced by another of its name while a member is added.
const ATTEMPTS: usize = 3;

/// The groups of Pitaya in etcd: `pitaya/groups/<name>`, and `pitaya/groups/<name>/uids/<uid>` for each member. Made by
/// [`Etcd::groups`](super::Etcd::groups).
///
/// Uids are any text but the empty one. Groups are refused whose name has a part `uids` after another, such as `a/uids/b`
/// and `a/uids`: their keys would be those of members of `a`.
#[derive(Clone, Debug)]
pub struct EtcdGroups {
    connection: Connection,
    prefix: String,
}

impl EtcdGroups {
    pub(super) fn new(connection: Connection) -> Self {
        let prefix = connection.settings().prefix.clone();
        Self { connection, prefix }
    }

    /// What all keys begin with, as it is. Default: that of the [`Etcd`](super::Etcd).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long each answer of etcd may take; some methods ask twice or three times. Default: the request timeout of the
    /// [`Etcd`](super::Etcd), which is 5 s.
    #[must_use]
    pub const fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.connection.timeout = timeout;
        self
    }

    fn group(&self, name: &str) -> Result<Group, GroupError> {
        if name.split('/').skip(1).any(|part| part == "uids") {
            return Err(GroupError::Name(name.to_owned()));
        }
        let key = names::group_key(&self.prefix, name);
        Ok(Group { key, members: names::members_key(&self.prefix, name) })
    }

    fn member(&self, name: &str, uid: &str) -> Result<(Group, String), GroupError> {
        if uid.is_empty() {
            return Err(GroupError::EmptyUid);
        }
        Ok((self.group(name)?, names::member_key(&self.prefix, name, uid)))
    }

    /// Does something with a group that there is.
    async fn with(&self, again: Again, group: &Group, operations: Vec<TxnOp>) -> Result<TxnResponse, GroupError> {
        let done = self.connection.transact(again, Txn::new().when([exists(&group.key)]).and_then(operations)).await?;
        if done.succeeded() { Ok(done) } else { Err(GroupError::NotFound) }
    }

    /// The number of a group, which is another's when it is created anew, and its lease.
    async fn look_up(&self, group: &Group) -> Result<(i64, Option<LeaseId>), GroupError> {
        let found = self.connection.get(group.key.clone(), GetOptions::new()).await?;
        let group = found.kvs().first().ok_or(GroupError::NotFound)?;
        Ok((group.create_revision(), Some(group.lease()).filter(|lease| *lease != 0).map(LeaseId::new)))
    }
}

/// Where a group is.
struct Group {
    key: String,
    members: String,
}

fn exists(key: &str) -> Compare {
    Compare::create_revision(key, CompareOp::Greater, 0)
}

fn is_missing(key: &str) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, 0)
}

fn counts(key: &str) -> TxnOp {
    TxnOp::get(key, Some(GetOptions::new().with_count_only()))
}

fn under(lease: Option<LeaseId>) -> Option<PutOptions> {
    lease.map(|lease| PutOptions::new().with_lease(lease.get()))
}

/// What a transaction read.
fn reads(done: &TxnResponse) -> impl Iterator<Item = GetResponse> {
    done.op_responses().into_iter().filter_map(|response| match response {
        TxnOpResponse::Get(read) => Some(read),
        _ => None,
    })
}

fn count(done: &TxnResponse) -> usize {
    reads(done).map(|read| usize::try_from(read.count()).unwrap_or_default()).sum()
}

impl GroupStorage for EtcdGroups {
    async fn create(&self, name: &str, ttl: Option<Duration>) -> Result<(), GroupError> {
        let Group { key, .. } = self.group(name)?;
        let lease = match ttl {
            Some(ttl) => Some(self.connection.grant(ttl).await?),
            None => None,
        };
        let txn = Txn::new().when([is_missing(&key)]).and_then([TxnOp::put(key.as_str(), "", under(lease))]);
        if self.connection.transact(Again::Differs, txn).await?.succeeded() {
            return Ok(());
        }
        if let Some(lease) = lease {
            // When this fails, it ends by itself.
            let _ = self.connection.revoke(lease).await;
        }
        Err(GroupError::AlreadyExists)
    }

    async fn members(&self, name: &str) -> Result<Vec<Arc<str>>, GroupError> {
        let group = self.group(name)?;
        let keys = GetOptions::new().with_prefix().with_keys_only();
        let done = self.with(Again::Harmless, &group, vec![TxnOp::get(group.members.as_str(), Some(keys))]).await?;
        let members = reads(&done).flat_map(|mut read| read.take_kvs());
        let uid = |key: &[u8]| String::from_utf8_lossy(key.get(group.members.len()..).unwrap_or_default()).into();
        Ok(members.map(|member| uid(member.key())).collect())
    }

    async fn count(&self, name: &str) -> Result<usize, GroupError> {
        let group = self.group(name)?;
        let all = GetOptions::new().with_prefix().with_count_only();
        Ok(count(&self.with(Again::Harmless, &group, vec![TxnOp::get(group.members.as_str(), Some(all))]).await?))
    }

    async fn contains(&self, name: &str, uid: &str) -> Result<bool, GroupError> {
        let (group, member) = self.member(name, uid)?;
        Ok(count(&self.with(Again::Harmless, &group, vec![counts(&member)]).await?) > 0)
    }

    async fn add(&self, name: &str, uid: &str) -> Result<(), GroupError> {
        let (group, member) = self.member(name, uid)?;
        for _ in 0..ATTEMPTS {
            let (number, lease) = self.look_up(&group).await?;
            // Under the lease of the group that was read, and not of one that came after it.
            let is_same = Compare::create_revision(group.key.as_str(), CompareOp::Equal, number);
            let txn = Txn::new()
                .when([is_same, is_missing(&member)])
                .and_then([TxnOp::put(member.as_str(), "", under(lease))])
                .or_else([counts(&member)]);
            match self.connection.transact(Again::Differs, txn).await {
                Ok(done) if done.succeeded() => return Ok(()),
                Ok(done) if count(&done) > 0 => return Err(GroupError::AlreadyMember),
                // The group is gone; there may be another by now.
                Ok(_) | Err(Failure { kind: Kind::NoLease, .. }) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(GroupError::Storage(StorageError::new(format!("the group `{name}` is replaced all the time"))))
    }

    async fn remove(&self, name: &str, uid: &str) -> Result<(), GroupError> {
        let (group, member) = self.member(name, uid)?;
        let txn = Txn::new()
            .when([exists(&member)])
            .and_then([TxnOp::delete(member.as_str(), None)])
            .or_else([counts(&group.key)]);
        let done = self.connection.transact(Again::Differs, txn).await?;
        match done.succeeded() {
            true => Ok(()),
            false if count(&done) > 0 => Err(GroupError::NotMember),
            false => Err(GroupError::NotFound),
        }
    }

    async fn remove_all(&self, name: &str) -> Result<(), GroupError> {
        let group = self.group(name)?;
        self.with(Again::Harmless, &group, vec![delete_all(&group)]).await.map(drop)
    }

    async fn delete(&self, name: &str) -> Result<(), GroupError> {
        let group = self.group(name)?;
        self.with(Again::Differs, &group, vec![delete_all(&group), TxnOp::delete(group.key.as_str(), None)])
            .await
            .map(drop)
    }

    async fn renew_ttl(&self, name: &str) -> Result<(), GroupError> {
        let (_, lease) = self.look_up(&self.group(name)?).await?;
        match self.connection.keep_alive(lease.ok_or(GroupError::NoTtl)?).await? {
            KeptAlive::Yes => Ok(()),
            // It ended since, and the group with it.
            KeptAlive::Lost => Err(GroupError::NotFound),
        }
    }
}

fn delete_all(group: &Group) -> TxnOp {
    TxnOp::delete(group.members.as_str(), Some(DeleteOptions::new().with_prefix()))
}
