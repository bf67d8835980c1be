//! Pushes and kicks to many, and groups (specification, sections 13.3 and 13.4).

use std::{sync::Arc, time::Duration};

use cereus::{App, GroupError, Json, PushError, Tcp, core::CloseReason};
use smol::block_on as now;

use crate::{
    client::Client,
    common::{On, assert_works, echo, login, users},
    server::{Running, Runtime, eventually},
};

fn arcs<const N: usize>(uids: [&str; N]) -> [Arc<str>; N] {
    uids.map(Arc::from)
}

pub(crate) fn broadcast_reaches_all(on: On) {
    let app = App::new(()).service(echo()).dictionary([("onNews", 9)]);
    let running = on.serve(app);
    let long = "news ".repeat(500);
    let mut clients: Vec<_> = (0..3).map(|_| running.connect()).collect();
    // A native client gets it deflated, and its route as text.
    clients.push(Client::connect_native(running.endpoint()));
    clients.iter_mut().for_each(assert_works);
    assert_eq!(running.server().broadcast("onNews", Json(&long)).unwrap(), 4);
    assert_eq!(running.server().broadcast("onOther", Json(2)).unwrap(), 4);
    for client in &mut clients {
        assert_eq!(client.expect_push("onNews"), serde_json::to_vec(&long).unwrap());
        assert_eq!(client.expect_push("onOther"), "2");
    }
    assert!(matches!(running.server().broadcast("r".repeat(256), Json(1)), Err(PushError::Send(_))));
}

pub(crate) fn multicast_reaches_some(on: On) {
    let running = on.serve(App::new(()).service(users()).service(echo()));
    let (mut ann, mut bob, mut cid) = (login(&running, "ann"), login(&running, "bob"), login(&running, "cid"));
    let not_bob = |session: &cereus::Session| session.uid().as_deref() != Some("bob");
    assert_eq!(running.server().multicast("on", Json(1), not_bob).unwrap(), 2);
    assert_eq!(ann.expect_push("on"), "1");
    assert_eq!(cid.expect_push("on"), "1");
    assert_works(&mut bob);
    assert!(!bob.has_push("on"));
}

pub(crate) fn push_to_users_tells_who_was_missed(on: On) {
    let running = on.serve(App::new(()).service(users()).service(echo()));
    let (mut ann, mut bob) = (login(&running, "ann"), login(&running, "bob"));
    let missed = now(running.server().users("connector").push(&["zoe", "ann", ""], "on", Json(1))).unwrap();
    assert_eq!(missed, arcs(["zoe", ""]));
    assert_eq!(ann.expect_push("on"), "1");
    assert_works(&mut bob);
    assert!(!bob.has_push("on"));
    let nobody: [&str; 0] = [];
    assert_eq!(now(running.server().users("connector").push(&nobody, "on", Json(1))), Ok(vec![]));
}

pub(crate) fn kick_users_tells_who_was_missed(on: On) {
    let running = on.serve(App::new(()).service(users()).service(echo()));
    let (mut ann, mut bob, mut cid) = (login(&running, "ann"), login(&running, "bob"), login(&running, "cid"));
    assert_eq!(now(running.server().users("connector").kick(&["ann", "zoe", "bob"])), arcs(["zoe"]));
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.expect_kick(), "{}");
        assert_eq!(client.expect_closed(), CloseReason::Kicked);
    }
    assert_works(&mut cid);
    eventually("one session is left", || running.server().sessions().count() == 1);
}

pub(crate) fn group_operations(on: On) {
    let running = on.serve(App::new(()));
    let groups = running.server().groups();
    assert_eq!(now(groups.create("room")), Ok(()));
    assert_eq!(now(groups.create("room")), Err(GroupError::AlreadyExists));
    assert_eq!(now(groups.create_with_ttl("room", Duration::from_secs(1))), Err(GroupError::AlreadyExists));
    assert_eq!((now(groups.members("room")), now(groups.count("room"))), (Ok(vec![]), Ok(0)));

    for uid in ["bob", "ann", "cid"] {
        assert_eq!(now(groups.add("room", uid)), Ok(()));
    }
    assert_eq!(now(groups.add("room", "bob")), Err(GroupError::AlreadyMember));
    assert_eq!(now(groups.add("room", "")), Err(GroupError::EmptyUid));
    assert_eq!(now(groups.members("room")).unwrap(), arcs(["ann", "bob", "cid"]));
    assert_eq!(now(groups.count("room")), Ok(3));
    assert_eq!((now(groups.contains("room", "bob")), now(groups.contains("room", "zoe"))), (Ok(true), Ok(false)));
    assert_eq!(now(groups.contains("room", "")), Err(GroupError::EmptyUid));

    assert_eq!(now(groups.remove("room", "bob")), Ok(()));
    assert_eq!(now(groups.remove("room", "bob")), Err(GroupError::NotMember));
    assert_eq!(now(groups.members("room")).unwrap(), arcs(["ann", "cid"]));
    assert_eq!(now(groups.remove_all("room")), Ok(()));
    assert_eq!(now(groups.count("room")), Ok(0));
    assert_eq!(now(groups.renew_ttl("room")), Err(GroupError::NoTtl));
    assert_eq!(now(groups.delete("room")), Ok(()));
    assert_eq!(now(groups.delete("room")), Err(GroupError::NotFound));

    assert_eq!(now(groups.members("room")), Err(GroupError::NotFound));
    assert_eq!(now(groups.count("room")), Err(GroupError::NotFound));
    assert_eq!(now(groups.contains("room", "ann")), Err(GroupError::NotFound));
    assert_eq!(now(groups.add("room", "ann")), Err(GroupError::NotFound));
    assert_eq!(now(groups.remove("room", "ann")), Err(GroupError::NotFound));
    assert_eq!(now(groups.remove_all("room")), Err(GroupError::NotFound));
    assert_eq!(now(groups.renew_ttl("room")), Err(GroupError::NotFound));
    assert_eq!(now(groups.broadcast("room", "on", Json(1))).unwrap_err().message(), "group not found");
}

pub(crate) fn group_broadcast(on: On) {
    let running = on.serve(App::new(()).service(users()).service(echo()));
    let groups = running.server().groups();
    let (mut ann, mut bob, mut cid) = (login(&running, "ann"), login(&running, "bob"), login(&running, "cid"));
    now(groups.create("room")).unwrap();
    for uid in ["ann", "bob", "zoe"] {
        now(groups.add("room", uid)).unwrap();
    }
    assert_eq!(now(groups.broadcast("room", "on", Json(1))).unwrap(), arcs(["zoe"]));
    assert_eq!((ann.expect_push("on"), bob.expect_push("on")), ("1".into(), "1".into()));
    assert_works(&mut cid);
    assert!(!cid.has_push("on"));
    assert!(now(groups.broadcast("room", "r".repeat(256), Json(1))).is_err());
}

pub(crate) fn group_with_time_to_live(runtime: Runtime) {
    let ttl = Duration::from_millis(700);
    let app = App::new(()).groups_tick(Duration::from_millis(20));
    let running = Running::start(runtime, app.build().unwrap(), [Tcp::bind("127.0.0.1:0")]);
    let groups = running.server().groups();
    now(groups.create("lasting")).unwrap();
    now(groups.create_with_ttl("renewed", ttl)).unwrap();
    now(groups.create_with_ttl("left alone", ttl)).unwrap();
    let created = running.server().now();
    eventually("the group went away", || {
        // Adding does not renew it.
        let _ = now(groups.add("left alone", "ann"));
        now(groups.renew_ttl("renewed")).unwrap();
        now(groups.count("left alone")).is_err()
    });
    assert!(running.server().now() - created >= ttl, "the group went away too early");
    assert_eq!((now(groups.count("lasting")), now(groups.count("renewed"))), (Ok(0), Ok(0)));
    assert_eq!(now(groups.create("left alone")), Ok(()));
    eventually("the other group went away as well", || now(groups.count("renewed")).is_err());
    assert_eq!(now(groups.count("lasting")), Ok(0));
}
