//! The command line.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use crate::servers::{BASELINE, CEREUS};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Loads echo.raw of Cereus and a bare tokio echo in turn, each in its own process, and compares throughput and server
CPU per request. Fails (exit code 1) when a bar is missed.

    cargo run --release -p cereus-bench --bin echo -- --depth 1,16 --rounds 5

Load
    --connections N      connections [50]
    --depth N,N          requests in flight per connection; one comparison each [1,16]
    --body N             bytes in a request's body [64]
    --route ROUTE        the route asked for [echo.raw]

Measuring
    --rounds N           rounds, each with every server once, in rotating order [5]
    --seconds N          measured seconds per server and round [3]
    --warm-up N          seconds of load before that [0.5]
    --threads N          worker threads of each server, as TOKIO_WORKER_THREADS [all cores but one]

Servers: a command, split at spaces, that gets an address to listen on as its last argument and prints a line
`... listening on <address>`. In a command with {port} that word becomes a free port instead, and the server is up when
that port accepts.
    --cereus COMMAND     [builds and runs the example `echo` of the workspace]
    --baseline COMMAND   [builds and runs cereus-bench-baseline]
    --peer NAME=COMMAND  one more Pitaya server; may be repeated

Two equal servers show the noise:
    cargo run --release -p cereus-bench --bin echo -- --cereus target/release/cereus-bench-baseline
";

/// What to compare, and how.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) connections: usize,
    pub(crate) depths: Vec<usize>,
    pub(crate) body: usize,
    pub(crate) route: String,
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) threads: usize,
    pub(crate) cereus: Option<String>,
    pub(crate) baseline: Option<String>,
    /// Names and commands.
    pub(crate) peers: Vec<(String, String)>,
}

/// What the user asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Args),
    Help,
}

impl Default for Args {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            connections: 50,
            depths: vec![1, 16],
            body: 64,
            route: "echo.raw".to_owned(),
            rounds: 5,
            window: Duration::from_secs(3),
            warm_up: Duration::from_millis(500),
            // The loader takes the last one.
            threads: cores.saturating_sub(1).max(1),
            cereus: None,
            baseline: None,
            peers: Vec::new(),
        }
    }
}

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Parsed, Box<dyn Error>> {
        let mut args = Self::default();
        while let Some(option) = words.next() {
            if matches!(option.as_str(), "--help" | "-h") {
                return Ok(Parsed::Help);
            }
            let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--connections" => args.connections = positive(&option, &value()?)?,
                "--depth" => {
                    args.depths =
                        value()?.split(',').map(|depth| positive(&option, depth)).collect::<Result<_, _>>()?;
                }
                "--body" => args.body = number(&option, &value()?)?,
                "--route" => args.route = value()?,
                "--rounds" => args.rounds = positive(&option, &value()?)?,
                "--seconds" => args.window = seconds(&option, &value()?)?,
                "--warm-up" => args.warm_up = seconds(&option, &value()?)?,
                "--threads" => args.threads = positive(&option, &value()?)?,
                "--cereus" => args.cereus = Some(value()?),
                "--baseline" => args.baseline = Some(value()?),
                "--peer" => {
                    let value = value()?;
                    let (name, command) = value
                        .split_once('=')
                        .ok_or("--peer needs NAME=COMMAND, such as go='/tmp/echo --port {port}'")?;
                    if [BASELINE, CEREUS].contains(&name) || args.peers.iter().any(|(peer, _)| peer == name) {
                        return Err(format!("two servers are named {name}").into());
                    }
                    args.peers.push((name.to_owned(), command.to_owned()));
                }
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        args.check()?;
        Ok(Parsed::Run(args))
    }

    fn check(&self) -> Result<(), Box<dyn Error>> {
        if self.window.is_zero() {
            return Err("--seconds must be more than 0".into());
        }
        if self.route.len() > 255 {
            return Err("--route is longer than the 255 bytes that the protocol allows".into());
        }
        // The type byte, a varint, the route with its length, and the body share one packet.
        if self.body + self.route.len() + 12 > 0xff_ffff {
            return Err("--body does not fit into one packet".into());
        }
        Ok(())
    }
}

fn number<T: FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} needs a number, not `{value}`"))
}

fn positive(option: &str, value: &str) -> Result<usize, String> {
    match number(option, value)? {
        0 => Err(format!("{option} must be at least 1")),
        number => Ok(number),
    }
}

fn seconds(option: &str, value: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(option, value)?).map_err(|_| format!("{option} needs seconds, not `{value}`"))
}
