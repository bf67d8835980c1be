//! What the calls of one node have to do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use cereus_cluster::{
    CallError, CallId, ClusterNode, Transmit, Undelivered,
    protos::{Msg, Request, Response},
};
use cereus_core::Instant;
use prost::Message;

/// How long a node leaves a bus alone that was full, at most.
const BUS_RETRY: std::time::Duration = std::time::Duration::from_millis(2);

/// One call of a world, whichever node made it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CallNumber(pub(super) usize);

#[derive(Debug)]
pub(super) struct Call {
    pub(super) host: usize,
    pub(super) id: CallId,
    pub(super) to: String,
    pub(super) end: Option<(Instant, Result<Response, CallError>)>,
}

/// A request that says which call it is of, `more` bytes longer than it would have to be.
pub(super) fn envelope(number: CallNumber, more: usize) -> Bytes {
    let msg = Msg { data: identity(number, more), ..Msg::default() };
    Request { msg: Some(msg), ..Request::default() }.encode_to_vec().into()
}

/// The call that a request is of. `None`: it is not of this world.
pub(super) fn read_request(request: &Request) -> Option<CallNumber> {
    read_identity(&request.msg.as_ref()?.data)
}

/// An answer that says to which call it is.
pub(super) fn response(number: CallNumber, more: usize) -> Response {
    Response { data: identity(number, more), ..Response::default() }
}

fn identity(number: CallNumber, more: usize) -> Bytes {
    let mut data = number.0.to_be_bytes().to_vec();
    data.resize(data.len() + more, 0);
    data.into()
}

fn read_identity(data: &[u8]) -> Option<CallNumber> {
    data.first_chunk().map(|number| CallNumber(usize::from_be_bytes(*number)))
}

/// The model of one node's calls, and of what it has to send.
#[derive(Debug)]
pub(super) struct Calls {
    waiting: BTreeMap<CallId, Waiting>,
    known: BTreeSet<CallId>,
    /// The answer that has just come to a call that waits for it.
    answer: Option<(CallId, Result<Bytes, Undelivered>)>,
    /// Requests that have just come.
    messages: usize,
    queue: VecDeque<Queued>,
    max_payload: Option<usize>,
    max_queued: usize,
    /// When the bus last took no more.
    refused: Option<Instant>,
    offers: usize,
    answered: u64,
    timed_out: u64,
    cancelled: u64,
    strays: u64,
}

#[derive(Debug)]
struct Waiting {
    number: CallNumber,
    deadline: Instant,
}

/// What waits for the bus.
#[derive(Debug)]
struct Queued {
    call: Option<CallId>,
    len: usize,
    /// `None`: an error that the node has written itself.
    payload: Option<Bytes>,
}

/// Inputs.
impl Calls {
    pub(super) const fn new(max_queued: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            known: BTreeSet::new(),
            answer: None,
            messages: 0,
            queue: VecDeque::new(),
            max_payload: None,
            max_queued,
            refused: None,
            offers: 0,
            answered: 0,
            timed_out: 0,
            cancelled: 0,
            strays: 0,
        }
    }

    pub(super) fn begun(&mut self, call: CallId, number: CallNumber, deadline: Instant, payload: Bytes) {
        assert!(self.known.insert(call), "{call} is the id of an earlier call");
        self.waiting.insert(call, Waiting { number, deadline });
        self.queue.push_back(Queued { call: Some(call), len: payload.len(), payload: Some(payload) });
    }

    pub(super) fn cancelled(&mut self, call: CallId) {
        if self.waiting.remove(&call).is_some() {
            self.cancelled += 1;
        }
    }

    /// The node was told to answer, and did not refuse.
    pub(super) fn replied(&mut self, payload: Bytes) {
        let is_too_long = self.max_payload.is_some_and(|max| payload.len() > max);
        self.queue.push_back(Queued { call: None, len: payload.len(), payload: (!is_too_long).then_some(payload) });
    }

    pub(super) const fn message_comes(&mut self) {
        self.messages += 1;
    }

    pub(super) fn answer_comes(&mut self, call: CallId, result: &Result<Bytes, Undelivered>) {
        if self.waiting.contains_key(&call) {
            self.answer = Some((call, result.clone()));
        } else {
            self.strays += 1;
        }
    }

    pub(super) fn link_up(&mut self, max_payload: usize) {
        self.max_payload = Some(max_payload);
        self.refused = None;
        for queued in self.queue.iter_mut().filter(|queued| queued.call.is_none() && queued.len > max_payload) {
            queued.payload = None;
        }
    }

    pub(super) fn refused(&mut self, message: &Transmit, now: Instant) {
        self.refused = Some(now);
        let Transmit { call, payload, .. } = message;
        self.queue.push_front(Queued { call: *call, len: payload.len(), payload: Some(payload.clone()) });
    }
}

/// What the node does.
impl Calls {
    /// A message of another server was told, readable or not.
    pub(super) fn message_told(&mut self) {
        self.messages = self.messages.checked_sub(1).expect("a message was told that nobody sent");
    }

    /// A call has ended: which one it was.
    pub(super) fn finished(&mut self, call: CallId, result: &Result<Response, CallError>, now: Instant) -> CallNumber {
        let Some(Waiting { number, deadline }) = self.waiting.remove(&call) else {
            panic!("{call} has ended that did not wait, by {result:?}");
        };
        match result {
            Err(CallError::Timeout) => {
                assert_eq!(deadline, now, "{number:?} has not ended at its deadline");
                self.timed_out += 1;
            }
            Err(CallError::TooLong { len, max }) => {
                let queued = self.queue.iter().position(|queued| queued.call == Some(call));
                let queued =
                    queued.and_then(|place| self.queue.remove(place)).expect("it was sent and cannot be too long");
                assert_eq!((*len, Some(*max)), (queued.len, self.max_payload));
                assert!(len > max, "{number:?} is not too long");
                self.answered += 1;
            }
            _ => {
                let answer = self.answer.take();
                assert!(answer.as_ref().is_some_and(|(to, _)| *to == call), "{number:?} got the answer {answer:?}");
                self.answered += 1;
                is_right(number, answer.and_then(|(_, answer)| answer.ok()), result);
            }
        }
        number
    }

    /// The node wants this sent.
    pub(super) fn offered(&mut self, message: &Transmit, link: bool, now: Instant) {
        self.offers += 1;
        assert!(link, "sent while the link is down: {message:?}");
        assert!(self.refused.is_none_or(|at| now > at), "a bus that is full is not left alone");
        let len = message.payload.len();
        assert!(self.max_payload.is_some_and(|max| len <= max), "{len} bytes are longer than what the bus carries");
        if let Some(call) = message.call {
            assert!(self.waiting.contains_key(&call), "{call} is sent after its end");
        }
        while let Some(queued) = self.queue.pop_front() {
            if queued.call.is_none_or(|call| self.waiting.contains_key(&call)) {
                assert_eq!(queued.call, message.call, "not the next one to be sent");
                assert!(queued.payload.is_none_or(|payload| payload == message.payload), "sent otherwise than given");
                return;
            }
        }
        panic!("sent without having been asked to: {message:?}");
    }

    pub(super) const fn offers(&self) -> usize {
        self.offers
    }

    pub(super) fn some_waiting(&self, choose: impl FnOnce(usize) -> usize) -> Option<CallNumber> {
        let chosen = if self.waiting.is_empty() { 0 } else { choose(self.waiting.len()) };
        self.waiting.values().nth(chosen).map(|waiting| waiting.number)
    }

    /// What holds whenever the node was drained.
    pub(super) fn check(&mut self, node: &ClusterNode, link: bool, now: Instant) {
        assert_eq!(self.answer, None, "an answer did not reach the call that waits for it");
        assert_eq!(self.messages, 0, "a message was not told");
        assert_eq!(node.calls_in_flight(), self.waiting.len());
        if let Some(first) = self.waiting.values().map(|waiting| waiting.deadline).min() {
            assert!(first >= now, "a call lives longer than its deadline");
            assert!(node.poll_timeout().is_some_and(|at| at <= first), "the deadline of a call will be slept through");
        }
        assert!(node.queued_bytes() <= self.max_queued, "{} bytes wait", node.queued_bytes());
        let stats = node.call_stats();
        assert_eq!(
            (stats.begun, stats.answered, stats.timed_out, stats.cancelled),
            (self.known.len() as u64, self.answered, self.timed_out, self.cancelled)
        );
        assert_eq!(
            (stats.late + stats.duplicate, stats.unknown),
            (self.strays, 0),
            "what reached nobody is not counted"
        );
        if link && self.refused.is_none_or(|at| now > at + BUS_RETRY) {
            let stuck =
                self.queue.iter().find(|queued| queued.call.is_none_or(|call| self.waiting.contains_key(&call)));
            assert!(stuck.is_none(), "not sent, and nothing hinders it: {stuck:?}");
            assert_eq!(node.queued_bytes(), 0);
            self.queue.clear();
        }
    }
}

/// Whether this is the end that the answer makes.
fn is_right(number: CallNumber, answer: Option<Bytes>, result: &Result<Response, CallError>) {
    match (answer, result) {
        (Some(answer), Ok(response)) => {
            assert_eq!(Response::decode(answer).as_ref(), Ok(response), "another answer than the one that came");
            let is_own = response.error.is_some() || read_identity(&response.data) == Some(number);
            assert!(is_own, "{number:?} got the answer to {:?}", read_identity(&response.data));
        }
        (Some(_), Err(CallError::Unreadable(_))) | (None, Err(CallError::NoResponders | CallError::Bus(_))) => {}
        (answer, result) => panic!("{number:?} was answered with {answer:?} and ended with {result:?}"),
    }
}
