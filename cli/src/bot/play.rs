//! `cereus bot run`, from the first connection to the report.

use std::{
    io::IsTerminal,
    net::Ipv4Addr,
    pin::{Pin, pin},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{interval_at, timeout},
};

use super::{
    Player, Report,
    door::Door,
    engine::{Engine, Group},
    http,
    interrupt::interrupted,
    live::Live,
    metrics::render,
    options::{Run, Settings},
    spec::{Hooks, SpecBot, World},
    stats::Stats,
};
use crate::{
    failure::Failure,
    files::allow_connections,
    live::Screen,
    output::{print_line, tell},
    protobuf::{Learned, learn},
};

/// How often it is shown what happens.
const TICK: Duration = Duration::from_secs(1);

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut settings = self.settings()?;
        for note in settings.notes.drain(..) {
            tell(&format!("cereus: {note}"));
        }
        crate::block_on(self.play(settings))
    }

    async fn play(self, settings: Settings) -> Result<ExitCode, Failure> {
        let mut interrupted = pin!(interrupted());
        let bots = settings.specs.iter().map(|(_, instances)| u64::from(*instances)).sum();
        if let Some(why) = allow_connections(bots) {
            tell(&format!("cereus: {why}"));
        }
        let engine = Arc::new(self.engine(&settings));
        let metrics = Metrics::serve(&settings, &engine.stats).await?;
        let world = Arc::new(world(&settings, self.familiar.verbose > 2, &engine).await?);
        // What came before was not play.
        let engine = Arc::new(Engine { begin: Instant::now(), ..Engine::clone(&engine) });
        let tasks = start(settings, &engine, &world);
        let screen = Screen::new(self.is_quiet(), std::io::stderr().is_terminal());
        let live = Live::new(screen, self.duration);
        let mut ended = watch(&engine, tasks, live, interrupted.as_mut()).await;
        let report = engine.report();
        self.tell(&report)?;
        if let (Some(metrics), None) = (metrics, ended) {
            ended = metrics.wait(self.metrics.metrics_wait, interrupted).await;
        }
        Ok(match ended {
            _ if report.failures() > 0 => ExitCode::from(1),
            Some(code) => ExitCode::from(code),
            None if report.is_good() => ExitCode::SUCCESS,
            None => ExitCode::from(1),
        })
    }

    /// Whether nothing is drawn while it runs: neither is it where each step is told.
    const fn is_quiet(&self) -> bool {
        self.quiet || self.familiar.verbose != 2
    }

    fn engine(&self, settings: &Settings) -> Engine {
        let (connect, handshake) = (settings.connect.clone(), settings.handshake.clone());
        let door = Door::new(settings.host.clone(), settings.is_encrypted, settings.push_buffer, move |address| {
            connect.client_as(address, handshake.clone())
        });
        Engine {
            door: Arc::new(door),
            stats: Arc::new(Stats::new()),
            duration: self.duration,
            max_sleep: settings.max_sleep,
            begin: Instant::now(),
        }
    }

    fn tell(&self, report: &Report) -> Result<(), Failure> {
        print_line(&if self.json { report.json().to_string() } else { report.to_string().trim_end().to_owned() })
    }
}

/// Connects once, so that a server that is not there is told at once and not by each bot, and learns what types it has.
async fn world(settings: &Settings, is_told: bool, engine: &Engine) -> Result<World, Failure> {
    let player = Player::new(0, Arc::clone(&engine.door), Arc::clone(&engine.stats));
    player.arrive().await?;
    let mut schema = settings.schema.clone();
    if let (Some(schema), Some((docs, descriptors))) = (&mut schema, &settings.docs) {
        let client = player.client().map_err(|error| Failure::Failed(error.to_string()))?;
        let Learned { schema: learned, warnings } =
            learn(&client, docs, descriptors.as_deref(), schema, settings.connect.timeout).await?;
        for warning in warnings {
            tell(&format!("cereus: {warning}"));
        }
        *schema = learned;
    }
    player.disconnect().await;
    let (before, after) = settings.hooks.clone();
    Ok(World {
        schema,
        is_strict: settings.is_strict,
        is_told,
        timeout: settings.connect.timeout,
        hooks: Hooks::new(before, after),
    })
}

/// All bots of all specs.
fn start(settings: Settings, engine: &Arc<Engine>, world: &Arc<World>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut first = 0;
    for (spec, instances) in settings.specs {
        let group = Group::new(spec.file.clone(), first, instances, settings.stops_on_error);
        first += instances;
        let (spec, world) = (Arc::new(spec), Arc::clone(world));
        engine.start(group, &mut tasks, move |_| SpecBot::new(Arc::clone(&spec), Arc::clone(&world)));
    }
    tasks
}

/// Shows what happens until all have played, or somebody has had enough: then it gives back the exit code for that.
async fn watch(
    engine: &Engine,
    mut tasks: JoinSet<()>,
    mut live: Live,
    mut interrupted: Pin<&mut impl Future<Output = u8>>,
) -> Option<u8> {
    let mut tick = interval_at((engine.begin + TICK).into(), TICK);
    let ended = loop {
        tokio::select! {
            next = tasks.join_next() => if next.is_none() { break None },
            _ = tick.tick() => live.show(engine.begin.elapsed(), &engine.stats.total(), engine.stats.playing()),
            code = &mut interrupted => break Some(code),
        }
    };
    live.end();
    if ended.is_some() {
        let playing = engine.stats.playing();
        tell(&format!("cereus: interrupted; what {playing} bots were doing is not in the report"));
    }
    ended
}

/// The page for Prometheus.
struct Metrics {
    /// When the page was written that was read last.
    scrapes: watch::Receiver<Option<Instant>>,
    _serving: JoinSet<()>,
}

impl Metrics {
    async fn serve(settings: &Settings, stats: &Arc<Stats>) -> Result<Option<Self>, Failure> {
        let Some(port) = settings.metrics_port else { return Ok(None) };
        let cannot = |error| Failure::Usage(format!("there can be no metrics at port {port}: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(cannot)?;
        let port = listener.local_addr().map_err(cannot)?.port();
        tell(&format!("cereus: metrics are at http://localhost:{port}/metrics"));
        let (stats, game) = (Arc::clone(stats), settings.game.clone());
        let (sender, scrapes) = watch::channel(None);
        let mut serving = JoinSet::new();
        serving.spawn(http::serve(listener, Arc::new(move || render(&stats.total(), &game)), sender));
        Ok(Some(Self { scrapes, _serving: serving }))
    }

    /// Waits until the last counts were read, or somebody has had enough.
    async fn wait(mut self, longest: Duration, interrupted: Pin<&mut impl Future<Output = u8>>) -> Option<u8> {
        let end = Instant::now();
        tell(&format!("cereus: waiting for Prometheus to read the metrics, {longest:?} at most"));
        let read = self.scrapes.wait_for(|written| written.is_some_and(|written| written >= end));
        tokio::select! {
            read = timeout(longest, read) => {
                if read.is_err() {
                    tell("cereus: nobody has read the metrics");
                }
                None
            }
            code = interrupted => Some(code),
        }
    }
}
