use std::{error::Error as _, future::Future, io, time::Duration};

use etcd_client::Error;
use tokio::time;

use crate::{GroupError, RegistryError, StorageError};

/// Why a request failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// etcd says that there is no such lease.
    NoLease,
    /// etcd says something else: the connection is well.
    Refused,
    /// Nobody was there to send it to.
    Unsent,
    /// It may be done or not: the connection was lost, or etcd is in trouble.
    Lost,
    /// The connection may be of no use, and time is up or no other is to be had.
    Broken,
}

impl Failure {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn late(limit: Duration) -> Self {
        Self::new(Kind::Broken, format!("etcd: no answer within {limit:?}"))
    }
}

/// The numbers of gRPC's codes.
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const OUT_OF_RANGE: i32 = 11;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::LeaseKeepAliveError(_) => Kind::NoLease,
            Error::GRpcStatus(status) => match i32::from(status.code()) {
                NOT_FOUND => Kind::NoLease,
                PERMISSION_DENIED | RESOURCE_EXHAUSTED | OUT_OF_RANGE => Kind::Refused,
                _ if is_unsent(&error) => Kind::Unsent,
                _ => Kind::Lost,
            },
            _ => Kind::Broken,
        };
        Self::new(kind, format!("etcd: {}", reason(&error)))
    }
}

/// Where an error of gRPC came from, from the outside in.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let outermost = match error {
        Error::GRpcStatus(status) => status.source(),
        Error::TransportError(error) => error.source(),
        _ => None,
    };
    std::iter::successors(outermost, |error| (*error).source())
}

fn is_unsent(error: &Error) -> bool {
    causes(error).any(|cause| {
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        // What hyper calls canceled was waiting to be sent when the connection was lost.
        cause.downcast_ref().is_some_and(is_refused) || cause.downcast_ref().is_some_and(hyper::Error::is_canceled)
    })
}

/// What etcd says, or else the first cause: what lies between is of no use to anybody.
pub(super) fn reason(error: &Error) -> String {
    let outermost = match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    match causes(error).last().map(ToString::to_string) {
        Some(first) if first != outermost => format!("{outermost}: {first}"),
        _ => outermost,
    }
}

/// Waits so long for an answer.
pub(super) async fn in_time<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match time::timeout(timeout, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::late(timeout)),
    }
}

impl From<Failure> for RegistryError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.text)
    }
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.text)
    }
}

impl From<Failure> for GroupError {
    fn from(failure: Failure) -> Self {
        Self::Storage(failure.into())
    }
}
