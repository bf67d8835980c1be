//! The command in a terminal of its own. Nothing here waits for a time: only for what is to be seen, with a deadline.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    io::{Read, Write},
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// How long anything may take. Far more than it ever needs, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const TAB: &str = "\t";
pub(crate) const UP: &str = "\x1b[A";
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";

pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    /// What was not looked at yet.
    rest: String,
    /// What was.
    before: String,
    _master: Box<dyn MasterPty + Send>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

impl Terminal {
    /// `cereus repl` with these arguments, whose history is in this folder.
    pub(crate) fn start(arguments: &[&str], folder: &Path) -> Self {
        Self::start_with(arguments, folder, &[])
    }

    pub(crate) fn start_with(arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Self {
        Self::command(&[&["repl"], arguments].concat(), folder, environment)
    }

    /// `cereus` with these arguments, in this folder.
    pub(crate) fn command(arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 50, cols: 150, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_cereus"));
        command.args(arguments);
        command.cwd(folder);
        command.env("CEREUS_HISTORY", folder.join("history"));
        command.env("TERM", "xterm");
        command.env_remove("NO_COLOR");
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).unwrap();
        let (mut reader, keys) = (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
        let (send, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len) = reader.read(&mut bytes) {
                if len == 0 || send.send(bytes[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, output, rest: String::new(), before: String::new(), _master: pair.master }
    }

    /// Waits until this is to be seen after what was seen before.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> &mut Self {
        assert!(self.sees(text, PATIENCE), "{text:?} does not come. Before: {:?}. Since: {:?}", self.before, self.rest);
        self
    }

    fn sees(&mut self, text: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(index) = self.rest.find(text) {
                let rest = self.rest.split_off(index + text.len());
                self.before.push_str(&self.rest);
                self.rest = rest;
                return true;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.rest.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    pub(crate) fn send(&mut self, keys: &str) -> &mut Self {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
        self
    }

    /// Keys that are lost when they come too early.
    #[track_caller]
    pub(crate) fn send_until(&mut self, keys: &str, text: &str) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.send(keys);
            if self.sees(text, Duration::from_millis(500)) {
                return self;
            }
        }
        panic!("{text:?} does not come. Before: {:?}. Since: {:?}", self.before, self.rest);
    }

    pub(crate) fn line(&mut self, line: &str) -> &mut Self {
        self.send(line).send("\r")
    }

    #[track_caller]
    pub(crate) fn ends_with(mut self, code: u32) {
        let deadline = Instant::now() + PATIENCE;
        // It ends when the terminal has no other side any more; then the status is there at once.
        while let Ok(bytes) = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.rest.push_str(&String::from_utf8_lossy(&bytes));
        }
        let status = self.child.wait().unwrap();
        assert_eq!(status.exit_code(), code, "{:?}{:?}", self.before, self.rest);
    }
}
