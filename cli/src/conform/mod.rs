//! `cereus conform`: whether a server keeps to the protocol, byte by byte.

mod bytes;
mod check;
mod checks;
mod offer;
mod peer;
mod probe;
mod progress;
mod report;
mod run;
mod trace;
mod verdict;
mod websocket;
mod wire;

use std::{ffi::OsStr, fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;

use self::{
    check::Check,
    offer::Offer,
    progress::Progress,
    report::{Report, Style},
    run::Run,
    wire::Target,
};
use crate::{
    connect::{Trust, header, seconds},
    failure::Failure,
    output::print_line,
};

/// What `--help` ends with.
pub(crate) const AFTER_HELP: &str = "\
Examples:
  cereus conform --example > routes.toml
  cereus conform tcp://localhost:3250 --routes routes.toml --report report.html
  cereus conform ws://localhost:3251 --routes routes.toml --only handshake

Without --routes only what needs no handler is checked, as for a server of Pitaya; the rest is skipped.

The command ends with 0 if nothing failed (checks may be skipped, or give a warning), with 1 if a check failed or the server \
cannot be reached, with 2 if it was asked wrongly.";

/// Check a server.
#[derive(Args, Debug)]
pub(crate) struct Conform {
    /// tcp://host:port, tls://host:port, ws://host:port/path or wss://host:port/path.
    #[arg(required_unless_present_any = ["example", "list"])]
    address: Option<String>,
    /// What the server offers: its family, and routes to try.
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    /// Print a file of routes with comments, to begin with.
    #[arg(long)]
    example: bool,
    /// Print the ids of all checks and what they check.
    #[arg(long)]
    list: bool,
    /// Run only the checks whose id begins so, such as 'handshake' or 'messages.id'. May be given several times.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Wait for heartbeats that are more than three seconds apart, too.
    #[arg(long)]
    slow: bool,
    /// Write a report: one page if the name ends in .html, reasons and bytes as data if in .json. May be given several times.
    #[arg(long, value_name = "FILE", value_parser = report_file)]
    report: Vec<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Show the bytes of all checks, not only of those that fail.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    trust: Trust,
    /// A line for the head of the request that asks for a WebSocket, such as `Origin: https://example.com`.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, help_heading = "Connection")]
    header: Vec<(String, String)>,
    /// How long anything that must come may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, help_heading = "Connection")]
    timeout: Duration,
}

fn report_file(text: &str) -> Result<PathBuf, String> {
    let file = PathBuf::from(text);
    match file.extension().and_then(OsStr::to_str) {
        Some("html" | "json") => Ok(file),
        _ => Err("the name must end in .html or .json".into()),
    }
}

/// Those of the transport.
fn chosen_for(target: &Target, checks: &[&'static Check]) -> Result<Vec<&'static Check>, Failure> {
    let chosen: Vec<_> = checks.iter().copied().filter(|check| check.is_over(target.has_messages())).collect();
    match chosen.is_empty() {
        true => Err(Failure::Usage(format!("none of these checks makes sense over {}", target.address))),
        false => Ok(chosen),
    }
}

impl Conform {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let chosen = self.chosen()?;
        match &self.address {
            _ if self.example => print_line(offer::EXAMPLE.trim_end())?,
            _ if self.list => {
                let line = |Check { id, title, section, .. }: &&Check| format!("{id:<28} {title} ({section})");
                print_line(&chosen.iter().map(line).collect::<Vec<_>>().join("\n"))?;
            }
            Some(address) => return self.check(address, &chosen),
            None => return Err(Failure::Usage("an address is missing".into())),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn chosen(&self) -> Result<Vec<&'static Check>, Failure> {
        let is_chosen = |check: &&Check| self.only.is_empty() || self.only.iter().any(|id| check.id.starts_with(&**id));
        let chosen: Vec<_> = checks::all().filter(is_chosen).collect();
        match chosen.is_empty() {
            true => Err(Failure::Usage(format!("no check begins with {}: see --list", self.only.join(" or ")))),
            false => Ok(chosen),
        }
    }

    fn check(&self, address: &str, checks: &[&'static Check]) -> Result<ExitCode, Failure> {
        let offer = self.routes.as_deref().map(Offer::read).transpose()?.unwrap_or_default();
        let target = Target::new(address, self.header.clone(), &self.trust, self.timeout)?;
        let checks = &chosen_for(&target, checks)?[..];
        let progress = Progress::new(checks.len());
        let run = Run { target: &target, offer: &offer, slow: self.slow, progress: &progress };
        let report = run.all(checks);
        progress.end();
        let report = report?;
        for file in &self.report {
            self.write(&report, file)?;
        }
        let text = if self.json { report.json() } else { report::text(&report, Style::new(self.verbose)) };
        print_line(text.trim_end())?;
        Ok(if report.is_passed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn write(&self, report: &Report, file: &PathBuf) -> Result<(), Failure> {
        let text = match file.extension().and_then(OsStr::to_str) {
            Some("json") => report.json() + "\n",
            _ => report::html(report),
        };
        fs::write(file, text).map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", file.display())))
    }
}
