use std::time::Duration;

use cereus_cluster::{CallError, Change, ClusterEvent, NodeConfig};
use cereus_sim::nodes::{CallNumber, World};

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A gate and a room that know each other.
pub(crate) fn world(seed: u64) -> World {
    with(seed, |_| {})
}

/// The same, with other settings.
pub(crate) fn with(seed: u64, set: impl FnOnce(&mut NodeConfig)) -> World {
    let mut config = NodeConfig::default();
    config.ttl = 10 * SECOND;
    set(&mut config);
    let mut world = World::new(seed);
    world.set_config(config);
    world.start("gate", "g1");
    world.start("room", "r1");
    world.converge();
    world
}

/// Leases run out and commands are given up soon: more happens in less time.
pub(crate) fn quick(world: &mut World) {
    let mut config = NodeConfig::default();
    config.ttl = 2 * SECOND;
    config.registry_retry = 200 * MILLI;
    config.max_queued_bytes = 4000;
    world.set_config(config);
    world.set_registry_timeout(500 * MILLI);
}

/// Why a call failed.
pub(crate) fn error(world: &World, call: CallNumber) -> Option<CallError> {
    world.outcome(call)?.clone().err()
}

pub(crate) fn is_answered(world: &World, call: CallNumber) -> bool {
    world.outcome(call).is_some_and(|result| result.as_ref().is_ok_and(|response| response.error.is_none()))
}

/// How often a node told this.
pub(crate) fn count(world: &World, id: &str, is_it: impl Fn(&ClusterEvent) -> bool) -> usize {
    world.events(id).iter().filter(|(_, event)| is_it(event)).count()
}

/// The servers that came, changed and went, as a node told it: `+r1`, `~r1`, `-r1`.
pub(crate) fn changes(world: &World, id: &str) -> Vec<String> {
    let changes = world.events(id).iter().filter_map(|(_, event)| match event {
        ClusterEvent::Server(Change::Added(info)) => Some(format!("+{}", info.id)),
        ClusterEvent::Server(Change::Updated(info)) => Some(format!("~{}", info.id)),
        ClusterEvent::Server(Change::Removed(info)) => Some(format!("-{}", info.id)),
        _ => None,
    });
    changes.collect()
}
