use alloc::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    FullPolicy, MessageType, SendError,
    message::Head,
    packet::{MAX_BODY_LEN, PacketHeader, PacketType},
};

/// What waits to be sent, as heads and shared bodies; bytes are made when a packet goes out.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    packets: VecDeque<Outgoing>,
    /// At most one waits, and it overtakes: it takes no memory of the queue.
    heartbeat: bool,
    /// Bytes of everything that waits.
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

    fn is_push(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.kind == MessageType::Push)
    }
}

impl SendQueue {
    pub(crate) fn heartbeat(&mut self) {
        self.heartbeat = true;
    }

    /// Queues a packet that is neither heartbeat nor message. Exempt from every budget.
    pub(crate) fn control(&mut self, kind: PacketType, body: Bytes) {
        self.bytes += body.len();
        self.packets.push_back(Outgoing { kind, head: None, body });
    }

    /// Queues a message. Exempt from the budget of pushes.
    pub(crate) fn message(&mut self, head: Head, body: Bytes) -> Result<(), SendError> {
        let packet = Outgoing { kind: PacketType::Data, head: Some(head), body };
        let len = packet.body_len();
        if len > MAX_BODY_LEN {
            return Err(SendError::TooLarge(len));
        }
        self.bytes += len;
        self.packets.push_back(packet);
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
        if policy == FullPolicy::KeepLatest {
            self.drop_pushes(|waiting| waiting.route == head.route);
        }
        let len = head.encoded_len() + body.len();
        if len > MAX_BODY_LEN {
            return Err(SendError::TooLarge(len));
        }
        if self.push_bytes + len > max_bytes && policy != FullPolicy::Close {
            let mut excess = (self.push_bytes + len).saturating_sub(max_bytes);
            self.drop_pushes_with(|_, len| {
                let dropped = excess > 0;
                excess = excess.saturating_sub(len);
                dropped
            });
        }
        // A push that alone is over the budget still passes when no other waits: it could never be sent otherwise.
        if self.push_bytes + len > max_bytes && self.push_bytes > 0 {
            return Err(SendError::QueueFull(self.push_bytes));
        }
        self.push_bytes += len;
        self.message(head, body)
    }

    fn drop_pushes(&mut self, mut which: impl FnMut(&Head) -> bool) {
        self.drop_pushes_with(|head, _| which(head));
    }

    fn drop_pushes_with(&mut self, mut which: impl FnMut(&Head, usize) -> bool) {
        let mut freed = 0;
        self.packets.retain(|packet| match &packet.head {
            Some(head) if packet.is_push() => {
                let len = packet.body_len();
                let dropped = which(head, len);
                freed += if dropped { len } else { 0 };
                !dropped
            }
            _ => true,
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
        let body_len = packet.body_len();
        if packet.is_push() {
            self.push_bytes -= body_len;
        }
        buf.reserve(PacketHeader::LEN + body_len);
        buf.put_slice(&PacketHeader { kind: packet.kind, body_len }.encode());
        self.bytes -= body_len;
        if let Some(head) = &packet.head {
            head.encode(buf);
        }
        buf.put_slice(&packet.body);
        Some(PacketHeader::LEN + body_len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty() && !self.heartbeat
    }

    /// Bytes that wait.
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
