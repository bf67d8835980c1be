//! The page with plots: one file, without anything from elsewhere.

use std::{fmt::Write as _, iter};

use hdrhistogram::Histogram;

use super::report::{Report, Row};
use crate::{
    measure::{QUANTILES, count, percentile},
    output::escape_html,
};

const STYLE: &str = include_str!("page.css");

/// How many parts an axis is divided into at most.
const PARTS: f64 = 8.0;

/// From five of it on a unit is used: how large each is, and what it is called.
type Units = [(f64, &'static str)];
const RATE: &Units = &[(1.0, ""), (1e3, " k")];
const LATENCY: &Units = &[(1.0, " us"), (1e3, " ms"), (1e6, " s")];
const TIME: &Units = &[(1.0, " s"), (60.0, " min")];

pub(super) fn page(report: &Report) -> String {
    let (address, total, rows) = (escape_html(&report.address), &report.total, &report.rows);
    let all = total.all();
    let mut body = format!(
        "<h1>{address}</h1>\n<p>{}, {:.1} s: {} answers, {} sent</p>\n",
        report.how(),
        report.took.as_secs_f64(),
        total.answered,
        total.sent
    );
    if let Some(limit) = report.limit() {
        let _ = writeln!(body, "<p class=\"c\">{limit}</p>");
    }
    body.push_str("<div class=\"tiles\">\n");
    let _ = writeln!(body, "<div><b>{}</b><span>answers/s</span></div>", count(report.throughput()));
    for (name, quantile) in QUANTILES {
        let _ = writeln!(body, "<div><b>{}</b><span>{name}</span></div>", percentile(&all, quantile));
    }
    let _ = writeln!(body, "<div><b>{}</b><span>errors</span></div>\n</div>", total.failed());

    let mut rates = vec![
        Line::new("sent", "b", rows, |row| row.sent_per_second),
        Line::new("answered", "a", rows, |row| row.answered_per_second),
    ];
    if total.failed() > 0 {
        rates.push(Line::new("errors", "c", rows, |row| row.errors_per_second));
    }
    let time = Axis::new(rows.last().map_or(1.0, |row| row.at.max(1e-3)), TIME);
    plot(&mut body, "Messages per second", &rates, &time, RATE);
    if !all.is_empty() {
        latencies(&mut body, rows, &time, &all);
    }
    routes(&mut body, report);
    errors(&mut body, report);
    let _ = write!(body, "<h2>Generator</h2>\n<p>{}</p>\n", report.generator().join("<br>"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Load of {address}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn latencies(body: &mut String, rows: &[Row], time: &Axis, all: &Histogram<u64>) {
    let lines = [
        Line::new("max", "c", rows, |row| row.max as f64),
        Line::new("p99", "b", rows, |row| row.p99 as f64),
        Line::new("p50", "a", rows, |row| row.p50 as f64),
    ];
    plot(body, "Latency over time", &lines, time, LATENCY);
    let points = all
        .iter_quantiles(4)
        .filter(|value| value.quantile_iterated_to() < 1.0)
        .map(|value| (-(1.0 - value.quantile_iterated_to()).log10(), value.value_iterated_to() as f64));
    let line = Line { name: "latency", color: "a", points: points.collect() };
    let percentiles = Axis::percentiles(line.points.last().map_or(1.0, |(digits, _)| *digits));
    plot(body, "Latency by percentile", &[line], &percentiles, LATENCY);
}

fn routes(body: &mut String, report: &Report) {
    body.push_str("<h2>Routes</h2>\n<div class=\"wide\"><table>\n<tr><th>route<th>answers");
    for (name, _) in QUANTILES {
        let _ = write!(body, "<th>{name}");
    }
    for (route, histogram) in report.routes.iter().zip(&report.total.latency) {
        let _ = write!(body, "\n<tr><td>{}<td>{}", escape_html(route), histogram.len());
        for (_, quantile) in QUANTILES {
            let _ = write!(body, "<td>{}", percentile(histogram, quantile));
        }
    }
    body.push_str("\n</table></div>\n");
}

fn errors(body: &mut String, report: &Report) {
    if report.total.errors.is_empty() {
        return;
    }
    body.push_str("<h2>Errors</h2>\n<div class=\"wide\"><table>\n<tr><th>what<th>how often");
    for (code, count) in &report.total.errors {
        let _ = write!(body, "\n<tr><td>{}<td>{count}", escape_html(code));
    }
    body.push_str("\n</table></div>\n");
}

struct Line {
    name: &'static str,
    color: &'static str,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// Each row tells of the time since the one before.
    fn new(name: &'static str, color: &'static str, rows: &[Row], value: impl Fn(&Row) -> f64) -> Self {
        let begins = iter::once(0.0).chain(rows.iter().map(|row| row.at));
        let points = rows.iter().zip(begins).flat_map(|(row, begin)| [(begin, value(row)), (row.at, value(row))]);
        Self { name, color, points: points.collect() }
    }
}

/// An axis that begins at nothing.
struct Axis {
    end: f64,
    marks: Vec<(f64, String)>,
}

impl Axis {
    /// With marks at round numbers.
    fn new(end: f64, units: &Units) -> Self {
        let (size, unit) = units.iter().rev().find(|(size, _)| end >= 5.0 * size).unwrap_or(&units[0]);
        let least = end / size / PARTS;
        let power = 10_f64.powf(least.log10().floor());
        let step = power * [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= least).unwrap_or(10.0);
        let digits = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        let mark = |mark: u32| (f64::from(mark) * step * size, format!("{:.digits$}{unit}", f64::from(mark) * step));
        Self { end, marks: (0..).map(mark).take_while(|(at, _)| *at <= end).collect() }
    }

    /// Each digit of the percentile is as wide as the one before.
    fn percentiles(end: f64) -> Self {
        let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
        let marks = names.iter().enumerate().map(|(digits, name)| (digits as f64, (*name).to_owned()));
        let end = end.ceil().clamp(1.0, 5.0);
        Self { end, marks: marks.take_while(|(digits, _)| *digits <= end).collect() }
    }

    fn percent(&self, value: f64) -> f64 {
        value / self.end * 100.0
    }
}

/// The lines are stretched to the width of the page, what is written is not.
fn plot(body: &mut String, title: &str, lines: &[Line], x: &Axis, units: &Units) {
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(1.0, f64::max);
    let y = Axis::new(highest * 1.05, units);
    let _ = write!(body, "<figure>\n<figcaption><h2>{title}</h2>");
    for Line { name, color, .. } in lines {
        let _ = write!(body, "<span class=\"{color}\">{name}</span>");
    }
    let _ = write!(
        body,
        "</figcaption>\n<div class=\"plot\"><svg viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{title}\">"
    );
    for (value, _) in &y.marks {
        let _ = write!(body, "<path d=\"M0 {:.2}H100\"/>", 100.0 - y.percent(*value));
    }
    for Line { color, points, .. } in lines {
        let inside = points.iter().filter(|(at, _)| *at <= x.end);
        let points = inside.map(|(at, value)| format!("{:.2},{:.2}", x.percent(*at), 100.0 - y.percent(*value)));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = write!(body, "<polyline class=\"{color}\" points=\"{points}\"/>");
    }
    body.push_str("</svg>\n");
    for (axis, side, class) in [(&y, "bottom", "y"), (x, "left", "x")] {
        for (value, name) in &axis.marks {
            let _ = write!(body, "<span class=\"{class}\" style=\"{side}:{:.2}%\">{name}</span>", axis.percent(*value));
        }
    }
    body.push_str("</div>\n</figure>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        let marks = |end, units| Axis::new(end, units).marks.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(
            marks(0.4, TIME),
            ["0.00 s", "0.05 s", "0.10 s", "0.15 s", "0.20 s", "0.25 s", "0.30 s", "0.35 s", "0.40 s"]
        );
        assert_eq!(marks(2.003, TIME), ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]);
        assert_eq!(marks(600.1, TIME), ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]);
        assert_eq!(marks(538.0, RATE), ["0", "100", "200", "300", "400", "500"]);
        assert_eq!(marks(41_000.0, RATE), ["0 k", "10 k", "20 k", "30 k", "40 k"]);
        assert_eq!(marks(1.05, LATENCY), ["0.0 us", "0.2 us", "0.4 us", "0.6 us", "0.8 us", "1.0 us"]);
        assert_eq!(marks(7370.0, LATENCY), ["0 ms", "1 ms", "2 ms", "3 ms", "4 ms", "5 ms", "6 ms", "7 ms"]);
    }
}
