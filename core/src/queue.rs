use alloc::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    EncodedPush, FullPolicy, MessageType, SendError,
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
}

/// A packet that waits.
#[derive(Debug)]
pub(crate) struct Outgoing {
    content: Content,
    is_push: bool,
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
    fn new(content: Content, is_push: bool, body_len: usize) -> Result<Self, SendError> {
        match body_len {
            0..=MAX_BODY_LEN => Ok(Self { content, is_push, len: (PacketHeader::LEN + body_len) as u32 }),
            len => Err(SendError::TooLarge(len)),
        }
    }

    pub(crate) fn message(head: Head, body: Bytes) -> Result<Self, SendError> {
        let (is_push, len) = (head.kind == MessageType::Push, head.encoded_len() + body.len());
        Self::new(Content::Message(head, body), is_push, len)
    }

    pub(crate) fn encoded(push: EncodedPush, native: bool) -> Result<Self, SendError> {
        let len = push.form(native)?.body_len();
        Self::new(Content::Encoded { push, native }, true, len)
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
        self.put(Outgoing { content: Content::Control(kind, body), is_push: false, len });
    }

    /// Queues a message. Exempt from the budget of pushes.
    pub(crate) fn message(&mut self, head: Head, body: Bytes) -> Result<(), SendError> {
        self.put(Outgoing::message(head, body)?);
        Ok(())
    }

    /// Queues a push if pushes have room, or can be given some.
    pub(crate) fn push(&mut self, push: Outgoing, max_bytes: usize, policy: FullPolicy) -> Result<(), SendError> {
        let cost = push.cost();
        if policy == FullPolicy::KeepLatest {
            self.drop_pushes(|waiting| waiting.route() == push.route());
        }
        let mut excess = (self.push_bytes + cost).saturating_sub(max_bytes);
        if policy != FullPolicy::Close {
            self.drop_pushes(|waiting| {
                let dropped = excess > 0;
                excess = excess.saturating_sub(waiting.cost());
                dropped
            });
        }
        // A push that alone is over the budget still passes when no other waits: it could never be sent otherwise.
        if excess > 0 && self.push_bytes > 0 {
            return Err(SendError::QueueFull(self.push_bytes));
        }
        self.push_bytes += cost;
        self.put(push);
        Ok(())
    }

    fn put(&mut self, packet: Outgoing) {
        self.bytes += packet.cost();
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(packet);
        } else {
            self.rest.push_back(packet);
        }
    }

    fn drop_pushes(&mut self, mut which: impl FnMut(&Outgoing) -> bool) {
        let mut freed = 0;
        let mut kept = |packet: &Outgoing| {
            let dropped = packet.is_push && which(packet);
            freed += if dropped { packet.cost() } else { 0 };
            !dropped
        };
        self.first = self.first.take().filter(&mut kept);
        self.rest.retain(kept);
        self.bytes -= freed;
        self.push_bytes -= freed;
    }

    /// Appends the next packet to `buf`. Returns its length.
    pub(crate) fn transmit(&mut self, buf: &mut BytesMut) -> Option<usize> {
        if core::mem::take(&mut self.heartbeat) {
            buf.put_slice(&PacketHeader { kind: PacketType::Heartbeat, body_len: 0 }.encode());
            return Some(PacketHeader::LEN);
        }
        let packet = self.first.take().or_else(|| self.rest.pop_front())?;
        let cost = packet.cost();
        self.bytes -= cost;
        if packet.is_push {
            self.push_bytes -= cost;
        }
        packet.encode(buf);
        Some(packet.len as usize)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty() && !self.heartbeat
    }

    /// What everything that waits counts for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the memory back if nothing waits.
    pub(crate) fn release(&mut self) {
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
