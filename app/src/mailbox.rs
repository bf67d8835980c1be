use std::{collections::VecDeque, fmt, sync::PoisonError, task::Waker};

use cereus_core::{EncodedPush, Route};
use event_listener::{Event, listener};

use crate::{
    PushError,
    limits::Budget,
    push::Content,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// How other tasks reach a connection: bounded in bytes, and empty for most of its life.
///
/// The driver of the connection empties it every turn, also while the socket is stalled. `push` goes by what waits in
/// here, `push_wait` also by what waits in the connection.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// Whether there is mail: the driver looks here first, without the lock.
    mail: AtomicBool,
    /// Whether mail was taken out since the driver told what waits in the connection.
    untold: AtomicBool,
    inner: Mutex<Inner>,
    /// Told when there is more room, and at the end, if somebody waits for it.
    room: Event,
}

#[derive(Default)]
struct Inner {
    letters: Letters,
    bytes: usize,
    /// What of it the budget of all connections was told: what waits alone is soon gone.
    counted: usize,
    /// What the connection itself holds, as far as it told.
    in_connection: usize,
    driver: Option<Waker>,
    /// Whether somebody waits for room.
    awaited: bool,
    closed: bool,
}

/// Letters in their order. The first has its place here: most come alone.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    first: Option<Letter>,
    rest: VecDeque<Letter>,
}

impl Letters {
    fn push(&mut self, letter: Letter) {
        match &self.first {
            None => self.first = Some(letter),
            Some(_) => self.rest.push_back(letter),
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &Letter> {
        self.first.iter().chain(&self.rest)
    }

    pub(crate) fn for_each(self, mut take: impl FnMut(Letter)) {
        self.first.into_iter().for_each(&mut take);
        if !self.rest.is_empty() {
            self.rest.into_iter().for_each(take);
        }
    }

    /// Takes the first ones out.
    fn split_to(&mut self, count: usize) -> Self {
        if count == 0 {
            return Self::default();
        }
        let rest = self.rest.split_off(count - 1);
        let taken = std::mem::replace(self, Self { first: None, rest });
        self.first = self.rest.pop_front();
        taken
    }
}

#[derive(Debug)]
pub(crate) enum Letter {
    Push(Route, Content),
    Encoded(EncodedPush),
    Kick(Option<String>),
    Close,
    /// The server stops: look at it.
    Drain,
}

impl Letter {
    /// What a letter counts for, with something for itself: no less than it will count for in the connection.
    fn len(&self) -> usize {
        const LETTER: usize = 160;
        LETTER
            + match self {
                Self::Push(route, content) => route.len() + content.body.len(),
                Self::Encoded(push) => push.route().len() + push.body().len(),
                Self::Kick(_) | Self::Close | Self::Drain => 0,
            }
    }
}

impl Mailbox {
    /// Puts a push in if there is room for it.
    pub(crate) fn push(&self, letter: Letter, max_bytes: usize, budget: &Budget) -> Result<(), PushError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(PushError::Closed);
        }
        // A push longer than the bound passes alone: it could never be sent otherwise.
        if inner.bytes > 0 && (inner.bytes + letter.len() > max_bytes || budget.is_over()) {
            return Err(PushError::Full);
        }
        inner.count(&letter, budget);
        self.put(inner, letter);
        Ok(())
    }

    /// Puts a push in once there is room for it, here and in the connection.
    pub(crate) async fn push_wait(
        &self,
        mut letter: Letter,
        max_bytes: usize,
        budget: &Budget,
    ) -> Result<(), PushError> {
        loop {
            listener!(self.room => room);
            match self.try_push(letter, max_bytes, budget) {
                Err(full) => letter = full,
                Ok(result) => return result,
            }
            room.await;
        }
    }

    /// Gives the letter back when there is no room for it, here or in the connection.
    fn try_push(&self, letter: Letter, max_bytes: usize, budget: &Budget) -> Result<Result<(), PushError>, Letter> {
        let mut inner = self.lock();
        let waiting = inner.bytes + inner.in_connection;
        if inner.closed {
            return Ok(Err(PushError::Closed));
        }
        if waiting > 0 && (waiting + letter.len() > max_bytes || budget.is_over()) {
            inner.awaited = true;
            return Err(letter);
        }
        inner.count(&letter, budget);
        self.put(inner, letter);
        Ok(Ok(()))
    }

    /// Puts a command in. There is always room: a few words are enough for all that can be said.
    pub(crate) fn command(&self, letter: Letter) {
        let inner = self.lock();
        let said = |waiting: &Letter| std::mem::discriminant(waiting) == std::mem::discriminant(&letter);
        if !inner.closed && !inner.letters.iter().any(said) {
            self.put(inner, letter);
        }
    }

    /// The driver's task, which is to be woken by mail.
    pub(crate) fn set_driver(&self, waker: &Waker) {
        self.lock().driver = Some(waker.clone());
    }

    /// All that waits, if there is any.
    pub(crate) fn take(&self, budget: &Budget) -> Option<Letters> {
        if !self.mail.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = self.lock();
        self.mail.store(false, Ordering::Relaxed);
        self.untold.store(true, Ordering::Relaxed);
        inner.in_connection += std::mem::take(&mut inner.bytes);
        inner.uncount(budget);
        Some(std::mem::take(&mut inner.letters))
    }

    /// The pushes that were put in before any command: they go out before an answer that is made now.
    pub(crate) fn take_pushes(&self, budget: &Budget) -> Option<Letters> {
        if !self.mail.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = self.lock();
        let is_push = |letter: &&Letter| matches!(letter, Letter::Push(..) | Letter::Encoded(_));
        let count = inner.letters.iter().take_while(is_push).count();
        let pushes = inner.letters.split_to(count);
        let bytes: usize = pushes.iter().map(Letter::len).sum();
        inner.bytes -= bytes;
        inner.in_connection += bytes;
        inner.uncount(budget);
        self.mail.store(!inner.letters.is_empty(), Ordering::Relaxed);
        self.untold.store(true, Ordering::Relaxed);
        Some(pushes)
    }

    /// Whether mail was taken out since the driver told what waits in the connection. Only the driver takes and tells.
    pub(crate) fn is_untold(&self) -> bool {
        self.untold.load(Ordering::Relaxed)
    }

    /// The driver tells what waits in the connection.
    pub(crate) fn set_in_connection(&self, bytes: usize) {
        self.untold.store(false, Ordering::Relaxed);
        let mut inner = self.lock();
        inner.in_connection = bytes;
        let awaited = std::mem::take(&mut inner.awaited);
        drop(inner);
        if awaited {
            self.room.notify(usize::MAX);
        }
    }

    /// The end: nothing is taken any more.
    pub(crate) fn close(&self, budget: &Budget) {
        let mut inner = self.lock();
        inner.uncount(budget);
        *inner = Inner { closed: true, ..Inner::default() };
        drop(inner);
        self.room.notify(usize::MAX);
    }

    fn put(&self, mut inner: MutexGuard<'_, Inner>, letter: Letter) {
        inner.bytes += letter.len();
        inner.letters.push(letter);
        // Who finds mail there already has been outrun by somebody who woke the driver.
        let driver = if self.mail.swap(true, Ordering::Release) { None } else { inner.driver.clone() };
        drop(inner);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics with the lock held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, letter: &Letter, budget: &Budget) {
        if !self.letters.is_empty() {
            budget.replace(0, letter.len());
            self.counted += letter.len();
        }
    }

    fn uncount(&mut self, budget: &Budget) {
        if self.counted > 0 {
            budget.replace(std::mem::take(&mut self.counted), 0);
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("mail", &self.mail).finish_non_exhaustive()
    }
}
