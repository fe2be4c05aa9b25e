//! Files, folders and standard input: where manifests come from.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::common::failure::Failure;

/// Most that one file may have. The API server takes objects of 1.5 MiB; whole installations are some 10 MiB.
const MOST_BYTES: u64 = 64 << 20;
/// Folders in folders: a link that leads back up ends here.
const MOST_LEVELS: usize = 32;
/// What kubectl takes of a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its path as it was given; `-` for standard input.
    pub file: String,
    /// Its bytes, or why they cannot be read.
    pub bytes: Result<Vec<u8>, String>,
}

/// Reads what `-f` names, in its order; a folder's files by their names.
///
/// # Errors
/// A folder has no manifests in it.
pub fn inputs(named: &[PathBuf], recursive: bool) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            let bytes = bounded(io::stdin().lock());
            inputs.push(Input { file: "-".to_owned(), bytes });
        } else if path.is_dir() {
            let mut files = Vec::new();
            below(path, if recursive { MOST_LEVELS } else { 1 }, &mut files);
            if files.is_empty() {
                let failure =
                    Failure::usage(format!("{}: no *.yaml, *.yml or *.json", path.display()));
                return Err(if recursive { failure } else { failure.cure("folders in it: -R") });
            }
            inputs.extend(files);
        } else {
            inputs.push(input(path));
        }
    }
    Ok(inputs)
}

fn input(path: &Path) -> Input {
    let bytes = File::open(path).map_err(|error| error.to_string()).and_then(bounded);
    Input { file: path.display().to_string(), bytes }
}

fn bounded(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("more than {} MiB", MOST_BYTES >> 20));
    }
    Ok(bytes)
}

/// The manifests in a folder, sorted; the folder itself where it cannot be listed, with the reason.
fn below(folder: &Path, levels: usize, files: &mut Vec<Input>) {
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()
    });
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) => {
            let file = folder.display().to_string();
            files.push(Input { file, bytes: Err(error.to_string()) });
            return;
        }
    };
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if levels > 1 {
                below(&path, levels - 1, files);
            }
        } else if path.extension().is_some_and(|is| EXTENSIONS.iter().any(|wanted| is == *wanted)) {
            files.push(input(&path));
        }
    }
}
