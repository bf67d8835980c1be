//! Servers under test: where they are, how they start, and what CPU time they took once they are gone.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::args::Args;

/// The name of the server that all others are compared with.
pub(crate) const BASELINE: &str = "baseline";

/// The name of ours, to which the bars apply.
pub(crate) const CEREUS: &str = "cereus";

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A program that can be started again and again.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    /// The program and its arguments.
    command: Vec<String>,
}

/// A server that listens. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    name: String,
    child: Child,
    /// CPU time of all children reaped before this one.
    cpu_before: Duration,
}

/// The baseline, Cereus and the peers. Builds what no command was given for.
pub(crate) fn locate(args: &Args) -> Result<Vec<Server>, Box<dyn Error>> {
    let baseline = match &args.baseline {
        Some(command) => split(command),
        None => vec![build(&["--package", "cereus-bench-baseline"])?],
    };
    let cereus = match &args.cereus {
        Some(command) => split(command),
        None => vec![
            build(&["--package", "cereus", "--example", "echo"])
                .map_err(|error| format!("{error}; or name a server with --cereus COMMAND"))?,
        ],
    };
    let ours = [(BASELINE.to_owned(), baseline), (CEREUS.to_owned(), cereus)];
    let peers = args.peers.iter().map(|(name, command)| (name.clone(), split(command)));
    ours.into_iter()
        .chain(peers)
        .map(|(name, command)| {
            if command.is_empty() {
                return Err(format!("the command of {name} is empty").into());
            }
            Ok(Server { name, command })
        })
        .collect()
}

impl Server {
    /// Starts the server and waits until it listens.
    pub(crate) fn spawn(&self, threads: usize) -> Result<Running, Box<dyn Error>> {
        let mut words = self.command.clone();
        let port = words.iter().any(|word| word.contains("{port}")).then(free_port).transpose()?;
        match port {
            Some(port) => words.iter_mut().for_each(|word| *word = word.replace("{port}", &port.to_string())),
            None => words.push("127.0.0.1:0".to_owned()),
        }

        let cpu_before = children_cpu()?;
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env("TOKIO_WORKER_THREADS", threads.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} does not start: {}: {error}", self.name, words[0]))?;
        let stdout = child.stdout.take();
        let mut running = Running {
            address: (Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into(),
            name: self.name.clone(),
            child,
            cpu_before,
        };
        let announced = stdout.map(announcements).ok_or("the server has no stdout")?;
        if port.is_some() {
            running.wait_until_accepting()?;
        } else {
            running.address = running.wait_for_address(&announced)?;
        }
        Ok(running)
    }
}

impl Running {
    /// Ends the server. Returns the CPU time, of user and system, that it took in its whole life.
    pub(crate) fn reap(mut self) -> Result<Duration, Box<dyn Error>> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("{} ended under load: {status}", self.name).into());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(children_cpu()?.saturating_sub(self.cpu_before))
    }

    fn wait_for_address(&mut self, announced: &mpsc::Receiver<SocketAddr>) -> Result<SocketAddr, Box<dyn Error>> {
        let name = &self.name;
        match announced.recv_timeout(START_LIMIT) {
            Ok(address) => Ok(address),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(format!("{name} printed no line `listening on <address>` within {START_LIMIT:?}").into())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let _ = self.child.kill();
                let status = self.child.wait()?;
                Err(format!("{name} ended before it listened ({status}); what it said is above").into())
            }
        }
    }

    fn wait_until_accepting(&mut self) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let name = &self.name;
                return Err(format!("{name} ended before it listened ({status}); what it said is above").into());
            }
            match TcpStream::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > START_LIMIT => {
                    let Self { name, address, .. } = self;
                    return Err(format!("{name} does not accept on {address} within {START_LIMIT:?}: {error}").into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all that a server prints, so that it never blocks; the address it listens on comes out.
fn announcements(stdout: ChildStdout) -> mpsc::Receiver<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            if let Some(address) = listening_on(&String::from_utf8_lossy(&line)) {
                // Nobody listens to a second announcement.
                let _ = sender.send(address);
            }
        }
    });
    receiver
}

/// The last word of a line `... listening on ...` that is an address, as one connects to it.
fn listening_on(line: &str) -> Option<SocketAddr> {
    let (_, words) = line.split_once("listening on")?;
    let mut address: SocketAddr = words.split_whitespace().rev().find_map(|word| {
        let word = word.rsplit("://").next().unwrap_or(word);
        word.trim_matches(['`', '"', '\'', ',', '.', ';', '(', ')', '/']).parse().ok()
    })?;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    Some(address)
}

/// Builds one program of the workspace in release mode and returns its path.
fn build(target: &[&str]) -> Result<String, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target_words = target.join(" ");
    eprintln!("building {target_words}");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release"])
        .arg("--message-format=json-render-diagnostics")
        .args(target)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo build --release {target_words} failed").into());
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(str::to_owned))
        .next_back()
        .ok_or_else(|| format!("cargo build {target_words} made no program").into())
}

fn split(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn children_cpu() -> nix::Result<Duration> {
    cpu_time(UsageWho::RUSAGE_CHILDREN)
}

/// User and system time.
pub(crate) fn cpu_time(who: UsageWho) -> nix::Result<Duration> {
    let usage = getrusage(who)?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000)
}

#[cfg(test)]
mod tests {
    use super::listening_on;

    #[test]
    fn the_address_is_the_last_word_that_is_one() {
        let found = |line| listening_on(line).map(|address| address.to_string());
        assert_eq!(found("listening on 127.0.0.1:80"), Some("127.0.0.1:80".to_owned()));
        assert_eq!(found("INFO echo: listening on tcp://0.0.0.0:3250, ready"), Some("127.0.0.1:3250".to_owned()));
        assert_eq!(found("listening on [::]:1."), Some("[::1]:1".to_owned()));
        assert_eq!(found("serving 127.0.0.1:80"), None);
        assert_eq!(found("listening on port 80"), None);
    }
}
