//! What is counted while bots play.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cereus_client::RequestError;
use hdrhistogram::Histogram;

use super::BotError;
use crate::measure::{Recorder, Sum, error_code, histogram, micros};

/// How many places bots write to.
const PLACES: usize = 16;
/// How many places of failure are told apart: a bot may make up texts.
const MOST_FAILURES: usize = 200;
/// Where the others are counted.
const OTHERS: &str = "at other places";
/// How many codes of errors are told apart for each route: a server may make them up.
const MOST_CODES: usize = 100;
/// What the others are counted as.
const OTHER_CODES: &str = "other codes";

/// All counts, and how many bots play.
#[derive(Debug)]
pub(super) struct Stats {
    recorder: Recorder<Sample>,
    total: Mutex<Sample>,
    playing: AtomicUsize,
}

/// What happened within some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) runs: u64,
    pub(super) failed: u64,
    pub(super) routes: BTreeMap<String, Asked>,
    pub(super) notifies: u64,
    pub(super) pushes: u64,
    /// Pushes that nobody listened to, and for which there was no room.
    pub(super) dropped: u64,
    /// By the place where they failed.
    pub(super) failures: BTreeMap<String, Failed>,
}

/// The requests of one route.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// How long answers took, errors included, in microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) sum: u64,
    /// Answers that were errors, by code.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests without an answer, by what happened.
    pub(super) unanswered: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) count: u64,
    /// What the first of them said.
    pub(super) example: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self { latency: histogram(), sum: 0, errors: BTreeMap::new(), unanswered: BTreeMap::new() }
    }
}

/// The value of a key, made when it is not there. Unlike `entry` it copies no key that is there.
fn at<'a, V: Default>(map: &'a mut BTreeMap<String, V>, key: &str) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), V::default());
    }
    map.get_mut(key).unwrap_or_else(|| unreachable!("it was just put there"))
}

/// Counts an error, or several of the same code.
fn add_errors(errors: &mut BTreeMap<String, u64>, code: &str, count: u64) {
    let is_full = errors.len() >= MOST_CODES && !errors.contains_key(code);
    *at(errors, if is_full { OTHER_CODES } else { code }) += count;
}

impl Sum for Asked {
    fn add(&mut self, other: &Self) {
        // It grows as it needs to.
        let _ = self.latency.add(&other.latency);
        self.sum += other.sum;
        other.errors.iter().for_each(|(code, count)| add_errors(&mut self.errors, code, *count));
        other.unanswered.iter().for_each(|(code, count)| add_errors(&mut self.unanswered, code, *count));
    }

    fn clear(&mut self) {
        self.latency.reset();
        self.sum = 0;
        self.errors.clear();
        self.unanswered.clear();
    }
}

impl Sum for Sample {
    fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.notifies += other.notifies;
        self.pushes += other.pushes;
        self.dropped += other.dropped;
        other.routes.iter().for_each(|(route, asked)| at(&mut self.routes, route).add(asked));
        for (place, failed) in &other.failures {
            self.add_failure(place, failed.count, &failed.example);
        }
    }

    /// Routes stay: most are asked again.
    fn clear(&mut self) {
        self.routes.values_mut().for_each(Sum::clear);
        *self = Self { routes: std::mem::take(&mut self.routes), ..Self::default() };
    }
}

impl Sample {
    fn add_failure(&mut self, place: &str, count: u64, example: &str) {
        let is_new = !self.failures.contains_key(place);
        let place = if is_new && self.failures.len() >= MOST_FAILURES { OTHERS } else { place };
        let new = || Failed { count: 0, example: example.to_owned() };
        self.failures.entry(place.to_owned()).or_insert_with(new).count += count;
    }

    /// The latencies of all routes.
    pub(super) fn all(&self) -> Histogram<u64> {
        let mut all = histogram();
        for asked in self.routes.values() {
            let _ = all.add(&asked.latency);
        }
        all
    }

    pub(super) fn answered(&self) -> u64 {
        self.routes.values().map(|asked| asked.latency.len()).sum()
    }

    /// All errors of all routes, by code or by what happened.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = BTreeMap::new();
        for (code, count) in self.routes.values().flat_map(|asked| asked.errors.iter().chain(&asked.unanswered)) {
            *at(&mut errors, code) += count;
        }
        errors
    }
}

impl Stats {
    pub(super) fn new() -> Self {
        Self { recorder: Recorder::new(PLACES, Sample::default), total: Mutex::default(), playing: AtomicUsize::new(0) }
    }

    /// All that was counted so far.
    pub(super) fn total(&self) -> Sample {
        // Nothing panics with the lock held.
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        self.recorder.take(&mut total);
        total.clone()
    }

    pub(super) fn playing(&self) -> usize {
        self.playing.load(Ordering::Relaxed)
    }

    pub(super) fn begins(&self) {
        self.playing.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ran(&self, bot: u32, group: &str, failure: Option<&BotError>) {
        self.playing.fetch_sub(1, Ordering::Relaxed);
        self.write(bot, |sample| {
            sample.runs += 1;
            if let Some(failure) = failure {
                sample.failed += 1;
                let place = failure.place();
                // Steps name their file themselves.
                let place = if place.starts_with(group) { place } else { format!("{group}: {place}") };
                sample.add_failure(&place, 1, &failure.to_string());
            }
        });
    }

    pub(super) fn asked(&self, bot: u32, route: &str, took: Duration, error: Option<&RequestError>) {
        self.write(bot, |sample| {
            let asked = at(&mut sample.routes, route);
            if let Some(error) = error {
                let is_answer = matches!(error, RequestError::Server(_));
                let errors = if is_answer { &mut asked.errors } else { &mut asked.unanswered };
                add_errors(errors, error_code(error), 1);
                if !is_answer {
                    return;
                }
            }
            let took = micros(took);
            asked.sum += took;
            let _ = asked.latency.record(took);
        });
    }

    pub(super) fn notified(&self, bot: u32) {
        self.write(bot, |sample| sample.notifies += 1);
    }

    pub(super) fn pushed(&self, bot: u32) {
        self.write(bot, |sample| sample.pushes += 1);
    }

    pub(super) fn dropped(&self, bot: u32, count: u64) {
        if count > 0 {
            self.write(bot, |sample| sample.dropped += count);
        }
    }

    fn write(&self, bot: u32, write: impl FnOnce(&mut Sample)) {
        self.recorder.write(bot as usize, write);
    }
}
