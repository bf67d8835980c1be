//! What is seen while it runs.

use std::time::Duration;

use super::{record::Sample, report::Row};
use crate::{
    live::{Kind, Screen, bar, errors, plot},
    measure::{count, millis},
};

/// What is seen, second by second.
#[derive(Debug)]
pub(super) struct Live {
    screen: Screen,
    throughput: Vec<f64>,
}

impl Live {
    pub(super) fn new(quiet: bool, terminal: bool) -> Self {
        Self { screen: Screen::new(quiet, terminal), throughput: Vec::new() }
    }

    pub(super) fn connecting(&mut self, done: usize, of: usize) {
        if self.screen.kind() == Kind::Terminal && (done.is_multiple_of(64) || done == of) {
            self.screen.write(&format!("{done} of {of} connections\n"));
        }
    }

    pub(super) fn show(&mut self, row: &Row, total: &Sample, duration: Duration) {
        self.throughput.push(row.answered_per_second);
        let of = duration.as_secs_f64();
        match self.screen.kind() {
            Kind::Quiet => {}
            Kind::Plain => self.screen.write(&format!(
                "{:>5.0} s of {of:.0}: {}/s, p50 {}, p99 {}, max {}, {} errors\n",
                row.at,
                count(row.answered_per_second),
                millis(row.p50),
                millis(row.p99),
                millis(row.max),
                row.errors
            )),
            Kind::Terminal => {
                let all = total.all();
                let text = format!(
                    "{bar}  {:.0} of {of:.0} s, {} connections\n\
                     answers   {:>10}/s  {plot}\n\
                     now       p50 {:>9}   p99 {:>9}   max {:>9}\n\
                     in all    p50 {:>9}   p90 {:>9}   p99 {:>9}   p99.9 {:>9}   max {:>9}\n\
                     errors    {}\n",
                    row.at,
                    row.open,
                    count(row.answered_per_second),
                    millis(row.p50),
                    millis(row.p99),
                    millis(row.max),
                    millis(all.value_at_quantile(0.5)),
                    millis(all.value_at_quantile(0.9)),
                    millis(all.value_at_quantile(0.99)),
                    millis(all.value_at_quantile(0.999)),
                    millis(all.max()),
                    errors(&total.errors),
                    bar = bar(row.at / of),
                    plot = plot(&self.throughput),
                );
                self.screen.write(&text);
            }
        }
    }

    pub(super) fn end(&mut self) {
        self.screen.end();
    }
}
