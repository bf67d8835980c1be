//! As much of `protoc` as prost-build asks for: `.proto` files in, a set of descriptors out.

use std::{env, error::Error, ffi::OsString, fs, path::PathBuf, process::ExitCode};

use protox::Compiler;

fn main() -> ExitCode {
    match run(env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tools/protoc-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let (mut includes, mut files, mut output) = (Vec::new(), Vec::new(), None);
    let (mut imports, mut source_info) = (false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).ok_or("a value is missing at the end");
        match argument.to_str() {
            Some("-I") => includes.push(value()?),
            Some("-o") => output = Some(value()?),
            Some("--include_imports") => imports = true,
            Some("--include_source_info") => source_info = true,
            // Always so in protox.
            Some("--experimental_allow_proto3_optional") => {}
            Some(option) if option.starts_with('-') => {
                return Err(format!("{option} is not known here: set PROTOC to the path of a real protoc").into());
            }
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let output = output.ok_or("no `-o`")?;
    let mut compiler = Compiler::new(includes)?;
    compiler.include_imports(imports).include_source_info(source_info);
    // Only `Debug` tells the file and the line.
    compiler.open_files(files).map_err(|error| format!("{error:?}"))?;
    Ok(fs::write(output, compiler.encode_file_descriptor_set())?)
}
