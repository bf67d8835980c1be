//! Servers under the same load, in turn.

use std::error::Error;
use std::io::{self, Write};

use crate::load::{self, Answer, Plan};
use crate::options::Options;
use crate::report::{Bars, Row, Table};
use crate::servers::Server;

/// A server, and what is asked of it.
#[derive(Debug)]
pub struct Contestant {
    /// What the tables call it.
    pub name: String,
    /// What runs.
    pub server: Server,
    /// The route asked for.
    pub route: String,
    /// What it has to answer.
    pub answer: Answer,
}

/// Loads every contestant once a round, each time in a new process, and compares them with the first one.
///
/// The CPU time of a process is what the kernel accounts to it when it is reaped (`getrusage`), divided by all requests that
/// it answered, those of the warm-up included: no server has to cooperate, and the start, a few milliseconds, vanishes among
/// some hundred thousand requests. Throughput is counted in the measured window alone.
///
/// Returns whether every bar holds.
///
/// # Errors
///
/// A server does not start, answers something else, or not at all.
pub fn compare(
    contestants: &[Contestant],
    options: &Options,
    bars: impl Fn(&str, usize) -> Bars,
) -> Result<bool, Box<dyn Error>> {
    let baseline = &contestants.first().ok_or("there is nothing to compare")?.name;
    let mut out = io::stdout().lock();
    let mut pass = true;
    for &depth in &options.depths {
        let mut table = Table::new(depth, baseline);
        for round in 0..options.rounds {
            for turn in 0..contestants.len() {
                let contestant = &contestants[(round + turn) % contestants.len()];
                eprint!("\rdepth {depth}, round {} of {}: {:<24}", round + 1, options.rounds, contestant.name);
                table.rows.push(measure(contestant, options, depth, round).inspect_err(|_| eprintln!())?);
            }
        }
        eprint!("\r{:60}\r", "");
        pass &= table.print(&|name| bars(name, depth), &mut out)?;
    }
    out.flush()?;
    Ok(pass)
}

/// One server, from its start to its end.
fn measure(contestant: &Contestant, options: &Options, depth: usize, round: usize) -> Result<Row, Box<dyn Error>> {
    let Contestant { name, server, route, answer } = contestant;
    let running = server.spawn(options.threads)?;
    let plan = Plan {
        clients: options.clients,
        depth,
        body: options.body,
        route,
        answer,
        warm_up: options.warm_up,
        window: options.window,
    };
    let load = load::run(running.address, &plan).map_err(|error| format!("{name}: {error}"))?;
    let server_cpu = running.reap()?;
    Ok(Row {
        round,
        server: name.clone(),
        throughput: load.measured as f64 / load.window.as_secs_f64(),
        server_cpu: server_cpu.as_secs_f64() * 1e6 / load.answered as f64,
        loader_busy: load.loader_cpu.as_secs_f64() / load.window.as_secs_f64(),
    })
}
