//! Binding, kicks and groups.

use cereus_app::{Error, Raw, Server, Service, Session, State};
use cereus_core::{ClientEvent, CloseReason, Instant};
use cereus_sim::SimRuntime;
use cereus_transports::rt::Runtime;
use futures_lite::future::block_on as now;

use super::support::{MINUTE, NANO, SECOND, app, connect, serve};

/// Binds, and answers whether the session is found from then on.
async fn login(session: Session, server: Server, Raw(uid): Raw) -> Result<Raw, Error> {
    let uid = String::from_utf8_lossy(&uid).into_owned();
    session.bind(&*uid).await?;
    let found = server.sessions().by_uid(&uid) == Some(session);
    Ok(Raw(if found { "found" } else { "lost" }.into()))
}

async fn nap(State(runtime): State<SimRuntime>) -> Raw {
    runtime.sleep(3 * SECOND).await;
    Raw("slept".into())
}

#[test]
fn a_session_is_found_by_its_uid_as_soon_as_its_handler_has_bound_it() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, app(&runtime).service(Service::new("gate").request("login", login)));
    let client = connect(&runtime);

    let id = client.request("gate.login", "ada");
    runtime.run_idle();

    assert_eq!(client.answer(id), Some((Instant::EPOCH, Ok("found".into()))));
    assert_eq!(server.sessions().by_uid("ada").and_then(|session| session.uid()).as_deref(), Some("ada"));
}

#[test]
fn the_second_session_of_a_user_closes_the_first() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, app(&runtime).service(Service::new("gate").request("login", login)));
    let (first, second) = (connect(&runtime), connect(&runtime));
    first.request("gate.login", "ada");
    runtime.run_idle();
    let older = server.sessions().by_uid("ada").expect("it is bound");

    let id = second.request("gate.login", "ada");
    runtime.run_idle();

    assert_eq!(second.answer(id), Some((Instant::EPOCH, Ok("found".into()))));
    assert_eq!(first.closed(), Some((Instant::EPOCH, CloseReason::PeerClosed)));
    assert!(older.is_closed());
    assert_ne!(server.sessions().by_uid("ada"), Some(older));
    assert_eq!(server.sessions().count(), 1);
    assert_eq!(second.closed(), None);
}

#[test]
fn a_kick_lets_the_request_that_runs_be_answered_and_tells_the_reason() {
    let runtime = SimRuntime::new();
    let service = Service::new("gate").request("login", login).request("nap", nap);
    let (server, _) = serve(&runtime, app(&runtime).service(service));
    let client = connect(&runtime);
    client.request("gate.login", "ada");
    let id = client.request("gate.nap", "");
    let (clock, kicking) = (runtime.clone(), server.clone());
    runtime.spawn(async move {
        clock.sleep(SECOND).await;
        kicking.sessions().by_uid("ada").expect("she is there").kick(Some("cheating")).await.expect("it is done");
    });

    runtime.advance(3 * SECOND - NANO);
    assert_eq!(client.closed(), None);
    runtime.advance(NANO);

    let at = Instant::EPOCH + 3 * SECOND;
    assert_eq!(client.answer(id), Some((at, Ok("slept".into()))));
    assert_eq!(client.count(|event| *event == ClientEvent::Kicked(r#"{"reason":"cheating"}"#.into())), 1);
    assert_eq!(client.closed(), Some((at, CloseReason::Kicked)));
    assert_eq!(server.sessions().count(), 0);
}

#[test]
fn a_group_goes_away_at_the_first_tick_after_its_time_to_live() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, app(&runtime).groups_tick(10 * SECOND));
    now(server.groups().create_with_ttl("raid", MINUTE)).expect("it is new");
    now(server.groups().create("lobby")).expect("it is new");
    runtime.advance(25 * SECOND);
    now(server.groups().renew_ttl("raid")).expect("it is there");

    // Its time ends at 85 s, between two ticks.
    runtime.advance(65 * SECOND - NANO);
    assert_eq!(now(server.groups().count("raid")), Ok(0));
    runtime.advance(NANO);
    assert!(now(server.groups().count("raid")).is_err());
    assert_eq!(now(server.groups().count("lobby")), Ok(0));
}
