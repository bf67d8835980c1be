use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use async_nats::Subscriber;
use futures_util::StreamExt;

use super::{events::message, signals::Signals};
use crate::{BusEvent, Kind};

/// The users that are taken messages in for. Each is polled only when something was sent to it.
#[derive(Debug, Default)]
pub(crate) struct Users {
    by_uid: BTreeMap<Arc<str>, u32>,
    slots: Vec<Option<User>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct User {
    subscriptions: Subscriptions,
    waker: Waker,
}

/// To what is sent to one user.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    pub(crate) pushes: Subscriber,
    pub(crate) kicks: Subscriber,
}

impl Users {
    pub(crate) fn contains(&self, uid: &str) -> bool {
        self.by_uid.contains_key(uid)
    }

    /// Gives the subscriptions back if there are some already.
    pub(crate) fn insert(
        &mut self,
        uid: &str,
        new: Subscriptions,
        signals: &Arc<Signals>,
    ) -> Result<(), Subscriptions> {
        if self.contains(uid) {
            return Err(new);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let waker = Waker::from(Arc::new(UserWaker { slot, signals: Arc::clone(signals) }));
        // Something may have come already.
        waker.wake_by_ref();
        self.slots[slot as usize] = Some(User { subscriptions: new, waker });
        self.by_uid.insert(uid.into(), slot);
        Ok(())
    }

    pub(crate) fn remove(&mut self, uid: &str) -> Option<Subscriptions> {
        let slot = self.by_uid.remove(uid)?;
        self.free.push(slot);
        self.slots[slot as usize].take().map(|user| user.subscriptions)
    }

    /// Takes out what was sent to a user, up to so many messages of a kind: the user's waker tells if there are more.
    pub(crate) fn drain(&mut self, slot: u32, limit: usize, out: &mut VecDeque<BusEvent>) {
        let Some(Some(user)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Subscriptions { pushes, kicks } = &mut user.subscriptions;
        let mut cx = Context::from_waker(&user.waker);
        let mut take = |from: &mut Subscriber, kind, to: &mut dyn FnMut(BusEvent)| {
            for _ in 0..limit {
                let Poll::Ready(Some(taken)) = from.poll_next_unpin(&mut cx) else {
                    return;
                };
                to(message(kind, taken));
            }
            cx.waker().wake_by_ref();
        };
        // Kicks are taken out first and handed on last: a push that was sent before a kick stays before it.
        let mut last = Vec::new();
        take(kicks, Kind::Kick, &mut |kick| last.push(kick));
        take(pushes, Kind::Push, &mut |push| out.push_back(push));
        out.extend(last);
    }
}

struct UserWaker {
    slot: u32,
    signals: Arc<Signals>,
}

impl Wake for UserWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signals.raise(|raised| raised.users.push(self.slot));
    }
}
