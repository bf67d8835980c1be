//! What is measured.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::measure::{Sum, histogram, micros};

/// How the texts begin of what a connection that ended has lost.
pub(super) const LOST: &str = "connection lost";

/// What happened within some time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Latencies in microseconds, one histogram for each entry of the mix.
    pub(super) latency: Vec<Histogram<u64>>,
    /// How much later than it should a message was sent, in microseconds.
    pub(super) lag: Histogram<u64>,
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// By code, or by what happened.
    pub(super) errors: BTreeMap<String, u64>,
    /// Bytes of bodies that came.
    pub(super) bytes: u64,
}

impl Sample {
    pub(super) fn new(entries: usize) -> Self {
        Self {
            latency: (0..entries).map(|_| histogram()).collect(),
            lag: histogram(),
            sent: 0,
            answered: 0,
            errors: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// The latencies of all entries.
    pub(super) fn all(&self) -> Histogram<u64> {
        let mut all = histogram();
        for histogram in &self.latency {
            let _ = all.add(histogram);
        }
        all
    }

    /// What counts of a warm-up: a connection that was lost does not come back.
    pub(super) fn losses(&self) -> Self {
        let lost = self.errors.iter().filter(|(what, _)| what.starts_with(LOST));
        Self { errors: lost.map(|(what, count)| (what.clone(), *count)).collect(), ..Self::new(self.latency.len()) }
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(super) fn sent(&mut self, lag: Option<Duration>) {
        self.sent += 1;
        if let Some(lag) = lag {
            let _ = self.lag.record(micros(lag));
        }
    }

    pub(super) fn answered(&mut self, entry: usize, latency: Duration, bytes: usize) {
        self.answered += 1;
        self.bytes += bytes as u64;
        let _ = self.latency[entry].record(micros(latency));
    }

    pub(super) fn failed_with(&mut self, code: &str) {
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(code.to_owned(), 1)),
        }
    }
}

impl Sum for Sample {
    fn add(&mut self, other: &Self) {
        for (own, other) in self.latency.iter_mut().zip(&other.latency) {
            // Both grow as they need to.
            let _ = own.add(other);
        }
        let _ = self.lag.add(&other.lag);
        self.sent += other.sent;
        self.answered += other.answered;
        self.bytes += other.bytes;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    fn clear(&mut self) {
        self.latency.iter_mut().for_each(Histogram::reset);
        self.lag.reset();
        (self.sent, self.answered, self.bytes) = (0, 0, 0);
        self.errors.clear();
    }
}
