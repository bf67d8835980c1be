use std::{collections::BTreeSet, fmt};

use cereus_core::Instant;

use crate::Kind;

/// One call in flight. It is part of the subject that the answer comes to.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(u64);

impl CallId {
    const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// A small number that no other call in flight has.
    pub const fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Reads what its `Display` form says.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

/// How calls ended, and what came that no call waited for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct CallStats {
    /// Calls that were begun.
    pub begun: u64,
    /// Calls that got their answer, or were told that there is none to be had.
    pub answered: u64,
    /// Calls whose deadline came first.
    pub timed_out: u64,
    /// Calls that nobody waited for any more.
    pub cancelled: u64,
    /// Answers to calls that had timed out or been cancelled.
    pub late: u64,
    /// Answers to calls that had been answered.
    pub duplicate: u64,
    /// Answers to calls that there never were.
    pub unknown: u64,
    /// Answers of this server that were dropped, because too much waited for the bus.
    pub unsent: u64,
}

/// Calls in flight: each has a deadline and exactly one end.
#[derive(Debug)]
pub(crate) struct Calls {
    slots: Vec<Slot>,
    free: Vec<u32>,
    deadlines: BTreeSet<(Instant, u32)>,
    max: usize,
    stats: CallStats,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(Instant, Kind),
    /// The call of this generation got its answer, or else was given up.
    Ended {
        answered: bool,
    },
}

impl Calls {
    pub(crate) const fn new(max: usize) -> Self {
        let stats = CallStats {
            begun: 0,
            answered: 0,
            timed_out: 0,
            cancelled: 0,
            late: 0,
            duplicate: 0,
            unknown: 0,
            unsent: 0,
        };
        Self { slots: Vec::new(), free: Vec::new(), deadlines: BTreeSet::new(), max, stats }
    }

    pub(crate) const fn stats(&self) -> &CallStats {
        &self.stats
    }

    pub(crate) const fn ended(&self) -> u64 {
        self.stats.answered + self.stats.timed_out + self.stats.cancelled
    }

    pub(crate) const fn count_unsent(&mut self) {
        self.stats.unsent += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// `None`: there are too many.
    pub(crate) fn begin(&mut self, deadline: Instant, kind: Kind) -> Option<CallId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.max => {
                self.slots.push(Slot { generation: 0, state: State::Ended { answered: false } });
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.state = State::Waiting(deadline, kind);
        self.deadlines.insert((deadline, slot));
        self.stats.begun += 1;
        Some(CallId::new(slot, entry.generation))
    }

    pub(crate) fn is_waiting(&self, call: CallId) -> bool {
        let slot = self.slots.get(call.slot());
        slot.is_some_and(|slot| slot.generation == call.generation() && matches!(slot.state, State::Waiting(..)))
    }

    /// What the call was, if it waited for the answer that came.
    pub(crate) fn answer(&mut self, call: CallId) -> Option<Kind> {
        if let Some(kind) = self.end(call, true) {
            self.stats.answered += 1;
            return Some(kind);
        }
        let counter = match self.slots.get(call.slot()) {
            Some(Slot { generation, state: State::Ended { answered: true } }) if *generation == call.generation() => {
                &mut self.stats.duplicate
            }
            Some(slot) if slot.generation.wrapping_sub(call.generation()) < u32::MAX / 2 => &mut self.stats.late,
            _ => &mut self.stats.unknown,
        };
        *counter += 1;
        None
    }

    pub(crate) fn cancel(&mut self, call: CallId) {
        if self.end(call, false).is_some() {
            self.stats.cancelled += 1;
        }
    }

    /// The next call whose deadline has come.
    pub(crate) fn time_out(&mut self, now: Instant) -> Option<CallId> {
        let (deadline, slot) = *self.deadlines.first()?;
        if now < deadline {
            return None;
        }
        let call = CallId::new(slot, self.slots[slot as usize].generation);
        self.end(call, false);
        self.stats.timed_out += 1;
        Some(call)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn end(&mut self, call: CallId, answered: bool) -> Option<Kind> {
        let slot = self.slots.get_mut(call.slot()).filter(|slot| slot.generation == call.generation())?;
        let State::Waiting(deadline, kind) = slot.state else {
            return None;
        };
        slot.state = State::Ended { answered };
        let slot = call.slot() as u32;
        self.deadlines.remove(&(deadline, slot));
        self.free.push(slot);
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_call_has_one_end() {
        let mut calls = Calls::new(2);
        let (first, second) = (calls.begin(at(5), Kind::Call).unwrap(), calls.begin(at(3), Kind::Kick).unwrap());
        assert_eq!((calls.begin(at(9), Kind::Call), calls.next_deadline()), (None, Some(at(3))));
        assert_eq!(calls.answer(first), Some(Kind::Call));
        assert_eq!(calls.answer(first), None);
        assert_eq!((calls.time_out(at(2)), calls.time_out(at(3)), calls.time_out(at(9))), (None, Some(second), None));
        assert_eq!(calls.answer(second), None);
        calls.cancel(second);
        assert_eq!(calls.answer(CallId::new(7, 1)), None);
        let stats = CallStats {
            begun: 2,
            answered: 1,
            timed_out: 1,
            late: 1,
            duplicate: 1,
            unknown: 1,
            ..CallStats::default()
        };
        assert_eq!((*calls.stats(), calls.len()), (stats, 0));
    }

    #[test]
    fn a_slot_in_use_again_does_not_take_the_answer_of_the_call_before() {
        let mut calls = Calls::new(1);
        let first = calls.begin(at(1), Kind::Call).unwrap();
        calls.cancel(first);
        let second = calls.begin(at(2), Kind::Call).unwrap();
        assert_eq!(first.slot(), second.slot());
        assert_eq!(calls.answer(first), None);
        assert!(calls.is_waiting(second) && !calls.is_waiting(first));
        assert_eq!(calls.stats().late, 1);
        assert_eq!(CallId::parse(&second.to_string()), Some(second));
    }
}
