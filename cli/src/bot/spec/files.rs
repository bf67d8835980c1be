//! Which files are specs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Spec, read::Reader};
use crate::failure::Failure;

/// Reads these files, and all in these folders whose name ends with `.json`, in the order of their names. `notes`: what is to be
/// said about them.
pub(in crate::bot) fn read_all(places: &[PathBuf], notes: &mut Vec<String>) -> Result<Vec<Spec>, Failure> {
    let mut files = Vec::new();
    for place in places {
        let cannot = |error| Failure::Usage(format!("{} cannot be read: {error}", place.display()));
        if fs::metadata(place).map_err(cannot)?.is_dir() {
            walk(place, &mut files)?;
        } else {
            files.push(place.clone());
        }
    }
    let mut specs = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let text =
            fs::read_to_string(&file).map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
        let mut reader = Reader::new(&name);
        let spec = reader.spec(&text).map_err(|why| Failure::Usage(format!("{name}: {why}")))?;
        notes.extend(reader.note());
        specs.push(spec);
    }
    if specs.is_empty() {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        return Err(Failure::Usage(format!("there is no spec, a file *.json, in {}", places.join(", "))));
    }
    Ok(specs)
}

/// As pitaya-bot does: no hidden files, no folders that begin with two dots (Kubernetes makes such), no links to folders.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::Usage(format!("{} cannot be read: {error}", folder.display()));
    let entries = fs::read_dir(folder).map_err(cannot)?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(cannot)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().map_err(cannot)?.is_dir() {
            if !name.starts_with("..") {
                walk(&path, files)?;
            }
        } else if name.ends_with(".json") && !name.starts_with('.') && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
