//! `cargo xtask services`: nats-server, etcd and the Go program that the service tests run.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{self, Path, PathBuf},
    process::{self, Command},
};

use crate::{
    Done, Error,
    tools::{find, output, root, run_aside, services_folder, version},
};

pub(crate) const HELP: &str = "\
cargo xtask services

Finds nats-server and etcd, builds tests/interop/go, and prints what to set for `cargo test -p cereus-service-tests`:

    eval \"$(cargo xtask services)\"

The servers are looked for in this order:

    1. the environment variables NATS_SERVER and ETCD, which name the programs themselves
    2. PATH and /usr/sbin
    3. target/services, where Debian's packages were unpacked earlier
    4. Debian, Ubuntu: the packages are downloaded and unpacked there. They are not installed, which would start them
       macOS: they are installed with brew

    --run    starts both instead, on 127.0.0.1:4222 and 127.0.0.1:2379, until Ctrl-C: for the examples.
             etcd starts empty each time
";

/// A server that tests run.
struct Server {
    program: &'static str,
    /// Names a program to use instead of any that would be found.
    variable: &'static str,
    debian: &'static str,
    homebrew: &'static str,
    from: &'static str,
}

const NATS: Server = Server {
    program: "nats-server",
    variable: "NATS_SERVER",
    debian: "nats-server",
    homebrew: "nats-server",
    from: "https://nats.io/download",
};

const ETCD: Server = Server {
    program: "etcd",
    variable: "ETCD",
    debian: "etcd-server",
    homebrew: "etcd",
    from: "https://github.com/etcd-io/etcd/releases",
};

/// The servers, which are there.
pub(crate) struct Servers {
    pub(crate) nats: PathBuf,
    pub(crate) etcd: PathBuf,
}

impl Servers {
    /// Finds the servers, or gets them.
    pub(crate) fn prepare() -> Result<Self, Error> {
        let mut missing = Vec::new();
        for server in [&NATS, &ETCD] {
            if server.find()?.is_none() {
                missing.push(server);
            }
        }
        if !missing.is_empty() {
            get(&missing)?;
        }
        Ok(Self { nats: NATS.expect()?, etcd: ETCD.expect()? })
    }
}

impl Server {
    fn find(&self) -> Result<Option<PathBuf>, Error> {
        let Self { program, variable, .. } = self;
        if let Some(named) = env::var_os(variable) {
            let file = path::absolute(&named).ok().filter(|file| file.is_file());
            return file.map(Some).ok_or_else(|| format!("{variable} is {named:?}, which is no file").into());
        }
        let unpacked = services_folder().join(self.debian).join("usr");
        Ok(find(program, &["/usr/sbin".into(), unpacked.join("sbin"), unpacked.join("bin")]))
    }

    /// The server, once it should be there. It says its version, which shows that it runs.
    fn expect(&self) -> Result<PathBuf, Error> {
        let Self { program, variable, .. } = self;
        let file =
            self.find()?.ok_or_else(|| format!("{program} was installed, but is not on PATH: set {variable}"))?;
        let version = version(&file, "--version")
            .map_err(|error| format!("{} does not run: {error}\nSet {variable} to one that does", file.display()))?;
        eprintln!("{version} ({})", file.display());
        Ok(file)
    }
}

/// Downloads or installs servers, where that can be done.
fn get(servers: &[&Server]) -> Done {
    let failed = if find("apt-get", &[]).is_some() && find("dpkg", &[]).is_some() {
        servers.iter().try_for_each(|server| unpack(server.debian)).err()
    } else if cfg!(target_os = "macos") && find("brew", &[]).is_some() {
        let names = servers.iter().map(|server| server.homebrew);
        run_aside(Command::new("brew").arg("install").args(names)).err()
    } else {
        Some("there is neither apt-get with dpkg nor brew".into())
    };
    let Some(reason) = failed else { return Ok(()) };
    let mut text = "the tests need servers that are not on this machine:\n".to_owned();
    for Server { program, variable, from, .. } in servers {
        text += &format!("    {program} from {from}: put it on PATH, or set {variable} to where it is\n");
    }
    Err(format!("{text}They cannot be got from here: {reason}").into())
}

/// Unpacks a package of Debian or Ubuntu below `target/services`.
fn unpack(package: &str) -> Done {
    let folder = services_folder().join(package);
    // Moved to its place when it is complete, since another run may do the same.
    let part = folder.with_extension(format!("{}.part", process::id()));
    fs::create_dir_all(&part).map_err(|error| format!("cannot create {}: {error}", part.display()))?;
    eprintln!("downloading {package} ...");
    let done = download(package, &part).and_then(|()| {
        for file in fs::read_dir(&part)?.collect::<Result<Vec<_>, _>>()? {
            output(Command::new("dpkg").arg("-x").arg(file.path()).arg(&part))?;
            fs::remove_file(file.path())?;
        }
        match fs::rename(&part, &folder) {
            Err(error) if !folder.exists() => Err(format!("cannot create {}: {error}", folder.display()).into()),
            _ => Ok(()),
        }
    });
    let _ = fs::remove_dir_all(part);
    done
}

fn download(package: &str, folder: &Path) -> Done {
    let download = || output(Command::new("apt-get").args(["download", package]).current_dir(folder));
    let Err(error) = download() else { return Ok(()) };
    let user = output(Command::new("id").arg("-u"))?;
    if user.trim() != "0" {
        return Err(format!("{error}\nThe package lists may be missing or old: `sudo apt-get update`").into());
    }
    eprintln!("apt-get update ...");
    output(Command::new("apt-get").arg("update"))?;
    download().map(drop)
}

/// All that the service tests run.
pub(crate) struct Services {
    servers: Servers,
    /// Not there without Go.
    pub(crate) interop: Option<PathBuf>,
}

impl Services {
    pub(crate) fn prepare() -> Result<Self, Error> {
        Ok(Self { servers: Servers::prepare()?, interop: build_interop()? })
    }

    /// The environment of the service tests.
    pub(crate) fn environment(&self) -> Vec<(&'static str, &Path)> {
        let Self { servers: Servers { nats, etcd }, interop } = self;
        let mut variables = vec![("CEREUS_NATS_SERVER", nats.as_path()), ("CEREUS_ETCD", etcd)];
        variables.extend(interop.as_deref().map(|interop| ("CEREUS_GO_INTEROP", interop)));
        variables
    }
}

/// Builds the Go program that clusters are mixed with, or takes the one that is named.
fn build_interop() -> Result<Option<PathBuf>, Error> {
    if let Some(program) = env::var_os("CEREUS_GO_INTEROP").map(PathBuf::from) {
        return match program.is_file() {
            true => Ok(Some(program)),
            false => Err(format!("CEREUS_GO_INTEROP names {}, which is no file", program.display()).into()),
        };
    }
    let Some(go) = find("go", &["/usr/local/go/bin".into()]) else {
        // There nobody would see it.
        if env::var_os("CI").is_some_and(|value| !value.is_empty()) {
            return Err("the tests with Go servers cannot be left out on CI: install Go".into());
        }
        eprintln!("the tests with Go servers are LEFT OUT: install Go (https://go.dev/dl) and put it on PATH");
        return Ok(None);
    };
    eprintln!("{}: building tests/interop/go ...", version(&go, "version")?);
    let program = services_folder().join("pitaya-interop").with_extension(env::consts::EXE_EXTENSION);
    let mut build = Command::new(go);
    build.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg(".").current_dir(root().join("tests/interop/go"));
    run_aside(&mut build).map_err(|error| format!("tests/interop/go was not built: {error}"))?;
    Ok(Some(program))
}

/// `cargo xtask services`.
pub(crate) fn tell() -> Done {
    let mut lines = OsString::new();
    for (name, value) in Services::prepare()?.environment() {
        lines.push(format!("export {name}='{}'\n", value.display().to_string().replace('\'', r"'\''")));
    }
    crate::print(&lines.to_string_lossy())
}
