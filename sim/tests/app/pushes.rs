//! Pushes, and clients that do not read them.

use bytes::Bytes;
use cereus_app::{PushError, Raw, Server, Service, Session};
use cereus_core::{ClientEvent, Instant};
use cereus_sim::SimRuntime;

use super::support::{MINUTE, NANO, SECOND, app, connect, serve};

const KIB: usize = 1 << 10;

/// A body of 1 KiB that tells its number.
fn body(number: u32) -> Bytes {
    let mut body = vec![0; KIB];
    body[..4].copy_from_slice(&number.to_be_bytes());
    body.into()
}

fn bodies(count: u32) -> Vec<Bytes> {
    (0..count).map(body).collect()
}

async fn push_until_full(session: Session) -> Result<Raw, PushError> {
    let mut pushed = 0_u32;
    loop {
        match session.push("on.push", body(pushed)) {
            Ok(()) => pushed += 1,
            Err(PushError::Full) => return Ok(Raw(pushed.to_string().into())),
            Err(error) => return Err(error),
        }
    }
}

/// Far more than all buffers hold.
const MANY: u32 = 1000;

async fn push_many(session: Session) -> Result<Raw, PushError> {
    for number in 0..MANY {
        session.push_wait("on.push", body(number)).await?;
    }
    Ok(Raw("done".into()))
}

/// The only session there is.
fn only_session(server: &Server) -> Session {
    let mut found = Vec::new();
    server.sessions().for_each(|session| found.push(session.clone()));
    let [session] = found.try_into().expect("one client");
    session
}

#[test]
fn a_handler_pushes_into_its_own_session_until_it_is_full() {
    let runtime = SimRuntime::new();
    let app = app(&runtime).max_mailbox_bytes(64 * KIB).service(Service::new("room").request("fill", push_until_full));
    let (server, _) = serve(&runtime, app);
    let client = connect(&runtime);

    let id = client.request("room.fill", "");
    runtime.run_idle();

    let (_, answer) = client.answer(id).expect("it is answered");
    let answer = String::from_utf8_lossy(&answer.expect("no error")).into_owned();
    let pushed: u32 = answer.parse().expect("a number");
    assert!((40..64).contains(&pushed), "{pushed} pushes of 1 KiB and their overhead are up to 64 KiB");
    assert_eq!(client.pushes(), bodies(pushed));
    assert!(matches!(client.events().last(), Some(ClientEvent::Response { .. })), "the answer comes last");
    assert_eq!(only_session(&server).push("on.push", body(0)), Ok(()), "there is room again");
}

#[test]
fn push_wait_in_the_sessions_own_handler_waits_for_the_client_and_goes_on() {
    let runtime = SimRuntime::new().buffer(4 * KIB);
    let app = app(&runtime)
        .protocol(|protocol| protocol.max_queued_bytes(32 * KIB))
        .service(Service::new("room").request("many", push_many));
    let (server, _) = serve(&runtime, app);
    let client = connect(&runtime);

    client.read(false);
    let id = client.request("room.many", "");
    runtime.advance(5 * SECOND);
    assert!(client.pushes().is_empty());
    assert!(!only_session(&server).is_closed());

    client.read(true);
    runtime.run_idle();
    assert_eq!(client.pushes(), bodies(MANY));
    assert_eq!(client.answer(id), Some((Instant::EPOCH + 5 * SECOND, Ok("done".into()))));
    assert!(matches!(client.events().last(), Some(ClientEvent::Response { .. })), "the answer comes last");
}

#[test]
fn push_wait_goes_on_when_the_client_reads_now_and_then() {
    let runtime = SimRuntime::new().buffer(4 * KIB);
    let app = app(&runtime)
        .protocol(|protocol| protocol.max_queued_bytes(32 * KIB))
        .service(Service::new("room").request("many", push_many));
    let (server, _) = serve(&runtime, app);
    let client = connect(&runtime);

    let id = client.request("room.many", "");
    for _ in 0..3 {
        client.read(false);
        runtime.advance(9 * SECOND);
        let before = client.pushes().len();
        client.read(true);
        runtime.run_until(|| client.pushes().len() > before);
    }
    assert!(client.answer(id).is_none(), "it did not wait");
    runtime.run_until(|| client.answer(id).is_some());
    assert_eq!(client.pushes(), bodies(MANY));
    assert!(!only_session(&server).is_closed());
}

#[test]
fn a_client_that_does_not_read_is_closed_when_the_queue_of_its_pushes_is_full() {
    let runtime = SimRuntime::new();
    let app = app(&runtime).write_timeout(MINUTE).protocol(|protocol| protocol.max_queued_bytes(64 * KIB));
    let (server, _) = serve(&runtime, app);
    let (client, other) = (connect(&runtime), connect(&runtime));
    client.read(false);
    runtime.advance(SECOND);

    let mut sent = 0;
    let end = runtime.run_until(|| {
        if server.sessions().count() == 2 {
            server.broadcast("on.push", body(sent)).expect("the push is right");
            sent += 1;
        }
        server.sessions().count() == 1
    });

    assert_eq!(end, Instant::EPOCH + SECOND);
    let kib = sent as usize;
    assert!((3 * 64 - 16..=3 * 64 + 16).contains(&kib), "{kib} KiB in stream, output buffer and queue");
    runtime.run_idle();
    assert_eq!(other.closed(), None, "the client that reads stays");
    assert_eq!(other.pushes(), bodies(sent));
    // What was written arrives in order, the rest is lost.
    client.read(true);
    runtime.run_until(|| client.closed().is_some());
    let arrived = client.pushes();
    assert_eq!(arrived, bodies(arrived.len() as u32));
    assert!(arrived.len() >= 60, "{} pushes", arrived.len());
}

#[test]
fn a_write_that_makes_no_progress_closes_the_connection_at_its_time() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, app(&runtime).write_timeout(10 * SECOND));
    let client = connect(&runtime);
    let session = only_session(&server);
    client.read(false);
    runtime.advance(SECOND);

    for number in 0..100 {
        session.push("on.push", body(number)).expect("there is room");
    }
    // It reads what is there at 4 s: that is progress.
    runtime.advance(3 * SECOND);
    client.read(true);
    runtime.run_until(|| !client.pushes().is_empty());
    client.read(false);
    for number in 100..300 {
        session.push("on.push", body(number)).expect("there is room");
    }

    runtime.advance(10 * SECOND - NANO);
    assert!(!session.is_closed());
    runtime.advance(NANO);
    assert!(session.is_closed());
    assert_eq!(server.sessions().count(), 0);
}
