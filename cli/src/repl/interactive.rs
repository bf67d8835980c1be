//! Somebody at a terminal.

use std::sync::Arc;

use tokio::{signal, sync::Notify};

use super::{
    Repl,
    command::Command,
    known::Known,
    prompt::Prompt,
    screen::{Event, Screen, Style},
    session::{Flow, Session},
};
use crate::failure::Failure;

const GREETING: &str = "Type `help` for the commands, Tab to complete them, Ctrl-D to leave.";

pub(super) async fn run(options: Repl, style: Style) -> Result<(), Failure> {
    let known = Known::default();
    let address = options.address.clone();
    let mut session = Session::new(options, Screen::Plain(style), known.clone())?;
    let (mut prompt, above, warning) = Prompt::start(&known)?;
    session.screen = Screen::Above(style, above);
    session.screen.tell(&Event::Text(GREETING))?;
    if let Some(warning) = warning {
        session.screen.tell(&Event::Text(&warning))?;
    }
    let ended = converse(&mut session, &mut prompt, address, &interrupts()).await;
    let ended = ended.and(session.end().await);
    session.screen = Screen::Plain(style);
    prompt.end();
    ended
}

/// Tells whoever waits of Ctrl-C. While somebody types the editor reads that as a key; in between it is a signal, which from now on
/// ends nothing.
fn interrupts() -> Arc<Notify> {
    let interrupts = Arc::new(Notify::new());
    let tell = Arc::clone(&interrupts);
    tokio::spawn(async move {
        while signal::ctrl_c().await.is_ok() {
            tell.notify_waiters();
        }
    });
    interrupts
}

async fn converse(
    session: &mut Session,
    prompt: &mut Prompt,
    address: Option<String>,
    interrupts: &Notify,
) -> Result<(), Failure> {
    if address.is_some() {
        run_one(session, Command::Connect(address), interrupts).await?;
    }
    loop {
        let place = session.last_address().filter(|_| session.is_connected());
        let place = place.map_or("cereus", |address| address.split_once("://").map_or(address, |(_, rest)| rest));
        let Some(line) = ask(session, prompt, &format!("{place}> "), true).await? else { return Ok(()) };
        let command = match Command::parse(&line) {
            Ok(None) => continue,
            Ok(Some(Command::Connect(None))) => match ask_address(session, prompt).await? {
                Some(address) => Command::Connect(address),
                None => return Ok(()),
            },
            Ok(Some(command)) => command,
            Err(error) => {
                session.screen.tell(&Event::Failure(&Failure::Usage(error)))?;
                continue;
            }
        };
        if run_one(session, command, interrupts).await? == Flow::Leave {
            return Ok(());
        }
    }
}

/// Ctrl-C gives up what takes too long.
async fn run_one(session: &mut Session, command: Command, interrupts: &Notify) -> Result<Flow, Failure> {
    let is_expectation = matches!(command, Command::Expect(_));
    let result = tokio::select! {
        result = session.run(command) => result,
        () = interrupts.notified() => Err(Failure::failed("given up")),
    };
    match result {
        Ok(flow) => {
            if is_expectation {
                session.screen.tell(&Event::Text("ok"))?;
            }
            Ok(flow)
        }
        Err(failure) => session.screen.tell(&Event::Failure(&failure)).map(|()| Flow::Continue),
    }
}

/// Shows what comes while somebody types. `None`: the user leaves.
async fn ask(
    session: &mut Session,
    prompt: &mut Prompt,
    text: &str,
    is_command: bool,
) -> Result<Option<String>, Failure> {
    let inbox = session.inbox();
    prompt.ask(text, is_command).await;
    loop {
        tokio::select! {
            line = prompt.line() => return Ok(line),
            incoming = inbox.next() => drop(session.take(incoming)?),
        }
    }
}

/// The inner `None`: where it was last.
async fn ask_address(session: &mut Session, prompt: &mut Prompt) -> Result<Option<Option<String>>, Failure> {
    let text = match session.last_address() {
        Some(address) => format!("address [{address}]: "),
        None => "address: ".to_owned(),
    };
    let line = ask(session, prompt, &text, false).await?;
    Ok(line.map(|line| Some(line.trim().to_owned()).filter(|line| !line.is_empty())))
}
