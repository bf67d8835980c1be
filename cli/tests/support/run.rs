//! The command, as a script calls it.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// How it ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// `cereus repl` with these arguments, on pipes.
pub(crate) fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_cereus"))
        .arg("repl")
        .args(arguments)
        .env("CEREUS_HISTORY", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// `cereus repl` with these arguments and this standard input.
pub(crate) fn repl(arguments: &[&str], input: &str) -> Ran {
    let mut child = start(arguments);
    // Whoever fails early does not read all of it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Ran {
    /// It ended so, and complained so; `""`: not at all.
    #[track_caller]
    pub(crate) fn ended(self, code: i32, err: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        match err {
            "" => assert_eq!(self.err, "", "{self:#?}"),
            _ => assert!(self.err.contains(err), "{err} is not in {self:#?}"),
        }
        self
    }

    /// The events of `--json`.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}
