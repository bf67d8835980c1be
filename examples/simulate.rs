//! Finding a bug in one's own handler, with a seed that shows it again.
//!
//! A shop has three swords. Its handler looks how many are left, asks a database, and writes down how many are left
//! then. As long as one player buys at a time nothing is wrong with that:
//!
//! ```sh
//! cargo run --example simulate                                     # finds the bug and tells the seed
//! CEREUS_SEED=54 CEREUS_TRACE=1 cargo run --example simulate       # shows one seed again, with all that happens
//! cargo run --example simulate -- --fixed                          # no seed finds anything
//! ```

use std::{
    env,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cereus::{App, Error, Json, Service, State};
use cereus_sim::{Profile, SimRuntime, World, seeds};

const SWORDS: u32 = 3;
const MILLI: Duration = Duration::from_millis(1);

#[derive(Clone)]
struct Shop {
    /// What a real shop would have from its database: time passes while it is asked.
    runtime: SimRuntime,
    left: Arc<Mutex<u32>>,
    sold: Arc<AtomicU32>,
}

impl Shop {
    fn left(&self) -> u32 {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_left(&self, left: u32) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }

    async fn ask_database(&self) {
        self.runtime.sleep(3 * MILLI).await;
    }
}

fn sold_out() -> Error {
    Error::new("SHOP-1", "sold out")
}

/// The bug: what was read before the `await` is written after it, and somebody else has bought meanwhile.
async fn buy(State(shop): State<Shop>) -> Result<Json<u32>, Error> {
    let left = shop.left();
    if left == 0 {
        return Err(sold_out());
    }
    shop.ask_database().await;
    shop.set_left(left - 1);
    shop.sold.fetch_add(1, Ordering::Relaxed);
    Ok(Json(left - 1))
}

/// Takes the sword first and asks then.
async fn buy_fixed(State(shop): State<Shop>) -> Result<Json<u32>, Error> {
    let left = shop.left().checked_sub(1).ok_or_else(sold_out)?;
    shop.set_left(left);
    shop.sold.fetch_add(1, Ordering::Relaxed);
    shop.ask_database().await;
    Ok(Json(left))
}

/// Three players, each on a network of his own, buy when they like to: the seed says when.
fn afternoon(seed: u64, fixed: bool) {
    let mut world = World::new(seed);
    let (left, sold) = (Arc::new(Mutex::new(SWORDS)), Arc::new(AtomicU32::new(0)));
    let shop = Shop { runtime: world.runtime().clone(), left, sold };

    let served = shop.clone();
    world.frontend("shop-1", move |_| {
        let service = Service::new("shop");
        let service = if fixed { service.request("buy", buy_fixed) } else { service.request("buy", buy) };
        App::new(served.clone()).service(service)
    });
    world.invariant("every sword is sold once", move |_| {
        let (left, sold) = (shop.left(), shop.sold.load(Ordering::Relaxed));
        if left + sold == SWORDS { Ok(()) } else { Err(format!("{sold} of {SWORDS} were sold, and {left} are left")) }
    });

    let players = [Profile::wifi(), Profile::cellular(), Profile::perfect()].map(|on| world.client("shop-1", &on));
    for _ in 0..4 {
        let gap = world.rng().duration(Duration::ZERO..=300 * MILLI);
        world.advance(gap);
        let player = world.rng().below(players.len());
        players[player].request("shop.buy", "null");
    }
    world.advance(Duration::from_secs(5));
    world.finish();
}

fn main() {
    let fixed = env::args().any(|argument| argument == "--fixed");
    // The invariants of every world are checked as well: one answer per request, order, heartbeats and so on.
    seeds(1000, |seed| afternoon(seed, fixed));
    eprintln!("nothing was found");
}
