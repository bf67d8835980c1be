//! The terminal: a line at a time, with history and completion, and what is printed meanwhile.

use std::{
    env,
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread::{self, JoinHandle},
};

use rustyline::{CompletionType, Config, Editor, ExternalPrinter, error::ReadlineError, history::FileHistory};
use tokio::sync::mpsc;

use super::{command::word, complete::Completing, known::Known};
use crate::failure::Failure;

/// How many lines of history are kept.
const HISTORY: usize = 1000;
/// How much waits to be printed while the terminal is held.
const UNPRINTED: usize = 1000;

/// Reads lines in a thread of its own, for reading blocks.
#[derive(Debug)]
pub(super) struct Prompt {
    asks: Option<std_mpsc::Sender<Ask>>,
    lines: mpsc::Receiver<Option<String>>,
    reader: Option<JoinHandle<()>>,
    printer: Option<JoinHandle<()>>,
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
        editor.set_helper(Some(Completing::new(known.clone())));
        let (history, warning) = load_history(&mut editor);
        for line in editor.history().iter() {
            learn(known, line);
        }
        let external = editor.create_external_printer().map_err(failed)?;
        let (above, printer) = Above::start(external)?;
        let (asks, asked) = std_mpsc::channel();
        let (answer, lines) = mpsc::channel(1);
        let reader = spawn("prompt", move || read(&mut editor, history.as_deref(), &asked, &answer))?;
        Ok((Self { asks: Some(asks), lines, reader: Some(reader), printer: Some(printer) }, above, warning))
    }

    /// Shows a prompt. What is typed comes from [`line`](Self::line).
    pub(super) fn ask(&self, prompt: &str, is_command: bool) {
        if let Some(asks) = &self.asks {
            // Should the thread be gone, `line` says so.
            let _ = asks.send(Ask { prompt: prompt.to_owned(), is_command });
        }
    }

    /// Waits for the line that was asked for; `None`: the user leaves. Dropping it loses nothing.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.recv().await.flatten()
    }

    /// Gives the terminal back, once everything is printed.
    pub(super) fn end(mut self, above: Above) {
        self.asks = None;
        drop(above);
        for thread in [self.reader.take(), self.printer.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| Failure::Failed(format!("a thread cannot be started: {error}")))
}

fn read(
    editor: &mut Editor<Completing, FileHistory>,
    history: Option<&std::path::Path>,
    asked: &std_mpsc::Receiver<Ask>,
    answer: &mpsc::Sender<Option<String>>,
) {
    while let Ok(Ask { prompt, is_command }) = asked.recv() {
        // Whatever else can happen, a terminal that is gone for example, is the end as well.
        let line = editor.readline(&prompt).ok();
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

/// Prints above the line that is being typed, in a thread of its own: a terminal can be held, and the editor's own queue has room
/// for one text only while nobody types.
#[derive(Clone, Debug)]
pub(super) struct Above {
    texts: std_mpsc::SyncSender<String>,
    unprinted: Arc<AtomicU64>,
}

impl Above {
    fn start(mut printer: impl ExternalPrinter + Send + 'static) -> Result<(Self, JoinHandle<()>), Failure> {
        let (texts, waiting) = std_mpsc::sync_channel::<String>(UNPRINTED);
        let unprinted = Arc::new(AtomicU64::new(0));
        let dropped = Arc::clone(&unprinted);
        let thread = spawn("printer", move || {
            while let Ok(text) = waiting.recv() {
                let missing = dropped.swap(0, Ordering::Relaxed);
                let text = if missing == 0 { text } else { format!("{text}({missing} more were not printed)\n") };
                if printer.print(text).is_err() {
                    return;
                }
            }
            let _ = std::io::stdout().flush();
        })?;
        Ok((Self { texts, unprinted }, thread))
    }

    pub(super) fn print(&self, text: String) {
        if self.texts.try_send(text).is_err() {
            self.unprinted.fetch_add(1, Ordering::Relaxed);
        }
    }
}
