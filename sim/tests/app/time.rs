//! Deadlines and heartbeats.

use std::time::Duration;

use cereus_app::{Raw, Service, State};
use cereus_core::{CloseReason, Instant};
use cereus_sim::SimRuntime;

use super::support::{H, HOUR, MINUTE, NANO, SECOND, app, connect, serve};

async fn nap(State(runtime): State<SimRuntime>, Raw(seconds): Raw) -> Raw {
    let seconds = String::from_utf8_lossy(&seconds).parse().expect("a number");
    runtime.sleep(Duration::from_secs(seconds)).await;
    Raw("slept".into())
}

#[test]
fn a_handler_is_cut_at_its_deadline_and_not_before() {
    let runtime = SimRuntime::new();
    let service = Service::new("room").deadline(7 * SECOND).request("nap", nap);
    serve(&runtime, app(&runtime).service(service));
    let client = connect(&runtime);
    runtime.advance(SECOND);

    let id = client.request("room.nap", "3600");
    let next = client.request("room.nap", "6");
    runtime.advance(7 * SECOND - NANO);
    assert_eq!(client.answer(id), None);
    runtime.advance(NANO);

    let (at, answer) = client.answer(id).expect("it is answered");
    assert_eq!(at, Instant::EPOCH + 8 * SECOND);
    let error = answer.expect_err("it was cut");
    assert!(String::from_utf8_lossy(&error).contains("PIT-408"), "{error:?}");
    // The next one has its whole deadline.
    runtime.run_until(|| client.answer(next).is_some());
    assert_eq!(client.answer(next), Some((Instant::EPOCH + 14 * SECOND, Ok("slept".into()))));
}

#[test]
fn a_silent_client_is_closed_after_more_than_two_and_at_most_three_heartbeats() {
    for milliseconds in [0, 1, 14_999, 15_000, 29_999, 30_000, 30_001] {
        let runtime = SimRuntime::new();
        let (server, _) = serve(&runtime, app(&runtime).service(Service::new("room").request("nap", nap)));
        let client = connect(&runtime);
        runtime.advance(Duration::from_millis(milliseconds));
        let id = client.request("room.nap", "0");
        runtime.run_until(|| client.answer(id).is_some());
        client.fall_silent();

        let heard = runtime.now();
        let silence = runtime.run_until(|| server.sessions().count() == 0) - heard;
        assert!(silence > 2 * H && silence <= 3 * H, "closed after {silence:?}, heard at {heard:?}");
        runtime.run_idle();
        assert_eq!(client.closed(), Some((runtime.now(), CloseReason::PeerClosed)));
    }
}

#[test]
fn an_idle_client_that_heartbeats_stays_for_hours() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, app(&runtime).service(Service::new("room").request("nap", nap)));
    let client = connect(&runtime);

    runtime.advance(24 * HOUR);
    assert_eq!(client.closed(), None);
    assert_eq!(server.sessions().count(), 1);
    let id = client.request("room.nap", "1");
    runtime.run_until(|| client.answer(id).is_some());
    assert_eq!(client.answer(id), Some((Instant::EPOCH + 24 * HOUR + SECOND, Ok("slept".into()))));
}

#[test]
fn heartbeats_flow_both_ways_while_a_handler_runs_for_minutes() {
    let runtime = SimRuntime::new();
    let service = Service::new("room").deadline(HOUR).request("nap", nap);
    let (server, _) = serve(&runtime, app(&runtime).service(service));
    let client = connect(&runtime);

    // Either side would give the other up after a minute and a half.
    let id = client.request("room.nap", "600");
    runtime.advance(10 * MINUTE - NANO);
    assert_eq!((client.answer(id), client.closed()), (None, None));
    assert_eq!(server.sessions().count(), 1);
    runtime.advance(NANO);
    assert_eq!(client.answer(id), Some((Instant::EPOCH + 10 * MINUTE, Ok("slept".into()))));
}
