//! What is written over and over while something runs.

use std::{collections::BTreeMap, io::Write};

/// How many values the small plot shows.
pub(crate) const WIDTH: usize = 60;

/// Lines on stderr that are written over, on a terminal; one after the other elsewhere.
#[derive(Debug)]
pub(crate) struct Screen {
    kind: Kind,
    /// How many lines there are to be written over.
    lines: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Quiet,
    Plain,
    Terminal,
}

impl Screen {
    pub(crate) const fn new(quiet: bool, terminal: bool) -> Self {
        let kind = match (quiet, terminal) {
            (true, _) => Kind::Quiet,
            (_, true) => Kind::Terminal,
            _ => Kind::Plain,
        };
        Self { kind, lines: 0 }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn write(&mut self, text: &str) {
        let mut err = std::io::stderr().lock();
        if self.kind != Kind::Terminal {
            // Nobody is there to be told that nobody is there.
            let _ = write!(err, "{text}");
            return;
        }
        // Up to the first line, and away with all that follows. What is too long for a line is cut off, or there were more lines.
        let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        let _ = write!(err, "{up}\x1b[?7l{text}\x1b[?7h");
        self.lines = text.matches('\n').count();
    }

    /// What was written over is gone: the report follows.
    pub(crate) fn end(&mut self) {
        if self.kind == Kind::Terminal {
            self.write("");
        }
    }
}

/// The latest of these values, as a line.
pub(crate) fn plot(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(WIDTH)..];
    let most = shown.iter().copied().fold(1.0, f64::max);
    shown.iter().map(|value| LEVELS[((value / most * 7.0).round() as usize).min(7)]).collect()
}

pub(crate) fn bar(done: f64) -> String {
    let full = (done.clamp(0.0, 1.0) * 20.0).round() as usize;
    format!("[{}{}]", "█".repeat(full), " ".repeat(20 - full))
}

/// How often which error came.
pub(crate) fn errors(errors: &BTreeMap<String, u64>) -> String {
    let listed: Vec<_> = errors.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
}
