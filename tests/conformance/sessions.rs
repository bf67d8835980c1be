//! Pushes, bind, data, the end of a session (specification, section 7).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use cereus::{
    App, Error, Json, PushError, Raw, Service, Session, State,
    core::{ClientEvent, CloseReason},
};
use serde_json::{Value, json};

use crate::{
    client::Client,
    common::{Gate, Log, On, assert_works, echo, login, tell, users},
    net::{self, PATIENCE},
    server::{ON_PURPOSE, Running, eventually},
};

/// The session of the only client.
fn only_session(running: &Running) -> Session {
    let mut found = None;
    running.server().sessions().for_each(|session| found = Some(session.clone()));
    found.expect("a client is connected")
}

pub(crate) fn pushes_go_around_answers(on: On) {
    let (tell, told) = tell();
    let gate = Gate::new();
    let pass = gate.clone();
    let work = move |session: Session| {
        let (tell, pass) = (tell.clone(), pass.clone());
        async move {
            session.push("on", Json("during"))?;
            pass.pass().await;
            session.push("on", Json("before"))?;
            let _ = tell.send(session);
            Ok::<_, Error>(Json("answer"))
        }
    };
    let running = on.serve(App::new(()).service(Service::new("work").request("do", work)));
    let mut client = running.connect();
    let id = client.send("work.do", "");
    assert_eq!(client.expect_push("on"), "\"during\"");
    gate.open(1);
    let session = told.next();
    session.push("on", Json("after")).unwrap();
    // What was pushed before the handler ended comes before its answer.
    let push = |body: &'static str| ClientEvent::Push { route: "on".into(), body: body.into() };
    assert_eq!(client.next_event(), push("\"before\""));
    let answer = ClientEvent::Response { id, body: "\"answer\"".into() };
    let mut rest = [client.next_event(), client.next_event()];
    rest.sort_by_key(|event| *event != answer);
    assert_eq!(rest, [answer, push("\"after\"")]);
}

pub(crate) fn push_wait_of_much(on: On) {
    const PUSHES: u32 = 800;
    const SIZE: usize = 64 << 10;

    async fn flood(session: Session) -> Result<Json<u32>, Error> {
        let mut body = vec![0; SIZE];
        for number in 0..PUSHES {
            body[..4].copy_from_slice(&number.to_be_bytes());
            session.push_wait("chunk", body.clone()).await?;
        }
        Ok(Json(PUSHES))
    }
    let running = on.serve(App::new(()).service(Service::new("work").request("flood", flood)));
    let mut client = running.connect();
    let id = client.send("work.flood", "");
    for number in 0..PUSHES {
        let body = client.expect_push("chunk");
        assert_eq!((body.len(), &body[..4]), (SIZE, &number.to_be_bytes()[..]));
    }
    assert_eq!(client.answer_to(id).unwrap(), PUSHES.to_string());
}

pub(crate) fn push_that_is_wrong(on: On) {
    let running = on.serve(App::new(()).service(echo()));
    let mut client = Client::connect_native(running.endpoint());
    assert_works(&mut client);
    let session = only_session(&running);
    assert_eq!(session.push("on", Raw(Bytes::new())), Err(PushError::Empty));
    assert!(matches!(session.push("r".repeat(256), Json(1)), Err(PushError::Send(_))));
    assert!(matches!(session.push("on", vec![0; 1 << 24]), Err(PushError::Send(_))));
    assert!(matches!(session.push("on", Json(std::collections::BTreeMap::from([((), 1)]))), Err(PushError::Body(_))));
    assert!(matches!(session.push("on", cereus::Protobuf(())), Err(PushError::Serializer { .. })));
    session.push("on", Json("right")).unwrap();
    assert_eq!(client.expect_push("on"), "\"right\"");
    drop(client);
    eventually("the session ended", || session.is_closed());
    assert_eq!(session.push("on", Json(1)), Err(PushError::Closed));
    assert_eq!(smol::block_on(session.push_wait("on", Json(1))), Err(PushError::Closed));
}

pub(crate) fn slow_reader_is_closed_alone(on: On) {
    let app = App::new(()).service(echo()).service(users());
    let running = on.serve(app.protocol(|protocol| protocol.close_timeout(Duration::from_millis(200))));
    let (mut slow, mut other) = (login(&running, "slow"), running.connect());
    let session = running.server().sessions().by_uid("slow").unwrap();
    let (body, start) = (vec![7; 64 << 10], net::now());
    let mut slowest = Duration::ZERO;
    loop {
        match session.push("flood", body.clone()) {
            Ok(()) | Err(PushError::Full) => {}
            Err(error) => break assert_eq!(error, PushError::Closed),
        }
        let asked = net::now();
        assert_works(&mut other);
        slowest = slowest.max(net::since(asked));
        assert!(net::since(start) < PATIENCE, "a client that does not read is not closed");
    }
    assert!(slowest < PATIENCE / 4, "another client waited for {slowest:?}");
    eventually("the session ended", || running.server().sessions().by_uid("slow").is_none());
    slow.expect_closed();
    assert_works(&mut other);
}

pub(crate) fn stalled_write_ends(on: On) {
    const LONG: usize = (1 << 24) - 64;

    async fn long() -> Vec<u8> {
        vec![0; LONG]
    }
    let service = Service::new("reply").request("long", long);
    let app = App::new(()).service(service).service(echo()).write_timeout(Duration::from_millis(1500));
    let running = on.serve(app);
    // Answers have no budget, but a client that takes none of them is gone.
    let mut client = running.connect();
    client.send_all([("reply.long", ""); 4]);
    eventually("the session ended", || running.server().sessions().count() == 0);
    drop(client);
    // One that takes them gets them.
    let mut client = running.connect();
    assert_eq!(client.request("reply.long", "").unwrap().len(), LONG);
}

pub(crate) fn bind_and_look_up(on: On) {
    async fn who(session: Session) -> Json<Option<String>> {
        Json(session.uid().map(|uid| uid.to_string()))
    }
    let app = App::new(()).service(users()).service(Service::new("client").request("who", who));
    let running = on.serve(app);
    let mut client = running.connect();
    assert_eq!(client.json::<Option<String>>("client.who", ()), None);
    assert!(running.server().sessions().by_uid("ann").is_none());
    let id: i64 = client.json("user.bind", "ann");
    assert_eq!(client.json::<Option<String>>("client.who", ()).as_deref(), Some("ann"));
    let session = running.server().sessions().by_uid("ann").unwrap();
    assert_eq!((session.id().get(), session.uid().as_deref()), (id, Some("ann")));
    assert_eq!(running.server().sessions().by_id(session.id()).unwrap().id(), session.id());
    let error = client.refused("user.bind", "\"ann\"");
    assert_eq!((&*error.code, &*error.message), (Error::UNKNOWN, "session is already bound to an uid"));
    assert_eq!(client.refused("user.bind", "\"bob\"").code, Error::UNKNOWN);
    assert!(running.server().sessions().by_uid("bob").is_none());
    assert_eq!(session.uid().as_deref(), Some("ann"));
    let mut fresh = running.connect();
    assert_eq!(fresh.refused("user.bind", "\"\"").message, "illegal uid: it is empty");
    let _: i64 = fresh.json("user.bind", "bob");
    drop(client);
    eventually("the uid is free", || running.server().sessions().by_uid("ann").is_none());
    assert!(running.server().sessions().by_uid("bob").is_some());
}

pub(crate) fn bind_takes_over(on: On) {
    let running = on.serve(App::new(()).service(users()).service(echo()));
    let mut older = login(&running, "ann");
    let mut newer = login(&running, "ann");
    // Without a kick.
    assert_eq!(older.expect_closed(), CloseReason::PeerClosed);
    assert_works(&mut newer);
    eventually("one session is left", || running.server().sessions().count() == 1);
    let session = running.server().sessions().by_uid("ann").expect("the newer session is found");
    assert_eq!(session.id(), only_session(&running).id());
}

pub(crate) fn bind_that_is_refused(on: On) {
    let log = Log::default();
    let callback = |name: &'static str, log: &Log| {
        let log = log.clone();
        move |session: Session| {
            let uid = session.uid().unwrap_or_default();
            let found = session.server().sessions().by_uid(&uid).is_some();
            log.add(format!("{name} {uid} {found}"));
            async move {
                match uid.strip_prefix(name) {
                    Some("!") => Err(Error::new("GAME-001", "refused")),
                    Some("?") => panic!("{}", ON_PURPOSE),
                    _ => Ok(()),
                }
            }
        }
    };
    let app = App::new(())
        .on_bind(callback("on", &log))
        .on_bind(callback("on 2", &log))
        .on_after_bind(callback("after", &log))
        .on_after_bind(callback("after 2", &log))
        .service(users());
    let running = on.serve(app);
    let mut client = running.connect();
    for (uid, code) in [("on!", "GAME-001"), ("after!", "GAME-001"), ("on?", Error::INTERNAL)] {
        assert_eq!(client.refused("user.bind", format!("\"{uid}\"")).code, code);
        assert!(running.server().sessions().by_uid(uid).is_none(), "{uid} is found");
        assert_eq!(only_session(&running).uid(), None);
    }
    // It can be bound all the same then.
    let _: i64 = client.json("user.bind", "ann");
    assert!(running.server().sessions().by_uid("ann").is_some());
    let refused = ["on on! false", "on after! false", "on 2 after! false", "after after! true", "on on? false"];
    let bound = ["on ann false", "on 2 ann false", "after ann true", "after 2 ann true"];
    assert_eq!(log.entries(), [&refused[..], &bound[..]].concat());
}

pub(crate) fn clear_forgets_the_user(on: On) {
    let running = on.serve(App::new(()).service(users()));
    let mut client = login(&running, "ann");
    let session = running.server().sessions().by_uid("ann").unwrap();
    session.clear();
    assert_eq!(session.uid(), None);
    // It may be bound again, and whatever name it had: nobody finds it when it is gone.
    let _: i64 = client.json("user.bind", "bob");
    session.clear();
    let _: i64 = client.json("user.bind", "cid");
    session.clear();
    drop(client);
    eventually("the session ended", || running.server().sessions().count() == 0);
    for uid in ["ann", "bob", "cid"] {
        eventually("the uid is free", || running.server().sessions().by_uid(uid).is_none());
    }
}

pub(crate) fn data_lasts(on: On) {
    async fn add(session: Session, Json(number): Json<i64>) -> Result<Json<i64>, Error> {
        let sum = session.data(|data| {
            let sum = data.i64("sum").unwrap_or(0) + number;
            data.set("sum", &sum).map(|()| sum)
        })?;
        Ok(Json(sum))
    }
    async fn all(session: Session) -> Raw {
        Raw(session.data(|data| data.encode().unwrap_or_default()).into())
    }
    async fn clear(session: Session) {
        session.clear();
    }
    let service = Service::new("data").request("add", add).request("all", all).notify("clear", clear);
    let running = on.serve(App::new(()).service(service));
    let (mut one, mut other) = (running.connect(), running.connect());
    assert_eq!(one.json::<Value>("data.all", ()), json!({"ipversion": "ipv4"}));
    assert_eq!(one.json::<i64>("data.add", 40), 40);
    assert_eq!(one.json::<i64>("data.add", i64::MAX - 40), i64::MAX);
    assert_eq!(other.json::<i64>("data.add", 1), 1);
    assert_eq!(one.json::<Value>("data.all", ()), json!({"ipversion": "ipv4", "sum": i64::MAX}));
    one.notify("data.clear", "");
    assert_eq!(one.json::<Value>("data.all", ()), json!({}));
}

pub(crate) fn close_callbacks(on: On) {
    let (tell, told) = tell();
    let own = move |session: Session| {
        let tell = tell.clone();
        async move {
            for name in ["own 1", "own 2", "own 3", "own 4"] {
                let (tell, session, owner) = (tell.clone(), session.clone(), session.clone());
                let added = owner.on_close(move || {
                    let _ = tell.send((name, is_found(&session)));
                    // Outside of the future, and inside of it.
                    assert!(name != "own 2", "{}", ON_PURPOSE);
                    async move { assert!(name != "own 1", "{}", ON_PURPOSE) }
                });
                added.await.unwrap();
            }
            Raw(Bytes::new())
        }
    };
    fn is_found(session: &Session) -> bool {
        let sessions = session.server().sessions();
        sessions.by_id(session.id()).is_some() || sessions.by_uid("ann").is_some()
    }
    let (app_tell, app_told) = crate::common::tell();
    let app_tell = move |name: &'static str| {
        let tell = app_tell.clone();
        move |session: Session| {
            let _ = tell.send((name, is_found(&session), session.uid()));
            assert!(name != "app 1", "{}", ON_PURPOSE);
            async move { assert!(name != "app 2", "{}", ON_PURPOSE) }
        }
    };
    let app = App::new(())
        .on_close(app_tell("app 1"))
        .on_close(app_tell("app 2"))
        .on_close(app_tell("app 3"))
        .service(Service::new("work").request("own", own))
        .service(users())
        .service(echo());
    let running = on.serve(app);
    let mut client = login(&running, "ann");
    client.request("work.own", "").unwrap();
    let session = only_session(&running);
    drop(client);
    let own: Vec<_> = (0..4).map(|_| told.next()).collect();
    assert_eq!(own, [("own 1", false), ("own 2", false), ("own 3", false), ("own 4", false)]);
    let app: Vec<_> = (0..3).map(|_| app_told.next()).collect();
    let ann = Some("ann".into());
    assert_eq!(app, [("app 1", false, ann.clone()), ("app 2", false, ann.clone()), ("app 3", false, ann)]);
    assert!(smol::block_on(session.on_close(|| async {})).is_err(), "a session that ended took a callback");
    session.close();
    smol::block_on(session.kick(None)).unwrap();
    assert_works(&mut running.connect());
    running.stop().unwrap();
    assert!(told.is_silent(), "a callback ran twice");
}

/// A server whose handler `work.do` waits before a gate, and its gate.
fn gated(on: On) -> (Running, Gate, crate::common::Told<()>) {
    let (tell, told) = tell();
    let gate = Gate::new();
    let pass = gate.clone();
    let work = move |_: Session| {
        let (tell, pass) = (tell.clone(), pass.clone());
        async move {
            let _ = tell.send(());
            pass.pass().await;
            Json("answer")
        }
    };
    let app = App::new(()).service(Service::new("work").request("do", work)).service(users()).service(echo());
    (on.serve(app), gate, told)
}

pub(crate) fn kick_lets_the_answer_out(on: On) {
    let (running, gate, told) = gated(on);
    let mut client = login(&running, "ann");
    let id = client.send("work.do", "");
    told.next();
    running.server().sessions().by_uid("ann").unwrap().kick(Some("too \"old\""));
    gate.open(1);
    assert_eq!(client.next_event(), ClientEvent::Response { id, body: "\"answer\"".into() });
    let kick: Value = serde_json::from_slice(&client.expect_kick()).unwrap();
    assert_eq!(kick, json!({"reason": "too \"old\""}));
    assert_eq!(client.expect_closed(), CloseReason::Kicked);
    eventually("the session ended", || running.server().sessions().count() == 0);
}

pub(crate) fn kick_waits_for_so_long(on: On) {
    const TIMEOUT: Duration = Duration::from_millis(150);
    let never = |session: Session| {
        session.kick(None);
        std::future::pending::<Raw>()
    };
    let app = App::new(()).service(Service::new("work").request("never", never));
    let running = on.serve(app.protocol(|protocol| protocol.close_timeout(TIMEOUT)).drain_timeout(TIMEOUT));
    let mut client = running.connect();
    client.send("work.never", "");
    assert_eq!(client.expect_kick(), "{}");
    assert_eq!(client.expect_closed(), CloseReason::Kicked);
}

pub(crate) fn kick_tells_browsers_why(on: On) {
    async fn leave(State(sessions): State<Arc<Mutex<Vec<Session>>>>, session: Session) -> Json<&'static str> {
        session.push("on", Json("last")).unwrap();
        session.kick(Some("bye"));
        sessions.lock().unwrap().push(session);
        Json("bye")
    }
    let sessions = Arc::new(Mutex::new(Vec::new()));
    let app = App::new(Arc::clone(&sessions)).service(Service::new("room").request("leave", leave));
    let running = on.serve(app);
    for (mut client, kick) in
        [(running.connect(), &b"{\"reason\":\"bye\"}"[..]), (Client::connect_native(running.endpoint()), b"")]
    {
        // In the middle of its own handler.
        let id = client.send("room.leave", "");
        assert_eq!(client.answer_to(id).unwrap(), "\"bye\"");
        assert_eq!(client.expect_push("on"), "\"last\"");
        assert_eq!(client.expect_kick(), kick);
        assert_eq!(client.expect_closed(), CloseReason::Kicked);
    }
    eventually("the sessions ended", || sessions.lock().unwrap().iter().all(Session::is_closed));
}

pub(crate) fn close_tells_nothing(on: On) {
    let (running, gate, told) = gated(on);
    let mut client = login(&running, "ann");
    client.send("work.do", "");
    told.next();
    running.server().sessions().by_uid("ann").unwrap().close();
    assert_eq!(client.expect_closed(), CloseReason::PeerClosed);
    gate.open(1);
    assert_works(&mut running.connect());
}
