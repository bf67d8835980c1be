//! Chat rooms, and the page to chat on: `cargo run --release --example chat [--tcp ADDR] [--web ADDR]`. With
//! `--cert FILE --key FILE`, both PEM, the page comes over HTTPS and talks over WSS.
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cereus::{App, Error, Json, Server, Service, Session, State, Tcp, TlsConfig, WebSocket};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

const PAGE: &str = include_str!("chat.html");
const CLIENT: &str = include_str!("web/cereus.js");
const CORE: &[u8] = include_bytes!("web/cereus.wasm");
const MAX_NAME: usize = 20;
const MAX_TEXT: usize = 500;
const MAX_ROOMS: usize = 100;
const MAX_HISTORY: usize = 50;

/// The history of each room; who is in it is known to its group. A change is made and pushed under one lock, so that all
/// members see the same order, and the history of a newcomer fits what is pushed to him afterwards.
#[derive(Default)]
struct Rooms(BTreeMap<String, VecDeque<Message>>);

type Shared = Arc<Mutex<Rooms>>;

#[derive(Clone, Serialize)]
struct Message {
    room: String,
    name: Arc<str>,
    text: String,
    /// Milliseconds since 1970.
    at: u64,
}

#[derive(Deserialize)]
struct Join {
    name: String,
    room: String,
}

async fn join(State(rooms): State<Shared>, session: Session, Json(join): Json<Join>) -> Result<Json<Value>, Error> {
    let (name, room) = (checked("name", &join.name, MAX_NAME)?, checked("room", &join.room, MAX_NAME)?);
    match session.uid() {
        Some(uid) if *uid == *name => {}
        Some(uid) => return Err(Error::new("CHAT-002", format!("You are {uid} until you disconnect."))),
        None if session.try_bind(name).await? => {}
        None => return Err(Error::new("CHAT-001", format!("Somebody is called {name} already."))),
    }
    let (mut rooms, groups) = (rooms.lock().await, session.server().groups());
    rooms.leave(&session).await?;
    rooms.open(session.server(), room).await?;
    // Whoever had the name before may be gone, but not yet out of the room.
    if groups.contains(room, name).await? {
        groups.remove(room, name).await?;
        groups.broadcast(room, "onLeave", Json(json!({ "room": room, "name": name }))).await?;
    }
    groups.broadcast(room, "onJoin", Json(json!({ "room": room, "name": name }))).await?;
    groups.add(room, name).await?;
    session.data(|data| data.set("room", room))?;
    let members = groups.members(room).await?;
    Ok(Json(json!({ "name": name, "room": room, "members": members, "history": rooms.0[room] })))
}

async fn say(State(rooms): State<Shared>, session: Session, Json(text): Json<String>) -> Result<Json<()>, Error> {
    let text = checked("message", &text, MAX_TEXT)?.to_owned();
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let mut rooms = rooms.lock().await;
    let (name, room) = whereabouts(&session)?;
    let message = Message { room: room.clone(), name, text, at };
    session.server().groups().broadcast(&room, "onMessage", Json(&message)).await?;
    let history = rooms.0.entry(room).or_default();
    if history.len() == MAX_HISTORY {
        history.pop_front();
    }
    history.push_back(message);
    Ok(Json(()))
}

async fn leave(State(rooms): State<Shared>, session: Session) -> Result<Json<()>, Error> {
    Ok(Json(rooms.lock().await.leave(&session).await?))
}

impl Rooms {
    /// Makes sure that there is such a room. Where there are too many, one that is empty gives way.
    async fn open(&mut self, server: &Server, room: &str) -> Result<(), Error> {
        if self.0.contains_key(room) {
            return Ok(());
        }
        if self.0.len() == MAX_ROOMS {
            let mut empty = None;
            for room in self.0.keys() {
                if server.groups().count(room).await? == 0 {
                    empty = Some(room.clone());
                }
            }
            let empty = empty.ok_or_else(|| Error::new("CHAT-006", "There are too many rooms."))?;
            server.groups().delete(&empty).await?;
            self.0.remove(&empty);
        }
        self.0.insert(room.to_owned(), VecDeque::new());
        Ok(server.groups().create(room).await?)
    }

    async fn leave(&self, session: &Session) -> Result<(), Error> {
        let (Ok((name, room)), server) = (whereabouts(session), session.server()) else { return Ok(()) };
        session.data(|data| data.remove("room"));
        // Somebody may have come back under the same name while this session was ending.
        let back = server.sessions().by_uid(&name).and_then(|other| whereabouts(&other).ok());
        if back.is_none_or(|(_, other)| other != room) {
            server.groups().remove(&room, &name).await?;
            server.groups().broadcast(&room, "onLeave", Json(json!({ "room": room, "name": name }))).await?;
        }
        Ok(())
    }
}

fn whereabouts(session: &Session) -> Result<(Arc<str>, String), Error> {
    let place = session.uid().zip(session.data(|data| data.string("room")));
    place.ok_or_else(|| Error::new("CHAT-005", "Join a room first."))
}

/// What somebody wrote, without the space around it.
fn checked<'a>(what: &str, text: &'a str, max: usize) -> Result<&'a str, Error> {
    match text.trim() {
        "" => Err(Error::new("CHAT-003", format!("The {what} is empty."))),
        text if text.chars().count() <= max => Ok(text),
        _ => Err(Error::new("CHAT-004", format!("The {what} is longer than {max} characters.")).with("max", max)),
    }
}

fn option(name: &str, default: &str) -> String {
    std::env::args().skip_while(|arg| arg != name).nth(1).unwrap_or_else(|| default.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rooms = Shared::default();
    let room = Service::new("room").request("join", join).request("say", say).request("leave", leave);
    let server = App::new(Arc::clone(&rooms))
        .service(room)
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(10)).max_packet_size(16 << 10))
        .on_close(move |session| {
            let rooms = Arc::clone(&rooms);
            async move {
                rooms.lock().await.leave(&session).await.unwrap_or_else(|error| eprintln!("cannot leave: {error}"));
            }
        })
        .on_listening(|at| println!("listening on {}\nopen {}", at[0], at[1].to_string().replacen("ws", "http", 1)))
        .build()?;
    let tcp = Tcp::bind(option("--tcp", "127.0.0.1:3250"));
    let mut web = WebSocket::bind(option("--web", "127.0.0.1:3251"))
        .page("/", "text/html; charset=utf-8", PAGE)
        .page("/cereus.js", "text/javascript; charset=utf-8", CLIENT)
        .page("/cereus.wasm", "application/wasm", CORE);
    let (chain, key) = (option("--cert", ""), option("--key", ""));
    if chain.is_empty() != key.is_empty() {
        return Err("--cert and --key need each other".into());
    }
    if !chain.is_empty() {
        web = web.tls(&TlsConfig::from_files(chain, key).map_err(|error| error.to_string())?);
    }
    cereus::tokio::serve(server, [tcp, web]).await?;
    Ok(())
}
