//! The registry: leases, records, and who watches them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::{pending, poll_fn},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use cereus_cluster::{Changes, KeptAlive, LeaseId, Registry, RegistryError, ServerInfo};
use cereus_core::Instant;
use cereus_transports::rt::{Runtime, Timer};

use super::{SimCluster, State};
use crate::{
    Rng, SimTimer,
    nodes::{RegistryFaults, faults::rarely},
};

/// How long a watch that is cut off takes to notice.
const SILENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Records {
    pub(super) faults: RegistryFaults,
    records: BTreeMap<String, (LeaseId, ServerInfo)>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: i64,
    watchers: BTreeMap<u64, Watcher>,
    last_watcher: u64,
    down: bool,
    /// Whom it does not reach.
    cuts: BTreeSet<String>,
}

struct Lease {
    ttl: Duration,
    expires: Instant,
}

struct Watcher {
    id: String,
    /// What it is told, and when.
    told: VecDeque<(Instant, Change)>,
    waker: Option<Waker>,
    ended: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Put(ServerInfo),
    Delete(String, String),
    Lost(&'static str),
}

impl Records {
    pub(super) fn ids(&self) -> BTreeSet<String> {
        self.records.keys().cloned().collect()
    }

    pub(super) fn cut(&mut self, id: &str, now: Instant) {
        self.cuts.insert(id.to_owned());
        self.end_watches(|watcher| watcher.id == id, "no connection", now + SILENCE);
    }

    pub(super) fn stop(&mut self, now: Instant) {
        self.down = true;
        self.end_watches(|_| true, "the registry went away", now);
    }

    /// After a restart nobody is blamed for not having been heard.
    pub(super) fn start(&mut self, now: Instant) {
        self.cuts.clear();
        if std::mem::take(&mut self.down) {
            self.leases.values_mut().for_each(|lease| lease.expires = now + lease.ttl);
        }
    }

    pub(super) fn compact(&mut self, now: Instant) {
        self.end_watches(|_| true, "required revision has been compacted", now);
    }

    /// What these have not been told is lost, and nothing is told any more.
    fn end_watches(&mut self, which: impl Fn(&Watcher) -> bool, why: &'static str, at: Instant) {
        for watcher in self.watchers.values_mut().filter(|watcher| which(watcher) && !watcher.ended) {
            watcher.ended = true;
            watcher.told.clear();
            watcher.told.push_back((at, Change::Lost(why)));
            watcher.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    fn reaches(&self, id: &str) -> bool {
        !self.down && !self.cuts.contains(id)
    }

    fn tell(&mut self, change: &Change, rng: &mut Rng, now: Instant) {
        let lag = self.faults.lag.clone();
        for watcher in self.watchers.values_mut().filter(|watcher| !watcher.ended) {
            let last = watcher.told.back().map_or(now, |(at, _)| *at);
            let at = last.max(now + rng.duration(lag.clone()));
            watcher.ended = rarely(rng, self.faults.break_watch);
            let change = if watcher.ended { Change::Lost("changes were missed") } else { change.clone() };
            watcher.told.push_back((at, change));
            watcher.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl State {
    fn put(&mut self, lease: LeaseId, info: ServerInfo, now: Instant) -> Result<(), RegistryError> {
        if !self.registry.leases.contains_key(&lease) {
            return Err(RegistryError::new("the lease is not there"));
        }
        self.registry.records.insert(info.id.clone(), (lease, info.clone()));
        self.registry.tell(&Change::Put(info), &mut self.rng, now);
        Ok(())
    }

    fn end_lease(&mut self, lease: LeaseId, now: Instant) {
        let Self { registry, rng, .. } = self;
        registry.leases.remove(&lease);
        let gone: Vec<_> = registry.records.extract_if(.., |_, (of, _)| *of == lease).collect();
        for (id, (_, info)) in gone {
            registry.tell(&Change::Delete(info.server_type, id), rng, now);
        }
    }

    pub(super) fn lose_lease(&mut self, id: &str, now: Instant) {
        if let Some((lease, _)) = self.registry.records.get(id) {
            self.end_lease(*lease, now);
        }
    }

    fn grant(&mut self, ttl: Duration, now: Instant) -> LeaseId {
        self.registry.last_lease += 1;
        let lease = LeaseId::new(self.registry.last_lease);
        self.registry.leases.insert(lease, Lease { ttl, expires: now + ttl });
        lease
    }

    fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> KeptAlive {
        match self.registry.leases.get_mut(&lease) {
            Some(lease) => {
                lease.expires = now + lease.ttl;
                KeptAlive::Yes
            }
            None => KeptAlive::Lost,
        }
    }

    /// Ends a lease whose time is over. Returns when to look again.
    fn expire(&mut self, lease: LeaseId, now: Instant) -> Option<Instant> {
        let Lease { ttl, expires } = self.registry.leases.get(&lease)?;
        if self.registry.down {
            return Some(now + *ttl);
        }
        if *expires > now {
            return Some(*expires);
        }
        self.end_lease(lease, now);
        None
    }
}

/// The registry of one server of a [`SimCluster`].
#[derive(Debug)]
pub struct SimRegistry {
    cluster: SimCluster,
    /// Who asks.
    id: String,
}

impl SimRegistry {
    pub(super) const fn new(cluster: SimCluster, id: String) -> Self {
        Self { cluster, id }
    }

    /// Does something there, if it gets there, and tells what came of it, if that gets back.
    async fn ask<T>(
        &self,
        act: impl FnOnce(&mut State, Instant) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.travel().await;
        let now = self.cluster.runtime.now();
        let result = {
            let mut state = self.cluster.lock();
            let State { rng, registry, .. } = &mut *state;
            // Half of what fails has been done.
            let (fails, first) = (rarely(rng, registry.faults.fail), rng.one_in(2));
            let failed = Err(RegistryError::new("the registry failed"));
            if fails && first {
                failed
            } else {
                act(&mut state, now).and_then(|done| if fails { failed } else { Ok(done) })
            }
        };
        self.travel().await;
        result
    }

    async fn travel(&self) {
        let delay = {
            let mut state = self.cluster.lock();
            let State { rng, registry, .. } = &mut *state;
            let arrives = registry.reaches(&self.id) && !rarely(rng, registry.faults.lose);
            arrives.then(|| rng.duration(registry.faults.delay.clone()))
        };
        match delay {
            Some(delay) => self.cluster.runtime.sleep(delay).await,
            // Whoever waits gives up at his time.
            None => pending().await,
        }
    }

    /// Ends a lease at its time, whatever becomes of who holds it.
    fn expire(&self, lease: LeaseId) {
        let cluster = self.cluster.clone();
        self.cluster.runtime.spawn(async move {
            loop {
                let now = cluster.runtime.now();
                let Some(at) = cluster.lock().expire(lease, now) else {
                    return;
                };
                cluster.runtime.sleep(at - now).await;
            }
        });
    }
}

impl Registry for SimRegistry {
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, RegistryError> {
        self.ask(|state, now| {
            let lease = state.grant(ttl, now);
            self.expire(lease);
            Ok(lease)
        })
        .await
    }

    async fn put(&self, info: Arc<ServerInfo>, lease: LeaseId) -> Result<(), RegistryError> {
        self.ask(|state, now| state.put(lease, (*info).clone(), now)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<KeptAlive, RegistryError> {
        self.ask(|state, now| Ok(state.keep_alive(lease, now))).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), RegistryError> {
        self.ask(|state, now| {
            state.end_lease(lease, now);
            Ok(())
        })
        .await
    }

    async fn watch(&self, changes: Changes) -> RegistryError {
        if !self.cluster.lock().registry.reaches(&self.id) {
            self.cluster.runtime.sleep(SILENCE).await;
            return RegistryError::new("no connection");
        }
        let (mut watch, all) = Watch::new(&self.cluster, &self.id);
        changes.resync(all).await;
        loop {
            match poll_fn(|cx| watch.poll_next(cx)).await {
                Change::Put(info) => changes.put(info).await,
                Change::Delete(server_type, id) => changes.delete(server_type, id).await,
                Change::Lost(why) => return RegistryError::new(why),
            }
        }
    }
}

struct Watch {
    cluster: SimCluster,
    number: u64,
    timer: SimTimer,
}

impl Watch {
    fn new(cluster: &SimCluster, id: &str) -> (Self, Vec<ServerInfo>) {
        let mut state = cluster.lock();
        let registry = &mut state.registry;
        registry.last_watcher += 1;
        let number = registry.last_watcher;
        let watcher = Watcher { id: id.to_owned(), told: VecDeque::new(), waker: None, ended: false };
        registry.watchers.insert(number, watcher);
        let all = registry.records.values().map(|(_, info)| info.clone()).collect();
        (Self { cluster: cluster.clone(), number, timer: Runtime::timer(&cluster.runtime) }, all)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Change> {
        let now = self.cluster.runtime.now();
        let next = {
            let mut state = self.cluster.lock();
            let Some(watcher) = state.registry.watchers.get_mut(&self.number) else {
                return Poll::Ready(Change::Lost("it has ended"));
            };
            match watcher.told.front() {
                Some((at, _)) if *at <= now => {
                    let (_, change) = watcher.told.pop_front().expect("it was just there");
                    return Poll::Ready(change);
                }
                front => {
                    let next = front.map(|(at, _)| *at);
                    watcher.waker = Some(cx.waker().clone());
                    next
                }
            }
        };
        if let Some(at) = next {
            let set = self.timer.poll_until(at, cx);
            debug_assert!(set.is_pending(), "what had arrived was not told");
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cluster.lock().registry.watchers.remove(&self.number);
    }
}
