//! What a broadcast costs for each session of a group.
//!
//! ```text
//! cargo run --release -p cereus-bench --bin broadcast
//! ```

mod discard;
mod group;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use cereus::Route;
use cereus::core::{Message, RouteDictionary};
use cereus_bench::options::{self, Parsed, positive, read};
use cereus_bench::report::{Bar, median};

use crate::group::{BROWSER, Cost, Group, NATIVE};

const HELP: &str = "\
Broadcasts to groups of sessions that are all bound in this process, on streams that take every byte and keep none, and
measures CPU and wall-clock time per session from the call until every stream has its bytes. Fails (exit code 1) when
10,000 sessions take more than 1 microsecond of this process' CPU each, or when a push is encoded more than once: when
its body is made twice, sessions are sent different bytes, or sessions that get it deflated cost as if each was deflated.

    cargo run --release -p cereus-bench --bin broadcast -- --rounds 9

    --sessions N,N       members of the groups [10,1000,10000]
    --rounds N           rounds, each with every body once [9]
    --pushes N           pushes per body and round, at least one broadcast [100000]
    --threads N          worker threads of the runtime; the broadcast is called on one of them [1]
";

/// Lengths of bodies.
const BODIES: [usize; 2] = [64, 1024];

/// The bar, and for how many sessions it is set.
const BAR: Bar = Bar::AtMost(1.0);
const BAR_SESSIONS: usize = 10_000;

#[derive(Clone, Debug)]
struct Args {
    sessions: Vec<usize>,
    rounds: usize,
    pushes: usize,
    threads: usize,
}

/// All rounds with one body.
#[derive(Debug)]
struct Row {
    sessions: usize,
    body: usize,
    deflated: bool,
    costs: Vec<Cost>,
}

fn main() -> ExitCode {
    options::main("broadcast", HELP, parse(std::env::args().skip(1)), run)
}

fn parse(words: impl Iterator<Item = String>) -> Result<Parsed<Args>, Box<dyn Error>> {
    let mut args = Args { sessions: vec![10, 1000, BAR_SESSIONS], rounds: 9, pushes: 100_000, threads: 1 };
    let help = read(words, |option, value| {
        match option {
            "--sessions" => {
                args.sessions = value()?.split(',').map(|count| positive(option, count)).collect::<Result<_, _>>()?;
            }
            "--rounds" => args.rounds = positive(option, &value()?)?,
            "--pushes" => args.pushes = positive(option, &value()?)?,
            "--threads" => args.threads = positive(option, &value()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(if help { Parsed::Help } else { Parsed::Run(args) })
}

/// Whether the bars hold.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let mut rows = Vec::new();
    for &sessions in &args.sessions {
        for (handshake, bodies) in [(BROWSER, &BODIES[..]), (NATIVE, &BODIES[1..])] {
            eprint!("\r{sessions} sessions{:20}", "");
            // A runtime of its own: its end is the end of all sessions.
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(args.threads).enable_all().build()?;
            let args = args.clone();
            let measured = runtime.block_on(async {
                // Not on this thread, which is not one of the workers.
                tokio::spawn(async move { measure(&args, sessions, handshake, bodies).await }).await
            });
            rows.extend(measured?.map_err(|error| -> Box<dyn Error> { error })?);
        }
    }
    eprint!("\r{:40}\r", "");
    report(args, &rows)
}

async fn measure(
    args: &Args,
    sessions: usize,
    handshake: &'static [u8],
    bodies: &[usize],
) -> Result<Vec<Row>, Box<dyn Error + Send + Sync>> {
    let group = Group::start(sessions, handshake).await?;
    let mut rows = Vec::new();
    let mut sent = Vec::new();
    for &len in bodies {
        let body = text(len);
        let bytes = group.check(&body).await?;
        let deflated = bytes < len;
        if deflated != (handshake == NATIVE) {
            return Err("the push was not sent in the form that these clients take".into());
        }
        rows.push(Row { sessions, body: len, deflated, costs: Vec::new() });
        sent.push((body, bytes));
    }
    let times = args.pushes.div_ceil(sessions);
    // The first is a warm-up.
    for round in 0..=args.rounds {
        for (row, (body, bytes)) in rows.iter_mut().zip(&sent) {
            let cost = group.measure(body, *bytes, times).await?;
            if round > 0 {
                row.costs.push(cost);
            }
        }
    }
    Ok(rows)
}

/// Prints the table. Whether the bars hold.
fn report(args: &Args, rows: &[Row]) -> Result<bool, Box<dyn Error>> {
    let mut out = io::stdout().lock();
    let Args { rounds, pushes, threads, .. } = args;
    writeln!(
        out,
        "broadcasts, {threads} worker thread(s), {rounds} rounds of {pushes} pushes; medians, lowest to highest\n"
    )?;
    writeln!(
        out,
        "{:>8}  {:>6}  {:<9}{:>14}{:>22}{:>16}",
        "sessions", "body", "sent", "CPU us/session", "", "wall us/session"
    )?;
    let deflation = deflation();
    let mut pass = true;
    for row in rows {
        let cpu: Vec<f64> = row.costs.iter().map(|cost| cost.cpu).collect();
        let (value, wall) = (median(cpu.iter().copied()), median(row.costs.iter().map(|cost| cost.wall)));
        let lowest = cpu.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = cpu.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sent = if row.deflated { "deflated" } else { "as it is" };
        let mut verdicts = String::new();
        let mut bar = |bar: Bar| {
            pass &= bar.holds(value);
            write!(verdicts, "  {}", bar.verdict(value))
        };
        if row.sessions == BAR_SESSIONS {
            bar(BAR)?;
        }
        if row.deflated && row.sessions > 100 {
            // Half of what it would cost at least.
            bar(Bar::AtMost((deflation * 5.0).round() / 10.0))?;
        }
        writeln!(
            out,
            "{:>8}  {:>6}  {sent:<9}{value:>14.3}  {lowest:>8.3} to {highest:<8.3}{wall:>16.3}{verdicts}",
            row.sessions, row.body
        )?;
    }
    writeln!(out, "\nto deflate {} bytes once takes {deflation:.1} us", BODIES[1])?;
    Ok(pass)
}

/// What it takes to deflate a push, in microseconds.
fn deflation() -> f64 {
    const TIMES: usize = 1000;
    let push = Message::push(Route::from_static("onMessage"), text(BODIES[1]));
    let (dictionary, mut buf) = (RouteDictionary::default(), Vec::new());
    let start = Instant::now();
    for _ in 0..TIMES {
        buf.clear();
        std::hint::black_box(push.encode(&dictionary, true, &mut buf).is_ok());
    }
    start.elapsed().as_secs_f64() * 1e6 / TIMES as f64
}

/// Something that can be deflated.
fn text(len: usize) -> Bytes {
    let words =
        (0..).flat_map(|number: usize| format!(r#"{{"user":{number},"at":{}}},"#, number * number).into_bytes());
    words.take(len).collect()
}
