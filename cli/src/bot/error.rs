use std::fmt::Display;

use cereus_client::RequestError;
use thiserror::Error;

/// Why a run of a bot failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BotError {
    /// There is no connection.
    #[error("{0}")]
    Connect(String),
    /// The server answered a request with an error, or not at all, or the body is not what was expected.
    #[error("{route}: {error}")]
    Request {
        /// Whom it asked.
        route: String,
        /// What came instead of an answer.
        error: RequestError,
    },
    /// A push did not come, or not as it should.
    #[error("push {route}: {reason}")]
    Push {
        /// The route of the push.
        route: String,
        /// What happened instead.
        reason: String,
    },
    /// A step of a spec failed.
    #[error("{step}: {reason}")]
    Step {
        /// File, number and kind of the step.
        step: String,
        /// What was expected, and what came.
        reason: String,
    },
    /// What the bot itself is not content with.
    #[error("{0}")]
    Other(String),
}

impl BotError {
    /// Some other error: `.map_err(BotError::other)?`. For texts `?` is enough.
    pub fn other(error: impl Display) -> Self {
        Self::Other(error.to_string())
    }

    /// The code, if the server has answered with an error.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Request { error: RequestError::Server(error), .. } => Some(&error.code),
            _ => None,
        }
    }

    pub(crate) fn request(route: &str, error: RequestError) -> Self {
        Self::Request { route: route.to_owned(), error }
    }

    pub(crate) fn push(route: &str, reason: impl Into<String>) -> Self {
        Self::Push { route: route.to_owned(), reason: reason.into() }
    }

    /// Where it failed: failures at the same place are counted together, though their texts may differ.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Connect(_) => "connect".to_owned(),
            Self::Request { route, .. } => format!("request {route}"),
            Self::Push { route, .. } => format!("push {route}"),
            Self::Step { step, .. } => step.clone(),
            Self::Other(text) => text.clone(),
        }
    }
}

impl From<String> for BotError {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl From<&str> for BotError {
    fn from(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}
