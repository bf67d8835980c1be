//! Durations as Go writes them, such as `1h30m0s` or `-1.5µs`: in the metadata of calls (specification, section 9.5).

use alloc::{format, string::String};

use thiserror::Error;

/// The units from small to large, in nanoseconds. `µ` is U+00B5 and, where it is read, also U+03BC.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", MICROSECOND),
    ("\u{b5}s", MICROSECOND),
    ("\u{3bc}s", MICROSECOND),
    ("ms", MILLISECOND),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", 60 * MINUTE),
];

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DurationError {
    /// It is not numbers, each followed by its unit.
    #[error("not a duration")]
    Invalid,
    /// It is longer than 64 bits of nanoseconds can tell.
    #[error("a duration of more than 64 bits of nanoseconds")]
    Overflow,
}

/// Reads a duration, in nanoseconds.
///
/// An optional sign, then numbers each with a unit: `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`. A zero alone needs no unit. What
/// is less than a nanosecond is cut off, number by number.
///
/// # Errors
///
/// [`DurationError::Invalid`], [`DurationError::Overflow`].
///
/// ```
/// use cereus_core::duration::{self, DurationError};
///
/// assert_eq!(duration::parse("1m30.5s"), Ok(90_500_000_000));
/// assert_eq!(duration::parse("-1.5µs"), Ok(-1_500));
/// assert_eq!(duration::parse("5"), Err(DurationError::Invalid));
/// assert_eq!(duration::parse("3000000h"), Err(DurationError::Overflow));
/// ```
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Invalid);
    }
    // An overflow is told only of a text that is a duration otherwise.
    let mut total = Some(0_u64);
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationError::Invalid);
        }
        let end = after.find(|char: char| char == '.' || char.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let Some(&(_, unit)) = UNITS.iter().find(|unit| unit.0 == name) else {
            return Err(DurationError::Invalid);
        };
        total = total.zip(nanoseconds(whole, fraction, unit)).and_then(|(total, more)| total.checked_add(more));
        rest = after;
    }
    let total = total.ok_or(DurationError::Overflow)?;
    let signed = if negative { 0_i64.checked_sub_unsigned(total) } else { 0_i64.checked_add_unsigned(total) };
    signed.ok_or(DurationError::Overflow)
}

/// Writes a duration exactly as Go does.
///
/// ```
/// use cereus_core::duration;
///
/// assert_eq!(duration::format(90_500_000_000), "1m30.5s");
/// assert_eq!(duration::format(-1_500), "-1.5µs");
/// assert_eq!(duration::format(0), "0s");
/// ```
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (unit, name) = match nanos {
        0 | SECOND.. => (SECOND, "s"),
        MILLISECOND.. => (MILLISECOND, "ms"),
        MICROSECOND.. => (MICROSECOND, "\u{b5}s"),
        _ => (1, "ns"),
    };
    let (minutes, rest) = (nanos / MINUTE, nanos % MINUTE);
    let number = decimal(rest, unit);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{number}{name}"),
        (0, minutes) => format!("{sign}{minutes}m{number}{name}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{number}{name}"),
    }
}

/// The ASCII digits that `text` begins with, and the rest.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` units, unless that is too much.
fn nanoseconds(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let digit = |byte: u8| u64::from(byte - b'0');
    let whole = whole.bytes().try_fold(0_u64, |number, byte| number.checked_mul(10)?.checked_add(digit(byte)))?;
    // From the last digit to the first: exact, whatever their number, and always less than a unit.
    let fraction = fraction.bytes().rev().fold(0, |below, byte| (digit(byte) * unit + below) / 10);
    whole.checked_mul(unit)?.checked_add(fraction)
}

/// `nanos` in units (a power of ten), with no more decimals than needed.
fn decimal(nanos: u64, unit: u64) -> String {
    let (whole, mut fraction) = (nanos / unit, nanos % unit);
    if fraction == 0 {
        return format!("{whole}");
    }
    let mut width = unit.ilog10() as usize;
    while fraction % 10 == 0 {
        fraction /= 10;
        width -= 1;
    }
    format!("{whole}.{fraction:0width$}")
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_range_are_read_and_written() {
        for nanos in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX] {
            assert_eq!(parse(&format(nanos)), Ok(nanos));
        }
        assert_eq!(parse("-9223372036854775808ns"), Ok(i64::MIN));
        assert_eq!(parse("9223372036854775808ns"), Err(DurationError::Overflow));
        assert_eq!(parse("-9223372036854775809ns"), Err(DurationError::Overflow));
        assert_eq!(parse("99999999999999999999h1d"), Err(DurationError::Invalid));
    }

    #[test]
    fn fractions_of_any_length_are_cut_off_exactly() {
        assert_eq!(parse("0.33333333333333333333333333333333333333333333h"), Ok(1_199_999_999_999));
        assert_eq!(parse("0.33333333333333333333333333333333333333333334h"), Ok(1_200_000_000_000));
        assert_eq!(parse("0.9ns0.9ns"), Ok(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nanos in any::<i64>(), shift in 0_u32..64) {
            let nanos = nanos >> shift;
            prop_assert_eq!(parse(&format(nanos)), Ok(nanos));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), almost in "[-+]?([0-9]{0,20}[.]?[0-9]{0,3}(ns|us|\u{b5}s|ms|s|m|h|)){0,4}") {
            let _ = parse(&text);
            if let Ok(nanos) = parse(&almost) {
                prop_assert_eq!(parse(&format(nanos)), Ok(nanos));
            }
        }
    }
}
