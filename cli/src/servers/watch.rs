//! `cereus servers --watch`: what is, and then what changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io::{self, IsTerminal, Write},
    mem,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::{self, MissedTickBehavior};

use super::{
    Servers,
    etcd::{Change, Etcd, Settings},
    list::{Entry, table},
};
use crate::{failure::Failure, output::print_line};

/// How often leases are looked up for a table that is drawn again.
const REFRESH: Duration = Duration::from_secs(2);

/// How long it is waited before etcd is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What happened to a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// It was there before anybody looked.
    There,
    Came,
    Changed,
    Gone,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Came => "came",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

pub(super) struct Watch<'a> {
    options: &'a Servers,
    settings: &'a Settings,
    is_terminal: bool,
    known: BTreeMap<String, Entry>,
    /// Somebody has looked already: what is new from now on came.
    has_looked: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(options: &'a Servers, settings: &'a Settings) -> Self {
        let is_terminal = io::stdout().is_terminal() && !options.json;
        Self { options, settings, is_terminal, known: BTreeMap::new(), has_looked: false }
    }

    /// Goes on until it fails the first time, or nobody reads it. Later failures of etcd are waited out.
    pub(super) async fn run(mut self, first: Etcd<'a>) -> Result<(), Failure> {
        let (mut etcd, mut told) = (Ok(first), String::new());
        loop {
            let why = match etcd {
                Ok(etcd) => {
                    if !mem::take(&mut told).is_empty() {
                        eprintln!("cereus: etcd answers again");
                    }
                    match self.follow(&etcd).await {
                        Err(End::Etcd(why)) if self.has_looked => why,
                        Err(End::Etcd(why)) => return Err(Failure::failed(why)),
                        Err(End::Output(failure)) => return Err(failure),
                        Ok(never) => match never {},
                    }
                }
                Err(why) => why,
            };
            if told != why {
                eprintln!("cereus: {why}; trying again");
                told = why;
            }
            time::sleep(PAUSE).await;
            etcd = Etcd::connect(self.settings).await;
        }
    }

    async fn follow(&mut self, etcd: &Etcd<'_>) -> Result<Infallible, End> {
        let (all, revision) = etcd.all().await?;
        self.resync(etcd, all).await?;
        let mut stream = etcd.watch(revision).await?;
        let mut refresh = time::interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changes = etcd.changes(&mut stream) => {
                    for change in changes? {
                        self.apply(etcd, change).await?;
                    }
                }
                _ = refresh.tick(), if self.is_terminal => {
                    etcd.look_up_leases(&mut self.known.values_mut().collect::<Vec<_>>()).await?;
                }
            }
            self.draw()?;
        }
    }

    /// These are all the records: what is missing is gone.
    async fn resync(&mut self, etcd: &Etcd<'_>, mut all: Vec<Entry>) -> Result<(), End> {
        etcd.look_up_leases(&mut all.iter_mut().collect::<Vec<_>>()).await?;
        let there: BTreeSet<_> = all.iter().map(|entry| entry.key.as_str()).collect();
        let gone: Vec<_> = self.known.keys().filter(|key| !there.contains(key.as_str())).cloned().collect();
        for key in gone {
            self.gone(&key)?;
        }
        for entry in all {
            self.put(entry)?;
        }
        self.has_looked = true;
        self.draw()
    }

    async fn apply(&mut self, etcd: &Etcd<'_>, change: Change) -> Result<(), End> {
        match change {
            Change::Gone(key) => self.gone(&key),
            Change::Put(mut entry) => {
                etcd.look_up_leases(&mut [&mut entry]).await?;
                self.put(entry)
            }
        }
    }

    fn put(&mut self, mut entry: Entry) -> Result<(), End> {
        if !self.options.wants(&entry) {
            return Ok(());
        }
        let kind = match self.known.get(&entry.key) {
            Some(before) => {
                entry.since = before.since;
                if before.says_as(&entry) { None } else { Some(Kind::Changed) }
            }
            None if self.has_looked => {
                entry.since = Some(Instant::now());
                Some(Kind::Came)
            }
            None => Some(Kind::There),
        };
        if let Some(kind) = kind {
            self.tell(kind, &entry)?;
        }
        self.known.insert(entry.key.clone(), entry);
        Ok(())
    }

    fn gone(&mut self, key: &str) -> Result<(), End> {
        match self.known.remove(key) {
            Some(entry) => self.tell(Kind::Gone, &entry),
            None => Ok(()),
        }
    }

    /// One line, where no table is drawn.
    fn tell(&self, kind: Kind, entry: &Entry) -> Result<(), End> {
        let now = format!("{:.3}", jiff::Timestamp::now());
        let line = match (self.is_terminal, self.options.json) {
            (true, _) => return Ok(()),
            (_, true) => json!({ "change": kind.name(), "time": now, "server": entry.json() }).to_string(),
            _ => format!("{now} {:<7} {}", kind.name(), entry.line()),
        };
        print_line(&line).map_err(End::Output)
    }

    fn draw(&self) -> Result<(), End> {
        if !self.is_terminal {
            return Ok(());
        }
        // To the top, and away with what was there.
        let text = format!("\x1b[H\x1b[2J{}\n", table(self.known.values()));
        let mut out = io::stdout().lock();
        let drawn = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        drawn.map_err(|error| End::Output(Failure::failed(format!("nobody reads what is printed: {error}"))))
    }
}

/// Why it does not go on.
enum End {
    Etcd(String),
    Output(Failure),
}

impl From<String> for End {
    fn from(why: String) -> Self {
        Self::Etcd(why)
    }
}
