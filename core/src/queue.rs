use alloc::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    EncodedPush, FullPolicy, SendError,
    message::{Head, RouteField},
    packet::{MAX_BODY_LEN, PacketHeader, PacketType},
    push::Form,
};

/// What waits to be sent, as heads and shared bodies; bytes are made when a packet goes out.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// The oldest has its place here: most wait alone.
    first: Option<Outgoing>,
    rest: VecDeque<Outgoing>,
    /// At most one waits, and it overtakes: it takes no memory of the queue.
    heartbeat: bool,
    /// What everything that waits counts for.
    bytes: usize,
    /// The part of them that are pushes.
    push_bytes: usize,
    /// The part of those that may be dropped.
    droppable_bytes: usize,
    pub(crate) losses: PushLosses,
}

/// Pushes that were taken and never sent, because the queue was full or something newer took their place.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PushLosses {
    /// Dropped, because there was no room.
    pub dropped: u64,
    /// Replaced by a newer push of the same route, under [`FullPolicy::KeepLatest`].
    pub replaced: u64,
}

/// A packet that waits.
#[derive(Debug)]
pub(crate) struct Outgoing {
    content: Content,
    /// What may happen to it if it is a push; nothing happens to anything else.
    policy: Option<FullPolicy>,
    /// The length of the packet.
    len: u32,
}

#[derive(Debug)]
enum Content {
    Control(PacketType, Bytes),
    Message(Head, Bytes),
    /// A push that was encoded for many, in the form for this kind of client.
    Encoded {
        push: EncodedPush,
        native: bool,
    },
}

impl Outgoing {
    fn new(content: Content, policy: Option<FullPolicy>, body_len: usize) -> Result<Self, SendError> {
        match body_len {
            0..=MAX_BODY_LEN => Ok(Self { content, policy, len: (PacketHeader::LEN + body_len) as u32 }),
            len => Err(SendError::TooLarge(len)),
        }
    }

    /// `policy`: it is a push.
    pub(crate) fn message(head: Head, body: Bytes, policy: Option<FullPolicy>) -> Result<Self, SendError> {
        let len = head.encoded_len() + body.len();
        Self::new(Content::Message(head, body), policy, len)
    }

    pub(crate) fn encoded(push: EncodedPush, native: bool) -> Result<Self, SendError> {
        let (len, policy) = (push.form(native)?.body_len(), push.policy());
        Self::new(Content::Encoded { push, native }, Some(policy), len)
    }

    /// Whether it may be dropped when there is no room.
    fn is_droppable(&self) -> bool {
        self.policy.is_some_and(|policy| policy != FullPolicy::Close)
    }

    /// Whether it takes the place of another one that waits.
    fn replaces(&self, other: &Self) -> bool {
        let latest = Some(FullPolicy::KeepLatest);
        (self.policy, other.policy) == (latest, latest) && self.route() == other.route()
    }

    /// What it counts for: many small ones take more memory for themselves than for what they carry.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.len as usize
    }

    fn route(&self) -> Option<&RouteField> {
        match &self.content {
            Content::Control(..) => None,
            Content::Message(head, _) => Some(&head.route),
            Content::Encoded { push, native } => push.form(*native).ok().map(Form::route),
        }
    }

    fn encode(&self, buf: &mut BytesMut) {
        buf.reserve(self.len as usize);
        let header = |kind| PacketHeader { kind, body_len: self.len as usize - PacketHeader::LEN }.encode();
        match &self.content {
            Content::Control(kind, body) => {
                buf.put_slice(&header(*kind));
                buf.put_slice(body);
            }
            Content::Message(head, body) => {
                buf.put_slice(&header(PacketType::Data));
                head.encode(buf);
                buf.put_slice(body);
            }
            Content::Encoded { push, native } => {
                if let Ok(form) = push.form(*native) {
                    form.encode(buf);
                }
            }
        }
    }
}

impl SendQueue {
    pub(crate) fn heartbeat(&mut self) {
        self.heartbeat = true;
    }

    /// Queues a packet that is neither heartbeat nor message. Exempt from every budget.
    pub(crate) fn control(&mut self, kind: PacketType, body: Bytes) {
        let len = (PacketHeader::LEN + body.len()) as u32;
        self.put(Outgoing { content: Content::Control(kind, body), policy: None, len });
    }

    /// Queues a message. Exempt from the budget of pushes.
    pub(crate) fn message(&mut self, head: Head, body: Bytes) -> Result<(), SendError> {
        self.put(Outgoing::message(head, body, None)?);
        Ok(())
    }

    /// Queues a push if pushes have room, or can be given some.
    pub(crate) fn push(&mut self, push: Outgoing, max_bytes: usize) -> Result<(), SendError> {
        if push.policy == Some(FullPolicy::KeepLatest) {
            self.losses.replaced += self.drop_pushes(|waiting| push.replaces(waiting));
        }
        let excess = (self.push_bytes + push.cost()).saturating_sub(max_bytes);
        if !self.make_room(excess) {
            if push.is_droppable() {
                self.losses.dropped += 1;
                return Ok(());
            }
            return Err(SendError::QueueFull(self.push_bytes));
        }
        self.put(push);
        Ok(())
    }

    /// Drops the oldest pushes that may be dropped, until so much room was made or no push waits: one that alone is over the
    /// budget could never be sent otherwise. If neither can be: none.
    fn make_room(&mut self, excess: usize) -> bool {
        let mut left = excess.min(self.push_bytes);
        if self.droppable_bytes < left {
            return false;
        }
        // As a rule it is the oldest of all that goes.
        while left != 0
            && let Some(oldest) = self.peek()
            && oldest.is_droppable()
        {
            left -= oldest.cost().min(left);
            self.drop_oldest();
            self.losses.dropped += 1;
        }
        if left != 0 {
            self.losses.dropped += self.drop_pushes(|waiting| {
                let dropped = left != 0 && waiting.is_droppable();
                left -= if dropped { waiting.cost().min(left) } else { 0 };
                dropped
            });
        }
        true
    }

    fn put(&mut self, packet: Outgoing) {
        let cost = packet.cost();
        self.bytes += cost;
        self.push_bytes += if packet.policy.is_some() { cost } else { 0 };
        self.droppable_bytes += if packet.is_droppable() { cost } else { 0 };
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(packet);
        } else {
            self.rest.push_back(packet);
        }
    }

    fn peek(&self) -> Option<&Outgoing> {
        self.first.as_ref().or_else(|| self.rest.front())
    }

    /// Where it is: a packet is large to be moved.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.peek() else { return };
        let (cost, is_push, is_droppable) = (oldest.cost(), oldest.policy.is_some(), oldest.is_droppable());
        self.bytes -= cost;
        self.push_bytes -= if is_push { cost } else { 0 };
        self.droppable_bytes -= if is_droppable { cost } else { 0 };
        if self.first.is_some() {
            self.first = None;
        } else {
            self.rest.pop_front();
        }
    }

    /// Drops pushes that may be dropped. Returns how many.
    fn drop_pushes(&mut self, mut which: impl FnMut(&Outgoing) -> bool) -> u64 {
        if self.droppable_bytes == 0 {
            return 0;
        }
        let (mut count, mut freed) = (0, 0);
        let mut kept = |packet: &Outgoing| {
            let dropped = which(packet);
            if dropped {
                count += 1;
                freed += packet.cost();
            }
            !dropped
        };
        self.first = self.first.take().filter(&mut kept);
        self.rest.retain(kept);
        self.bytes -= freed;
        self.push_bytes -= freed;
        self.droppable_bytes -= freed;
        count
    }

    /// Appends the next packet to `buf`. Returns its length.
    pub(crate) fn transmit(&mut self, buf: &mut BytesMut) -> Option<usize> {
        if core::mem::take(&mut self.heartbeat) {
            buf.put_slice(&PacketHeader { kind: PacketType::Heartbeat, body_len: 0 }.encode());
            return Some(PacketHeader::LEN);
        }
        let oldest = self.peek()?;
        oldest.encode(buf);
        let len = oldest.len as usize;
        self.drop_oldest();
        Some(len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty() && !self.heartbeat
    }

    /// What everything that waits counts for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory of what waits, and of the room for more.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes + (self.rest.capacity() - self.rest.len()) * size_of::<Outgoing>()
    }

    /// Gives the memory back if nothing waits.
    pub(crate) fn release(&mut self) {
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self { losses: self.losses, ..Self::default() };
    }
}
