//! What one node does about its record and its watch; what its driver knows of that, and what a driver may rely on.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use cereus_cluster::{ClusterEvent, ClusterNode, LeaseId, RegistryCommand, RegistryEvent};
use cereus_core::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// So many commands in a second are many, whatever happens.
const MANY: usize = 50;

#[derive(Debug)]
pub(super) struct Record {
    retry: Duration,
    /// Whether it is to be in the registry.
    is_wanted: bool,
    /// It was asked to leave and has not told yet that it has.
    is_leaving: bool,
    /// The command that is not answered yet.
    running: Option<(u64, RegistryCommand)>,
    watch: Watch,
    /// Those that it was granted.
    leases: BTreeSet<LeaseId>,
    /// It has just heard that its record is in.
    may_register: bool,
    /// When it last gave commands.
    recent: VecDeque<Instant>,
    commands: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Watch {
    Off,
    Asked(u64),
    Running(u64),
}

impl Record {
    pub(super) const fn new(retry: Duration) -> Self {
        Self {
            retry,
            is_wanted: false,
            is_leaving: false,
            running: None,
            watch: Watch::Off,
            leases: BTreeSet::new(),
            may_register: false,
            recent: VecDeque::new(),
            commands: 0,
        }
    }

    pub(super) const fn join(&mut self) {
        self.is_wanted = true;
    }

    pub(super) const fn leave(&mut self) {
        self.is_wanted = false;
        self.is_leaving = true;
    }

    pub(super) const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    pub(super) const fn commands(&self) -> usize {
        self.commands
    }

    /// The node gives a command.
    pub(super) fn asked(&mut self, command: &RegistryCommand, number: u64, unreachable: Option<Instant>, now: Instant) {
        self.count(unreachable, now);
        if *command == RegistryCommand::Watch {
            assert_eq!(self.watch, Watch::Off, "a second watch");
            self.watch = Watch::Asked(number);
            return;
        }
        assert_eq!(self.running, None, "two commands for the own record at once, the second is {command:?}");
        match command {
            RegistryCommand::Grant { .. } => self.check_in(command),
            RegistryCommand::Put { lease, .. } | RegistryCommand::KeepAlive { lease } => {
                self.check_in(command);
                assert!(self.leases.contains(lease), "{lease:?} was not granted");
            }
            RegistryCommand::Revoke { lease } => {
                assert!(self.is_leaving, "a lease is given back that is needed");
                assert!(self.leases.contains(lease), "{lease:?} was not granted");
            }
            other => panic!("a command that nobody knows: {other:?}"),
        }
        self.running = Some((number, command.clone()));
    }

    fn check_in(&self, command: &RegistryCommand) {
        assert!(self.is_wanted && !self.is_leaving, "{command:?} of a node that is not to be in the registry");
    }

    fn count(&mut self, unreachable: Option<Instant>, now: Instant) {
        self.commands += 1;
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|at| *at + SECOND < now) {
            self.recent.pop_front();
        }
        // Either side, once per pause: the record and the watch.
        let tries = (SECOND.as_nanos() / self.retry.as_nanos()) as usize + 1;
        let is_away = unreachable.is_some_and(|since| since + 2 * SECOND < now);
        let many = if is_away { 2 * tries } else { MANY };
        assert!(self.recent.len() <= many, "{} commands in a second", self.recent.len());
    }

    /// What the node is to hear of an answer. `None`: it waits for it no more.
    pub(super) fn answered(&mut self, number: u64, event: RegistryEvent) -> Option<RegistryEvent> {
        if self.watch == Watch::Asked(number) {
            self.watch = Watch::Off;
            let RegistryEvent::Failed(error) = event else {
                panic!("a watch is answered with {event:?}");
            };
            return Some(RegistryEvent::WatchLost(error));
        }
        self.running.take_if(|(running, _)| *running == number)?;
        match &event {
            RegistryEvent::Granted(lease) => drop(self.leases.insert(*lease)),
            RegistryEvent::Registered => self.may_register = true,
            _ => {}
        }
        Some(event)
    }

    /// Whether the node waits for this watch to begin.
    pub(super) fn is_asked(&self, number: u64) -> bool {
        self.watch == Watch::Asked(number)
    }

    /// Whether the node hears what this watch tells.
    pub(super) fn hears(&mut self, number: u64, event: &RegistryEvent) -> bool {
        let is_current = [Watch::Asked(number), Watch::Running(number)].contains(&self.watch);
        if is_current {
            let is_over = matches!(event, RegistryEvent::WatchLost(_));
            self.watch = if is_over { Watch::Off } else { Watch::Running(number) };
        }
        is_current
    }

    /// The node tells something.
    pub(super) fn told(&mut self, event: &ClusterEvent) {
        match event {
            ClusterEvent::Registered => {
                assert!(std::mem::replace(&mut self.may_register, false), "registered without having put anything in");
                assert!(self.is_wanted && !self.is_leaving, "registered after having left");
            }
            ClusterEvent::Left => {
                assert!(std::mem::replace(&mut self.is_leaving, false), "left without having been asked to");
                assert_eq!(self.running, None, "left, and a command still runs");
            }
            _ => {}
        }
    }

    /// What holds whenever the node was drained.
    pub(super) fn check(&mut self, node: &ClusterNode) {
        self.may_register = false;
        let waits = node.poll_timeout().is_some();
        assert!(!self.is_leaving || self.running.is_some(), "nothing is done about leaving");
        assert!(!self.is_wanted || self.running.is_some() || waits, "nothing is done about the own record");
        assert!(self.watch != Watch::Off || waits, "nothing is done about the watch");
        assert!(!node.is_registered() || (self.is_wanted && !self.is_leaving), "registered, and it should not be");
    }
}
