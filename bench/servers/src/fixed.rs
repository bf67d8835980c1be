use std::future;
use std::sync::Arc;
use std::time::Duration;

use cereus_cluster::{Changes, KeptAlive, LeaseId, Registry, RegistryError, ServerInfo};

/// A registry of servers that never change: the comparison is about the bus.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Vec<ServerInfo>);

impl Registry for Fixed {
    async fn grant(&self, _ttl: Duration) -> Result<LeaseId, RegistryError> {
        Ok(LeaseId::new(1))
    }

    async fn put(&self, _info: Arc<ServerInfo>, _lease: LeaseId) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn keep_alive(&self, _lease: LeaseId) -> Result<KeptAlive, RegistryError> {
        Ok(KeptAlive::Yes)
    }

    async fn revoke(&self, _lease: LeaseId) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn watch(&self, changes: Changes) -> RegistryError {
        changes.resync(self.0.clone()).await;
        future::pending().await
    }
}
