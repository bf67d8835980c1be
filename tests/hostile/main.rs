//! 950 clients that behave beside 50 that do not, over real sockets, and what the server is left with.
//!
//! The server runs in a process of its own, so that its memory is its own as well. Numbers of a debug build on a busy machine say
//! little; `cargo test --release --test hostile` prints better ones.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test is where a panic is told, and this one reports")]

#[path = "../support/net.rs"]
mod net;
#[path = "../support/tls.rs"]
mod tls;

mod healthy;
mod hostile;
mod server;

use std::{
    env,
    time::{Duration, Instant},
};

use healthy::{Crowd, Latencies};
use hostile::Horde;
use server::{Child, LIMITS};

const HEALTHY: usize = 950;
const HOSTILE: usize = 50;
/// How long the ones that behave are looked at, first alone and then beside the others.
const ALONE: Duration = Duration::from_secs(5);
const BESIDE: Duration = Duration::from_secs(15);

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == server::ARGUMENT) {
        return server::run();
    }
    // `cargo test name` means other tests.
    let is_meant = |argument: &String| argument.starts_with('-') || "hostile".contains(argument.as_str());
    if arguments.iter().all(is_meant) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(check());
        runtime.shutdown_background();
    }
}

async fn check() {
    let mut child = Child::start();
    let crowd = Crowd::connect(&child.endpoints, HEALTHY).await;
    let start = Instant::now();
    tokio::time::sleep(ALONE).await;
    let alone = crowd.take_latencies();
    let memory = child.memory();

    let horde = Horde::start(&child.endpoints, HOSTILE);
    tokio::time::sleep(BESIDE).await;
    crowd.assert_served();
    let beside = crowd.take_latencies();
    drop(horde);
    let peak = child.peak_memory();
    println!("{HEALTHY} clients that behave, {HOSTILE} that do not, in {:?}", start.elapsed());
    println!("alone:  {alone}\nbeside: {beside}");
    println!("memory: {} KiB before, {} KiB at its peak", memory >> 10, peak >> 10);

    child.assert_recovers(HEALTHY);
    drop(crowd);
    println!("{}", child.stop());

    assert!(peak < memory + LIMITS.of(HEALTHY + HOSTILE), "the server held too much");
    // Not a measurement: only that nobody had to wait for those who do not behave.
    let bound = alone.p99() * 10 + Duration::from_secs(1);
    assert!(beside.p99() < bound, "those who behave wait for the others: {} after {}", beside, Latencies::text(bound));
}
