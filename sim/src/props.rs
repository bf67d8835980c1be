//! What always holds, as functions that panic with what does not.
//!
//! Each takes any bytes, so that a fuzz target is one call. [`strategies`](crate::strategies) makes better ones.

mod script;
mod server;

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use cereus_core::{
    CloseReason, HandshakeRequest, HandshakeResponse, Instant, Message, RouteDictionary, ServerConfig,
    ServerConnection, ServerEvent,
    packet::{self, MAX_BODY_LEN, PacketDecoder, PacketError, PacketHeader},
};

pub use script::{Op, Script};
pub use server::{run, server};

/// The routes that have a code in the properties of messages and servers.
pub const CODES: [(&str, u16); 4] = [("room.join", 1), ("room.say", 2), ("onMessage", 258), ("a.b", 65535)];

/// What a compressed body may grow to in the properties.
pub const MAX_INFLATED: usize = 64 << 10;

/// A stream of packets is read or refused, the same in any segmentation, and what was read is written as it was.
///
/// # Panics
///
/// When that is not so.
pub fn packet(bytes: &[u8]) {
    let (whole, end) = decode_packets([bytes]);
    let (bytewise, bytewise_end) = decode_packets(bytes.chunks(1));
    assert_eq!((&bytewise, &bytewise_end), (&whole, &end), "single bytes give something else");

    let mut encoded = BytesMut::new();
    for packet in &whole {
        let start = encoded.len();
        packet::encode(packet.kind, &packet.body, &mut encoded).expect("what was decoded can be encoded");
        let (header, body) = packet::decode_exact(&encoded[start..]).expect("what was encoded can be decoded");
        assert_eq!((header.kind, body), (packet.kind, &packet.body[..]), "one packet alone is something else");
        assert_eq!(PacketHeader::parse(&header.encode()), Ok(header));
    }
    assert!(bytes.starts_with(&encoded), "what was decoded is not what was sent");
    if end.is_ok() {
        assert_eq!(encoded.len(), bytes.len(), "a clean end leaves bytes behind");
    }
    let _ = packet::decode_exact(bytes);
}

/// All packets, and how the stream ends.
fn decode_packets<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<packet::Packet>, Result<(), PacketError>) {
    let mut decoder = PacketDecoder::new(MAX_BODY_LEN);
    let mut packets = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_packet(), Err(error), "a bad header becomes better");
                    return (packets, Err(error));
                }
            }
        }
        assert_eq!(decoder.buffered(), decoder.tail().len(), "a whole packet is kept back");
        assert_eq!(decoder.ready(), 0, "nothing is ready and it says so");
    }
    (packets, decoder.finish())
}

/// A message is read or refused, and what was read survives writing and reading, plain and compressed.
///
/// # Panics
///
/// When that is not so.
pub fn message(bytes: &[u8]) {
    for dictionary in [RouteDictionary::default(), dictionary()] {
        let Ok(message) = Message::decode(Bytes::copy_from_slice(bytes), &dictionary, MAX_INFLATED) else {
            continue;
        };
        for compress in [false, true] {
            let mut encoded = BytesMut::new();
            message.encode(&dictionary, compress, &mut encoded).expect("what was decoded can be encoded");
            let again = Message::decode(encoded.freeze(), &dictionary, MAX_INFLATED.max(message.body.len()));
            assert_eq!(again.as_ref(), Ok(&message), "compression {compress}");
        }
    }
}

/// A handshake is read or refused, by both sides, and what was read survives writing and reading.
///
/// # Panics
///
/// When that is not so.
pub fn handshake(bytes: &[u8]) {
    if let Ok(request) = HandshakeRequest::parse(bytes) {
        assert_eq!(HandshakeRequest::parse(&request.encode()).as_ref(), Ok(&request));
    }
    if let Ok(response) = HandshakeResponse::parse(bytes) {
        assert_eq!(HandshakeResponse::parse(&response.encode()).as_ref(), Ok(&response));
    }
}

/// A server that is sent `bytes` and then the end tells and sends the same, wherever the bytes are cut, and whether it
/// acts after every piece or only when it must.
///
/// # Panics
///
/// When that is not so.
pub fn any_chunking(bytes: &[u8], cuts: &[usize]) {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let bounds = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let pieces: Vec<_> = bounds.zip(ends).map(|(start, end)| &bytes[start..end]).collect();

    let whole = transcript(&[bytes], false);
    assert_eq!(transcript(&pieces, false), whole, "cut at {cuts:?}");
    assert_eq!(transcript(&pieces, true), whole, "cut at {cuts:?}, and acting late");
    assert!(matches!(whole.0.last(), Some(ServerEvent::Closed(_))), "the end is not told: {:?}", whole.0);
}

/// What a server that accepts everyone and echoes everything tells and sends.
fn transcript(pieces: &[&[u8]], late: bool) -> (Vec<ServerEvent>, BytesMut) {
    let now = Instant::EPOCH;
    let mut server = ServerConnection::new(Arc::new(config()), now);
    let (mut events, mut sent) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        if !late || !server.wants_input() {
            act(&mut server, &mut events, &mut sent);
        }
        assert!(server.wants_input(), "all events were polled, and no input is wanted");
        server.handle_input(piece, now);
    }
    act(&mut server, &mut events, &mut sent);
    server.handle_eof(now);
    act(&mut server, &mut events, &mut sent);
    (events, sent)
}

fn act(server: &mut ServerConnection, events: &mut Vec<ServerEvent>, sent: &mut BytesMut) {
    while let Some(event) = server.poll_event() {
        match &event {
            ServerEvent::Handshake(_) => server.accept(Instant::EPOCH),
            ServerEvent::Request { id, body, .. } if id.get() != 0 => {
                server.respond(*id, body.clone()).expect("a request that was just given out can be answered");
            }
            _ => {}
        }
        // Now, because a fault that shows later drops what was not sent.
        while server.poll_transmit(sent).is_some() {}
        let again = matches!(events.last(), Some(ServerEvent::Closed(_)));
        assert!(!again, "{event:?} after the end");
        events.push(event);
    }
    while server.poll_transmit(sent).is_some() {}
}

/// A configuration with small limits, so that few bytes reach them.
fn config() -> ServerConfig {
    let builder = ServerConfig::builder().dictionary(dictionary()).max_inflated_size(MAX_INFLATED);
    builder.max_packet_size(16 << 10).max_waiting_input(256).build().expect("a valid configuration")
}

pub(crate) fn dictionary() -> RouteDictionary {
    static DICTIONARY: LazyLock<RouteDictionary> =
        LazyLock::new(|| RouteDictionary::new(CODES).expect("distinct routes and codes"));
    DICTIONARY.clone()
}

/// Whether the peer or a deadline may bring this end about, when the driver did not ask for it.
fn is_peers_doing(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::PeerClosed
            | CloseReason::Protocol(_)
            | CloseReason::HandshakeTimeout
            | CloseReason::HeartbeatTimeout
    )
}
