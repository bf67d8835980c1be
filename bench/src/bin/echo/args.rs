//! The command line.

use std::error::Error;

use cereus_bench::options::{Options, Parsed};

use crate::{BASELINE, CEREUS};

/// What `--help` prints before the options that all comparisons have, and after them.
const HEAD: &str = "\
Loads echo.raw of Cereus and a bare tokio echo in turn, each in its own process, and compares throughput and server
CPU per request. Fails (exit code 1) when a bar is missed.

    cargo run --release -p cereus-bench --bin echo -- --depth 1,16 --rounds 5

";
const TAIL: &str = "
Servers: a command, split at spaces, that gets an address to listen on as its last argument and prints a line
`... listening on <address>`. In a command with {port} that word becomes a free port instead, and the server is up when
that port accepts.
    --cereus COMMAND     [builds and runs the example `echo` of the workspace]
    --baseline COMMAND   [builds and runs cereus-bench-baseline]
    --peer NAME=COMMAND  one more Pitaya server; may be repeated
    --route ROUTE        the route asked for [echo.raw]

Two equal servers show the noise:
    cargo run --release -p cereus-bench --bin echo -- --cereus target/release/cereus-bench-baseline
";

/// What to compare, and how.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) options: Options,
    pub(crate) route: String,
    pub(crate) cereus: Option<String>,
    pub(crate) baseline: Option<String>,
    /// Names and commands.
    pub(crate) peers: Vec<(String, String)>,
}

fn defaults() -> Options {
    Options::new(&[1, 16])
}

pub(crate) fn help() -> String {
    [HEAD, &defaults().help(), TAIL].concat()
}

pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Parsed<Args>, Box<dyn Error>> {
    let (mut route, mut cereus, mut baseline) = ("echo.raw".to_owned(), None, None);
    let mut peers: Vec<(String, String)> = Vec::new();
    let parsed = defaults().parse(words, |option, value| {
        match option {
            "--route" => route = value()?,
            "--cereus" => cereus = Some(value()?),
            "--baseline" => baseline = Some(value()?),
            "--peer" => {
                let value = value()?;
                let (name, command) =
                    value.split_once('=').ok_or("--peer needs NAME=COMMAND, such as go='/tmp/echo --port {port}'")?;
                if [BASELINE, CEREUS].contains(&name) || peers.iter().any(|(peer, _)| peer == name) {
                    return Err(format!("two servers are named {name}").into());
                }
                peers.push((name.to_owned(), command.to_owned()));
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if route.len() > 255 {
        return Err("--route is longer than the 255 bytes that the protocol allows".into());
    }
    Ok(match parsed {
        Parsed::Run(options) => Parsed::Run(Args { options, route, cereus, baseline, peers }),
        Parsed::Help => Parsed::Help,
    })
}
