//! The terminal: a line at a time, with history and completion, and what is printed meanwhile.

use std::{
    env,
    path::{Path, PathBuf},
    sync::mpsc as std_mpsc,
    thread::JoinHandle,
};

use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::sync::mpsc;

use super::{
    above::{Above, Gate, spawn},
    command::word,
    complete::Completing,
    known::Known,
};
use crate::failure::Failure;

/// How many lines of history are kept.
const HISTORY: usize = 1000;

/// Reads lines in a thread of its own, for reading blocks.
#[derive(Debug)]
pub(super) struct Prompt {
    asks: std_mpsc::Sender<Ask>,
    lines: mpsc::Receiver<Option<String>>,
    above: Above,
    reader: JoinHandle<()>,
    printer: JoinHandle<()>,
}

#[derive(Debug)]
struct Ask {
    prompt: String,
    /// Whether the answer is a command, which belongs into the history.
    is_command: bool,
}

impl Prompt {
    /// Takes the terminal, and says how to print above the line that is being typed.
    pub(super) fn start(known: &Known) -> Result<(Self, Above, Option<String>), Failure> {
        let failed = |error: ReadlineError| Failure::Failed(format!("this terminal cannot be used: {error}"));
        let config = Config::builder()
            .max_history_size(HISTORY)
            .map_err(failed)?
            .completion_type(CompletionType::List)
            .auto_add_history(false)
            .build();
        let history = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).map_err(failed)?;
        let gate = Gate::default();
        editor.set_helper(Some(Completing::new(known.clone(), gate.clone())));
        let (history, warning) = load_history(&mut editor);
        for line in editor.history().iter() {
            learn(known, line);
        }
        let external = editor.create_external_printer().map_err(|error| {
            Failure::Failed(format!(
                "this terminal has no lines to edit ({error}): hand commands over in a pipe or a file"
            ))
        })?;
        let (above, printer) = Above::start(external, gate.clone())?;
        let (asks, asked) = std_mpsc::channel();
        let (answer, lines) = mpsc::channel(1);
        let reader = spawn("prompt", move || read(&mut editor, &gate, history.as_deref(), &asked, &answer))?;
        Ok((Self { asks, lines, above: above.clone(), reader, printer }, above, warning))
    }

    /// Shows a prompt, below all that is printed so far. What is typed comes from [`line`](Self::line).
    pub(super) async fn ask(&self, prompt: &str, is_command: bool) {
        self.above.close().await;
        // Should the thread be gone, `line` says so.
        let _ = self.asks.send(Ask { prompt: prompt.to_owned(), is_command });
    }

    /// Waits for the line that was asked for; `None`: the user leaves. Dropping it loses nothing.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.recv().await.flatten()
    }

    /// Gives the terminal back, once everything is printed. Nobody prints any more.
    pub(super) fn end(self) {
        let Self { asks, above, reader, printer, .. } = self;
        // Should the thread of the prompt have died, nobody else does.
        above.open();
        drop((asks, above));
        for thread in [reader, printer] {
            let _ = thread.join();
        }
    }
}

fn read(
    editor: &mut Editor<Completing, FileHistory>,
    gate: &Gate,
    history: Option<&Path>,
    asked: &std_mpsc::Receiver<Ask>,
    answer: &mpsc::Sender<Option<String>>,
) {
    while let Ok(Ask { prompt, is_command }) = asked.recv() {
        // Whatever else can happen, a terminal that is gone for example, is the end as well.
        let line = editor.readline(&prompt).ok();
        gate.open();
        if let Some(line) = line.as_deref().filter(|line| is_command && !line.trim().is_empty()) {
            let _ = editor.add_history_entry(line);
            // At once: whoever is killed has a history, too.
            if let Some(history) = history {
                let _ = editor.append_history(history);
            }
        }
        if answer.blocking_send(line).is_err() {
            return;
        }
    }
}

/// The file of the history; `None`: there is none. With what is wrong with it.
fn load_history(editor: &mut Editor<Completing, FileHistory>) -> (Option<PathBuf>, Option<String>) {
    let Some(path) = history_path() else { return (None, None) };
    match editor.load_history(&path) {
        Ok(()) => (Some(path), None),
        Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => (Some(path), None),
        Err(error) => {
            let warning = format!("{} cannot be read, so there is no history: {error}", path.display());
            (None, Some(warning))
        }
    }
}

/// Ours, that of pitaya-cli if somebody has set one, or a file at home. An empty one is none.
fn history_path() -> Option<PathBuf> {
    let set = env::var_os("CEREUS_HISTORY").or_else(|| env::var_os("PITAYACLI_HISTORY_PATH"));
    let path = set.or_else(|| env::home_dir().map(|home| home.join(".cereus_history").into_os_string()))?;
    Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty())
}

/// Routes of earlier runs are completed as well.
fn learn(known: &Known, line: &str) {
    let (command, rest) = word(line);
    let route = word(rest).0;
    if matches!(command, "request" | "notify" | "push" | "type") && !route.is_empty() {
        known.add_route(route);
    }
}
