//! Backends that act on the very session whose message they handle, while others keep everything busy.
//!
//! Such a handler asks the frontend for something while the session there waits for that handler: nothing of it may wait
//! for the session's current message.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use cereus::{App, Error, Forward, Raw, Server, Service, Session, State, core::ClientEvent};

use crate::{
    Services,
    client::Client,
    load::Load,
    support::{Meeting, PATIENCE, Running, eventually},
};

const VISITORS: usize = 40;
/// How often each comes, in turns to the one frontend and to the other.
const VISITS: usize = 20;
/// Pushes to the session at a time.
const PUSHES: usize = 3;
/// What each client of the load keeps in flight.
const IN_FLIGHT: usize = 8;

/// How long a call may take: whatever waits for itself takes that long.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long anything may take here.
const IN_TIME: Duration = Duration::from_millis(2500);

/// How long the slowest of each kind of step took.
#[derive(Default)]
struct Slowest(Mutex<BTreeMap<&'static str, Duration>>);

impl Slowest {
    async fn time<T>(&self, step: &'static str, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.note(step, began.elapsed());
        done
    }

    fn note(&self, step: &'static str, took: Duration) {
        let mut slowest = self.0.lock().unwrap();
        let known = slowest.entry(step).or_default();
        *known = took.max(*known);
    }

    fn check(&self) {
        let slowest = self.0.lock().unwrap();
        eprintln!("the slowest of each: {slowest:?}");
        assert!(slowest.values().all(|took| *took < IN_TIME), "something waited for itself: {slowest:?}");
    }
}

/// One message of a client as its handler has it.
struct Visit {
    slowest: Arc<Slowest>,
    session: Session,
    server: Server,
}

impl Visit {
    /// The body: `uid visit`.
    async fn enter(&self, body: &[u8]) -> Result<(), Error> {
        let (uid, visit) = str::from_utf8(body).unwrap().split_once(' ').expect("a user and a number");
        self.slowest.time("bind", self.session.bind(uid)).await?;
        self.tell("entered", visit).await
    }

    async fn leave(&self) -> Result<(), Error> {
        let visit = self.session.data(|data| data.string("entered")).unwrap_or_default();
        self.tell("left", &visit).await?;
        self.slowest.time("kick", self.session.kick(None)).await
    }

    /// Leaves word at the front, and pushes to the session and to its user.
    async fn tell(&self, what: &'static str, visit: &str) -> Result<(), Error> {
        self.session.data(|data| data.set(what, visit))?;
        self.slowest.time("push_to_front", self.session.push_to_front()).await?;
        for number in 0..PUSHES {
            self.session.push("onSession", format!("{what} {visit} {number}").into_bytes())?;
        }
        let uids = [self.session.uid().expect("it is bound")];
        let users = self.server.users("connector");
        let push = users.push(&uids, "onUser", format!("{what} {visit}").into_bytes());
        match self.slowest.time("push to a user", push).await?.is_empty() {
            true => Ok(()),
            false => Err(Error::new("TEST-1", "the user was not reached")),
        }
    }
}

type Slow = State<Arc<Slowest>>;

async fn enter(State(slowest): Slow, session: Session, server: Server, Raw(body): Raw) -> Result<Raw, Error> {
    Visit { slowest, session, server }.enter(&body).await?;
    Ok(Raw("entered".into()))
}

async fn leave(State(slowest): Slow, session: Session, server: Server) -> Result<Raw, Error> {
    Visit { slowest, session, server }.leave().await?;
    Ok(Raw("left".into()))
}

async fn come_and_go(State(slowest): Slow, session: Session, server: Server, Raw(body): Raw) -> Result<Raw, Error> {
    let visit = Visit { slowest, session, server };
    visit.enter(&body).await?;
    visit.leave().await?;
    Ok(Raw("came and went".into()))
}

async fn remembered(session: Session) -> Raw {
    Raw(format!("{:?}", Ended::of(&session)).into())
}

async fn echo(Raw(body): Raw) -> Raw {
    Raw(body)
}

/// What a session was to the end, as its frontend remembers it.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Ended {
    uid: Option<String>,
    entered: Option<String>,
    left: Option<String>,
}

impl Ended {
    fn of(session: &Session) -> Self {
        let text = |key| session.data(|data| data.string(key));
        Self { uid: session.uid().map(|uid| uid.to_string()), entered: text("entered"), left: text("left") }
    }

    fn new(visitor: usize, visit: usize) -> Self {
        let visit = Some(visit.to_string());
        Self { uid: Some(uid(visitor)), entered: visit.clone(), left: visit }
    }
}

fn uid(visitor: usize) -> String {
    format!("visitor-{visitor}")
}

fn front(meeting: &Meeting, id: &str, ended: &Arc<Mutex<Vec<Ended>>>) -> Running {
    let ended = Arc::clone(ended);
    let app = App::new(())
        .server_type("connector")
        .service(Service::new("door").request("remembered", remembered))
        .on_close(move |session| {
            ended.lock().unwrap().push(Ended::of(&session));
            std::future::ready(())
        });
    let cluster = meeting.cluster(id).request_timeout(CALL_TIMEOUT);
    Running::frontend(app.cluster(cluster.forward("hall", Forward::new().concurrency(IN_FLIGHT))))
}

fn room(meeting: &Meeting, id: &str, slowest: &Arc<Slowest>) -> Running {
    let service = Service::new("room")
        .request("enter", enter)
        .request("leave", leave)
        .request("comeAndGo", come_and_go)
        .request("remembered", remembered)
        .request("echo", echo);
    let app = App::new(Arc::clone(slowest)).server_type("room").service(service);
    Running::backend(app.cluster(meeting.cluster(id).request_timeout(CALL_TIMEOUT)))
}

fn hall(meeting: &Meeting) -> Running {
    let service = Service::new("hall").request("echo", echo).concurrency(IN_FLIGHT);
    Running::backend(App::new(()).server_type("hall").service(service).cluster(meeting.cluster("h1")))
}

/// What a client that leaves no message unanswered sees, in one word for each.
fn word(event: ClientEvent) -> String {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    match event {
        ClientEvent::Push { route, body } => format!("{}: {}", route.as_str().unwrap(), text(&body)),
        ClientEvent::Response { body, .. } => format!("answer: {}", text(&body)),
        ClientEvent::Error { body, .. } => format!("error: {}", text(&body)),
        ClientEvent::Kicked(_) => "kicked".to_owned(),
        event => format!("{event:?}"),
    }
}

fn pushes(what: &str, visit: usize) -> impl Iterator<Item = String> {
    let session = (0..PUSHES).map(move |number| format!("onSession: {what} {visit} {number}"));
    session.chain([format!("onUser: {what} {visit}")])
}

/// One visit, from the handshake to the kick. Everything must come in this order and nothing else.
fn visit(endpoint: &str, visitor: usize, visit: usize) {
    let mut client = Client::connect(endpoint);
    let body = format!("{} {visit}", uid(visitor));
    let mut expected: Vec<_> = pushes("entered", visit).collect();
    if visit.is_multiple_of(3) {
        client.send("room.room.comeAndGo", body);
        expected.extend(pushes("left", visit).chain(["answer: came and went".to_owned()]));
    } else {
        // The later ones wait at the front while the first one's handler asks the front for something.
        let leave = ("room.room.leave", String::new());
        let remembered = ["door.remembered", "room.room.remembered"].map(|route| (route, String::new()));
        client.send_all([("room.room.enter", body)].into_iter().chain(remembered).chain([leave]));
        let inside = format!("answer: {:?}", Ended { left: None, ..Ended::new(visitor, visit) });
        expected.extend(["answer: entered".to_owned(), inside.clone(), inside]);
        expected.extend(pushes("left", visit).chain(["answer: left".to_owned()]));
    }
    expected.extend(["kicked".to_owned(), "Closed(Kicked)".to_owned()]);
    let mut came = Vec::new();
    while came.last().is_none_or(|word: &String| !word.starts_with("Closed")) {
        came.push(word(client.next_event()));
    }
    assert_eq!(came, expected, "visit {visit} of {visitor}");
}

/// All come again and again at the same time.
fn visit_all(fronts: &[Running; 2], slowest: &Slowest) {
    thread::scope(|scope| {
        for visitor in 0..VISITORS {
            scope.spawn(move || {
                for number in 0..VISITS {
                    let began = Instant::now();
                    visit(&fronts[(visitor + number) % 2].endpoint, visitor, number);
                    slowest.note("visit", began.elapsed());
                }
            });
        }
    });
}

#[test]
fn a_backend_binds_pushes_to_and_kicks_the_session_it_serves_under_load() {
    let services = Services::start();
    let meeting = services.over_nats();
    let (ended, slowest) = (Arc::default(), Arc::default());
    let fronts = ["g1", "g2"].map(|id| front(&meeting, id, &ended));
    let backs = [room(&meeting, "r1", &slowest), room(&meeting, "r2", &slowest), hall(&meeting)];
    fronts.iter().for_each(|front| ["r1", "r2", "h1"].iter().for_each(|id| front.wait_for(id, true)));
    backs.iter().for_each(|back| ["g1", "g2"].iter().for_each(|id| back.wait_for(id, true)));
    let load = |front: &Running| {
        ["room.room.echo", "hall.hall.echo"].map(|route| Load::start_with(&front.endpoint, 3, IN_FLIGHT, route))
    };
    let loads = fronts.each_ref().map(load);
    let all_go_on = || {
        let answered = |load: &Load| load.wait_for_success(Instant::now(), PATIENCE).is_some();
        assert!(loads.iter().flatten().all(answered), "the load stands still");
    };
    all_go_on();

    visit_all(&fronts, &slowest);

    all_go_on();
    let answers: Vec<_> = loads.into_iter().flatten().flat_map(Load::stop).collect();
    let failed: Vec<_> = answers.iter().filter(|answer| answer.error.is_some()).collect();
    assert!(failed.is_empty(), "of {} answers these were errors: {failed:?}", answers.len());
    answers.iter().for_each(|answer| slowest.note("load", answer.took));
    eprintln!("{} visits beside {} answers", VISITORS * VISITS, answers.len());
    slowest.check();
    nothing_is_left(&fronts, &backs, &ended);
}

/// Every session ended as it was told to, nobody is bound any more, and no call is open or was answered in vain.
fn nothing_is_left(fronts: &[Running; 2], backs: &[Running; 3], ended: &Mutex<Vec<Ended>>) {
    let mut expected: Vec<_> =
        (0..VISITORS).flat_map(|visitor| (0..VISITS).map(move |visit| Ended::new(visitor, visit))).collect();
    expected.sort();
    eventually("all sessions have ended", || fronts.iter().all(|front| front.server.sessions().count() == 0));
    eventually("each visit was remembered to its end", || {
        let mut ended = ended.lock().unwrap().clone();
        ended.retain(|session| *session != Ended::default());
        ended.sort();
        ended == expected
    });
    let uids: Vec<_> = (0..VISITORS).map(uid).collect();
    let missed = smol::block_on(backs[0].server.users("connector").push(&uids, "onUser", b"?".as_slice())).unwrap();
    assert_eq!(missed.len(), uids.len(), "users are bound without a session");
    for server in fronts.iter().chain(backs) {
        let (rpc, stats) = (server.server.rpc(), server.server.rpc().call_stats());
        assert_eq!(rpc.calls_in_flight(), 0);
        assert_eq!((stats.timed_out, stats.late, stats.duplicate, stats.unknown, stats.unsent), (0, 0, 0, 0, 0));
    }
}
