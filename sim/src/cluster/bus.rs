//! The bus: who is there, and what is on its way to whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use cereus_cluster::{
    Address, Bus, BusError, BusEvent, BusEvents, CallId, Kind, ReplyTo, ServerInfo, Transmit, Undelivered,
};
use cereus_core::Instant;
use cereus_transports::rt::{Runtime, Timer};

use super::{SimCluster, State};
use crate::{
    Rng, SimTimer,
    nodes::{BusFaults, faults::rarely},
};

/// How long an envelope may be, as NATS has it.
const MAX_PAYLOAD: usize = 1 << 20;

/// How many envelopes may be on their way to one server. More are refused, as NATS does.
const MAX_WAITING: usize = 65_536;

/// All servers on the bus.
#[derive(Default)]
pub(super) struct Stations {
    pub(super) faults: BusFaults,
    /// Who does not reach whom.
    pub(super) cuts: BTreeSet<(String, String)>,
    /// By the numbers of their starts.
    stations: BTreeMap<u64, Station>,
    by_id: BTreeMap<String, u64>,
    /// When the last envelope of one start to another arrives: none that was sent later comes before it.
    last: BTreeMap<(u64, u64), Instant>,
    last_number: u64,
}

/// One start of a server.
struct Station {
    info: Arc<ServerInfo>,
    users: BTreeSet<String>,
    /// What is on its way here, by the time of its arrival.
    waiting: BTreeMap<(Instant, u64), BusEvent>,
    waker: Option<Waker>,
    up: bool,
}

impl Stations {
    pub(super) fn waiting(&self, id: &str) -> usize {
        self.by_id.get(id).map_or(0, |number| self.stations[number].waiting.len())
    }

    pub(super) fn down(&self) -> impl Iterator<Item = &str> {
        self.stations.values().filter(|station| !station.up).map(|station| station.info.id.as_str())
    }

    pub(super) fn set_link(&mut self, id: &str, up: bool, now: Instant) -> Option<Waker> {
        let number = *self.by_id.get(id)?;
        let station = self.stations.get_mut(&number).filter(|station| station.up != up)?;
        station.up = up;
        station.waiting.clear();
        let event = if up { BusEvent::Up { max_payload: MAX_PAYLOAD } } else { BusEvent::Down };
        self.put(number, event, now)
    }

    fn start(&mut self, info: Arc<ServerInfo>, now: Instant) -> Option<u64> {
        if self.by_id.contains_key(&info.id) {
            return None;
        }
        let number = self.next_number();
        self.by_id.insert(info.id.clone(), number);
        let station = Station { info, users: BTreeSet::new(), waiting: BTreeMap::new(), waker: None, up: true };
        self.stations.insert(number, station);
        self.put(number, BusEvent::Up { max_payload: MAX_PAYLOAD }, now);
        Some(number)
    }

    fn end(&mut self, number: u64) {
        if let Some(station) = self.stations.remove(&number) {
            self.by_id.remove(&station.info.id);
        }
        self.last.retain(|(from, to), _| *from != number && *to != number);
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn find(&self, to: &Address) -> Vec<u64> {
        let which = |which: &dyn Fn(&Station) -> bool| {
            self.stations.iter().filter(|(_, station)| which(station)).map(|(number, _)| *number).collect()
        };
        match to {
            Address::Server(info) => self.by_id.get(&info.id).copied().into_iter().collect(),
            Address::User { frontend_type, uid } => {
                which(&|station| station.info.server_type == **frontend_type && station.users.contains(&**uid))
            }
            Address::Type(server_type) => which(&|station| station.info.server_type == **server_type),
            Address::Reply(to) => read_address(to).map(|(number, _)| number).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn put(&mut self, to: u64, event: BusEvent, at: Instant) -> Option<Waker> {
        let number = self.next_number();
        let station = self.stations.get_mut(&to)?;
        station.waiting.insert((at, number), event);
        station.waker.take()
    }
}

/// A parcel from one start of a server to another.
struct Parcel {
    from: u64,
    to: u64,
    event: BusEvent,
}

impl State {
    /// Takes an envelope, or gives it back.
    fn send(&mut self, from: u64, message: Transmit, now: Instant) -> Result<Vec<Waker>, Transmit> {
        let Self { bus, rng, .. } = self;
        if rarely(rng, bus.faults.refuse) {
            return Err(message);
        }
        if !bus.stations.get(&from).is_some_and(|station| station.up) {
            // It has not been noticed yet.
            return Ok(Vec::new());
        }
        let mut wakers = Vec::new();
        let targets = bus.find(&message.to);
        let Transmit { to, kind, call, payload } = message;
        let failure = if targets.is_empty() {
            Some(Undelivered::NoResponders)
        } else if kind == Kind::Call && rarely(rng, bus.faults.fail) {
            Some(Undelivered::Failed("the bus dropped it".to_owned()))
        } else {
            None
        };
        if let Some(failure) = failure {
            let event = call.map(|call| BusEvent::Reply { call, result: Err(failure) });
            wakers.extend(event.and_then(|event| bus.carry(Parcel { from, to: from, event }, rng, now)));
            return Ok(wakers);
        }
        for target in targets {
            let event = event(&to, kind, call, from, payload.clone());
            wakers.extend(event.and_then(|event| bus.carry(Parcel { from, to: target, event }, rng, now)));
        }
        Ok(wakers)
    }
}

impl Stations {
    fn carry(&mut self, parcel: Parcel, rng: &mut Rng, now: Instant) -> Option<Waker> {
        let Parcel { from, to, event } = parcel;
        let id = |number| self.stations.get(&number).map(|station| station.info.id.clone());
        let is_cut = self.cuts.contains(&(id(from)?, id(to)?));
        let station = self.stations.get(&to)?;
        if is_cut || !station.up || station.waiting.len() >= MAX_WAITING || rarely(rng, self.faults.lose) {
            return None;
        }
        let last = self.last.entry((from, to)).or_default();
        *last = (*last).max(now + rng.duration(self.faults.delay.clone()));
        let at = *last;
        if rarely(rng, self.faults.repeat) {
            let again = at + rng.duration(self.faults.delay.clone()) * 3;
            self.put(to, event.clone(), again);
        }
        self.put(to, event, at)
    }
}

/// What is told at the other end.
fn event(to: &Address, kind: Kind, call: Option<CallId>, from: u64, payload: Bytes) -> Option<BusEvent> {
    if let Address::Reply(to) = to {
        let (_, call) = read_address(to)?;
        return Some(BusEvent::Reply { call, result: Ok(payload) });
    }
    let reply = call.map(|call| ReplyTo::new(format!("{from}/{call}")));
    Some(BusEvent::Message { kind, reply, payload })
}

/// The start of the server that called, and its call.
fn read_address(to: &ReplyTo) -> Option<(u64, CallId)> {
    let (number, call) = to.as_str().split_once('/')?;
    Some((number.parse().ok()?, CallId::parse(call)?))
}

/// The bus of one server of a [`SimCluster`].
#[derive(Debug)]
pub struct SimBus {
    cluster: SimCluster,
    number: OnceLock<u64>,
}

impl SimBus {
    pub(super) const fn new(cluster: SimCluster) -> Self {
        Self { cluster, number: OnceLock::new() }
    }

    fn with_users(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        let mut state = self.cluster.lock();
        if let Some(station) = self.number.get().and_then(|number| state.bus.stations.get_mut(number)) {
            change(&mut station.users);
        }
    }
}

impl Bus for SimBus {
    async fn start(&self, own: Arc<ServerInfo>) -> Result<Box<dyn BusEvents>, BusError> {
        let now = self.cluster.runtime.now();
        let number = self.cluster.lock().bus.start(Arc::clone(&own), now);
        let number = number.ok_or_else(|| BusError::new(format!("there is a server `{}` already", own.id)))?;
        self.number.set(number).map_err(|_| BusError::new("a bus is started once"))?;
        Ok(Box::new(Events { cluster: self.cluster.clone(), number, timer: Runtime::timer(&self.cluster.runtime) }))
    }

    fn send(&self, message: Transmit) -> Result<(), Transmit> {
        let Some(number) = self.number.get() else {
            return Err(message);
        };
        let now = self.cluster.runtime.now();
        let wakers = self.cluster.lock().send(*number, message, now)?;
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    async fn subscribe_user(&self, uid: &str) -> Result<(), BusError> {
        self.with_users(|users| users.insert(uid.to_owned()));
        Ok(())
    }

    async fn unsubscribe_user(&self, uid: &str) {
        self.with_users(|users| users.remove(uid));
    }

    async fn stop(&self) {}
}

/// What a server takes its mail out of. When it is dropped, the server can no longer be reached.
struct Events {
    cluster: SimCluster,
    number: u64,
    timer: SimTimer,
}

impl BusEvents for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        let now = self.cluster.runtime.now();
        let next = {
            let mut state = self.cluster.lock();
            let Some(station) = state.bus.stations.get_mut(&self.number) else {
                return Poll::Ready(None);
            };
            match station.waiting.first_entry() {
                Some(entry) if entry.key().0 <= now => return Poll::Ready(Some(entry.remove())),
                next => {
                    let next = next.map(|entry| entry.key().0);
                    station.waker = Some(cx.waker().clone());
                    next
                }
            }
        };
        next.map_or(Poll::Pending, |at| self.timer.poll_until(at, cx).map(|()| None))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.cluster.lock().bus.end(self.number);
    }
}
