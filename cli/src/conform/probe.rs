//! What every check has at hand.

use std::{cell::Cell, time::Duration};

use cereus_client::HandshakeResponse;
use cereus_core::{MessageType, RouteDictionary};
use serde_json::Value;

use super::{
    bytes::{ACK, HANDSHAKE, handshake, request},
    check::After,
    offer::{Call, Family, Offer},
    peer::{End, Packet, Peer, Received},
    trace::Trace,
    verdict::{Found, Mark, Stop, fail, pass, warn},
    wire::Target,
};

/// How long is waited for what must not come.
pub(super) const QUIET: Duration = Duration::from_millis(250);

/// Heartbeats at most so far apart are waited for without being asked to.
pub(super) const SHORT: Duration = Duration::from_secs(3);

/// No answer to a handshake is longer once inflated.
const MAX_REPLY: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Probe<'a> {
    pub(super) target: &'a Target,
    pub(super) offer: &'a Offer,
    /// What the server told in its first answer to a handshake, if that could be read.
    pub(super) welcome: Option<&'a HandshakeResponse>,
    /// Whether long heartbeats are waited for.
    pub(super) slow: bool,
    pub(super) trace: Trace,
    connections: Cell<u32>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(
        target: &'a Target,
        offer: &'a Offer,
        welcome: Option<&'a HandshakeResponse>,
        slow: bool,
    ) -> Self {
        Self { target, offer, welcome, slow, trace: Trace::new(), connections: Cell::new(0) }
    }

    pub(super) fn family(&self) -> Family {
        self.offer.family
    }

    pub(super) fn patience(&self) -> Duration {
        self.target.patience
    }

    /// The heartbeat that the server told, if it told one.
    pub(super) fn heartbeat(&self) -> Duration {
        self.welcome.map(|welcome| welcome.heartbeat).unwrap_or_default()
    }

    /// What ordinary connections shake hands with.
    pub(super) fn handshake(&self) -> &str {
        self.offer.handshake.as_deref().unwrap_or(HANDSHAKE)
    }

    pub(super) fn connect(&self) -> Result<Peer, Stop> {
        self.connect_at(self.target.address.path())
    }

    pub(super) fn connect_at(&self, path: &str) -> Result<Peer, Stop> {
        let number = self.connections.get() + 1;
        self.connections.set(number);
        Peer::connect(self.target, path, self.trace.clone(), number)
    }

    /// Shakes hands and reads the answer.
    pub(super) fn shake(&self, peer: &mut Peer, body: &[u8]) -> Result<HandshakeResponse, Stop> {
        peer.send(&handshake(body));
        self.reply(peer)
    }

    /// The answer to a handshake.
    pub(super) fn reply(&self, peer: &mut Peer) -> Result<HandshakeResponse, Stop> {
        match peer.packet("the answer to the handshake")? {
            Packet(1, reply) => self.read_reply(&reply),
            Packet(kind, _) => Err(fail(format!("the handshake was answered with a packet of type {kind:#04x}"))),
        }
    }

    pub(super) fn read_reply(&self, body: &[u8]) -> Result<HandshakeResponse, Stop> {
        let plain = inflated(body)?;
        HandshakeResponse::parse(&plain)
            .map_err(|error| fail(format!("the answer to the handshake cannot be read: {error}")))
    }

    /// Acknowledges the handshake. From now on the connection keeps itself alive.
    pub(super) fn acknowledge(&self, peer: &mut Peer) {
        peer.send(ACK);
        self.settle(peer);
    }

    /// Prepares for what comes after the acknowledgement.
    pub(super) fn settle(&self, peer: &mut Peer) {
        let Some(welcome) = self.welcome else { return };
        peer.keep_alive(welcome.heartbeat);
        let entries = welcome.dictionary.iter().filter_map(|(route, code)| Some((route.as_str()?, *code)));
        if let Ok(dictionary) = RouteDictionary::new(entries) {
            peer.set_dictionary(dictionary);
        }
    }

    /// A connection that is ready for messages.
    pub(super) fn greet(&self) -> Result<Peer, Stop> {
        self.greet_as(self.handshake().as_bytes())
    }

    pub(super) fn greet_as(&self, body: &[u8]) -> Result<Peer, Stop> {
        let mut peer = self.connect()?;
        let reply = self.shake(&mut peer, body)?;
        if reply.code != HandshakeResponse::OK {
            return Err(fail(format!("the handshake was answered with the code {}, not 200", reply.code)));
        }
        self.acknowledge(&mut peer);
        Ok(peer)
    }

    /// Asks for an echo and looks at the answer.
    pub(super) fn echo(&self, peer: &mut Peer, id: u64) -> Result<(), Stop> {
        let echo = self.offer.echo()?;
        let body = echo.body(&format!("echo{id}"));
        peer.send(&request(id, &echo.route, &body));
        self.is_echo(&peer.answer(id)?, &body)
    }

    /// A connection works if it echoes.
    pub(super) fn works_if_offered(&self, peer: &mut Peer) -> Result<(), Stop> {
        if self.offer.has_echo() { self.echo(peer, 77) } else { Ok(()) }
    }

    /// Whether new clients are served.
    pub(super) fn is_alive(&self) -> Result<(), Stop> {
        let mut peer = self.greet()?;
        self.works_if_offered(&mut peer)
    }

    /// Whether this is the body that was sent.
    pub(super) fn is_echo(&self, answer: &Received, sent: &[u8]) -> Result<(), Stop> {
        let id = answer.message.id;
        if answer.message.error {
            let body = String::from_utf8_lossy(&answer.message.body);
            return Err(fail(format!("request {id} was answered with an error: {body}")));
        }
        let same = answer.message.body == sent
            || match (serde_json::from_slice(sent), serde_json::from_slice(&answer.message.body)) {
                (Ok(sent), Ok(came)) => self.is_same(&sent, &came),
                _ => false,
            };
        match same {
            true => Ok(()),
            false => Err(fail(format!("the answer to request {id} is not the body that was sent"))),
        }
    }

    /// pomelo adds members of its own.
    fn is_same(&self, sent: &Value, came: &Value) -> bool {
        match (sent, came) {
            (Value::Object(sent), Value::Object(came)) if self.family() == Family::Pomelo => {
                sent.iter().all(|(name, value)| came.get(name) == Some(value))
            }
            _ => sent == came,
        }
    }

    /// Sends a request that does not have to be understood.
    pub(super) fn ask(&self, peer: &mut Peer, id: u64, call: &Call) {
        peer.send(&request(id, &call.route, &call.body("text")));
    }

    /// What a server gets that differs from a sentence with this mark.
    pub(super) fn strays(&self, mark: Mark, what: impl Into<String>) -> Stop {
        let what = what.into();
        match (mark, self.family()) {
            (Mark::Required, _) | (Mark::Fix, Family::Cereus) => fail(what),
            (Mark::Fix, family) => warn(format!("{what}; known of {}", family.name())),
            (Mark::Optional, _) => warn(format!("{what}; that is optional")),
        }
    }

    /// Waits for the end, as long as it is not silence that explains it.
    pub(super) fn end_of(&self, peer: &mut Peer, after: After) -> Result<End, Stop> {
        let silence = self.heartbeat() * 3 / 2;
        match after {
            After::Acknowledgement => peer.end(self.patience()),
            _ if silence.is_zero() => peer.end(self.patience()),
            // Nothing keeps this connection alive.
            _ => peer.end(self.patience().min(silence)),
        }
    }

    /// Whether the server ends the connection without a word.
    pub(super) fn is_ended(&self, peer: &mut Peer, after: After, mark: Mark) -> Found {
        // What Pitaya itself does in such a case, other families are not bound to.
        let mark = if self.family().is_pitaya() { mark } else { Mark::Optional };
        let End { packets, is_over } = self.end_of(peer, after)?;
        let came = self.kinds(&packets);
        Err(match (is_over, packets.is_empty()) {
            (true, true) => return pass("the server ends the connection without a word"),
            (true, false) => self.strays(mark, format!("the server sent {came} before it ended the connection")),
            (false, true) => self.strays(mark, "the connection stayed open"),
            (false, false) => self.strays(mark, format!("the server sent {came}, and the connection stayed open")),
        })
    }

    /// Packets in words.
    pub(super) fn kinds(&self, packets: &[Packet]) -> String {
        let kinds: Vec<_> = packets.iter().take(5).map(|Packet(kind, _)| format!("{kind:#04x}")).collect();
        match packets.len() {
            0 => "nothing".to_owned(),
            1 => format!("a packet of type {}", kinds[0]),
            count => format!("{count} packets of the types {}", kinds.join(", ")),
        }
    }

    /// Only answers, and each of these ids as often as it was asked with.
    pub(super) fn answers(&self, peer: &mut Peer, count: usize) -> Result<Vec<Received>, Stop> {
        let mut answers = Vec::new();
        while answers.len() < count {
            let awaited = format!("answer {} of {count}", answers.len() + 1);
            let received = peer.message(&awaited)?;
            if received.message.kind == MessageType::Response {
                answers.push(received);
            }
        }
        Ok(answers)
    }

    /// Whether nothing more is answered.
    pub(super) fn is_quiet(&self, peer: &mut Peer) -> Result<(), Stop> {
        let more = peer.messages_within(QUIET)?;
        match more.iter().find(|received| received.message.kind == MessageType::Response) {
            Some(received) => Err(fail(format!("an answer to {} came that nothing asked for", received.message.id))),
            None => Ok(()),
        }
    }
}

/// The answer to a handshake as it was before it was deflated.
pub(super) fn inflated(body: &[u8]) -> Result<Vec<u8>, Stop> {
    if !is_deflated(body) {
        return Ok(body.to_vec());
    }
    miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(body, MAX_REPLY)
        .map_err(|error| fail(format!("the answer to the handshake cannot be inflated: {error}")))
}

pub(super) fn is_deflated(body: &[u8]) -> bool {
    matches!(body, [0x78, 0x01 | 0x5e | 0x9c | 0xda, _, ..])
}
