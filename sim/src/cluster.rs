//! The bus and the registry of a simulated cluster.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use cereus_app::Cluster;

use crate::{
    Rng, SimRuntime,
    nodes::{BusFaults, RegistryFaults},
};

mod bus;
mod registry;

pub use bus::SimBus;
pub use registry::SimRegistry;

use bus::Stations;
use registry::Records;

/// A bus and a registry in virtual time, for servers on a [`SimRuntime`]: the envelopes of NATS, the leases and watches of
/// etcd, and what goes wrong with them. Clones are the same one.
///
/// Without faults everything arrives after 1 to 5 ms, in the order in which one server sent it to another.
///
/// ```
/// use cereus_app::App;
/// use cereus_sim::{SimCluster, SimRuntime};
///
/// let runtime = SimRuntime::new();
/// let cluster = SimCluster::new(&runtime, 7);
/// let [gate, room] = [("gate", "g1"), ("room", "r1")].map(|(server_type, id)| {
///     App::new(()).server_type(server_type).cluster(cluster.of(id)).build().expect("the app is right")
/// });
/// runtime.serve(gate.clone(), []);
/// runtime.serve(room, []);
/// runtime.run_until(|| gate.rpc().servers().by_id("r1").is_some());
/// ```
#[derive(Clone)]
pub struct SimCluster {
    runtime: SimRuntime,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Rng,
    bus: Stations,
    registry: Records,
}

/// Making one.
impl SimCluster {
    /// A cluster without servers. What its faults leave to chance, `seed` decides.
    pub fn new(runtime: &SimRuntime, seed: u64) -> Self {
        let state = State { rng: Rng::new(seed), bus: Stations::default(), registry: Records::default() };
        Self { runtime: runtime.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// What the server with this id is given as its cluster.
    pub fn of(&self, id: &str) -> Cluster {
        Cluster::new(self.bus(), self.registry(id)).server_id(id)
    }

    /// The bus, for one server.
    pub fn bus(&self) -> SimBus {
        SimBus::new(self.clone())
    }

    /// The registry, for the server with this id.
    pub fn registry(&self, id: &str) -> SimRegistry {
        SimRegistry::new(self.clone(), id.to_owned())
    }
}

/// Faults.
impl SimCluster {
    /// How the bus treats envelopes from now on.
    pub fn set_bus(&self, faults: BusFaults) {
        self.lock().bus.faults = faults;
    }

    /// How the registry treats what it is asked from now on.
    pub fn set_registry(&self, faults: RegistryFaults) {
        self.lock().registry.faults = faults;
    }

    /// Envelopes between these two groups of servers are lost from now on.
    pub fn cut(&self, some: &[&str], others: &[&str]) {
        let pairs = some.iter().flat_map(|one| others.iter().map(move |other| [*one, *other]));
        let both = pairs.flat_map(|[one, other]| [(one, other), (other, one)]);
        self.lock().bus.cuts.extend(both.map(|(from, to)| (from.to_owned(), to.to_owned())));
    }

    /// All reach all again.
    pub fn mend(&self) {
        self.lock().bus.cuts.clear();
    }

    /// A server loses its connection to the bus and notices. What is on its way to it is lost.
    pub fn link_down(&self, id: &str) {
        self.set_link(id, false);
    }

    /// A server has its connection to the bus again.
    pub fn link_up(&self, id: &str) {
        self.set_link(id, true);
    }

    /// The lease of a server's record ends, and the record with it.
    pub fn lose_lease(&self, id: &str) {
        let now = self.runtime.now();
        self.lock().lose_lease(id, now);
    }

    /// What watchers have not been told yet is gone: all watches end, and begin anew with all that there is.
    pub fn compact(&self) {
        let now = self.runtime.now();
        self.lock().registry.compact(now);
    }

    /// The registry does not reach this server, nor the server the registry. Its watch is silent and ends after 2 s.
    pub fn cut_registry(&self, id: &str) {
        let now = self.runtime.now();
        self.lock().registry.cut(id, now);
    }

    /// The registry goes away, with all leases as they are.
    pub fn stop_registry(&self) {
        let now = self.runtime.now();
        self.lock().registry.stop(now);
    }

    /// The registry is there again, and to be reached by all. Every lease begins its time anew.
    pub fn start_registry(&self) {
        let now = self.runtime.now();
        self.lock().registry.start(now);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.set_bus(BusFaults::default());
        self.set_registry(RegistryFaults::default());
        self.mend();
        self.start_registry();
        let down: Vec<_> = self.lock().bus.down().map(str::to_owned).collect();
        down.iter().for_each(|id| self.link_up(id));
    }
}

/// Facts.
impl SimCluster {
    /// Whose records are in the registry.
    pub fn records(&self) -> BTreeSet<String> {
        self.lock().registry.ids()
    }

    /// How many envelopes are on their way to a server, or wait there.
    pub fn waiting(&self, id: &str) -> usize {
        self.lock().bus.waiting(id)
    }
}

impl SimCluster {
    fn set_link(&self, id: &str, up: bool) {
        let now = self.runtime.now();
        let waker = self.lock().bus.set_link(id, up, now);
        waker.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCluster").field("records", &self.records()).finish_non_exhaustive()
    }
}
