//! `proptest` strategies for packets, messages, sessions and scripts, whole and damaged.

use bytes::{Bytes, BytesMut};
use cereus_core::{
    HandshakeRequest, Message, MessageId, MessageType, Route,
    packet::{self, PacketType},
};
use proptest::{collection::vec, prelude::*, sample};

use crate::props::{CODES, Script, ServerOp, dictionary};

/// Any of the five types.
pub fn packet_type() -> impl Strategy<Value = PacketType> {
    sample::select(vec![
        PacketType::Handshake,
        PacketType::HandshakeAck,
        PacketType::Heartbeat,
        PacketType::Data,
        PacketType::Kick,
    ])
}

/// A route: one of the [dictionary](CODES), or any text up to the longest.
pub fn route() -> impl Strategy<Value = Route> {
    prop_oneof![
        sample::select(CODES.as_slice()).prop_map(|(route, _)| Route::from_static(route)),
        "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}".prop_map(Route::from),
        vec(any::<u8>(), 0..=255).prop_map(|bytes| Route::from_bytes(bytes.into())),
    ]
}

/// A body: empty, short, or long and compressible.
pub fn body() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..32).prop_map(Bytes::from),
        (any::<[u8; 4]>(), 0..200_usize).prop_map(|(pattern, times)| Bytes::from(pattern.repeat(times))),
    ]
}

/// A message of any type, with only what its type has a place for.
pub fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (message_id(), route(), body()).prop_map(|(id, route, body)| Message::request(id, route, body)),
        (route(), body()).prop_map(|(route, body)| Message::notify(route, body)),
        (message_id(), body()).prop_map(|(id, body)| Message::response(id, body)),
        (message_id(), body()).prop_map(|(id, body)| Message::error(id, body)),
        (route(), body()).prop_map(|(route, body)| Message::push(route, body)),
    ]
}

/// An id: often small, sometimes any.
pub fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![3 => 0..5_u64, 1 => any::<u64>()].prop_map(MessageId::new)
}

/// The packets of one client that keeps to the protocol: it presents itself, acknowledges, and talks.
pub fn session() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (handshake(), vec(client_packet(), 0..12)).prop_map(|(handshake, mut packets)| {
        let ack = encode(PacketType::HandshakeAck, b"");
        packets.splice(0..0, [handshake, ack]);
        packets
    })
}

/// The bytes of a [session], often with something wrong in them.
pub fn damaged_session() -> impl Strategy<Value = Vec<u8>> {
    (session(), vec(damage(), 0..3)).prop_map(|(session, damages)| {
        let mut bytes = session.concat();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        bytes
    })
}

/// Some bytes, often with something wrong in them.
pub fn damaged(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (bytes, vec(damage(), 0..3)).prop_map(|(mut bytes, damages)| {
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        bytes
    })
}

/// The bytes of a handshake packet's body: the request of a client.
pub fn handshake_body() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), "\\PC{0,12}", "\\PC{0,12}").prop_map(|(native, platform, version)| {
        let mut request = HandshakeRequest::default();
        (request.platform, request.client_version) = (platform, version);
        request.lib_version = if native { "0.3.5-release".into() } else { String::new() };
        request.encode()
    })
}

/// The bytes of any message, encoded with the [dictionary](CODES) or without, compressed or not.
pub fn message_bytes() -> impl Strategy<Value = Vec<u8>> {
    (message(), any::<bool>(), any::<bool>()).prop_map(|(message, coded, compress)| {
        let dictionary = if coded { dictionary() } else { Default::default() };
        let mut buf = BytesMut::new();
        message.encode(&dictionary, compress, &mut buf).expect("the route is short enough");
        buf.to_vec()
    })
}

/// Where a stream is cut. See [`any_chunking`](crate::props::any_chunking).
pub fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(any::<usize>(), 0..24), (1..40_usize).prop_map(|step| (0..400).step_by(step).collect())]
}

/// A script in which clients mostly keep to the protocol and drivers do anything.
pub fn script() -> impl Strategy<Value = Script<ServerOp>> {
    (any::<u16>(), any::<bool>(), handshake(), vec(op(), 0..40)).prop_map(|(settings, connect, handshake, mut ops)| {
        if connect {
            let ack = encode(PacketType::HandshakeAck, b"");
            ops.splice(
                0..0,
                [
                    ServerOp::Input(handshake.into()),
                    ServerOp::Poll(1),
                    ServerOp::Accept,
                    ServerOp::Input(ack.into()),
                    ServerOp::Poll(1),
                ],
            );
        }
        Script::new(settings, ops)
    })
}

/// One operation of a script.
pub fn op() -> impl Strategy<Value = ServerOp> {
    prop_oneof![
        6 => client_packet().prop_map(|packet| ServerOp::Input(packet.into())),
        1 => vec(any::<u8>(), 0..20).prop_map(|bytes| ServerOp::Input(bytes.into())),
        1 => (0..7_u8, vec(any::<u8>(), 0..20)).prop_map(|(kind, body)| ServerOp::Packet(kind, body.into())),
        1 => (0..7_u8, any::<u8>()).prop_map(|(kind, kibibytes)| ServerOp::Flood(kind, kibibytes)),
        3 => any::<u16>().prop_map(|tenths| ServerOp::Wait(tenths % 40)),
        1 => any::<u16>().prop_map(|tenths| ServerOp::Oversleep(tenths % 400)),
        6 => any::<u8>().prop_map(|count| ServerOp::Poll(count % 8)),
        2 => Just(ServerOp::Accept),
        3 => any::<(u8, u16)>().prop_map(|(which, len)| ServerOp::Respond(which, len % 3000)),
        2 => any::<(u8, u16)>().prop_map(|(which, len)| ServerOp::RespondError(which, len % 30)),
        1 => (0..5_u64).prop_map(ServerOp::RespondTo),
        4 => push().prop_map(|(route, len, policy)| ServerOp::Push(route, len, policy)),
        2 => push().prop_map(|(route, len, policy)| ServerOp::PushEncoded(route, len, policy)),
        4 => any::<u8>().prop_map(|count| ServerOp::Transmit(count % 8)),
        1 => prop_oneof![
            3 => any::<bool>().prop_map(ServerOp::Kick),
            2 => any::<u16>().prop_map(|bytes| ServerOp::Squeeze(bytes % 4000)),
            2 => sample::select(vec![ServerOp::Eof, ServerOp::Reject, ServerOp::PushForeign, ServerOp::Close, ServerOp::Abort]),
        ],
    ]
}

/// Route, length and policy: mostly to few routes, and so short that several wait.
fn push() -> impl Strategy<Value = (u8, u16, u8)> {
    (prop_oneof![3 => 0..3_u8, 1 => any::<u8>()], prop_oneof![3 => 0..500_u16, 1 => 0..3000_u16], 0..4_u8)
}

fn handshake() -> impl Strategy<Value = Vec<u8>> {
    handshake_body().prop_map(|body| encode(PacketType::Handshake, &body))
}

fn client_packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => message_bytes_of_a_client().prop_map(|body| encode(PacketType::Data, &body)),
        2 => Just(encode(PacketType::Heartbeat, b"")),
        1 => handshake(),
        1 => Just(encode(PacketType::HandshakeAck, b"")),
        1 => Just(encode(PacketType::Kick, b"")),
    ]
}

fn message_bytes_of_a_client() -> impl Strategy<Value = Vec<u8>> {
    let kind =
        prop_oneof![4 => Just(MessageType::Request), 2 => Just(MessageType::Notify), 1 => Just(MessageType::Push)];
    (kind, message_id(), route(), body(), any::<bool>()).prop_map(|(kind, id, route, body, compress)| {
        let mut buf = BytesMut::new();
        let message = Message::new(kind, id, route, body);
        message.encode(&dictionary(), compress, &mut buf).expect("the route is short enough");
        buf.to_vec()
    })
}

fn encode(kind: PacketType, body: &[u8]) -> Vec<u8> {
    let mut buf = BytesMut::new();
    packet::encode(kind, body, &mut buf).expect("the body is short");
    buf.to_vec()
}

#[derive(Clone, Debug)]
enum Damage {
    Flip { at: sample::Index, mask: u8 },
    Cut { at: sample::Index },
    Remove { at: sample::Index },
    Insert { at: sample::Index, bytes: Vec<u8> },
    Repeat { at: sample::Index },
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<sample::Index>;
    prop_oneof![
        (at(), 1..=255_u8).prop_map(|(at, mask)| Damage::Flip { at, mask }),
        at().prop_map(|at| Damage::Cut { at }),
        at().prop_map(|at| Damage::Remove { at }),
        (at(), vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        at().prop_map(|at| Damage::Repeat { at }),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let index = |at: &sample::Index| at.index(bytes.len().max(1));
        match self {
            _ if bytes.is_empty() => {}
            Self::Flip { at, mask } => {
                let at = index(at);
                bytes[at] ^= mask;
            }
            Self::Cut { at } => bytes.truncate(index(at)),
            Self::Remove { at } => drop(bytes.remove(index(at))),
            Self::Insert { at, bytes: inserted } => {
                let at = index(at);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Self::Repeat { at } => {
                let rest = bytes[index(at)..].to_vec();
                bytes.extend(rest);
            }
        }
    }
}
