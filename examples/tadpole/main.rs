//! A pond of tadpoles, each steered by somebody: `cargo run --release --example tadpole [--bots N] [--tcp ADDR] [--web ADDR]`.
//!
//! Twenty times a second everybody is pushed the whole pond, encoded once for all. Under [`FullPolicy::KeepLatest`] a push
//! that a slow client has not been sent yet is replaced by the next one: who stalls skips what he missed, and delays nobody.
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

use std::{collections::BTreeMap, f32::consts::TAU, sync::Arc, time::Duration};

use cereus::{App, Error, FullPolicy, Json, PushError, RateLimit, Server, Service, Session, State, Tcp, WebSocket};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval},
};

const PAGE: &str = include_str!("index.html");
const CLIENT: &str = include_str!("../web/cereus.js");
const CORE: &[u8] = include_bytes!("../web/cereus.wasm");
const TICK: Duration = Duration::from_millis(50);
/// Of the pond, around its middle.
const RADIUS: f32 = 1200.0;
/// Per tick.
const MAX_SPEED: f32 = 14.0;
/// The part of a wish that comes true in a tick: water is slow.
const AGILITY: f32 = 0.2;
const MAX_PLAYERS: usize = 500;
const MAX_NAME: usize = 16;
const MAX_TEXT: usize = 80;
/// How many ticks a text is shown.
const TEXT_SPAN: u64 = 120;
const SMALL_TALK: [&str; 6] =
    ["Blub.", "Nice pond.", "Follow me!", "Any algae left?", "I will be a frog.", "So many of us!"];

/// Players by the ids of their sessions, which are positive, and bots by ids that are not.
#[derive(Default)]
struct Pond {
    tick: u64,
    tadpoles: BTreeMap<i64, Tadpole>,
}

type Shared = Arc<Mutex<Pond>>;

struct Tadpole {
    name: String,
    x: f32,
    y: f32,
    heading: f32,
    speed: Steer,
    wish: Steer,
    text: String,
    /// The tick from which on the text is not shown any more.
    silent_at: u64,
}

/// Where to swim, and how fast: at most 1 in all.
#[derive(Clone, Copy, Default, Deserialize)]
struct Steer {
    x: f32,
    y: f32,
}

#[derive(Deserialize)]
struct Join {
    name: String,
}

/// All that there is to know: it replaces whatever was pushed before.
#[derive(Serialize)]
struct View<'a> {
    tick: u64,
    tadpoles: Vec<Seen<'a>>,
}

/// Id, name, place, heading in hundredths of a radian, text.
#[derive(Serialize)]
struct Seen<'a>(i64, &'a str, i32, i32, i32, &'a str);

async fn join(State(pond): State<Shared>, session: Session, Json(join): Json<Join>) -> Result<Json<Value>, Error> {
    let name = checked("name", &join.name, MAX_NAME)?;
    let (id, mut pond) = (session.id().get(), pond.lock().await);
    if pond.tadpoles.range(1..).count() >= MAX_PLAYERS && !pond.tadpoles.contains_key(&id) {
        return Err(Error::new("POND-001", "The pond is full."));
    }
    pond.tadpoles.insert(id, Tadpole::new(id, name));
    Ok(Json(json!({ "id": id, "radius": RADIUS })))
}

async fn steer(State(pond): State<Shared>, session: Session, Json(wish): Json<Steer>) -> Result<(), Error> {
    let length = wish.x.hypot(wish.y);
    if !length.is_finite() {
        return Err(Error::new("POND-002", "Nobody swims that fast."));
    }
    pond.lock().await.of(&session)?.wish = Steer { x: wish.x / length.max(1.0), y: wish.y / length.max(1.0) };
    Ok(())
}

async fn say(State(pond): State<Shared>, session: Session, Json(text): Json<String>) -> Result<(), Error> {
    let text = checked("text", &text, MAX_TEXT)?;
    let mut pond = pond.lock().await;
    let silent_at = pond.tick + TEXT_SPAN;
    pond.of(&session)?.say(text, silent_at);
    Ok(())
}

/// Its answer tells the page how far away the server is.
async fn ping() -> Json<()> {
    Json(())
}

impl Pond {
    fn with_bots(bots: i64) -> Self {
        let tadpoles = (1 - bots..=0).map(|id| (id, Tadpole::new(id, &format!("bot {}", 1 - id)))).collect();
        Self { tick: 0, tadpoles }
    }

    fn of(&mut self, session: &Session) -> Result<&mut Tadpole, Error> {
        self.tadpoles.get_mut(&session.id().get()).ok_or_else(|| Error::new("POND-003", "Join first."))
    }

    fn tick(&mut self) {
        self.tick += 1;
        for (id, tadpole) in &mut self.tadpoles {
            if *id <= 0 {
                tadpole.wander(*id, self.tick);
            }
            tadpole.swim();
            if self.tick >= tadpole.silent_at {
                tadpole.text.clear();
            }
        }
    }

    fn view(&self) -> View<'_> {
        View { tick: self.tick, tadpoles: self.tadpoles.iter().map(|(id, tadpole)| tadpole.seen(*id)).collect() }
    }
}

impl Tadpole {
    fn new(id: i64, name: &str) -> Self {
        // The golden angle: those who come one after the other are far from each other, and bots everywhere.
        let (angle, bot) = ((id as f32 * 2.4).rem_euclid(TAU), id <= 0);
        let away = if bot { RADIUS * (id as f32 * 0.618).rem_euclid(1.0).sqrt() } else { 150.0 };
        Self {
            name: name.to_owned(),
            x: away * angle.cos(),
            y: away * angle.sin(),
            heading: angle,
            speed: Steer::default(),
            wish: Steer::default(),
            text: String::new(),
            silent_at: 0,
        }
    }

    fn say(&mut self, text: &str, silent_at: u64) {
        text.clone_into(&mut self.text);
        self.silent_at = silent_at;
    }

    fn swim(&mut self) {
        self.speed.x += (self.wish.x * MAX_SPEED - self.speed.x) * AGILITY;
        self.speed.y += (self.wish.y * MAX_SPEED - self.speed.y) * AGILITY;
        self.x += self.speed.x;
        self.y += self.speed.y;
        let inside = (RADIUS / self.x.hypot(self.y)).min(1.0);
        self.x *= inside;
        self.y *= inside;
        if self.speed.x.hypot(self.speed.y) > 0.5 {
            self.heading = self.speed.y.atan2(self.speed.x);
        }
    }

    /// What a bot does: it meanders, rests, turns back at the shore, and says something now and then.
    fn wander(&mut self, id: i64, tick: u64) {
        let (time, phase) = (tick as f32 * TICK.as_secs_f32(), id as f32 * 2.4);
        let angle = phase + 2.0 * (time * 0.21 + phase).sin() + 1.3 * (time * 0.53 - 3.0 * phase).sin();
        let effort = 0.3 + 0.3 * (time * 0.37 + 5.0 * phase).sin();
        let home = (self.x.hypot(self.y) / RADIUS).powi(4);
        self.wish.x = effort * angle.cos() - home * self.x / RADIUS;
        self.wish.y = effort * angle.sin() - home * self.y / RADIUS;
        let mood = tick + id.unsigned_abs() * 137;
        if mood.is_multiple_of(1500) {
            self.say(SMALL_TALK[(mood / 1500) as usize % SMALL_TALK.len()], tick + TEXT_SPAN);
        }
    }

    fn seen(&self, id: i64) -> Seen<'_> {
        Seen(id, &self.name, self.x as i32, self.y as i32, (self.heading * 100.0) as i32, &self.text)
    }
}

/// What somebody wrote, without the space around it.
fn checked<'a>(what: &str, text: &'a str, max: usize) -> Result<&'a str, Error> {
    match text.trim() {
        "" => Err(Error::new("POND-004", format!("The {what} is empty."))),
        text if text.chars().count() <= max => Ok(text),
        _ => Err(Error::new("POND-005", format!("The {what} is longer than {max} characters."))),
    }
}

async fn run(pond: Shared, server: Server) -> Result<(), PushError> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let mut pond = pond.lock().await;
        pond.tick();
        server.broadcast("onPond", Json(pond.view()))?;
    }
}

fn option(name: &str, default: &str) -> String {
    std::env::args().skip_while(|arg| arg != name).nth(1).unwrap_or_else(|| default.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pond = Arc::new(Mutex::new(Pond::with_bots(option("--bots", "12").parse()?)));
    let service =
        Service::new("pond").request("join", join).notify("steer", steer).notify("say", say).request("ping", ping);
    let leaving = Arc::clone(&pond);
    let server = App::new(Arc::clone(&pond))
        .service(service)
        .push_policy("onPond", FullPolicy::KeepLatest)
        .rate_limit(RateLimit::new(50, Duration::from_secs(1)))
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(10)).max_packet_size(4 << 10))
        .on_close(move |session| {
            let pond = Arc::clone(&leaving);
            async move {
                pond.lock().await.tadpoles.remove(&session.id().get());
            }
        })
        .on_listening(|at| println!("listening on {}\nopen http://{}", at[0], at[1].address()))
        .build()?;
    let tcp = Tcp::bind(option("--tcp", "127.0.0.1:3250"));
    let web = WebSocket::bind(option("--web", "127.0.0.1:3251"))
        .page("/", "text/html; charset=utf-8", PAGE)
        .page("/cereus.js", "text/javascript; charset=utf-8", CLIENT)
        .page("/cereus.wasm", "application/wasm", CORE);
    tokio::select! {
        served = cereus::tokio::serve(server.clone(), [tcp, web]) => served?,
        failed = run(pond, server) => failed?,
    }
    Ok(())
}
