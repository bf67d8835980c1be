//! What people and machines see.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    time::Duration,
};

use cereus_client::ServerError;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::above::Above;
use crate::{
    body::{Body, tame},
    failure::Failure,
    output::print_line,
};

/// How it is to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// One JSON object a line.
    pub(super) is_json: bool,
    pub(super) is_pretty: bool,
    pub(super) has_colour: bool,
}

impl Style {
    /// Colours are for terminals whose owner wants them (no-color.org).
    pub(super) fn new(is_json: bool, is_pretty: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let has_colour = is_terminal && !is_unwanted && !is_dumb && !is_json;
        Self { is_json, is_pretty: is_pretty || is_terminal, has_colour }
    }
}

/// Something to tell.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Response {
        route: &'a str,
        body: &'a Body,
        took: Duration,
    },
    Error {
        route: &'a str,
        error: &'a ServerError,
        body: &'a Body,
        took: Duration,
    },
    Push {
        route: &'a str,
        body: &'a Body,
    },
    Kick {
        reason: Option<&'a str>,
    },
    /// The state of the connection: a word for machines, a sentence for people, and what else machines may want.
    State {
        state: &'static str,
        text: String,
        more: Value,
    },
    Failure(&'a Failure),
    Routes(Vec<String>),
    /// What only people want to read.
    Text(&'a str),
}

/// Where it goes.
#[derive(Debug)]
pub(super) enum Screen {
    Plain(Style),
    /// A terminal where somebody may be typing.
    Above(Style, Above),
}

impl Screen {
    const fn style(&self) -> Style {
        match self {
            Self::Plain(style) | Self::Above(style, _) => *style,
        }
    }

    /// Whether there is something to clear.
    pub(super) const fn is_terminal(&self) -> bool {
        matches!(self, Self::Above(..))
    }

    /// Tells of it, but not to people, who see it elsewhere.
    pub(super) fn tell_machines(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        if self.style().is_json { self.tell(event) } else { Ok(()) }
    }

    /// Tells of something that was there just now.
    pub(super) fn tell(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        self.tell_at(Timestamp::now(), event)
    }

    pub(super) fn tell_at(&mut self, at: Timestamp, event: &Event<'_>) -> Result<(), Failure> {
        let style = self.style();
        let text = if style.is_json { event.for_machines(at) } else { Some(event.for_people(at, style)) };
        text.map_or(Ok(()), |text| self.write(&text))
    }

    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Plain(_) => print_line(text),
            Self::Above(_, above) => {
                above.print(format!("{text}\n"));
                Ok(())
            }
        }
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";
const DIM: &str = "2";

impl Style {
    fn paint(self, colour: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The time of day where the user is.
    fn time(self, at: Timestamp) -> String {
        let local = at.to_zoned(TimeZone::system());
        self.paint(DIM, &local.strftime("%H:%M:%S.%3f").to_string())
    }
}

impl Event<'_> {
    fn for_people(&self, at: Timestamp, style: Style) -> String {
        let time = style.time(at);
        match self {
            Self::Response { body, .. } => {
                format!("{time} {} {}", style.paint(GREEN, "sv->"), body.shown(style.is_pretty))
            }
            Self::Error { error, body, .. } => {
                let mut text = if error.code.is_empty() {
                    format!("error {}", body.shown(style.is_pretty))
                } else {
                    format!("error {}: {}", tame(&error.code), tame(&error.message))
                };
                for (name, value) in &error.metadata {
                    let _ = write!(text, "\n  {} = {}", tame(name), tame(value));
                }
                format!("{time} {} {text}", style.paint(RED, "sv->"))
            }
            Self::Push { route, body } => {
                let head = format!("push {}", tame(route));
                format!("{time} {} {}", style.paint(CYAN, &head), body.shown(style.is_pretty))
            }
            Self::Kick { reason } => {
                let reason = reason.map(|reason| format!(": {}", tame(reason))).unwrap_or_default();
                format!("{time} {}", style.paint(RED, &format!("kicked by the server{reason}")))
            }
            Self::State { text, .. } => format!("{time} {}", style.paint(YELLOW, &tame(text))),
            Self::Failure(failure) => style.paint(RED, &tame(&failure.to_string())),
            Self::Routes(routes) if routes.is_empty() => "no routes are known yet".to_owned(),
            Self::Routes(routes) => tame(&routes.join("\n")).into_owned(),
            Self::Text(text) => (*text).to_owned(),
        }
    }

    /// `None`: machines do not care.
    fn for_machines(&self, at: Timestamp) -> Option<String> {
        let (kind, members, body) = match self {
            Self::Response { route, body, took } => {
                ("response", json!({ "route": route, "ms": ms(*took) }), body.member())
            }
            Self::Error { route, error, body, took } => {
                let ServerError { code, message, metadata, .. } = error;
                let members = json!({
                    "route": route, "ms": ms(*took), "code": code, "message": message, "metadata": metadata,
                });
                ("error", members, body.member())
            }
            Self::Push { route, body } => ("push", json!({ "route": route }), body.member()),
            Self::Kick { reason } => ("kick", json!({ "reason": reason }), None),
            Self::State { state, text, more } => {
                let mut members = json!({ "state": state, "text": text });
                if let (Some(members), Value::Object(more)) = (members.as_object_mut(), more) {
                    members.extend(more.clone());
                }
                ("state", members, None)
            }
            Self::Failure(failure) => {
                let fault = if matches!(failure, Failure::Usage(_)) { "usage" } else { "failed" };
                ("failure", json!({ "fault": fault, "message": failure.to_string() }), None)
            }
            Self::Routes(routes) => ("routes", json!({ "routes": routes }), None),
            Self::Text(_) => return None,
        };
        let Value::Object(members) = members else { return None };
        let body = body.map(|(name, json)| std::iter::once((name, json)).collect());
        serde_json::to_string(&Line { kind, time: at.to_string(), members, body }).ok()
    }
}

/// An event for machines.
#[derive(Serialize)]
struct Line {
    kind: &'static str,
    /// RFC 3339, in UTC.
    time: String,
    #[serde(flatten)]
    members: Map<String, Value>,
    #[serde(flatten)]
    body: Option<std::collections::BTreeMap<&'static str, Box<RawValue>>>,
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
