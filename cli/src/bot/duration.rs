//! Durations as Go writes them: `1m30s`, `500ms`.

use std::time::Duration;

/// The units, by how many nanoseconds they have.
const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// The longest: longer than any run of bots.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || format!("`{text}` is no duration: write it as 1m30s or 500ms");
    if text.is_empty() {
        return Err(wrong());
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (_, nanos) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = Duration::try_from_secs_f64(number * nanos / 1e9).ok();
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = after;
    }
    if total > LONGEST { Err(format!("`{text}` is too long")) } else { Ok(total) }
}

/// The same, but not nothing.
pub(super) fn parse_some(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if duration.is_zero() { Err("this must be more than nothing".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5s", 1500),
            (".5s", 500),
            ("1h", 3_600_000),
            ("1000us", 1),
            ("2000µs3s", 3002),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "s", "1 s", "-1s", "1d", "1.2.3s", "1s2", "9999999h", "1e3s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
