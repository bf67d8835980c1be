//! What `client.test.js` talks to: `javascript-server [--compression auto|on|off] [--web ADDR]`.
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

use std::time::Duration;

use cereus::{App, Compression, Error, Json, Service, Session, WebSocket};
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
    let game = Service::new("game").request("echo", echo).request("fail", fail).request("announce", announce);
    let server = App::new(())
        .service(game.request("big", big).request("kick", kick))
        .dictionary([("onMessage", 1), ("game.echo", 2)])
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(1)).compression(compression))
        .on_listening(|endpoints| println!("listening on {}", endpoints[0]))
        .build()?;
    cereus::tokio::serve(server, [WebSocket::bind(option("--web", "127.0.0.1:0"))]).await?;
    Ok(())
}
