//! Programs of this machine, and the folders of the project.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{self, Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Done, Error};

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace")
}

/// What the commands got or built; not below CARGO_TARGET_DIR, which may be another one each time.
pub(crate) fn services_folder() -> PathBuf {
    root().join("target/services")
}

/// Where the shell would find a program, or else in `more` folders.
pub(crate) fn find(program: &str, more: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    // Absolute, because tests run in other folders than this.
    env::split_paths(&path)
        .chain(more.iter().cloned())
        .map(|folder| folder.join(&file))
        .find(|file| file.is_file())
        .and_then(|file| path::absolute(file).ok())
}

/// The first line of what a program says of its version.
pub(crate) fn version(program: &Path, argument: &str) -> Result<String, Error> {
    let text = output(Command::new(program).arg(argument))?;
    Ok(text.lines().next().unwrap_or("no version").to_owned())
}

/// Runs a command whose output is only of interest when it fails, or to the caller.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", text(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}\n{}", text(command), output.status, String::from_utf8_lossy(&output.stderr).trim_end()).into())
}

/// Runs a command whose output is for the reader.
pub(crate) fn run(command: &mut Command) -> Done {
    let status = command.status().map_err(|error| format!("{}: {error}", text(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", text(command)).into()) }
}

/// As [`run`], for commands whose stdout is not what the reader asked for.
pub(crate) fn run_aside(command: &mut Command) -> Done {
    run(command.stdin(Stdio::null()).stdout(io::stderr()))
}

/// The command as it would be typed.
fn text(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> = [program].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}
