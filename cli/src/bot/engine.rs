//! What lets bots play, again and again.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{task::JoinSet, time::sleep};

use super::{BotError, Player, door::Door, stats::Stats};
use crate::random::{Random, chance};

/// How long a bot waits that could not connect, before it tries again.
const AFTER_NO_CONNECTION: Duration = Duration::from_millis(100);

/// One player's behaviour, for one run: each run is played by a new one.
pub trait Bot: Send {
    /// Plays. The player is connected before, and disconnected after.
    fn run(&mut self, player: &mut Player) -> impl Future<Output = Result<(), BotError>> + Send;
}

/// What all bots of one report share.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) door: Arc<Door>,
    pub(super) stats: Arc<Stats>,
    /// Bots begin again until then.
    pub(super) duration: Duration,
    /// Each run begins after a random time of at most this.
    pub(super) max_sleep: Duration,
    pub(super) begin: Instant,
}

/// Bots that do the same.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// The number of the first of them: no two bots of an engine have the same.
    pub(super) first: u32,
    pub(super) instances: u32,
    pub(super) stops_on_error: bool,
    failed: AtomicBool,
}

impl Group {
    pub(super) const fn new(name: String, first: u32, instances: u32, stops_on_error: bool) -> Self {
        Self { name, first, instances, stops_on_error, failed: AtomicBool::new(false) }
    }
}

impl Engine {
    /// Adds a task for each bot of a group. Dropping the set ends them where they are.
    pub(super) fn start<B: Bot + 'static>(
        self: &Arc<Self>,
        group: Group,
        tasks: &mut JoinSet<()>,
        bot: impl Fn(u32) -> B + Send + Sync + 'static,
    ) {
        let (group, bot) = (Arc::new(group), Arc::new(bot));
        for number in group.first..group.first + group.instances {
            let (engine, group, bot) = (Arc::clone(self), Arc::clone(&group), Arc::clone(&bot));
            tasks.spawn(async move { engine.play(&group, number, &*bot).await });
        }
    }

    /// One run after the other, the first one in any case.
    async fn play<B: Bot>(&self, group: &Group, number: u32, bot: &(impl Fn(u32) -> B + Sync)) {
        let random = Random::new(chance());
        for run in 0_u64.. {
            sleep(self.max_sleep.mul_f64(random.unit())).await;
            if run > 0 && self.is_over(group) {
                return;
            }
            self.stats.begins();
            let result = self.run(number, bot).await;
            self.stats.ran(number, &group.name, result.as_ref().err());
            if result.is_err() {
                group.failed.store(true, Ordering::Relaxed);
            }
            if self.is_over(group) {
                return;
            }
            if matches!(result, Err(BotError::Connect(_))) {
                sleep(AFTER_NO_CONNECTION).await;
            }
        }
    }

    /// Whether nobody begins again.
    fn is_over(&self, group: &Group) -> bool {
        let is_stopped = group.stops_on_error && group.failed.load(Ordering::Relaxed);
        is_stopped || self.begin.elapsed() >= self.duration
    }

    /// One run.
    async fn run<B: Bot>(&self, number: u32, bot: &(impl Fn(u32) -> B + Sync)) -> Result<(), BotError> {
        let mut player = Player::new(number, Arc::clone(&self.door), Arc::clone(&self.stats));
        let play = async {
            player.reconnect().await?;
            bot(number).run(&mut player).await
        };
        // One bot's mistake must not end the others.
        let result = AssertUnwindSafe(play).catch_unwind().await;
        player.disconnect().await;
        result.unwrap_or_else(|panic| Err(BotError::Other(told(&*panic))))
    }
}

/// What somebody said who panicked, in a line.
fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let line = text.and_then(|text| text.lines().next());
    line.map_or_else(|| "the bot panicked".to_owned(), |line| format!("the bot panicked: {line}"))
}
