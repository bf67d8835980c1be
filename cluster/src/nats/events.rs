use std::{
    array,
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::StreamExt;
use tokio::task::coop;

use super::{link::Link, running::Running, signals::Raised};
use crate::{BusEvent, BusEvents, CallId, Kind, ReplyTo, Undelivered};

/// How many messages of one kind are taken out before others are looked at.
const TURN: usize = 1024;

/// Lanes, in the order in which they are emptied.
const LINK: usize = 0;
const USERS: usize = 1;
const BINDINGS: usize = 2;
const REQUESTS: usize = 3;
const REPLIES: usize = 4;
const LANES: usize = 5;

/// What takes in what NATS delivers. It polls the library's subscriptions itself, whose messages so take one hop less.
///
/// # Order
///
/// The library delivers in the order in which NATS did, but to one queue for each subscription. To put the queues
/// together again, those whose messages may not be overtaken are emptied after those whose messages may not overtake:
/// if a reply was taken out, a push that was sent before it is to be seen by then, and is handed on first.
///
/// ```text
///  take out: replies → requests → bindings → users      hand on: users → bindings → requests → replies
/// ```
#[derive(Debug)]
pub(crate) struct Events {
    running: Arc<Running>,
    replies: Subscriber,
    requests: Subscriber,
    bindings: Subscriber,
    link: Link,
    raised: Raised,
    lanes: [VecDeque<BusEvent>; LANES],
    ended: bool,
}

impl Events {
    pub(crate) fn new(running: Arc<Running>, subscribers: [Subscriber; 3]) -> Self {
        let [replies, requests, bindings] = subscribers;
        let mut lanes = array::from_fn(|_| VecDeque::new());
        let link = Link::new(running.client.clone(), &mut lanes[LINK]);
        Self { running, replies, requests, bindings, link, raised: Raised::default(), lanes, ended: false }
    }

    pub(crate) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running)
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        if self.lanes.iter().all(VecDeque::is_empty) {
            self.fill(cx);
        }
        match self.lanes.iter_mut().find_map(VecDeque::pop_front) {
            Some(event) => Poll::Ready(Some(event)),
            None if self.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Takes out what there is.
    fn fill(&mut self, cx: &mut Context<'_>) {
        // What a burst needed is not kept.
        self.lanes.iter_mut().for_each(|lane| lane.shrink_to(TURN));
        for _ in 0..TURN {
            match self.replies.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => self.lanes[REPLIES].extend(reply(message, &self.running.inbox)),
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        let subscribers = [(&mut self.requests, Kind::Call, REQUESTS), (&mut self.bindings, Kind::Bind, BINDINGS)];
        for (subscriber, kind, lane) in subscribers {
            let mut left = TURN;
            while left > 0
                && let Poll::Ready(Some(taken)) = subscriber.poll_next_unpin(cx)
            {
                left -= 1;
                self.lanes[lane].push_back(message(kind, taken));
            }
        }
        self.ended |= self.running.signals.take(&mut self.raised, cx);
        if !self.raised.users.is_empty() {
            self.running.drain(&mut self.raised.users, &mut self.lanes[USERS]);
        }
        self.lanes[REPLIES].extend(self.raised.undelivered.drain(..));
        self.link.poll(&self.raised, &mut self.lanes[LINK], cx);
        (self.raised.link, self.raised.down, self.raised.lame_duck) = (false, false, false);
    }
}

impl BusEvents for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        // A task that has had its turn ends it here, before anything is taken out: within, a subscription that said
        // that it has nothing because of that would break the order.
        let turn = ready!(coop::poll_proceed(cx));
        let event = pin!(coop::unconstrained(poll_fn(|cx| self.poll_any(cx)))).poll(cx);
        if event.is_ready() {
            turn.made_progress();
        }
        event
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.running.let_go();
    }
}

pub(crate) fn message(kind: Kind, message: Message) -> BusEvent {
    let reply = message.reply.map(|subject| ReplyTo::new(subject.as_str()));
    BusEvent::Message { kind, reply, payload: message.payload }
}

/// `None`: it answers no call.
fn reply(message: Message, inbox: &str) -> Option<BusEvent> {
    let Some(call) = message.subject.strip_prefix(inbox).and_then(CallId::parse) else {
        tracing::debug!(subject = %message.subject, "a message from NATS answers no call");
        return None;
    };
    let result = match message.status {
        None => Ok(message.payload),
        Some(StatusCode::NO_RESPONDERS) => Err(Undelivered::NoResponders),
        Some(status) => Err(Undelivered::Failed(format!("NATS answered with status {status}"))),
    };
    Some(BusEvent::Reply { call, result })
}
