//! What servers say to each other.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cereus_cluster::{
    Address, Addressing, Bus, CallError, ClusterEvent, Grpc, Kind, ServerInfo, Transmit, Undelivered,
    names::record,
    protos::{self, BindMsg, KickAnswer, KickMsg, Push, Request, Response},
};
use prost::Message;

use crate::peer::{Peer, call_id, local, within};

fn ack() -> Response {
    Response { data: Bytes::from_static(b"ack"), error: None }
}

fn failure(code: &str) -> Response {
    let error = protos::Error { code: code.to_owned(), msg: "no".to_owned(), metadata: BTreeMap::new() };
    Response { error: Some(error), ..Response::default() }
}

/// A frontend and a backend say to each other all that servers say.
async fn conversation() {
    let (mut gate, mut room) = Peer::pair(local(), local()).await;
    let request = Request { frontend_id: "g1".to_owned(), ..Request::default() };
    for answer in [ack(), failure("GAME-1")] {
        gate.call(&room.info, Kind::Call, request.encode_to_vec());
        let ClusterEvent::Request(taken, Some(reply)) = room.next().await else { panic!("not a request") };
        assert_eq!(taken, request);
        room.node.reply(reply, &answer);
        room.flush();
        assert_eq!(gate.finished().await, Ok(answer));
    }

    let push = Push { route: "onMsg".to_owned(), uid: "u1".to_owned(), data: "{}".into(), on_full: 0 };
    for (answer, result) in [(ack(), Ok(ack())), (failure("PIT-404"), Err(CallError::Bus("no".to_owned())))] {
        room.call(&gate.info, Kind::Push, push.encode_to_vec());
        let ClusterEvent::Push(taken, Some(reply)) = gate.next().await else { panic!("not a push") };
        assert_eq!(taken, push);
        gate.node.reply(reply, &answer);
        gate.flush();
        assert_eq!(room.finished().await, result);
    }

    let kicked = Response { data: KickAnswer { kicked: true }.encode_to_vec().into(), error: None };
    let nobody = Err(CallError::Bus("the user was not kicked".to_owned()));
    for (kicked, result) in [(true, Ok(kicked)), (false, nobody)] {
        room.call(&gate.info, Kind::Kick, KickMsg { user_id: "u1".to_owned() }.encode_to_vec());
        let ClusterEvent::Kick(kick, Some(reply)) = gate.next().await else { panic!("not a kick") };
        assert_eq!(kick.user_id, "u1");
        gate.node.reply(reply, &KickAnswer { kicked });
        gate.flush();
        assert_eq!(room.finished().await, result);
    }

    let bind = BindMsg { uid: "u1".to_owned(), fid: "g1".to_owned() };
    room.call(&gate.info, Kind::Bind, bind.encode_to_vec());
    let ClusterEvent::Bind(taken, Some(reply)) = gate.next().await else { panic!("not a binding") };
    assert_eq!(taken, bind);
    gate.node.reply(reply, &ack());
    gate.flush();
    assert_eq!(room.finished().await, Ok(ack()));

    within(futures_util::future::join(gate.bus.stop(), room.bus.stop())).await;
}

#[tokio::test]
async fn servers_talk() {
    conversation().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_talk_on_several_threads() {
    conversation().await;
}

/// No tokio runtime is entered here.
#[test]
fn servers_talk_under_smol() {
    assert!(tokio::runtime::Handle::try_current().is_err());
    smol::block_on(conversation());
}

#[tokio::test]
async fn what_cannot_be_read_is_answered() {
    let (mut gate, mut room) = Peer::pair(local(), local()).await;
    for kind in [Kind::Call, Kind::Push, Kind::Kick, Kind::Bind] {
        gate.call(&room.info, kind, b"\xff".as_slice());
        assert!(matches!(room.next().await, ClusterEvent::Unreadable { .. }));
        room.flush();
        match gate.finished().await {
            Ok(Response { error: Some(error), .. }) => assert_eq!((kind, error.code.as_str()), (Kind::Call, "PIT-400")),
            result => {
                assert!(matches!(&result, Err(CallError::Bus(text)) if text.contains("cannot be read")), "{result:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_chosen_port_is_in_the_record() {
    let bus = Grpc::bind("127.0.0.1:0").external_host("example.org").region("eu");
    assert_eq!(bus.addressing(), Addressing::Servers);
    let peer = Peer::start(bus, "room", "r1").await;
    let metadata = &peer.info.metadata;
    let port: u16 = metadata[record::GRPC_PORT].parse().unwrap();
    assert_ne!(port, 0);
    assert_eq!(metadata[record::GRPC_HOST], "127.0.0.1");
    assert_eq!(metadata[record::GRPC_EXTERNAL_HOST], "example.org");
    assert_eq!(metadata[record::GRPC_EXTERNAL_PORT], metadata[record::GRPC_PORT]);
    assert_eq!(metadata[record::REGION], "eu");
}

/// Servers of one region talk at the host, all others at the external host.
#[tokio::test]
async fn the_region_decides_where_a_server_is_called() {
    let room = local().host("127.0.0.1").external_host("not.there.invalid").region("eu");
    let mut room = Peer::start(room, "room", "r1").await;
    let mut near = Peer::start(local().region("eu"), "gate", "g1").await;
    near.send(&room.info, Kind::Call, Some(1), "a");
    room.echo().await;
    assert_eq!(near.answer().await, (call_id(1), Ok("a".into())));
    let mut far = Peer::start(local(), "gate", "g2").await;
    far.send(&room.info, Kind::Call, Some(1), "a");
    assert_eq!(far.answer().await, (call_id(1), Err(Undelivered::NoResponders)));
}

#[tokio::test]
async fn a_server_without_an_address_is_not_called() {
    let mut gate = Peer::start(local(), "gate", "g1").await;
    let to = Address::Server(Arc::new(ServerInfo::new("room", "r1")));
    gate.bus.send(Transmit { to, kind: Kind::Call, call: Some(call_id(1)), payload: Bytes::new() }).unwrap();
    let (_, result) = gate.answer().await;
    assert!(matches!(&result, Err(Undelivered::Failed(text)) if text.contains("no connection")), "{result:?}");
    let to = Address::Type("room".into());
    gate.bus.send(Transmit { to, kind: Kind::Bind, call: Some(call_id(2)), payload: Bytes::new() }).unwrap();
    assert_eq!(gate.answer().await.0, call_id(2));
}

/// Some are so long that they come in many pieces, and would be overtaken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_first_comes_first() {
    let (mut gate, mut room) = Peer::pair(local(), local()).await;
    const MESSAGES: usize = 2_000;
    let payload = |number: usize| {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(8 + if number.is_multiple_of(50) { 300_000 } else { number % 7 * 100 }, 7);
        payload
    };
    for number in 0..MESSAGES {
        gate.send(
            &room.info,
            if number.is_multiple_of(3) { Kind::Push } else { Kind::Call },
            Some(number),
            payload(number),
        );
    }
    for number in 0..MESSAGES {
        let (_, reply, taken) = room.message().await;
        assert_eq!(taken[..8], number.to_le_bytes());
        assert_eq!(taken, payload(number));
        room.reply(reply, "");
    }
    for _ in 0..MESSAGES {
        assert_eq!(gate.answer().await.1, Ok(Bytes::new()));
    }
}

#[tokio::test]
async fn pushes_to_a_user_of_a_go_server_wait_for_each_other() {
    let mut room = Peer::start(local(), "room", "r1").await;
    let mut go = Peer::start_as(local(), ServerInfo::new("gate", "go")).await;
    let push = |uid: &str, data: &'static str| {
        Push { uid: uid.to_owned(), data: data.into(), ..Push::default() }.encode_to_vec()
    };
    room.send(&go.info, Kind::Push, Some(1), push("u1", "a"));
    room.send(&go.info, Kind::Push, Some(2), push("u1", "b"));
    room.send(&go.info, Kind::Kick, Some(3), KickMsg { user_id: "u1".to_owned() }.encode_to_vec());
    room.send(&go.info, Kind::Push, Some(4), push("u2", "c"));
    let ((_, first, a), (_, other, c)) = (go.message().await, go.message().await);
    assert_eq!((&*a, &*c), (&*push("u1", "a"), &*push("u2", "c")));
    go.reply(other, "");
    assert_eq!(room.answer().await.0, call_id(4));
    go.reply(first, ack().encode_to_vec());
    let (_, second, b) = go.message().await;
    assert_eq!(&*b, &*push("u1", "b"));
    go.reply(second, failure("PIT-404").encode_to_vec());
    assert_eq!([room.answer().await.0, room.answer().await.0], [call_id(1), call_id(2)]);
    assert_eq!(go.message().await.0, Kind::Kick);
}

#[tokio::test]
async fn what_nobody_waits_for_is_sent_too() {
    let (gate, mut room) = Peer::pair(local(), local()).await;
    gate.send(&room.info, Kind::Push, None, "a");
    gate.send(&room.info, Kind::Push, None, "b");
    let (_, reply, _) = room.message().await;
    room.reply(reply, failure("PIT-404").encode_to_vec());
    assert_eq!(room.message().await.2, "b");
}
