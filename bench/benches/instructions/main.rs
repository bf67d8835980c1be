//! Instructions per operation, which a busy machine does not change. Needs valgrind and
//! `cargo install gungraun-runner --version 0.20.0 --locked`; run with `cargo bench -p cereus-bench`.

#![expect(missing_docs, unused_qualifications, reason = "the macros of gungraun")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails has nothing to measure")]

mod memory;

use std::{hint::black_box, sync::Arc};

use bytes::{Bytes, BytesMut};
use cereus_core::{
    Instant, Message, MessageId, Route, RouteDictionary, ServerConfig, ServerConnection, ServerEvent,
    packet::{self, PacketDecoder, PacketType},
};
use gungraun::{library_benchmark, library_benchmark_group, main};
use memory::Connection;

const MAX_INFLATED: usize = 16 << 20;

fn request() -> Bytes {
    let message = Message::request(MessageId::new(300), Route::from_static("echo.raw"), vec![b'.'; 64]);
    let mut body = BytesMut::new();
    message.encode(&RouteDictionary::default(), false, &mut body).unwrap();
    body.freeze()
}

fn packet() -> Bytes {
    let mut bytes = BytesMut::new();
    packet::encode(PacketType::Data, &request(), &mut bytes).unwrap();
    bytes.freeze()
}

#[library_benchmark]
#[bench::one(packet())]
fn packet_decode(packet: Bytes) -> PacketDecoder {
    let mut decoder = PacketDecoder::new(1 << 20);
    decoder.push(black_box(&packet));
    black_box(decoder.next_packet().unwrap());
    decoder
}

#[library_benchmark]
#[bench::one(request())]
fn message_decode(body: Bytes) -> Message {
    Message::decode(black_box(body), &RouteDictionary::default(), MAX_INFLATED).unwrap()
}

#[library_benchmark]
#[bench::one((Message::response(MessageId::new(300), vec![b'.'; 64]), BytesMut::with_capacity(128)))]
fn message_encode((message, mut buf): (Message, BytesMut)) -> BytesMut {
    message.encode(&RouteDictionary::default(), false, &mut buf).unwrap();
    buf
}

fn dictionary(routes: u16) -> (RouteDictionary, Route) {
    let entries = (0..routes).map(|code| (format!("service{code}.method"), code));
    (RouteDictionary::new(entries).unwrap(), Route::from(format!("service{}.method", routes / 2)))
}

#[library_benchmark]
#[bench::ten(dictionary(10))]
#[bench::ten_thousand(dictionary(10_000))]
fn dictionary_lookup((dictionary, route): (RouteDictionary, Route)) -> (Option<u16>, RouteDictionary) {
    (dictionary.code(black_box(&route)), dictionary)
}

/// A connection that has answered requests before, so that its buffers are there.
fn warm_connection() -> (ServerConnection, Bytes, BytesMut) {
    let now = Instant::EPOCH;
    let mut connection = ServerConnection::new(Arc::new(ServerConfig::default()), now);
    connection.handle_input(b"\x01\0\0\x02{}", now);
    black_box(connection.poll_event());
    connection.accept(now);
    connection.handle_input(b"\x02\0\0\0", now);
    black_box(connection.poll_event());
    let (packet, mut out) = (packet(), BytesMut::with_capacity(4096));
    for _ in 0..8 {
        answer(&mut connection, &packet, &mut out);
    }
    (connection, packet, out)
}

fn answer(connection: &mut ServerConnection, packet: &[u8], out: &mut BytesMut) {
    connection.handle_input(packet, Instant::EPOCH);
    while let Some(event) = connection.poll_event() {
        if let ServerEvent::Request { id, body, .. } = event {
            connection.respond(id, body).unwrap();
        }
    }
    out.clear();
    while connection.poll_transmit(out).is_some() {}
}

#[library_benchmark]
#[bench::one(warm_connection())]
fn connection_request((mut connection, packet, mut out): (ServerConnection, Bytes, BytesMut)) -> ServerConnection {
    answer(&mut connection, black_box(&packet), &mut out);
    connection
}

/// A server of so many routes that is warm, and a number of requests to it.
fn warm_server(routes: usize, requests: usize) -> (Connection, Vec<u8>) {
    let mut connection = Connection::to_server_with(routes);
    let bytes = packet().repeat(requests);
    for _ in 0..8 {
        assert!(connection.exchange(&bytes) > 64 * requests);
    }
    (connection, bytes)
}

#[library_benchmark]
#[bench::ten_routes(warm_server(10, 1))]
#[bench::ten_thousand_routes(warm_server(10_000, 1))]
#[bench::sixteen_in_flight(warm_server(10, 16))]
fn driver_request((mut connection, bytes): (Connection, Vec<u8>)) -> Connection {
    connection.exchange(black_box(&bytes));
    connection
}

library_benchmark_group!(name = app, benchmarks = driver_request);
library_benchmark_group!(
    name = core,
    benchmarks = [packet_decode, message_decode, message_encode, dictionary_lookup, connection_request]
);
main!(library_benchmark_groups = [core, app]);
