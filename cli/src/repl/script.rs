//! Commands from a file or from a pipe.

use std::{fs::File, io, io::BufRead, path::Path};

use tokio::sync::mpsc;

use super::{
    above::spawn,
    command::Command,
    expect::Expectation,
    screen::Event,
    session::{Flow, Session},
};
use crate::failure::Failure;

/// How many lines are read ahead.
const AHEAD: usize = 64;

/// Where lines come from.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    lines: mpsc::Receiver<io::Result<String>>,
}

impl Source {
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let unreadable = |error: io::Error| Failure::Usage(format!("{name} cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(Failure::Usage(format!("{name} is a folder")));
        }
        Self::read(name, io::BufReader::new(file))
    }

    pub(super) fn stdin() -> Result<Self, Failure> {
        Self::read("stdin".to_owned(), io::BufReader::new(io::stdin()))
    }

    /// In a thread of its own, for a pipe may be silent for long. It ends with the process at the latest.
    fn read(name: String, reader: impl BufRead + Send + 'static) -> Result<Self, Failure> {
        let (send, lines) = mpsc::channel(AHEAD);
        let read = move || {
            for line in reader.lines() {
                let is_over = line.is_err();
                if send.blocking_send(line).is_err() || is_over {
                    return;
                }
            }
        };
        spawn("script", read)?;
        Ok(Self { name, lines })
    }
}

/// Connects, if there is an address, and runs all lines up to the first that fails.
pub(super) async fn run(session: &mut Session, address: Option<String>, mut source: Source) -> Result<(), Failure> {
    let connected = match address {
        Some(_) => session.run(Command::Connect(address)).await.map(|_| ()),
        None => Ok(()),
    };
    let ended = match connected {
        Ok(()) => run_lines(session, &mut source).await,
        failed => failed,
    };
    let ended = ended.and(session.end().await);
    if let Err(failure) = &ended {
        session.screen.tell_machines(&Event::Failure(failure))?;
    }
    ended
}

async fn run_lines(session: &mut Session, source: &mut Source) -> Result<(), Failure> {
    // An error that nobody has said yet to be right.
    let mut unexpected: Option<Failure> = None;
    let mut number = 0_usize;
    while let Some(line) = next_line(session, source).await? {
        number += 1;
        let place = format!("{}:{number}", source.name);
        let line = line.map_err(|error| Failure::Usage(format!("{place}: this cannot be read: {error}")))?;
        // A mark at the beginning of a file is none of its text.
        let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { &line };
        let command = Command::parse(line).map_err(|error| Failure::Usage(error).at(&place))?;
        let Some(command) = command else { continue };
        let is_expected = matches!(command, Command::Expect(Expectation::Error { .. }));
        if let Some(failure) = unexpected.take().filter(|_| !is_expected) {
            return Err(failure);
        }
        let is_request = matches!(command, Command::Request { .. });
        let flow = session.run(command).await.map_err(|failure| failure.at(&place))?;
        if is_request && let Some(error) = session.last_error() {
            let text =
                format!("{place}: the server answered with an error: {error} (`expect error` after it makes it right)");
            unexpected = Some(Failure::Failed(text));
        }
        if flow == Flow::Leave {
            break;
        }
    }
    unexpected.map_or(Ok(()), Err)
}

/// Shows what comes meanwhile.
async fn next_line(session: &mut Session, source: &mut Source) -> Result<Option<io::Result<String>>, Failure> {
    let inbox = session.inbox();
    loop {
        tokio::select! {
            biased;
            incoming = inbox.next() => drop(session.take(incoming)?),
            line = source.lines.recv() => return Ok(line),
        }
    }
}
