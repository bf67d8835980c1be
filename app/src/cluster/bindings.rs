//! Which users are bound here, for the bus and for the binding storage.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use cereus_cluster::{Address, Addressing, KeptAlive, Kind, LeaseId, StorageError, protos::BindMsg};
use cereus_transports::rt::Runtime;
use event_listener::{Event, listener};
use futures_lite::future;
use prost::Message;

use crate::{
    Error,
    cluster::Shared,
    serve::{sleep, timeout},
    sync::{Mutex, MutexGuard},
};

/// The users that are bound here, and how many sessions each has.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    inner: Mutex<Inner>,
    /// Told when somebody else may go on.
    free: Event,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: BTreeMap<Arc<str>, usize>,
    /// Users whose subscription is being changed.
    busy: Vec<Arc<str>>,
    lease: Option<LeaseId>,
}

impl Bound {
    /// One change of a user after the other.
    async fn turn(&self, uid: &Arc<str>) -> Turn<'_> {
        loop {
            listener!(self.free => free);
            if self.try_turn(uid) {
                return Turn { bound: self, uid: Arc::clone(uid) };
            }
            free.await;
        }
    }

    fn try_turn(&self, uid: &Arc<str>) -> bool {
        let mut inner = self.lock();
        let free = !inner.busy.contains(uid);
        if free {
            inner.busy.push(Arc::clone(uid));
        }
        free
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics with the lock held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_lease(&self, lease: Option<LeaseId>) {
        self.lock().lease = lease;
        self.free.notify(usize::MAX);
    }

    pub(crate) fn uids(&self) -> Vec<Arc<str>> {
        self.lock().sessions.keys().cloned().collect()
    }
}

struct Turn<'a> {
    bound: &'a Bound,
    uid: Arc<str>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.bound.lock().busy.retain(|uid| *uid != self.uid);
        self.bound.free.notify(usize::MAX);
    }
}

/// Keeps the lease of the bindings, and writes all of them down again when it was lost.
pub(crate) fn keep<R: Runtime>(runtime: &R, shared: Arc<Shared>) {
    let ticker = runtime.clone();
    runtime.spawn(async move {
        let keep = async {
            loop {
                let rest = match step(&ticker, &shared).await {
                    Ok(()) => shared.settings.bindings_ttl / 3,
                    Err(error) => {
                        tracing::warn!(error, "the binding storage failed: trying again");
                        shared.settings.registry_retry
                    }
                };
                sleep(&ticker, rest).await;
            }
        };
        future::or(keep, shared.wait_until(|facts| facts.ended)).await;
        let lease = shared.bound.lock().lease.take();
        if let (Some(storage), Some(lease)) = (&shared.storage, lease) {
            // It goes by itself if this fails.
            let _ = timeout(&ticker, shared.settings.registry_timeout, Arc::clone(storage).revoke(lease)).await;
        }
    });
}

/// Keeps the lease alive, or gets a new one.
async fn step<R: Runtime>(runtime: &R, shared: &Shared) -> Result<(), String> {
    let Some(storage) = &shared.storage else {
        return Ok(());
    };
    let lease = shared.bound.lock().lease;
    let step = async {
        if let Some(lease) = lease
            && Arc::clone(storage).keep_alive(lease).await? == KeptAlive::Yes
        {
            return Ok(());
        }
        let lease = Arc::clone(storage).grant(shared.settings.bindings_ttl).await?;
        shared.bound.set_lease(Some(lease));
        Arc::clone(storage).put(Arc::clone(&shared.own), shared.bound.uids(), lease).await
    };
    match timeout(runtime, shared.settings.registry_timeout, step).await {
        Some(result) => result.map_err(|error: StorageError| error.to_string()),
        None => Err("no answer".to_owned()),
    }
}

impl Shared {
    /// Takes in what is sent to a user, from now on.
    pub(crate) async fn subscribe(&self, uid: &Arc<str>) -> Result<(), Error> {
        let turn = self.bound.turn(uid).await;
        if !self.bound.lock().sessions.contains_key(uid) {
            let subscribed = Arc::clone(&self.bus).subscribe_user(Arc::clone(uid)).await;
            subscribed.map_err(|error| Error::new(Error::UNKNOWN, error.to_string()))?;
        }
        *self.bound.lock().sessions.entry(Arc::clone(uid)).or_default() += 1;
        drop(turn);
        Ok(())
    }

    /// One session of a user is gone.
    pub(crate) async fn unsubscribe(&self, uid: &Arc<str>) {
        let turn = self.bound.turn(uid).await;
        let left = {
            let mut inner = self.bound.lock();
            let left = inner.sessions.get(uid).copied().unwrap_or_default().saturating_sub(1);
            if left == 0 {
                inner.sessions.remove(uid);
            } else {
                inner.sessions.insert(Arc::clone(uid), left);
            }
            left
        };
        if left == 0 {
            Arc::clone(&self.bus).unsubscribe_user(Arc::clone(uid)).await;
            if let Some(storage) = &self.storage
                && let Err(error) = Arc::clone(storage).remove(Arc::clone(&self.own), Arc::clone(uid)).await
            {
                tracing::warn!(%uid, %error, "a binding could not be taken out");
            }
        }
        drop(turn);
    }

    /// Writes down that a user is bound here.
    pub(crate) async fn store_binding(&self, uid: &Arc<str>) -> Result<(), Error> {
        let Some(storage) = &self.storage else {
            return Ok(());
        };
        let failed = |text: String| Error::new(Error::UNKNOWN, format!("the binding cannot be written down: {text}"));
        let lease = self.bound.lock().lease.ok_or_else(|| failed("the storage is away".to_owned()))?;
        let put = Arc::clone(storage).put(Arc::clone(&self.own), vec![Arc::clone(uid)], lease);
        put.await.map_err(|error| failed(error.to_string()))
    }

    /// Tells the other servers of this type that a user is bound here (specification, sections 9.1 and 10.4).
    pub(crate) async fn broadcast_binding(&self, uid: &Arc<str>) -> Result<(), Error> {
        let payload = BindMsg { uid: uid.to_string(), fid: self.own.id.clone() }.encode_to_vec().into();
        let to = match self.bus.addressing() {
            Addressing::Servers => match self.find_user(&self.own.server_type.as_str().into(), uid).await? {
                Some(server) if server.id != self.own.id => Address::Server(server),
                _ => return Ok(()),
            },
            _ => Address::Type(self.own.server_type.as_str().into()),
        };
        self.send(to, Kind::Bind, payload).map_err(|error| Error::new(Error::UNKNOWN, error.to_string()))
    }

    /// The server that a user is bound on, as far as it is written down.
    pub(crate) async fn find_user(
        &self,
        frontend_type: &Arc<str>,
        uid: &Arc<str>,
    ) -> Result<Option<Arc<cereus_cluster::ServerInfo>>, Error> {
        let Some(storage) = &self.storage else {
            return Ok(None);
        };
        let found = Arc::clone(storage).get(Arc::clone(frontend_type), Arc::clone(uid)).await;
        let found = found.map_err(|error| Error::new(Error::UNKNOWN, error.to_string()))?;
        Ok(found.and_then(|id| self.servers().by_id(&id).cloned()))
    }
}
