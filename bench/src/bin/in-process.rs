//! What it costs to hand a request on to a backend in the same process: one server, two routes.
//!
//! ```text
//! cargo run --release -p cereus-bench --bin in-process
//! ```

use std::error::Error;
use std::process::ExitCode;

use cereus_bench::comparison::{Contestant, compare};
use cereus_bench::load::Answer;
use cereus_bench::options::{self, Options};
use cereus_bench::report;
use cereus_bench::servers::{Server, build};

const HEAD: &str = "\
Loads a request that a server handles itself (local.echo) and one that it forwards to a backend in the same process
(room.room.echo), in turn, and compares throughput and CPU per request. The handlers are the same. There is no bar.

    cargo run --release -p cereus-bench --bin in-process -- --depth 1,16 --rounds 5

";

fn main() -> ExitCode {
    let defaults = Options::new(&[1]);
    let help = [HEAD, &defaults.help()].concat();
    let parsed = defaults.parse(std::env::args().skip(1), |_, _| Ok(false));
    options::main("in-process", &help, parsed, run)
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let server =
        Server::new("in-process", vec![build(&["--package", "cereus-bench-servers"])?, "in-process".to_owned()])?;
    let contestant = |name: &str, route: &str| Contestant {
        name: name.to_owned(),
        server: server.clone(),
        route: route.to_owned(),
        answer: Answer::Echo,
    };
    let contestants = [contestant("local", "local.echo"), contestant("forwarded", "room.room.echo")];
    report::head("local.echo and room.room.echo", options)?;
    compare(&contestants, options, |_, _| [None; 3])
}
