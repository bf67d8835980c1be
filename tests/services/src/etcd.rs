//! etcd.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{free_port, process::Process};

/// An etcd of one member. Dropped, it is killed, and its data removed.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    port: u16,
}

impl Etcd {
    /// Starts an empty etcd and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts an empty etcd with more arguments, which win over those that it has anyway.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut process = Process::new("CEREUS_ETCD");
        let port = free_port();
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()));
        process.arguments(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        process.arguments(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        process.arguments(["--name", "test", "--initial-cluster", &format!("test={peer}")]);
        // What is killed here is a process, not the machine.
        process.arguments(["--data-dir", "data", "--unsafe-no-fsync"]);
        // Ten times faster than usual: it waits for an election as it starts. Leases of 1 s are not made 2 s either.
        process.arguments(["--heartbeat-interval", "10", "--election-timeout", "100"]);
        process.arguments(arguments);
        let mut etcd = Self { process, port };
        etcd.restart();
        etcd
    }

    /// Kills etcd, if it runs, starts it on the same port with the same data, and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port;
        self.process.start(|_| {
            let health = http(port, "GET", "/health", "", Duration::from_secs(1));
            health.is_ok_and(|health| health.contains("true"))
        });
    }

    /// Kills etcd without any notice to its clients.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops etcd from running; its connections stay open.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// What a client connects to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The answer to an HTTP request, which etcd's gateway understands: `POST`, `/v3/kv/range`, JSON.
    ///
    /// # Errors
    ///
    /// When nobody listens, when nothing comes in time, and when the status is not 200.
    pub fn http(&self, method: &str, path: &str, body: &str, patience: Duration) -> io::Result<String> {
        http(self.port, method, path, body, patience)
    }
}

fn http(port: u16, method: &str, path: &str, body: &str, patience: Duration) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    // In HTTP/1.0 an answer comes in one piece and ends the connection.
    write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(answer)),
    }
}
