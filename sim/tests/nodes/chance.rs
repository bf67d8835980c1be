use std::time::Duration;

use cereus_sim::{nodes::World, seeds};

use super::support::{SECOND, quick};

/// Whatever happened, when it stops all is as it should be, and stays so.
fn settles(world: &mut World) {
    world.converge();
    world.advance(3 * SECOND);
    assert_eq!(world.disagreement(), None);
    for id in world.ids() {
        assert_eq!((world.node(&id).calls_in_flight(), world.node(&id).queued_bytes()), (0, 0), "{id}");
    }
}

fn run(seed: u64, duration: Duration) -> World {
    let mut world = World::new(seed);
    quick(&mut world);
    world.start("gate", "g1");
    world.start("room", "r1");
    world.chaos(duration);
    world
}

#[test]
fn after_any_faults_all_is_as_it_should_be() {
    seeds(200, |seed| settles(&mut run(seed, 8 * SECOND)));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let events = |seed| {
        let world = run(seed, 5 * SECOND);
        world.ids().iter().map(|id| world.events(id).to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(events(7), events(7));
    assert_ne!(events(7), events(8));
}
