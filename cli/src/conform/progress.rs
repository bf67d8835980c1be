//! One line that says what is going on, on a terminal.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    done: AtomicUsize,
    all: usize,
}

impl Progress {
    pub(super) fn new(all: usize) -> Self {
        Self { is_shown: io::stderr().is_terminal(), done: AtomicUsize::new(0), all }
    }

    pub(super) fn begin(&self, id: &str) {
        self.show(self.done.load(Ordering::Relaxed), id);
    }

    pub(super) fn done(&self, id: &str) {
        self.show(self.done.fetch_add(1, Ordering::Relaxed) + 1, id);
    }

    fn show(&self, done: usize, id: &str) {
        if self.is_shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K[{done}/{}] {id}", self.all);
        }
    }

    /// Leaves nothing behind.
    pub(super) fn end(&self) {
        if self.is_shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
