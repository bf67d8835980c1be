//! Buses, registries and storages as objects, so that no type parameter of theirs reaches the user.

use std::{fmt, sync::Arc, time::Duration};

use cereus_cluster::{
    Addressing, BindingStorage, Bus, BusError, BusEvents, Changes, KeptAlive, LeaseId, Registry, RegistryError,
    ServerInfo, Servers, StorageError, Transmit,
};

use crate::hook::BoxFuture;

pub(crate) trait DynBus: fmt::Debug + Send + Sync {
    fn start(self: Arc<Self>, own: Arc<ServerInfo>) -> BoxFuture<Result<Box<dyn BusEvents>, BusError>>;
    fn send(&self, message: Transmit) -> Result<(), Transmit>;
    fn subscribe_user(self: Arc<Self>, uid: Arc<str>) -> BoxFuture<Result<(), BusError>>;
    fn unsubscribe_user(self: Arc<Self>, uid: Arc<str>) -> BoxFuture<()>;
    fn addressing(&self) -> Addressing;
    fn advertise(&self, own: &mut ServerInfo);
    fn servers_changed(&self, servers: &Servers);
    fn stop(self: Arc<Self>) -> BoxFuture<()>;
}

impl<B: Bus> DynBus for B {
    fn start(self: Arc<Self>, own: Arc<ServerInfo>) -> BoxFuture<Result<Box<dyn BusEvents>, BusError>> {
        Box::pin(async move { Bus::start(&*self, own).await })
    }

    fn send(&self, message: Transmit) -> Result<(), Transmit> {
        Bus::send(self, message)
    }

    fn subscribe_user(self: Arc<Self>, uid: Arc<str>) -> BoxFuture<Result<(), BusError>> {
        Box::pin(async move { Bus::subscribe_user(&*self, &uid).await })
    }

    fn unsubscribe_user(self: Arc<Self>, uid: Arc<str>) -> BoxFuture<()> {
        Box::pin(async move { Bus::unsubscribe_user(&*self, &uid).await })
    }

    fn addressing(&self) -> Addressing {
        Bus::addressing(self)
    }

    fn advertise(&self, own: &mut ServerInfo) {
        Bus::advertise(self, own);
    }

    fn servers_changed(&self, servers: &Servers) {
        Bus::servers_changed(self, servers);
    }

    fn stop(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(async move { Bus::stop(&*self).await })
    }
}

pub(crate) trait DynRegistry: fmt::Debug + Send + Sync {
    fn grant(self: Arc<Self>, ttl: Duration) -> BoxFuture<Result<LeaseId, RegistryError>>;
    fn put(self: Arc<Self>, info: Arc<ServerInfo>, lease: LeaseId) -> BoxFuture<Result<(), RegistryError>>;
    fn keep_alive(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<KeptAlive, RegistryError>>;
    fn revoke(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<(), RegistryError>>;
    fn watch(self: Arc<Self>, changes: Changes) -> BoxFuture<RegistryError>;
}

impl<R: Registry> DynRegistry for R {
    fn grant(self: Arc<Self>, ttl: Duration) -> BoxFuture<Result<LeaseId, RegistryError>> {
        Box::pin(async move { Registry::grant(&*self, ttl).await })
    }

    fn put(self: Arc<Self>, info: Arc<ServerInfo>, lease: LeaseId) -> BoxFuture<Result<(), RegistryError>> {
        Box::pin(async move { Registry::put(&*self, info, lease).await })
    }

    fn keep_alive(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<KeptAlive, RegistryError>> {
        Box::pin(async move { Registry::keep_alive(&*self, lease).await })
    }

    fn revoke(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<(), RegistryError>> {
        Box::pin(async move { Registry::revoke(&*self, lease).await })
    }

    fn watch(self: Arc<Self>, changes: Changes) -> BoxFuture<RegistryError> {
        Box::pin(async move { Registry::watch(&*self, changes).await })
    }
}

pub(crate) trait DynBindings: fmt::Debug + Send + Sync {
    fn grant(self: Arc<Self>, ttl: Duration) -> BoxFuture<Result<LeaseId, StorageError>>;
    fn keep_alive(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<KeptAlive, StorageError>>;
    fn revoke(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<(), StorageError>>;
    fn put(
        self: Arc<Self>,
        own: Arc<ServerInfo>,
        uids: Vec<Arc<str>>,
        lease: LeaseId,
    ) -> BoxFuture<Result<(), StorageError>>;
    fn remove(self: Arc<Self>, own: Arc<ServerInfo>, uid: Arc<str>) -> BoxFuture<Result<(), StorageError>>;
    fn get(self: Arc<Self>, frontend_type: Arc<str>, uid: Arc<str>) -> BoxFuture<Result<Option<String>, StorageError>>;
}

impl<B: BindingStorage> DynBindings for B {
    fn grant(self: Arc<Self>, ttl: Duration) -> BoxFuture<Result<LeaseId, StorageError>> {
        Box::pin(async move { BindingStorage::grant(&*self, ttl).await })
    }

    fn keep_alive(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<KeptAlive, StorageError>> {
        Box::pin(async move { BindingStorage::keep_alive(&*self, lease).await })
    }

    fn revoke(self: Arc<Self>, lease: LeaseId) -> BoxFuture<Result<(), StorageError>> {
        Box::pin(async move { BindingStorage::revoke(&*self, lease).await })
    }

    fn put(
        self: Arc<Self>,
        own: Arc<ServerInfo>,
        uids: Vec<Arc<str>>,
        lease: LeaseId,
    ) -> BoxFuture<Result<(), StorageError>> {
        Box::pin(async move { BindingStorage::put(&*self, &own.server_type, &uids, &own.id, lease).await })
    }

    fn remove(self: Arc<Self>, own: Arc<ServerInfo>, uid: Arc<str>) -> BoxFuture<Result<(), StorageError>> {
        Box::pin(async move { BindingStorage::remove(&*self, &own.server_type, &uid, &own.id).await })
    }

    fn get(self: Arc<Self>, frontend_type: Arc<str>, uid: Arc<str>) -> BoxFuture<Result<Option<String>, StorageError>> {
        Box::pin(async move { BindingStorage::get(&*self, &frontend_type, &uid).await })
    }
}
