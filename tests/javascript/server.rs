//! What the tests beside this file talk to: `javascript-server [--compression auto|on|off] [--web ADDR]`.
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

use std::time::Duration;

use cereus::{App, Compression, Error, Json, Raw, Service, Session, WebSocket};
use serde_json::{Value, json};

async fn echo(body: Json<Value>) -> Json<Value> {
    body
}

async fn fail() -> Result<Json<()>, Error> {
    Err(Error::new("GAME-001", "not enough coins").with("missing", 3))
}

/// Pushes what it was given, on a route that has a code and on one that has none.
async fn announce(session: Session, Json(body): Json<Value>) -> Result<Json<()>, Error> {
    session.push("onMessage", Json(&body))?;
    session.push("onPlain", Json(&body))?;
    Ok(Json(()))
}

/// The same of what a notify tells.
async fn tell(session: Session, body: Json<Value>) -> Result<(), Error> {
    announce(session, body).await.map(drop)
}

/// What the client told in its handshake.
async fn handshake(session: Session) -> Raw {
    Raw(session.handshake().unwrap_or_default().encode().into())
}

/// Whether anybody is here who said this of himself.
async fn here(session: Session, Json(user): Json<Option<serde_json::Map<String, Value>>>) -> Json<bool> {
    let mut here = false;
    let is_it = |other: &Session| other.handshake().is_some_and(|handshake| handshake.user == user);
    session.server().sessions().for_each(|other| here |= is_it(other));
    Json(here)
}

async fn close(session: Session) {
    session.close();
}

async fn big() -> Json<Value> {
    Json(json!({ "text": "four".repeat(1024) }))
}

async fn kick(session: Session) -> Json<Value> {
    session.kick(Some("closing time"));
    Json(json!("bye"))
}

fn option(name: &str, default: &str) -> String {
    std::env::args().skip_while(|arg| arg != name).nth(1).unwrap_or_else(|| default.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let compression = match option("--compression", "auto").as_str() {
        "auto" => Compression::Auto,
        "on" => Compression::On,
        "off" => Compression::Off,
        other => return Err(format!("--compression is auto, on or off, not {other}").into()),
    };
    let game = Service::new("game")
        .request("echo", echo)
        .request("fail", fail)
        .request("announce", announce)
        .notify("tell", tell)
        .request("handshake", handshake)
        .request("here", here)
        .request("big", big)
        .request("kick", kick)
        .notify("close", close);
    let server = App::new(())
        .service(game)
        .dictionary([("onMessage", 1), ("game.echo", 2), ("game.tell", 300)])
        .handshake_validator("banned", |_, handshake| async move {
            let is_banned = handshake.user.is_some_and(|user| user.contains_key("banned"));
            if is_banned { Err(Error::new("GAME-002", "banned")) } else { Ok(()) }
        })
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(1)).compression(compression))
        .on_listening(|endpoints| println!("listening on {}", endpoints[0]))
        .build()?;
    cereus::tokio::serve(server, [WebSocket::bind(option("--web", "127.0.0.1:0"))]).await?;
    Ok(())
}
