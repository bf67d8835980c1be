//! `cargo xtask test`: every test.

use std::{env, process::Command};

use crate::{Done, services::Services, tools};

pub(crate) const HELP: &str = "\
cargo xtask test [ARGUMENTS]

Runs every test: those of `cargo test`, and then those of tests/services, which run nats-server, etcd and Go servers.
ARGUMENTS are handed to `cargo test` both times: `cargo xtask test --locked -- --nocapture`.

It gets what is missing, if it can: see `cargo xtask services --help`. A server that it cannot get is a failure.
Without Go the tests with Go servers are left out, and it says so; when the variable CI is set, that is a failure too.
";

pub(crate) fn run(arguments: &[&str]) -> Done {
    let services = Services::prepare()?;
    cargo_test(&services, &[], arguments)?;
    let mut package = vec!["--package", "cereus-service-tests"];
    if services.interop.is_some() {
        package.extend(["--features", "interop"]);
    }
    cargo_test(&services, &package, arguments)?;
    if services.interop.is_none() {
        eprintln!("xtask: all that ran passed; the tests with Go servers were LEFT OUT, as told above");
    }
    Ok(())
}

fn cargo_test(services: &Services, which: &[&str], arguments: &[&str]) -> Done {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("test").args(which).args(arguments).current_dir(tools::root()).envs(services.environment());
    // What cargo told of this package: build scripts that look at it would run again each time.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    eprintln!("\nxtask: cargo test {}", [which, arguments].concat().join(" "));
    tools::run(&mut command)
}
