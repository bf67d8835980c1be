//! What went over the connections of one check.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

/// Of one exchange so many bytes are kept, and of one check so many exchanges.
const MAX_BYTES: usize = 512;
const MAX_ENTRIES: usize = 200;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    Sent,
    Received,
    /// Something that has no bytes.
    Event,
}

/// Bytes in one direction, or something that happened.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// The first connection of the check is 1.
    pub(super) connection: u32,
    /// Since the check began.
    pub(super) milliseconds: u64,
    pub(super) direction: Direction,
    /// How many bytes it were.
    pub(super) length: usize,
    /// The first of them.
    #[serde(serialize_with = "as_hex")]
    pub(super) bytes: Vec<u8>,
    /// What happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
}

fn as_hex<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Shared by the connections of one check.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    start: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), entries: Arc::default() }
    }

    pub(super) fn bytes(&self, connection: u32, direction: Direction, bytes: &[u8]) {
        let kept = bytes[..bytes.len().min(MAX_BYTES)].to_vec();
        self.add(connection, direction, bytes.len(), kept, String::new());
    }

    pub(super) fn note(&self, connection: u32, note: impl Into<String>) {
        self.add(connection, Direction::Event, 0, Vec::new(), note.into());
    }

    fn add(&self, connection: u32, direction: Direction, length: usize, bytes: Vec<u8>, note: String) {
        let milliseconds = self.start.elapsed().as_millis() as u64;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < MAX_ENTRIES {
            entries.push(Entry { connection, milliseconds, direction, length, bytes, note });
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn seconds(&self) -> f64 {
        (self.start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }
}

/// At most `max` bytes as people read them: offset, hexadecimal, text.
pub(super) fn dump(bytes: &[u8], length: usize, max: usize) -> Vec<String> {
    let shown = &bytes[..bytes.len().min(max)];
    let mut lines: Vec<String> = Vec::new();
    for (row, bytes) in shown.chunks(16).enumerate() {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = bytes.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' });
        lines.push(format!("{:04x}  {:<47}  {}", row * 16, hex.join(" "), text.collect::<String>()));
    }
    if length > shown.len() {
        lines.push(format!("      … {} more bytes", length - shown.len()));
    }
    lines
}
