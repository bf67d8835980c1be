//! Expectations, checked against what came.

use std::time::Duration;

use cereus_client::{Disconnect, ServerError};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Session};
use crate::{
    body::Body,
    failure::Failure,
    repl::expect::{Check, Expectation},
};

impl Session {
    pub(super) async fn expect(&mut self, expectation: &Expectation) -> Result<(), Failure> {
        self.take_all()?;
        match expectation {
            Expectation::Answer(check) => {
                let answer = self.last_answer()?;
                let body = answer.result.as_ref().map_err(|(error, _)| {
                    Failure::Failed(format!("expected an answer of {}, but it is an error: {error}", answer.route))
                })?;
                check.test(&body.value()).map_err(|mismatch| Failure::Failed(format!("{mismatch} ({})", answer.route)))
            }
            Expectation::Error { code, check } => self.last_answer()?.expect_error(code.as_deref(), check.as_ref()),
            Expectation::Push { route, within, check } => self.expect_push(route, *within, check.as_ref()).await,
            Expectation::Kick { within } => self.expect_kick(*within).await,
        }
    }

    fn last_answer(&self) -> Result<&Answer, Failure> {
        self.last.as_ref().ok_or_else(|| Failure::usage("nothing was answered yet: `expect` is about the last answer"))
    }

    async fn expect_push(
        &mut self,
        route: &str,
        within: Option<Duration>,
        check: Option<&Check>,
    ) -> Result<(), Failure> {
        let within = within.unwrap_or(self.timeout);
        let deadline = Instant::now() + within;
        loop {
            let Err(instead) = self.seen.take(route, check) else { return Ok(()) };
            if let Some(end) = self.connection.end() {
                return Err(Failure::Failed(format!(
                    "expected a push {route}, but the connection ended: {end}; {instead}"
                )));
            }
            let Ok(incoming) = timeout_at(deadline, self.inbox.next()).await else {
                return Err(Failure::Failed(format!("expected a push {route} within {within:?}: {instead}")));
            };
            self.take(incoming)?;
        }
    }

    async fn expect_kick(&mut self, within: Option<Duration>) -> Result<(), Failure> {
        let within = within.unwrap_or(self.timeout);
        let deadline = Instant::now() + within;
        loop {
            match self.connection.end() {
                Some(Disconnect::Kicked { .. }) => return Ok(()),
                Some(end) => return Err(Failure::Failed(format!("expected a kick, but the connection ended: {end}"))),
                None => {}
            }
            let Ok(incoming) = timeout_at(deadline, self.inbox.next()).await else {
                return Err(Failure::Failed(format!("expected a kick within {within:?}: none came")));
            };
            self.take(incoming)?;
        }
    }
}

impl Answer {
    fn expect_error(&self, code: Option<&str>, check: Option<&Check>) -> Result<(), Failure> {
        let Self { route, result, .. } = self;
        let (error, body) = match result {
            Err((error, body)) => (error, body),
            Ok(body) => {
                let code = code.map(|code| format!(" {code}")).unwrap_or_default();
                let body = body.shown(false);
                return Err(Failure::Failed(format!("expected the error{code} of {route}, but it answered: {body}")));
            }
        };
        if let Some(code) = code.filter(|code| *code != error.code) {
            return Err(Failure::Failed(format!("expected the error {code} of {route}, but it is: {error}")));
        }
        let tested = check.map_or(Ok(()), |check| check.test(&value(error, body)));
        tested.map_err(|mismatch| Failure::Failed(format!("{mismatch} (the error of {route})")))
    }
}

/// An error looks the same whichever way it is written.
fn value(error: &ServerError, body: &Body) -> Value {
    match body {
        Body::Json(_) => body.value(),
        _ => json!({ "code": error.code, "msg": error.message, "metadata": error.metadata }),
    }
}
