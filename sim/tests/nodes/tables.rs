use std::collections::BTreeSet;

use cereus_cluster::{CallError, ClusterEvent, NodeConfig, ServerInfo};
use cereus_sim::{
    nodes::{RegistryFaults, World},
    seeds,
};

use super::support::{MILLI, SECOND, changes, count, error, world};

#[test]
fn tables_that_differ_become_the_same_when_the_news_arrive() {
    let mut world = world(1);
    world.start("gate", "g2");
    world.converge();
    world.hold_watch("g1");
    world.leave("r1");
    world.start("room", "r2");
    world.advance(SECOND);
    assert_eq!((world.table("g1"), world.table("g2")), (vec!["g1", "g2", "r1"], vec!["g1", "g2", "r2"]));

    // Whoever calls by an old table learns that nobody is there.
    world.crash("r1");
    let call = world.call("g1", "r1", SECOND);
    world.advance(SECOND);
    assert_eq!(error(&world, call), Some(CallError::NoResponders));

    let lasted = world.converge();
    assert!(lasted < SECOND, "{lasted:?}");
    assert_eq!(changes(&world, "g1"), ["+r1", "+g2", "-r1", "+r2"]);
}

#[test]
fn what_was_missed_between_two_watches_is_found_out() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.start("room", "r2");
        world.converge();
        let before = count(&world, "g1", |event| *event == ClusterEvent::Synced);
        world.cut_registry("g1");
        world.leave("r1");
        world.start("room", "r3");
        let mut changed = ServerInfo::new("room", "f1");
        world.put_record(changed.clone());
        changed.frontend = true;
        world.put_record(changed);
        world.advance(3 * SECOND);
        assert_eq!(changes(&world, "g1"), ["+r1", "+r2"], "it hears nothing");
        world.converge();
        assert_eq!(changes(&world, "g1"), ["+r1", "+r2", "-r1", "+f1", "+r3"]);
        assert_eq!(count(&world, "g1", |event| *event == ClusterEvent::Synced), before + 1);
    });
}

#[test]
fn a_watch_that_breaks_is_begun_again_and_nobody_seems_to_go() {
    seeds(20, |seed| {
        let mut world = world(seed);
        for _ in 0..10 {
            world.break_watch("g1");
            world.advance(SECOND);
        }
        assert_eq!(changes(&world, "g1"), ["+r1"]);
        assert_eq!(world.disagreement(), None);
    });
}

#[test]
fn a_change_of_a_record_is_told_once() {
    let mut world = world(1);
    let mut info = ServerInfo::new("room", "f1");
    world.put_record(info.clone());
    world.put_record(info.clone());
    info.metadata.insert("region".to_owned(), "north".to_owned());
    world.put_record(info.clone());
    world.put_record(info.clone());
    world.converge();
    world.break_watch("g1");
    world.advance(SECOND);
    world.delete_record("f1");
    world.delete_record("f1");
    world.converge();
    assert_eq!(changes(&world, "g1"), ["+r1", "+f1", "~f1", "-f1"]);
}

#[test]
fn excluded_types_are_never_seen() {
    let mut config = NodeConfig::default();
    config.excluded_types = BTreeSet::from(["secret".to_owned()]);
    let mut world = World::new(1);
    world.set_config(config);
    world.start("gate", "g1");
    world.start("secret", "s1");
    // This one hides itself.
    world.put_record(ServerInfo::new("room", "f1"));
    world.advance(SECOND);
    world.put_record(ServerInfo::new("secret", "f1"));
    world.converge();
    world.break_watch("g1");
    world.advance(5 * SECOND);
    assert_eq!(changes(&world, "g1"), ["+f1", "-f1"]);
    assert_eq!((world.table("s1"), world.records()), (vec!["g1", "s1"], vec!["f1", "g1", "s1"]));
}

#[test]
fn the_own_record_is_there_and_is_never_told() {
    let mut world = World::new(1);
    world.start("room", "r1");
    assert_eq!(world.table("r1"), ["r1"]);
    world.converge();
    world.delete_record("r1");
    world.converge();
    world.revoke_lease("r1");
    world.converge();
    world.lose_registry_data();
    world.converge();
    assert_eq!((world.table("r1"), changes(&world, "r1")), (vec!["r1"], vec![]));
}

#[test]
fn many_servers_that_come_and_go_are_known_to_all() {
    seeds(5, |seed| {
        let mut world = World::new(seed);
        world.set_registry(RegistryFaults::default().lag(MILLI..=800 * MILLI).break_watch(40));
        let ids: Vec<_> = (0..12).map(|n| format!("s{n:02}")).collect();
        ids.iter().for_each(|id| world.start(if id < &ids[6] { "gate" } else { "room" }, id));
        world.advance(5 * SECOND);
        ids.iter().step_by(3).for_each(|id| world.crash(id));
        ids.iter().skip(1).step_by(3).for_each(|id| world.leave(id));
        world.advance(3 * SECOND);
        world.start("room", "s99");
        world.converge();
        assert_eq!(world.table("s99"), ["s02", "s05", "s08", "s11", "s99"]);
    });
}
