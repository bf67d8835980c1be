//! What a packet says: a copy is read, the packet itself goes on as it is.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use cereus_core::{
    HandshakeResponse, Message, MessageType, RouteDictionary,
    packet::{Packet, PacketType},
};

use super::{
    format::{Kind, Line, Side},
    redact::{Left, Place, Redactor, Secrets},
};
use crate::{body::Body, link};

/// No body is longer once inflated.
pub(crate) const MAX_INFLATED: usize = 64 << 20;

/// Of how many requests without an answer the route is remembered.
const MAX_REQUESTS: usize = 1 << 16;

/// A dictionary of a server's handshake; without one that is sound, an empty one.
pub(crate) fn dictionary(body: &[u8]) -> RouteDictionary {
    let Ok(welcome) = HandshakeResponse::parse(body) else { return RouteDictionary::default() };
    let entries = welcome.dictionary.iter().filter_map(|(route, code)| Some((route.as_str()?, *code)));
    RouteDictionary::new(entries).unwrap_or_default()
}

/// The answer to a handshake as it was before it was deflated: no flag says whether it is.
pub(crate) fn inflated(body: &Bytes) -> Bytes {
    match body[..] {
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, _, ..] => {
            let inflated = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(body, MAX_INFLATED);
            inflated.map_or_else(|_| body.clone(), Bytes::from)
        }
        _ => body.clone(),
    }
}

/// One client's session, as far as it must be known to read its packets.
#[derive(Debug)]
pub(super) struct Reader {
    session: u32,
    dictionary: RouteDictionary,
    /// The routes of the requests that have no answer yet; none for an id that is used twice.
    routes: HashMap<u64, Option<String>>,
    secrets: Secrets,
}

impl Reader {
    pub(super) fn new(session: u32) -> Self {
        Self { session, dictionary: RouteDictionary::default(), routes: HashMap::new(), secrets: Secrets::default() }
    }

    pub(super) const fn session(&self) -> u32 {
        self.session
    }

    pub(super) fn read(&mut self, from: Side, packet: &Packet, redactor: &mut Redactor) -> Line {
        let mut line = Line::new(Kind::Packet, self.session);
        line.from = Some(from);
        line.packet = Some(packet.kind.into());
        let body = match packet.kind {
            PacketType::Data => match self.message(packet, &mut line) {
                Some(message) => message.body,
                None => packet.body.clone(),
            },
            PacketType::Handshake if from == Side::Server => {
                let body = inflated(&packet.body);
                self.dictionary = dictionary(&body);
                body
            }
            _ => packet.body.clone(),
        };
        let place = match (packet.kind, &line.route) {
            (PacketType::Handshake, _) => Place::Handshake,
            (_, Some(route)) => Place::Message(route),
            // A message that cannot be read may hold anything.
            (_, None) => Place::Unknown,
        };
        match redactor.redact(&mut self.secrets, place, &body) {
            Left::All => {
                line.raw = link::packet(packet.kind, &packet.body).ok().map(|raw| BASE64_STANDARD.encode(raw));
                line.set_body(Body::guess(body));
            }
            // What is known of it is the body; the bytes would tell all of it.
            Left::Changed(value) => line.set_body(Body::Json(value.to_string())),
            Left::Nothing(why) => line.dropped = Some(why.to_owned()),
        }
        line
    }

    fn message(&mut self, packet: &Packet, line: &mut Line) -> Option<Message> {
        let message = match Message::decode(packet.body.clone(), &self.dictionary, MAX_INFLATED) {
            Ok(message) => message,
            Err(error) => {
                line.why = Some(error.to_string());
                return None;
            }
        };
        line.message = Some(message.kind.into());
        line.error = message.error;
        line.route = Some(message.route.to_string());
        match message.kind {
            MessageType::Request => {
                line.id = Some(message.id.get());
                if !message.id.is_none() && self.routes.len() < MAX_REQUESTS {
                    let is_first = !self.routes.contains_key(&message.id.get());
                    self.routes.insert(message.id.get(), is_first.then(|| message.route.to_string()));
                }
            }
            MessageType::Response => {
                line.id = Some(message.id.get());
                line.route = self.routes.remove(&message.id.get()).flatten();
            }
            _ => {}
        }
        Some(message)
    }
}
