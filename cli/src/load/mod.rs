//! `cereus load`: many connections that ask, and how long answers take.

mod html;
mod line;
mod live;
mod mix;
mod record;
mod report;
mod run;

use std::{fs, io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};

use self::{live::Live, mix::Mix, report::Report};
use crate::{
    connect::{Connect, seconds},
    failure::Failure,
    output::print_line,
};

/// Load a server and report how long its answers take.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// tcp://host:port, tls://host:port, ws://host:port/path or wss://host:port/path.
    address: String,
    /// Whom to ask: service.method, or servertype.service.method.
    #[arg(long, value_name = "ROUTE", required_unless_present = "mix")]
    route: Option<String>,
    /// The body of each request.
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "mix")]
    body: String,
    /// Requests and notifies to choose from, a JSON file: [{"route": "room.join", "body": {"n": 1}, "weight": 3, "notify": false}].
    #[arg(long, value_name = "FILE", conflicts_with = "route")]
    mix: Option<PathBuf>,
    /// How many connections.
    #[arg(short, long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Open loop: so many messages per second in all, sent when it is time for them, however late the answers are. Latency
    /// counts from the time when a message should have been sent.
    #[arg(short, long, value_name = "PER SECOND", default_value = "1000", conflicts_with = "closed", value_parser = rate)]
    rate: f64,
    /// Closed loop: so many requests in flight on each connection; the next is sent when an answer comes. Tells what a server
    /// can do at most, and hides how long players would wait.
    #[arg(long, value_name = "IN FLIGHT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    closed: Option<u32>,
    /// How the open loop spaces messages.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    arrivals: Arrivals,
    /// How long to measure, in seconds.
    #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// How long to load before measuring, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Over how long the connections come, in seconds. Default: as fast as the server takes them.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    ramp: Option<Duration>,
    /// Threads. Default: one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write the distribution of latencies to this file, as HdrHistogram's tools plot it.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write one line for each second to this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with plots to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Show nothing while it runs.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Arrivals {
    /// As if each came from somebody else: the time between two of them is left to chance.
    Poisson,
    /// One after the other, at equal distances on each connection.
    Even,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "this is no number".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("this must be more than nothing".to_owned()) }
}

/// What drives the load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loop {
    Open { rate: f64, arrivals: Arrivals },
    Closed { depth: u32 },
}

impl Load {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mix = match &self.mix {
            Some(file) => Mix::read(file)?,
            None => Mix::one(self.route.as_deref().unwrap_or_default(), &self.body),
        };
        if self.closed.is_some() && mix.only_notifies() {
            return Err(Failure::Usage("a closed loop needs a request to wait for: the mix has only notifies".into()));
        }
        // What cannot be written is told now and not when all is over.
        for file in [&self.hdr, &self.csv, &self.html].into_iter().flatten() {
            fs::File::create(file).map_err(|error| cannot_write(file, &error))?;
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Some(threads) = self.threads {
            builder.worker_threads(threads.into());
        }
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Failed(format!("threads cannot be started: {error}")))?;
        let live = Live::new(self.quiet, std::io::stderr().is_terminal());
        let report = runtime.block_on(run::run(&self, mix, live))?;
        self.write(&report)?;
        runtime.shutdown_background();
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    pub(crate) fn driven_by(&self) -> Loop {
        match self.closed {
            Some(depth) => Loop::Closed { depth },
            None => Loop::Open { rate: self.rate, arrivals: self.arrivals },
        }
    }

    fn write(&self, report: &Report) -> Result<(), Failure> {
        let files = [(&self.hdr, report.hdr()), (&self.csv, report.csv()), (&self.html, html::page(report))];
        for (file, text) in files {
            if let Some(file) = file {
                fs::write(file, text).map_err(|error| cannot_write(file, &error))?;
            }
        }
        print_line(&if self.json { report.json().to_string() } else { report.text().trim_end().to_owned() })
    }
}

fn cannot_write(file: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be written: {error}", file.display()))
}
