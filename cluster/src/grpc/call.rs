use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tonic::{ConnectError, Request, Response, Status, client, codegen::http::uri::PathAndQuery, transport::Channel};

use crate::{
    Kind,
    grpc::{
        client::{Outgoing, Settings},
        codec::Raw,
        server::METHODS,
    },
};

/// A call that is on its way.
pub(crate) struct Call {
    /// The connection it is on.
    pub(crate) number: u64,
    pub(crate) outgoing: Option<Outgoing>,
    future: Pin<Box<dyn Future<Output = Result<Bytes, Failure>> + Send>>,
}

pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) outgoing: Outgoing,
    pub(crate) result: Result<Bytes, Failure>,
}

pub(crate) enum Failure {
    /// It was not sent: the server cannot be reached.
    Unreachable,
    /// The connection failed while it was on its way.
    Lost(String),
    /// The server did not do it, or not in time.
    Told(String),
}

impl Call {
    pub(crate) fn new(channel: &Channel, number: u64, mut outgoing: Outgoing, settings: &Settings) -> Self {
        let Settings { max_message_size, max_call_time: limit, .. } = *settings;
        let unary = unary(channel.clone(), outgoing.kind, std::mem::take(&mut outgoing.payload), max_message_size);
        let future = async move {
            let late = || Err(Failure::Told(format!("no answer within {limit:?} (`max_call_time`)")));
            tokio::time::timeout(limit, unary).await.unwrap_or_else(|_| late())
        };
        // When tokio finds that the task has run long enough, it lets some wait that then would be overtaken by others.
        Self { number, outgoing: Some(outgoing), future: Box::pin(tokio::task::unconstrained(future)) }
    }
}

impl Future for Call {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let Poll::Ready(result) = self.future.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        let number = self.number;
        self.outgoing.take().map_or(Poll::Pending, |outgoing| Poll::Ready(Ended { number, outgoing, result }))
    }
}

async fn unary(channel: Channel, kind: Kind, payload: Bytes, max_message_size: usize) -> Result<Bytes, Failure> {
    let Some((_, path)) = METHODS.iter().find(|(of, _)| *of == kind) else {
        return Err(Failure::Told("gRPC carries calls, pushes, kicks and bindings only".to_owned()));
    };
    let mut grpc = client::Grpc::new(channel).max_decoding_message_size(max_message_size);
    // A channel that has failed once for all.
    grpc.ready().await.map_err(|_| Failure::Unreachable)?;
    let answer = grpc.unary(Request::new(payload), PathAndQuery::from_static(path), Raw).await;
    answer.map(Response::into_inner).map_err(|status| failure(&status))
}

/// What servers tell has no source.
fn failure(status: &Status) -> Failure {
    let Some(error) = Error::source(status) else {
        let text = status.message();
        return Failure::Told(if text.is_empty() { status.code().to_string() } else { text.to_owned() });
    };
    let mut source = Some(error);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return Failure::Unreachable;
        }
        source = error.source();
    }
    Failure::Lost(super::chain(error))
}
