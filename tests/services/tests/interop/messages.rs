//! Requests and notifies that the other side's backend handles.

use serde_json::{Value, json};

use crate::cluster::{Front, Link, Mixed};

pub(crate) fn requests_are_forwarded(world: &Mixed) {
    let mut client = world.client();
    assert_eq!(client.request("room.interop.echo", "bytes\0\x01").unwrap(), "bytes\0\x01");
    let local: Value = client.json("connector.interop.whoami", ());
    assert_eq!(local, json!({ "uid": "", "server": "front", "type": "connector" }));
    let forwarded: Value = client.json("room.interop.whoami", ());
    assert_eq!(forwarded, json!({ "uid": "", "server": "back", "type": "room" }));
    let long = "x".repeat(100_000);
    assert_eq!(client.request("room.interop.echo", long.clone()).unwrap(), long);
    for n in 0..50 {
        assert_eq!(client.request("room.interop.echo", n.to_string()).unwrap(), n.to_string());
    }
}

pub(crate) fn errors_keep_their_code(world: &Mixed) {
    let mut client = world.client();
    let error = client.refused("room.interop.fail", json!({ "code": "PIT-777", "msg": "why <&>" }).to_string());
    assert_eq!((&*error.code, &*error.message, &*error.metadata["some"]), ("PIT-777", "why <&>", "meta"));
    let error = client.refused("room.interop.panics", "{}");
    assert_eq!((&*error.code, &*error.message), ("PIT-000", "boom"));
}

pub(crate) fn errors_of_the_way(world: &Mixed) {
    let mut client = world.client();
    let error = client.refused("room.interop.nosuch", "");
    assert_eq!((&*error.code, &*error.message), ("PIT-404", "pitaya/handler: room.interop.nosuch not found"));
    assert_eq!(client.refused("nobody.interop.echo", "").code, "PIT-500");
    assert_eq!(client.refused("room.interop.join", "no json").code, "PIT-400");
    assert_eq!(client.refused("room.interop.tell", json!({ "text": "x" }).to_string()).code, "PIT-400");
}

pub(crate) fn notifies_are_forwarded(world: &Mixed) {
    let (mut client, _) = world.bound();
    client.notify("room.interop.tell", json!({ "text": "hi" }).to_string());
    assert_eq!(client.expect_push("onTell"), r#"{"text":"hi"}"#);
    // A notify to a handler of requests runs it, and nobody is answered.
    client.notify("room.interop.echo", "x");
    assert_eq!(client.request("room.interop.echo", "after").unwrap(), "after");
}

pub(crate) fn timeouts(world: &Mixed) {
    let mut client = world.client();
    let error = client.refused("room.interop.slow", json!({ "ms": 6000 }).to_string());
    // A backend, of Go or of Rust, gives up after the same time and says so, too: whichever is first. Over gRPC a frontend of Go
    // tells its own library's text.
    let code = match (world.front, world.link) {
        (_, Link::Nats) if error.code == "PIT-500" => "PIT-500",
        (Front::Go, Link::Grpc) => "PIT-000",
        _ => "PIT-408",
    };
    assert_eq!(error.code, code);
    if (world.front, code) == (Front::Go, "PIT-500") {
        assert!(error.message.contains("did not end in the time that its caller waits"), "{error:?}");
    }
    if code == "PIT-408" {
        let told = ["route", "server", "peer.id", "timeout"].map(|key| error.metadata[key].as_str());
        assert_eq!(told, ["room.interop.slow", "front", "back", "5s"]);
    }
    assert_eq!(client.request("room.interop.echo", "after").unwrap(), "after");
}

pub(crate) fn metadata(world: &Mixed) {
    let mut client = world.client();
    let mut value = |key: &str| client.json::<Value>("room.interop.meta", json!({ "key": key }))["value"].clone();
    assert_eq!((value("peer.id"), value("peer.service")), (json!("front"), json!("connector")));
    let (first, second) = (value("request.id"), value("request.id"));
    assert!(first.as_str().is_some_and(|id| !id.is_empty()) && first != second, "{first} {second}");
}
