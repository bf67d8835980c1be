//! The messages between servers against the golden vectors, both directions.

use std::{any::type_name, collections::BTreeMap, fmt::Debug};

use bytes::Bytes;
use cereus_cluster::protos::{
    BindMsg, Doc, DocMsg, Error, KickAnswer, KickMsg, Msg, ProtoDescriptor, ProtoDescriptors, ProtoName, ProtoNames,
    Push, Request, Response, Session,
};
use prost::Message;
use serde_json::{Map, Value};

use crate::support::{Vector, check, decode_hex, expect_eq};

#[path = "support/vectors.rs"]
mod support;

#[test]
fn vectors_of_envelopes() {
    check("envelopes.json", |vector| {
        let checked = check_named(vector);
        if vector.flag("runtimes_differ") {
            // Information only: the protobuf runtimes of the reference disagree.
            return checked.or_else(|failure| {
                eprintln!("{} {}: {failure}", vector.str("message"), vector.str("hex"));
                Ok(())
            });
        }
        checked
    });
}

fn check_named(vector: &Vector) -> Result<(), String> {
    match vector.str("message") {
        "BindMsg" => check_envelope::<BindMsg>(vector),
        "Doc" => check_envelope::<Doc>(vector),
        "DocMsg" => check_envelope::<DocMsg>(vector),
        "Error" => check_envelope::<Error>(vector),
        "KickAnswer" => check_envelope::<KickAnswer>(vector),
        "KickMsg" => check_envelope::<KickMsg>(vector),
        "Msg" => check_envelope::<Msg>(vector),
        "ProtoDescriptor" => check_envelope::<ProtoDescriptor>(vector),
        "ProtoDescriptors" => check_envelope::<ProtoDescriptors>(vector),
        "ProtoName" => check_envelope::<ProtoName>(vector),
        "ProtoNames" => check_envelope::<ProtoNames>(vector),
        "Push" => check_envelope::<Push>(vector),
        "Request" => check_envelope::<Request>(vector),
        "Response" => check_envelope::<Response>(vector),
        "Session" => check_envelope::<Session>(vector),
        name => Err(format!("there is no message {name}")),
    }
}

fn check_envelope<T: Envelope>(vector: &Vector) -> Result<(), String> {
    match vector.str("kind") {
        "encode" => check_encode::<T>(vector),
        "decode" => check_decode::<T>(vector),
        kind => Err(format!("there is no kind {kind}")),
    }
}

fn check_encode<T: Envelope>(vector: &Vector) -> Result<(), String> {
    let fields = vector.get("fields");
    let envelope = T::from_fields(fields)?;
    expect_eq("what the fields make", &envelope.to_fields(), fields)?;
    let encoded = Bytes::from(envelope.encode_to_vec());
    if !vector.flag("unordered_map") {
        expect_eq("the encoding", &encoded[..], &vector.hex("hex"))?;
    }
    for bytes in [encoded, vector.hex("hex").into()] {
        let decoded = T::decode(bytes).map_err(|error| error.to_string())?;
        expect_eq("what comes back after decoding", &decoded, &envelope)?;
    }
    Ok(())
}

fn check_decode<T: Envelope>(vector: &Vector) -> Result<(), String> {
    let envelope = match (T::decode(Bytes::from(vector.hex("hex"))), vector.has("error")) {
        (Ok(envelope), false) => envelope,
        (Ok(envelope), true) => return Err(format!("decoded as {envelope:?}")),
        (Err(_), true) => return expect_eq("the error", vector.str("error"), "invalid_protobuf"),
        (Err(error), false) => return Err(format!("refused: {error}")),
    };
    expect_eq("what is decoded", &envelope.to_fields(), vector.get("fields"))?;
    let again = T::decode(Bytes::from(envelope.encode_to_vec())).map_err(|error| error.to_string())?;
    expect_eq("what comes back after encoding", again, envelope)
}

/// A message, and its form in the vectors: an object of the members that are not their default.
trait Envelope: Message + Debug + Default + PartialEq {
    fn from_fields(fields: &Value) -> Result<Self, String>;
    fn to_fields(&self) -> Value;
}

/// A member of a message, and its form in the vectors.
trait Member: Default + PartialEq {
    fn from_value(value: &Value) -> Option<Self>;
    fn to_value(&self) -> Value;

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

macro_rules! envelopes {
    ($($message:ident { $($name:literal $member:ident),+ })+) => {$(
        impl Envelope for $message {
            fn from_fields(fields: &Value) -> Result<Self, String> {
                Ok(Self { $($member: member(fields, $name)?),+ })
            }

            fn to_fields(&self) -> Value {
                let mut fields = Map::new();
                $(if !self.$member.is_default() {
                    fields.insert($name.to_owned(), self.$member.to_value());
                })+
                fields.into()
            }
        }
    )+};
}

envelopes! {
    BindMsg { "uid" uid, "fid" fid }
    Doc { "doc" doc }
    DocMsg { "getProtos" get_protos }
    Error { "code" code, "msg" msg, "metadata" metadata }
    KickAnswer { "kicked" kicked }
    KickMsg { "userId" user_id }
    Msg { "id" id, "route" route, "data_hex" data, "reply" reply, "type" r#type }
    ProtoDescriptor { "desc_hex" desc }
    ProtoDescriptors { "desc_hex" desc }
    ProtoName { "name" name }
    ProtoNames { "name" name }
    Push { "route" route, "uid" uid, "data_hex" data, "onFull" on_full }
    Request { "type" r#type, "session" session, "msg" msg, "frontendID" frontend_id, "metadata_hex" metadata }
    Response { "data_hex" data, "error" error }
    Session { "id" id, "uid" uid, "data_hex" data }
}

fn member<T: Member>(fields: &Value, name: &str) -> Result<T, String> {
    let Some(value) = fields.get(name) else {
        return Ok(T::default());
    };
    T::from_value(value).ok_or_else(|| format!("`{name}` is {value} and not {}", type_name::<T>()))
}

impl Member for bool {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_value(&self) -> Value {
        (*self).into()
    }
}

/// Enums: their numbers, known or not.
impl Member for i32 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_i64()?.try_into().ok()
    }

    fn to_value(&self) -> Value {
        (*self).into()
    }
}

impl Member for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn to_value(&self) -> Value {
        self.to_string().into()
    }
}

impl Member for u64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn to_value(&self) -> Value {
        self.to_string().into()
    }
}

impl Member for String {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }

    fn to_value(&self) -> Value {
        self.as_str().into()
    }
}

impl Member for Bytes {
    fn from_value(value: &Value) -> Option<Self> {
        decode_hex(value.as_str()?).map(Self::from)
    }

    fn to_value(&self) -> Value {
        format!("{self:x}").into()
    }
}

impl<T: Member> Member for Vec<T> {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_value).collect()
    }

    fn to_value(&self) -> Value {
        self.iter().map(T::to_value).collect()
    }
}

impl Member for BTreeMap<String, String> {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_object()?.iter().map(|(key, value)| Some((key.clone(), String::from_value(value)?))).collect()
    }

    fn to_value(&self) -> Value {
        self.iter().map(|(key, value)| (key.clone(), value.to_value())).collect()
    }
}

/// A sub-message, present even if it is empty.
impl<T: Envelope> Member for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        T::from_fields(value).ok().map(Some)
    }

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_fields)
    }
}
