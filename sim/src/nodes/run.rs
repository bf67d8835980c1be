//! Time, and what there is when the faults have stopped.

use std::time::Duration;

use cereus_core::Instant;

use super::{Planned, World};
use crate::{
    link,
    nodes::{BusFaults, Callees, RegistryFaults},
};

/// More steps than any test needs: something goes round in circles.
const MAX_STEPS: usize = 5_000_000;

/// Running time.
impl World {
    /// Does the next thing that is due, or if there is none, lets time pass until there is.
    ///
    /// False: nothing will ever happen again.
    ///
    /// # Panics
    ///
    /// As all that lets time pass: when a node does not do what the [module](super) says that it does.
    pub fn step(&mut self) -> bool {
        if self.act() {
            return true;
        }
        let Some(wake) = self.next_wake() else {
            return false;
        };
        self.clock.advance_to(wake);
        true
    }

    /// Runs until `done`. Returns when that was.
    ///
    /// # Panics
    ///
    /// When it never comes.
    pub fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) -> Instant {
        for _ in 0..MAX_STEPS {
            if done(self) {
                return self.now();
            }
            assert!(self.step(), "what the test waits for never comes: {self:?}");
        }
        panic!("what the test waits for does not come: {self:?}");
    }

    /// Lets exactly this much time pass, and does everything that is due in it.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now() + duration;
        for _ in 0..MAX_STEPS {
            if self.act() {
                continue;
            }
            match self.next_wake() {
                Some(wake) if wake <= end => self.clock.advance_to(wake),
                _ => return self.clock.advance_to(end),
            }
        }
        panic!("time stands still: {self:?}");
    }

    /// Stops all faults, and runs until all nodes know each other. Returns how long that took.
    ///
    /// # Panics
    ///
    /// When it takes longer than [`patience`](Self::patience).
    pub fn converge(&mut self) -> Duration {
        self.heal();
        let start = self.now();
        while let Some(why) = self.disagreement() {
            assert!(self.now() - start <= self.patience(), "{why} after all this time: {self:?}");
            assert!(self.step(), "{why} for ever: {self:?}");
        }
        self.now() - start
    }

    /// How long it may take after the last fault until all nodes know each other: the leases of those that crashed run
    /// out, those that were lost are missed, and a command or two fails in between.
    pub fn patience(&self) -> Duration {
        let ttl = self.config.ttl;
        ttl + ttl / 3 + 3 * (self.registry_timeout + self.config.registry_retry) + Duration::from_secs(1)
    }

    /// Stops all faults.
    pub fn heal(&mut self) {
        self.note(|| "all faults stop".to_owned());
        self.bus_faults_stop();
        self.set_registry(RegistryFaults::default());
        self.start_registry();
        for id in self.ids() {
            self.link_back(&id);
            self.set_full(&id, false);
        }
        let cut: Vec<_> = self.registry.cuts.keys().cloned().collect();
        cut.iter().for_each(|id| self.mend_registry(id));
        self.ids().iter().for_each(|id| self.release_watch(id));
    }

    fn bus_faults_stop(&mut self) {
        self.set_bus(BusFaults::default());
        self.set_callees(Callees::default());
        self.mend();
    }

    /// Who knows something else than what is: `None` when all nodes that run know all that are to be known, and no
    /// others.
    pub fn disagreement(&self) -> Option<String> {
        for (id, host) in &self.running {
            let it = &self.hosts[*host];
            let record = self.registry.records.get(id).map(|(_, info)| info);
            if it.record.is_wanted() != it.node.is_registered() {
                return Some(format!("{id} takes itself for registered, or not, and is wrong"));
            }
            if it.record.is_wanted() && record != Some(&*it.info) {
                return Some(format!("{id} is not in the registry"));
            }
            let others = it.node.servers().iter().filter(|info| info.id != *id);
            let records = self
                .registry
                .records
                .values()
                .map(|(_, info)| info)
                .filter(|info| info.id != *id && !self.config.excluded_types.contains(&info.server_type));
            if !others.map(|info| &**info).eq(records) {
                return Some(format!("{id} knows {:?}", self.table(id)));
            }
        }
        let is_there = |id: &String| self.running.get(id).is_some_and(|host| self.hosts[*host].record.is_wanted());
        let foreign = |id: &String| self.lease_of(id) == Some(super::registry::FOREIGN);
        let gone = self.registry.records.keys().find(|id| !is_there(id) && !foreign(id));
        gone.map(|id| format!("{id} is in the registry"))
    }
}

impl World {
    pub(super) fn plan(&mut self, at: Instant, what: Planned) {
        self.last_plan += 1;
        self.planned.insert((at, self.last_plan), what);
    }

    /// Does the next thing that is due. Returns whether there was one.
    fn act(&mut self) -> bool {
        let now = self.now();
        if self.registry.next_expiry().is_some_and(|at| at <= now) {
            self.in_registry(|registry, told| registry.expire(now, told));
            return true;
        }
        if self.planned.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let (_, planned) = self.planned.pop_first().expect("it was just there");
            self.perform(planned);
            return true;
        }
        let late = |host: &&usize| self.hosts[**host].node.poll_timeout().is_some_and(|at| at <= now);
        match self.running.values().find(late).copied() {
            Some(host) => self.time_is_up(host),
            None => return false,
        }
        true
    }

    fn perform(&mut self, planned: Planned) {
        match planned {
            Planned::Parcel(parcel) => self.arrive(parcel),
            Planned::Told { host, event } if self.hosts[host].link => self.bus_says(host, event),
            Planned::Told { .. } => {}
            Planned::Reply { host, to, response } => self.late_reply(host, to, &response),
            Planned::Ask(ask) => self.asked(ask),
            Planned::Answer { host, number, event } => self.answered(host, number, event),
            Planned::GiveUp { host, number } => self.give_up(host, number),
            Planned::Change { host, number, event } => self.changed(host, number, event),
            Planned::Silence { host, number } => self.silence(host, number),
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let planned = self.planned.first_key_value().map(|((at, _), _)| *at);
        let nodes = self.running.values().filter_map(|host| self.hosts[*host].node.poll_timeout()).min();
        link::earliest(link::earliest(planned, nodes), self.registry.next_expiry())
    }
}
