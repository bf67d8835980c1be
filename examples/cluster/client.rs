//! A client on a plain socket: it asks each of the servers for something and prints what it sees.

use std::{
    error::Error,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant as Clock},
};

use bytes::{Bytes, BytesMut};
use cereus::core::{ClientConfig, ClientConnection, ClientEvent, Instant, MessageId, Route};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    arguments::Arguments,
    servers::{Joined, Line, Login, Rolled, Room},
};

pub(crate) fn play(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(arguments)?;
    let name = format!("player-{}", std::process::id());
    let me: Login = client.ask("gate.login", &Login { name })?;
    println!("the connector knows {} now", me.name);
    let joined: Joined = client.ask("room.room.join", &Room { room: "attic".into() })?;
    println!("room server {} lets {} in", joined.server, joined.members);
    client.notify("room.room.say", &Line { from: String::new(), text: "hello".into() })?;
    for _ in 0..3 {
        let rolled: Rolled = client.ask("game.dice.roll", &())?;
        println!("game server {} rolled {}", rolled.server, rolled.points);
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    connection: ClientConnection,
    epoch: Clock,
    protobuf: bool,
}

impl Client {
    fn connect(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let failed = |error| format!("nobody answers at {}: {error}; start the servers first", arguments.tcp);
        let stream = TcpStream::connect(&arguments.tcp).map_err(failed)?;
        stream.set_nodelay(true)?;
        let connection = ClientConnection::new(ClientConfig::default(), Instant::EPOCH);
        let mut client = Self { stream, connection, epoch: Clock::now(), protobuf: arguments.protobuf };
        while !matches!(client.next()?, ClientEvent::Connected(_)) {}
        Ok(client)
    }

    fn ask<T: Message + DeserializeOwned + Default>(
        &mut self,
        route: &'static str,
        body: &(impl Message + Serialize),
    ) -> Result<T, Box<dyn Error>> {
        let id = self.connection.request(&Route::from_static(route), self.encode(body)?)?;
        let body = self.answer(id)?;
        Ok(if self.protobuf { T::decode(body)? } else { serde_json::from_slice(&body)? })
    }

    fn notify(&mut self, route: &'static str, body: &(impl Message + Serialize)) -> Result<(), Box<dyn Error>> {
        let body = self.encode(body)?;
        Ok(self.connection.notify(&Route::from_static(route), body)?)
    }

    fn encode(&self, body: &(impl Message + Serialize)) -> Result<Vec<u8>, serde_json::Error> {
        if self.protobuf { Ok(body.encode_to_vec()) } else { serde_json::to_vec(body) }
    }

    fn answer(&mut self, request: MessageId) -> Result<Bytes, Box<dyn Error>> {
        loop {
            match self.next()? {
                ClientEvent::Response { id, body } if id == request => return Ok(body),
                ClientEvent::Error { id, body } if id == request => {
                    return Err(format!("refused: {}", String::from_utf8_lossy(&body)).into());
                }
                ClientEvent::Push { route, body } => {
                    let line: Line =
                        if self.protobuf { Message::decode(body)? } else { serde_json::from_slice(&body)? };
                    println!("{route}: {}: {}", line.from, line.text);
                }
                ClientEvent::Closed(reason) => return Err(format!("the server hung up: {reason}").into()),
                _ => {}
            }
        }
    }

    /// The next event, however long it takes.
    fn next(&mut self) -> Result<ClientEvent, Box<dyn Error>> {
        let (mut scratch, mut out) = ([0; 4096], BytesMut::new());
        loop {
            if let Some(event) = self.connection.poll_event() {
                return Ok(event);
            }
            while self.connection.poll_transmit(&mut out).is_some() {}
            self.stream.write_all(&out)?;
            out.clear();
            let now = Instant::from_epoch(self.epoch.elapsed());
            let wait = self.connection.poll_timeout().map(|at| (at - now).max(Duration::from_millis(1)));
            self.stream.set_read_timeout(wait)?;
            let read = self.stream.read(&mut scratch);
            let now = Instant::from_epoch(self.epoch.elapsed());
            match read {
                Ok(0) => self.connection.handle_eof(now),
                Ok(len) => self.connection.handle_input(&scratch[..len], now),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.connection.handle_timeout(now);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
