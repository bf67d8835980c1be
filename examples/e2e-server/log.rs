//! The log, on standard error.

use std::{
    io::{self, Write},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Lines that wait to be written.
const CAPACITY: usize = 1024;

/// What Cereus itself says; with `debug` all of it.
pub(crate) fn start(debug: bool) {
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let lines = lines();
    tracing_subscriber::registry()
        .with(Targets::new().with_default(LevelFilter::INFO).with_target("cereus", level))
        .with(tracing_subscriber::fmt::layer().with_writer(move || lines.clone()))
        .init();
}

/// Suites read standard error until the server is ready, and then no more: whoever writes when the pipe is full waits for
/// ever. Only this thread does, and what it does not take is dropped.
fn lines() -> Lines {
    let (sender, receiver) = sync_channel::<Vec<u8>>(CAPACITY);
    thread::spawn(move || {
        for line in receiver {
            if io::stderr().write_all(&line).is_err() {
                break;
            }
        }
    });
    Lines(sender)
}

#[derive(Clone)]
struct Lines(SyncSender<Vec<u8>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.try_send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
