use std::{
    error::Error,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tonic::{
    ConnectError, Request, Status, client,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use crate::{
    BusEvent, Kind, Undelivered,
    grpc::{
        client::{Outgoing, Settings},
        codec::Raw,
        lanes::Lanes,
        server::METHODS,
        target::Target,
    },
    queue::Sender,
};

/// The connection to one server. All calls to it run in its task.
#[derive(Debug)]
pub(crate) struct Connection {
    id: String,
    address: String,
    endpoint: Endpoint,
    inbox: mpsc::UnboundedReceiver<Outgoing>,
    queue: Sender<BusEvent>,
    settings: Arc<Settings>,
    lanes: Option<Lanes>,
    /// Whether the last attempt to connect failed: that is told once.
    failing: bool,
}

impl Connection {
    pub(crate) fn new(
        id: String,
        target: &Target,
        endpoint: Endpoint,
        inbox: mpsc::UnboundedReceiver<Outgoing>,
        queue: Sender<BusEvent>,
        settings: &Arc<Settings>,
    ) -> Self {
        let lanes = if target.in_order { None } else { Some(Lanes::default()) };
        let (address, settings) = (target.to_string(), Arc::clone(settings));
        Self { id, address, endpoint, inbox, queue, settings, lanes, failing: false }
    }

    /// Connects when there is something to send, again and again, until nothing will ever be sent again.
    pub(crate) async fn run(mut self) {
        if !self.settings.lazy
            && let Some(channel) = self.connect().await
        {
            self.serve(channel, None).await;
        }
        while let Some(first) = self.inbox.recv().await {
            match self.connect().await {
                Some(channel) => self.serve(channel, Some(first)).await,
                None => self.refuse(first).await,
            }
        }
    }

    async fn connect(&mut self) -> Option<Channel> {
        let limit = self.settings.connect_timeout;
        let error = match tokio::time::timeout(limit, self.endpoint.connect()).await {
            Ok(Ok(channel)) => {
                self.failing = false;
                return Some(channel);
            }
            Ok(Err(error)) => super::chain(&error),
            Err(_) => format!("not within {limit:?} (`connect_timeout`)"),
        };
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(server = self.id, address = self.address, error, "a server cannot be reached");
        }
        None
    }

    /// Nothing that waited for the connection has been sent.
    async fn refuse(&mut self, first: Outgoing) {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            self.tell(&outgoing, Err(Undelivered::NoResponders)).await;
            next = self.inbox.try_recv().ok();
        }
    }

    /// Sends until the connection is lost, or nothing will ever be sent again.
    async fn serve(&mut self, channel: Channel, first: Option<Outgoing>) {
        let mut calls = FuturesUnordered::new();
        let mut next = first.map_or(Next::Nothing, Next::Send);
        loop {
            match next {
                Next::Send(outgoing) => {
                    let outgoing = match &mut self.lanes {
                        Some(lanes) => lanes.enter(outgoing),
                        None => Some(outgoing),
                    };
                    calls.extend(outgoing.map(|outgoing| self.call(&channel, outgoing)));
                }
                Next::Ended(outgoing, result) => {
                    let is_lost = matches!(result, Err(Undelivered::NoResponders));
                    self.tell(&outgoing, result).await;
                    if is_lost {
                        return self.give_up(calls).await;
                    }
                    let behind = self.lanes.as_mut().and_then(|lanes| lanes.leave(&outgoing));
                    calls.extend(behind.map(|outgoing| self.call(&channel, outgoing)));
                }
                Next::Nothing => {}
                Next::End => return,
            }
            next = poll_fn(|cx| self.poll_next(&mut calls, cx)).await;
        }
    }

    fn poll_next(&mut self, calls: &mut FuturesUnordered<Call>, cx: &mut Context<'_>) -> Poll<Next> {
        if let Poll::Ready(Some((outgoing, result))) = calls.poll_next_unpin(cx) {
            return Poll::Ready(Next::Ended(outgoing, result));
        }
        match self.inbox.poll_recv(cx) {
            Poll::Ready(Some(outgoing)) => Poll::Ready(Next::Send(outgoing)),
            Poll::Ready(None) if calls.is_empty() => Poll::Ready(Next::End),
            _ => Poll::Pending,
        }
    }

    /// Another attempt to connect failed: what waits for that is not left to wait for one attempt after the other.
    async fn give_up(&mut self, mut calls: FuturesUnordered<Call>) {
        while let Some(Some((outgoing, result))) = calls.next().now_or_never() {
            self.tell(&outgoing, result).await;
        }
        let behind: Vec<_> = self.lanes.as_mut().map(Lanes::clear).unwrap_or_default();
        for outgoing in behind {
            self.tell(&outgoing, Err(Undelivered::NoResponders)).await;
        }
        for call in calls {
            let text = format!("the connection to server `{}` was lost", self.id);
            if let Some(outgoing) = call.outgoing {
                self.tell(&outgoing, Err(Undelivered::Failed(text))).await;
            }
        }
    }

    fn call(&self, channel: &Channel, mut outgoing: Outgoing) -> Call {
        let Settings { max_message_size, max_call_time: limit, .. } = *self.settings;
        let unary = unary(channel.clone(), outgoing.kind, std::mem::take(&mut outgoing.payload), max_message_size);
        let future = async move {
            let late = || Err(Undelivered::Failed(format!("no answer within {limit:?} (`max_call_time`)")));
            tokio::time::timeout(limit, unary).await.unwrap_or_else(|_| late())
        };
        // When tokio finds that the task has run long enough, it lets some wait that then would be overtaken by others.
        Call { outgoing: Some(outgoing), future: Box::pin(tokio::task::unconstrained(future)) }
    }

    /// Waits until there is room to tell it.
    async fn tell(&self, outgoing: &Outgoing, result: Result<Bytes, Undelivered>) {
        match (outgoing.call, result) {
            (Some(call), result) => self.queue.send(BusEvent::Reply { call, result }).await,
            (None, Err(error)) => {
                let (server, kind) = (&self.id, outgoing.kind);
                tracing::debug!(server, ?kind, %error, "something that nobody waits for failed");
            }
            (None, Ok(_)) => {}
        }
    }
}

enum Next {
    Send(Outgoing),
    Ended(Outgoing, Result<Bytes, Undelivered>),
    Nothing,
    End,
}

/// A call that is on its way.
struct Call {
    outgoing: Option<Outgoing>,
    future: Pin<Box<dyn Future<Output = Result<Bytes, Undelivered>> + Send>>,
}

impl Future for Call {
    type Output = (Outgoing, Result<Bytes, Undelivered>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.future.as_mut().poll(cx) {
            Poll::Ready(result) => match self.outgoing.take() {
                Some(outgoing) => Poll::Ready((outgoing, result)),
                None => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    }
}

async fn unary(channel: Channel, kind: Kind, payload: Bytes, max_message_size: usize) -> Result<Bytes, Undelivered> {
    let Some((_, path)) = METHODS.iter().find(|(of, _)| *of == kind) else {
        return Err(Undelivered::Failed("gRPC carries calls, pushes, kicks and bindings only".to_owned()));
    };
    let mut grpc = client::Grpc::new(channel).max_decoding_message_size(max_message_size);
    // A channel that has failed once for all.
    grpc.ready().await.map_err(|_| Undelivered::NoResponders)?;
    let answer = grpc.unary(Request::new(payload), PathAndQuery::from_static(path), Raw).await;
    answer.map(tonic::Response::into_inner).map_err(|status| undelivered(&status))
}

fn undelivered(status: &Status) -> Undelivered {
    let mut source = Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return Undelivered::NoResponders;
        }
        source = error.source();
    }
    Undelivered::Failed(match (Error::source(status), status.message()) {
        (Some(error), _) => super::chain(error),
        (None, "") => status.code().to_string(),
        (None, message) => message.to_owned(),
    })
}
