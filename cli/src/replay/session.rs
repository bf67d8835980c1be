//! One connection of a replay, in a task of its own.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use cereus_core::{
    HandshakeResponse, Message, MessageType, RouteDictionary,
    packet::{Packet, PacketType},
};
use tokio::{
    sync::mpsc::{Receiver, Sender},
    time::{self, Interval, MissedTickBehavior},
};

use super::{compare::guess, plan::Body};
use crate::{
    link::Link,
    record::{MAX_INFLATED, dictionary, inflated},
};

/// How long the server may take to read what was sent last.
const FAREWELL: Duration = Duration::from_secs(2);

const HEARTBEAT: Bytes = Bytes::from_static(&[3, 0, 0, 0]);

/// What the server did.
#[derive(Debug)]
pub(super) enum Event {
    Welcome(Bytes),
    Answer {
        id: u64,
        error: bool,
        body: Body,
    },
    Push {
        route: String,
        body: Body,
    },
    Kick(Body),
    /// It sent what cannot be read.
    Odd(String),
    /// Nothing more comes.
    Over(String),
}

/// Sends what it is told, until there is nobody left to tell it; tells what comes.
pub(super) async fn run(session: u32, mut link: Link, mut packets: Receiver<Bytes>, events: Sender<(u32, Event)>) {
    let mut reader = Reader::default();
    loop {
        let (beat, has_room) = (beat(&mut reader.heartbeat), link.has_room());
        tokio::select! {
            packet = packets.recv(), if has_room => match packet {
                Some(packet) => link.send(packet),
                None => return link.finish(FAREWELL).await,
            },
            () = beat, if has_room => link.send(HEARTBEAT),
            came = link.turn(true) => {
                let over = came.over.map(Event::Over);
                let is_over = over.is_some();
                for event in came.packets.into_iter().filter_map(|packet| reader.read(packet)).chain(over) {
                    // Nobody listens when all is over.
                    let _ = events.send((session, event)).await;
                }
                if is_over {
                    return link.finish(FAREWELL).await;
                }
            }
        }
    }
}

/// Ends when it is time for a heartbeat.
async fn beat(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}

#[derive(Default)]
struct Reader {
    dictionary: RouteDictionary,
    heartbeat: Option<Interval>,
}

impl Reader {
    fn read(&mut self, packet: Packet) -> Option<Event> {
        Some(match packet.kind {
            PacketType::Handshake => {
                let body = inflated(&packet.body);
                self.dictionary = dictionary(&body);
                self.heartbeat = heartbeat(&body);
                Event::Welcome(body)
            }
            PacketType::Data => match Message::decode(packet.body, &self.dictionary, MAX_INFLATED) {
                Ok(message) => message_event(message),
                Err(error) => Event::Odd(error.to_string()),
            },
            PacketType::Kick => Event::Kick(guess(packet.body)),
            _ => return None,
        })
    }
}

fn message_event(message: Message) -> Event {
    let body = guess(message.body);
    match message.kind {
        MessageType::Response => Event::Answer { id: message.id.get(), error: message.error, body },
        MessageType::Push => Event::Push { route: message.route.to_string(), body },
        _ => Event::Odd("servers do not send requests and notifies".to_owned()),
    }
}

fn heartbeat(welcome: &[u8]) -> Option<Interval> {
    let every = HandshakeResponse::parse(welcome).ok()?.heartbeat;
    if every.is_zero() {
        return None;
    }
    let mut interval = time::interval_at(time::Instant::now() + every, every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(interval)
}
