//! The command line.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// What every comparison lets one choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections of the loader.
    pub clients: usize,
    /// Requests in flight per connection: one comparison each.
    pub depths: Vec<usize>,
    /// Bytes in a request's body.
    pub body: usize,
    /// Rounds, each with every server once.
    pub rounds: usize,
    /// What is measured of each server in a round.
    pub window: Duration,
    /// The load before that.
    pub warm_up: Duration,
    /// Worker threads of each server.
    pub threads: usize,
}

/// What the user asks for.
#[derive(Debug)]
pub enum Parsed<T> {
    /// To measure.
    Run(T),
    /// To be told how.
    Help,
}

/// A value of an option, which is asked for only by those that have one.
pub type Value<'a> = &'a mut dyn FnMut() -> Result<String, String>;

impl Options {
    /// The defaults, where these depths are compared.
    pub fn new(depths: &[usize]) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            clients: 50,
            depths: depths.to_vec(),
            body: 64,
            rounds: 5,
            window: Duration::from_secs(3),
            warm_up: Duration::from_millis(500),
            // The loader takes the last one.
            threads: cores.saturating_sub(1).max(1),
        }
    }

    /// What `--help` says of them.
    pub fn help(&self) -> String {
        let depths: Vec<String> = self.depths.iter().map(usize::to_string).collect();
        format!(
            "\
Load
    --clients N          connections [{}]
    --depth N,N          requests in flight per connection; one comparison each [{}]
    --body N             bytes in a request's body [{}]

Measuring
    --rounds N           rounds, each with every server once, in rotating order [{}]
    --seconds N          measured seconds per server and round [{}]
    --warm-up N          seconds of load before that [{}]
    --threads N          worker threads of each server, as TOKIO_WORKER_THREADS [all cores but one]
",
            self.clients,
            depths.join(","),
            self.body,
            self.rounds,
            self.window.as_secs_f64(),
            self.warm_up.as_secs_f64()
        )
    }

    /// Reads the command line. `own` takes an option that only this program has, and says whether it has it.
    ///
    /// # Errors
    ///
    /// An option is unknown or has a value that it cannot have.
    pub fn parse(
        mut self,
        words: impl Iterator<Item = String>,
        mut own: impl FnMut(&str, Value<'_>) -> Result<bool, Box<dyn Error>>,
    ) -> Result<Parsed<Self>, Box<dyn Error>> {
        let help = read(words, |option, value| {
            match option {
                // The second is how it was called first.
                "--clients" | "--connections" => self.clients = positive(option, &value()?)?,
                "--depth" => {
                    self.depths = value()?.split(',').map(|depth| positive(option, depth)).collect::<Result<_, _>>()?;
                }
                "--body" => self.body = number(option, &value()?)?,
                "--rounds" => self.rounds = positive(option, &value()?)?,
                "--seconds" => self.window = seconds(option, &value()?)?,
                "--warm-up" => self.warm_up = seconds(option, &value()?)?,
                "--threads" => self.threads = positive(option, &value()?)?,
                _ => return own(option, value),
            }
            Ok(true)
        })?;
        if self.window.is_zero() {
            return Err("--seconds must be more than 0".into());
        }
        // Room is left for the head of the packet and for the route, which the protocol limits to 255 bytes.
        if self.body > 0xff_ffff - 512 {
            return Err("--body does not fit into one packet".into());
        }
        Ok(if help { Parsed::Help } else { Parsed::Run(self) })
    }
}

/// Goes through a command line. Returns whether help was asked for; nothing more is read then.
///
/// # Errors
///
/// What `take` says, and an option that it does not know.
pub fn read(
    mut words: impl Iterator<Item = String>,
    mut take: impl FnMut(&str, Value<'_>) -> Result<bool, Box<dyn Error>>,
) -> Result<bool, Box<dyn Error>> {
    while let Some(option) = words.next() {
        if matches!(option.as_str(), "--help" | "-h") {
            return Ok(true);
        }
        let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
        if !take(&option, &mut value)? {
            return Err(format!("unknown option {option}").into());
        }
    }
    Ok(false)
}

/// Runs a comparison: exit code 0 when every bar holds, 1 when one does not or something failed, 2 for a wrong command line.
pub fn main<T>(
    program: &str,
    help: &str,
    parsed: Result<Parsed<T>, Box<dyn Error>>,
    run: impl FnOnce(&T) -> Result<bool, Box<dyn Error>>,
) -> ExitCode {
    let options = match parsed {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            // Whoever closed stdout does not want to read it.
            let _ = io::stdout().write_all(help.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{program}: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A number.
///
/// # Errors
///
/// It is none.
pub fn number<T: FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} needs a number, not `{value}`"))
}

/// A number from 1 on.
///
/// # Errors
///
/// It is none.
pub fn positive(option: &str, value: &str) -> Result<usize, String> {
    match number(option, value)? {
        0 => Err(format!("{option} must be at least 1")),
        number => Ok(number),
    }
}

fn seconds(option: &str, value: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(option, value)?).map_err(|_| format!("{option} needs seconds, not `{value}`"))
}
