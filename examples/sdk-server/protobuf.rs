//! The server that speaks protobuf.

use std::{collections::BTreeMap, future::ready};

use cereus::{App, Error, Protobuf, ProtobufSerializer, Raw, Session};
use prost::Message;

use super::connector::{PUSH, service};

/// With another message than its own, encoded.
pub(crate) fn app(big: Option<Vec<u8>>) -> App<()> {
    let big = Raw(big.unwrap_or_else(|| big_message().encode_to_vec()).into());
    let connector = service()
        .request("getsessiondata", session_data)
        .request("setsessiondata", set_session_data)
        .request("getbigmessage", move || ready(big.clone()))
        .notify("notifysessiondata", push_session_data)
        .request("kickme", kick);
    App::new(())
        .serializer(ProtobufSerializer)
        .service(connector)
        .dictionary([("connector.getsessiondata", 1), ("connector.setsessiondata", 2)])
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionData {
    #[prost(string, tag = "1")]
    pub(crate) data: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) msg: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BigMessage {
    #[prost(string, tag = "1")]
    pub(crate) code: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) response: Option<BigMessageResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BigMessageResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) player: Option<PlayerResponse>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) npcs: BTreeMap<String, Npc>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) chests: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlayerResponse {
    #[prost(string, tag = "1")]
    pub(crate) public_id: String,
    #[prost(string, tag = "2")]
    pub(crate) access_token: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) items: Vec<String>,
    #[prost(double, tag = "5")]
    pub(crate) health: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Npc {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(double, tag = "2")]
    pub(crate) health: f64,
    #[prost(string, tag = "3")]
    pub(crate) public_id: String,
}

fn the_session_data() -> SessionData {
    SessionData { data: "THIS IS THE SESSION DATA".to_owned() }
}

fn reply(msg: &str) -> Protobuf<Response> {
    Protobuf(Response { code: 200, msg: msg.to_owned() })
}

async fn session_data() -> Protobuf<SessionData> {
    Protobuf(the_session_data())
}

/// It is kept, but nobody asks for it.
async fn set_session_data(session: Session, Protobuf(new): Protobuf<SessionData>) -> Result<Protobuf<Response>, Error> {
    let set = session.data(|data| data.set("data", &new.data));
    set.map_err(|error| Error::new("CN-000", error.to_string()).with("failed", "set data"))?;
    Ok(reply("success"))
}

async fn push_session_data(session: Session) -> Result<(), Error> {
    Ok(session.push(PUSH, Protobuf(the_session_data()))?)
}

fn big_message() -> BigMessage {
    let player = PlayerResponse {
        public_id: "0d2f8a61-player".to_owned(),
        access_token: "9b1c44e7-token".to_owned(),
        name: "The Player".to_owned(),
        items: (1..=12).map(|item| format!("an item with the number {item}")).collect(),
        health: 87.5,
    };
    let npc = |number: u32| {
        let npc = Npc {
            name: format!("an enemy with the number {number}"),
            health: f64::from(number) * 12.25,
            public_id: format!("{:016x}-npc", u64::from(number) * 0x0123_4567_89ab_cdef),
        };
        (format!("npc{number}"), npc)
    };
    let response = BigMessageResponse {
        player: Some(player),
        npcs: (1..=5).map(npc).collect(),
        chests: (1..=12).map(|chest| format!("a chest with the number {chest}")).collect(),
    };
    BigMessage { code: "ABC-200".to_owned(), response: Some(response) }
}

async fn kick(session: Session) -> Protobuf<Response> {
    session.kick(None);
    reply("Ok")
}
