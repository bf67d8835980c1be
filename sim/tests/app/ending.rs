//! Shutdown.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cereus_app::{Error, Lifecycle, Module, Raw, Server, Service, State};
use cereus_core::{CloseReason, Instant};
use cereus_sim::SimRuntime;
use cereus_transports::rt::{Connector, Runtime};

use super::support::{NANO, SECOND, app, connect, serve};

async fn nap(State(runtime): State<SimRuntime>, Raw(seconds): Raw) -> Raw {
    let seconds = String::from_utf8_lossy(&seconds).parse().expect("a number");
    runtime.sleep(Duration::from_secs(seconds)).await;
    Raw("slept".into())
}

/// Counts how often it was shut down, and for how many sessions that were left.
#[derive(Default)]
struct Ends(Arc<[AtomicUsize; 2]>);

impl Lifecycle for Ends {
    async fn shutdown(&self, server: &Server) -> Result<(), Error> {
        self.0[0].fetch_add(1, Ordering::Relaxed);
        self.0[1].fetch_add(server.sessions().count(), Ordering::Relaxed);
        Ok(())
    }
}

impl Module for Ends {
    fn name(&self) -> &str {
        "ends"
    }
}

#[test]
fn a_shutdown_lets_the_running_handler_answer_and_starts_no_other() {
    let runtime = SimRuntime::new();
    let ends = Ends::default();
    let counts = Arc::clone(&ends.0);
    let app = app(&runtime).module(ends).service(Service::new("room").request("nap", nap));
    let (server, serving) = serve(&runtime, app);
    let (busy, idle) = (connect(&runtime), connect(&runtime));
    let running = busy.request("room.nap", "20");
    let waiting = busy.request("room.nap", "0");
    runtime.advance(SECOND);

    server.shutdown();
    runtime.run_idle();
    assert_eq!(idle.closed(), Some((Instant::EPOCH + SECOND, CloseReason::PeerClosed)));
    assert_eq!((busy.closed(), serving.is_over()), (None, false));
    assert_eq!(counts[0].load(Ordering::Relaxed), 0, "modules end after the sessions");

    let end = runtime.run_until(|| serving.is_over());
    assert_eq!(end, Instant::EPOCH + 20 * SECOND);
    assert!(matches!(serving.take_result(), Some(Ok(()))));
    runtime.run_idle();
    assert_eq!(busy.answer(running), Some((end, Ok("slept".into()))));
    assert_eq!(busy.answer(waiting), None);
    assert_eq!(busy.closed(), Some((end, CloseReason::PeerClosed)));
    assert_eq!(counts.each_ref().map(|count| count.load(Ordering::Relaxed)), [1, 0]);
}

#[test]
fn the_drain_timeout_bounds_a_shutdown() {
    let runtime = SimRuntime::new();
    let service = Service::new("room").deadline(3600 * SECOND).request("nap", nap);
    let app = app(&runtime).drain_timeout(10 * SECOND).service(service);
    let (server, serving) = serve(&runtime, app);
    let client = connect(&runtime);
    let id = client.request("room.nap", "1800");
    runtime.advance(SECOND);

    server.shutdown();
    runtime.advance(10 * SECOND - NANO);
    assert_eq!((client.closed(), server.sessions().count()), (None, 1));
    runtime.advance(NANO);
    assert_eq!(client.closed(), Some((Instant::EPOCH + 11 * SECOND, CloseReason::PeerClosed)));
    assert_eq!((client.answer(id), server.sessions().count()), (None, 0));

    // The handler outlives its connection; it is given the close timeout and left behind.
    let end = runtime.run_until(|| serving.is_over());
    assert_eq!(end, Instant::EPOCH + 11 * SECOND + server.config().close_timeout());
}

#[test]
fn a_server_that_stops_gives_its_address_back() {
    let runtime = SimRuntime::new();
    for _ in 0..2 {
        let (server, serving) = serve(&runtime, app(&runtime));
        let client = connect(&runtime);
        server.shutdown();
        runtime.run_until(|| serving.is_over());
        runtime.run_idle();
        assert!(client.closed().is_some());
    }
    let refused = Arc::new(AtomicUsize::new(0));
    let (connecting, told) = (runtime.clone(), Arc::clone(&refused));
    runtime.spawn(async move {
        let connected = connecting.connect(([127, 0, 0, 1], 3250).into()).await;
        told.fetch_add(connected.is_err().into(), Ordering::Relaxed);
    });
    runtime.run_idle();
    assert_eq!(refused.load(Ordering::Relaxed), 1);
}
