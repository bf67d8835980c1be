use alloc::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    FullPolicy, MessageType, SendError,
    message::{Head, RouteField},
    packet::{MAX_BODY_LEN, PacketHeader, PacketType},
};

/// What waits to be sent, as heads and shared bodies; bytes are made when a packet goes out.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    packets: VecDeque<Outgoing>,
    /// At most one waits, and it overtakes: it takes no memory of the queue.
    heartbeat: bool,
    /// What everything that waits counts for.
    bytes: usize,
    /// The part of them that are pushes.
    push_bytes: usize,
}

#[derive(Debug)]
struct Outgoing {
    kind: PacketType,
    head: Option<Head>,
    body: Bytes,
}

impl Outgoing {
    fn body_len(&self) -> usize {
        self.head.as_ref().map_or(0, Head::encoded_len) + self.body.len()
    }

    /// What it counts for: many small ones take more memory for themselves than for what they carry.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.body_len()
    }

    fn is_push(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.kind == MessageType::Push)
    }

    fn route(&self) -> Option<&RouteField> {
        self.head.as_ref().map(|head| &head.route)
    }
}

fn data(head: Head, body: Bytes) -> Result<Outgoing, SendError> {
    let packet = Outgoing { kind: PacketType::Data, head: Some(head), body };
    match packet.body_len() {
        0..=MAX_BODY_LEN => Ok(packet),
        len => Err(SendError::TooLarge(len)),
    }
}

impl SendQueue {
    pub(crate) fn heartbeat(&mut self) {
        self.heartbeat = true;
    }

    /// Queues a packet that is neither heartbeat nor message. Exempt from every budget.
    pub(crate) fn control(&mut self, kind: PacketType, body: Bytes) {
        self.put(Outgoing { kind, head: None, body });
    }

    /// Queues a message. Exempt from the budget of pushes.
    pub(crate) fn message(&mut self, head: Head, body: Bytes) -> Result<(), SendError> {
        self.put(data(head, body)?);
        Ok(())
    }

    /// Queues a push if pushes have room, or can be given some.
    pub(crate) fn push(
        &mut self,
        head: Head,
        body: Bytes,
        max_bytes: usize,
        policy: FullPolicy,
    ) -> Result<(), SendError> {
        let push = data(head, body)?;
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
        self.packets.push_back(packet);
    }

    fn drop_pushes(&mut self, mut which: impl FnMut(&Outgoing) -> bool) {
        let mut freed = 0;
        self.packets.retain(|packet| {
            let dropped = packet.is_push() && which(packet);
            freed += if dropped { packet.cost() } else { 0 };
            !dropped
        });
        self.bytes -= freed;
        self.push_bytes -= freed;
    }

    /// Appends the next packet to `buf`. Returns its length.
    pub(crate) fn transmit(&mut self, buf: &mut BytesMut) -> Option<usize> {
        if core::mem::take(&mut self.heartbeat) {
            buf.put_slice(&PacketHeader { kind: PacketType::Heartbeat, body_len: 0 }.encode());
            return Some(PacketHeader::LEN);
        }
        let packet = self.packets.pop_front()?;
        let (body_len, cost) = (packet.body_len(), packet.cost());
        self.bytes -= cost;
        if packet.is_push() {
            self.push_bytes -= cost;
        }
        buf.reserve(PacketHeader::LEN + body_len);
        buf.put_slice(&PacketHeader { kind: packet.kind, body_len }.encode());
        if let Some(head) = &packet.head {
            head.encode(buf);
        }
        buf.put_slice(&packet.body);
        Some(PacketHeader::LEN + body_len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty() && !self.heartbeat
    }

    /// What everything that waits counts for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the memory back if nothing waits.
    pub(crate) fn release(&mut self) {
        if self.packets.is_empty() {
            self.packets = VecDeque::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
