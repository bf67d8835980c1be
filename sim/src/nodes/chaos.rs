//! A world in which all kinds of things happen.

use std::time::Duration;

use cereus_cluster::ServerInfo;

use super::World;
use crate::nodes::{BusFaults, Callees, RegistryFaults};

const MILLI: Duration = Duration::from_millis(1);

/// Who may be there.
const NODES: [(&str, &str); 6] =
    [("gate", "g1"), ("gate", "g2"), ("room", "r1"), ("room", "r2"), ("room", "r3"), ("chat", "c1")];

/// Who is there without being a node.
const FOREIGN: &str = "f1";

/// Chance.
impl World {
    /// Lets this much time pass with calls and faults of all kinds, as the seed decides. Nodes come and go.
    pub fn chaos(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end {
            self.advance_by_chance();
            for _ in 0..self.rng.below(4) {
                self.call_by_chance();
            }
            if self.rng.one_in(3) {
                self.fault_by_chance();
            }
        }
    }

    fn advance_by_chance(&mut self) {
        let gap = self.rng.duration(MILLI..=250 * MILLI);
        self.advance(gap);
    }

    fn call_by_chance(&mut self) {
        let Some(from) = self.someone() else {
            return;
        };
        if self.rng.one_in(8) {
            let Self { rng, hosts, running, .. } = self;
            let waiting = hosts[running[&from]].calls.some_waiting(|count| rng.below(count));
            return waiting.into_iter().for_each(|number| self.cancel(number));
        }
        let (_, to) = NODES[self.rng.below(NODES.len())];
        let within = self.rng.duration(Duration::ZERO..=1500 * MILLI);
        let more = [0, 0, 30, 300][self.rng.below(4)];
        // It may be refused; that it ends as it should, the model looks after.
        let _ = self.try_call(&from, to, within, more);
    }

    fn someone(&mut self) -> Option<String> {
        let count = self.running.len();
        (count > 0).then(|| self.running.keys().nth(self.rng.below(count)).cloned())?
    }

    fn fault_by_chance(&mut self) {
        let (server_type, id) = NODES[self.rng.below(NODES.len())];
        if !self.running.contains_key(id) {
            return self.start(server_type, id);
        }
        match self.rng.below(12) {
            0 => self.nodes_by_chance(id),
            1..=3 => self.bus_by_chance(id),
            4..=8 => self.registry_by_chance(id),
            9 => self.records_by_chance(id),
            _ => self.heal(),
        }
    }

    fn nodes_by_chance(&mut self, id: &str) {
        match self.rng.below(4) {
            0 => self.leave(id),
            1 => self.join(id),
            _ => self.crash(id),
        }
    }

    fn bus_by_chance(&mut self, id: &str) {
        match self.rng.below(7) {
            0 => self.link_down(id),
            1 => self.link_back(id),
            2 => self.set_full(id, true),
            3 => {
                let (some, others): (Vec<_>, Vec<_>) =
                    NODES.iter().map(|(_, id)| *id).partition(|_| self.rng.one_in(2));
                self.cut(&some, &others);
            }
            4 => self.max_payload_by_chance(),
            5 => {
                let callees = Callees::random(&mut self.rng);
                self.set_callees(callees);
            }
            _ => {
                let faults = BusFaults::random(&mut self.rng);
                self.set_bus(faults);
            }
        }
    }

    fn max_payload_by_chance(&mut self) {
        let max = [100, 1 << 20][self.rng.below(2)];
        self.set_max_payload(max);
    }

    fn registry_by_chance(&mut self, id: &str) {
        match self.rng.below(8) {
            0 => self.stop_registry(),
            1 => self.start_registry(),
            2 => self.lose_registry_data(),
            3 => self.cut_registry(id),
            4 => self.hold_watch(id),
            5 => self.break_watch(id),
            _ => {
                let faults = RegistryFaults::random(&mut self.rng);
                self.set_registry(faults);
            }
        }
    }

    fn records_by_chance(&mut self, id: &str) {
        match self.rng.below(4) {
            0 => self.revoke_lease(id),
            1 => self.delete_record(id),
            2 => self.delete_record(FOREIGN),
            _ => {
                let mut info = ServerInfo::new("room", FOREIGN);
                info.metadata.insert("version".to_owned(), self.rng.below(3).to_string());
                self.put_record(info);
            }
        }
    }
}
