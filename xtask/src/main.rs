//! The project's own commands: `cargo xtask --help`.

mod foreground;
mod mutants;
mod proto;
mod services;
mod test;
mod tools;

use std::{env, error, io, io::Write, process::ExitCode};

const HELP: &str = "\
The project's own commands. Each tells more with --help.

    cargo xtask test [ARGUMENTS]    runs every test, those with NATS, etcd and Go included
    cargo xtask mutants [NAME..]    looks whether the simulation notices bugs that were made on purpose
    cargo xtask services            finds or gets what those tests run, and tells where it is
    cargo xtask services --run      runs NATS and etcd until Ctrl-C, for the examples
    cargo xtask proto [--check]     generates cluster/src/generated/protos.rs from cluster/proto
";

/// Says what failed and what to do.
type Error = Box<dyn error::Error>;
type Done = Result<(), Error>;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["--help" | "-h" | "help"] => print(HELP),
        ["mutants", "--help" | "-h"] => print(mutants::HELP),
        ["mutants", ref names @ ..] => mutants::run(names),
        ["proto", "--help" | "-h"] => print(proto::HELP),
        ["proto"] => proto::run(false),
        ["proto", "--check"] => proto::run(true),
        ["services", "--help" | "-h"] => print(services::HELP),
        ["services"] => services::tell(),
        ["services", "--run"] => foreground::run(),
        ["test", "--help" | "-h"] => print(test::HELP),
        ["test", ref arguments @ ..] => test::run(arguments),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes what was asked for; all else that is told goes to stderr.
fn print(text: &str) -> Done {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
