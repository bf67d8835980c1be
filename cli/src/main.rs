//! The command `cereus`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cereus_cli::main()
}
