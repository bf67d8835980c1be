use std::{
    fmt,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{
    Address, CallError, CallId, CallStats, ClusterEvent, ClusterNode, Kind, Policy, ReplyTo, ServerInfo, Servers,
    protos::Response,
};
use cereus_core::Instant;
use event_listener::{Event, listener};

use crate::{
    cluster::{Call, Cluster, DynBindings, DynBus, Forwards, Incoming, Settings, bindings::Bound},
    sync::{Mutex, MutexGuard, RwLock},
};

/// What all parts of a running server know of the cluster.
pub(crate) struct Shared {
    pub(crate) own: Arc<ServerInfo>,
    pub(crate) bus: Arc<dyn DynBus>,
    pub(crate) storage: Option<Arc<dyn DynBindings>>,
    pub(crate) settings: Settings,
    pub(crate) forwards: Forwards,
    pub(crate) bound: Bound,
    pub(crate) incoming: Arc<Incoming>,
    pub(crate) calls_policy: Policy,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    servers: RwLock<Arc<Servers>>,
    state: Mutex<State>,
    /// Told when something happened that somebody may wait for.
    changed: Event,
}

struct State {
    node: ClusterNode,
    /// By the slots of the calls in flight. A slot is used again before whoever waited has looked at what came.
    waiting: Vec<Option<Arc<Answer>>>,
    facts: Facts,
    task: Option<Waker>,
    /// When the task wakes by itself.
    armed: Option<Instant>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) synced: bool,
    pub(crate) registered: bool,
    pub(crate) left: bool,
    /// The server has come to its end: nothing is sent or taken in any more.
    pub(crate) ended: bool,
}

/// Where a call finds its end.
#[derive(Default)]
pub(crate) struct Answer(Mutex<AnswerState>);

enum AnswerState {
    Waiting(Option<Waker>),
    Here(Result<Response, CallError>),
    /// Nobody waits for it.
    Unwanted,
}

impl Default for AnswerState {
    fn default() -> Self {
        Self::Waiting(None)
    }
}

impl Answer {
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Response, CallError>> {
        let mut state = lock(&self.0);
        match std::mem::replace(&mut *state, AnswerState::Unwanted) {
            AnswerState::Here(result) => Poll::Ready(result),
            AnswerState::Waiting(_) | AnswerState::Unwanted => {
                *state = AnswerState::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    pub(crate) fn forget(&self) {
        *lock(&self.0) = AnswerState::Unwanted;
    }

    /// Gives the result back if nobody waits for it.
    fn put(&self, result: Result<Response, CallError>) -> Result<Option<Waker>, Result<Response, CallError>> {
        let mut state = lock(&self.0);
        match &mut *state {
            AnswerState::Waiting(waker) => {
                let waker = waker.take();
                *state = AnswerState::Here(result);
                Ok(waker)
            }
            _ => Err(result),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with one of these locks held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(cluster: &mut Cluster, own: ServerInfo, clock: Box<dyn Fn() -> Instant + Send + Sync>) -> Self {
        let own = Arc::new(own);
        let seed = crate::random::seed(&own.id);
        let node = ClusterNode::new(Arc::clone(&own), cluster.node.clone());
        Self {
            bus: Arc::clone(&cluster.bus),
            storage: cluster.bindings.clone(),
            settings: cluster.settings,
            forwards: Forwards::new(std::mem::take(&mut cluster.forwards), std::mem::take(&mut cluster.others), seed),
            bound: Bound::default(),
            incoming: Arc::default(),
            calls_policy: Policy::random(seed),
            clock,
            servers: RwLock::new(Arc::clone(node.servers())),
            state: Mutex::new(State { node, waiting: Vec::new(), facts: Facts::default(), task: None, armed: None }),
            own,
            changed: Event::new(),
        }
    }

    /// Who is there.
    pub(crate) fn servers(&self) -> Arc<Servers> {
        Arc::clone(&self.servers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What requests carry: the own id, if clients connect here.
    pub(crate) fn frontend_id(&self) -> String {
        if self.own.frontend { self.own.id.clone() } else { String::new() }
    }

    pub(crate) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// How long a call may take, and when that is over. It must not outlive what it is part of.
    pub(crate) fn limit(&self, timeout: Option<Duration>, outer: Option<Instant>) -> (Duration, Instant) {
        let now = self.now();
        let own = timeout.unwrap_or(self.settings.request_timeout);
        let timeout = outer.map_or(own, |outer| own.min(outer - now));
        (timeout, now + timeout)
    }

    /// Sends something that is answered.
    pub(crate) fn call(
        self: &Arc<Self>,
        to: Address,
        kind: Kind,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Call, CallError> {
        let mut state = self.lock();
        let call = state.node.send_call(to, kind, payload, deadline)?;
        if state.waiting.len() <= call.slot() {
            state.waiting.resize_with(call.slot() + 1, || None);
        }
        let answer = Arc::<Answer>::default();
        state.waiting[call.slot()] = Some(Arc::clone(&answer));
        let late = state.armed.is_none_or(|armed| deadline < armed);
        self.flush(&mut state, late);
        drop(state);
        Ok(Call::new(Arc::clone(self), call, answer))
    }

    /// Sends something that nobody answers.
    pub(crate) fn send(&self, to: Address, kind: Kind, payload: Bytes) -> Result<(), CallError> {
        let mut state = self.lock();
        state.node.send(to, kind, payload)?;
        self.flush(&mut state, false);
        Ok(())
    }

    /// Answers another server.
    pub(crate) fn reply(&self, to: ReplyTo, response: &impl prost::Message) {
        let mut state = self.lock();
        state.node.reply(to, response);
        self.flush(&mut state, false);
    }

    /// Hands over to the bus what it takes. The lock is held: what is sent first goes first.
    fn flush(&self, state: &mut State, mut wake: bool) {
        while let Some(transmit) = state.node.poll_transmit() {
            if let Err(transmit) = self.bus.send(transmit) {
                state.node.return_transmit(transmit, self.now());
                wake = true;
                break;
            }
        }
        if wake && let Some(task) = &state.task {
            task.wake_by_ref();
        }
    }

    /// Nobody waits for the call any more, nor is it to be sent if it was not.
    pub(crate) fn cancel(&self, call: CallId) {
        self.lock().node.cancel(call);
    }

    /// Looks who is there.
    pub(crate) fn watch(&self) {
        self.command(ClusterNode::watch);
    }

    /// Puts the own record into the registry.
    pub(crate) fn join(&self) {
        self.command(ClusterNode::join);
    }

    /// Takes the own record out of the registry.
    pub(crate) fn leave(&self) {
        self.command(ClusterNode::leave);
    }

    /// The end.
    pub(crate) fn end(&self) {
        self.lock().facts.ended = true;
        self.command(|_| ());
    }

    fn command(&self, command: impl FnOnce(&mut ClusterNode)) {
        let mut state = self.lock();
        command(&mut state.node);
        self.flush(&mut state, true);
        drop(state);
        self.changed.notify(usize::MAX);
    }

    pub(crate) fn facts(&self) -> Facts {
        self.lock().facts
    }

    pub(crate) async fn wait_until(&self, holds: impl Fn(&Facts) -> bool) {
        self.retry(|| holds(&self.facts()).then_some(())).await;
    }

    /// Tries something until it succeeds: again whenever something happened, or the bus took something.
    pub(crate) async fn retry<T>(&self, attempt: impl Fn() -> Option<T>) -> T {
        loop {
            listener!(self.changed => changed);
            if let Some(done) = attempt() {
                return done;
            }
            changed.await;
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.lock().node.is_connected()
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.lock().node.is_registered()
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        self.lock().node.calls_in_flight()
    }

    pub(crate) fn call_stats(&self) -> CallStats {
        *self.lock().node.call_stats()
    }

    /// Lets the machine take something in, and does what is to be done afterwards. Only the task does this.
    pub(crate) fn drive(&self, now: Instant, input: impl FnOnce(&mut ClusterNode), output: &mut Output) {
        let mut wakers = Vec::new();
        let mut state = self.lock();
        // What had to wait for the bus goes out here and nowhere else.
        let queued = state.node.queued_bytes();
        input(&mut state.node);
        while let Some(event) = state.node.poll_event() {
            if let Some(event) = self.note(&mut state, event, &mut wakers) {
                output.events.push(event);
            }
        }
        while let Some(command) = state.node.poll_registry() {
            output.commands.push(command);
        }
        self.flush(&mut state, false);
        let has_more_room = state.node.queued_bytes() < queued;
        state.armed = state.node.poll_timeout();
        output.wake_at = state.armed.map(|at| at.max(now));
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if has_more_room {
            self.changed.notify(usize::MAX);
        }
    }

    /// What of an event concerns only this; the rest is handed on.
    fn note(&self, state: &mut State, event: ClusterEvent, wakers: &mut Vec<Waker>) -> Option<ClusterEvent> {
        let facts = &mut state.facts;
        match event {
            ClusterEvent::Finished { call, result } => {
                let put = match state.waiting[call.slot()].take() {
                    Some(answer) => answer.put(result),
                    None => Err(result),
                };
                return match put {
                    Ok(waker) => {
                        wakers.extend(waker);
                        None
                    }
                    Err(result) => Some(ClusterEvent::Finished { call, result }),
                };
            }
            ClusterEvent::Synced => facts.synced = true,
            ClusterEvent::Registered => facts.registered = true,
            ClusterEvent::Left => facts.left = true,
            event => {
                if let ClusterEvent::Server(_) = event {
                    let servers = Arc::clone(state.node.servers());
                    *self.servers.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&servers);
                }
                return Some(event);
            }
        }
        self.changed.notify(usize::MAX);
        Some(event)
    }

    /// The task that is to be woken when there is something for it to do.
    pub(crate) fn set_task(&self, waker: &Waker) {
        let mut state = self.lock();
        if !state.task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            state.task = Some(waker.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// What the machine wants done.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) events: Vec<ClusterEvent>,
    pub(crate) commands: Vec<cereus_cluster::RegistryCommand>,
    pub(crate) wake_at: Option<Instant>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("own", &self.own).field("servers", &self.servers().len()).finish_non_exhaustive()
    }
}
