//! What is seen while it runs.

use std::{io::Write, time::Duration};

use super::{
    record::Sample,
    report::{Row, count, millis},
};

/// How many seconds the small plot shows.
const WIDTH: usize = 60;

/// Lines on stderr that are written over, on a terminal; one for each second elsewhere.
#[derive(Debug)]
pub(super) struct Live {
    kind: Kind,
    /// How many lines there are to be written over.
    lines: usize,
    throughput: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Quiet,
    Plain,
    Terminal,
}

impl Live {
    pub(super) fn new(quiet: bool, terminal: bool) -> Self {
        let kind = match (quiet, terminal) {
            (true, _) => Kind::Quiet,
            (_, true) => Kind::Terminal,
            _ => Kind::Plain,
        };
        Self { kind, lines: 0, throughput: Vec::new() }
    }

    pub(super) fn connecting(&mut self, done: usize, of: usize) {
        if self.kind == Kind::Terminal && (done.is_multiple_of(64) || done == of) {
            self.write(&format!("{done} of {of} connections\n"));
        }
    }

    pub(super) fn show(&mut self, row: &Row, total: &Sample, duration: Duration) {
        self.throughput.push(row.answered_per_second);
        let of = duration.as_secs_f64();
        match self.kind {
            Kind::Quiet => {}
            Kind::Plain => self.write(&format!(
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
                    errors(total),
                    bar = bar(row.at / of),
                    plot = self.plot(),
                );
                self.write(&text);
            }
        }
    }

    /// What was written over is gone: the report follows.
    pub(super) fn end(&mut self) {
        if self.kind == Kind::Terminal {
            self.write("");
        }
    }

    fn plot(&self) -> String {
        const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let shown = &self.throughput[self.throughput.len().saturating_sub(WIDTH)..];
        let most = shown.iter().copied().fold(1.0, f64::max);
        shown.iter().map(|value| LEVELS[((value / most * 7.0).round() as usize).min(7)]).collect()
    }

    fn write(&mut self, text: &str) {
        let mut err = std::io::stderr().lock();
        // Up to the first line, and away with all that follows.
        let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        // Nobody is there to be told that nobody is there.
        let _ = write!(err, "{up}{text}");
        if self.kind == Kind::Terminal {
            self.lines = text.matches('\n').count();
        }
    }
}

fn bar(done: f64) -> String {
    let full = (done.clamp(0.0, 1.0) * 20.0).round() as usize;
    format!("[{}{}]", "█".repeat(full), " ".repeat(20 - full))
}

fn errors(total: &Sample) -> String {
    let listed: Vec<_> = total.errors.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
}
