//! The server that speaks JSON.

use cereus::{App, Error, Json, Session};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use super::connector::{PUSH, service};

pub(crate) fn app() -> App<()> {
    let connector = service()
        .request("gethandshakedata", handshake_data)
        .request("getsessiondata", session_data)
        .request("setsessiondata", set_session_data)
        .request("sendpush", send_push)
        .request("geterror", fail)
        .request("big", big)
        .request("pushdict", push_by_code)
        .request("kickme", kick);
    App::new(()).service(connector).dictionary([
        ("connector.getsessiondata", 1),
        ("connector.setsessiondata", 2),
        ("room.room.getsessiondata", 3),
        ("onMessage", 4),
        ("onMembers", 5),
        ("connector.geterror", 6),
    ])
}

#[derive(Serialize)]
struct Response {
    #[serde(rename = "Code")]
    code: i32,
    #[serde(rename = "Msg")]
    msg: String,
}

fn reply(msg: impl Into<String>) -> Json<Response> {
    Json(Response { code: 200, msg: msg.into() })
}

/// The data as it is, so that numbers stay what they were.
#[derive(Deserialize, Serialize)]
struct SessionData {
    #[serde(rename = "Data", alias = "data", default)]
    data: Box<RawValue>,
}

#[derive(Serialize)]
struct HandshakeData {
    sys: Sys,
    #[serde(skip_serializing_if = "Map::is_empty")]
    user: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sys {
    platform: String,
    lib_version: String,
    client_build_number: String,
    client_version: String,
}

async fn handshake_data(session: Session) -> Json<HandshakeData> {
    let told = session.handshake().unwrap_or_default();
    let sys = Sys {
        platform: told.platform,
        lib_version: told.lib_version,
        client_build_number: told.client_build_number,
        client_version: told.client_version,
    };
    Json(HandshakeData { sys, user: told.user.unwrap_or_default() })
}

async fn session_data(session: Session) -> Result<Json<SessionData>, Error> {
    let data = session.data(|data| data.encode()).unwrap_or_else(|| b"{}".to_vec());
    Ok(Json(SessionData { data: serde_json::from_slice(&data)? }))
}

async fn set_session_data(session: Session, Json(new): Json<SessionData>) -> Result<Json<Response>, Error> {
    let set = session.data(|data| data.replace(new.data.get().as_bytes()));
    set.map_err(|error| Error::new("CN-000", error.to_string()).with("failed", "set data"))?;
    Ok(reply("success"))
}

async fn send_push(session: Session) -> Result<Json<Response>, Error> {
    session.push(PUSH, Json(json!({ "key1": 10, "key2": true })))?;
    Ok(reply("Ok"))
}

async fn fail() -> Result<Json<Response>, Error> {
    Err(Error::new("PIT-000", "GetError is returning a custom error"))
}

/// More than what goes into one segment of TCP, which deflates to nearly nothing.
async fn big() -> Json<Response> {
    reply("big ".repeat(345))
}

async fn push_by_code(session: Session) -> Result<Json<Response>, Error> {
    session.push("onMessage", Json(json!({ "key1": 10, "key2": true })))?;
    Ok(reply("Ok"))
}

async fn kick(session: Session) -> Json<Response> {
    session.kick(None);
    reply("Ok")
}
