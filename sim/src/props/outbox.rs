//! What a server has to send, kept a second time as the policies of pushes are documented.

use std::{collections::VecDeque, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use cereus_core::{FullPolicy, Instant, MessageId, PushLosses, Route, ServerConfig, packet::PacketHeader};

use super::connected_as_far_as_the_handshake;

/// Answers and pushes that wait to be sent, the oldest first.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) losses: PushLosses,
    /// How many bytes of pushes may wait.
    pub(super) max: usize,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Answer { id: MessageId, error: bool, len: usize },
    Push(Push),
}

#[derive(Debug)]
pub(super) struct Push {
    pub(super) route: Route,
    pub(super) policy: FullPolicy,
    /// A client that presented itself again as another kind may still be sent what was meant for the first.
    pub(super) native: bool,
    /// What the client is sent, without the header of the packet.
    pub(super) message: Bytes,
}

impl Outbox {
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: VecDeque::new(), losses: PushLosses::default(), max }
    }

    /// Takes a push. Returns false if it must arrive and there is no room: nothing was dropped for it.
    pub(super) fn push(&mut self, push: Push) -> bool {
        self.waiting.retain(|waiting| {
            let replaced = waiting.push().is_some_and(|older| push.replaces(older));
            self.losses.replaced += u64::from(replaced);
            !replaced
        });
        let (bytes, droppable) = (self.push_bytes(), self.bytes_of(Push::may_be_dropped));
        let excess = (bytes + push.cost()).saturating_sub(self.max);
        // One that is alone passes, however long it is.
        if droppable < excess.min(bytes) {
            self.losses.dropped += u64::from(push.may_be_dropped());
            return push.may_be_dropped();
        }
        let mut freed = 0;
        self.waiting.retain(|waiting| {
            let dropped = waiting.push().filter(|older| freed < excess && older.may_be_dropped());
            freed += dropped.map_or(0, Push::cost);
            self.losses.dropped += u64::from(dropped.is_some());
            dropped.is_none()
        });
        self.waiting.push_back(Waiting::Push(push));
        true
    }

    /// What the pushes that wait count for.
    pub(super) fn push_bytes(&self) -> usize {
        self.bytes_of(|_| true)
    }

    fn bytes_of(&self, which: impl Fn(&Push) -> bool) -> usize {
        self.waiting.iter().filter_map(Waiting::push).filter(|push| which(push)).map(Push::cost).sum()
    }
}

impl Waiting {
    fn push(&self) -> Option<&Push> {
        if let Self::Push(push) = self { Some(push) } else { None }
    }
}

impl Push {
    fn may_be_dropped(&self) -> bool {
        self.policy != FullPolicy::Close
    }

    fn replaces(&self, older: &Self) -> bool {
        let latest = FullPolicy::KeepLatest;
        (self.policy, older.policy) == (latest, latest) && (&self.route, self.native) == (&older.route, older.native)
    }

    fn cost(&self) -> usize {
        *OVERHEAD + PacketHeader::LEN + self.message.len()
    }
}

/// What a packet that waits counts for besides its bytes.
static OVERHEAD: LazyLock<usize> = LazyLock::new(|| {
    let (mut server, _) = connected_as_far_as_the_handshake(ServerConfig::default(), Instant::EPOCH);
    let queued = server.queued();
    queued - server.poll_transmit(&mut BytesMut::new()).expect("the handshake is answered")
});
