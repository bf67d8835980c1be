//! What always holds, as functions that panic with what does not.
//!
//! Each takes any bytes, so that a fuzz target is one call. [`strategies`](crate::strategies) makes better ones.

mod client;
mod cluster;
mod driven;
mod meter;
mod node;
mod outbox;
mod script;
mod server;
mod settings;
mod transports;

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use cereus_core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, HandshakeRequest, HandshakeResponse, InflateError,
    Instant, MAX_ROUTE_LEN, Message, MessageId, Route, RouteDictionary, SendError, ServerConfig, ServerConnection,
    ServerEvent,
    message::MessageError,
    packet::{self, MAX_BODY_LEN, PacketDecoder, PacketError, PacketHeader, PacketType},
};

pub use client::{ClientOp, client};
pub use cluster::{envelope, registry_record};
pub use node::{NodeOp, cluster_node};
pub use script::{Field, Operation, Reader, Script};
pub use server::{ServerOp, run, server};
pub use transports::{proxy_header, websocket};

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
    let header = PacketHeader::parse(bytes);
    assert!(bytes.len() == PacketHeader::LEN || header == Err(PacketError::InvalidHeader), "{header:?}");
    if let Ok((header, body)) = packet::decode_exact(bytes) {
        assert_eq!((whole.len(), header.kind, body), (1, whole[0].kind, &whole[0].body[..]));
    }
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
    route(&Route::from_bytes(Bytes::copy_from_slice(bytes)));
    for dictionary in [RouteDictionary::default(), dictionary()] {
        let Ok(message) = Message::decode(Bytes::copy_from_slice(bytes), &dictionary, MAX_INFLATED) else {
            continue;
        };
        let number = message.id.get();
        assert_eq!((message.id.to_string(), MessageId::new(number).get()), (number.to_string(), number));
        for compress in [false, true] {
            let mut encoded = BytesMut::new();
            message.encode(&dictionary, compress, &mut encoded).expect("what was decoded can be encoded");
            let again = Message::decode(encoded.freeze(), &dictionary, MAX_INFLATED.max(message.body.len()));
            assert_eq!(again.as_ref(), Ok(&message), "compression {compress}");
        }
    }
}

/// A route is its text, and can be sent unless it is too long.
fn route(route: &Route) {
    match route.as_str() {
        Some(text) => assert_eq!((route, &route.to_string()[..], &Route::from(text)), (&text.into(), text, route)),
        None => assert!(route.to_string().contains(char::REPLACEMENT_CHARACTER)),
    }
    let push = Message::push(route.into(), "x");
    let sent = push.encode(&RouteDictionary::default(), false, &mut BytesMut::new());
    let too_long = MessageError::RouteTooLong(route.len());
    assert_eq!(sent, if route.len() > MAX_ROUTE_LEN { Err(too_long) } else { Ok(()) });
}

/// A handshake is read or refused, by both sides, and what was read survives writing and reading; what a server announces,
/// a server can be configured to announce.
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
        announced(&response);
    }
}

/// Has a server announce this to a client, if it is what a configuration can be.
fn announced(response: &HandshakeResponse) {
    let routes = response.dictionary.iter().map(|(route, code)| (route.to_string(), *code));
    let dictionary = match RouteDictionary::new(routes) {
        Ok(dictionary) => dictionary,
        Err(error) => return assert!(error.to_string().contains("dictionary"), "{error} is no help"),
    };
    let HandshakeResponse { heartbeat, serializer, .. } = response;
    let builder = ServerConfig::builder().heartbeat(*heartbeat).dictionary(dictionary).serializer(serializer.as_str());
    let config = match builder.build() {
        Ok(config) => config,
        Err(errors) => {
            assert!(heartbeat.is_zero() || heartbeat.subsec_nanos() != 0, "refused: {errors}");
            return assert_eq!(errors.into_iter().count(), 1);
        }
    };
    assert_eq!((config.heartbeat(), config.serializer()), (*heartbeat, serializer.as_str()));
    let dictionary = config.dictionary().entries().to_vec();
    assert!(dictionary.iter().all(|(route, code)| config.dictionary().route(*code) == Some(route)));

    let now = Instant::EPOCH;
    let (mut server, mut client) = connected_as_far_as_the_handshake(config, now);
    let mut answer = BytesMut::new();
    while server.poll_transmit(&mut answer).is_some() {}
    client.handle_input(&answer, now);
    let Some(ClientEvent::Connected(read)) = client.poll_event() else { panic!("no client understands the answer") };
    assert_eq!((read.code, read.dictionary, &read.serializer), (HandshakeResponse::OK, dictionary, serializer));
    assert_eq!(read.heartbeat, *heartbeat);
}

/// A server that has accepted a client, and the client, which does not know it yet.
fn connected_as_far_as_the_handshake(config: ServerConfig, now: Instant) -> (ServerConnection, ClientConnection) {
    let mut client = ClientConnection::new(ClientConfig::default(), now);
    let mut server = ServerConnection::new(Arc::new(config), now);
    let mut handshake = BytesMut::new();
    while client.poll_transmit(&mut handshake).is_some() {}
    server.handle_input(&handshake, now);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Handshake(_))), "no server understands a client");
    server.accept(now);
    (server, client)
}

/// A compressed body is inflated or refused, never beyond the limit, and what comes out can be compressed again; nobody
/// is kept from sending `bytes` themselves compressed.
///
/// # Panics
///
/// When that is not so.
pub fn inflate(bytes: &[u8]) {
    let no_dictionary = RouteDictionary::default();
    let inflate = |bytes: &[u8], max| {
        let compressed_response = [b"\x14\x01", bytes].concat();
        Message::decode(compressed_response.into(), &no_dictionary, max).map(|message| message.body)
    };
    let inflated = inflate(bytes, MAX_INFLATED);
    match &inflated {
        Ok(body) => {
            let len = body.len();
            assert!(len <= MAX_INFLATED, "{len} bytes are let through");
            assert_eq!(inflate(bytes, len).as_ref(), Ok(body), "the limit is no bound that can be reached");
            if len > 0 {
                let too_large = MessageError::Inflate(InflateError::TooLarge(len - 1));
                assert_eq!(inflate(bytes, len - 1), Err(too_large));
            }
            let followed = [bytes, b"more"].concat();
            assert_eq!(inflate(&followed, MAX_INFLATED).as_ref(), Ok(body), "what follows counts");
            if let Ok(buffer) = body.clone().try_into_mut() {
                assert!(buffer.capacity() <= MAX_INFLATED, "more memory is held than the limit");
            }
        }
        Err(MessageError::Inflate(InflateError::TooLarge(max))) => assert_eq!(*max, MAX_INFLATED),
        Err(error) => assert_eq!(*error, MessageError::Inflate(InflateError::Invalid)),
    }
    for body in inflated.iter().map(|body| &body[..]).chain([bytes]) {
        let mut message = BytesMut::new();
        let push = Message::push(Route::default(), Bytes::copy_from_slice(body));
        push.encode(&no_dictionary, true, &mut message).expect("the route is short enough");
        assert!(message.len() <= 2 + body.len(), "compressed to more than it was");
        let read = Message::decode(message.freeze(), &no_dictionary, body.len());
        assert_eq!(read, Ok(push), "what was compressed does not survive");
    }
    inflates_the_same_as_a_handshake(bytes, inflated.ok());
}

/// No flag says that a handshake is compressed: a client looks at it.
fn inflates_the_same_as_a_handshake(bytes: &[u8], inflated: Option<Bytes>) {
    let handshake = |body: &[u8]| {
        let now = Instant::EPOCH;
        let config = ClientConfig::builder().max_handshake_size(MAX_INFLATED).build().expect("a valid configuration");
        let mut client = ClientConnection::new(config, now);
        client.handle_input(&encode_packet(PacketType::Handshake as u8, body), now);
        client.poll_event()
    };
    let is_connected = |event: &Option<ClientEvent>| matches!(event, Some(ClientEvent::Connected(_)));
    let event = handshake(bytes);
    assert!(event.is_some(), "a handshake is not answered");
    if let Some(inflated) = inflated {
        let same = handshake(&inflated);
        if is_connected(&event) {
            assert_eq!(event, same, "compressed it says something else");
        }
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

fn route_of(which: u8) -> Route {
    let (route, _) = CODES[usize::from(which) % CODES.len()];
    // Half of them are in no dictionary, and one is too long.
    match which {
        0..0x80 => Route::from_static(route),
        0xff => Route::from(route.repeat(MAX_ROUTE_LEN)),
        which => Route::from(format!("{route}.{which}")),
    }
}

/// Why this route cannot be sent.
fn too_long(route: &Route) -> Option<SendError> {
    (route.len() > MAX_ROUTE_LEN).then_some(SendError::RouteTooLong(route.len()))
}

/// Half of it can be compressed.
fn body(len: usize) -> Bytes {
    (0..len).map(|at| if at % 64 < 32 { b'x' } else { (at * 167 / 8) as u8 }).collect()
}

fn encode_packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
    [&[kind, high, middle, low], body].concat()
}
