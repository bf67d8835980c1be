//! The page with plots: one file, without anything from elsewhere.

use std::fmt::Write as _;

use super::report::{Report, Row};
use crate::measure::{QUANTILES, count, millis};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
/// What is left for the numbers of the axes.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 28.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2330;--soft:#66707f;--line:#d9dee6;--back:#fff;--a:#2563eb;--b:#d97706;--c:#dc2626}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2d3542;--back:#11151c;--a:#60a5fa;--b:#fbbf24;--c:#f87171}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:960px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:2rem 0 .5rem}p{margin:.3rem 0;color:var(--soft)}\
.warn{color:var(--c);font-weight:600}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}\
th{font-weight:500;color:var(--soft)}svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--soft)}\
.tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}.tiles div{border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;min-width:7rem}\
.tiles b{display:block;font-size:1.25rem}.tiles span{color:var(--soft);font-size:.85rem}";

pub(super) fn page(report: &Report) -> String {
    let all = report.total.all();
    let mut body =
        format!("<h1>{}</h1><p>{}, {:.1} s</p>", escape(&report.address), report.how(), report.took.as_secs_f64());
    if let Some(limit) = report.limit() {
        let _ = write!(body, "<p class=\"warn\">{limit}</p>");
    }
    body.push_str("<div class=\"tiles\">");
    let _ = write!(body, "<div><b>{}</b><span>answers per second</span></div>", count(report.throughput()));
    for (name, quantile) in QUANTILES {
        let _ = write!(body, "<div><b>{}</b><span>{name}</span></div>", millis(all.value_at_quantile(quantile)));
    }
    let _ = write!(body, "<div><b>{}</b><span>errors</span></div></div>", report.total.failed());

    body.push_str("<h2>Answers per second</h2>");
    let throughput = Line::new("answered", "a", &report.rows, |row| row.answered_per_second);
    let sent = Line::new("sent", "b", &report.rows, |row| row.sent_per_second);
    body.push_str(&plot(&[sent, throughput], &Scale::linear(&report.rows), &count));
    body.push_str("<h2>Latency over time</h2>");
    let latencies = [
        Line::new("max", "c", &report.rows, |row| row.max as f64),
        Line::new("p99", "b", &report.rows, |row| row.p99 as f64),
        Line::new("p50", "a", &report.rows, |row| row.p50 as f64),
    ];
    body.push_str(&plot(&latencies, &Scale::linear(&report.rows), &|value| millis(value as u64)));
    body.push_str("<h2>Distribution of latencies</h2>");
    let points = all
        .iter_quantiles(4)
        .filter(|value| value.quantile_iterated_to() < 1.0)
        .map(|value| (-(1.0 - value.quantile_iterated_to()).log10(), value.value_iterated_to() as f64));
    let distribution = Line { name: "latency", color: "a", points: points.collect() };
    body.push_str(&plot(&[distribution], &Scale::quantiles(), &|value| millis(value as u64)));
    body.push_str(&routes(report));
    body.push_str(&errors(report));
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Load of {}</title><style>{STYLE}</style><body>{body}</body></html>\n",
        escape(&report.address)
    )
}

fn routes(report: &Report) -> String {
    let mut table = "<h2>Routes</h2><table><tr><th>route<th>answers".to_owned();
    for (name, _) in QUANTILES {
        let _ = write!(table, "<th>{name}");
    }
    for (route, histogram) in report.routes.iter().zip(&report.total.latency) {
        let _ = write!(table, "<tr><td>{}<td>{}", escape(route), histogram.len());
        for (_, quantile) in QUANTILES {
            let _ = write!(table, "<td>{}", millis(histogram.value_at_quantile(quantile)));
        }
    }
    table + "</table>"
}

fn errors(report: &Report) -> String {
    if report.total.errors.is_empty() {
        return String::new();
    }
    let mut table = "<h2>Errors</h2><table><tr><th>what<th>how often".to_owned();
    for (code, count) in &report.total.errors {
        let _ = write!(table, "<tr><td>{}<td>{count}", escape(code));
    }
    table + "</table>"
}

struct Line {
    name: &'static str,
    color: &'static str,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(name: &'static str, color: &'static str, rows: &[Row], value: impl Fn(&Row) -> f64) -> Self {
        Self { name, color, points: rows.iter().map(|row| (row.at, value(row))).collect() }
    }
}

/// The axis from left to right.
struct Scale {
    from: f64,
    to: f64,
    marks: Vec<(f64, String)>,
}

impl Scale {
    fn linear(rows: &[Row]) -> Self {
        let to = rows.last().map_or(1.0, |row| row.at);
        let marks = (0..=5).map(|mark| (to * f64::from(mark) / 5.0, format!("{:.0} s", to * f64::from(mark) / 5.0)));
        Self { from: 0.0, to, marks: marks.collect() }
    }

    /// Each digit of the percentile is as wide as the one before.
    fn quantiles() -> Self {
        let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
        let marks = names.iter().enumerate().map(|(digits, name)| (digits as f64, (*name).to_owned()));
        Self { from: 0.0, to: 5.0, marks: marks.collect() }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.from) / (self.to - self.from).max(1e-9) * (WIDTH - LEFT - 10.0)
    }
}

fn plot(lines: &[Line], scale: &Scale, label: &dyn Fn(f64) -> String) -> String {
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(1.0, f64::max) * 1.05;
    let y = |value: f64| HEIGHT - BOTTOM - value / highest * (HEIGHT - BOTTOM - 10.0);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for mark in 0..=4 {
        let value = highest * f64::from(mark) / 4.0;
        let at = y(value);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            label(value)
        );
    }
    for (value, name) in &scale.marks {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            scale.x(*value),
            HEIGHT - 8.0
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let inside = line.points.iter().filter(|(x, _)| *x <= scale.to + 1e-9);
        let points: Vec<_> = inside.map(|(x, value)| format!("{:.1},{:.1}", scale.x(*x), y(*value))).collect();
        let color = line.color;
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"var(--{color})\" stroke-width=\"2\" points=\"{}\"/>\
             <text x=\"{:.1}\" y=\"14\" style=\"fill:var(--{color})\">{}</text>",
            points.join(" "),
            LEFT + 10.0 + 80.0 * index as f64,
            line.name
        );
    }
    svg + "</svg>"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
