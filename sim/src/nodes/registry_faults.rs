//! What nodes ask of the registry, what it does meanwhile, and what goes wrong.

use cereus_cluster::{LeaseId, RegistryCommand, RegistryError, RegistryEvent, ServerInfo};
use cereus_core::Instant;

use super::{
    Planned, World,
    faults::rarely,
    registry::{Ask, FOREIGN, Registry, Told, failed},
};
use crate::nodes::RegistryFaults;

/// Faults of the registry.
impl World {
    /// How the registry behaves from now on.
    pub fn set_registry(&mut self, faults: RegistryFaults) {
        self.registry.faults = faults;
    }

    /// The registry goes away: some are refused, others get no answer, and all watches end.
    pub fn stop_registry(&mut self) {
        if self.registry.down.is_none() {
            self.note(|| "the registry stops".to_owned());
            self.registry.down = Some(self.now());
            let watchers: Vec<_> = self.registry.watchers.keys().copied().collect();
            watchers.into_iter().for_each(|host| self.break_watch_of(host, "the registry has gone"));
        }
    }

    /// The registry is back, with all that it knew. Leases begin anew.
    pub fn start_registry(&mut self) {
        if self.registry.down.take().is_some() {
            self.note(|| "the registry is back".to_owned());
            let now = self.now();
            self.registry.renew_all(now);
        }
    }

    /// The registry restarts and knows nothing any more.
    pub fn lose_registry_data(&mut self) {
        self.stop_registry();
        self.note(|| "the registry loses its data".to_owned());
        self.registry.lose_data();
        self.start_registry();
    }

    /// A node and the registry do not reach each other.
    pub fn cut_registry(&mut self, id: &str) {
        let (host, now) = (self.host(id), self.now());
        self.note(|| format!("{id} is cut from the registry"));
        self.registry.cuts.entry(id.to_owned()).or_insert(now);
        self.hold(host);
        if let Some(watcher) = self.registry.watchers.get(&host) {
            let number = watcher.number;
            self.plan(now + self.registry_timeout, Planned::Silence { host, number });
        }
    }

    /// A node and the registry reach each other again.
    pub fn mend_registry(&mut self, id: &str) {
        if self.registry.cuts.remove(id).is_some() {
            self.note(|| format!("{id} reaches the registry again"));
            if let Some(host) = self.running.get(id) {
                self.release(*host);
            }
        }
    }

    /// A node is told no changes for the time being: its table grows old.
    pub fn hold_watch(&mut self, id: &str) {
        let host = self.host(id);
        self.hold(host);
    }

    /// A node is told the changes that were held back.
    pub fn release_watch(&mut self, id: &str) {
        let host = self.host(id);
        if !self.registry.cuts.contains_key(id) {
            self.release(host);
        }
    }

    /// A node's watch ends. Changes may be missed until there is a new one.
    pub fn break_watch(&mut self, id: &str) {
        let host = self.host(id);
        self.break_watch_of(host, "changes were missed");
    }

    /// Ends the lease of a node's record behind its back, and with it the record.
    pub fn revoke_lease(&mut self, id: &str) {
        self.note(|| format!("the lease of {id} ends"));
        if let Some((lease, _)) = self.registry.records.get(id) {
            let lease = *lease;
            self.in_registry(|registry, told| registry.end_lease(lease, told));
        }
    }

    /// Somebody takes a record out. Its lease stays.
    pub fn delete_record(&mut self, id: &str) {
        self.note(|| format!("the record of {id} is deleted"));
        self.in_registry(|registry, told| registry.delete(id, told));
    }

    /// Somebody who is no node here puts a record in, or replaces one.
    pub fn put_record(&mut self, info: ServerInfo) {
        self.note(|| format!("a record of {} is put in by somebody else", info.id));
        self.in_registry(|registry, told| registry.put(FOREIGN, info, told));
    }

    /// Whose records are in the registry, in the order of their ids.
    pub fn records(&self) -> Vec<&str> {
        self.registry.records.keys().map(String::as_str).collect()
    }

    /// The lease that a record hangs on.
    pub fn lease_of(&self, id: &str) -> Option<LeaseId> {
        self.registry.records.get(id).map(|(lease, _)| *lease)
    }

    /// Since when a node has not reached the registry.
    pub(super) fn unreachable_since(&self, host: usize) -> Option<Instant> {
        let cut = self.registry.cuts.get(&self.hosts[host].info.id).copied();
        [self.registry.down, cut].into_iter().flatten().min()
    }
}

impl World {
    /// A node asks for something.
    pub(super) fn ask(&mut self, host: usize, command: RegistryCommand) {
        let unreachable = self.unreachable_since(host);
        self.note(|| format!("{} asks: {command:?}", self.hosts[host].info.id));
        let (now, number) = (self.now(), self.last_plan);
        self.hosts[host].record.asked(&command, number, unreachable, now);
        self.plan(now + self.registry_timeout, Planned::GiveUp { host, number });
        let arrival = now + self.rng.duration(self.registry.faults.delay.clone());
        if !rarely(&mut self.rng, self.registry.faults.lose) {
            self.plan(arrival, Planned::Ask(Ask { host, number, command }));
        }
    }

    /// A command has come to the registry.
    pub(super) fn asked(&mut self, Ask { host, number, command }: Ask) {
        if self.registry.cuts.contains_key(&self.hosts[host].info.id) {
            return;
        }
        let faults = self.registry.faults.clone();
        if self.registry.down.is_some() {
            // Refused, or not answered.
            if self.rng.one_in(2) {
                self.answer(host, number, failed("nobody is there"));
            }
            return;
        }
        let fails = rarely(&mut self.rng, faults.fail);
        if fails && self.rng.one_in(2) {
            return self.answer(host, number, failed("not now"));
        }
        if command == RegistryCommand::Watch {
            if self.hosts[host].is_running && self.hosts[host].record.is_asked(number) {
                self.in_registry(|registry, told| registry.watch(host, number, told));
            }
            return;
        }
        let now = self.now();
        let answer = self.in_registry(|registry, told| registry.execute(command, now, told));
        self.answer(host, number, if fails { failed("whether it was done is not known") } else { answer });
    }

    fn answer(&mut self, host: usize, number: u64, event: RegistryEvent) {
        if !rarely(&mut self.rng, self.registry.faults.lose) {
            let at = self.now() + self.rng.duration(self.registry.faults.delay.clone());
            self.plan(at, Planned::Answer { host, number, event });
        }
    }

    /// An answer has come to the node.
    pub(super) fn answered(&mut self, host: usize, number: u64, event: RegistryEvent) {
        if !self.registry.cuts.contains_key(&self.hosts[host].info.id) {
            self.conclude(host, number, event);
        }
    }

    pub(super) fn give_up(&mut self, host: usize, number: u64) {
        self.conclude(host, number, failed("no answer in time"));
    }

    /// Tells the node, which may not wait for it any more.
    fn conclude(&mut self, host: usize, number: u64, event: RegistryEvent) {
        let it = &mut self.hosts[host];
        if it.is_running
            && let Some(event) = it.record.answered(number, event)
        {
            self.registry_says(host, event);
        }
    }

    /// A change has come to the node, which may have begun another watch meanwhile.
    pub(super) fn changed(&mut self, host: usize, number: u64, event: RegistryEvent) {
        if self.hosts[host].is_running && self.hosts[host].record.hears(number, &event) {
            self.registry_says(host, event);
        }
    }

    pub(super) fn silence(&mut self, host: usize, number: u64) {
        let is_cut = self.registry.cuts.contains_key(&self.hosts[host].info.id);
        if is_cut && self.registry.watchers.get(&host).is_some_and(|watcher| watcher.number == number) {
            self.registry.forget_watcher(host);
            self.changed(host, number, RegistryEvent::WatchLost(RegistryError::new("silence")));
        }
    }

    fn break_watch_of(&mut self, host: usize, why: &str) {
        self.in_registry(|registry, told| registry.break_watch(host, why, told));
    }

    fn hold(&mut self, host: usize) {
        if let Some(watcher) = self.registry.watchers.get_mut(&host) {
            watcher.held.get_or_insert_default();
        }
    }

    fn release(&mut self, host: usize) {
        self.in_registry(|registry, told| registry.release(host, told));
    }

    pub(super) fn in_registry<T>(&mut self, act: impl FnOnce(&mut Registry, &mut Told<'_>) -> T) -> T {
        let (now, lag) = (self.now(), self.registry.faults.lag.clone());
        let mut told = Told { now, rng: &mut self.rng, lag, changes: Vec::new() };
        let result = act(&mut self.registry, &mut told);
        for change in told.changes {
            self.plan(change.at, Planned::Change { host: change.host, number: change.number, event: change.event });
        }
        result
    }
}
