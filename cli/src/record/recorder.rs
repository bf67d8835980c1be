//! Writes the file, until a bound is reached.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use cereus_core::packet::Packet;

use super::{
    decode::Reader,
    format::{Head, Kind, Line, Side, VERSION},
    redact::Redactor,
};
use crate::failure::Failure;

/// Where recording ends, whatever else happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) sessions: Option<u32>,
}

/// The length of the last line, for which there is always room.
const LAST_LINE: u64 = 200;

#[derive(Debug)]
pub(super) struct Recorder {
    file: PathBuf,
    out: BufWriter<File>,
    written: u64,
    bounds: Bounds,
    since: Instant,
    redactor: Redactor,
    /// How many clients came, as long as it is recorded.
    came: u32,
    /// How many sessions are recorded and not over.
    open: u32,
    packets: u64,
    /// How many bodies were left out.
    dropped: u64,
    /// Why there is no more recording.
    over: Option<String>,
    /// The file cannot be written.
    failed: bool,
}

impl Recorder {
    pub(super) fn create(file: &Path, server: String, redactor: Redactor, bounds: Bounds) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::usage(format!("{} cannot be written: {error}", file.display()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // What players say is for nobody else on this machine.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let out = BufWriter::new(options.open(file).map_err(cannot)?);
        let mut recorder = Self {
            file: file.to_owned(),
            out,
            written: 0,
            bounds,
            since: Instant::now(),
            redactor,
            came: 0,
            open: 0,
            packets: 0,
            dropped: 0,
            over: None,
            failed: false,
        };
        let redact = recorder.redactor.rules().collect();
        let head = Head { version: VERSION, started: jiff::Timestamp::now().to_string(), server, redact };
        recorder
            .put(&serde_json::to_string(&head).unwrap_or_default())
            .and_then(|()| recorder.out.flush())
            .map_err(cannot)?;
        Ok(recorder)
    }

    /// A client came. Without a reader it is not recorded.
    pub(super) fn open(&mut self, peer: SocketAddr) -> Option<Reader> {
        if self.over.is_some() {
            return None;
        }
        self.came += 1;
        if let Some(bound) = self.bounds.sessions.filter(|bound| self.came > *bound) {
            if self.came == bound + 1 {
                eprintln!("cereus: {bound} sessions are recorded: those that come now are not");
            }
            return None;
        }
        self.open += 1;
        let mut line = Line::new(Kind::Open, self.came);
        line.why = Some(peer.to_string());
        self.write(line);
        Some(Reader::new(self.came))
    }

    pub(super) fn packet(&mut self, reader: &mut Reader, from: Side, packet: &Packet) {
        if self.over.is_none() {
            let line = reader.read(from, packet, &mut self.redactor);
            self.packets += 1;
            self.dropped += u64::from(line.dropped.is_some());
            self.write(line);
            if self.redactor.is_full() && self.over.is_none() {
                eprintln!(
                    "cereus: too many values are redacted to know all of them again: what comes now is not recorded"
                );
                self.end("max-redacted");
            }
        }
    }

    /// A session is over.
    pub(super) fn close(&mut self, session: u32, from: Side, why: String) {
        self.open -= 1;
        let mut line = Line::new(Kind::Close, session);
        line.from = Some(from);
        line.why = Some(why);
        self.write(line);
        self.flush();
    }

    /// Whether all is recorded that was to be.
    pub(super) fn is_done(&self) -> bool {
        let all_came = self.bounds.sessions.is_some_and(|bound| self.came >= bound);
        self.over.is_some() || all_came && self.open == 0
    }

    /// What is proxied from now on is not recorded.
    pub(super) fn end(&mut self, why: &str) {
        if self.over.is_some() {
            return;
        }
        let mut line = Line::new(Kind::End, 0);
        line.us = self.micros();
        line.why = Some(why.to_owned());
        self.over = Some(why.to_owned());
        let written = self.put(&serde_json::to_string(&line).unwrap_or_default());
        self.check(written);
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        let flushed = self.out.flush();
        self.check(flushed);
    }

    /// How it went, in a line.
    pub(super) fn finish(&mut self, why: &str) -> Result<String, Failure> {
        self.end(why);
        let (file, sessions) = (self.file.display(), self.came.min(self.bounds.sessions.unwrap_or(u32::MAX)));
        match self.failed {
            true => Err(Failure::failed(self.over.clone().unwrap_or_default())),
            false => {
                let left_out = match self.dropped {
                    0 => String::new(),
                    count => format!("; {count} bodies are left out, for they cannot be redacted"),
                };
                let Self { packets, written, .. } = self;
                Ok(format!("{file}: {sessions} sessions, {packets} packets, {written} bytes{left_out}"))
            }
        }
    }

    fn write(&mut self, mut line: Line) {
        if self.over.is_some() {
            return;
        }
        line.us = self.micros();
        let text = serde_json::to_string(&line).unwrap_or_default();
        if self.written + text.len() as u64 + 1 + LAST_LINE > self.bounds.bytes {
            eprintln!(
                "cereus: {} is as long as --max-bytes allows: what comes now is not recorded",
                self.file.display()
            );
            return self.end("max-bytes");
        }
        let written = self.put(&text);
        self.check(written);
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.written += text.len() as u64 + 1;
        writeln!(self.out, "{text}")
    }

    fn check(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && !self.failed
        {
            let why = format!("{} cannot be written: {error}", self.file.display());
            eprintln!("cereus: {why}");
            self.failed = true;
            self.over = Some(why);
        }
    }

    fn micros(&self) -> u64 {
        self.since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
    }
}
