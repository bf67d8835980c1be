//! Calls of the application, from Go to Rust and back.

use serde_json::{Value, json};

use crate::cluster::Mixed;

/// The handler `rpc` of one side, and a route of the other side.
const BOTH_WAYS: [(&str, &str, &str); 2] = [("connector.interop", "room", "back"), ("room.interop", "connector", "")];

pub(crate) fn by_type_and_by_id_both_ways(world: &Mixed) {
    let mut client = world.client();
    for (handler, to, id) in BOTH_WAYS {
        let ask = json!({ "route": format!("{to}.interop.echo"), "server": id, "text": "t" });
        let answer: Value = client.json(&format!("{handler}.rpc"), ask);
        assert_eq!(answer, json!({ "code": 200, "msg": "got t" }));
    }
    for server in ["front", "other"] {
        let ask = json!({ "route": "connector.interop.echo", "server": server, "text": "t" });
        assert_eq!(client.json::<Value>("room.interop.rpc", ask), json!({ "code": 200, "msg": "got t" }));
    }
    // A server of the own type is called by its id.
    let ask = json!({ "route": "connector.interop.echo", "server": "other", "text": "t" });
    assert_eq!(client.json::<Value>("connector.interop.rpc", ask), json!({ "code": 200, "msg": "got t" }));
}

pub(crate) fn errors_with_metadata(world: &Mixed) {
    let mut client = world.client();
    for (handler, to, _) in BOTH_WAYS {
        let ask = json!({ "route": format!("{to}.interop.fail"), "text": "t" });
        let error = client.refused(&format!("{handler}.rpc"), ask.to_string());
        assert_eq!((&*error.code, &*error.message, &*error.metadata["some"]), ("PIT-433", "test error", "meta"));
    }
}

pub(crate) fn without_argument_and_unknown(world: &Mixed) {
    let mut client = world.client();
    for (handler, to, _) in BOTH_WAYS {
        let ask = json!({ "route": format!("{to}.interop.noarg") });
        let answer: Value = client.json(&format!("{handler}.rpcnoarg"), &ask);
        assert_eq!(answer, json!({ "code": 200, "msg": "got nothing" }));
        let answer: Value =
            client.json(&format!("{handler}.rpc"), json!({ "route": format!("{to}.interop.noarg"), "text": "x" }));
        assert_eq!(answer, json!({ "code": 200, "msg": "got nothing" }));
        let answer: Value =
            client.json(&format!("{handler}.rpcnoarg"), json!({ "route": format!("{to}.interop.echo") }));
        assert_eq!(answer, json!({ "code": 200, "msg": "got " }));
        let unknown =
            client.refused(&format!("{handler}.rpc"), json!({ "route": format!("{to}.interop.nosuch") }).to_string());
        assert_eq!((&*unknown.code, &*unknown.message), ("PIT-404", "route not found"));
        assert_eq!(unknown.metadata["route"], "interop.nosuch");
    }
}

pub(crate) fn nonsense(world: &Mixed) {
    let mut client = world.client();
    let text = "you are making a rpc that may be processed locally, either specify a different server type or specify a server id";
    for (handler, own, id) in [("connector.interop", "connector", "front"), ("room.interop", "room", "back")] {
        for server in ["", id] {
            let ask = json!({ "route": format!("{own}.interop.echo"), "server": server }).to_string();
            let error = client.refused(&format!("{handler}.rpc"), ask);
            assert_eq!((&*error.code, &*error.message), ("PIT-000", text));
        }
        let ask = json!({ "route": "nobody.interop.echo" }).to_string();
        assert_eq!(client.refused(&format!("{handler}.rpc"), ask).code, "PIT-500");
        let ask = json!({ "route": "x.interop.echo", "server": "nobody" }).to_string();
        let error = client.refused(&format!("{handler}.rpc"), ask);
        assert_eq!((&*error.code, &*error.message), ("PIT-000", "server not found"));
    }
}

pub(crate) fn panics(world: &Mixed) {
    let mut client = world.client();
    for (handler, to, _) in BOTH_WAYS {
        let ask = json!({ "route": format!("{to}.interop.panics") });
        let error = client.refused(&format!("{handler}.rpc"), ask.to_string());
        assert_eq!((&*error.code, &*error.message), ("PIT-000", "boom"));
    }
}
