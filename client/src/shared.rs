use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use cereus_core::{
    ClientConnection, ClientEvent, CloseReason, HandshakeResponse, Instant, MessageId, Route, SendError,
};
use event_listener::Event;

use crate::{
    Disconnect, Push, RequestError, RoundTrip, ServerError, State, WhileAway,
    push::Subscribers,
    request::{Completion, Slot},
};

/// What something that waits to be sent counts beside its route and its body.
const WAITING_COST: usize = 64;

/// What the handles of a client and its task have in common.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    pub(crate) subscribers: Arc<Subscribers>,
    /// The state is another one.
    pub(crate) changed: Event,
    settings: Settings,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

/// What handles need to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) request_timeout: Duration,
    pub(crate) while_away: WhileAway,
    pub(crate) push_buffer: usize,
}

#[derive(Debug)]
pub(crate) struct Inner {
    state: State,
    /// How many states there were.
    states: u64,
    /// What is spoken, as long as there is a socket.
    pub(crate) connection: Option<ClientConnection>,
    /// How many connections there were.
    generation: u64,
    in_flight: BTreeMap<u64, InFlight>,
    waiting: VecDeque<Waiting>,
    /// What those who wait count.
    waiting_bytes: usize,
    /// No request has to be answered before this.
    deadline: Option<Instant>,
    pub(crate) handshake: Option<Arc<HandshakeResponse>>,
    pub(crate) round_trip: Option<RoundTrip>,
    kick: Option<Option<String>>,
    /// Why the last connection is at its end.
    ended: Option<Disconnect>,
    /// The task is to end.
    pub(crate) closing: bool,
    /// The task is not to wait for its next attempt.
    pub(crate) hurry: bool,
    task: Option<Waker>,
    /// The task waits, and does not look by itself.
    listens: bool,
}

#[derive(Debug)]
struct InFlight {
    sent: Instant,
    deadline: Instant,
    timeout: Duration,
    completion: Completion,
}

/// What is sent when there is a connection.
#[derive(Debug)]
struct Waiting {
    route: Route,
    body: Bytes,
    /// None for a notify.
    request: Option<(Duration, Completion)>,
    since: Instant,
}

impl Waiting {
    fn cost(&self) -> usize {
        self.route.len() + self.body.len() + WAITING_COST
    }
}

/// Calls what the user gave. When it panics, nobody else is harmed.
pub(crate) fn call_back(callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("a callback of a client panicked");
    }
}

/// What the task has to hand out once nothing is locked.
#[derive(Debug)]
pub(crate) enum Delivery {
    Answer(Completion, Result<Bytes, RequestError>),
    Push(Push),
}

impl Shared {
    pub(crate) fn new(settings: Settings, clock: Box<dyn Fn() -> Instant + Send + Sync>) -> Arc<Self> {
        let inner = Inner {
            state: State::Connecting,
            states: 1,
            connection: None,
            generation: 0,
            in_flight: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            deadline: None,
            handshake: None,
            round_trip: None,
            kick: None,
            ended: None,
            closing: false,
            hurry: false,
            task: None,
            listens: false,
        };
        Arc::new(Self { inner: Mutex::new(inner), subscribers: Arc::default(), changed: Event::new(), settings, clock })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics with the lock held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn state(&self) -> (u64, State) {
        let inner = self.lock();
        (inner.states, inner.state.clone())
    }

    pub(crate) fn set_state(&self, state: State) {
        self.lock().set_state(state);
        self.changed.notify(usize::MAX);
    }

    /// Lets the task look at what it is to do.
    pub(crate) fn tell_task(&self, tell: impl FnOnce(&mut Inner)) {
        let waker = {
            let mut inner = self.lock();
            tell(&mut inner);
            if mem::take(&mut inner.listens) { inner.task.clone() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn send_request(&self, route: Route, body: Bytes, timeout: Option<Duration>, completion: Completion) {
        let timeout = timeout.unwrap_or(self.settings.request_timeout);
        let now = (self.clock)();
        let waiting = Waiting { route, body, request: Some((timeout, completion)), since: now };
        let mut refused = None;
        self.tell_task(|inner| refused = inner.try_send(waiting, &self.settings, now).err());
        if let Some(refused) = refused
            && let (Some(completion), error) = *refused
        {
            completion.complete(Err(error));
        }
    }

    pub(crate) fn send_notify(&self, route: Route, body: Bytes) -> Result<(), RequestError> {
        let mut result = Ok(());
        let now = (self.clock)();
        self.tell_task(|inner| {
            let waiting = Waiting { route, body, request: None, since: now };
            result = inner.try_send(waiting, &self.settings, now).map_err(|refused| refused.1);
        });
        result
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancel(&self, slot: &Arc<Slot>) {
        let mut inner = self.lock();
        let sent_as = slot.lock().sent_as;
        let given_up = match sent_as {
            Some((generation, id)) if generation == inner.generation => {
                if let Some(connection) = &mut inner.connection {
                    connection.cancel(MessageId::new(id));
                }
                inner.in_flight.remove(&id).map(|request| request.completion)
            }
            Some(_) => None,
            None => inner.take_waiting(slot),
        };
        drop(inner);
        drop(given_up);
    }
}

type Refused = Box<(Option<Completion>, RequestError)>;

impl Inner {
    fn try_send(&mut self, waiting: Waiting, settings: &Settings, now: Instant) -> Result<(), Refused> {
        let refuse =
            |waiting: Waiting, error| Err(Box::new((waiting.request.map(|(_, completion)| completion), error)));
        let reason = match &self.state {
            // Nobody overtakes those who have waited.
            State::Open if self.waiting.is_empty() => {
                match self.transmit(&waiting) {
                    Ok(id) => {
                        self.sent(waiting, id, now);
                        return Ok(());
                    }
                    // It is at its end, and the state does not tell yet.
                    Err(SendError::NotConnected | SendError::Closed) => {
                        Some(self.ended.clone().unwrap_or(Disconnect::Ended(CloseReason::Transport)))
                    }
                    Err(error) => return refuse(waiting, refusal(error)),
                }
            }
            State::Open => None,
            State::Connecting => Some(Disconnect::NotYet),
            State::Reconnecting { reason, .. } => Some(reason.clone()),
            State::Closed(reason) => {
                let error = RequestError::NotConnected(reason.clone());
                return refuse(waiting, error);
            }
        };
        match (settings.while_away, reason) {
            (WhileAway::Fail, Some(reason)) => refuse(waiting, RequestError::NotConnected(reason)),
            (WhileAway::Keep { bytes }, _) if self.waiting_bytes + waiting.cost() <= bytes => {
                if let Some((timeout, _)) = &waiting.request {
                    self.meet(waiting.since + *timeout);
                }
                self.waiting_bytes += waiting.cost();
                self.waiting.push_back(waiting);
                Ok(())
            }
            _ => refuse(waiting, RequestError::Full(format!("{} bytes wait to be sent already", self.waiting_bytes))),
        }
    }

    /// Gives it to the connection.
    fn transmit(&mut self, waiting: &Waiting) -> Result<Option<MessageId>, SendError> {
        let connection = self.connection.as_mut().ok_or(SendError::NotConnected)?;
        let Waiting { route, body, request, .. } = waiting;
        match request {
            Some(_) => connection.request(route, body.clone()).map(Some),
            None => connection.notify(route, body.clone()).map(|()| None),
        }
    }

    fn sent(&mut self, waiting: Waiting, id: Option<MessageId>, now: Instant) {
        if let (Some(id), Some((timeout, completion))) = (id, waiting.request) {
            if let Some(slot) = completion.slot() {
                slot.lock().sent_as = Some((self.generation, id.get()));
            }
            let deadline = waiting.since + timeout;
            self.in_flight.insert(id.get(), InFlight { sent: now, deadline, timeout, completion });
            self.meet(deadline);
        }
    }

    fn meet(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |before| before.min(deadline)));
    }

    fn take_waiting(&mut self, slot: &Arc<Slot>) -> Option<Completion> {
        let is_it = |waiting: &Waiting| {
            let completion = waiting.request.as_ref().map(|(_, completion)| completion);
            completion.and_then(Completion::slot).is_some_and(|other| Arc::ptr_eq(other, slot))
        };
        let found = self.waiting.iter().position(is_it)?;
        let waiting = self.waiting.remove(found)?;
        self.waiting_bytes -= waiting.cost();
        waiting.request.map(|(_, completion)| completion)
    }
}

fn refusal(error: SendError) -> RequestError {
    match error {
        SendError::TooManyRequests(_) | SendError::QueueFull(_) => RequestError::Full(error.to_string()),
        error => RequestError::Send(error),
    }
}

/// What the task does.
impl Inner {
    /// Whoever calls this notifies [`Shared::changed`].
    pub(crate) fn set_state(&mut self, state: State) {
        self.state = state;
        self.states += 1;
    }

    pub(crate) const fn is_reconnecting(&self) -> bool {
        matches!(self.state, State::Reconnecting { .. })
    }

    /// Something waits for a connection that takes it.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// There is a socket.
    pub(crate) fn begin(&mut self, connection: ClientConnection) {
        self.generation += 1;
        self.connection = Some(connection);
        self.hurry = false;
        self.kick = None;
        self.ended = None;
        self.round_trip = None;
    }

    /// When something is late, or the connection has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let connection = self.connection.as_ref().and_then(ClientConnection::poll_timeout);
        connection.into_iter().chain(self.deadline).min()
    }

    /// Returns whether the connection had something to do.
    pub(crate) fn handle_timeout(&mut self, now: Instant, deliveries: &mut Vec<Delivery>) -> bool {
        let mut due = false;
        if let Some(connection) = &mut self.connection
            && connection.poll_timeout().is_some_and(|at| now >= at)
        {
            connection.handle_timeout(now);
            due = true;
        }
        if self.deadline.is_some_and(|at| now >= at) {
            self.expire(now, deliveries);
        }
        due
    }

    /// Gives up what is late. All is looked at, which is rare: at most once in the shortest timeout.
    fn expire(&mut self, now: Instant, deliveries: &mut Vec<Delivery>) {
        self.deadline = None;
        let mut earliest: Option<Instant> = None;
        let mut is_late = |deadline: Instant| {
            if now < deadline {
                earliest = Some(earliest.map_or(deadline, |before| before.min(deadline)));
            }
            now >= deadline
        };
        for (id, late) in self.in_flight.extract_if(.., |_, request| is_late(request.deadline)) {
            if let Some(connection) = &mut self.connection {
                connection.cancel(MessageId::new(id));
            }
            deliveries.push(Delivery::Answer(late.completion, Err(RequestError::Timeout(late.timeout))));
        }
        for waiting in mem::take(&mut self.waiting) {
            match waiting.request {
                Some((timeout, completion)) if is_late(waiting.since + timeout) => {
                    deliveries.push(Delivery::Answer(completion, Err(RequestError::Timeout(timeout))));
                }
                request => self.waiting.push_back(Waiting { request, ..waiting }),
            }
        }
        self.waiting_bytes = self.waiting.iter().map(Waiting::cost).sum();
        self.deadline = earliest;
    }

    /// Takes what the connection has to tell. Returns whether the handshake was accepted just now.
    pub(crate) fn take_events(&mut self, now: Instant, deliveries: &mut Vec<Delivery>) -> (bool, Option<CloseReason>) {
        let mut connected = false;
        while let Some(event) = self.connection.as_mut().and_then(ClientConnection::poll_event) {
            match event {
                ClientEvent::Connected(handshake) => {
                    self.handshake = Some(Arc::new(handshake));
                    connected = true;
                }
                ClientEvent::Response { id, body } => self.answer(id, Ok(body), now, deliveries),
                ClientEvent::Error { id, body } => {
                    let serializer = self.handshake.as_ref().map_or("json", |handshake| &handshake.serializer);
                    let error = ServerError::parse(serializer, body);
                    self.answer(id, Err(Box::new(error).into()), now, deliveries);
                }
                ClientEvent::Push { route, body } => deliveries.push(Delivery::Push(Push { route, body })),
                ClientEvent::Kicked(body) => self.kick = Some(kick_reason(&body)),
                ClientEvent::Closed(reason) => {
                    self.ended = Some(self.kicked_or(Disconnect::Ended(reason.clone())));
                    return (connected, Some(reason));
                }
                _ => {}
            }
        }
        (connected, None)
    }

    fn answer(
        &mut self,
        id: MessageId,
        answer: Result<Bytes, RequestError>,
        now: Instant,
        deliveries: &mut Vec<Delivery>,
    ) {
        if let Some(InFlight { sent, completion, .. }) = self.in_flight.remove(&id.get()) {
            self.round_trip = Some(RoundTrip::after(self.round_trip, now - sent));
            deliveries.push(Delivery::Answer(completion, answer));
        }
    }

    /// Sends what has waited for a connection, as much as goes.
    pub(crate) fn send_waiting(&mut self, now: Instant, deliveries: &mut Vec<Delivery>) {
        while let Some(waiting) = self.waiting.pop_front() {
            match self.transmit(&waiting) {
                Err(SendError::TooManyRequests(_) | SendError::QueueFull(_)) => {
                    return self.waiting.push_front(waiting);
                }
                sent => {
                    self.waiting_bytes -= waiting.cost();
                    match sent {
                        Ok(id) => self.sent(waiting, id, now),
                        Err(error) => deliveries.extend(
                            waiting.request.map(|(_, completion)| Delivery::Answer(completion, Err(refusal(error)))),
                        ),
                    }
                }
            }
        }
    }

    /// There is no socket any more. What is in flight is lost.
    pub(crate) fn end(&mut self, reason: Disconnect, deliveries: &mut Vec<Delivery>) -> Disconnect {
        self.connection = None;
        let reason = self.kicked_or(reason);
        self.kick = None;
        self.ended = Some(reason.clone());
        let lost = mem::take(&mut self.in_flight).into_values();
        deliveries
            .extend(lost.map(|request| Delivery::Answer(request.completion, Err(RequestError::Lost(reason.clone())))));
        reason
    }

    fn kicked_or(&self, reason: Disconnect) -> Disconnect {
        self.kick.clone().map_or(reason, |reason| Disconnect::Kicked { reason })
    }

    /// What waits for a connection waits in vain.
    pub(crate) fn drop_waiting(&mut self, reason: &Disconnect, deliveries: &mut Vec<Delivery>) {
        self.waiting_bytes = 0;
        let requests = mem::take(&mut self.waiting).into_iter().filter_map(|waiting| waiting.request);
        deliveries.extend(
            requests
                .map(|(_, completion)| Delivery::Answer(completion, Err(RequestError::NotConnected(reason.clone())))),
        );
    }

    /// The task looks at what it is told before it waits again.
    pub(crate) const fn be_busy(&mut self) {
        self.listens = false;
    }

    /// The task is to be woken when there is something to do.
    pub(crate) fn listen(&mut self, task: &Waker) {
        self.listens = true;
        match &mut self.task {
            Some(known) => known.clone_from(task),
            None => self.task = Some(task.clone()),
        }
    }

    /// The task has ended.
    pub(crate) fn forget_task(&mut self) {
        self.listens = false;
        self.task = None;
    }
}

/// `{"reason": "…"}`, or nothing.
fn kick_reason(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body.get("reason").map(|reason| reason.as_str().map_or_else(|| reason.to_string(), str::to_owned))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state().1).finish_non_exhaustive()
    }
}
