//! What `suite.js` talks to: `web-server [--web ADDR] [--serializer json|protobuf] [--compression auto|on|off]`. Bodies are bytes
//! here, whatever they are made of.
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cereus::{App, Compression, Error, ProtobufSerializer, Raw, Server, Service, Session, State, WebSocket};
use serde_json::json;

async fn echo(body: Raw) -> Raw {
    body
}

async fn fail() -> Result<Raw, Error> {
    Err(Error::new("GAME-001", "not enough coins").with("missing", 3).with("__proto__", "x"))
}

/// Pushes what it was given, on a route that has a code and on one that has none.
async fn announce(session: Session, body: Raw) -> Result<Raw, Error> {
    session.push("onMessage", body.clone())?;
    session.push("onPlain", body)?;
    Ok(Raw::default())
}

async fn burst(session: Session) -> Result<Raw, Error> {
    for number in 0..100 {
        session.push("onBurst", Raw(number.to_string().into()))?;
    }
    Ok(Raw::default())
}

async fn tell(server: Server, body: Raw) -> Result<(), Error> {
    server.broadcast("onTold", body)?;
    Ok(())
}

async fn count(State(count): State<Arc<AtomicUsize>>) -> Result<(), Error> {
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn counted(State(count): State<Arc<AtomicUsize>>) -> Raw {
    Raw(count.load(Ordering::Relaxed).to_string().into())
}

async fn hold() -> Raw {
    future::pending().await
}

/// With the body as the reason, if there is one.
async fn kick(session: Session, Raw(reason): Raw) -> Raw {
    session.kick(std::str::from_utf8(&reason).ok().filter(|reason| !reason.is_empty()));
    Raw::default()
}

/// What the client told in its handshake.
async fn hello(session: Session) -> Raw {
    let told = session.handshake().unwrap_or_default();
    let told = json!({ "platform": told.platform, "version": told.client_version, "user": told.user });
    Raw(told.to_string().into())
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
    let game = game.request("burst", burst).request("kick", kick).request("hello", hello).notify("tell", tell);
    let game = game.notify("count", count).request("counted", counted);
    let mut app = App::new(Arc::new(AtomicUsize::new(0)))
        .service(game)
        .service(Service::new("slow").concurrency(100).request("hold", hold))
        .dictionary([("onMessage", 1), ("game.echo", 2)])
        .handshake_validator("welcome", |_, handshake| {
            let unwelcome = handshake.user.as_ref().is_some_and(|user| user.contains_key("unwelcome"));
            async move { if unwelcome { Err(Error::new("GAME-002", "not you")) } else { Ok(()) } }
        })
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(1)).compression(compression))
        .on_listening(|endpoints| println!("listening on {}", endpoints[0]));
    if option("--serializer", "json") == "protobuf" {
        app = app.serializer(ProtobufSerializer);
    }
    cereus::tokio::serve(app.build()?, [WebSocket::bind(option("--web", "127.0.0.1:0"))]).await?;
    Ok(())
}
