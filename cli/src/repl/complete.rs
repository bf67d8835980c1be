//! Completion of commands, routes and types by Tab.

use rustyline::{Context, Helper, completion::Completer, highlight::Highlighter, hint::Hinter, validate::Validator};

use super::{above::Gate, command::COMMANDS, known::Known};

/// What the editor asks.
#[derive(Debug)]
pub(super) struct Completing {
    known: Known,
    gate: Gate,
}

impl Completing {
    pub(super) const fn new(known: Known, gate: Gate) -> Self {
        Self { known, gate }
    }

    /// What may stand where the words before it are these.
    fn candidates(&self, before: &[&str]) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match before {
            [] => {
                COMMANDS.iter().map(|(name, ..)| *name).filter(|name| !name.contains(' ')).map(str::to_owned).collect()
            }
            ["request" | "notify" | "push" | "type"] | ["expect", "push"] => self.known.routes(),
            ["push", _] | ["type", _] | ["type", _, _] => self.known.types(),
            ["connect"] => words(&["tcp://", "tls://", "ws://", "wss://"]),
            ["sethandshake"] => words(&["platform", "version", "buildNumber"]),
            ["expect"] => words(&["error", "kick", "push"]),
            ["expect", "kick"] | ["expect", "push", _] => words(&["within"]),
            ["expect", ..] => words(&["contains", "exists", "missing"]),
            _ => Vec::new(),
        }
    }
}

impl Completer for Completing {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or(line);
        let start = typed.rfind(char::is_whitespace).map_or(0, |index| index + 1);
        let (before, begun) = typed.split_at(start);
        let before: Vec<&str> = before.split_whitespace().collect();
        let mut candidates = self.candidates(&before);
        candidates.retain(|candidate| candidate.starts_with(begun));
        // The only one is complete; what ends with `/` goes on.
        if let [only] = &mut *candidates
            && !only.ends_with('/')
        {
            only.push(' ');
        }
        Ok((start, candidates))
    }
}

impl Hinter for Completing {
    type Hint = String;

    /// There are no hints. This is asked whenever the prompt is about to be drawn, once the editor has the terminal: from then on
    /// it knows how to print above the prompt.
    fn hint(&self, _: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.gate.open();
        None
    }
}

impl Highlighter for Completing {}
impl Validator for Completing {}
impl Helper for Completing {}

#[cfg(test)]
mod tests {
    use rustyline::history::MemHistory;

    use super::*;

    #[test]
    fn completes_by_what_stands_before() {
        let known = Known::default();
        known.add_route("room.join");
        known.add_route("room.leave");
        known.add_types(["game.Join".to_owned()]);
        let completing = Completing::new(known, Gate::default());
        let history = MemHistory::new();
        let complete = |line: &str| completing.complete(line, line.len(), &Context::new(&history)).unwrap();
        assert_eq!(complete("disc"), (0, vec!["disconnect ".to_owned()]));
        assert_eq!(complete("request room."), (8, vec!["room.join".to_owned(), "room.leave".to_owned()]));
        assert_eq!(complete("expect push room.j"), (12, vec!["room.join ".to_owned()]));
        assert_eq!(complete("type room.join ga"), (15, vec!["game.Join ".to_owned()]));
        assert_eq!(complete("connect tc"), (8, vec!["tcp://".to_owned()]));
        assert_eq!(complete("request room.join r"), (18, vec![]));
    }
}
