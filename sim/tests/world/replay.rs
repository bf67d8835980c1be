//! A world that fails says how to see it fail again.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use cereus_app::{App, Raw, Service, State};
use cereus_sim::{Host, Profile, SimRuntime, World};

const MILLI: Duration = Duration::from_millis(1);

#[derive(Clone)]
struct Counter {
    runtime: SimRuntime,
    count: Arc<Mutex<u64>>,
}

/// Counts, and forgets whoever counts at the same time.
async fn count(State(counter): State<Counter>) -> Raw {
    let before = *counter.count.lock().unwrap();
    counter.runtime.sleep(2 * MILLI).await;
    *counter.count.lock().unwrap() = before + 1;
    Raw((before + 1).to_string().into())
}

/// How a world of this seed ends, and what happened in it: `None` if nothing is wrong.
fn fails(seed: u64) -> Option<(String, Vec<String>)> {
    let mut world = World::new(seed);
    let journal = world.journal().clone();
    let ended = catch_unwind(AssertUnwindSafe(move || {
        let total = Arc::new(Mutex::new(0));
        let shown = Arc::clone(&total);
        world.frontend("g1", move |host: &Host| {
            let counter = Counter { runtime: host.runtime().clone(), count: Arc::clone(&shown) };
            App::new(counter).service(Service::new("all").request("count", count))
        });
        let clients = [Profile::wifi(), Profile::cellular()].map(|profile| world.client("g1", &profile));
        for asked in 0..20 {
            let gap = world.rng().duration(MILLI..=200 * MILLI);
            world.advance(gap);
            let client = world.rng().below(2);
            clients[client].request("all.count", asked.to_string());
        }
        world.invariant("every one counts", move |_| {
            let answered = clients.iter().map(|client| client.events().len() as u64 - 1).sum();
            let total = *total.lock().unwrap();
            if total >= answered { Ok(()) } else { Err(format!("{answered} were answered, {total} were counted")) }
        });
        world.advance(10_000 * MILLI);
        world.finish();
    }));
    let why = ended.err()?.downcast_ref::<String>().expect("a text").clone();
    Some((why, journal.lines()))
}

#[test]
fn a_lost_update_is_found_and_its_seed_shows_it_again() {
    let (seed, (why, lines)) = (0..200).find_map(|seed| Some((seed, fails(seed)?))).expect("one of them meets with it");
    assert!(why.starts_with("invariant `every one counts` does not hold: "), "{why}");
    assert!(lines.last().is_some_and(|line| line.contains("every one counts")), "{lines:?}");
    assert_eq!(fails(seed), Some((why, lines)));
}
