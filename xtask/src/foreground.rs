//! `cargo xtask services --run`: NATS and etcd in the foreground.

use std::{
    env, fs,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Done, Error, services::Servers};

const NATS: (&str, u16) = ("nats-server", 4222);
const ETCD: (&str, u16) = ("etcd", 2379);
const PATIENCE: Duration = Duration::from_secs(30);

/// Kills the servers and removes the folder as soon as nobody writes to it any more, whatever ended this program.
const KEEPER: &str = r#"
trap '' INT TERM HUP
pids=
while read -r pid; do pids="$pids $pid"; done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null
rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }
"#;

pub(crate) fn run() -> Done {
    let Servers { nats, etcd } = Servers::prepare()?;
    for (name, port) in [NATS, ETCD] {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| format!("port {port} is not free for {name} ({error}): stop what listens there"))?;
    }
    let data = env::temp_dir().join(format!("cereus-services-{}", process::id()));
    fs::create_dir(&data).map_err(|error| format!("cannot create {}: {error}", data.display()))?;
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(&data)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`sh`, which ends the servers, does not start: {error}"))?;

    let (nats_port, etcd_url) = (NATS.1.to_string(), format!("http://127.0.0.1:{}", ETCD.1));
    let mut commands = [Command::new(nats), Command::new(etcd)];
    commands[0].args(["--addr", "127.0.0.1", "--port", &nats_port]);
    // The peers' port is any that is free: there are no peers.
    commands[1]
        .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
        .args(["--listen-peer-urls", "http://127.0.0.1:0", "--unsafe-no-fsync"])
        .args(["--logger", "zap", "--log-level", "warn", "--data-dir"])
        .arg(data.join("etcd"));
    let done = serve(&mut commands, &mut keeper);
    drop(keeper.stdin.take());
    keeper.wait()?;
    done
}

/// Runs the servers until one of them ends.
fn serve(commands: &mut [Command; 2], keeper: &mut Child) -> Done {
    let mut servers = Vec::new();
    for (command, (name, port)) in commands.iter_mut().zip([NATS, ETCD]) {
        let server = command.stdin(Stdio::null()).spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        if let Some(keeper) = &mut keeper.stdin {
            writeln!(keeper, "{}", server.id())?;
        }
        servers.push((server, name, port));
    }
    let deadline = Instant::now() + PATIENCE;
    while !servers.iter().all(|&(_, _, port)| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()) {
        if Instant::now() > deadline {
            return Err(format!("the servers do not listen after {} seconds", PATIENCE.as_secs()).into());
        }
        check(&mut servers)?;
    }
    writeln!(io::stderr(), "\nNATS is nats://127.0.0.1:{}, etcd is http://127.0.0.1:{}, until Ctrl-C", NATS.1, ETCD.1)?;
    loop {
        check(&mut servers)?;
    }
}

/// Waits a little, and fails when a server has ended.
fn check(servers: &mut [(Child, &str, u16)]) -> Result<(), Error> {
    thread::sleep(Duration::from_millis(50));
    for (server, name, _) in servers {
        if let Some(status) = server.try_wait()? {
            return Err(format!("{name} ended: {status}").into());
        }
    }
    Ok(())
}
