use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{Arrivals, Load, Loop, mix::Mix, record::Sample};
use crate::measure::{count, line, millis, quantiles};

/// From how much lag on the generator is to blame.
const MAX_LAG: Duration = Duration::from_millis(5);

/// From which share of all cores on the generator is to blame.
const MAX_BUSY: f64 = 0.9;

/// One second.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Seconds since the measurement began.
    pub(super) at: f64,
    pub(super) open: usize,
    pub(super) sent_per_second: f64,
    pub(super) answered_per_second: f64,
    pub(super) errors: u64,
    pub(super) errors_per_second: f64,
    /// Microseconds, as all that follow.
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
    pub(super) lag_p99: u64,
}

impl Row {
    pub(super) fn new(at: Duration, took: Duration, sample: &Sample, open: usize) -> Self {
        let (all, seconds) = (sample.all(), took.as_secs_f64().max(1e-9));
        Self {
            at: at.as_secs_f64(),
            open,
            sent_per_second: sample.sent as f64 / seconds,
            answered_per_second: sample.answered as f64 / seconds,
            errors: sample.failed(),
            errors_per_second: sample.failed() as f64 / seconds,
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            max: all.max(),
            lag_p99: sample.lag.value_at_quantile(0.99),
        }
    }
}

/// All that was measured.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) address: String,
    pub(super) connections: u32,
    pub(super) driven_by: Loop,
    pub(super) routes: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) total: Sample,
    pub(super) took: Duration,
    /// CPU time of this process meanwhile.
    pub(super) busy: Duration,
    cores: usize,
}

impl Report {
    pub(super) fn new(load: &Load, mix: &Mix, rows: Vec<Row>, total: Sample, took: Duration, busy: Duration) -> Self {
        let route = |entry: &super::mix::Entry| {
            let route = String::from_utf8_lossy(entry.route.as_bytes()).into_owned();
            if entry.notify { format!("{route} (notify)") } else { route }
        };
        Self {
            address: load.address.clone(),
            connections: load.connections,
            driven_by: load.driven_by(),
            routes: mix.entries.iter().map(route).collect(),
            rows,
            total,
            took,
            busy,
            cores: std::thread::available_parallelism().map_or(1, Into::into),
        }
    }

    /// Whether there was no error.
    pub(super) fn is_good(&self) -> bool {
        self.total.errors.is_empty() && self.total.answered > 0
    }

    pub(super) fn throughput(&self) -> f64 {
        self.total.answered as f64 / self.took.as_secs_f64()
    }

    fn cores_busy(&self) -> f64 {
        self.busy.as_secs_f64() / self.took.as_secs_f64()
    }

    /// CPU time of this process for each answer, in microseconds.
    pub(super) fn cpu_per_answer(&self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / self.total.answered.max(1) as f64
    }

    /// Why the numbers say more of this generator than of the server, if they do.
    pub(super) fn limit(&self) -> Option<String> {
        let (busy, cores) = (self.cores_busy(), self.cores);
        if busy > MAX_BUSY * cores as f64 {
            return Some(format!(
                "The generator itself was the limit: it took {busy:.1} of the {cores} cores of this machine. \
                 Load from another machine, or with less."
            ));
        }
        let lag = self.total.lag.value_at_quantile(0.99);
        if Duration::from_micros(lag) > MAX_LAG {
            return Some(format!(
                "The generator was late: one message in a hundred was sent {} or more after its time, which counts in the \
                 latencies. Load from another machine, or with less.",
                millis(lag)
            ));
        }
        None
    }

    pub(super) fn how(&self) -> String {
        match self.driven_by {
            Loop::Closed { depth } => {
                format!("closed loop, {depth} in flight on each of {} connections", self.connections)
            }
            Loop::Open { rate, arrivals } => {
                let arrivals = match arrivals {
                    Arrivals::Poisson => "at random times",
                    Arrivals::Even => "evenly",
                };
                format!("open loop, {} per second {arrivals} over {} connections", count(rate), self.connections)
            }
        }
    }

    /// What the generator itself took.
    pub(super) fn generator(&self) -> Vec<String> {
        let (busy, cores, each) = (self.cores_busy(), self.cores, self.cpu_per_answer());
        let mut lines = vec![format!("{busy:.2} of {cores} cores, {each:.2} us of CPU for each answer")];
        if let Loop::Open { .. } = self.driven_by {
            lines.push(format!("sent later than it should: {}", line(&self.total.lag)));
        }
        lines
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}: {}, {:.1} s\n\n", self.address, self.how(), self.took.as_secs_f64());
        let answered = count(self.throughput());
        let _ = writeln!(
            text,
            "answers    {answered} per second, {} in all, {} sent",
            self.total.answered, self.total.sent
        );
        let all = self.total.all();
        let _ = writeln!(text, "latency    {}", line(&all));
        if self.routes.len() > 1 {
            for (route, histogram) in self.routes.iter().zip(&self.total.latency) {
                let _ = writeln!(text, "           {} of {route}: {}", histogram.len(), line(histogram));
            }
        }
        if self.total.errors.is_empty() {
            text.push_str("errors     none\n");
        }
        for (code, count) in &self.total.errors {
            let _ = writeln!(text, "errors     {count} x {code}");
        }
        let _ = writeln!(text, "generator  {}", self.generator().join("\n           "));
        if let Some(limit) = self.limit() {
            let _ = writeln!(text, "\n{limit}");
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let routes = self.routes.iter().zip(&self.total.latency).map(|(route, histogram)| {
            json!({ "route": route, "answered": histogram.len(), "latency_us": quantiles(histogram) })
        });
        json!({
            "address": self.address,
            "load": self.how(),
            "seconds": self.took.as_secs_f64(),
            "sent": self.total.sent,
            "answered": self.total.answered,
            "answered_per_second": self.throughput(),
            "received_bytes": self.total.bytes,
            "latency_us": quantiles(&self.total.all()),
            "routes": routes.collect::<Vec<_>>(),
            "errors": self.total.errors,
            "generator": {
                "cores_busy": self.cores_busy(),
                "cores": self.cores,
                "cpu_us_per_answer": self.cpu_per_answer(),
                "lag_us": quantiles(&self.total.lag),
                "limit": self.limit(),
            },
        })
    }

    pub(super) fn csv(&self) -> String {
        let head =
            "second,connections,sent_per_second,answered_per_second,errors,p50_us,p90_us,p99_us,max_us,lag_p99_us\n";
        let mut text = head.to_owned();
        for row in &self.rows {
            let Row { at, open, sent_per_second, answered_per_second, errors, p50, p90, p99, max, lag_p99, .. } = row;
            let _ = writeln!(
                text,
                "{at:.3},{open},{sent_per_second:.1},{answered_per_second:.1},{errors},{p50},{p90},{p99},{max},{lag_p99}"
            );
        }
        text
    }

    /// What HdrHistogram calls a percentile distribution, in milliseconds.
    pub(super) fn hdr(&self) -> String {
        let all = self.total.all();
        let mut text =
            format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        for value in all.iter_quantiles(5) {
            let (at, quantile) = (value.value_iterated_to() as f64 / 1e3, value.quantile_iterated_to());
            let _ =
                write!(text, "{at:>12.3} {quantile:>14.12} {:>10}", all.count_between(0, value.value_iterated_to()));
            if quantile < 1.0 {
                let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
            }
            text.push('\n');
        }
        let (mean, deviation) = (all.mean() / 1e3, all.stdev() / 1e3);
        let _ = writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
        let _ = writeln!(text, "#[Max     = {:>12.3}, Total count    = {:>12}]", all.max() as f64 / 1e3, all.len());
        let _ = writeln!(text, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", all.buckets(), all.distinct_values());
        text
    }
}
