//! Pitaya itself.

use std::{ffi::OsStr, thread};

use crate::process::Process;

/// What Pitaya logs when it serves.
const READY: &str = "all modules started!";

/// A server of `tests/interop/go`. Dropped, it is killed; a test that fails tells its last words.
#[derive(Debug)]
pub struct GoServer {
    process: Process,
}

impl GoServer {
    /// Starts a server and waits until it serves.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut process = Process::new("CEREUS_GO_INTEROP");
        process.arguments(arguments);
        let mut server = Self { process };
        server.restart();
        server
    }

    /// Kills the server, if it runs, starts it again, and waits until it serves.
    pub fn restart(&mut self) {
        self.kill();
        let times_ready = |process: &Process| process.log().matches(READY).count();
        let before = times_ready(&self.process);
        self.process.start(|process| times_ready(process) > before);
    }

    /// Kills the server: it does not leave its cluster in order.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server from running; its connections stay open.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// All that it wrote to stdout and stderr so far.
    pub fn output(&self) -> String {
        self.process.log()
    }
}

impl Drop for GoServer {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the last words of a Go server:\n{}", self.process.last_words());
        }
    }
}
