//! Sessions as backends see them, and users on several frontends.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cereus_app::{App, Error, Raw, Server, Service, Session};
use cereus_core::{ClientEvent, CloseReason, session::SessionId};
use cereus_sim::{Client, SimRuntime};

use super::{World, code, login, room, text};
use crate::app::support::SECOND;

/// What a backend does with the session that it is serving, while that session waits for it.
fn desk() -> Service<SimRuntime> {
    async fn set(session: Session, Raw(value): Raw) -> Result<Raw, Error> {
        session.data(|data| data.set("value", text(&value)))?;
        session.push_to_front().await?;
        Ok(Raw(value))
    }
    async fn get(session: Session) -> Raw {
        Raw(session.data(|data| data.string("value")).unwrap_or_default().into())
    }
    async fn push(session: Session, Raw(body): Raw) -> Result<Raw, Error> {
        for n in 1..=3 {
            session.push("onPush", format!("{} {n}", text(&body)).into_bytes())?;
        }
        session.push_wait("onPush", b"last".as_slice()).await?;
        Ok(Raw("pushed".into()))
    }
    async fn kick(session: Session) -> Result<Raw, Error> {
        session.kick(Some("not told across servers")).await?;
        Ok(Raw("kicked".into()))
    }
    async fn all(session: Session) -> Result<Raw, Error> {
        session.bind("ada").await?;
        session.data(|data| data.set("level", &9_007_199_254_740_993_u64))?;
        session.push_to_front().await?;
        session.push("onAll", b"1".as_slice())?;
        session.kick(None).await?;
        Ok(Raw("done".into()))
    }
    Service::new("desk")
        .request("login", login)
        .request("set", set)
        .request("get", get)
        .request("push", push)
        .request("kick", kick)
        .request("all", all)
}

fn desks() -> (World, Server) {
    let world = World::new();
    let gate = world.app("gate").service(Service::new("local").request("login", login)).service(desk());
    let (gate, _) = world.frontend("g1", 3250, gate);
    world.backend("r1", world.app("room").service(desk()).service(room()));
    (world, gate)
}

fn pushes(client: &Client) -> Vec<Bytes> {
    client.pushes()
}

#[test]
fn a_backend_binds_the_session_that_waits_for_it() {
    let (world, gate) = desks();
    let client = world.client(3250);
    assert_eq!(client.ask("room.desk.login", "ada").unwrap(), "in");
    assert_eq!(gate.sessions().by_uid("ada").and_then(|session| session.uid()).as_deref(), Some("ada"));
    let again = client.ask("room.desk.login", "bob").unwrap_err();
    assert_eq!(text(&again), r#"{"code":"PIT-000","msg":"session is already bound to an uid"}"#);
    let other = world.client(3250);
    assert_eq!(code(other.ask("room.desk.login", "")), "PIT-000");
    for uid in ["a b", "*", "x.>", "a..b"] {
        assert_eq!(code(other.ask("room.desk.login", uid)), "PIT-400");
    }
    assert_eq!(other.ask("room.desk.login", "bob").unwrap(), "in");
}

#[test]
fn data_that_a_backend_sets_is_at_the_front_and_at_the_next_backend() {
    let (world, gate) = desks();
    world.backend("s1", world.app("shop").service(desk()));
    let client = world.client(3250);
    client.ask("room.desk.set", "seven").unwrap();
    assert_eq!(client.ask("shop.desk.get", "").unwrap(), "seven");
    let session = gate.sessions().by_id(SessionId::new(1)).expect("it is connected");
    assert_eq!(
        session.data(|data| (data.string("value"), data.string("ipversion"))),
        (Some("seven".into()), Some("ipv4".into()))
    );
    client.ask("desk.set", "eight").unwrap();
    assert_eq!(client.ask("room.desk.get", "").unwrap(), "eight");
}

#[test]
fn a_backend_pushes_to_the_session_that_waits_for_it_before_it_answers() {
    let (world, _) = desks();
    let client = world.client(3250);
    let unbound = client.ask("room.desk.push", "x").unwrap_err();
    assert_eq!(text(&unbound), r#"{"code":"PIT-000","msg":"you have to bind an UID to the session to do that"}"#);
    client.ask("room.desk.login", "ada").unwrap();
    assert_eq!(client.ask("room.desk.push", "x").unwrap(), "pushed");
    assert_eq!(pushes(&client), ["x 1", "x 2", "x 3", "last"]);
    let answered = client.events().iter().rposition(|event| matches!(event, ClientEvent::Response { .. }));
    let pushed = client.events().iter().rposition(|event| matches!(event, ClientEvent::Push { .. }));
    assert!(pushed < answered, "{:?}", client.events());
}

#[test]
fn a_backend_does_everything_to_the_session_that_waits_for_it_at_once() {
    let (world, gate) = desks();
    let client = world.client(3250);
    let id = client.request("room.desk.all", "");
    world.runtime.run_until(|| client.closed().is_some());
    assert_eq!(client.answer(id).map(|(_, answer)| answer), Some(Ok("done".into())));
    assert_eq!(pushes(&client), ["1"]);
    assert_eq!(client.closed().map(|(_, reason)| reason), Some(CloseReason::Kicked));
    world.runtime.run_idle();
    assert_eq!(gate.sessions().count(), 0);
    assert_eq!(world.runtime.now(), cereus_core::Instant::EPOCH, "something waited");
}

#[test]
fn a_kick_by_a_backend_needs_a_user() {
    let (world, _) = desks();
    let client = world.client(3250);
    assert_eq!(code(client.ask("room.desk.kick", "")), "PIT-000");
    client.ask("room.desk.login", "ada").unwrap();
    let id = client.request("room.desk.kick", "");
    world.runtime.run_until(|| client.closed().is_some());
    assert_eq!(client.answer(id).map(|(_, answer)| answer), Some(Ok("kicked".into())));
}

#[test]
fn callbacks_of_both_servers_run_when_a_backend_binds_and_either_can_refuse() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = |app: App<SimRuntime>, server: &'static str| {
        let (bind, after) = (Arc::clone(&seen), Arc::clone(&seen));
        app.on_bind(move |session| {
            bind.lock().unwrap().push(format!("{server} bind"));
            let refuse = session.uid().is_some_and(|uid| *uid == *format!("not-on-{server}"));
            async move { if refuse { Err(Error::new("GAME-1", "go away")) } else { Ok(()) } }
        })
        .on_after_bind(move |_| {
            after.lock().unwrap().push(format!("{server} after"));
            async { Ok(()) }
        })
    };
    let (gate, _) = world.frontend("g1", 3250, watched(world.app("gate"), "g1"));
    world.backend("r1", watched(world.app("room").service(desk()), "r1"));
    let client = world.client(3250);
    assert_eq!(code(client.ask("room.desk.login", "not-on-r1")), "GAME-1");
    assert_eq!(code(client.ask("room.desk.login", "not-on-g1")), "GAME-1");
    assert_eq!(gate.sessions().by_uid("not-on-g1"), None);
    assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), ["r1 bind", "r1 bind", "g1 bind"]);
    client.ask("room.desk.login", "ada").unwrap();
    assert_eq!(*seen.lock().unwrap(), ["r1 bind", "g1 bind", "g1 after", "r1 after"]);
}

#[test]
fn a_user_has_one_session_on_all_frontends_of_a_type() {
    let world = World::new();
    let local = || Service::new("local").request("login", login);
    let (one, _) = world.frontend("g1", 3250, world.app("gate").service(local()));
    let (two, _) = world.frontend("g2", 3251, world.app("gate").service(local()));
    let (other, _) = world.frontend("v1", 3252, world.app("viewer").service(local()));
    let clients = [3250, 3251, 3252].map(|port| world.client(port));
    clients[2].ask("local.login", "ada").unwrap();
    clients[0].ask("local.login", "ada").unwrap();
    assert_eq!(clients[2].closed(), None, "another type");
    clients[1].ask("local.login", "ada").unwrap();
    world.runtime.run_until(|| clients[0].closed().is_some());
    assert_eq!(clients[0].closed().map(|(_, reason)| reason), Some(CloseReason::Kicked));
    world.runtime.run_idle();
    assert_eq!([&one, &two, &other].map(|server| server.sessions().by_uid("ada").is_some()), [false, true, true]);

    // And on one and the same.
    let again = world.client(3251);
    again.ask("local.login", "ada").unwrap();
    world.runtime.run_until(|| clients[1].closed().is_some());
    assert_eq!(clients[1].closed().map(|(_, reason)| reason), Some(CloseReason::Kicked));
    world.runtime.run_idle();
    assert!(two.sessions().by_uid("ada").is_some() && again.closed().is_none());
    // What is sent to the user still reaches the session that came last.
    assert_eq!(pushed_to(&world, &one, "ada"), Vec::<Arc<str>>::new());
    assert_eq!(pushes(&again), ["hi"]);
}

fn pushed_to(world: &World, server: &Server, uid: &'static str) -> Vec<Arc<str>> {
    let users = server.users("gate");
    world.run(async move { users.push(&[uid], "onPush", b"hi".as_slice()).await }).expect("the push is right")
}

#[test]
fn several_sessions_of_a_user_are_allowed_when_the_cluster_says_so() {
    let world = World::new();
    let gate = |id, port| {
        let app = world.app("gate").service(Service::new("local").request("login", login));
        world.serve(app.cluster(world.in_process(id).unique_session(false)), Some(port)).0
    };
    let (_one, two) = (gate("g1", 3250), gate("g2", 3251));
    let clients = [3250, 3251].map(|port| world.client(port));
    for client in &clients {
        client.ask("local.login", "ada").unwrap();
    }
    world.runtime.advance(SECOND);
    assert!(clients.iter().all(|client| client.closed().is_none()));
    assert!(pushed_to(&world, &two, "ada").is_empty());
}

#[test]
fn a_backend_that_asked_is_told_that_the_session_ended() {
    let world = World::new();
    let ended = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&ended);
    let watch = move |session: Session, Raw(name): Raw| {
        let told = Arc::clone(&told);
        async move {
            let name = text(&name).to_owned();
            session.on_close(move || async move { told.lock().unwrap().push(name) }).await?;
            Ok::<_, Error>(Raw("watching".into()))
        }
    };
    world.frontend("g1", 3250, world.app("gate"));
    world.backend("r1", world.app("room").service(Service::new("desk").request("watch", watch)));
    let (watched, other) = (world.client(3250), world.client(3250));
    for name in ["a", "b"] {
        assert_eq!(watched.ask("room.desk.watch", name).unwrap(), "watching");
    }
    assert_eq!(other.ask("room.desk.watch", "other").unwrap(), "watching");
    assert!(ended.lock().unwrap().is_empty());
    watched.fall_silent();
    world.runtime.run_until(|| watched.closed().is_some());
    world.runtime.run_idle();
    assert_eq!(*ended.lock().unwrap(), ["a", "b"]);
}
