use std::{collections::BTreeSet, sync::Arc, time::Duration};

use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};

use super::connection::{Again, Connection};
use crate::{BindingStorage, KeptAlive, LeaseId, StorageError, names};

/// How many operations etcd takes in one transaction, if it is not told otherwise.
const MAX_OPERATIONS: usize = 128;
/// How long the keys and values of one transaction may be. etcd takes 1.5 MiB.
const MAX_BYTES: usize = 512 << 10;

/// The notes of Pitaya in etcd of which user is bound where: `pitaya/bindings/<frontend type>/<uid>` holds a server's id.
/// Made by [`Etcd::bindings`](super::Etcd::bindings).
#[derive(Clone, Debug)]
pub struct EtcdBindings {
    connection: Connection,
    prefix: String,
}

impl EtcdBindings {
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
}

/// `put` of many users is many transactions: when it fails, some may be written. To write them again does no harm.
impl BindingStorage for EtcdBindings {
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StorageError> {
        Ok(self.connection.grant(ttl).await?)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<KeptAlive, StorageError> {
        Ok(self.connection.keep_alive(lease).await?)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StorageError> {
        Ok(self.connection.revoke(lease).await?)
    }

    async fn put(
        &self,
        frontend_type: &str,
        uids: &[Arc<str>],
        server_id: &str,
        lease: LeaseId,
    ) -> Result<(), StorageError> {
        // A transaction that names a key twice is refused.
        let uids: BTreeSet<_> = uids.iter().collect();
        let keys = uids.into_iter().map(|uid| names::binding_key(&self.prefix, frontend_type, uid));
        let options = PutOptions::new().with_lease(lease.get());
        let (mut puts, mut bytes) = (Vec::new(), 0);
        for key in keys {
            let len = key.len() + server_id.len();
            if puts.len() == MAX_OPERATIONS || (bytes + len > MAX_BYTES && !puts.is_empty()) {
                self.connection.transact(Again::Harmless, Txn::new().and_then(std::mem::take(&mut puts))).await?;
                bytes = 0;
            }
            puts.push(TxnOp::put(key, server_id, Some(options.clone())));
            bytes += len;
        }
        if !puts.is_empty() {
            self.connection.transact(Again::Harmless, Txn::new().and_then(puts)).await?;
        }
        Ok(())
    }

    async fn remove(&self, frontend_type: &str, uid: &str, server_id: &str) -> Result<(), StorageError> {
        let key = names::binding_key(&self.prefix, frontend_type, uid);
        // The user may be bound on another server by now.
        let is_own = Compare::value(key.as_str(), CompareOp::Equal, server_id);
        self.connection
            .transact(Again::Harmless, Txn::new().when([is_own]).and_then([TxnOp::delete(key, None)]))
            .await?;
        Ok(())
    }

    async fn get(&self, frontend_type: &str, uid: &str) -> Result<Option<String>, StorageError> {
        let key = names::binding_key(&self.prefix, frontend_type, uid);
        let mut found = self.connection.get(key.clone(), GetOptions::new()).await?;
        let Some(note) = found.take_kvs().pop() else {
            return Ok(None);
        };
        let id = String::from_utf8(note.into_key_value().1);
        id.map(Some).map_err(|_| StorageError::new(format!("etcd: what is at `{key}` is no server's id")))
    }
}
