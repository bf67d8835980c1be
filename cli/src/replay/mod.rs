//! `cereus replay`: a recording against another server, and which of its answers differ.

mod compare;
mod plan;
mod play;
mod report;
mod send;
mod session;
mod values;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::Value;

use self::{
    plan::Plan,
    play::{Options, Player},
    values::Values,
};
use crate::{
    connect::{Trust, header, seconds},
    failure::Failure,
    link::Server,
    output::print_line,
    path::Pattern,
};

/// What `--help` ends with.
pub(crate) const AFTER_HELP: &str = "\
Examples:
  cereus replay session.jsonl tcp://localhost:3250
  cereus replay session.jsonl wss://staging.example.com --ignore time --ignore 'members[*].id' --set token=abc
  cereus replay session.jsonl tcp://localhost:3250 --session 2 --speed 1 --json

A message is sent when all answers are there that were there when it was recorded, so what was pipelined is pipelined again. A \
value of an answer that is another one now and is sent later, such as a session's token, is sent as it is now; --no-learn turns \
that off. README.md tells the rules.

The command ends with 0 if all answers and pushes were the same, with 1 if something differed or the server cannot be reached, \
with 2 if it was asked wrongly.";

/// Play a recording against a server, and report what differs.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// What `cereus record` wrote.
    file: PathBuf,
    /// tcp://host:port, tls://host:port, ws://host:port/path or wss://host:port/path.
    address: String,
    /// Play only this session.
    #[arg(long, value_name = "N")]
    session: Option<u32>,
    /// How much faster than it was recorded: 1 keeps the pauses between messages, 2.5 shortens them, max leaves them out.
    #[arg(long, value_name = "FACTOR", default_value = "max", value_parser = speed)]
    speed: Speed,
    /// Do not compare what is there in answers, pushes and the answer to the handshake: 'time', 'members[*].id', '**.at',
    /// 'route:room.join#code'. May be given several times.
    #[arg(long, value_name = "PATH")]
    ignore: Vec<Pattern>,
    /// Neither compare pushes nor wait for them.
    #[arg(long)]
    no_pushes: bool,
    /// What was redacted as NAME: a text, or JSON if written as NAME:=JSON. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, Value)>,
    /// Send values as they were recorded, also when the server gave other ones this time.
    #[arg(long)]
    no_learn: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: Trust,
    /// A line for the head of the request that asks for a WebSocket, such as 'Origin: https://example.com'.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, help_heading = "Connection")]
    header: Vec<(String, String)>,
    /// How long a connection, an answer and a push may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "Connection")]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Speed {
    Max,
    Times(f64),
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("this must be 'max' or a number above 0".to_owned()),
    }
}

fn setting(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as 'name=value' or 'name:=json'")?;
    match name.strip_suffix(':') {
        None => Ok((name.to_owned(), value.into())),
        Some(name) => {
            let json = serde_json::from_str(value).map_err(|error| format!("`{value}` is no JSON: {error}"))?;
            Ok((name.to_owned(), json))
        }
    }
}

impl Replay {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let server = Server::new(&self.address, &self.trust, self.header.clone(), self.timeout)?;
        let plan = Plan::read(&self.file, self.session)?;
        let values = self.values(&plan)?;
        let speed = match self.speed {
            Speed::Max => None,
            Speed::Times(times) => Some(times),
        };
        let options = Options { server, speed, patience: self.timeout, ignore: self.ignore, pushes: !self.no_pushes };
        let report = Player::new(&plan, &options, values).play().await?;
        print_line(&if self.json { report.json().to_string() } else { report.text() })?;
        Ok(if report.is_same() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    /// The values that are known before it begins. What nobody will tell must be given.
    fn values(&self, plan: &Plan) -> Result<Values, Failure> {
        let values = Values::new(plan, &self.set, !self.no_learn).map_err(Failure::usage)?;
        match values.never_told(plan) {
            None => Ok(values),
            Some((session, placeholder)) => Err(Failure::usage(format!(
                "{placeholder} of session {session} was redacted, and no answer before tells it: {}",
                values::how_to_set(&placeholder)
            ))),
        }
    }
}
