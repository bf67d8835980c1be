//! What is seen while bots play.

use std::time::Duration;

use super::stats::Sample;
use crate::{
    live::{Kind, Screen, WIDTH, bar, errors, plot},
    measure::{count, millis},
};

/// What is seen, second by second.
#[derive(Debug)]
pub(super) struct Live {
    screen: Screen,
    duration: Duration,
    /// Answers per second.
    rates: Vec<f64>,
    before: (Duration, u64),
}

impl Live {
    pub(super) const fn new(screen: Screen, duration: Duration) -> Self {
        Self { screen, duration, rates: Vec::new(), before: (Duration::ZERO, 0) }
    }

    /// `at`: how long it has been going on.
    pub(super) fn show(&mut self, at: Duration, total: &Sample, playing: usize) {
        let (before, answered) = (self.before, total.answered());
        let seconds = at.saturating_sub(before.0).as_secs_f64().max(1e-9);
        let rate = answered.saturating_sub(before.1) as f64 / seconds;
        self.before = (at, answered);
        // No more are shown.
        if self.rates.len() == WIDTH {
            self.rates.remove(0);
        }
        self.rates.push(rate);
        let Sample { runs, failed, .. } = total;
        let (all, rate) = (total.all(), count(rate));
        let [p50, p99] = [0.5, 0.99].map(|quantile| millis(all.value_at_quantile(quantile)));
        let (now, of) = (at.as_secs_f64(), self.duration.as_secs_f64());
        let text = match self.screen.kind() {
            Kind::Quiet => return,
            Kind::Plain => format!(
                "{now:>5.0} s of {of:.0}: {playing} bots play, {runs} runs, {failed} failed, {rate} answers/s, p50 {p50}, p99 {p99}\n"
            ),
            Kind::Terminal => format!(
                "{}  {now:.0} of {of:.0} s, {playing} bots play\n\
                 answers   {rate:>10}/s  {}\n\
                 latency   p50 {p50:>9}   p99 {p99:>9}   max {:>9}\n\
                 runs      {runs}, {failed} failed\n\
                 errors    {}\n",
                bar(now / of.max(1e-9)),
                plot(&self.rates),
                millis(all.max()),
                errors(&total.errors()),
            ),
        };
        self.screen.write(&text);
    }

    /// What was written over is gone: the report follows.
    pub(super) fn end(&mut self) {
        self.screen.end();
    }
}
