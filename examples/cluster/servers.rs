//! What the three servers do. Nothing here knows over what they talk.

use cereus::{
    App, Caller, Compression, Endpoint, Error, FromBody, InProcess, IntoBody, Json, Protobuf, ProtobufSerializer,
    Remote, Rpc, Server, Service, Session, Tcp, WebSocket,
};
use serde::{Deserialize, Serialize};

use crate::{arguments::Arguments, meeting};

/// A message of clients: JSON or protobuf, as the servers were told.
macro_rules! message {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty = $tag:literal $kind:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
        pub(crate) struct $name {
            $(#[prost($kind, tag = $tag)] pub(crate) $field: $type,)*
        }
    };
}

message!(Login { name: String = "1" string, });
message!(Room { room: String = "1" string, });
message!(Joined { server: String = "1" string, members: u32 = "2" uint32, });
message!(Line { from: String = "1" string, text: String = "2" string, });
message!(Rolled { points: u32 = "1" uint32, server: String = "2" string, });
message!(Announce { room: String = "1" string, text: String = "2" string, });

/// A body that carries one of them.
trait Body<T>: FromBody + IntoBody + From<T> {
    fn message(self) -> T;
}

macro_rules! body {
    ($body:ident, $($message:ident)*) => {$(
        impl Body<$message> for $body<$message> {
            fn message(self) -> $message {
                self.0
            }
        }
    )*};
}

body!(Json, Login Room Joined Line Rolled);
body!(Protobuf, Login Room Joined Line Rolled);

/// The connector: binds the client to a user. Everything else is for other servers.
async fn login<B: Body<Login>>(session: Session, body: B) -> Result<B, Error> {
    let login = body.message();
    session.bind(login.name.as_str()).await?;
    Ok(login.into())
}

/// The room: who is in which room, and what is said there.
async fn join<B: Body<Room>, R: Body<Joined>>(session: Session, body: B) -> Result<R, Error> {
    let room = body.message().room;
    let uid = session.uid().ok_or_else(|| Error::new("GAME-001", "log in first"))?;
    let (server, groups) = (session.server(), session.server().groups());
    // Somebody else may have opened it at the same time.
    let _ = groups.create(&room).await;
    if !groups.contains(&room, &uid).await? {
        groups.add(&room, uid).await?;
    }
    // The connector remembers it, so that every server knows.
    session.data(|data| data.set("room", &room))?;
    session.push_to_front().await?;
    let id = server.rpc().own().map(|own| own.id.clone()).unwrap_or_default();
    Ok(Joined { server: id, members: groups.count(&room).await? as u32 }.into())
}

async fn say<B: Body<Line>>(session: Session, body: B) -> Result<(), Error> {
    let line = Line { from: session.uid().unwrap_or_default().to_string(), ..body.message() };
    session.server().users("connector").push_to_group(&room_of(&session)?, "onSay", B::from(line)).await?;
    Ok(())
}

/// What other servers may ask of the room.
async fn announce<B: Body<Line>>(
    server: Server,
    caller: Caller,
    Protobuf(announce): Protobuf<Announce>,
) -> Result<Protobuf<()>, Error> {
    let line = Line { from: caller.server_type, text: announce.text };
    server.users("connector").push_to_group(&announce.room, "onAnnounce", B::from(line)).await?;
    Ok(Protobuf(()))
}

/// The game: rolls a die, and has the room tell everybody.
async fn roll<R: Body<Rolled>>(session: Session, rpc: Rpc) -> Result<R, Error> {
    let points = std::time::SystemTime::now().elapsed().map_or(1, |elapsed| elapsed.subsec_nanos() % 6 + 1);
    let text = format!("{} rolled {points}", session.uid().unwrap_or_default());
    rpc.call::<()>("room.room.announce", &Announce { room: room_of(&session)?, text }).await?;
    let server = rpc.own().map(|own| own.id.clone()).unwrap_or_default();
    Ok(Rolled { points, server }.into())
}

fn room_of(session: &Session) -> Result<String, Error> {
    session.data(|data| data.string("room")).ok_or_else(|| Error::new("GAME-002", "join a room first"))
}

/// The app of one of the servers, with bodies of one kind.
macro_rules! app {
    ($body:ident, $name:expr) => {
        match $name {
            "connector" => App::new(()).service(Service::new("gate").request("login", login::<$body<Login>>)),
            "room" => App::new(())
                .service(
                    Service::new("room")
                        .request("join", join::<$body<Room>, $body<Joined>>)
                        .notify("say", say::<$body<Line>>),
                )
                .remote(Remote::new("room").call("announce", announce::<$body<Line>>)),
            _ => App::new(()).service(Service::new("dice").request("roll", roll::<$body<Rolled>>)),
        }
    };
}

/// A server, and where clients reach it.
pub(crate) type ToServe = (Server, Vec<Endpoint>);

/// The servers that were asked for.
pub(crate) fn build(arguments: &Arguments) -> Result<Vec<ToServe>, Box<dyn std::error::Error>> {
    let world = InProcess::new();
    let mut servers = Vec::new();
    for name in &arguments.servers {
        let app = match arguments.protobuf {
            true => app!(Protobuf, name.as_str()).serializer(ProtobufSerializer),
            false => app!(Json, name.as_str()),
        };
        let compression = if arguments.compression { Compression::On } else { Compression::Auto };
        let app = app.server_type(name).protocol(|protocol| protocol.compression(compression));
        let endpoints = match name.as_str() {
            "connector" => vec![Tcp::bind(&arguments.tcp), WebSocket::bind(&arguments.web)],
            _ => Vec::new(),
        };
        let app = meeting::join(app, arguments, &world)?
            .on_listening(|at| at.iter().for_each(|at| println!("clients connect to {at}")));
        servers.push((app.build()?, endpoints));
    }
    Ok(servers)
}
