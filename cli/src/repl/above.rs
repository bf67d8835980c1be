//! Printing while somebody types.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustyline::ExternalPrinter;
use tokio::{sync::oneshot, time::timeout};

use crate::failure::Failure;

/// How much waits to be printed while the terminal is held.
const UNPRINTED: usize = 1000;
/// A terminal that is held is not waited for.
const FLUSH: Duration = Duration::from_millis(500);

/// Prints above the line that is being typed, in a thread of its own: a terminal can be held, and the editor's own queue has room
/// for one text only while nobody types.
#[derive(Clone, Debug)]
pub(super) struct Above {
    jobs: mpsc::SyncSender<Job>,
    unprinted: Arc<AtomicU64>,
    gate: Gate,
}

#[derive(Debug)]
enum Job {
    Print(String),
    /// Says when all before it is printed.
    Flush(oneshot::Sender<()>),
}

impl Above {
    pub(super) fn start(
        mut printer: impl ExternalPrinter + Send + 'static,
        gate: Gate,
    ) -> Result<(Self, JoinHandle<()>), Failure> {
        let (jobs, waiting) = mpsc::sync_channel(UNPRINTED);
        let unprinted = Arc::new(AtomicU64::new(0));
        let above = Self { jobs, unprinted: Arc::clone(&unprinted), gate: gate.clone() };
        let thread = spawn("printer", move || {
            while let Ok(job) = waiting.recv() {
                let text = match job {
                    Job::Print(text) => text,
                    Job::Flush(done) => {
                        let _ = done.send(());
                        continue;
                    }
                };
                let missing = unprinted.swap(0, Ordering::Relaxed);
                let text = if missing == 0 { text } else { format!("{text}({missing} more were not printed)\n") };
                gate.wait();
                if printer.print(text).is_err() {
                    return;
                }
            }
        })?;
        Ok((above, thread))
    }

    pub(super) fn print(&self, text: String) {
        if self.jobs.try_send(Job::Print(text)).is_err() {
            self.unprinted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Prints what waits, and nothing more until there is a prompt to print above.
    pub(super) async fn close(&self) {
        let (done, flushed) = oneshot::channel();
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = timeout(FLUSH, flushed).await;
        }
        self.gate.close();
    }

    pub(super) fn open(&self) {
        self.gate.open();
    }
}

/// Closed between the moment when a prompt is asked for and the one when it is shown. What is printed then would come after the
/// prompt, for the editor does not know of it yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn close(&self) {
        *self.is_closed() = true;
    }

    pub(super) fn open(&self) {
        *self.is_closed() = false;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let mut is_closed = self.is_closed();
        while *is_closed {
            is_closed = self.0.1.wait(is_closed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_closed(&self) -> MutexGuard<'_, bool> {
        // Nothing panics with the lock held.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| Failure::Failed(format!("a thread cannot be started: {error}")))
}
