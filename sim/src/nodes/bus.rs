//! The bus: who sent what to whom, and what becomes of it on the way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cereus_cluster::{Address, BusEvent, CallId, Kind, ReplyTo, Transmit, Undelivered};
use cereus_core::Instant;

use super::{Planned, World, faults::rarely};
use crate::nodes::BusFaults;

/// What the bus carries when nobody says otherwise.
const MAX_PAYLOAD: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Bus {
    faults: BusFaults,
    max_payload: usize,
    /// Who does not reach whom, in both directions.
    cuts: BTreeSet<(String, String)>,
    /// When the last message of a sender to an address arrives: none that was sent later comes before it.
    last: BTreeMap<(usize, To), Instant>,
    pub(super) delivered: usize,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            faults: BusFaults::default(),
            max_payload: MAX_PAYLOAD,
            cuts: BTreeSet::new(),
            last: BTreeMap::new(),
            delivered: 0,
        }
    }
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum To {
    /// The server with this id, whichever it is by then.
    Server(String),
    /// The very node that called.
    Caller(usize),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    from: usize,
    to: To,
    kind: Kind,
    /// The call that is to be answered, or is.
    call: Option<CallId>,
    payload: Bytes,
}

/// Faults of the bus.
impl World {
    /// How the bus treats messages from now on.
    pub fn set_bus(&mut self, faults: BusFaults) {
        self.bus.faults = faults;
    }

    /// How long a message may be for links that come up from now on. Default: 1 MiB.
    pub const fn set_max_payload(&mut self, bytes: usize) {
        self.bus.max_payload = bytes;
    }

    /// Messages between these two groups are lost, those on their way as well.
    pub fn cut(&mut self, some: &[&str], others: &[&str]) {
        self.note(|| format!("{some:?} and {others:?} are cut from each other"));
        for one in some {
            for other in others {
                self.bus.cuts.insert(((*one).to_owned(), (*other).to_owned()));
                self.bus.cuts.insert(((*other).to_owned(), (*one).to_owned()));
            }
        }
    }

    /// All reach all again.
    pub fn mend(&mut self) {
        self.note(|| "all cuts are mended".to_owned());
        self.bus.cuts.clear();
    }

    /// A node loses its link and notices. What is on the way to it is lost.
    pub fn link_down(&mut self, id: &str) {
        let host = self.host(id);
        if std::mem::replace(&mut self.hosts[host].link, false) {
            self.bus_says(host, BusEvent::Down);
        }
    }

    /// A node has its link again.
    pub fn link_back(&mut self, id: &str) {
        let host = self.host(id);
        if !self.hosts[host].link {
            self.link_up(host);
        }
    }

    pub(super) fn link_up(&mut self, host: usize) {
        self.hosts[host].link = true;
        self.bus_says(host, BusEvent::Up { max_payload: self.bus.max_payload });
    }

    /// The bus takes nothing from this node, or does so again.
    pub fn set_full(&mut self, id: &str, full: bool) {
        let host = self.host(id);
        self.hosts[host].full = full;
    }

    /// The bus delivers something that nobody sent.
    pub fn inject(&mut self, id: &str, event: BusEvent) {
        let host = self.host(id);
        self.bus_says(host, event);
    }
}

impl World {
    /// The bus takes a message, or gives it back.
    pub(super) fn carry(&mut self, from: usize, message: Transmit) -> Result<(), Transmit> {
        if self.hosts[from].full || rarely(&mut self.rng, self.bus.faults.refuse) {
            return Err(message);
        }
        let Transmit { to, kind, call, payload } = message;
        let (to, call) = match to {
            Address::Server(info) => (To::Server(info.id.clone()), call),
            Address::Reply(to) => {
                let (host, call) = read_address(&to);
                (To::Caller(host), Some(call))
            }
            other => panic!("no node here sends to {other:?}"),
        };
        let parcel = Parcel { from, to, kind, call, payload };
        if kind == Kind::Call && rarely(&mut self.rng, self.bus.faults.fail) {
            self.undelivered(&parcel, Undelivered::Failed("the bus dropped it".to_owned()));
        }
        if rarely(&mut self.rng, self.bus.faults.lose) || self.is_cut(&parcel) {
            self.note(|| format!("lost: {parcel:?}"));
            return Ok(());
        }
        let arrival = self.now() + self.rng.duration(self.bus.faults.delay.clone());
        let last = self.bus.last.entry((from, parcel.to.clone())).or_default();
        *last = arrival.max(*last);
        let arrival = *last;
        if rarely(&mut self.rng, self.bus.faults.repeat) {
            let again = arrival + self.rng.duration(self.bus.faults.delay.clone()) * 3;
            self.plan(again, Planned::Parcel(parcel.clone()));
        }
        self.plan(arrival, Planned::Parcel(parcel));
        Ok(())
    }

    pub(super) fn arrive(&mut self, parcel: Parcel) {
        if self.is_cut(&parcel) {
            return;
        }
        let host = match &parcel.to {
            To::Server(id) => self.running.get(id).copied(),
            To::Caller(host) => Some(*host),
        };
        match host.filter(|host| self.hosts[*host].is_running && self.hosts[*host].link) {
            Some(host) if parcel.kind == Kind::Reply => {
                let call = parcel.call.expect("an answer has a call");
                self.bus_says(host, BusEvent::Reply { call, result: Ok(parcel.payload) });
            }
            Some(host) => {
                self.bus.delivered += 1;
                let Parcel { from, kind, call, payload, .. } = parcel;
                let reply = call.map(|call| address(from, call));
                self.bus_says(host, BusEvent::Message { kind, reply, payload });
            }
            None if parcel.kind == Kind::Reply => {}
            None => self.undelivered(&parcel, Undelivered::NoResponders),
        }
    }

    /// Whoever sent it is told, if it waits for an answer.
    fn undelivered(&mut self, parcel: &Parcel, why: Undelivered) {
        if let Some(call) = parcel.call {
            let at = self.now() + self.rng.duration(self.bus.faults.delay.clone());
            self.plan(at, Planned::Told { host: parcel.from, event: BusEvent::Reply { call, result: Err(why) } });
        }
    }

    fn is_cut(&self, parcel: &Parcel) -> bool {
        let to = match &parcel.to {
            To::Server(id) => id.clone(),
            To::Caller(host) => self.hosts[*host].info.id.clone(),
        };
        self.bus.cuts.contains(&(self.hosts[parcel.from].info.id.clone(), to))
    }
}

/// Where the answer to a call goes: to this node alone, also when another one has its id by then.
fn address(host: usize, call: CallId) -> ReplyTo {
    ReplyTo::new(format!("{host}/{call}"))
}

fn read_address(to: &ReplyTo) -> (usize, CallId) {
    let parts = to.as_str().split_once('/').and_then(|(host, call)| Some((host.parse().ok()?, CallId::parse(call)?)));
    parts.unwrap_or_else(|| panic!("{to:?} is not an address of this bus"))
}
