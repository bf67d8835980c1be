//! What a run found, and how it is told.

use std::time::Duration;

use serde::Serialize;

use super::{
    check::Check,
    offer::Family,
    trace::Entry,
    verdict::{Found, Stop, Verdict},
    wire::Target,
};

mod html;
mod text;

pub(super) use html::html;
pub(super) use text::{Style, text};

/// The report as it is written in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Of this command.
    version: &'static str,
    address: String,
    family: Family,
    /// When the run began, in seconds since 1970.
    date: u64,
    seconds: f64,
    summary: Summary,
    checks: Vec<Row>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Summary {
    pass: usize,
    fail: usize,
    warning: usize,
    skipped: usize,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) id: &'static str,
    title: &'static str,
    section: &'static str,
    pub(super) verdict: Verdict,
    reason: String,
    /// Nobody was served any more.
    pub(super) ended_server: bool,
    seconds: f64,
    exchange: Vec<Entry>,
}

impl Row {
    pub(super) fn new(check: &Check, found: Found, seconds: f64, exchange: Vec<Entry>) -> Self {
        let (verdict, reason) = match found {
            Ok(reason) => (Verdict::Pass, reason),
            Err(stop) => (stop.verdict, stop.reason),
        };
        let Check { id, title, section, .. } = check;
        Self { id, title, section, verdict, reason, ended_server: false, seconds, exchange }
    }

    /// The same with what was found out afterwards.
    pub(super) fn or(self, stop: Stop) -> Self {
        Self { verdict: stop.verdict, reason: stop.reason, ..self }
    }

    /// Nobody is served any more.
    pub(super) fn ended(self) -> Self {
        Self { ended_server: true, ..self }
    }
}

impl Report {
    pub(super) fn new(target: &Target, family: Family, date: u64, time: Duration, checks: Vec<Row>) -> Self {
        let count = |verdict| checks.iter().filter(|row| row.verdict == verdict).count();
        let summary = Summary {
            pass: count(Verdict::Pass),
            fail: count(Verdict::Fail),
            warning: count(Verdict::Warning),
            skipped: count(Verdict::Skipped),
        };
        let seconds = (time.as_secs_f64() * 10.0).round() / 10.0;
        let address = target.address.to_string();
        Self { version: env!("CARGO_PKG_VERSION"), address, family, date, seconds, summary, checks }
    }

    pub(super) fn json(&self) -> String {
        // Nothing in it can fail to be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(super) fn is_passed(&self) -> bool {
        self.summary.fail == 0
    }
}

impl Summary {
    const fn of(self, verdict: Verdict) -> usize {
        match verdict {
            Verdict::Pass => self.pass,
            Verdict::Fail => self.fail,
            Verdict::Warning => self.warning,
            Verdict::Skipped => self.skipped,
        }
    }

    /// As people say it.
    fn words(self) -> String {
        let Self { pass, fail, warning, skipped } = self;
        let warnings = if warning == 1 { "warning" } else { "warnings" };
        format!("{pass} passed, {fail} failed, {warning} {warnings}, {skipped} skipped")
    }
}
