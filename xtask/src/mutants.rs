//! `cargo xtask mutants`: whether the simulation notices bugs that were made on purpose.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{Done, Error, tools};

pub(crate) const HELP: &str = "\
cargo xtask mutants [NAME..]

Applies each patch of sim/mutants, or those that are named, to a copy of the sources, runs the simulated worlds, and
fails unless they tell of the invariant that the patch names in its first line. The copy and what is built from it are
in target/mutants; CEREUS_SEEDS says how many worlds there are (default: 100).
";

/// What the first line of a patch begins with, before the name of an invariant.
const CAUGHT_BY: &str = "Caught by: ";

pub(crate) fn run(names: &[&str]) -> Done {
    let scratch = Scratch::new()?;
    let mut patches: Vec<_> = fs::read_dir(tools::root().join("sim/mutants"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, Error>>()?;
    patches.sort();
    patches.retain(|patch| names.is_empty() || names.contains(&&*name(patch)));
    if patches.len() < names.len().max(1) {
        return Err("there is no such patch in sim/mutants".into());
    }
    if let Some(broken) = scratch.simulate()? {
        return Err(format!("something fails without any of the bugs:\n{broken}").into());
    }
    let check = |patch: &&PathBuf| scratch.check(patch).inspect_err(|error| eprintln!("xtask: {error}")).is_err();
    match patches.iter().filter(check).count() {
        0 => {
            eprintln!("xtask: {} bugs, each was caught", patches.len());
            Ok(())
        }
        missed => Err(format!("{missed} of {} bugs were not caught as they should be", patches.len()).into()),
    }
}

fn name(patch: &Path) -> String {
    patch.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A copy of the sources.
struct Scratch {
    source: PathBuf,
}

impl Scratch {
    /// Makes the copy. Files that are right already are left alone, and are not built anew.
    fn new() -> Result<Self, Error> {
        let source = tools::root().join("target/mutants/source");
        let listed = tools::output(Command::new("git").arg("ls-files").current_dir(tools::root()))?;
        for file in listed.lines() {
            let (from, to) = (tools::root().join(file), source.join(file));
            if !from.is_file() {
                continue;
            }
            let content = fs::read(&from)?;
            if fs::read(&to).is_ok_and(|there| there == content) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&source))?;
            fs::write(to, content)?;
        }
        Ok(Self { source })
    }

    /// Fails when a bug is not caught.
    fn check(&self, patch: &Path) -> Done {
        let (name, start) = (name(patch), Instant::now());
        let text = fs::read_to_string(patch)?;
        let invariant = text.lines().next().and_then(|line| line.strip_prefix(CAUGHT_BY));
        let invariant = invariant.ok_or_else(|| format!("{name}: its first line is not `{CAUGHT_BY}..`"))?;
        self.apply(patch, &[])
            .map_err(|error| format!("{name} does not apply: make it anew, or take it out. {error}"))?;
        let broken = self.simulate();
        self.apply(patch, &["--reverse"])?;
        let broken = broken?.ok_or_else(|| format!("{name}: nothing noticed it"))?;
        let found = broken.split('`').nth(1).unwrap_or_default();
        if found != invariant {
            return Err(format!("{name}: `{invariant}` should fail, and this did:\n{broken}").into());
        }
        eprintln!("xtask: {name}: caught by `{invariant}` after {:.0?}", start.elapsed());
        Ok(())
    }

    fn apply(&self, patch: &Path, arguments: &[&str]) -> Done {
        let mut apply = Command::new("git");
        apply.args(["apply", "--whitespace=nowarn"]).args(arguments).arg(patch).current_dir(&self.source);
        // The copy is no part of the repository that it lies in: what is not tracked there would be left out.
        apply.env("GIT_CEILING_DIRECTORIES", self.source.parent().unwrap_or(&self.source));
        tools::output(&mut apply).map(drop)
    }

    /// What the simulated worlds say first that does not hold.
    fn simulate(&self) -> Result<Option<String>, Error> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["test", "--quiet", "--locked", "--package", "cereus-sim", "--test", "world"])
            .current_dir(&self.source);
        cargo.arg("whatever_happens").envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("RUST_BACKTRACE", "0")]);
        cargo.env("CARGO_TARGET_DIR", tools::root().join("target/mutants/target"));
        if env::var_os("CEREUS_SEEDS").is_none() {
            cargo.env("CEREUS_SEEDS", "100");
        }
        let output = cargo.output()?;
        if output.status.success() {
            return Ok(None);
        }
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        match text.lines().find(|line| line.starts_with("invariant `")) {
            Some(broken) => Ok(Some(broken.to_owned())),
            None => Ok(Some(text)),
        }
    }
}
