use std::{
    fmt,
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use cereus_client::{Client, ClientBuilder, Reconnect};
use tokio::task::JoinSet;

use super::{
    Bot, BotError, Player, Report,
    door::Door,
    engine::{Engine, Group},
    stats::Stats,
};
use crate::files::allow_connections;

/// How many bytes of pushes wait for each bot when nothing else is said.
pub(super) const PUSH_BUFFER: usize = 64 << 10;

type Settings = Arc<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

/// Runs many bots at once and reports. It needs tokio.
#[derive(Clone)]
pub struct Runner {
    address: String,
    name: String,
    instances: u32,
    duration: Duration,
    max_sleep: Duration,
    stops_on_error: bool,
    push_buffer: usize,
    settings: Settings,
}

impl Runner {
    /// Bots of the server at this address: tcp://host:port, tls://, ws:// or wss://. For `host:port` alone ws and tcp are tried.
    ///
    /// It is one bot that runs once, unless more is said.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            name: "bot".to_owned(),
            instances: 1,
            duration: Duration::ZERO,
            max_sleep: Duration::ZERO,
            stops_on_error: false,
            push_buffer: PUSH_BUFFER,
            settings: Arc::new(|builder| builder),
        }
    }

    /// What the bots are called in the report. Default: `bot`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many play at once, each in a task of its own. Default: 1.
    ///
    /// Each has a connection, so the process is allowed to have as many files open as that needs, where the system permits it.
    pub const fn instances(mut self, instances: u32) -> Self {
        self.instances = instances;
        self
    }

    /// Until when each begins again. Whoever plays then plays to the end. Default: at once, so that each plays once.
    pub const fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Each run begins after a random time of at most this. Default: at once.
    pub const fn max_sleep(mut self, max_sleep: Duration) -> Self {
        self.max_sleep = max_sleep;
        self
    }

    /// Whether nobody begins again once one has failed. Default: no.
    pub const fn stop_on_error(mut self, stop: bool) -> Self {
        self.stops_on_error = stop;
        self
    }

    /// How many bytes of pushes each bot keeps that it has not asked for yet, their routes and a little for each included. When
    /// there are more, the oldest of the route that holds most are dropped, and counted. Default: 64 KiB.
    pub const fn push_buffer(mut self, bytes: usize) -> Self {
        self.push_buffer = bytes;
        self
    }

    /// Who the clients are, whom they trust, and how long they wait.
    pub fn client(mut self, settings: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static) -> Self {
        self.settings = Arc::new(settings);
        self
    }

    /// Runs the bots that this makes, one for each run, from the number of the instance.
    ///
    /// # Errors
    ///
    /// [`BotError::Connect`]: there is no such server. What happens later is in the report.
    pub async fn run<B: Bot + 'static>(
        self,
        bot: impl Fn(u32) -> B + Send + Sync + 'static,
    ) -> Result<Report, BotError> {
        self.run_until(bot, pending::<()>()).await
    }

    /// The same, but when `end` is ready all bots end where they are, and the report is of the runs until then.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_until<B: Bot + 'static>(
        self,
        bot: impl Fn(u32) -> B + Send + Sync + 'static,
        end: impl Future,
    ) -> Result<Report, BotError> {
        // Who may not have so many is told when there is no connection.
        let _ = allow_connections(self.instances.into());
        let settings = self.settings;
        let door = Door::new(self.address, false, self.push_buffer, move |address| {
            Ok(settings(Client::builder(address).reconnect(Reconnect::never())))
        });
        let engine = Arc::new(Engine {
            door: Arc::new(door),
            stats: Arc::new(Stats::new()),
            duration: self.duration,
            max_sleep: self.max_sleep,
            begin: Instant::now(),
        });
        engine.try_door().await?;
        let group = Group::new(self.name, 0, self.instances, self.stops_on_error);
        let mut tasks = JoinSet::new();
        engine.start(group, &mut tasks, bot);
        let all = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = all => {}
            _ = end => {}
        }
        Ok(engine.report())
    }
}

impl Engine {
    /// Connects once, so that a server that is not there is told at once, and not by each bot; then all know how to reach it.
    pub(super) async fn try_door(&self) -> Result<(), BotError> {
        let player = Player::new(0, Arc::clone(&self.door), Arc::clone(&self.stats));
        player.reconnect().await?;
        player.disconnect().await;
        Ok(())
    }

    pub(super) fn report(&self) -> Report {
        Report::new(self.stats.total(), self.begin.elapsed())
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("address", &self.address)
            .field("name", &self.name)
            .field("instances", &self.instances)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}
