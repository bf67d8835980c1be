//! NATS and etcd go away for a while and come back.

use std::{
    thread,
    time::{Duration, Instant},
};

use cereus::{App, Raw, Service};

use crate::{
    Services,
    client::Client,
    load::{Answered, Load},
    support::{Running, eventually},
};

/// How long a service is away.
const AWAY: Duration = Duration::from_secs(5);

/// How soon everything must work again once it is back.
const BACK: Duration = Duration::from_secs(2);

async fn echo(Raw(body): Raw) -> Raw {
    Raw(body)
}

fn room() -> App<()> {
    App::new(()).server_type("room").service(Service::new("room").request("echo", echo))
}

fn gate() -> App<()> {
    App::new(()).server_type("gate").service(Service::new("local").request("echo", echo))
}

#[test]
fn no_session_and_no_answer_is_lost_while_nats_is_away_and_then_etcd() {
    let mut services = Services::start();
    let meeting = services.over_nats();
    let front = Running::frontend(gate().cluster(meeting.cluster("g1")));
    let rooms = ["r1", "r2"].map(|id| Running::backend(room().cluster(meeting.cluster(id))));
    ["r1", "r2"].iter().for_each(|id| front.wait_for(id, true));
    let forwarded = Load::start(&front.endpoint, 25, "room.room.echo");
    let local = Load::start(&front.endpoint, 5, "local.echo");
    forwarded.wait_for_success(Instant::now(), BACK).expect("it works at first");

    services.nats.kill();
    let killed = Instant::now();
    thread::sleep(AWAY);
    local.wait_for_success(Instant::now(), BACK).expect("what needs no other server goes on");
    services.nats.restart();
    let returned = Instant::now();
    let back = forwarded.wait_for_success(returned, 3 * BACK).expect("it works again");
    eprintln!("NATS was away for {:?}; answers came again {back:?} after its return", returned - killed);
    assert!(back <= BACK, "NATS is back, but answers came only after {back:?}");

    services.etcd.kill();
    let away = Instant::now();
    thread::sleep(AWAY);
    services.etcd.restart();
    let etcd_back = Instant::now();
    // A server that starts now is found: the watch works again.
    let late = Running::backend(room().cluster(meeting.cluster("r3")));
    front.wait_for("r3", true);
    eprintln!(
        "etcd was away for {:?}; a new server was found {:?} after its return",
        etcd_back - away,
        etcd_back.elapsed()
    );
    eventually("all are in the registry", || {
        rooms.iter().all(|room| room.server.is_ready()) && front.server.is_ready()
    });

    let answers = forwarded.stop();
    let failed: Vec<_> = answers.iter().filter(|answer| answer.error.is_some()).collect();
    let codes: std::collections::BTreeSet<_> = failed.iter().filter_map(|answer| answer.error.as_deref()).collect();
    eprintln!("{} answers, {} of them errors, with {codes:?}", answers.len(), failed.len());
    assert!(codes.iter().all(|code| matches!(*code, "PIT-408" | "PIT-000" | "PIT-500")), "{codes:?}");
    let late_answers: Vec<&Answered> = answers.iter().filter(|answer| answer.took > Duration::from_secs(7)).collect();
    assert!(late_answers.is_empty(), "answered after its time: {late_answers:?}");
    let after_nats = |answer: &&&Answered| answer.at > returned + BACK + Duration::from_secs(5);
    let lost: Vec<_> = failed.iter().filter(after_nats).collect();
    assert!(lost.is_empty(), "calls failed while only etcd was away: {lost:?}");
    assert!(local.stop().iter().all(|answer| answer.error.is_none()));
    let stats = front.server.rpc().call_stats();
    assert_eq!((stats.duplicate, stats.unknown), (0, 0), "{stats:?}");
    drop(late);
}

#[test]
fn a_lease_that_is_lost_comes_back_by_itself_at_all_others() {
    let services = Services::start();
    let meeting = services.over_nats();
    let front = Running::frontend(gate().cluster(meeting.cluster("g1")));
    let room = Running::backend(room().cluster(meeting.cluster("r1")));
    front.wait_for("r1", true);
    // Somebody revokes all leases: the record goes at once.
    smol::block_on(async {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let url = services.etcd.url();
        runtime
            .spawn(async move {
                let mut etcd = etcd_client::Client::connect([url], None).await.expect("etcd is there");
                for lease in etcd.leases().await.expect("leases").leases() {
                    etcd.lease_revoke(lease.id()).await.expect("it was there");
                }
            })
            .await
            .expect("no panic");
        runtime.shutdown_background();
    });
    let client = &mut Client::connect(&front.endpoint);
    eventually("the server is found again", || front.server.rpc().servers().by_id("r1").is_some());
    eventually("both are registered", || front.server.is_ready() && room.server.is_ready());
    room.wait_for("g1", true);
    assert_eq!(client.request("room.room.echo", "x").unwrap(), "x");
}

#[test]
fn pushes_and_kicks_reach_users_again_after_nats_was_away() {
    let mut services = Services::start();
    let meeting = services.over_nats();
    let login = async |session: cereus::Session, Raw(uid): Raw| -> Result<Raw, cereus::Error> {
        session.bind(String::from_utf8_lossy(&uid).as_ref()).await?;
        Ok(Raw(uid))
    };
    let front =
        Running::frontend(gate().service(Service::new("door").request("login", login)).cluster(meeting.cluster("g1")));
    let room = Running::backend(room().cluster(meeting.cluster("r1")));
    room.wait_for("g1", true);
    let mut client = Client::connect(&front.endpoint);
    client.request("door.login", "ada").unwrap();
    services.nats.kill();
    eventually("the loss is seen", || !front.server.is_ready());
    services.nats.restart();
    eventually("the return is seen", || front.server.is_ready() && room.server.is_ready());
    let users = room.server.users("gate");
    let pushed = smol::block_on(users.push(&["ada", "eve"], "onPush", b"hi".as_slice())).expect("the push is right");
    assert_eq!(pushed, ["eve".into()]);
    assert_eq!(client.expect_push("onPush"), "hi");
    assert_eq!(smol::block_on(users.kick(&["ada", "eve"])), ["eve".into()]);
    client.expect_kick();
}
