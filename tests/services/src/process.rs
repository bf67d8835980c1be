//! A process with a folder for its log and data.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{self, Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// How long a server may take to be ready, and any other program to its end. Far more than it ever needs, also on a machine
/// that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much is told of the log of a server that failed.
const LAST_LINES: usize = 30;

/// Kills the process and removes the folder as soon as nobody writes to it any more. So neither is left behind when a
/// test is aborted, and nothing is dropped. Each line that it reads is the process there is now, or none.
const KEEPER: &str = r#"
trap '' INT TERM HUP
pid=
while read -r next; do pid=$next; done
[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }
"#;

#[derive(Debug)]
pub(crate) struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
    child: Option<Child>,
    keeper: Child,
}

impl Process {
    /// A process that does not run yet, of the program that a variable names.
    pub(crate) fn new(variable: &str) -> Self {
        let program = env::var_os(variable)
            .unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`, which sets it"));
        let folder = new_folder();
        let keeper = Command::new("sh").args(["-c", KEEPER, "keeper"]).arg(&folder).stdin(Stdio::piped()).spawn();
        // The process runs in its folder.
        let program = path::absolute(program).expect("the variable names a file");
        Self { program, arguments: Vec::new(), folder, child: None, keeper: keeper.expect("`sh` starts") }
    }

    /// A folder that lives as long as this.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn arguments<S: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = S>) {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    }

    /// Starts the process, which does not run, and waits until it is ready.
    pub(crate) fn start(&mut self, mut is_ready: impl FnMut(&Self) -> bool) {
        assert!(self.child.is_none(), "{self} runs already");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log can be written");
        let errors = log.try_clone().expect("a file has two handles");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.program.display()));
        self.tell_keeper(&child.id().to_string());
        self.child = Some(child);

        let deadline = Instant::now() + PATIENCE;
        while !is_ready(self) {
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                panic!("{self} ended ({status}) before it was ready. Its last words:\n{}", self.last_words());
            }
            assert!(Instant::now() < deadline, "{self} is not ready in time. Its last words:\n{}", self.last_words());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process, which runs, has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                self.child = None;
                self.tell_keeper("");
                return status;
            }
            assert!(Instant::now() < deadline, "{self} does not end. Its last words:\n{}", self.last_words());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the process at once, if it runs, and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // They fail when it is gone already.
            let _ = child.kill().and_then(|()| child.wait());
            self.tell_keeper("");
        }
    }

    /// Stops the process from running, which it does, and waits until it is stopped.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Stopped(..)) => return,
                Ok(WaitStatus::StillAlive) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                status => panic!("{self} does not pause: {status:?}"),
            }
        }
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// All that the process wrote so far, before it was restarted too.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|error| panic!("{signal} cannot be sent to {self}: {error}"));
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{self} does not run"));
        Pid::from_raw(child.id().try_into().expect("a process id is a pid_t"))
    }

    fn tell_keeper(&self, line: &str) {
        if let Some(mut pipe) = self.keeper.stdin.as_ref() {
            // A keeper that is gone concerns no test, and a test that panics must not panic again.
            let _ = writeln!(pipe, "{line}");
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        write!(f, "{}", name.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("cereus-service-tests-{}-{number}", process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => return folder,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("cannot create {}: {error}", folder.display()),
        }
    }
}
