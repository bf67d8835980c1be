//! `cereus record` and `cereus replay`, as a script calls them, and clients that are recorded.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use serde_json::Value;

use crate::run::Ran;

fn cereus(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cereus"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    let output = cereus(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A `cereus record` that runs.
pub(crate) struct Recording {
    child: Child,
    err: BufReader<ChildStderr>,
    /// Where clients connect to.
    pub(crate) address: String,
    pub(crate) file: PathBuf,
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Recording {
    /// Listens with this scheme, in front of this server.
    pub(crate) fn start(scheme: &str, server: &str, folder: &Path, arguments: &[&str]) -> Self {
        let file = folder.join("recording.jsonl");
        let listen = format!("{scheme}://127.0.0.1:0");
        let mut all = vec!["record", &listen, server, "--out", file.to_str().unwrap()];
        all.extend(arguments);
        let mut child = cereus(&all).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        err.read_line(&mut line).unwrap();
        let address = line.strip_prefix("cereus: listening at ").and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, err, address, file }
    }

    /// Waits until it says this.
    pub(crate) fn until(&mut self, text: &str) {
        let mut seen = String::new();
        while !seen.contains(text) {
            let before = seen.len();
            self.err.read_line(&mut seen).unwrap();
            assert!(seen.len() > before, "{text} is not in {seen}");
        }
    }

    /// Waits for its end. Returns what it said and the lines of the file.
    pub(crate) fn ended(mut self) -> (String, Vec<Value>) {
        let mut err = String::new();
        self.err.read_to_string(&mut err).unwrap();
        assert!(self.child.wait().unwrap().success(), "{err}");
        (err, self.lines())
    }

    pub(crate) fn interrupt(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        lines(&self.file)
    }
}

pub(crate) fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A client of raw bytes.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// A client that has shaken hands with this.
    pub(crate) fn connect(address: &str, handshake: &str) -> Self {
        let mut client = Self { stream: TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap() };
        client.send(1, handshake.as_bytes());
        assert_eq!(client.receive().0, 1);
        client.send(2, b"");
        client
    }

    pub(crate) fn send(&mut self, kind: u8, body: &[u8]) {
        self.stream.write_all(&packet(kind, body)).unwrap();
    }

    /// The next packet that is no heartbeat.
    pub(crate) fn receive(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header).unwrap();
            let mut body = vec![0; u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize];
            self.stream.read_exact(&mut body).unwrap();
            if header[0] != 3 {
                return (header[0], body);
            }
        }
    }

    /// Leaves, and waits until the other side has, too.
    pub(crate) fn leave(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}

pub(crate) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32).to_be_bytes();
    [&[kind, len[1], len[2], len[3]][..], body].concat()
}

/// A request with a short id.
pub(crate) fn request(id: u8, route: &str, body: &str) -> Vec<u8> {
    [&[0, id, route.len() as u8][..], route.as_bytes(), body.as_bytes()].concat()
}
