//! Loads `echo.raw` of Cereus and the bare tokio of `bench/baseline` in turn and compares what a request costs.
//!
//! ```text
//! cargo run --release -p cereus-bench --bin echo
//! ```
//!
//! Every run gets a new server process. Its CPU time is what the kernel accounts to it when it is reaped
//! (`getrusage`), divided by all requests that it answered, those of the warm-up included: no server has to cooperate,
//! and the start, a few milliseconds, vanishes among some hundred thousand requests. Throughput is counted in the
//! measured window alone.

mod args;
mod load;
mod report;
mod servers;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Parsed};
use report::{Depth, Row};
use servers::Server;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Parsed::Run(args)) => args,
        Ok(Parsed::Help) => {
            // Whoever closed stdout does not want to read it.
            let _ = io::stdout().write_all(args::HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("echo: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match compare(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every bar holds.
fn compare(args: &Args) -> Result<bool, Box<dyn Error>> {
    let servers = servers::locate(args)?;
    let mut out = io::stdout().lock();
    report::head(args, &mut out)?;
    let mut pass = true;
    for &depth in &args.depths {
        let mut table = Depth::new(depth);
        for round in 0..args.rounds {
            for turn in 0..servers.len() {
                let server = &servers[(round + turn) % servers.len()];
                eprint!("\rdepth {depth}, round {} of {}: {:<24}", round + 1, args.rounds, server.name);
                table.rows.push(measure(server, args, depth, round).inspect_err(|_| eprintln!())?);
            }
        }
        eprint!("\r{:60}\r", "");
        pass &= table.print(args, &mut out)?;
    }
    Ok(pass)
}

/// One server, from its start to its end.
fn measure(server: &Server, args: &Args, depth: usize, round: usize) -> Result<Row, Box<dyn Error>> {
    let running = server.spawn(args.threads)?;
    let load = load::run(running.address, args, depth).map_err(|error| format!("{}: {error}", server.name))?;
    let server_cpu = running.reap()?;
    Ok(Row {
        round,
        server: server.name.clone(),
        throughput: load.measured as f64 / load.window.as_secs_f64(),
        server_cpu: server_cpu.as_secs_f64() * 1e6 / load.answered as f64,
        loader_busy: load.loader_cpu.as_secs_f64() / load.window.as_secs_f64(),
    })
}
