use std::fmt::Write;

use super::{
    super::{
        trace::{Direction, dump},
        verdict::Verdict,
    },
    Report, Row,
    text::head,
};
use crate::output::escape_html;

/// Of one exchange so many bytes are shown.
const MAX_BYTES: usize = 256;

const CSS: &str = include_str!("page.css");

/// The report as one page that needs nothing else, not even scripts.
pub(in super::super) fn html(report: &Report) -> String {
    let address = escape_html(&report.address);
    let family = report.family.name();
    let words = report.summary.words();
    let Report { seconds, version, .. } = report;
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{address}: {words}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n\
         <header>\n<h1>{address}</h1>\n\
         <p>Checked as {family} on {} in {seconds} s by cereus {version}: {words}.</p>\n</header>\n",
        date(report.date)
    );
    filters(&mut out, report);
    out.push_str("<main>\n");
    for row in &report.checks {
        check(&mut out, row);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn filters(out: &mut String, report: &Report) {
    out.push_str("<nav class=\"filters\" aria-label=\"Show\">\n");
    let all = report.checks.len();
    let _ = writeln!(out, "<label><input type=\"radio\" name=\"show\" id=\"show-all\" checked> all {all}</label>");
    for verdict in Verdict::ALL {
        let name = verdict.name();
        let count = report.summary.of(verdict);
        let _ = writeln!(
            out,
            "<label class=\"{name}\"><input type=\"radio\" name=\"show\" id=\"show-{name}\"> {name} {count}</label>"
        );
    }
    out.push_str("</nav>\n");
}

fn check(out: &mut String, row: &Row) {
    let verdict = row.verdict.name();
    let open = if row.verdict == Verdict::Fail { " open" } else { "" };
    let _ = writeln!(
        out,
        "<details class=\"is-{verdict}\" id=\"{id}\"{open}>\n<summary><b class=\"{verdict}\">{verdict}</b> \
         <span>{title}</span> <code>{id} · {section}</code> <span class=\"reason\">{reason}</span></summary>\n\
         <div class=\"exchange\">",
        id = row.id,
        title = escape_html(row.title),
        section = escape_html(row.section),
        reason = escape_html(&row.reason),
    );
    if row.exchange.is_empty() {
        out.push_str("<p>Nothing was sent.</p>\n");
    }
    for entry in &row.exchange {
        let class = match entry.direction {
            Direction::Sent => "sent",
            Direction::Received => "received",
            Direction::Event => "event",
        };
        let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escape_html(&head(entry)));
        let lines = dump(&entry.bytes, entry.length, MAX_BYTES);
        if !lines.is_empty() {
            let _ = writeln!(out, "<pre>{}</pre>", escape_html(&lines.join("\n")));
        }
    }
    out.push_str("</div>\n</details>\n");
}

/// The day and the minute, in UTC.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's days_from_civil, backwards: years begin in March.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_305_599), "2026-11-21 23:59 UTC");
    }
}
