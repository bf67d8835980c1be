//! What is bounded.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use cereus_cluster::{Bus, Kind, ServerInfo, Undelivered};
use futures_util::{
    FutureExt,
    future::{Either, select},
};
use tonic::Code;

use crate::{
    peer::{Peer, call_id, local, within},
    plain,
};

const CALL: &str = "/protos.Pitaya/Call";

fn failed(result: &Result<Bytes, Undelivered>, with: &str) -> bool {
    matches!(result, Err(Undelivered::Failed(text)) if text.contains(with))
}

/// None is answered before all have come.
async fn many(calls: usize, payload: &'static [u8]) {
    let (mut gate, mut room) = Peer::pair(local(), local()).await;
    for number in 0..calls {
        gate.send(&room.info, Kind::Call, Some(number), payload);
    }
    let mut replies = Vec::new();
    while replies.len() < calls {
        replies.push(room.message().await.1);
    }
    assert!(gate.event().now_or_never().is_none());
    for reply in replies {
        room.reply(reply, payload);
    }
    let mut answered = vec![false; calls];
    for _ in 0..calls {
        let (call, result) = gate.answer().await;
        assert_eq!(result, Ok(Bytes::from_static(payload)));
        assert!(!std::mem::replace(&mut answered[call.slot()], true));
    }
}

#[tokio::test]
async fn ten_thousand_calls_are_in_flight() {
    many(10_000, &[7; 200]).await;
}

/// HTTP/2 libraries take many short pieces for an attack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_empty_calls_are_in_flight() {
    many(10_000, b"").await;
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused() {
    let (mut gate, mut room) = Peer::pair(local().max_message_size(2_000), local().max_message_size(1_000)).await;
    gate.send(&room.info, Kind::Call, Some(1), vec![7; 1_000]);
    gate.send(&room.info, Kind::Call, Some(2), vec![7; 1_001]);
    let (call, result) = gate.answer().await;
    assert!(call == call_id(2) && failed(&result, "too large"), "{result:?}");
    let (_, reply, payload) = room.message().await;
    assert_eq!(payload.len(), 1_000);
    room.reply(reply, vec![7; 2_000]);
    assert_eq!(gate.answer().await, (call_id(1), Ok(vec![7; 2_000].into())));

    gate.send(&room.info, Kind::Call, Some(3), "");
    let (_, reply, _) = room.message().await;
    room.reply(reply, vec![7; 2_001]);
    let (_, result) = gate.answer().await;
    assert!(failed(&result, "too large"), "{result:?}");
}

#[tokio::test]
async fn long_messages_travel_as_go_takes_them() {
    let (mut gate, mut room) = Peer::pair(local(), local()).await;
    let long = Bytes::from(vec![7; 4 << 20]);
    gate.send(&room.info, Kind::Call, Some(1), long.clone());
    room.echo().await;
    assert_eq!(gate.answer().await.1, Ok(long));
}

/// A client that goes gives its place to others.
#[tokio::test]
async fn too_many_calls_are_refused_until_some_are_gone() {
    let mut room = Peer::start(local().max_incoming_calls(2), "room", "r1").await;
    let channel = plain::connect(&room).await;
    let mut first = Box::pin(plain::call(&channel, CALL, "1"));
    let mut second = Box::pin(plain::call(&channel, CALL, "2"));
    let (_, reply, _) = polling(&mut first, room.message()).await;
    let (_, forgotten, _) = polling(&mut second, room.message()).await;
    let status = within(plain::call(&channel, CALL, "3")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);

    drop(second);
    let mut third = Box::pin(plain::call(&channel, CALL, "3"));
    while let Either::Left((result, _)) = within(select(&mut third, Box::pin(room.message()))).await {
        assert_eq!(result.unwrap_err().code(), Code::ResourceExhausted);
        third = Box::pin(plain::call(&channel, CALL, "3"));
    }
    room.reply(forgotten, "nobody hears this");
    room.reply(reply, "one");
    assert_eq!(within(&mut first).await.unwrap(), "one");
    assert!((&mut third).now_or_never().is_none());
}

/// Waits for something while a call, which does not end, runs.
async fn polling<T>(call: impl Future + Unpin, future: impl Future<Output = T>) -> T {
    smol::future::or(future, async {
        call.await;
        std::future::pending().await
    })
    .await
}

#[tokio::test]
async fn what_waits_to_be_taken_in_is_bounded() {
    let mut gate = Peer::start(local(), "gate", "g1").await;
    for bus in [local().queue_capacity(2), local().max_queued_bytes(200)] {
        let mut room = Peer::start(bus, "room", "r1").await;
        for number in 0..3 {
            gate.send(&room.info, Kind::Call, Some(number), vec![7; 100]);
        }
        let (call, result) = gate.answer().await;
        assert!(call == call_id(2) && failed(&result, "too much waits"), "{result:?}");
        for _ in 0..2 {
            room.echo().await;
            gate.answer().await.1.unwrap();
        }
        gate.send(&room.info, Kind::Call, Some(0), vec![7; 100]);
        room.echo().await;
        gate.answer().await.1.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_so_many_calls_for_so_long() {
    let bus = local().max_calls_per_server(2).max_call_time(Duration::from_millis(50));
    let mut gate = Peer::start(bus, "gate", "g1").await;
    let mut room = Peer::start(local(), "room", "r1").await;
    for number in 0..3 {
        gate.send(&room.info, Kind::Call, Some(number), "");
    }
    let (call, result) = gate.answer().await;
    assert!(call == call_id(2) && failed(&result, "too many calls"), "{result:?}");
    let (call, result) = gate.answer().await;
    assert!(call == call_id(0) && failed(&result, "max_call_time"), "{result:?}");
    gate.answer().await.1.unwrap_err();
    for _ in 0..2 {
        room.echo().await;
    }
    gate.send(&room.info, Kind::Call, Some(3), "");
    room.echo().await;
    assert_eq!(gate.answer().await, (call_id(3), Ok(Bytes::new())));
}

#[tokio::test]
async fn an_address_in_use_is_told_at_the_start() {
    let room = Peer::start(local(), "room", "r1").await;
    let bus = cereus_cluster::Grpc::bind(room.address());
    let mut info = ServerInfo::new("room", "r2");
    bus.advertise(&mut info);
    assert_eq!(info.metadata.len(), 0);
    let Err(error) = bus.start(info.into()).await else { panic!("it started") };
    assert!(error.to_string().contains(&format!("cannot listen on `{}`", room.address())), "{error}");
}
