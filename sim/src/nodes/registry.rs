//! The registry: leases, records, and who watches them.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use cereus_cluster::{LeaseId, RegistryCommand, RegistryError, RegistryEvent, ServerInfo};
use cereus_core::Instant;

use crate::{
    Rng,
    nodes::{RegistryFaults, faults::rarely},
};

/// What records hang on that no node put in.
pub(super) const FOREIGN: LeaseId = LeaseId::new(0);

#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) faults: RegistryFaults,
    pub(super) records: BTreeMap<String, (LeaseId, ServerInfo)>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: i64,
    pub(super) watchers: BTreeMap<usize, Watcher>,
    /// Since when it has not been there.
    pub(super) down: Option<Instant>,
    /// Whom it does not reach, and since when.
    pub(super) cuts: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    expires: Instant,
}

/// Who watches: one watch of a node.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) number: u64,
    /// When the last of what it was told arrives.
    last: Instant,
    /// What it is not told for the time being.
    pub(super) held: Option<Vec<RegistryEvent>>,
    /// Its end is held back, too: nothing comes after it.
    ended: bool,
}

/// A command on its way.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) host: usize,
    pub(super) number: u64,
    pub(super) command: RegistryCommand,
}

/// What a watcher is to be told, and when.
pub(super) struct Change {
    pub(super) at: Instant,
    pub(super) host: usize,
    pub(super) number: u64,
    pub(super) event: RegistryEvent,
}

impl Registry {
    /// Does as asked. What changes by that is among the changes.
    pub(super) fn execute(&mut self, command: RegistryCommand, now: Instant, told: &mut Told<'_>) -> RegistryEvent {
        match command {
            RegistryCommand::Grant { ttl } => {
                self.last_lease += 1;
                let lease = LeaseId::new(self.last_lease);
                self.leases.insert(lease, Lease { ttl, expires: now + ttl });
                RegistryEvent::Granted(lease)
            }
            RegistryCommand::Put { lease, info } => {
                if !self.leases.contains_key(&lease) {
                    return failed("the lease is not there");
                }
                self.put(lease, (*info).clone(), told);
                RegistryEvent::Registered
            }
            RegistryCommand::KeepAlive { lease } => match self.leases.get_mut(&lease) {
                Some(lease) => {
                    lease.expires = now + lease.ttl;
                    RegistryEvent::KeptAlive
                }
                None => RegistryEvent::LeaseLost,
            },
            RegistryCommand::Revoke { lease } => {
                self.end_lease(lease, told);
                RegistryEvent::Revoked
            }
            other => panic!("not a command about the own record: {other:?}"),
        }
    }

    pub(super) fn put(&mut self, lease: LeaseId, info: ServerInfo, told: &mut Told<'_>) {
        self.records.insert(info.id.clone(), (lease, info.clone()));
        self.tell(&RegistryEvent::Put(info), told);
    }

    pub(super) fn delete(&mut self, id: &str, told: &mut Told<'_>) {
        if let Some((_, info)) = self.records.remove(id) {
            self.tell(&RegistryEvent::Delete { server_type: info.server_type, id: info.id }, told);
        }
    }

    pub(super) fn end_lease(&mut self, lease: LeaseId, told: &mut Told<'_>) {
        self.leases.remove(&lease);
        let under: Vec<_> = self.records.iter().filter(|(_, (of, _))| *of == lease).map(|(id, _)| id.clone()).collect();
        under.iter().for_each(|id| self.delete(id, told));
    }

    /// While it is away, no lease ends.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        if self.down.is_some() {
            return None;
        }
        self.leases.values().map(|lease| lease.expires).min()
    }

    pub(super) fn expire(&mut self, now: Instant, told: &mut Told<'_>) {
        let over: Vec<_> = self.leases.iter().filter(|(_, lease)| lease.expires <= now).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|lease| self.end_lease(lease, told));
    }

    /// After a restart nobody is blamed for not having been heard.
    pub(super) fn renew_all(&mut self, now: Instant) {
        self.leases.values_mut().for_each(|lease| lease.expires = now + lease.ttl);
    }

    pub(super) fn lose_data(&mut self) {
        self.records.clear();
        self.leases.clear();
    }

    /// Tells all records to a new watcher, in the place of the one it was before.
    pub(super) fn watch(&mut self, host: usize, number: u64, told: &mut Told<'_>) {
        self.watchers.insert(host, Watcher { number, last: told.now, held: None, ended: false });
        let all = self.records.values().map(|(_, info)| info.clone()).collect();
        self.tell_one(host, RegistryEvent::Resync(all), told);
    }

    pub(super) fn forget_watcher(&mut self, host: usize) {
        self.watchers.remove(&host);
    }

    fn tell(&mut self, event: &RegistryEvent, told: &mut Told<'_>) {
        let hosts: Vec<_> = self.watchers.keys().copied().collect();
        for host in hosts {
            if rarely(told.rng, self.faults.break_watch) {
                self.break_watch(host, "changes were missed", told);
            } else {
                self.tell_one(host, event.clone(), told);
            }
        }
    }

    /// Ends a watch, as soon as its watcher has heard what came before.
    pub(super) fn break_watch(&mut self, host: usize, why: &str, told: &mut Told<'_>) {
        self.tell_one(host, RegistryEvent::WatchLost(RegistryError::new(why)), told);
        match self.watchers.get_mut(&host) {
            Some(watcher) if watcher.held.is_some() => watcher.ended = true,
            _ => self.forget_watcher(host),
        }
    }

    /// Tells a watcher what was held back.
    pub(super) fn release(&mut self, host: usize, told: &mut Told<'_>) {
        let Some(watcher) = self.watchers.get_mut(&host) else {
            return;
        };
        let ended = std::mem::replace(&mut watcher.ended, false);
        let held = watcher.held.take();
        held.into_iter().flatten().for_each(|event| self.tell_one(host, event, told));
        if ended {
            self.forget_watcher(host);
        }
    }

    fn tell_one(&mut self, host: usize, event: RegistryEvent, told: &mut Told<'_>) {
        let Some(watcher) = self.watchers.get_mut(&host).filter(|watcher| !watcher.ended) else {
            return;
        };
        if let Some(held) = &mut watcher.held {
            held.push(event);
            return;
        }
        watcher.last = watcher.last.max(told.now + told.rng.duration(told.lag.clone()));
        told.changes.push(Change { at: watcher.last, host, number: watcher.number, event });
    }
}

/// What watchers are told.
pub(super) struct Told<'a> {
    pub(super) now: Instant,
    pub(super) rng: &'a mut Rng,
    pub(super) lag: RangeInclusive<Duration>,
    pub(super) changes: Vec<Change>,
}

pub(super) fn failed(why: &str) -> RegistryEvent {
    RegistryEvent::Failed(RegistryError::new(why))
}
