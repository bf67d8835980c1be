//! What a request costs the allocator.

use std::{net::SocketAddr, time::Duration};

use cereus::Tcp;
use cereus_bench_allocations::{Client, Counting, echo_server};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// A request with a raw body costs at most one allocation: the handler's future.
#[test]
fn a_request_allocates_once() {
    const WARM_UP: usize = 100;
    const REQUESTS: usize = 10_000;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = echo_server(Duration::from_secs(600));
    runtime.spawn(cereus::tokio::serve(server.clone(), [Tcp::bind("127.0.0.1:0")]));
    let endpoints = runtime.block_on(server.listening()).unwrap();
    let address: SocketAddr = endpoints[0].to_string().trim_start_matches("tcp://").parse().unwrap();

    let mut client = Client::connect(address).unwrap();
    (0..WARM_UP).for_each(|_| client.ask().unwrap());
    let before = ALLOCATOR.allocations();
    (0..REQUESTS).for_each(|_| client.ask().unwrap());
    let allocations = ALLOCATOR.allocations() - before;

    println!("{:.3} allocations per request", allocations as f64 / REQUESTS as f64);
    assert!(allocations <= REQUESTS + REQUESTS / 100, "{allocations} allocations for {REQUESTS} requests");
}
