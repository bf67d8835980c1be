//! What a replay found.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::compare::Found;
use crate::{body::tame, compare::shortened};

/// How many differences are kept; more are counted.
const MAX_DIFFERENCES: usize = 1000;

/// What differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Of {
    Handshake,
    Answer,
    Push,
    Kick,
    Connection,
}

#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) session: u32,
    pub(super) of: Of,
    /// Which message of its session it answers, or which push of its route it is, from one on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// Not there: nothing was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<Value>,
    /// Not there: nothing came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) got: Option<Value>,
    /// What differs, when it is more than values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

impl Difference {
    pub(super) fn new(session: u32, of: Of, why: impl Into<String>) -> Self {
        let why = Some(why.into());
        Self { session, of, number: None, route: None, path: None, expected: None, got: None, why }
    }

    pub(super) fn found(session: u32, of: Of, found: Found) -> Self {
        let path = Some(found.place());
        let Found { expected, got, .. } = found;
        Self { session, of, number: None, route: None, path, expected, got, why: None }
    }

    pub(super) fn at(self, number: usize, route: &str) -> Self {
        Self { number: Some(number), route: Some(route.to_owned()), ..self }
    }

    fn text(&self) -> String {
        let mut text = format!("session {}", self.session);
        let (number, route) = (self.number.unwrap_or_default(), self.route.as_deref().unwrap_or_default());
        let _ = match self.of {
            Of::Handshake => write!(text, ", handshake"),
            Of::Answer => write!(text, ", {number} {route}"),
            Of::Push => write!(text, ", push {number} {route}"),
            Of::Kick => write!(text, ", kick"),
            Of::Connection => Ok(()),
        };
        if let Some(path) = self.path.as_deref().filter(|path| *path != ".") {
            let _ = write!(text, ": {path}");
        }
        if let Some(why) = &self.why {
            let _ = write!(text, ": {why}");
        }
        match (&self.expected, &self.got) {
            (None, None) if self.why.is_some() => {}
            (expected, got) => {
                let _ = write!(text, ": expected {}, got {}", shown(expected.as_ref()), shown(got.as_ref()));
            }
        }
        tame(&text).into_owned()
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), shortened)
}

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) address: String,
    pub(super) sessions: usize,
    pub(super) requests: usize,
    pub(super) notifies: usize,
    /// Answers and pushes that were compared.
    pub(super) answers: usize,
    pub(super) pushes: usize,
    pub(super) differences: Vec<Difference>,
    /// How many more there were.
    pub(super) more: usize,
    pub(super) skipped: Vec<String>,
    /// Session, name, recorded, now.
    pub(super) learnt: Vec<(u32, String, Value, Value)>,
}

impl Report {
    pub(super) fn add(&mut self, difference: Difference) {
        match self.differences.len() < MAX_DIFFERENCES {
            true => self.differences.push(difference),
            false => self.more += 1,
        }
    }

    pub(super) fn is_same(&self) -> bool {
        self.differences.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for difference in &self.differences {
            let _ = writeln!(text, "{}", difference.text());
        }
        if self.more > 0 {
            let _ = writeln!(text, "and {} more differences", self.more);
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "not played: {}", tame(skipped));
        }
        for (session, name, recorded, now) in &self.learnt {
            let (recorded, now) = (shown(Some(recorded)), shown(Some(now)));
            let _ =
                writeln!(text, "learnt in session {session}: {}: {} for {}", tame(name), tame(&now), tame(&recorded));
        }
        let Self { address, sessions, requests, notifies, answers, pushes, .. } = self;
        let differ = match self.differences.len() + self.more {
            0 => "all the same".to_owned(),
            1 => "1 difference".to_owned(),
            count => format!("{count} differences"),
        };
        text + &format!(
            "{address}: {sessions} sessions, {requests} requests and {notifies} notifies sent, \
             {answers} answers and {pushes} pushes compared: {differ}"
        )
    }

    pub(super) fn json(&self) -> Value {
        let learnt = |(session, name, recorded, now): &(u32, String, Value, Value)| json!({ "session": session, "name": name, "recorded": recorded, "now": now });
        json!({
            "address": self.address,
            "same": self.is_same(),
            "sessions": self.sessions,
            "requests": self.requests,
            "notifies": self.notifies,
            "answers": self.answers,
            "pushes": self.pushes,
            "differences": self.differences,
            "more_differences": self.more,
            "not_played": self.skipped,
            "learnt": self.learnt.iter().map(learnt).collect::<Vec<_>>(),
        })
    }
}
