use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::grpc::intake::{Arrived, Intake};

/// The calls of one connection. They come in the order in which they were sent, but each is read by a task of its own: here
/// those that were read first wait for those that came first.
#[derive(Debug)]
pub(crate) struct Line {
    intake: Arc<Intake>,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    first: u64,
    /// By their places: who left the line before the first one did, with what was read or with nothing.
    left: BTreeMap<u64, Option<Arrived>>,
}

impl Line {
    pub(crate) fn new(intake: Arc<Intake>) -> Arc<Self> {
        Arc::new(Self { intake, places: Mutex::default() })
    }

    pub(crate) const fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// A place behind all others.
    pub(crate) fn join(self: &Arc<Self>) -> Place {
        let mut places = self.lock();
        places.next += 1;
        Place { line: Arc::clone(self), number: places.next - 1, left: false }
    }

    fn leave(&self, number: u64, arrived: Option<Arrived>) {
        let mut places = self.lock();
        places.left.insert(number, arrived);
        // It is handed over with the lock held, so that nobody comes between.
        while let Some(arrived) = places.next_left() {
            if let Some(arrived) = arrived {
                self.intake.hand_over(arrived);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing panics with the lock held.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn next_left(&mut self) -> Option<Option<Arrived>> {
        let arrived = self.left.remove(&self.first)?;
        self.first += 1;
        Some(arrived)
    }
}

/// A place in the line. Dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Place {
    line: Arc<Line>,
    number: u64,
    left: bool,
}

impl Place {
    /// Hands over what was read, as soon as all that came before has been or has been given up.
    pub(crate) fn pass(mut self, arrived: Arrived) {
        self.left = true;
        self.line.leave(self.number, Some(arrived));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.left {
            self.line.leave(self.number, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::{BusEvent, BusEvents, Kind, grpc::intake};

    fn next(events: &mut impl BusEvents) -> Option<Bytes> {
        match events.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(BusEvent::Message { payload, .. })) => Some(payload),
            _ => None,
        }
    }

    #[test]
    fn what_came_first_is_handed_over_first() {
        let (intake, mut events) = intake::new(intake::Limits { calls: 9, events: 9, bytes: 9 });
        let line = Line::new(Arc::clone(&intake));
        let arrived = |text: &'static str| {
            let call = intake.begin().unwrap();
            Arrived {
                call: call.number(),
                kind: Kind::Call,
                from: String::new(),
                payload: Bytes::from_static(text.as_bytes()),
            }
        };
        let [a, b, c, d] = [(); 4].map(|()| line.join());
        b.pass(arrived("b"));
        d.pass(arrived("d"));
        assert_eq!(next(&mut events), None);
        a.pass(arrived("a"));
        assert_eq!(
            [next(&mut events), next(&mut events), next(&mut events)],
            [Some("a".into()), Some("b".into()), None]
        );
        drop(c);
        assert_eq!([next(&mut events), next(&mut events)], [Some("d".into()), None]);
        line.join().pass(arrived("e"));
        assert_eq!(next(&mut events), Some("e".into()));
    }
}
