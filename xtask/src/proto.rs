//! `cargo xtask proto`: the code of the envelopes.

use std::{fs, io, path::Path};

use prost_build::{Config, Module};
use protox::Compiler;

use crate::{Done, Error};

pub(crate) const HELP: &str = "\
cargo xtask proto

Generates cluster/src/generated/protos.rs from cluster/proto. It needs no protoc.

    --check    fails when that file is not what would be generated, and writes nothing
";

const PACKAGE: &str = "protos";

/// Writes, or only checks, the code of the envelopes.
pub(crate) fn run(check: bool) -> Done {
    let cluster = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster"));
    let target = cluster.join("src/generated/protos.rs");
    let code = generate(&cluster.join("proto"))?;
    if !check {
        fs::create_dir_all(target.with_file_name(""))?;
        fs::write(target, code)?;
    } else if fs::read_to_string(target).ok().as_ref() != Some(&code) {
        return Err("cluster/src/generated/protos.rs is not what cluster/proto says: run `cargo xtask proto`".into());
    }
    Ok(())
}

/// The code for every `.proto` file of a folder.
fn generate(folder: &Path) -> Result<String, Error> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let descriptors = Compiler::new([folder])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(files)?
        .file_descriptor_set();
    let module = Module::from_protobuf_package_name(PACKAGE);
    let files = descriptors.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut modules = Config::new().bytes(["."]).btree_map(["."]).generate(files)?;
    modules.remove(&module).ok_or_else(|| format!("{} has no message", folder.display()).into())
}
