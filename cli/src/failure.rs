use std::{fmt::Display, process::ExitCode};

use cereus_client::{ConnectError, RequestError};
use thiserror::Error;

/// Why a command cannot do what it was asked. Its text is all that people see.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The world is not as it should be: no server, a wrong answer.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// Says where, too.
    pub(crate) fn at(self, place: impl Display) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(format!("{place}: {text}")),
            Self::Failed(text) => Self::Failed(format!("{place}: {text}")),
        }
    }

    /// 1: it went wrong; 2: it was asked wrongly, as for the options themselves.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Disconnect(_) => Self::Failed(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Send(_) => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}
