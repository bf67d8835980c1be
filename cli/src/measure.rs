//! How long things take, measured by many threads at once and told to people.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cereus_client::RequestError;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// How exact a latency is: three digits.
const DIGITS: u8 = 3;

/// The longest that is told apart: an hour.
const LONGEST: u64 = 3_600_000_000;

/// The percentiles that everybody asks for.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Latencies in microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "three digits are allowed")]
    let mut histogram = Histogram::new(DIGITS).expect("three digits are allowed");
    histogram.auto(true);
    histogram
}

/// Rounded up: nothing takes no time.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(LONGEST).clamp(1, LONGEST)
}

/// What happened within some time.
pub(crate) trait Sum {
    fn add(&mut self, other: &Self);
    fn clear(&mut self);
}

/// Where all threads write: in as many places as there are, so that they seldom meet.
#[derive(Debug)]
pub(crate) struct Recorder<S>(Vec<Mutex<S>>);

impl<S: Sum> Recorder<S> {
    pub(crate) fn new(places: usize, empty: impl Fn() -> S) -> Self {
        Self((0..places).map(|_| Mutex::new(empty())).collect())
    }

    /// What one writer, who has this number, writes.
    pub(crate) fn write(&self, writer: usize, write: impl FnOnce(&mut S)) {
        // Nothing panics with the lock held.
        write(&mut self.0[writer % self.0.len()].lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was written since the last time.
    pub(crate) fn take(&self, into: &mut S) {
        for place in &self.0 {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            into.add(&place);
            place.clear();
        }
    }
}

/// What the end of a request is counted as.
pub(crate) fn error_code(error: &RequestError) -> &str {
    match error {
        RequestError::Server(error) if error.code.is_empty() => "error without a code",
        RequestError::Server(error) => &error.code,
        RequestError::Timeout(_) => "no answer in time",
        RequestError::Lost(_) => "connection lost before the answer",
        RequestError::NotConnected(_) => "not sent: no connection",
        RequestError::Full(_) => "not sent: too much waits already",
        _ => "not sent",
    }
}

pub(crate) fn line(histogram: &Histogram<u64>) -> String {
    QUANTILES.map(|(name, quantile)| format!("{name} {}", percentile(histogram, quantile))).join(", ")
}

/// A latency as people read it, if there was any.
pub(crate) fn percentile(histogram: &Histogram<u64>, quantile: f64) -> String {
    if histogram.is_empty() { "-".to_owned() } else { millis(histogram.value_at_quantile(quantile)) }
}

/// Microseconds as people read them.
pub(crate) fn millis(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} us"),
        1000..100_000 => format!("{:.2} ms", micros as f64 / 1e3),
        100_000..10_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A rate as people read it.
pub(crate) fn count(rate: f64) -> String {
    match rate {
        ..100.0 => format!("{rate:.1}"),
        ..100_000.0 => format!("{rate:.0}"),
        _ => format!("{:.0} k", rate / 1e3),
    }
}

/// The same for programs, in microseconds.
pub(crate) fn quantiles(histogram: &Histogram<u64>) -> Value {
    let values = QUANTILES.map(|(name, quantile)| (name.to_owned(), json!(histogram.value_at_quantile(quantile))));
    Value::Object(values.into_iter().collect())
}
