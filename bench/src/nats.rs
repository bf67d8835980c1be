//! A nats-server of one's own.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

use crate::servers::{Running, Server};

/// Starts a nats-server on a free port. Dropped, it is killed.
///
/// # Errors
///
/// There is none on this machine, or it does not start.
pub fn start() -> Result<Running, Box<dyn Error>> {
    let program = find()?;
    let words = ["--addr", "127.0.0.1", "--port", "{port}"];
    let command = std::iter::once(program.display().to_string()).chain(words.map(str::to_owned)).collect();
    // It logs what it does to stderr.
    Server::new("nats-server", command)?.quiet().spawn(cores())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Where `cargo xtask test` looks too.
fn find() -> Result<PathBuf, String> {
    for variable in ["CEREUS_NATS_SERVER", "NATS_SERVER"] {
        if let Some(named) = env::var_os(variable) {
            let file = PathBuf::from(named);
            return if file.is_file() {
                Ok(file)
            } else {
                Err(format!("{variable} is {}, which is no file", file.display()))
            };
        }
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/services/nats-server/usr");
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), unpacked.join("sbin"), unpacked.join("bin")]);
    let program = format!("nats-server{}", env::consts::EXE_SUFFIX);
    folders.map(|folder| folder.join(&program)).find(|file| file.is_file()).ok_or_else(|| {
        "there is no nats-server on PATH: `cargo xtask services` gets one, or put NATS_SERVER to where one is"
            .to_owned()
    })
}
