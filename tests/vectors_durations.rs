//! Durations as Go writes them, against the golden vectors.

use cereus_core::duration::{self, DurationError};

use crate::support::{Vector, check, expect_eq};

#[path = "support/vectors.rs"]
mod support;

#[test]
fn vectors_of_durations() {
    check("durations.json", |vector| match vector.str("op") {
        "parse" => check_parse(vector),
        "format" => check_format(vector),
        op => Err(format!("there is no operation {op}")),
    });
}

fn check_parse(vector: &Vector) -> Result<(), String> {
    let text = vector.str("text");
    let nanos = match (duration::parse(text), vector.has("error")) {
        (Ok(nanos), false) => nanos,
        (Ok(nanos), true) => return Err(format!("{text:?} is read as {nanos}")),
        (Err(DurationError::Invalid | DurationError::Overflow), true) => {
            return expect_eq("the error", vector.str("error"), "invalid_duration");
        }
        (Err(error), _) => return Err(format!("{text:?} is refused: {error}")),
    };
    expect_eq("what comes back after writing", duration::parse(&duration::format(nanos)), Ok(nanos))?;
    // The reference computes fractions in floating point: either value is right.
    if vector.has("exact_nanos") && nanos == number(vector, "exact_nanos")? {
        return Ok(());
    }
    expect_eq("the duration", nanos, number(vector, "nanos")?)
}

fn check_format(vector: &Vector) -> Result<(), String> {
    let nanos = number(vector, "nanos")?;
    expect_eq("the text", &*duration::format(nanos), vector.str("text"))?;
    expect_eq("what comes back after reading", duration::parse(vector.str("text")), Ok(nanos))
}

fn number(vector: &Vector, name: &str) -> Result<i64, String> {
    vector.str(name).parse().map_err(|error| format!("`{name}`: {error}"))
}
