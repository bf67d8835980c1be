//! `cereus bot run`, from the first connection to the report.

use std::{
    io::IsTerminal,
    net::Ipv4Addr,
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
    live::Live,
    metrics::render,
    options::{Run, Settings},
    spec::{Hooks, SpecBot, World},
    stats::Stats,
};
use crate::{
    failure::Failure,
    live::Screen,
    output::print_line,
    protobuf::{Learned, learn},
};

/// How often it is shown what happens.
const TICK: Duration = Duration::from_secs(1);

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut settings = self.settings()?;
        for note in settings.notes.drain(..) {
            eprintln!("cereus: {note}");
        }
        crate::block_on(self.play(settings))
    }

    async fn play(self, settings: Settings) -> Result<ExitCode, Failure> {
        let engine = Arc::new(self.engine(&settings));
        let metrics = Metrics::serve(&settings, &engine.stats).await?;
        let world = Arc::new(world(&settings, &engine).await?);
        // What came before was not play.
        let engine = Arc::new(Engine { begin: Instant::now(), ..Engine::clone(&engine) });
        let tasks = start(settings, &engine, &world);
        let screen = Screen::new(self.quiet, std::io::stderr().is_terminal());
        watch(&engine, tasks, Live::new(screen, self.duration)).await;
        let report = engine.report();
        self.tell(&report)?;
        if let Some(metrics) = metrics {
            metrics.wait(self.metrics.metrics_wait).await;
        }
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn engine(&self, settings: &Settings) -> Engine {
        let (connect, handshake) = (settings.connect.clone(), settings.handshake.clone());
        let door = Door::new(settings.host.clone(), settings.is_encrypted, move |address| {
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
async fn world(settings: &Settings, engine: &Engine) -> Result<World, Failure> {
    let player = Player::new(0, Arc::clone(&engine.door), Arc::clone(&engine.stats));
    player.arrive().await?;
    let mut schema = settings.schema.clone();
    if let (Some(schema), Some((docs, descriptors))) = (&mut schema, &settings.docs) {
        let client = player.client().map_err(|error| Failure::Failed(error.to_string()))?;
        let Learned { schema: learned, warnings } =
            learn(&client, docs, descriptors.as_deref(), schema, settings.connect.timeout).await?;
        for warning in warnings {
            eprintln!("cereus: {warning}");
        }
        *schema = learned;
    }
    player.disconnect().await;
    let (before, after) = settings.hooks.clone();
    Ok(World {
        schema,
        is_strict: settings.is_strict,
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

/// Shows what happens until all have played, or somebody has had enough.
async fn watch(engine: &Engine, mut tasks: JoinSet<()>, mut live: Live) {
    let mut tick = interval_at((engine.begin + TICK).into(), TICK);
    loop {
        tokio::select! {
            next = tasks.join_next() => if next.is_none() { break },
            _ = tick.tick() => live.show(engine.begin.elapsed(), &engine.stats.total(), engine.stats.playing()),
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    live.end();
}

/// The page for Prometheus.
struct Metrics {
    scrapes: watch::Receiver<u64>,
    _serving: JoinSet<()>,
}

impl Metrics {
    async fn serve(settings: &Settings, stats: &Arc<Stats>) -> Result<Option<Self>, Failure> {
        let Some(port) = settings.metrics_port else { return Ok(None) };
        let cannot = |error| Failure::Usage(format!("there can be no metrics at port {port}: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(cannot)?;
        let port = listener.local_addr().map_err(cannot)?.port();
        eprintln!("cereus: metrics are at http://localhost:{port}/metrics");
        let (stats, game) = (Arc::clone(stats), settings.game.clone());
        let (sender, scrapes) = watch::channel(0);
        let mut serving = JoinSet::new();
        serving.spawn(http::serve(listener, Arc::new(move || render(&stats.total(), &game)), sender));
        Ok(Some(Self { scrapes, _serving: serving }))
    }

    /// Waits until the last counts were read.
    async fn wait(mut self, longest: Duration) {
        self.scrapes.mark_unchanged();
        eprintln!("cereus: waiting for Prometheus to read the metrics, {longest:?} at most");
        tokio::select! {
            scraped = timeout(longest, self.scrapes.changed()) => if scraped.is_err() {
                eprintln!("cereus: nobody has read the metrics");
            },
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}
