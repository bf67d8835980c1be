//! What a client may send, counted a second time.

use std::time::Duration;

use bytes::BytesMut;
use cereus_core::{
    Instant, Message, MessageType, RateLimit, RouteDictionary, ServerEvent,
    packet::{MAX_BODY_LEN, Packet, PacketDecoder, PacketHeader, PacketType},
};

use super::MAX_INFLATED;

/// A rate limit whose bounds can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) packets: usize,
    pub(super) bytes: usize,
    pub(super) interval: Duration,
    pub(super) silent: bool,
}

impl Limit {
    pub(super) const fn rate_limit(self) -> RateLimit {
        let limit = RateLimit::new(self.packets as u32, self.interval);
        limit.max_bytes(self.bytes).drop_silently(self.silent)
    }
}

/// Reads what the client sends beside the server, and knows of every packet what the server has to tell of it.
#[derive(Debug)]
pub(super) struct Meter {
    limit: Option<Limit>,
    dictionary: RouteDictionary,
    sent: PacketDecoder,
    /// When packets were let through, and how long they have become.
    passed: Vec<(Instant, usize)>,
    limited: u64,
}

impl Meter {
    pub(super) fn new(limit: Option<Limit>, dictionary: RouteDictionary) -> Self {
        Self { limit, dictionary, sent: PacketDecoder::new(MAX_BODY_LEN), passed: Vec::new(), limited: 0 }
    }

    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.sent.push(bytes);
    }

    /// How many packets were over the limit.
    pub(super) fn limited(&self) -> u64 {
        self.limited
    }

    /// So many bytes of packets were polled at this time, until one led to `event`. `greeted`: the handshake was accepted.
    pub(super) fn polled(&mut self, mut bytes: usize, event: Option<&ServerEvent>, greeted: bool, now: Instant) {
        while bytes > 0 {
            let packet = self.sent.next_packet().ok().flatten().expect("a packet was polled that nobody sent");
            bytes -= PacketHeader::LEN + packet.body.len();
            let (kind, passes) = (packet.kind, self.pass(PacketHeader::LEN + packet.body.len(), now));
            let told = event.filter(|_| bytes == 0);
            match kind {
                PacketType::Data => assert_eq!(told, self.message(packet, passes).as_ref()),
                PacketType::Handshake => {
                    let is_told = matches!(told, Some(ServerEvent::Handshake(_)));
                    assert_eq!(is_told, passes || !greeted, "the first handshake passes, others if they may");
                }
                _ => assert!(matches!(told, None | Some(ServerEvent::Connected)), "{told:?} of a {kind:?}"),
            }
        }
    }

    fn pass(&mut self, len: usize, now: Instant) -> bool {
        let Some(limit) = self.limit else { return true };
        self.passed.retain(|(at, _)| now - *at < limit.interval);
        let bytes: usize = self.passed.iter().map(|(_, len)| len).sum();
        let passes = self.passed.is_empty() || self.passed.len() < limit.packets && bytes + len <= limit.bytes;
        if passes {
            self.passed.push((now, len));
        } else {
            self.limited += 1;
        }
        passes
    }

    /// What is told of a message.
    fn message(&mut self, packet: Packet, passes: bool) -> Option<ServerEvent> {
        let (len, mut bytes) = (packet.body.len(), BytesMut::from(packet.body));
        if !passes {
            // Nobody inflates it.
            bytes[0] &= !0x10;
        }
        let message =
            Message::decode(bytes.freeze(), &self.dictionary, MAX_INFLATED).expect("the server could read it");
        let Message { kind, id, route, body, .. } = message;
        if passes && let Some((_, passed)) = self.passed.last_mut() {
            *passed += body.len().saturating_sub(len);
        }
        match kind {
            _ if !passes && self.limit.is_some_and(|limit| limit.silent) => None,
            MessageType::Request | MessageType::Notify if !passes => Some(ServerEvent::Limited { id, route }),
            MessageType::Request => Some(ServerEvent::Request { id, route, body }),
            MessageType::Notify => Some(ServerEvent::Notify { route, body }),
            _ => None,
        }
    }
}
