use std::{
    env,
    fmt::Write,
    io::{self, IsTerminal},
};

use super::{
    super::{
        trace::{Direction, Entry, dump},
        verdict::Verdict,
    },
    Report, Row,
};

/// Of one exchange so many bytes are shown, and of one check the last exchanges.
const MAX_BYTES: usize = 64;
const MAX_ENTRIES: usize = 6;

/// How the table looks.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Style {
    colours: bool,
    /// Reasons and bytes of all checks, not only of those that did not pass.
    verbose: bool,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub(in super::super) fn new(verbose: bool) -> Self {
        let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: io::stdout().is_terminal() && !is_unwanted, verbose }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn verdict(self, verdict: Verdict) -> String {
        let colour = match verdict {
            Verdict::Pass => "32",
            Verdict::Fail => "1;31",
            Verdict::Warning => "33",
            Verdict::Skipped => "2",
        };
        self.paint(colour, &format!("{:<7}", verdict.name()))
    }
}

/// The report as a table.
pub(in super::super) fn text(report: &Report, style: Style) -> String {
    let width = report.checks.iter().map(|row| row.id.len()).max().unwrap_or_default();
    let mut out = String::new();
    for row in &report.checks {
        let _ = writeln!(out, "{}  {:<width$}  {}", style.verdict(row.verdict), row.id, row.title);
        if row.verdict != Verdict::Pass || style.verbose {
            let _ = writeln!(out, "         {} ({})", row.reason, row.section);
        }
        if style.verbose || row.verdict == Verdict::Fail {
            exchange(&mut out, row, style);
            out.push('\n');
        }
    }
    let words = report.summary.words();
    let colour = if report.is_passed() { "1;32" } else { "1;31" };
    let family = report.family.name();
    let _ = writeln!(out, "\n{} as {family}: {} in {} s", report.address, style.paint(colour, &words), report.seconds);
    out
}

fn exchange(out: &mut String, row: &Row, style: Style) {
    let skipped = row.exchange.len().saturating_sub(MAX_ENTRIES);
    if skipped > 0 {
        let _ = writeln!(out, "         … {skipped} exchanges before");
    }
    for entry in &row.exchange[skipped..] {
        let _ = writeln!(out, "         {}", style.paint("2", &head(entry)));
        for line in dump(&entry.bytes, entry.length, MAX_BYTES) {
            let _ = writeln!(out, "           {line}");
        }
    }
}

/// What an exchange was, without its bytes.
pub(super) fn head(entry: &Entry) -> String {
    let Entry { connection, milliseconds, length, note, .. } = entry;
    let bytes = if *length == 1 { "byte" } else { "bytes" };
    match entry.direction {
        Direction::Sent => format!("{milliseconds:>5} ms  #{connection} sent {length} {bytes}"),
        Direction::Received => format!("{milliseconds:>5} ms  #{connection} received {length} {bytes}"),
        Direction::Event => format!("{milliseconds:>5} ms  #{connection} {note}"),
    }
}
