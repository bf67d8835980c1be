//! Servers that go, come back, and change.

use std::{sync::Arc, time::Duration};

use cereus_cluster::{Bus, CallError, Grpc, Kind, RegistryEvent, ServerInfo, Undelivered, names::record, protos::Push};
use cereus_service_tests::free_port;
use futures_util::FutureExt;
use prost::Message;
use tokio::net::TcpListener;

use crate::{
    peer::{Peer, call_id, local, within},
    plain,
};

/// On a port that nobody else is given when it is free again.
fn on_free_port() -> Grpc {
    Grpc::bind(format!("127.0.0.1:{}", free_port()))
}

#[tokio::test]
async fn a_server_goes_and_comes_back() {
    let (mut gate, mut room) = Peer::pair(local(), on_free_port()).await;
    let (info, address) = (Arc::clone(&room.info), room.address());
    for _ in 0..3 {
        gate.call(&info, Kind::Call, "");
        room.echo().await;
        gate.finished().await.unwrap();

        gate.call(&info, Kind::Call, "");
        room.message().await;
        drop(room);
        let lost = gate.finished().await;
        assert!(matches!(&lost, Err(CallError::Bus(text)) if text.contains("has stopped")), "{lost:?}");

        within(until_gone(&mut gate, &info)).await;
        room = Peer::start(Grpc::bind(&*address), "room", "r1").await;
    }
}

/// A dropped bus closes its connections in the background. Until then it says that it has stopped.
async fn until_gone(gate: &mut Peer, info: &Arc<ServerInfo>) {
    loop {
        gate.call(info, Kind::Call, "");
        match gate.finished().await {
            Err(CallError::NoResponders) => return,
            result => assert!(matches!(result, Err(CallError::Bus(_))), "{result:?}"),
        }
    }
}

/// What is killed lets go of its port a little later.
async fn until_refused(address: &str) {
    within(async {
        while std::net::TcpStream::connect(address).is_ok() {
            smol::future::yield_now().await;
        }
    })
    .await;
}

/// A server that is killed says nothing: here it is the runtime on which it runs that goes.
#[test]
fn a_server_is_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut room = runtime.block_on(Peer::start(on_free_port(), "room", "r1"));
    let info = Arc::clone(&room.info);
    smol::block_on(async {
        let mut gate = Peer::start(local(), "gate", "g1").await;
        gate.send(&info, Kind::Call, Some(1), "");
        room.message().await;
        runtime.shutdown_background();
        let (_, lost) = gate.answer().await;
        assert!(matches!(&lost, Err(Undelivered::Failed(_))), "{lost:?}");
        until_refused(&room.address()).await;
        gate.send(&info, Kind::Call, Some(2), "");
        assert_eq!(gate.answer().await, (call_id(2), Err(Undelivered::NoResponders)));
    });
}

#[test]
fn what_waits_for_another_push_to_a_server_that_is_killed_is_told() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut go = runtime.block_on(Peer::start_as(on_free_port(), ServerInfo::new("gate", "go")));
    let push = Push { uid: "u1".to_owned(), ..Push::default() }.encode_to_vec();
    smol::block_on(async {
        let mut room = Peer::start(local(), "room", "r1").await;
        room.send(&go.info, Kind::Push, Some(0), push.clone());
        go.echo().await;
        room.answer().await.1.unwrap();
        runtime.shutdown_background();
        until_refused(&go.address()).await;
        for number in 1..4 {
            room.send(&go.info, Kind::Push, Some(number), push.clone());
        }
        // The first may be what finds out that the connection is gone.
        assert!(matches!(room.answer().await, (_, Err(_))));
        for number in 2..4 {
            assert_eq!(room.answer().await, (call_id(number), Err(Undelivered::NoResponders)));
        }
    });
}

/// Whatever waits for a server that cannot be reached is told at the same time.
#[tokio::test]
async fn all_that_wait_for_a_connection_are_told_at_once() {
    // It accepts connections, and never says anything: no TLS is agreed on.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let bus = local().tls_ca(authority).connect_timeout(Duration::from_millis(100));
    let mut gate = Peer::start(bus, "gate", "g1").await;
    let mut room = Peer::start(local(), "room", "r1").await;
    let mut info = (*room.info).clone();
    info.metadata.insert(record::GRPC_PORT.to_owned(), silent.local_addr().unwrap().port().to_string());
    room.info = info.into();
    for number in 0..1_000 {
        gate.send(&room.info, Kind::Call, Some(number), "");
    }
    for number in 0..1_000 {
        assert_eq!(gate.answer().await, (call_id(number), Err(Undelivered::NoResponders)));
    }
}

#[tokio::test]
async fn a_changed_record_leads_elsewhere() {
    let (mut gate, mut before) = Peer::pair(local(), local()).await;
    gate.send(&before.info, Kind::Call, Some(1), "a");
    let (_, reply, _) = before.message().await;

    let mut after = Peer::start(local(), "room", "r1").await;
    gate.learn(&after.info);
    gate.send(&after.info, Kind::Call, Some(2), "b");
    after.echo().await;
    assert_eq!(gate.answer().await, (call_id(2), Ok("b".into())));

    // What was on its way ends where it went.
    before.reply(reply, "a");
    assert_eq!(gate.answer().await, (call_id(1), Ok("a".into())));
    // Then the connection goes, so that the server waits for nothing.
    within(before.bus.stop()).await;

    gate.registry(RegistryEvent::Delete { server_type: "room".to_owned(), id: "r1".to_owned() });
    within(after.bus.stop()).await;
}

#[tokio::test]
async fn a_stop_lets_calls_end() {
    let (mut gate, mut room) = Peer::pair(local(), local()).await;
    let channel = plain::connect(&room).await;
    gate.send(&room.info, Kind::Call, Some(1), "");
    let (_, reply, _) = room.message().await;
    let mut stop = Box::pin(room.bus.stop());
    // It is not reached any more when it has begun to stop.
    while tokio::net::TcpStream::connect(room.address()).await.is_ok() {
        assert!((&mut stop).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert!((&mut stop).now_or_never().is_none());
    room.reply(reply, "done");
    within(stop).await;
    assert_eq!(gate.answer().await, (call_id(1), Ok("done".into())));
    assert!(within(plain::call(&channel, "/protos.Pitaya/Call", "")).await.is_err());
    room.send(&gate.info, Kind::Call, Some(2), "");
    let (_, refused) = room.answer().await;
    assert!(matches!(&refused, Err(Undelivered::Failed(text)) if text.contains("stopped")), "{refused:?}");
}

#[tokio::test]
async fn a_stop_waits_for_what_was_sent() {
    let (gate, mut room) = Peer::pair(local(), local()).await;
    for _ in 0..100 {
        gate.send(&room.info, Kind::Push, None, "");
    }
    let take = async {
        for _ in 0..100 {
            room.echo().await;
        }
    };
    within(futures_util::future::join(gate.bus.stop(), take)).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let (mut gate, mut room) = Peer::pair(local(), local().drain_timeout(Duration::from_millis(50))).await;
    gate.send(&room.info, Kind::Call, Some(1), "");
    room.message().await;
    within(room.bus.stop()).await;
    let (_, lost) = gate.answer().await;
    assert!(matches!(&lost, Err(Undelivered::Failed(text)) if text.contains("has stopped")), "{lost:?}");
}

#[tokio::test]
async fn whoever_waits_is_told_when_nobody_takes_in_any_more() {
    let (mut gate, mut room) = Peer::pair(local(), local()).await;
    gate.send(&room.info, Kind::Call, Some(1), "");
    room.message().await;
    let (info, _bus) = room.deafen();
    for number in 1..3 {
        let (call, lost) = gate.answer().await;
        assert_eq!(call, call_id(number));
        assert!(matches!(&lost, Err(Undelivered::Failed(text)) if text.contains("has stopped")), "{lost:?}");
        gate.send(&info, Kind::Call, Some(number + 1), "");
    }
}

#[tokio::test]
async fn an_eager_bus_connects_before_the_first_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut gate = Peer::start(local().lazy_connection(false), "gate", "g1").await;
    let mut info = ServerInfo::new("room", "r1");
    info.metadata.insert(record::GRPC_HOST.to_owned(), "127.0.0.1".to_owned());
    info.metadata.insert(record::GRPC_PORT.to_owned(), listener.local_addr().unwrap().port().to_string());
    gate.learn(&info);
    within(listener.accept()).await.unwrap();
}
