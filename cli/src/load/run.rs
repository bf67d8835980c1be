//! The connections, and what makes them ask.

use std::{
    num::NonZero,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use cereus_core::{ClientConfig, Instant};
use cereus_tokio::Tokio;
use cereus_transports::rt::Runtime;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{Sender, channel, error::TrySendError},
    },
    time::{self, interval_at, sleep, sleep_until, timeout},
};

use super::{
    Arrivals, Load, Loop,
    line::{Line, Order, Plan},
    live::Live,
    mix::Mix,
    record::Sample,
    report::{Report, Row},
};
use crate::{
    failure::Failure,
    link::Server,
    measure::{Recorder, Sum},
    random::Random,
};

/// How many messages may wait for one connection that has no room for them.
const ORDERS: usize = 1 << 16;

/// How many connections are being made at once.
const CONNECTING: usize = 128;

/// How long the answers may take that are in flight at the end.
const DRAIN: Duration = Duration::from_secs(3);

/// How long the thread that sends sleeps at most, to see that it is over.
const NAP: Duration = Duration::from_millis(50);

/// How many places there are to write to for each thread: threads seldom meet, and what they write to stays in the cache.
const PLACES: usize = 2;

/// What all connections share.
pub(super) struct Shared {
    pub(super) mix: Mix,
    pub(super) recorder: Recorder<Sample>,
    /// How many connections are open.
    pub(super) open: AtomicUsize,
    /// How many requests have no answer yet, with those sent in the warm-up.
    pub(super) in_flight: AtomicUsize,
    /// When the warm-up ended.
    begin: OnceLock<Instant>,
    pub(super) over: AtomicBool,
}

impl Shared {
    /// Whether the answer to what was sent then counts: not if it was sent in the warm-up.
    pub(super) fn counts(&self, sent: Instant) -> bool {
        self.begin.get().is_none_or(|&begin| sent >= begin)
    }
}

/// Runs it all and reports.
pub(super) async fn run(load: &Load, mix: Mix, mut live: Live) -> Result<Report, Failure> {
    let entries = mix.entries.len();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let shared = Arc::new(Shared {
        recorder: Recorder::new(PLACES * threads, || Sample::new(entries)),
        mix,
        open: AtomicUsize::new(0),
        in_flight: AtomicUsize::new(0),
        begin: OnceLock::new(),
        over: AtomicBool::new(false),
    });
    let clock = Tokio::new();
    let lines = connect(load, clock, &shared, &mut live).await?;
    let pacer = match load.driven_by() {
        Loop::Closed { depth } => {
            // One that has ended already is told of in the report.
            for line in &lines {
                let _ = line.try_send(Order::Keep(depth as usize));
            }
            None
        }
        Loop::Open { rate, arrivals } => Some(pace(lines, Arc::clone(&shared), clock, rate, arrivals)),
    };

    let mut warm_up = Sample::new(entries);
    sleep(load.warm_up).await;
    shared.recorder.take(&mut warm_up);
    let (mut rows, mut total) = (Vec::new(), warm_up.losses());
    shared.begin.get_or_init(|| clock.now());
    let (begin, cpu) = (time::Instant::now(), cpu_time());
    let end = begin + load.duration;
    let mut tick = interval_at(begin + Duration::from_secs(1), Duration::from_secs(1));
    let mut interrupted = false;
    // Nobody comes back.
    let all_lost = || shared.open.load(Ordering::Relaxed) == 0;
    while time::Instant::now() < end && !interrupted && !all_lost() {
        let since = time::Instant::now();
        tokio::select! {
            _ = tick.tick() => {}
            () = sleep_until(end) => {}
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
    drain(&shared, &mut total).await;
    Ok(Report::new(load, &shared.mix, rows, total, took, busy))
}

/// Answers to what was sent in time still count; what never comes is an error.
async fn drain(shared: &Shared, total: &mut Sample) {
    let drained = async {
        while shared.in_flight.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = timeout(DRAIN, drained).await;
    let sent = total.sent;
    shared.recorder.take(total);
    total.sent = sent;
    for _ in 0..shared.in_flight.load(Ordering::Relaxed) {
        total.failed_with("no answer before the end");
    }
}

/// Opens all connections. Returns where to tell each what to do.
async fn connect(
    load: &Load,
    clock: Tokio,
    shared: &Arc<Shared>,
    live: &mut Live,
) -> Result<Vec<Sender<Order>>, Failure> {
    let count = load.connections as usize;
    let gap = load.ramp.unwrap_or_default() / load.connections;
    let turns = Arc::new(Semaphore::new(CONNECTING));
    let options = &load.connect;
    let server = Server::new(&load.address, &options.trust, options.header.clone(), options.connect_timeout)?;
    let in_flight = load.closed.unwrap_or_default().max(1 << 16) as usize;
    let config = ClientConfig::builder()
        .handshake(options.handshake())
        .compress(options.compress)
        .handshake_timeout(options.connect_timeout)
        .max_pending_requests(in_flight)
        .build();
    let plan =
        Plan { config: config.map_err(|error| Failure::usage(error.to_string()))?, clock, patience: options.timeout };
    let made = Arc::new((server, plan));
    let begin = time::Instant::now();
    let mut connecting = Vec::with_capacity(count);
    for number in 0..count {
        let (made, turns, shared) = (Arc::clone(&made), Arc::clone(&turns), Arc::clone(shared));
        connecting.push(tokio::spawn(async move {
            sleep_until(begin + gap * number as u32).await;
            let _turn = turns.acquire().await;
            let (server, plan) = &*made;
            let (tell, orders) = channel(ORDERS);
            let line = Line::open(server.open().await?, plan, number, orders, Arc::clone(&shared)).await;
            let line = line.map_err(|why| format!("{}: {why}", server.place()))?;
            shared.open.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(line.run());
            Ok::<_, String>(tell)
        }));
    }
    let mut lines = Vec::with_capacity(count);
    for (number, line) in connecting.into_iter().enumerate() {
        let line = line.await.map_err(|error| Failure::Failed(error.to_string()))?;
        lines.push(line.map_err(|why| Failure::Failed(format!("connection {} of {count}: {why}", number + 1)))?);
        live.connecting(number + 1, count);
    }
    Ok(lines)
}

/// Open loop: a thread that has each message sent when it is time for it.
fn pace(
    lines: Vec<Sender<Order>>,
    shared: Arc<Shared>,
    clock: Tokio,
    rate: f64,
    arrivals: Arrivals,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let gap = 1.0 / rate;
        let random = Random::new(u64::MAX);
        let begin = clock.now();
        let (mut due, mut turn) = (0.0, 0);
        while !shared.over.load(Ordering::Relaxed) {
            let at = begin + Duration::from_secs_f64(due);
            let now = clock.now();
            if at > now {
                thread::sleep((at - now).min(NAP));
                continue;
            }
            let number = turn % lines.len();
            match lines[number].try_send(Order::Send(at)) {
                Ok(()) => {}
                Err(error) => shared.recorder.write(number, |sample| {
                    sample.failed_with(match error {
                        TrySendError::Full(_) => "not sent: too much waits already",
                        TrySendError::Closed(_) => "not sent: no connection",
                    });
                }),
            }
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
