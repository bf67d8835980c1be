//! `cereus repl` with servers that speak protobuf.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "support/explorable.rs"]
mod explorable;
#[path = "support/run.rs"]
mod run;
#[path = "support/server.rs"]
mod server;

use std::{fs, path::Path};

use prost::Message;

use crate::run::repl;

/// What can be said once the types are known.
const CONVERSATION: &str = r#"
    request game.room.join {"name": "nina  b", "place": {"x": 3}}
    expect . == {"code": 200, "you": {"name": "nina  b", "place": {"x": 3, "y": 0}}, "others": []}
    expect at missing
    request room.join {"name": "b"}
    expect you.name == "b"
    request game.room.join
    expect error ROOM-001 metadata.hint == "name"
    notify room.say {"place": {"y": -4}}
    expect push onMove to.y == -4
"#;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn types_from_the_server() {
    let server = explorable::server(&server::folder());
    let script = format!("push onMove game.Moved\nconnect {}\n{CONVERSATION}", server.place("ws"));
    let ran = repl(&["--docs", "game.room.docs", "--insecure"], &script).ended(0, "");
    assert!(ran.out.contains("the server does not tell of game.Secret: PIT-404: protobuf type not found"), "{ran:#?}");
    // Neither remotes nor the docs' own handlers are anything that a user could want.
    assert_eq!(ran.out.matches("the server does not tell").count(), 1, "{ran:#?}");
    // What the server gives no type for.
    let script = format!("{script}\nrequest room.secret {{}}");
    let failure = "no message is called `game.Secret`";
    repl(&["--docs", "game.room.docs", "--insecure"], &script).ended(2, failure);

    let script = format!("push onMove game.Moved\nconnect\n{CONVERSATION}\nroutes");
    let arguments = ["--docs", "room.docs", "--descriptors-route", "room.types", "--json", server.address("tcp")];
    let ran = repl(&arguments, &script).ended(0, "");
    let events = ran.events();
    let error = events.iter().find(|event| event["kind"] == "error").unwrap();
    assert_eq!((&error["code"], &error["message"]), (&"ROOM-001".into(), &"who are you?".into()));
    let routes = events.iter().find(|event| event["kind"] == "routes").unwrap();
    assert!(routes["routes"].as_array().unwrap().contains(&"game.room.secret".into()), "{routes}");
}

#[test]
fn types_from_files() {
    let folder = server::folder();
    let server = explorable::server(&folder);
    let [game, _] = explorable::proto_files(&folder);
    let types = "type game.room.join game.Join game.Joined\ntype room.say game.Join -\npush onMove game.Moved\n";
    let script = format!("{types}{CONVERSATION}");
    repl(&["--proto", text(&game), server.address("tls"), "--insecure"], &script).ended(0, "");
    let set = folder.join("game.bin");
    fs::write(&set, protox::compile([&game], [&folder]).unwrap().encode_to_vec()).unwrap();
    repl(&["--descriptors", text(&set), server.address("tcp")], &script).ended(0, "");

    let moved = folder.join("elsewhere/game.proto");

    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::copy(&game, &moved).unwrap();
    repl(&["--proto", text(&moved), "--include", text(&folder), server.address("tcp")], &script).ended(0, "");
}

#[test]
fn mistakes_are_told() {
    let folder = server::folder();
    let server = explorable::server(&folder);
    let [game, _] = explorable::proto_files(&folder);
    let (game, address) = (text(&game), server.address("tcp"));
    let types = "type room.join game.Join game.Joined\ntype room.broken - game.Joined\n";
    for (line, code, error) in [
        ("request room.join {\"nam\": 1}", 2, "stdin:3: this is no `game.Join`: unrecognized field name 'nam'"),
        ("request room.join {\"name\": \"a\"", 2, "stdin:3: this is no `game.Join`: EOF"),
        (
            "request room.say {}",
            2,
            "stdin:3: the types of room.say are not known: tell them with `type room.say INPUT OUTPUT`",
        ),
        ("push onMove Moved", 2, "stdin:3: no message is called `Moved`: is it `game.Moved`?"),
        ("request room.broken", 1, "stdin:3: room.broken: the body is no `game.Joined`: "),
    ] {
        repl(&["--proto", game, address], &format!("{types}{line}\n")).ended(code, error);
    }
    let broken = folder.join("broken.proto");
    fs::write(&broken, "syntax = \"proto3\"; message {").unwrap();
    repl(&["--proto", text(&broken)], "").ended(2, "broken.proto");
    repl(&["--proto", "nothing.proto"], "").ended(2, "nothing.proto cannot be read");
    repl(&["--descriptors", game], "").ended(2, "is no set of descriptors, as protoc --descriptor_set_out writes it");
    repl(&["--docs", "room.nothing", address], "").ended(1, "the docs at room.nothing: PIT-404");
    repl(&["--docs", "room.join", address], "").ended(1, "the docs at room.join: ROOM-001");
    repl(&["--docs", "room.docs", "--descriptors-route", "room.broken", address], "")
        .ended(1, "is no protos.ProtoDescriptors");
    let ran = repl(&[address], "").ended(0, "");
    assert!(ran.out.contains("its bodies are protobuf: start with --docs"), "{ran:#?}");
    let room = server::room();
    repl(&["--docs", "room.echo", room.address("tcp")], "").ended(1, "what protos.Doc holds is no JSON");
}
