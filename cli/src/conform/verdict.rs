//! How a check ends.

use serde::Serialize;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Pass,
    Fail,
    /// It differs where that is optional, or as this family is known to.
    Warning,
    Skipped,
}

impl Verdict {
    pub(super) const ALL: [Self; 4] = [Self::Fail, Self::Warning, Self::Skipped, Self::Pass];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warning => "warning",
            Self::Skipped => "skipped",
        }
    }
}

/// How binding a sentence of the specification is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mark {
    /// Peers rely on it: everybody does it.
    Required,
    /// Pitaya itself is known not to; whoever comes after it should.
    Fix,
    /// Either way interoperates.
    Optional,
}

/// Why a check did not pass.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) verdict: Verdict,
    pub(super) reason: String,
}

/// What a check says: why it passed, or why not.
pub(super) type Found = Result<String, Stop>;

pub(super) fn pass(reason: impl Into<String>) -> Found {
    Ok(reason.into())
}

pub(super) fn fail(reason: impl Into<String>) -> Stop {
    Stop { verdict: Verdict::Fail, reason: reason.into() }
}

pub(super) fn warn(reason: impl Into<String>) -> Stop {
    Stop { verdict: Verdict::Warning, reason: reason.into() }
}

pub(super) fn skip(reason: impl Into<String>) -> Stop {
    Stop { verdict: Verdict::Skipped, reason: reason.into() }
}
