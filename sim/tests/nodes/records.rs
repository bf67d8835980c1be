use cereus_cluster::{ClusterEvent, ServerInfo};
use cereus_sim::{
    nodes::{RegistryFaults, World},
    seeds,
};

use super::support::{MILLI, SECOND, changes, count, world};

fn times_registered(world: &World, id: &str) -> usize {
    count(world, id, |event| *event == ClusterEvent::Registered)
}

fn times_left(world: &World, id: &str) -> usize {
    count(world, id, |event| *event == ClusterEvent::Left)
}

fn record(version: &str) -> ServerInfo {
    let mut info = ServerInfo::new("room", "r1");
    info.metadata.insert("version".to_owned(), version.to_owned());
    info
}

#[test]
fn a_lease_is_kept_alive_three_times_in_its_life() {
    let mut world = world(1);
    let before = world.commands("r1");
    world.advance(3600 * SECOND);
    let kept = world.commands("r1") - before;
    assert!((1070..=1080).contains(&kept), "{kept} times");
    assert_eq!((changes(&world, "g1"), times_registered(&world, "r1")), (vec!["+r1".to_owned()], 1));
}

#[test]
fn a_lease_that_ends_behind_a_nodes_back_comes_back_by_itself() {
    seeds(20, |seed| {
        let mut world = world(seed);
        let before = world.lease_of("r1");
        world.revoke_lease("r1");
        let lasted = world.converge();
        assert!(lasted < SECOND, "{lasted:?}");
        assert_ne!(world.lease_of("r1"), before);
        assert_eq!(changes(&world, "g1"), ["+r1", "-r1", "+r1"]);
        assert_eq!(times_registered(&world, "r1"), 2);
    });
}

#[test]
fn a_lease_that_ran_out_comes_back_when_the_registry_is_reached_again() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.cut_registry("r1");
        world.run_until(|world| world.table("g1") == ["g1"]);
        world.advance(20 * SECOND);
        world.mend_registry("r1");
        let lasted = world.converge();
        assert!(lasted < 4 * SECOND, "{lasted:?}");
        assert_eq!(changes(&world, "g1"), ["+r1", "-r1", "+r1"]);
    });
}

#[test]
fn a_record_that_somebody_deletes_comes_back_under_the_same_lease() {
    let mut world = world(1);
    let lease = world.lease_of("r1");
    world.delete_record("r1");
    let lasted = world.converge();
    assert!(lasted < SECOND, "{lasted:?}");
    assert_eq!(world.lease_of("r1"), lease);
    world.advance(60 * SECOND);
    assert_eq!(changes(&world, "g1"), ["+r1", "-r1", "+r1"]);
}

#[test]
fn a_record_that_is_deleted_while_commands_fail_comes_back() {
    seeds(40, |seed| {
        let mut world = world(seed);
        world.set_registry(RegistryFaults::default().fail(1));
        // The lease is about to be kept alive, or was just not.
        world.advance(MILLI * (3200 + 10 * seed as u32));
        world.delete_record("r1");
        world.advance(SECOND);
        world.converge();
    });
}

#[test]
fn a_record_that_is_deleted_right_after_it_was_put_in_comes_back() {
    seeds(40, |seed| {
        let mut world = World::new(seed);
        world.set_registry(RegistryFaults::default().delay(MILLI..=9 * MILLI).lag(MILLI..=9 * MILLI));
        world.start("room", "r1");
        world.run_until(|world| !world.records().is_empty());
        world.delete_record("r1");
        world.converge();
    });
}

#[test]
fn a_registry_that_lost_its_data_is_filled_again() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.start("room", "r2");
        world.converge();
        world.lose_registry_data();
        assert!(world.records().is_empty());
        let lasted = world.converge();
        assert!(lasted < 5 * SECOND, "{lasted:?}");
    });
}

#[test]
fn a_registry_that_restarts_with_its_data_sends_nobody_away() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.stop_registry();
        world.advance(30 * SECOND);
        assert_eq!(world.table("g1"), ["g1", "r1"]);
        world.converge();
        world.advance(30 * SECOND);
        assert_eq!((changes(&world, "g1"), changes(&world, "r1")), (vec!["+r1".to_owned()], vec!["+g1".to_owned()]));
    });
}

#[test]
fn a_registry_that_is_away_is_asked_seldom() {
    let mut world = world(1);
    world.stop_registry();
    let before = world.commands("r1");
    world.advance(60 * SECOND);
    // The record and the watch, each 0.5 s after it failed, which takes 2 s if nobody says so.
    let asked = world.commands("r1") - before;
    assert!((48..=240).contains(&asked), "{asked} times in a minute");
}

#[test]
fn a_node_that_starts_before_the_registry_is_there_joins_later() {
    let mut world = World::new(1);
    world.stop_registry();
    world.start("room", "r1");
    world.start("gate", "g1");
    world.advance(30 * SECOND);
    assert_eq!((world.node("r1").is_registered(), times_registered(&world, "r1")), (false, 0));
    world.converge();
    assert_eq!(times_registered(&world, "r1"), 1);
}

#[test]
fn a_node_that_leaves_is_seen_by_all_to_go() {
    let mut world = world(1);
    world.start("gate", "g2");
    world.converge();
    let start = world.now();
    world.leave("r1");
    world.run_until(|world| times_left(world, "r1") == 1);
    assert_eq!(world.records(), ["g1", "g2"]);
    world.run_until(|world| ["g1", "g2"].iter().all(|id| world.table(id) == ["g1", "g2"]));
    assert!(world.now() - start < SECOND);
    let commands = world.commands("r1");
    world.advance(60 * SECOND);
    assert_eq!((world.commands("r1"), times_left(&world, "r1")), (commands, 1));
    assert_eq!(world.disagreement(), None);
}

#[test]
fn leaving_at_any_moment_leaves_nothing_behind() {
    seeds(60, |seed| {
        let mut world = World::new(seed);
        world.start("gate", "g1");
        world.start("room", "r1");
        // While it is granted a lease, while its record is put in, and when it is there.
        world.advance(MILLI / 2 * seed as u32);
        world.leave("r1");
        world.leave("r1");
        world.run_until(|world| times_left(world, "r1") > 0);
        assert!(!world.records().contains(&"r1"), "{:?}", world.records());
        world.advance(60 * SECOND);
        assert_eq!((times_left(&world, "r1"), world.disagreement()), (1, None));
    });
}

#[test]
fn leaving_while_the_lease_is_kept_alive_comes_after_it() {
    let mut world = world(1);
    let before = world.commands("r1");
    world.run_until(|world| world.commands("r1") > before);
    world.leave("r1");
    assert_eq!(world.commands("r1"), before + 1, "it waits for the answer");
    world.run_until(|world| times_left(world, "r1") == 1);
    assert_eq!(world.records(), ["g1"]);
}

#[test]
fn leaving_has_an_end_when_the_registry_is_away() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.stop_registry();
        world.advance(MILLI * 300 * seed as u32);
        let start = world.now();
        world.leave("r1");
        world.run_until(|world| times_left(world, "r1") == 1);
        assert!(world.now() - start <= 4 * SECOND);
        world.start_registry();
        world.run_until(|world| world.records() == ["g1"]);
        world.converge();
    });
}

#[test]
fn leaving_when_it_never_joined_is_done_at_once() {
    let mut world = world(1);
    world.start_with(ServerInfo::new("room", "r2"), false);
    world.leave("r2");
    assert_eq!(times_left(&world, "r2"), 1);
    world.converge();
    assert_eq!(world.table("r2"), ["g1", "r1", "r2"], "it looks on");
}

#[test]
fn a_node_that_left_may_join_again_even_before_it_is_out() {
    seeds(60, |seed| {
        let mut world = World::new(seed);
        world.start("gate", "g1");
        world.start("room", "r1");
        for _ in 0..3 {
            world.advance(MILLI / 2 * seed as u32);
            world.leave("r1");
            world.advance(MILLI / 3 * seed as u32);
            world.join("r1");
        }
        world.converge();
        // Who leaves while he is leaving leaves once.
        assert!((1..=3).contains(&times_left(&world, "r1")), "{}", times_left(&world, "r1"));
    });
}

#[test]
fn a_crashed_server_goes_when_its_lease_is_over() {
    let mut world = world(1);
    let start = world.now();
    world.crash("r1");
    world.run_until(|world| world.table("g1") == ["g1"]);
    let lasted = world.now() - start;
    assert!(lasted <= 11 * SECOND && lasted > 6 * SECOND, "{lasted:?}");
}

#[test]
fn a_server_that_restarts_under_its_id_stays_when_the_lease_of_the_one_before_ends() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.crash("r1");
        world.advance(MILLI * 100 * seed as u32);
        world.start("room", "r1");
        world.converge();
        world.advance(60 * SECOND);
        assert_eq!(changes(&world, "g1"), ["+r1"], "nobody notices");
        assert_eq!(times_registered(&world, "r1"), 1);
    });
}

#[test]
fn a_server_that_restarts_under_its_id_with_another_record_has_changed() {
    let mut world = world(1);
    world.crash("r1");
    world.start_with(record("new"), true);
    world.converge();
    assert_eq!(changes(&world, "g1"), ["+r1", "~r1"]);
    assert_eq!(**world.node("g1").servers().by_id("r1").expect("it is there"), record("new"));
}

#[test]
fn a_late_command_of_the_server_before_does_not_take_the_record_away_for_good() {
    let mut world = world(1);
    world.crash("r1");
    world.start_with(record("old"), true);
    world.set_registry(RegistryFaults::default().delay(1500 * MILLI..=1500 * MILLI));
    world.run_until(|world| world.commands("r1") == 3);
    // It has a lease, and its record is on the way.
    world.crash("r1");
    world.set_registry(RegistryFaults::default());
    world.start_with(record("new"), true);
    world.run_until(|world| world.node("r1").is_registered());
    world.advance(2 * SECOND);
    world.converge();
    assert_eq!(changes(&world, "g1"), ["+r1", "~r1", "~r1", "-r1", "+r1"]);
    assert_eq!(**world.node("g1").servers().by_id("r1").expect("it is there"), record("new"));
}

#[test]
fn commands_that_are_lost_delay_joining_and_do_not_prevent_it() {
    seeds(30, |seed| {
        let mut world = World::new(seed);
        world.set_registry(RegistryFaults::default().lose(2).fail(3));
        world.start("gate", "g1");
        world.start("room", "r1");
        world.run_until(|world| world.node("g1").is_registered() && world.node("r1").is_registered());
        world.converge();
    });
}
