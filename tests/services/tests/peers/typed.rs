//! A server of ours that speaks protobuf and tells of its routes and types, as programs with Pitaya do.

use std::io::Write;

use cereus::{App, Error, Protobuf, ProtobufSerializer, Service, Session};
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Pitaya's client knows types by the `proto` in their names.
const DOCS: &str = r#"{
    "handlers": {
        "connector.typed.docs": {"input": null, "output": [{"*protos.Doc": {"doc": "string"}}, "error"]},
        "connector.typed.types": {"input": {"*protos.ProtoNames": {"name": ["string"]}},
                                  "output": [{"*protos.ProtoDescriptors": {"desc": ["[]byte"]}}, "error"]},
        "connector.typed.greet": {"input": {"*protogame.Greet": {"name": "string"}},
                                  "output": [{"*protogame.Greeting": {"text": "string"}}, "error"]},
        "connector.typed.say": {"input": {"*protogame.Greet": {"name": "string"}}, "output": []}
    },
    "remotes": {}
}"#;

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

#[derive(Clone, PartialEq, prost::Message)]
struct Greet {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

/// A file with messages that have one field each.
fn file(package: &str, messages: &[(&str, &str, Label, Type)]) -> FileDescriptorProto {
    let message = |&(name, field, label, kind): &(&str, &str, Label, Type)| DescriptorProto {
        name: Some(name.to_owned()),
        field: vec![FieldDescriptorProto {
            name: Some(field.to_owned()),
            number: Some(1),
            label: Some(label.into()),
            r#type: Some(kind.into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorProto {
        name: Some(format!("{package}.proto")),
        package: Some(package.to_owned()),
        message_type: messages.iter().map(message).collect(),
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    }
}

/// One descriptor for each name, in their order.
async fn types(Protobuf(names): Protobuf<ProtoNames>) -> Result<Protobuf<ProtoDescriptors>, Error> {
    let (one, many) = (Label::Optional, Label::Repeated);
    let protos = [
        ("Doc", "doc", one, Type::String),
        ("ProtoNames", "name", many, Type::String),
        ("ProtoDescriptors", "desc", many, Type::Bytes),
    ];
    let game = [("Greet", "name", one, Type::String), ("Greeting", "text", one, Type::String)];
    let files = [file("protos", &protos), file("protogame", &game)];
    let pack = |name: &String| {
        let is_in = |file: &&FileDescriptorProto| {
            file.message_type.iter().any(|message| *name == format!("{}.{}", file.package(), message.name()))
        };
        let file = files.iter().find(is_in).ok_or_else(|| Error::new("PIT-404", format!("no type {name}")))?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&file.encode_to_vec())?;
        Ok(packed.finish()?)
    };
    Ok(Protobuf(ProtoDescriptors { desc: names.name.iter().map(pack).collect::<Result<_, Error>>()? }))
}

fn greeting(greet: &Greet) -> Protobuf<Greeting> {
    Protobuf(Greeting { text: format!("hello {}", greet.name) })
}

async fn greet(Protobuf(greet): Protobuf<Greet>) -> Result<Protobuf<Greeting>, Error> {
    if greet.name.is_empty() {
        return Err(Error::new("GREET-001", "who are you?"));
    }
    Ok(greeting(&greet))
}

async fn say(session: Session, Protobuf(greet): Protobuf<Greet>) -> Result<(), Error> {
    Ok(session.push("onSay", greeting(&greet))?)
}

pub(crate) fn app() -> App<()> {
    let typed = Service::new("typed")
        .request("docs", || async { Protobuf(Doc { doc: DOCS.to_owned() }) })
        .request("types", types)
        .request("greet", greet)
        .notify("say", say);
    App::new(()).serializer(ProtobufSerializer).server_type("connector").service(typed)
}
