//! Users and groups, wherever the users are bound.

use std::sync::{Arc, Mutex};

use cereus_app::{Error, FullPolicy, OnFull, Raw, Server, Service, Session};
use cereus_cluster::{Bus, BusEvent, Kind, Registry, ServerInfo, protos::Push};
use cereus_core::{ClientEvent, CloseReason};
use cereus_sim::Client;
use cereus_transports::rt::Runtime;
use prost::Message;

use super::{World, login};

/// Two frontends with two users each, and a backend.
fn users() -> (World, [Server; 3], [Client; 4]) {
    let world = World::new();
    let gate =
        |id, port| world.frontend(id, port, world.app("gate").service(Service::new("local").request("login", login))).0;
    let servers = [gate("g1", 3250), gate("g2", 3251), world.backend("r1", world.app("room")).0];
    let clients = [3250, 3250, 3251, 3251].map(|port| world.client(port));
    for (client, uid) in clients.iter().zip(["a", "b", "c", "d"]) {
        client.ask("local.login", uid).unwrap();
    }
    (world, servers, clients)
}

fn missed(uids: &[Arc<str>]) -> Vec<&str> {
    uids.iter().map(|uid| &**uid).collect()
}

#[test]
fn a_push_reaches_users_on_all_frontends_and_tells_who_was_missed() {
    let (world, servers, clients) = users();
    for (n, server) in servers.into_iter().enumerate() {
        let body = n.to_string();
        let pushed = world.run(async move {
            server.users("gate").push(&["a", "c", "d", "nobody"], "onPush", body.into_bytes()).await
        });
        assert_eq!(missed(&pushed.unwrap()), ["nobody"]);
    }
    assert_eq!(clients.map(|client| client.pushes().len()), [3, 0, 3, 3]);
}

#[test]
fn a_group_of_a_backend_reaches_its_members() {
    let (world, [_, _, room], clients) = users();
    let pushed = world.run(async move {
        room.groups().create("all").await?;
        for uid in ["b", "c", "gone"] {
            room.groups().add("all", uid).await?;
        }
        let unknown = room.users("gate").push_to_group("none", "onPush", b"x".as_slice()).await;
        assert_eq!(unknown.unwrap_err().message(), "group not found");
        room.users("gate").push_to_group("all", "onPush", b"x".as_slice()).await
    });
    assert_eq!(missed(&pushed.unwrap()), ["gone"]);
    assert_eq!(clients.map(|client| client.pushes().len()), [0, 1, 1, 0]);
}

#[test]
fn a_kick_reaches_users_on_all_frontends() {
    let (world, [_, _, room], clients) = users();
    let kicked = world.run(async move { room.users("gate").kick(&["a", "d", "nobody"]).await });
    assert_eq!(missed(&kicked), ["nobody"]);
    let reasons = clients.map(|client| client.closed().map(|(_, reason)| reason));
    assert_eq!(reasons, [Some(CloseReason::Kicked), None, None, Some(CloseReason::Kicked)]);
}

#[test]
fn users_of_a_type_that_nobody_serves_are_missed() {
    let (world, [_, _, room], _) = users();
    let (pushed, kicked) = world.run(async move {
        let users = room.users("lobby");
        (users.push(&["a"], "onPush", b"x".as_slice()).await, users.kick(&["a"]).await)
    });
    assert_eq!((missed(&pushed.unwrap()), missed(&kicked)), (vec!["a"], vec!["a"]));
}

#[test]
fn one_message_goes_to_each_cereus_frontend_and_one_for_each_user_to_others() {
    let (world, [_, _, room], clients) = users();
    // A frontend that says nothing of Cereus, and has one user.
    let (bus, registry) = (world.cluster.bus(), world.cluster.registry());
    let mut info = ServerInfo::new("gate", "go1");
    info.frontend = true;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut events = world.run(async move {
        let info = Arc::new(info);
        let events = bus.start(Arc::clone(&info)).await.unwrap();
        bus.subscribe_user("go-user").await.unwrap();
        let lease = registry.grant(std::time::Duration::from_secs(60)).await.unwrap();
        registry.put(info, lease).await.unwrap();
        std::mem::forget(bus);
        events
    });
    let noted = Arc::clone(&heard);
    world.runtime.spawn(std::future::poll_fn(move |cx| {
        while let std::task::Poll::Ready(Some(event)) = events.poll_next(cx) {
            if let BusEvent::Message { kind, payload, .. } = event {
                noted.lock().unwrap().push((kind, payload));
            }
        }
        std::task::Poll::Pending
    }));
    world.runtime.run_idle();
    let pushed = world.run(async move {
        room.users("gate").push(&["a", "b", "c", "go-user", "who"], "onPush", b"x".as_slice()).await
    });
    // Nobody can tell whether one that is not on a Cereus frontend was reached.
    assert!(pushed.unwrap().is_empty());
    assert_eq!(clients.map(|client| client.count(|event| matches!(event, ClientEvent::Push { .. }))), [1, 1, 1, 0]);
    let heard = heard.lock().unwrap();
    let [(Kind::Push, payload)] = &heard[..] else { panic!("{heard:?}") };
    let push = Push::decode(payload.clone()).unwrap();
    assert_eq!((push.route.as_str(), push.uid.as_str(), &push.data[..]), ("onPush", "go-user", &b"x"[..]));
}

/// The frontend knows how a push of a backend wants to be treated.
#[test]
fn the_policy_of_a_push_travels_to_the_frontend() {
    async fn spam(session: Session) -> Result<Raw, Error> {
        for number in 0..200_u32 {
            session.push("on.number", OnFull(FullPolicy::KeepLatest, number.to_string().into_bytes()))?;
        }
        Ok(Raw("done".into()))
    }
    let world = World::new();
    let (gate, _) = world.frontend("g1", 3250, world.app("gate").service(Service::new("door").request("login", login)));
    world.backend("r1", world.app("room").service(Service::new("room").request("spam", spam)));
    let client = world.client(3250);
    assert_eq!(client.ask("door.login", "u1"), Ok("in".into()));
    client.ask("room.room.spam", "").expect("it can push");
    world.runtime.run_idle();
    // All came before the frontend wrote the first one.
    assert_eq!((gate.stats().replaced_pushes, client.pushes()), (199, vec!["199".into()]));
}
