//! What a cluster does as long as nothing fails, over NATS and over gRPC.

use cereus::{App, Error, Raw, Server, Service, Session};

use crate::{
    Services,
    client::Client,
    support::{Meeting, On, Running},
};

async fn everything(session: Session, Raw(uid): Raw) -> Result<Raw, Error> {
    session.bind(String::from_utf8_lossy(&uid).as_ref()).await?;
    session.data(|data| data.set("level", &7))?;
    session.push_to_front().await?;
    for n in 0..10 {
        session.push("onPush", n.to_string().into_bytes())?;
    }
    Ok(Raw("bound".into()))
}

async fn leave(session: Session) -> Result<Raw, Error> {
    session.kick(None).await?;
    Ok(Raw("kicked".into()))
}

async fn group(server: Server, Raw(text): Raw) -> Result<(), Error> {
    server.users("gate").push_to_group("all", "onGroup", text.to_vec()).await.map(drop)
}

fn check(meeting: &Meeting, on: On) {
    let gate = |id| {
        let app = App::new(()).server_type("gate").groups(meeting.etcd().groups()).cluster(meeting.cluster(id));
        Running::start_on(on, app, true)
    };
    let fronts = ["g1", "g2"].map(gate);
    let service = Service::new("room").request("all", everything).request("leave", leave).notify("group", group);
    let room = App::new(()).server_type("room").service(service).groups(meeting.etcd().groups());
    let room = Running::start_on(on, room.cluster(meeting.cluster("r1")), false);
    fronts.iter().for_each(|front| front.wait_for("r1", true));
    ["g1", "g2"].iter().for_each(|id| room.wait_for(id, true));

    let mut clients = fronts.each_ref().map(|front| Client::connect(&front.endpoint));
    for (client, uid) in clients.iter_mut().zip(["ann", "bob"]) {
        assert_eq!(client.request("room.room.all", uid).unwrap(), "bound");
        for n in 0..10 {
            assert_eq!(client.expect_push("onPush"), n.to_string());
        }
    }
    // Both frontends see one group, and each member gets one push.
    smol::block_on(async {
        let groups = fronts[0].server.groups();
        groups.create("all").await?;
        for uid in ["ann", "bob"] {
            groups.add("all", uid).await?;
        }
        assert_eq!(fronts[1].server.groups().count("all").await?, 2);
        Ok::<_, Error>(())
    })
    .unwrap();
    clients[0].notify("room.room.group", "hello");
    for client in &mut clients {
        assert_eq!(client.expect_push("onGroup"), "hello");
    }
    // The same user on another frontend throws the first one out.
    let mut again = Client::connect(&fronts[1].endpoint);
    assert_eq!(again.request("room.room.all", "ann").unwrap(), "bound");
    clients[0].expect_kick();
    for n in 0..10 {
        assert_eq!(again.expect_push("onPush"), n.to_string());
    }
    assert_eq!(again.request("room.room.leave", "").unwrap(), "kicked");
    again.expect_kick();
    assert_eq!(fronts[1].server.rpc().calls_in_flight(), 0);
}

#[test]
fn over_nats_and_etcd() {
    check(&Services::start().over_nats(), On::Tokio);
}

#[test]
fn over_grpc_and_etcd() {
    check(&Services::start().over_grpc(), On::Tokio);
}

#[test]
fn over_nats_and_etcd_under_smol() {
    check(&Services::start().over_nats(), On::Smol);
}

#[test]
fn over_nats_and_etcd_under_async_std() {
    check(&Services::start().over_nats(), On::AsyncStd);
}

#[test]
fn over_grpc_and_etcd_under_smol() {
    check(&Services::start().over_grpc(), On::Smol);
}
