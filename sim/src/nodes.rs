//! Nodes of a cluster in virtual time, without apps and without a runtime: their bus and registry fail as they are
//! told.
//!
//! A [`World`] drives [`ClusterNode`]s as their contract says: every input is followed by draining, deadlines are met
//! to the nanosecond, a registry command that is not answered in time is told as failed. It carries their messages and
//! keeps their records, with the faults that a test asks for, and after every step compares each node with a model of
//! it:
//!
//! - a call has exactly one end, at its deadline at the latest, and none after it was cancelled; an answer is the one
//!   to this very call; what nobody waits for is counted and reaches nobody;
//! - nothing is sent while the link is down, nor right after the bus was full, nor for a call that has ended; what is
//!   sent keeps its order and is not longer than the bus carries; what waits is bounded;
//! - the table is what the registry told; servers come, change and go in turn, and the own one does none of it;
//! - of the commands for the own record one runs at a time, with a lease that was granted, none before joining and
//!   after having left, and not many in a second, fewer still while the registry is away.
//!
//! When the faults have stopped, [`World::converge`] wants every table to become what the registry holds, and every
//! node that joined to be in it, within [`World::patience`].
//!
//! ```
//! use cereus_cluster::CallError;
//! use cereus_sim::nodes::{BusFaults, World};
//! use std::time::Duration;
//!
//! let mut world = World::new(7);
//! world.start("gate", "g1");
//! world.start("room", "r1");
//! world.converge();
//! assert_eq!(world.table("g1"), ["g1", "r1"]);
//!
//! let second = Duration::from_secs(1);
//! let answered = world.call("g1", "r1", second);
//! world.advance(second);
//! world.set_bus(BusFaults::default().lose(1));
//! let lost = world.call("g1", "r1", second);
//! world.advance(second);
//! assert!(world.outcome(answered).unwrap().is_ok());
//! assert_eq!(world.outcome(lost), Some(&Err(CallError::Timeout)));
//! ```
//!
//! With `CEREUS_TRACE` in the environment a world tells all that happens in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
    sync::Arc,
    time::Duration,
};

use cereus_cluster::{
    BusEvent, CallError, ClusterNode, NodeConfig, RegistryEvent, ReplyTo, ServerInfo, protos::Response,
};
use cereus_core::Instant;

use crate::{Clock, Rng};

mod bus;
mod calls;
mod chaos;
mod drive;
pub(crate) mod faults;
mod host;
mod record;
mod registry;
mod registry_faults;
mod run;
mod table;

pub use calls::CallNumber;
pub use faults::{BusFaults, Callees, RegistryFaults};

use bus::{Bus, Parcel};
use calls::Call;
use host::Host;
use registry::{Ask, Registry};

/// Nodes, the bus and the registry between them, and what is asked of them all.
///
/// Nodes go by their ids; a node that was started again under the id of one that crashed is another one. Methods that
/// take an id panic when no node with this id runs. See the [module](self).
pub struct World {
    clock: Clock,
    seed: u64,
    rng: Rng,
    /// All that were ever started.
    hosts: Vec<Host>,
    /// Those that run.
    running: BTreeMap<String, usize>,
    bus: Bus,
    registry: Registry,
    callees: Callees,
    config: NodeConfig,
    registry_timeout: Duration,
    /// By time, then in the order in which they were planned.
    planned: BTreeMap<(Instant, u64), Planned>,
    last_plan: u64,
    calls: Vec<Call>,
    trace: bool,
}

/// What will happen, unless it has no object any more.
#[derive(Debug)]
enum Planned {
    /// The bus has carried it.
    Parcel(Parcel),
    /// The bus tells its host something.
    Told { host: usize, event: BusEvent },
    /// A callee has made up its mind.
    Reply { host: usize, to: ReplyTo, response: Response },
    /// The registry is asked.
    Ask(Ask),
    /// The registry has answered.
    Answer { host: usize, number: u64, event: RegistryEvent },
    /// No answer came.
    GiveUp { host: usize, number: u64 },
    /// The registry tells a watcher something.
    Change { host: usize, number: u64, event: RegistryEvent },
    /// A watch that is cut off is noticed to be.
    Silence { host: usize, number: u64 },
}

/// Making one.
impl World {
    /// A world without nodes, bus and registry up, and without faults. What is left to chance, `seed` decides.
    pub fn new(seed: u64) -> Self {
        let mut config = NodeConfig::default();
        config.ttl = Duration::from_secs(10);
        Self {
            clock: Clock::default(),
            seed,
            rng: Rng::new(seed),
            hosts: Vec::new(),
            running: BTreeMap::new(),
            bus: Bus::default(),
            registry: Registry::default(),
            callees: Callees::default(),
            config,
            registry_timeout: Duration::from_secs(2),
            planned: BTreeMap::new(),
            last_plan: 0,
            calls: Vec::new(),
            trace: env::var_os("CEREUS_TRACE").is_some(),
        }
    }

    /// The settings of nodes that are started from now on. Default: those of [`NodeConfig`] with a time to live of 10
    /// s.
    pub fn set_config(&mut self, config: NodeConfig) {
        self.config = config;
    }

    /// How long a registry command may take before the node is told that it failed. Default: 2 s.
    pub fn set_registry_timeout(&mut self, timeout: Duration) {
        self.registry_timeout = timeout;
    }

    /// How the nodes that are called behave. Default: they answer at once.
    pub fn set_callees(&mut self, callees: Callees) {
        self.callees = callees;
    }
}

/// Nodes.
impl World {
    /// Starts a node: its link comes up, it watches and joins.
    pub fn start(&mut self, server_type: &str, id: &str) {
        self.start_with(ServerInfo::new(server_type, id), true);
    }

    /// Starts a node with this record, that joins or only looks.
    ///
    /// # Panics
    ///
    /// When a node with this id runs.
    pub fn start_with(&mut self, info: ServerInfo, join: bool) {
        let info = Arc::new(info);
        let host = self.hosts.len();
        let before = self.running.insert(info.id.clone(), host);
        assert!(before.is_none(), "{} runs already", info.id);
        self.note(|| format!("{} starts as number {host}", info.id));
        self.hosts.push(Host::new(info, &self.config));
        self.command(host, ClusterNode::watch);
        self.link_up(host);
        if join {
            self.hosts[host].record.join();
            self.command(host, ClusterNode::join);
        }
    }

    /// Ends a node without any farewell.
    pub fn crash(&mut self, id: &str) {
        let host = self.host(id);
        self.note(|| format!("{id} crashes"));
        self.running.remove(id);
        self.hosts[host].crash();
        self.registry.forget_watcher(host);
    }

    /// Puts a node that has left, or never joined, into the registry.
    pub fn join(&mut self, id: &str) {
        let host = self.host(id);
        self.hosts[host].record.join();
        self.command(host, ClusterNode::join);
    }

    /// Has a node leave the registry. It goes on running.
    pub fn leave(&mut self, id: &str) {
        let host = self.host(id);
        self.note(|| format!("{id} is to leave"));
        self.hosts[host].record.leave();
        self.command(host, ClusterNode::leave);
    }

    fn command(&mut self, host: usize, command: impl FnOnce(&mut ClusterNode)) {
        command(&mut self.hosts[host].node);
        self.drain(host);
    }
}

/// Calls.
impl World {
    /// Has a node call another one, known to it or not, and wait so long for the answer.
    ///
    /// # Panics
    ///
    /// When the node refuses the call.
    pub fn call(&mut self, from: &str, to: &str, within: Duration) -> CallNumber {
        self.try_call(from, to, within, 0).expect("the node takes the call")
    }

    /// As [`call`](Self::call), with an envelope that is longer by so many bytes.
    ///
    /// # Errors
    ///
    /// What the node says.
    pub fn try_call(&mut self, from: &str, to: &str, within: Duration, more: usize) -> Result<CallNumber, CallError> {
        let (host, now) = (self.host(from), self.now());
        let deadline = now + within;
        let target = self.target(host, to);
        let number = CallNumber(self.calls.len());
        let envelope = calls::envelope(number, more);
        let call = self.hosts[host].node.call(&target, envelope.clone(), deadline)?;
        self.note(|| format!("{from} calls {to}: {number:?} as {call}"));
        self.hosts[host].calls.begun(call, number, deadline, envelope);
        self.calls.push(Call { host, id: call, to: to.to_owned(), end: None });
        self.drain(host);
        Ok(number)
    }

    /// Has the caller wait no more.
    pub fn cancel(&mut self, number: CallNumber) {
        let Call { host, id, .. } = self.calls[number.0];
        if self.hosts[host].is_running {
            self.note(|| format!("{number:?} is cancelled"));
            self.hosts[host].calls.cancelled(id);
            self.command(host, |node| node.cancel(id));
        }
    }

    /// How a call ended, if it did.
    pub fn outcome(&self, number: CallNumber) -> Option<&Result<Response, CallError>> {
        self.calls[number.0].end.as_ref().map(|(_, result)| result)
    }

    /// When a call ended, if it did.
    pub fn ended_at(&self, number: CallNumber) -> Option<Instant> {
        self.calls[number.0].end.as_ref().map(|(at, _)| *at)
    }

    /// As the caller knows it, or else made up.
    fn target(&self, host: usize, to: &str) -> Arc<ServerInfo> {
        let known = self.hosts[host].node.servers().by_id(to).cloned();
        known.unwrap_or_else(|| Arc::new(ServerInfo::new("unknown", to)))
    }
}

/// Facts.
impl World {
    /// What time it is.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A node.
    pub fn node(&self, id: &str) -> &ClusterNode {
        &self.hosts[self.host(id)].node
    }

    /// What a node told, and when.
    pub fn events(&self, id: &str) -> &[crate::Timed<cereus_cluster::ClusterEvent>] {
        &self.hosts[self.host(id)].events
    }

    /// Whom a node knows, itself included, in the order of their ids.
    pub fn table(&self, id: &str) -> Vec<&str> {
        self.node(id).servers().iter().map(|info| info.id.as_str()).collect()
    }

    /// Who runs, in the order of their ids.
    pub fn ids(&self) -> Vec<String> {
        self.running.keys().cloned().collect()
    }

    /// How many requests and other messages have reached their servers.
    pub const fn delivered(&self) -> usize {
        self.bus.delivered
    }

    /// How many commands a node has given to the registry, watches included.
    pub fn commands(&self, id: &str) -> usize {
        self.hosts[self.host(id)].record.commands()
    }

    /// How often a node has offered a message to the bus.
    pub fn offers(&self, id: &str) -> usize {
        self.hosts[self.host(id)].calls.offers()
    }

    fn host(&self, id: &str) -> usize {
        *self.running.get(id).unwrap_or_else(|| panic!("{id} does not run"))
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>15?} {}", self.now() - Instant::EPOCH, text());
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: BTreeSet<_> = self.running.keys().collect();
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now())
            .field("nodes", &nodes)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}
