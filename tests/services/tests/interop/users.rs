//! What one side does to sessions and users of the other.

use cereus::core::CloseReason;
use serde_json::{Value, json};

use crate::cluster::{Front, Link, Mixed};

pub(crate) fn bind_and_whoami(world: &Mixed) {
    let (mut client, uid) = world.bound();
    let (front, back) = (client.json::<Value>("interop.whoami", ()), client.json::<Value>("room.interop.whoami", ()));
    assert_eq!((&front["uid"], &back["uid"]), (&json!(uid), &json!(uid)));
    let again = client.refused("room.interop.join", json!({ "uid": "other" }).to_string());
    assert_eq!((&*again.code, &*again.message), ("PIT-000", "session is already bound to an uid"));
    let mut other = world.client();
    assert_eq!(other.refused("room.interop.join", json!({ "uid": "" }).to_string()).code, "PIT-000");
}

pub(crate) fn data_to_the_front(world: &Mixed) {
    let (mut client, _) = world.bound();
    for (n, value) in [json!("text"), json!(12), json!({ "a": [1, null, true] })].iter().enumerate() {
        let key = format!("k{n}");
        client.json::<Value>("room.interop.set", json!({ "key": key, "value": value }));
        for route in ["interop.get", "room.interop.get"] {
            assert_eq!(client.json::<Value>(route, json!({ "key": key })), json!({ "value": value }), "{route}");
        }
        client.json::<Value>("interop.set", json!({ "key": "front", "value": value }));
        assert_eq!(client.json::<Value>("room.interop.get", json!({ "key": "front" })), json!({ "value": value }));
    }
    assert_eq!(client.json::<Value>("room.interop.get", json!({ "key": "none" })), json!({ "value": null }));
    let version: Value = client.json("room.interop.get", json!({ "key": "ipversion" }));
    assert_eq!(version, json!({ "value": "ipv4" }));
}

pub(crate) fn push_to_the_session(world: &Mixed) {
    let (mut client, _) = world.bound();
    for n in 0..20 {
        client.json::<Value>("room.interop.push", json!({ "route": "onX", "text": n.to_string() }));
        assert_eq!(client.expect_push("onX"), format!(r#"{{"text":"{n}"}}"#));
    }
}

pub(crate) fn kick_of_the_session(world: &Mixed) {
    let (mut client, _) = world.bound();
    let id = client.send("room.interop.kick", "{}");
    // A frontend of Rust lets the answer out first.
    if world.front == Front::Rust {
        assert_eq!(client.answer_to(id).unwrap(), r#"{"ok":true}"#);
    }
    assert_eq!(client.expect_kick(), "");
    assert_eq!(client.expect_closed(), CloseReason::Kicked);
    let mut unbound = world.client();
    unbound.refused("room.interop.kick", "{}");
}

pub(crate) fn unique_session_across_frontends(world: &Mixed) {
    let (mut first, uid) = world.bound();
    let mut second = world.other_client();
    second.json::<Value>("room.interop.join", json!({ "uid": uid }));
    first.expect_kick();
    assert_eq!(first.expect_closed(), CloseReason::Kicked);
    // Go takes out where a user is bound when the session before ends, also when that is another frontend by then: it may
    // not find him any more.
    if (world.front, world.link) == (Front::Go, Link::Grpc) {
        return;
    }
    // And back again.
    let mut third = world.client();
    third.json::<Value>("room.interop.join", json!({ "uid": uid }));
    second.expect_kick();
    assert_eq!(second.expect_closed(), CloseReason::Kicked);
    third.json::<Value>("room.interop.push", json!({ "route": "onX", "text": "still" }));
    assert_eq!(third.expect_push("onX"), r#"{"text":"still"}"#);
}

pub(crate) fn push_to_users(world: &Mixed) {
    let (mut first, uid) = world.bound();
    let (mut second, other_uid) = (world.other_client(), world.user());
    second.json::<Value>("interop.join", json!({ "uid": other_uid }));
    for handler in ["interop.pushusers", "room.interop.pushusers"] {
        let ask = json!({ "uids": [uid, other_uid, "nobody"], "route": "onUsers", "text": handler });
        let answer: Value = first.json(handler, ask);
        for client in [&mut first, &mut second] {
            assert_eq!(client.expect_push("onUsers"), json!({ "text": handler }).to_string());
        }
        // Over NATS nobody can tell whether a frontend of Go has a user.
        if world.link == Link::Grpc {
            assert_eq!(answer, json!({ "failed": ["nobody"] }));
        }
    }
}

pub(crate) fn kick_of_users(world: &Mixed) {
    for handler in ["interop.kickusers", "room.interop.kickusers"] {
        let (mut victim, uid) = world.bound();
        let (mut far, far_uid) = (world.other_client(), world.user());
        far.json::<Value>("interop.join", json!({ "uid": far_uid }));
        let mut client = world.client();
        client.json::<Value>(handler, json!({ "uids": [uid, far_uid] }));
        for client in [&mut victim, &mut far] {
            client.expect_kick();
            assert_eq!(client.expect_closed(), CloseReason::Kicked, "{handler}");
        }
    }
}

pub(crate) fn group_push(world: &Mixed) {
    let group = world.user();
    let (mut first, _) = world.bound();
    let mut second = world.other_client();
    second.json::<Value>("room.interop.join", json!({ "uid": world.user() }));
    let mut outsider = world.bound().0;
    for client in [&mut first, &mut second] {
        client.json::<Value>("room.interop.groupadd", json!({ "group": group }));
    }
    first.notify("room.interop.groupsend", json!({ "group": group, "route": "onGroup", "text": "all" }).to_string());
    for client in [&mut first, &mut second] {
        assert_eq!(client.expect_push("onGroup"), r#"{"text":"all"}"#);
    }
    outsider.json::<Value>("room.interop.whoami", ());
    assert!(!outsider.has_push("onGroup"));
}
