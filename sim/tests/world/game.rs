//! What the servers do: everything that an app can.

use std::{future::Future, time::Duration};

use cereus_app::{App, Error, Forward, Protobuf, PushError, Raw, Remote, Rpc, Server, Service, Session, State};
use cereus_core::Route;
use cereus_sim::{Host, Rng, SimRuntime};
use futures_lite::future;

use super::model::{DEADLINE, Model, Running, TIMEOUT};

/// Where pushes wait.
pub(crate) const MAILBOX: usize = 16 << 10;
pub(crate) const QUEUE: usize = 32 << 10;

const MILLI: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub(crate) struct Game {
    runtime: SimRuntime,
    model: Model,
}

/// A server of this type.
pub(crate) fn app(host: &Host, server_type: &str, model: &Model) -> App<Game> {
    let leaves = model.clone();
    let cluster = host
        .cluster()
        .request_timeout(TIMEOUT)
        .record_ttl(Duration::from_secs(10))
        .registry_timeout(Duration::from_secs(2))
        .forward("chat", Forward::new().sticky());
    App::new(Game { runtime: host.runtime().clone(), model: model.clone() })
        .server_type(server_type)
        .cluster(cluster)
        .protocol(|protocol| {
            protocol.heartbeat(Duration::from_secs(1)).handshake_timeout(Duration::from_secs(2)).max_queued_bytes(QUEUE)
        })
        .max_mailbox_bytes(MAILBOX)
        .handler_deadline(DEADLINE)
        .write_timeout(Duration::from_secs(5))
        .drain_timeout(Duration::from_secs(6))
        .service(service())
        .remote(Remote::new("far").call("nap", far_nap))
        .on_close(move |session: Session| {
            session.peer().into_iter().for_each(|peer| leaves.left(peer));
            async {}
        })
}

fn service() -> Service<Game> {
    Service::new("play")
        .request("echo", echo)
        .request("nap", nap)
        .notify("note", nap_quietly)
        .request("bind", bind)
        .request("push", push)
        .request("flood", flood)
        .request("shout", shout)
        .request("call", call)
        .request("kick", kick)
        .request("fail", fail)
        .request("data", data)
}

/// Begins with a message, and tells its argument.
fn begin(game: &Game, session: &Session, body: &[u8]) -> (Running, String) {
    game.model.begins(body, session.is_closed())
}

async fn echo(State(game): State<Game>, session: Session, Raw(body): Raw) -> Raw {
    let _running = begin(&game, &session, &body);
    Raw(body)
}

async fn nap(State(game): State<Game>, session: Session, Raw(body): Raw) -> Raw {
    let (_running, argument) = begin(&game, &session, &body);
    game.runtime.sleep(MILLI * argument.parse().unwrap()).await;
    Raw(body)
}

async fn nap_quietly(State(game): State<Game>, session: Session, Raw(body): Raw) {
    let (_running, argument) = begin(&game, &session, &body);
    game.runtime.sleep(MILLI * argument.parse().unwrap()).await;
}

async fn bind(State(game): State<Game>, session: Session, server: Server, Raw(body): Raw) -> Result<Raw, Error> {
    let (_running, user) = begin(&game, &session, &body);
    session.bind(user.as_str()).await?;
    if session.frontend().is_none() {
        let groups = server.groups();
        let _ = groups.create("all").await;
        let _ = groups.add("all", user.as_str()).await;
    }
    Ok(Raw("bound".into()))
}

/// Pushes to its own session, and tells how many pushes that makes. From afar they may be lost.
async fn push(State(game): State<Game>, session: Session, Raw(body): Raw) -> Raw {
    let (running, argument) = begin(&game, &session, &body);
    if session.frontend().is_some() {
        let _ = session.push("on.afar", argument.into_bytes());
        return Raw("pushed afar".into());
    }
    for _ in 0..argument.parse().unwrap() {
        let number = game.model.next_push(&running);
        let text = number.to_string();
        let len = text.len();
        if session.push("on.push", text.into_bytes()).is_ok() {
            game.model.pushed(&running, len);
        }
    }
    Raw(format!("pushed {}", game.model.next_push(&running) - 1).into())
}

/// Pushes far more than all buffers hold, one way or the other.
async fn flood(State(game): State<Game>, session: Session, Raw(body): Raw) -> Result<Raw, Error> {
    let (running, argument) = begin(&game, &session, &body);
    if session.frontend().is_some() {
        return Ok(Raw("not from afar".into()));
    }
    for _ in 0..(4 * (MAILBOX + QUEUE) + (256 << 10)) >> 10 {
        let body = long_push(game.model.next_push(&running));
        let len = body.len();
        let pushed = match argument.as_str() {
            "waits" => session.push_wait("on.push", body).await,
            _ => session.push("on.push", body),
        };
        match pushed {
            Ok(()) => game.model.pushed(&running, len),
            Err(PushError::Full) => game.runtime.sleep(MILLI).await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Raw(format!("pushed {}", game.model.next_push(&running) - 1).into()))
}

/// A number, and 1 KiB that cannot be deflated.
fn long_push(number: u64) -> Vec<u8> {
    let mut rng = Rng::new(number);
    let noise = (0..1 << 7).flat_map(|_| rng.next_u64().to_le_bytes());
    format!("{number} ").into_bytes().into_iter().chain(noise).collect()
}

async fn shout(State(game): State<Game>, session: Session, server: Server, Raw(body): Raw) -> Result<Raw, Error> {
    let (_running, _) = begin(&game, &session, &body);
    let shout = game.model.next_shout().to_string().into_bytes();
    if session.frontend().is_some() {
        server.users("gate").push(&["ann", "bob"], Route::from_static("on.shout"), shout).await?;
    } else {
        server.groups().broadcast("all", "on.shout", shout).await?;
    }
    Ok(Raw("shouted".into()))
}

/// Calls another server, and seldom waits for long.
async fn call(State(game): State<Game>, session: Session, rpc: Rpc, Raw(body): Raw) -> Result<Raw, Error> {
    let (_running, argument) = begin(&game, &session, &body);
    let millis: u32 = argument.parse().unwrap();
    let rpc = rpc.timeout(TIMEOUT);
    let call = measure(&game, rpc.call::<u32>("room.far.nap", &millis));
    if millis == 1900 {
        let impatient = async {
            game.runtime.sleep(500 * MILLI).await;
            Ok(0)
        };
        future::or(call, impatient).await?;
    } else {
        call.await?;
    }
    Ok(Raw("called".into()))
}

async fn measure<T>(game: &Game, call: impl Future<Output = T>) -> T {
    let _calling = game.model.calls();
    call.await
}

async fn far_nap(State(game): State<Game>, Protobuf(millis): Protobuf<u32>) -> Protobuf<u32> {
    game.runtime.sleep(MILLI * millis).await;
    Protobuf(millis)
}

/// Throws a user out, wherever he is.
async fn kick(State(game): State<Game>, session: Session, server: Server, Raw(body): Raw) -> Raw {
    let (_running, user) = begin(&game, &session, &body);
    measure(&game, server.users("gate").kick(&[user.as_str()])).await;
    Raw("kicked".into())
}

async fn fail(State(game): State<Game>, session: Session, Raw(body): Raw) -> Result<Raw, Error> {
    let (_running, _) = begin(&game, &session, &body);
    Err(Error::new("GAME-1", "on purpose"))
}

/// Remembers something, on the frontend as well.
async fn data(State(game): State<Game>, session: Session, Raw(body): Raw) -> Result<Raw, Error> {
    let (_running, argument) = begin(&game, &session, &body);
    session.data(|data| data.set("last", &argument))?;
    measure(&game, session.push_to_front()).await?;
    Ok(Raw("remembered".into()))
}
