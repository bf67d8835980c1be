//! nats-server.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{free_port, process::Process};

/// A nats-server. Dropped, it is killed.
#[derive(Debug)]
pub struct Nats {
    process: Process,
    port: u16,
}

impl Nats {
    /// Starts a server and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments: `["--user", "name", "--pass", "word"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::launch(Process::new("CEREUS_NATS_SERVER"), arguments)
    }

    /// Starts a server with a configuration file of this content: `max_payload: 1024`.
    pub fn start_with_config(config: &str) -> Self {
        let process = Process::new("CEREUS_NATS_SERVER");
        fs::write(process.folder().join("config"), config).expect("a configuration can be written");
        Self::launch(process, &["--config", "config"])
    }

    fn launch(mut process: Process, arguments: &[&str]) -> Self {
        let port = free_port();
        process.arguments(["--addr", "127.0.0.1", "--port", &port.to_string()]);
        process.arguments(arguments);
        let mut nats = Self { process, port };
        nats.restart();
        nats
    }

    /// Kills the server, if it runs, starts it on the same port, and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port;
        self.process.start(|_| info(port, Duration::from_secs(1)).is_ok());
    }

    /// Kills the server without any notice to its clients.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server from running; its connections stay open.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// What a client connects to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What the server says of itself to whoever connects: `INFO` and JSON.
    ///
    /// # Errors
    ///
    /// When nobody listens, and when nothing comes in time.
    pub fn info(&self, patience: Duration) -> io::Result<String> {
        info(self.port, patience)
    }
}

fn info(port: u16, patience: Duration) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.starts_with("INFO ") { Ok(line) } else { Err(io::Error::other(format!("no INFO but {line:?}"))) }
}
