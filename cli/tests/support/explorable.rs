//! A server that speaks protobuf and tells of its routes and types, as programs with Go's Pitaya do.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use cereus::{App, Error, Protobuf, ProtobufSerializer, Raw, Service, Session};
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;

use crate::server::Running;

const PLACE: &str = r#"
    syntax = "proto3"; package world;
    message Place { int32 x = 1; int32 y = 2; }
"#;
const GAME: &str = r#"
    syntax = "proto3"; package game;
    import "world/place.proto";
    import "google/protobuf/timestamp.proto";
    message Join { string name = 1; world.Place place = 2; }
    message Joined { int64 code = 1; Join you = 2; google.protobuf.Timestamp at = 3; repeated string others = 4; }
    message Moved { world.Place to = 1; }
"#;

#[derive(Clone, PartialEq, prost::Message)]
struct Place {
    #[prost(int32, tag = "1")]
    x: i32,
    #[prost(int32, tag = "2")]
    y: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Join {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    place: Option<Place>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Joined {
    #[prost(int64, tag = "1")]
    code: i64,
    #[prost(message, optional, tag = "2")]
    you: Option<Join>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Moved {
    #[prost(message, optional, tag = "1")]
    to: Option<Place>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Doc {
    #[prost(string, tag = "1")]
    doc: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoNames {
    #[prost(string, repeated, tag = "1")]
    name: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDescriptors {
    #[prost(bytes = "vec", repeated, tag = "1")]
    desc: Vec<Vec<u8>>,
}

const DOCS: &str = r#"{
    "handlers": {
        "game.room.docs": {"input": null, "output": [{"*protos.Doc": {"doc": "string"}}, "error"]},
        "game.room.types": {"input": {"*protos.ProtoNames": {"name": ["string"]}},
                            "output": [{"*protos.ProtoDescriptors": {"desc": ["[]byte"]}}, "error"]},
        "game.room.join": {"input": {"*game.Join": {"name": "string"}}, "output": [{"*game.Joined": {}}, "error"]},
        "game.room.say": {"input": {"*game.Join": {"name": "string"}}, "output": []},
        "game.room.secret": {"input": {"*game.Secret": {}}, "output": [{"*game.Joined": {}}, "error"]}
    },
    "remotes": {"game.sys.bind": {"input": {"*game.Unknown": {}}, "output": []}}
}"#;

/// The `.proto` files in a folder; the first is the one that imports the other.
pub(crate) fn proto_files(folder: &Path) -> [PathBuf; 2] {
    let files = [folder.join("game.proto"), folder.join("world/place.proto")];
    fs::create_dir_all(folder.join("world")).unwrap();
    fs::write(&files[0], GAME).unwrap();
    fs::write(&files[1], PLACE).unwrap();
    files
}

/// Each file by its name and by the names of its messages.
fn descriptors(folder: &Path) -> HashMap<String, Vec<u8>> {
    let [game, _] = proto_files(folder);
    let files: Vec<FileDescriptorProto> = protox::compile([game], [folder]).unwrap().file;
    let mut descriptors = HashMap::new();
    for file in files {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&file.encode_to_vec()).unwrap();
        let packed = packed.finish().unwrap();
        for message in &file.message_type {
            descriptors.insert(format!("{}.{}", file.package(), message.name()), packed.clone());
        }
        descriptors.insert(file.name().to_owned(), packed);
    }
    descriptors
}

pub(crate) fn server(folder: &Path) -> Running {
    let descriptors = Arc::new(descriptors(folder));
    let types = move |Protobuf(names): Protobuf<ProtoNames>| {
        let descriptors = Arc::clone(&descriptors);
        async move {
            let found = names.name.iter().map(|name| {
                descriptors
                    .get(name)
                    .cloned()
                    .ok_or_else(|| Error::new("PIT-404", format!("protobuf type not found: {name}")))
            });
            Ok::<_, Error>(Protobuf(ProtoDescriptors { desc: found.collect::<Result<_, _>>()? }))
        }
    };
    let service = Service::new("room")
        .request("docs", || async { Protobuf(Doc { doc: DOCS.to_owned() }) })
        .request("types", types)
        .request("join", join)
        .request("broken", || async { Raw(vec![0xff].into()) })
        .notify("say", say);
    let app = App::new(()).serializer(ProtobufSerializer).server_type("game").service(service);
    Running::serve(app, Arc::default())
}

async fn join(Protobuf(join): Protobuf<Join>) -> Result<Protobuf<Joined>, Error> {
    if join.name.is_empty() {
        return Err(Error::new("ROOM-001", "who are you?").with("hint", "name"));
    }
    Ok(Protobuf(Joined { code: 200, you: Some(join) }))
}

async fn say(session: Session, Protobuf(join): Protobuf<Join>) -> Result<(), Error> {
    Ok(session.push("onMove", Protobuf(Moved { to: join.place }))?)
}
