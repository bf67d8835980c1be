//! Lets `cereus load` and a bare tokio loader (`bench/baseline`) load the same bare server in turn and compares what a request
//! costs the loaders.
//!
//! ```text
//! cargo run --release -p cereus-bench --bin load
//! ```

use std::error::Error;
use std::io;
use std::process::{Command, ExitCode};
use std::time::Duration;

use cereus_bench::options::{self, Options};
use cereus_bench::report::{self, Bar, Row, Table};
use cereus_bench::servers::{Server, build, cpu_time};
use nix::sys::resource::UsageWho;

const HEAD: &str = "\
Lets `cereus load --closed` and a bare tokio loader load the same bare server, in turn, each in its own process, and compares
throughput and the CPU per request of the loaders: what the tables call a server is a loader here. Fails (exit code 1) when
a bar is missed.

    cargo run --release -p cereus-bench --bin load -- --depth 1,16 --rounds 5

";

const BARE: &str = "bare loader";
const CEREUS: &str = "cereus load";

fn main() -> ExitCode {
    let defaults = Options::new(&[1, 16]);
    let help = [HEAD, &defaults.help()].concat();
    let parsed = defaults.parse(std::env::args().skip(1), |_, _| Ok(false));
    options::main("load", &help, parsed, run)
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let server = build(&["--package", "cereus-bench-baseline", "--bin", "cereus-bench-baseline"])?;
    let bare = build(&["--package", "cereus-bench-baseline", "--bin", "cereus-bench-loader"])?;
    let cereus = build(&["--package", "cereus-cli", "--bin", "cereus"])?;
    let server = Server::new("answers", vec![server, "answers".to_owned()])?;

    report::head("cereus load and a bare loader", options)?;
    let mut pass = true;
    for &depth in &options.depths {
        let mut table = Table::new(depth, BARE);
        for round in 0..options.rounds {
            for turn in 0..2 {
                let running = server.spawn(1)?;
                let address = running.address.to_string();
                let row = match (round + turn) % 2 {
                    0 => load(BARE, &bare_loader(&bare, &address, options, depth), options, round, |out| {
                        Ok(out.trim().parse()?)
                    }),
                    _ => load(CEREUS, &cereus_load(&cereus, &address, options, depth), options, round, |out| {
                        let report: serde_json::Value = serde_json::from_str(out)?;
                        Ok(report["answered"].as_u64().ok_or("a report without answers")?)
                    }),
                };
                drop(running);
                table.rows.push(row?);
            }
        }
        let bars = |name: &str| match name {
            CEREUS => [Some(Bar::AtLeast(0.9)), None, Some(Bar::AtMost(1.0))],
            _ => [None; 3],
        };
        pass &= table.print(&bars, &mut io::stdout().lock())?;
    }
    Ok(pass)
}

fn bare_loader(program: &str, address: &str, options: &Options, depth: usize) -> Vec<String> {
    let numbers = [options.clients, depth, options.body, options.window.as_secs() as usize];
    [program.to_owned(), address.to_owned()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
}

fn cereus_load(program: &str, address: &str, options: &Options, depth: usize) -> Vec<String> {
    let (connections, depth) = (options.clients.to_string(), depth.to_string());
    let (seconds, body) = (options.window.as_secs().to_string(), "x".repeat(options.body));
    // The bare one does not warm up either.
    let words = ["--quiet", "--json", "--warm-up", "0.001", "--route", "room.room.echo", "--body", &body];
    let more = ["--closed", &depth, "--connections", &connections, "--duration", &seconds];
    [program, "load", address].iter().chain(&words).chain(&more).map(|word| (*word).to_owned()).collect()
}

fn load(
    name: &str,
    command: &[String],
    options: &Options,
    round: usize,
    answered: impl FnOnce(&str) -> Result<u64, Box<dyn Error>>,
) -> Result<Row, Box<dyn Error>> {
    let before = cpu_time(UsageWho::RUSAGE_CHILDREN)?;
    let output = Command::new(&command[0])
        .args(&command[1..])
        .env("TOKIO_WORKER_THREADS", options.threads.to_string())
        .output()?;
    let cpu = cpu_time(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before);
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let answered = answered(&String::from_utf8(output.stdout)?)? as f64;
    let window: Duration = options.window;
    Ok(Row {
        round,
        server: name.to_owned(),
        throughput: answered / window.as_secs_f64(),
        server_cpu: cpu.as_secs_f64() * 1e6 / answered,
        loader_busy: cpu.as_secs_f64() / window.as_secs_f64(),
    })
}
