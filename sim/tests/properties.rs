//! The properties, with inputs that mostly make sense.

use bytes::{Bytes, BytesMut};
use cereus_core::{
    Message, RouteDictionary,
    packet::{self, MAX_BODY_LEN, Packet, PacketDecoder, PacketError, PacketType},
};
use cereus_sim::{
    props::{self, Script, ServerOp},
    strategies,
};
use proptest::{collection::vec, prelude::*, test_runner::Config};

/// No file is written: `proptest` tells the smallest input that fails, to be made a test of its own.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn packets_hold(bytes in strategies::damaged_session()) {
        props::packet(&bytes);
    }

    #[test]
    fn packets_of_any_bytes_hold(bytes in vec(prop_oneof![0..6_u8, any::<u8>()], 0..64)) {
        props::packet(&bytes);
    }

    #[test]
    fn messages_hold(bytes in strategies::damaged(strategies::message_bytes())) {
        props::message(&bytes);
    }

    #[test]
    fn messages_of_any_bytes_hold(bytes in vec(any::<u8>(), 0..64)) {
        props::message(&bytes);
    }

    #[test]
    fn handshakes_hold(bytes in strategies::damaged(strategies::handshake_body())) {
        props::handshake(&bytes);
    }

    #[test]
    fn sessions_are_the_same_in_any_chunking(bytes in strategies::damaged_session(), cuts in strategies::cuts()) {
        props::any_chunking(&bytes, &cuts);
    }

    #[test]
    fn servers_hold(script in strategies::script()) {
        props::run(&script);
        props::server(&script.encode());
    }

    #[test]
    fn servers_of_any_bytes_hold(bytes in vec(any::<u8>(), 0..200)) {
        props::server(&bytes);
    }

    #[test]
    fn clients_of_any_bytes_hold(bytes in vec(any::<u8>(), 0..200)) {
        props::client(&bytes);
    }

    #[test]
    fn cluster_nodes_of_any_bytes_hold(bytes in vec(any::<u8>(), 0..300)) {
        props::cluster_node(&bytes);
    }

    #[test]
    fn websockets_of_any_bytes_hold(settings in 0..8_u8, bytes in vec(any::<u8>(), 0..100)) {
        props::websocket(&[&[settings], &bytes[..]].concat());
    }

    #[test]
    fn scripts_survive_their_bytes(script in strategies::script()) {
        let encoded = script.encode();
        prop_assert_eq!(Script::<ServerOp>::decode(&encoded).encode(), encoded);
    }

    #[test]
    fn packets_survive_the_wire(
        packets in vec((strategies::packet_type(), strategies::body()), 0..8),
        cuts in strategies::cuts(),
    ) {
        let mut wire = BytesMut::new();
        for (kind, body) in &packets {
            packet::encode(*kind, body, &mut wire).expect("the body is short");
        }
        let mut decoder = PacketDecoder::new(MAX_BODY_LEN);
        let mut decoded = Vec::new();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([wire.len()]).collect();
        cuts.sort_unstable();
        let mut start = 0;
        for end in cuts {
            decoder.push(&wire[start..end]);
            start = end;
            while let Some(Packet { kind, body, .. }) = decoder.next_packet().expect("it was just encoded") {
                decoded.push((kind, body));
            }
        }
        prop_assert_eq!(decoded, packets);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn messages_survive_the_wire(message in strategies::message(), coded in any::<bool>(), compress in any::<bool>()) {
        let dictionary = if coded { RouteDictionary::new(props::CODES) } else { RouteDictionary::new([("", 0); 0]) };
        let dictionary = dictionary.expect("distinct routes and codes");
        let mut wire = BytesMut::new();
        message.encode(&dictionary, compress, &mut wire).expect("the route is short enough");
        let decoded = Message::decode(wire.freeze(), &dictionary, props::MAX_INFLATED);
        prop_assert_eq!(decoded, Ok(message));
    }

    #[test]
    fn longer_packets_than_allowed_are_refused(max in 0..3000_usize, body in strategies::body()) {
        let mut wire = BytesMut::new();
        packet::encode(PacketType::Data, &body, &mut wire).expect("the body is short");
        let mut decoder = PacketDecoder::new(max);
        decoder.push(&wire);
        let expected = if body.len() > max { Err(PacketError::TooLarge { len: body.len(), max }) } else { Ok(body) };
        let decoded = decoder.next_packet().map(|packet| packet.map_or(Bytes::new(), |packet| packet.body));
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn what_follows_a_bad_header_is_not_kept(floods in vec(1..9000_usize, 1..20), kind in 6..=255_u8) {
        let mut decoder = PacketDecoder::new(MAX_BODY_LEN);
        decoder.push(&[kind, 0, 0, 0]);
        for flood in floods {
            decoder.push(&vec![b'x'; flood]);
            prop_assert!(decoder.buffered() <= 4, "{} bytes are held for nothing", decoder.buffered());
        }
        prop_assert_eq!(decoder.next_packet(), Err(PacketError::WrongType(kind)));
    }
}
