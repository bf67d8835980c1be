use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

use serde_json::{Value, json};

use super::stats::Sample;
use crate::measure::{count, line, quantiles};

/// What bots did. Printed, it is for people.
#[derive(Clone, Debug)]
pub struct Report {
    total: Sample,
    took: Duration,
}

impl Report {
    pub(super) const fn new(total: Sample, took: Duration) -> Self {
        Self { total, took }
    }

    /// Whether there were runs, and none failed.
    pub const fn is_good(&self) -> bool {
        self.total.runs > 0 && self.total.failed == 0
    }

    /// How many runs there were.
    pub const fn runs(&self) -> u64 {
        self.total.runs
    }

    /// How many of them failed.
    pub const fn failures(&self) -> u64 {
        self.total.failed
    }

    /// How many requests were answered, be it with an error.
    pub fn answers(&self) -> u64 {
        self.total.answered()
    }

    /// How many requests ended with which error: the code of the server's, or what happened instead of an answer.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.total.errors()
    }

    /// All of it for programs. Latencies are in microseconds.
    pub fn json(&self) -> Value {
        let Sample { runs, failed, routes, notifies, pushes, dropped, failures } = &self.total;
        let routes = routes.iter().map(|(route, asked)| {
            let latency = quantiles(&asked.latency);
            json!({
                "route": route, "answered": asked.latency.len(), "latency_us": latency,
                "errors": asked.errors, "unanswered": asked.unanswered,
            })
        });
        let failures = failures
            .iter()
            .map(|(place, failed)| json!({ "at": place, "count": failed.count, "example": failed.example }));
        json!({
            "runs": runs,
            "failed": failed,
            "seconds": self.took.as_secs_f64(),
            "answered": self.total.answered(),
            "notifies": notifies,
            "pushes": pushes,
            "pushes_dropped": dropped,
            "latency_us": quantiles(&self.total.all()),
            "routes": routes.collect::<Vec<_>>(),
            "errors": self.total.errors(),
            "failures": failures.collect::<Vec<_>>(),
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { runs, failed, routes, notifies, pushes, dropped, failures } = &self.total;
        let (all, seconds) = (self.total.all(), self.took.as_secs_f64());
        writeln!(f, "runs       {runs}, {failed} failed, in {seconds:.1} s")?;
        let rate = count(all.len() as f64 / seconds.max(1e-9));
        writeln!(f, "answers    {}, {rate} per second; {notifies} notifies, {pushes} pushes taken", all.len())?;
        if *dropped > 0 {
            writeln!(f, "dropped    {dropped} pushes, the oldest of those that nobody listened to")?;
        }
        if !all.is_empty() {
            writeln!(f, "latency    {}", line(&all))?;
        }
        for (route, asked) in routes.iter().filter(|(_, asked)| !asked.latency.is_empty()) {
            writeln!(f, "           {} of {route}: {}", asked.latency.len(), line(&asked.latency))?;
        }
        let mut name = "errors";
        for (route, asked) in routes {
            for (code, count) in asked.errors.iter().chain(&asked.unanswered) {
                writeln!(f, "{name:10} {count} x {code} ({route})")?;
                name = "";
            }
        }
        if name == "errors" {
            writeln!(f, "{name:10} none")?;
        }
        let mut name = "failed";
        for (place, failed) in failures {
            let told = told(place, &failed.example);
            writeln!(f, "{name:10} {} x {place}{told}", failed.count)?;
            name = "";
        }
        Ok(())
    }
}

/// What a failure says beside its place, which may be the beginning of it, or all.
fn told(place: &str, example: &str) -> String {
    if place.ends_with(example) {
        return String::new();
    }
    let rest = example.strip_prefix(place).and_then(|rest| rest.strip_prefix(": "));
    format!(": {}", rest.unwrap_or(example))
}
