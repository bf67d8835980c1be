use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use crate::{
    BusEvent, Undelivered,
    grpc::{
        call::{Call, Ended, Failure},
        client::{Outgoing, Settings},
        lanes::Lanes,
        target::Target,
    },
    queue::Sender,
};

/// The connection to one server, again and again. All calls to it run in its task, and all that hyper does for them in another.
pub(crate) struct Connection {
    address: String,
    endpoint: Endpoint,
    inbox: mpsc::UnboundedReceiver<Outgoing>,
    results: Results,
    settings: Arc<Settings>,
    lanes: Option<Lanes>,
    link: Link,
    /// What waits for the connection.
    waiting: VecDeque<Outgoing>,
    calls: FuturesUnordered<Call>,
}

enum Link {
    Down(Last),
    Connecting(Pin<Box<dyn Future<Output = Result<Channel, String>> + Send>>, Last),
    Up { channel: Channel, number: u64 },
}

/// What became of the attempts to connect.
#[derive(Clone, Copy, Default)]
struct Last {
    /// How many succeeded.
    number: u64,
    /// Whether the last one failed: that is told once.
    failed: bool,
}

enum Next {
    Send(Outgoing),
    Connected(Result<Channel, String>),
    Ended(Ended),
    End,
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
        Self {
            address: target.to_string(),
            endpoint,
            inbox,
            results: Results { id, queue },
            settings: Arc::clone(settings),
            lanes: if target.in_order { None } else { Some(Lanes::default()) },
            link: Link::Down(Last::default()),
            waiting: VecDeque::new(),
            calls: FuturesUnordered::new(),
        }
    }

    /// Sends until nothing will ever be sent again and all has been answered.
    pub(crate) async fn run(mut self) {
        if !self.settings.lazy {
            self.connect();
        }
        loop {
            match poll_fn(|cx| self.poll_next(cx)).await {
                Next::Send(outgoing) => self.send(outgoing),
                Next::Connected(Ok(channel)) => self.connected(channel),
                Next::Connected(Err(error)) => self.refuse(&error).await,
                Next::Ended(ended) => self.ended(ended).await,
                Next::End => return,
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Poll::Ready(Some(ended)) = self.calls.poll_next_unpin(cx) {
            return Poll::Ready(Next::Ended(ended));
        }
        if let Link::Connecting(connecting, _) = &mut self.link
            && let Poll::Ready(result) = connecting.as_mut().poll(cx)
        {
            return Poll::Ready(Next::Connected(result));
        }
        match self.inbox.poll_recv(cx) {
            Poll::Ready(Some(outgoing)) => Poll::Ready(Next::Send(outgoing)),
            Poll::Ready(None) if self.calls.is_empty() && self.waiting.is_empty() => Poll::Ready(Next::End),
            _ => Poll::Pending,
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        let outgoing = match &mut self.lanes {
            Some(lanes) => lanes.enter(outgoing),
            None => Some(outgoing),
        };
        if let Some(outgoing) = outgoing {
            self.dispatch(outgoing);
        }
    }

    fn dispatch(&mut self, outgoing: Outgoing) {
        match &self.link {
            Link::Up { channel, number } => self.calls.push(Call::new(channel, *number, outgoing, &self.settings)),
            Link::Connecting(..) => self.waiting.push_back(outgoing),
            Link::Down(_) => {
                self.waiting.push_back(outgoing);
                self.connect();
            }
        }
    }

    fn connect(&mut self) {
        let Link::Down(last) = self.link else {
            return;
        };
        let (endpoint, limit) = (self.endpoint.clone(), self.settings.connect_timeout);
        let connecting = async move {
            match tokio::time::timeout(limit, endpoint.connect()).await {
                Ok(result) => result.map_err(|error| super::chain(&error)),
                Err(_) => Err(format!("not within {limit:?} (`connect_timeout`)")),
            }
        };
        self.link = Link::Connecting(Box::pin(connecting), last);
    }

    fn connected(&mut self, channel: Channel) {
        let number = self.link.last().number + 1;
        self.link = Link::Up { channel, number };
        for outgoing in std::mem::take(&mut self.waiting) {
            self.dispatch(outgoing);
        }
    }

    /// Nothing that waited for the connection, or for that, has been sent.
    async fn refuse(&mut self, error: &str) {
        let last = self.link.last();
        if !last.failed {
            tracing::warn!(server = self.results.id, address = self.address, error, "a server cannot be reached");
        }
        self.link = Link::Down(Last { failed: true, ..last });
        let behind = self.lanes.as_mut().map(Lanes::clear).unwrap_or_default();
        for outgoing in std::mem::take(&mut self.waiting).into_iter().chain(behind) {
            self.results.tell(&outgoing, Err(Undelivered::NoResponders)).await;
        }
    }

    async fn ended(&mut self, Ended { number, outgoing, result }: Ended) {
        let is_lost = matches!(result, Err(Failure::Lost(_) | Failure::Unreachable));
        if is_lost && matches!(self.link, Link::Up { number: of, .. } if of == number) {
            self.link = Link::Down(self.link.last());
        }
        let is_unreachable = matches!(result, Err(Failure::Unreachable));
        self.finish(outgoing, result).await;
        if is_unreachable {
            self.give_up(number).await;
        }
    }

    /// The channel has tried to connect again, in vain. What it holds is not left to wait for one attempt after the other.
    async fn give_up(&mut self, number: u64) {
        // The last comes first, and those that are kept must not be overtaken.
        let calls: Vec<_> = std::mem::take(&mut self.calls).into_iter().collect();
        let (given_up, kept): (Vec<_>, Vec<_>) = calls.into_iter().rev().partition(|call| call.number == number);
        self.calls.extend(kept);
        for mut call in given_up {
            match ((&mut call).now_or_never(), call.outgoing) {
                (Some(ended), _) => self.finish(ended.outgoing, ended.result).await,
                (None, Some(outgoing)) => {
                    let text = format!("the connection to server `{}` was lost", self.results.id);
                    self.finish(outgoing, Err(Failure::Lost(text))).await;
                }
                (None, None) => {}
            }
        }
    }

    async fn finish(&mut self, outgoing: Outgoing, result: Result<Bytes, Failure>) {
        let result = result.map_err(|failure| match failure {
            Failure::Unreachable => Undelivered::NoResponders,
            Failure::Lost(text) | Failure::Told(text) => Undelivered::Failed(text),
        });
        self.results.tell(&outgoing, result).await;
        if let Some(behind) = self.lanes.as_mut().and_then(|lanes| lanes.leave(&outgoing)) {
            self.dispatch(behind);
        }
    }
}

impl Link {
    const fn last(&self) -> Last {
        match self {
            Self::Down(last) | Self::Connecting(_, last) => *last,
            Self::Up { number, .. } => Last { number: *number, failed: false },
        }
    }
}

/// Where the ends of calls are told.
struct Results {
    id: String,
    queue: Sender<BusEvent>,
}

impl Results {
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
