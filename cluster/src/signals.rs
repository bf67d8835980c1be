use std::{
    mem,
    sync::PoisonError,
    task::{Context, Waker},
};

use crate::sync::{Mutex, MutexGuard};

/// What happened, for one task that looks at it; wakes that task.
///
/// It is touched by wakers: nothing is called with the lock held.
#[derive(Debug, Default)]
pub(crate) struct Signals<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug, Default)]
struct Inner<T> {
    raised: T,
    ended: bool,
    waker: Option<Waker>,
}

impl<T> Signals<T> {
    pub(crate) fn raise(&self, change: impl FnOnce(&mut T)) {
        let mut inner = self.lock();
        change(&mut inner.raised);
        let waker = inner.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Swaps in what happened for an empty `raised`. The task is woken when anything else happens. Returns whether
    /// this has ended.
    pub(crate) fn take(&self, raised: &mut T, cx: &Context<'_>) -> bool {
        let mut inner = self.lock();
        mem::swap(&mut inner.raised, raised);
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        inner.ended
    }

    /// Nobody needs what this is about any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.raise(|_| ());
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing panics with the lock held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(loom)]
#[cfg(test)]
mod checks;
