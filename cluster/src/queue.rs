//! A bounded queue between tasks of any runtime.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::sync::{Mutex, MutexGuard};

/// A queue that holds so many items.
pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(Inner {
        items: VecDeque::new(),
        capacity,
        senders: 1,
        receiver: true,
        waiting_receiver: None,
        waiting_senders: Vec::new(),
    }));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver: bool,
    waiting_receiver: Option<Waker>,
    waiting_senders: Vec<Waker>,
}

#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Mutex<Inner<T>>>);

impl<T> Sender<T> {
    /// Gives the item back if there is no room or nobody to take it.
    pub(crate) fn try_send(&self, item: T) -> Result<(), T> {
        let mut inner = lock(&self.0);
        if !inner.receiver || inner.items.len() >= inner.capacity {
            return Err(item);
        }
        inner.items.push_back(item);
        let waker = inner.waiting_receiver.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Waits for room. Without a receiver the item goes nowhere.
    pub(crate) async fn send(&self, item: T) {
        let mut item = Some(item);
        poll_fn(|cx| {
            let Some(next) = item.take() else {
                return Poll::Ready(());
            };
            let Err(back) = self.try_send(next) else {
                return Poll::Ready(());
            };
            let mut inner = lock(&self.0);
            if !inner.receiver {
                return Poll::Ready(());
            }
            item = Some(back);
            if inner.items.len() < inner.capacity {
                // There is room since.
                cx.waker().wake_by_ref();
            } else if !inner.waiting_senders.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.waiting_senders.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut inner = lock(&self.0);
        inner.senders -= 1;
        let waker = if inner.senders == 0 { inner.waiting_receiver.take() } else { None };
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Mutex<Inner<T>>>);

impl<T> Receiver<T> {
    pub(crate) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut inner = lock(&self.0);
        let Some(item) = inner.items.pop_front() else {
            if inner.senders == 0 {
                return Poll::Ready(None);
            }
            inner.waiting_receiver = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let wakers = std::mem::take(&mut inner.waiting_senders);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(item))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut inner = lock(&self.0);
        inner.receiver = false;
        let items = std::mem::take(&mut inner.items);
        let wakers = std::mem::take(&mut inner.waiting_senders);
        drop(inner);
        drop(items);
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with the lock held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(loom)]
#[cfg(test)]
mod checks;
