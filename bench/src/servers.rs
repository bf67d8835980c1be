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

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A program that can be started again and again.
#[derive(Clone, Debug)]
pub struct Server {
    name: String,
    /// The program and its arguments.
    command: Vec<String>,
    /// The last argument.
    at: String,
    quiet: bool,
}

/// A server that listens. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    name: String,
    child: Child,
    /// CPU time of all children reaped before this one.
    cpu_before: Duration,
}

impl Server {
    /// A program that gets an address to listen on as its last argument and prints a line `... listening on <address>`; or
    /// one with `{port}` among its arguments, which is replaced with a free port, where it accepts once it is up.
    ///
    /// # Errors
    ///
    /// The command is empty.
    pub fn new(name: &str, command: Vec<String>) -> Result<Self, String> {
        if command.is_empty() {
            return Err(format!("the command of {name} is empty"));
        }
        Ok(Self { name: name.to_owned(), command, at: "127.0.0.1:0".to_owned(), quiet: false })
    }

    /// Gives it this address as the last argument, not one that it may choose.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        Self { at: address.to_string(), ..self }
    }

    /// Shows nothing of what it writes to stderr.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    ///
    /// It does not start, or does not listen in time.
    pub fn spawn(&self, threads: usize) -> Result<Running, Box<dyn Error>> {
        let mut words = self.command.clone();
        let port = words.iter().any(|word| word.contains("{port}")).then(free_port).transpose()?;
        match port {
            Some(port) => words.iter_mut().for_each(|word| *word = word.replace("{port}", &port.to_string())),
            None => words.push(self.at.clone()),
        }

        let cpu_before = children_cpu()?;
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env("TOKIO_WORKER_THREADS", threads.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(if self.quiet { Stdio::null() } else { Stdio::inherit() })
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
    /// Ends the server. Returns the CPU time, of user and system, that it took in its whole life. No other child may be
    /// reaped meanwhile.
    ///
    /// # Errors
    ///
    /// It had ended already.
    pub fn reap(mut self) -> Result<Duration, Box<dyn Error>> {
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
///
/// # Errors
///
/// It does not compile.
pub fn build(target: &[&str]) -> Result<String, Box<dyn Error>> {
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

/// The words of a command.
pub fn split(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn children_cpu() -> nix::Result<Duration> {
    cpu_time(UsageWho::RUSAGE_CHILDREN)
}

/// User and system time.
///
/// # Errors
///
/// The system's.
pub fn cpu_time(who: UsageWho) -> nix::Result<Duration> {
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
