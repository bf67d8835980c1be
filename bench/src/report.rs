//! Tables, medians and bars.

use std::io::{self, Write};

use crate::options::Options;

/// One server in one round.
#[derive(Debug)]
pub struct Row {
    /// The number of the round.
    pub round: usize,
    /// The server's name.
    pub server: String,
    /// Answers per second.
    pub throughput: f64,
    /// Microseconds of the server's CPU time per answer.
    pub server_cpu: f64,
    /// The share of one core that the loader took. Near 1 it is the loader that limits the throughput.
    pub loader_busy: f64,
}

/// All runs with one number of requests in flight.
#[derive(Debug)]
pub struct Table<'a> {
    depth: usize,
    /// The server that all others are compared with.
    baseline: &'a str,
    /// The runs.
    pub rows: Vec<Row>,
}

/// What a comparison must reach.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// What a server must reach: in throughput and in CPU per request as ratios, in CPU per request as microseconds more.
pub type Bars = [Option<Bar>; 3];

/// Tells what all runs have in common.
///
/// # Errors
///
/// Those of stdout.
pub fn head(what: &str, options: &Options) -> io::Result<()> {
    writeln!(
        io::stdout(),
        "{what}, {} connections, {}-byte body, {} server thread(s), {} rounds of {} s",
        options.clients,
        options.body,
        options.threads,
        options.rounds,
        options.window.as_secs_f64()
    )
}

impl<'a> Table<'a> {
    /// A table without runs.
    pub const fn new(depth: usize, baseline: &'a str) -> Self {
        Self { depth, baseline, rows: Vec::new() }
    }

    /// Prints it, and returns whether every bar holds.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn print(&self, bars: &dyn Fn(&str) -> Bars, out: &mut impl Write) -> io::Result<bool> {
        writeln!(out, "\n{} in flight per connection", self.depth)?;
        writeln!(
            out,
            "{:>8}  {:<16}{:>12}{:>16}{:>14}",
            "round", "server", "requests/s", "server us/req", "loader busy"
        )?;
        for row in &self.rows {
            let round = (row.round + 1).to_string();
            self.line(&round, row.values(), &row.server, out)?;
        }
        let mut servers: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !servers.contains(&row.server.as_str()) {
                servers.push(&row.server);
            }
        }
        for server in &servers {
            let of = |value| median(self.of(server).map(|row| row.values()[value]));
            self.line("median", [of(0), of(1), of(2)], server, out)?;
        }

        writeln!(out, "\ncompared with {} of the same round: median, lowest to highest", self.baseline)?;
        let mut pass = true;
        for server in servers.into_iter().filter(|server| *server != self.baseline) {
            pass &= self.print_comparison(server, bars(server), out)?;
        }
        out.flush()?;
        Ok(pass)
    }

    /// Whether the server's bars hold.
    fn print_comparison(&self, server: &str, bars: Bars, out: &mut impl Write) -> io::Result<bool> {
        let what = ["throughput, ratio", "server CPU per request, ratio", "server CPU per request, us more"];
        let rounds: Vec<[f64; 3]> = self.compare(server).collect();
        let mut pass = true;
        for (index, (what, bar)) in what.iter().zip(bars).enumerate() {
            let values: Vec<f64> = rounds.iter().map(|round| round[index]).collect();
            let value = median(values.iter().copied());
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let verdict = bar.map_or_else(String::new, |bar| {
                pass &= bar.holds(value);
                bar.verdict(value)
            });
            writeln!(out, "  {server:<16}{what:<34}{value:>7.3}  {lowest:>7.3} to {highest:<7.3}  {verdict}")?;
        }
        Ok(pass)
    }

    fn line(&self, round: &str, values: [f64; 3], server: &str, out: &mut impl Write) -> io::Result<()> {
        let [throughput, cpu, busy] = values;
        let busy = busy * 100.0;
        writeln!(out, "{round:>8}  {server:<16}{throughput:>12.0}{cpu:>16.3}{busy:>12.0} %")
    }

    fn of(&self, server: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.server == server)
    }

    /// What each round says: a server and the baseline were measured within seconds of each other.
    fn compare(&self, server: &str) -> impl Iterator<Item = [f64; 3]> {
        self.of(server).filter_map(|row| {
            let base = self.of(self.baseline).find(|base| base.round == row.round)?;
            Some([row.throughput / base.throughput, row.server_cpu / base.server_cpu, row.server_cpu - base.server_cpu])
        })
    }
}

impl Row {
    fn values(&self) -> [f64; 3] {
        [self.throughput, self.server_cpu, self.loader_busy]
    }
}

impl Bar {
    /// Whether a value reaches it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
        }
    }

    /// Whether a value reaches it, in words.
    pub fn verdict(self, value: f64) -> String {
        let word = if self.holds(value) { "PASS" } else { "FAIL" };
        match self {
            Self::AtLeast(bar) => format!("{word} (at least {bar})"),
            Self::AtMost(bar) => format!("{word} (at most {bar})"),
        }
    }
}

/// The middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
