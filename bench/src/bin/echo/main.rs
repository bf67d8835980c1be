//! Loads `echo.raw` of Cereus and the bare tokio of `bench/baseline` in turn and compares what a request costs.
//!
//! ```text
//! cargo run --release -p cereus-bench --bin echo
//! ```

mod args;

use std::error::Error;
use std::process::ExitCode;

use args::Args;
use cereus_bench::comparison::{Contestant, compare};
use cereus_bench::load::Answer;
use cereus_bench::options;
use cereus_bench::report::{self, Bar, Bars};
use cereus_bench::servers::{Server, build, split};

/// The name of the server that all others are compared with.
const BASELINE: &str = "baseline";

/// The name of ours, to which the bars apply.
const CEREUS: &str = "cereus";

fn main() -> ExitCode {
    options::main("echo", &args::help(), args::parse(std::env::args().skip(1)), run)
}

fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let contestants = contestants(args)?;
    report::head(&args.route, &args.options)?;
    compare(&contestants, &args.options, |name, depth| bars(args, name, depth))
}

/// The baseline, Cereus and the peers. Builds what no command was given for.
fn contestants(args: &Args) -> Result<Vec<Contestant>, Box<dyn Error>> {
    let baseline = match &args.baseline {
        Some(command) => split(command),
        None => vec![build(&["--package", "cereus-bench-baseline", "--bin", "cereus-bench-baseline"])?],
    };
    let cereus = match &args.cereus {
        Some(command) => split(command),
        None => vec![
            build(&["--package", "cereus", "--example", "echo"])
                .map_err(|error| format!("{error}; or name a server with --cereus COMMAND"))?,
        ],
    };
    let ours = [(BASELINE, baseline), (CEREUS, cereus)];
    let peers = args.peers.iter().map(|(name, command)| (name.as_str(), split(command)));
    let contestant = |(name, command)| {
        let server = Server::new(name, command)?;
        Ok(Contestant { name: name.to_owned(), server, route: args.route.clone(), answer: Answer::Echo })
    };
    ours.into_iter().chain(peers).map(contestant).collect()
}

/// They are set for one load only.
fn bars(args: &Args, name: &str, depth: usize) -> Bars {
    if name != CEREUS || (args.options.clients, args.options.body) != (50, 64) {
        return [None; 3];
    }
    match depth {
        1 => [Some(Bar::AtLeast(0.85)), Some(Bar::AtMost(1.25)), None],
        16 => [None, None, Some(Bar::AtMost(0.6))],
        _ => [None; 3],
    }
}
