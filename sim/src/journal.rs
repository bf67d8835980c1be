use std::{
    collections::BTreeSet,
    env, fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cereus_core::Instant;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use crate::SimRuntime;

/// What happened in a [`World`](crate::World), in order, and which invariants it broke. Clones are the same one: give one to
/// your handlers, and let them tell.
#[derive(Clone)]
pub struct Journal {
    runtime: SimRuntime,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    lines: Vec<String>,
    /// The first time for each invariant.
    broken: Vec<Broken>,
    is_live: bool,
}

/// An invariant that does not hold, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Broken {
    pub(crate) invariant: String,
    pub(crate) why: String,
}

impl Journal {
    /// An empty one. With `CEREUS_TRACE` in the environment all that is told is printed at once.
    pub(crate) fn new(runtime: &SimRuntime) -> Self {
        let entries = Entries { is_live: env::var_os("CEREUS_TRACE").is_some(), ..Entries::default() };
        Self { runtime: runtime.clone(), entries: Arc::new(Mutex::new(entries)) }
    }

    /// Writes down what happens now.
    pub fn note(&self, what: impl fmt::Display) {
        let line = format!("{:>12.6} {what}", (self.runtime.now() - Instant::EPOCH).as_secs_f64());
        let mut entries = self.lock();
        if entries.is_live {
            eprintln!("{line}");
        }
        entries.lines.push(line);
    }

    /// Tells that an invariant does not hold. The world fails as soon as it looks.
    pub fn violated(&self, invariant: impl Into<String>, why: impl fmt::Display) {
        let invariant = invariant.into();
        self.note(format_args!("invariant `{invariant}` does not hold: {why}"));
        let broken = &mut self.lock().broken;
        if !broken.iter().any(|known| known.invariant == invariant) {
            broken.push(Broken { invariant, why: why.to_string() });
        }
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// All that was written down.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The last of it.
    pub(crate) fn tail(&self, count: usize) -> String {
        let entries = self.lock();
        entries.lines[entries.lines.len().saturating_sub(count)..].join("\n")
    }

    /// What does not hold, but for what is ignored.
    pub(crate) fn broken(&self, ignored: &BTreeSet<String>) -> Option<Broken> {
        self.lock().broken.iter().find(|broken| !ignored.contains(&broken.invariant)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics with the lock held.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.lock();
        f.debug_struct("Journal")
            .field("lines", &entries.lines.len())
            .field("broken", &entries.broken)
            .finish_non_exhaustive()
    }
}

/// Takes in what the servers of a world log.
pub(crate) struct Log<F>(pub(crate) F);

/// An entry of a log.
pub(crate) struct Entry {
    pub(crate) level: Level,
    pub(crate) message: String,
    /// The fields, by their names.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl<F: Fn(Entry) + Send + Sync + 'static> Subscriber for Log<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("cereus") && *metadata.level() <= Level::DEBUG;
        metadata.is_event() && (ours || *metadata.level() == Level::ERROR)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let mut entry = Entry { level: *event.metadata().level(), message: String::new(), fields: Vec::new() };
        event.record(&mut entry);
        (self.0)(entry);
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }
}

impl Entry {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}
