//! The connections, and what makes them ask.

use std::{
    num::NonZero,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cereus_client::{Client, Disconnect, RequestError, State, WhileAway};
use cereus_tokio::Tokio;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::{
    sync::Semaphore,
    time::{interval_at, sleep, timeout},
};

use super::{
    Arrivals, Load, Loop,
    live::Live,
    mix::Mix,
    record::Sample,
    report::{Report, Row},
};
use crate::{
    failure::Failure,
    measure::{Recorder, Sum, error_code},
    random::Random,
};

/// How many connections are being made at once.
const CONNECTING: usize = 128;

/// How long the answers may take that are in flight at the end.
const DRAIN: Duration = Duration::from_secs(3);

/// How long the thread that sends sleeps at most, to see that it is over.
const NAP: Duration = Duration::from_millis(50);

/// How many places there are to write to for each thread: threads seldom meet, and what they write to stays in the cache.
const PLACES: usize = 2;

/// What all connections share.
struct Shared {
    mix: Mix,
    recorder: Recorder<Sample>,
    /// How many connections are open.
    open: AtomicUsize,
    /// When the warm-up ended: what was sent before does not count, whenever its answer comes.
    begin: OnceLock<Instant>,
    over: AtomicBool,
}

/// One connection.
struct Asker {
    number: usize,
    client: Client,
    shared: Arc<Shared>,
    in_flight: AtomicU32,
    random: Random,
}

/// Runs it all and reports.
pub(super) async fn run(load: &Load, mix: Mix, mut live: Live) -> Result<Report, Failure> {
    let entries = mix.entries.len();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let shared = Arc::new(Shared {
        recorder: Recorder::new(PLACES * threads, || Sample::new(entries)),
        mix,
        open: AtomicUsize::new(0),
        begin: OnceLock::new(),
        over: AtomicBool::new(false),
    });
    let askers = connect(load, &shared, &mut live).await?;
    let driven_by = load.driven_by();
    let pacer = match driven_by {
        Loop::Closed { depth } => {
            askers.iter().for_each(|asker| asker.keep_asking(depth));
            None
        }
        Loop::Open { rate, arrivals } => Some(pace(&askers, &shared, rate, arrivals)),
    };

    let mut warm_up = Sample::new(entries);
    sleep(load.warm_up).await;
    shared.recorder.take(&mut warm_up);
    let (mut rows, mut total) = (Vec::new(), Sample::new(entries));
    let (begin, cpu) = (*shared.begin.get_or_init(Instant::now), cpu_time());
    let end = begin + load.duration;
    let mut tick = interval_at((begin + Duration::from_secs(1)).into(), Duration::from_secs(1));
    let mut interrupted = false;
    while Instant::now() < end && !interrupted {
        let since = Instant::now();
        tokio::select! {
            _ = tick.tick() => {}
            () = tokio::time::sleep_until(end.into()) => {}
            _ = tokio::signal::ctrl_c() => interrupted = true,
        }
        let mut sample = Sample::new(entries);
        shared.recorder.take(&mut sample);
        total.add(&sample);
        let open = shared.open.load(Ordering::Relaxed);
        let row = Row::new(begin.elapsed(), since.elapsed(), &sample, open);
        live.show(&row, &total, load.duration);
        rows.push(row);
    }
    let (took, busy) = (begin.elapsed(), cpu_time().saturating_sub(cpu));
    shared.over.store(true, Ordering::Relaxed);
    live.end();
    if let Some(pacer) = pacer {
        // It looks often.
        let _ = tokio::task::spawn_blocking(move || pacer.join()).await;
    }
    drain(&askers, &shared, &mut total).await;
    Ok(Report::new(load, &shared.mix, rows, total, took, busy))
}

/// Answers to what was sent in time still count; what never comes is an error.
async fn drain(askers: &[Arc<Asker>], shared: &Shared, total: &mut Sample) {
    let in_flight = || askers.iter().map(|asker| asker.in_flight.load(Ordering::Relaxed)).sum::<u32>();
    let drained = async {
        while in_flight() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = timeout(DRAIN, drained).await;
    let sent = total.sent;
    shared.recorder.take(total);
    total.sent = sent;
    for _ in 0..in_flight() {
        total.failed_with("no answer before the end");
    }
}

async fn connect(load: &Load, shared: &Arc<Shared>, live: &mut Live) -> Result<Vec<Arc<Asker>>, Failure> {
    let count = load.connections as usize;
    let gap = load.ramp.unwrap_or_default() / load.connections;
    let turns = Arc::new(Semaphore::new(CONNECTING));
    let mut connecting = Vec::with_capacity(count);
    let begin = Instant::now();
    let depth = load.closed.unwrap_or_default() as usize;
    let builder = load.connect.client(&load.address)?.while_away(WhileAway::Fail);
    let builder = builder.protocol(|protocol| protocol.max_pending_requests(depth.max(1 << 16)));
    for number in 0..count {
        let (builder, turns, shared) = (builder.clone(), Arc::clone(&turns), Arc::clone(shared));
        connecting.push(tokio::spawn(async move {
            sleep((begin + gap * number as u32).saturating_duration_since(Instant::now())).await;
            let _turn = turns.acquire().await;
            let client = builder.connect(Tokio::new()).await?;
            shared.open.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(watch(client.states(), Arc::clone(&shared)));
            let random = Random::new(number as u64);
            Ok::<_, cereus_client::ConnectError>(Arc::new(Asker {
                number,
                client,
                shared,
                in_flight: AtomicU32::new(0),
                random,
            }))
        }));
    }
    let mut askers = Vec::with_capacity(count);
    for (number, asker) in connecting.into_iter().enumerate() {
        let asker = asker.await.map_err(|error| Failure::Failed(error.to_string()))?;
        askers.push(asker.map_err(|error| match Failure::from(error) {
            Failure::Failed(why) => Failure::Failed(format!("connection {} of {count}: {why}", number + 1)),
            usage => usage,
        })?);
        live.connecting(number + 1, count);
    }
    Ok(askers)
}

/// Counts a connection that ends.
async fn watch(mut states: cereus_client::States, shared: Arc<Shared>) {
    while let Some(state) = states.next().await {
        if let State::Closed(reason) = state {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            if reason != Disconnect::Local {
                shared.recorder.write(0, |sample| sample.failed_with(&format!("connection lost: {reason}")));
            }
        }
    }
}

impl Asker {
    /// Closed loop: so many requests at once, and the next whenever an answer comes.
    fn keep_asking(self: &Arc<Self>, depth: u32) {
        while self.in_flight.load(Ordering::Relaxed) < depth && self.client.state().is_open() {
            self.ask(None, Instant::now());
        }
    }

    /// Sends one. `due`: when it should have been sent. Returns whether it was a request.
    fn ask(self: &Arc<Self>, due: Option<Instant>, now: Instant) -> bool {
        let index = self.shared.mix.choose(self.random.next());
        let entry = &self.shared.mix.entries[index];
        let begin = due.unwrap_or(now);
        if entry.notify {
            let sent = self.client.notify(entry.route.clone(), entry.body.clone());
            self.shared.recorder.write(self.number, |sample| match sent {
                Ok(()) => {
                    sample.sent(due.map(|due| now - due));
                    sample.answered(index, begin.elapsed(), 0);
                }
                Err(error) => sample.failed_with(error_code(&error)),
            });
            return false;
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.shared.recorder.write(self.number, |sample| sample.sent(due.map(|due| now - due)));
        let asker = Arc::clone(self);
        self.client.request(entry.route.clone(), entry.body.clone()).call(move |answer| {
            asker.in_flight.fetch_sub(1, Ordering::Relaxed);
            let heard = Instant::now();
            if asker.shared.begin.get().is_none_or(|&begin| now >= begin) {
                asker.shared.recorder.write(asker.number, |sample| match &answer {
                    Ok(body) => sample.answered(index, heard - begin, body.len()),
                    Err(error) => sample.failed_with(error_code(error)),
                });
            }
            // Whoever was not even sent would fail again at once.
            let goes_on = matches!(answer, Ok(_) | Err(RequestError::Server(_) | RequestError::Timeout(_)));
            if due.is_none() && goes_on {
                // Up to a request: no answer would go on with it after a notify.
                loop {
                    if asker.shared.over.load(Ordering::Relaxed) || asker.ask(None, heard) {
                        break;
                    }
                }
            }
        });
        true
    }
}

/// Open loop: a thread that sends each message when it is time for it.
fn pace(askers: &[Arc<Asker>], shared: &Arc<Shared>, rate: f64, arrivals: Arrivals) -> thread::JoinHandle<()> {
    let (askers, shared) = (askers.to_vec(), Arc::clone(shared));
    thread::spawn(move || {
        let gap = 1.0 / rate;
        let random = Random::new(u64::MAX);
        let begin = Instant::now();
        let (mut due, mut turn) = (0.0, 0);
        while !shared.over.load(Ordering::Relaxed) {
            let at = begin + Duration::from_secs_f64(due);
            let now = Instant::now();
            if at > now {
                thread::sleep((at - now).min(NAP));
                continue;
            }
            askers[turn % askers.len()].ask(Some(at), now);
            turn += 1;
            due += match arrivals {
                Arrivals::Even => gap,
                Arrivals::Poisson => -gap * (1.0 - random.unit()).ln(),
            };
        }
    })
}

/// What all threads of this process have taken.
fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            let micros = time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
            Duration::from_micros(micros)
        })
        .sum()
}
