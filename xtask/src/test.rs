//! `cargo xtask test`: every test.

use std::{env, error::Error as StdError, path::PathBuf, process::Command};

use crate::{Done, services::Services, tools};

pub(crate) const HELP: &str = "\
cargo xtask test [ARGUMENTS]

Runs every test: those of `cargo test`, and then those of tests/services, which run nats-server, etcd and Go servers.
ARGUMENTS are handed to `cargo test` both times: `cargo xtask test --locked -- --nocapture`.

It gets what is missing, if it can: see `cargo xtask services --help`. A server that it cannot get is a failure.
The tests with Go servers need Go, or CEREUS_GO_INTEROP, which names a program that was built from tests/interop/go elsewhere.
Without they are left out, and it says so; when the variable CI is set, that is a failure too.
";

pub(crate) fn run(arguments: &[&str]) -> Done {
    let services = Services::prepare()?;
    cargo_test(&services, &[], arguments, &[])?;
    let built = build_programs()?;
    let mut package = vec!["--package", "cereus-service-tests"];
    if services.interop.is_some() {
        package.extend(["--features", "interop"]);
    }
    cargo_test(&services, &package, arguments, &built)?;
    if services.interop.is_none() {
        eprintln!("xtask: all that ran passed; the tests with Go servers were LEFT OUT, as told above");
    }
    Ok(())
}

/// Our programs that the service tests run, and the variables that name them.
fn build_programs() -> Result<[(&'static str, PathBuf); 2], Box<dyn StdError>> {
    eprintln!("\nxtask: building the example `cluster` and the command `cereus`");
    // With all that it can do: it is run as several processes.
    build(&["--example", "cluster", "--features", "nats,etcd,grpc"])?;
    build(&["--package", "cereus-cli", "--bin", "cereus"])?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| tools::root().join("target"), PathBuf::from);
    let program = |path: &str| target.join("debug").join(path).with_extension(env::consts::EXE_EXTENSION);
    Ok([("CEREUS_CLUSTER_EXAMPLE", program("examples/cluster")), ("CEREUS_CLI", program("cereus"))])
}

fn build(what: &[&str]) -> Done {
    tools::run(cargo().args(["build", "--locked"]).args(what))
}

fn cargo_test(services: &Services, which: &[&str], arguments: &[&str], built: &[(&str, PathBuf)]) -> Done {
    let mut command = cargo();
    command.arg("test").args(which).args(arguments).envs(services.environment()).envs(built.iter().cloned());
    eprintln!("\nxtask: cargo test {}", [which, arguments].concat().join(" "));
    tools::run(&mut command)
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(tools::root());
    // What cargo told of this package: build scripts that look at it would run again each time.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}
