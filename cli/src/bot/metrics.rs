//! What Prometheus scrapes, with pitaya-bot's names.

use std::fmt::Write as _;

use super::stats::{Asked, Sample};

/// The percentiles of pitaya-bot's summary.
const QUANTILES: [f64; 3] = [0.7, 0.95, 0.99];
/// The bounds of the histogram, in milliseconds.
const BOUNDS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// All metrics as text.
pub(super) fn render(sample: &Sample, game: &str) -> String {
    let mut page = Page { text: String::new(), prefix: format!("pitaya_bot_{}", name(game)), game: label(game) };
    page.head("handler_response_time_ms", "summary", "the time to process a msg in milliseconds");
    for (route, asked) in &sample.routes {
        page.summary(route, asked);
    }
    page.head(
        "handler_response_time_histogram_ms",
        "histogram",
        "histogram of the time to process a msg in milliseconds",
    );
    for (route, asked) in &sample.routes {
        page.histogram(route, asked);
    }
    page.head("handler_error_count", "counter", "the error count: requests without an answer");
    for (route, asked) in &sample.routes {
        page.line("handler_error_count", route, "", asked.unanswered.values().sum::<u64>());
    }
    page.head("handler_error_answer_count", "counter", "answers that were errors, by code");
    for (route, asked) in &sample.routes {
        for (code, count) in &asked.errors {
            page.line("handler_error_answer_count", route, &format!(",code=\"{}\"", label(code)), count);
        }
    }
    page.head("run_count", "counter", "runs of bots");
    page.total("run_count", sample.runs);
    page.head("run_failure_count", "counter", "runs of bots that failed");
    page.total("run_failure_count", sample.failed);
    page.text
}

struct Page {
    text: String,
    prefix: String,
    game: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = &self.prefix;
        let _ = writeln!(self.text, "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} {kind}");
    }

    fn line(&mut self, name: &str, route: &str, labels: &str, value: impl std::fmt::Display) {
        let Self { text, prefix, game } = self;
        let route = label(route);
        let _ = writeln!(
            text,
            "{prefix}_{name}{{clientType=\"pitaya-bot\",game=\"{game}\",route=\"{route}\"{labels}}} {value}"
        );
    }

    fn total(&mut self, name: &str, value: u64) {
        let Self { text, prefix, game } = self;
        let _ = writeln!(text, "{prefix}_{name}{{clientType=\"pitaya-bot\",game=\"{game}\"}} {value}");
    }

    fn summary(&mut self, route: &str, asked: &Asked) {
        for quantile in QUANTILES {
            let labels = format!(",quantile=\"{quantile}\"");
            let value = asked.latency.value_at_quantile(quantile) as f64 / 1e3;
            self.line("handler_response_time_ms", route, &labels, value);
        }
        self.sum("handler_response_time_ms", route, asked);
    }

    fn histogram(&mut self, route: &str, asked: &Asked) {
        for bound in BOUNDS {
            let count = asked.latency.count_between(0, bound * 1000);
            self.line("handler_response_time_histogram_ms_bucket", route, &format!(",le=\"{bound}\""), count);
        }
        self.line("handler_response_time_histogram_ms_bucket", route, ",le=\"+Inf\"", asked.latency.len());
        self.sum("handler_response_time_histogram_ms", route, asked);
    }

    fn sum(&mut self, name: &str, route: &str, asked: &Asked) {
        self.line(&format!("{name}_sum"), route, "", asked.sum as f64 / 1e3);
        self.line(&format!("{name}_count"), route, "", asked.latency.len());
    }
}

/// What names of metrics may hold.
fn name(game: &str) -> String {
    game.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_of_pitaya_bot() {
        let mut sample = Sample { runs: 3, failed: 1, ..Sample::default() };
        let mut asked = Asked { sum: 12_000, ..Asked::default() };
        for micros in [1500, 4500, 6000] {
            asked.latency.record(micros).unwrap();
        }
        asked.errors.insert("PIT-404".to_owned(), 2);
        asked.unanswered.insert("no answer in time".to_owned(), 4);
        sample.routes.insert("room.\"x\"".to_owned(), asked);
        let text = render(&sample, "my-game");
        let labels = r#"{clientType="pitaya-bot",game="my-game",route="room.\"x\"""#;
        for line in [
            "# TYPE pitaya_bot_my_game_handler_response_time_ms summary".to_owned(),
            format!("pitaya_bot_my_game_handler_response_time_ms{labels},quantile=\"0.7\"}} 6"),
            format!("pitaya_bot_my_game_handler_response_time_ms_sum{labels}}} 12"),
            format!("pitaya_bot_my_game_handler_response_time_ms_count{labels}}} 3"),
            format!("pitaya_bot_my_game_handler_response_time_histogram_ms_bucket{labels},le=\"2\"}} 1"),
            format!("pitaya_bot_my_game_handler_response_time_histogram_ms_bucket{labels},le=\"5\"}} 2"),
            format!("pitaya_bot_my_game_handler_response_time_histogram_ms_bucket{labels},le=\"+Inf\"}} 3"),
            format!("pitaya_bot_my_game_handler_error_count{labels}}} 4"),
            format!("pitaya_bot_my_game_handler_error_answer_count{labels},code=\"PIT-404\"}} 2"),
            "pitaya_bot_my_game_run_failure_count{clientType=\"pitaya-bot\",game=\"my-game\"} 1".to_owned(),
        ] {
            assert!(text.lines().any(|other| other.starts_with(&line)), "{line} is not in\n{text}");
        }
    }
}
