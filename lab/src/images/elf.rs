//! The libraries that a program needs beside it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::archive::{Entry, Image};
use crate::process::bound;

/// Puts the program `source` into `image` as `path`, and its libraries where
/// its loader looks for them. `library_path` is where libraries of programs
/// that are not installed are.
///
/// # Errors
/// A library is nowhere.
pub async fn add_program(
    image: &mut Image,
    source: &Path,
    path: &str,
    library_path: &OsStr,
) -> Result<()> {
    let mut command = bound("ldd");
    if !library_path.is_empty() {
        command.env("LD_LIBRARY_PATH", library_path);
    }
    let output = command
        .arg(source)
        .output()
        .await
        .context("ldd, which tells a program's libraries, cannot be started")?;
    // A failure is how ldd says that the program is static: it needs no library.
    let listing = if output.status.success() {
        String::from_utf8_lossy(&output.stdout).into_owned()
    } else {
        String::new()
    };
    for library in parse(&listing)
        .with_context(|| format!("the libraries of {} cannot be found", source.display()))?
    {
        let place = match library.name {
            // The loader searches these folders for names, and takes a path as it is.
            Some(name) => Path::new("/usr/lib")
                .join(format!("{}-linux-gnu", std::env::consts::ARCH))
                .join(name),
            None => library.file.clone(),
        };
        image.files.entry(place).or_insert(Entry::Copy(library.file));
    }
    image.files.insert(path.into(), Entry::Copy(source.to_owned()));
    Ok(())
}

#[derive(Debug, Eq, PartialEq)]
struct Library {
    /// The name that the program asks for; none for the loader, which it names by its path.
    name: Option<String>,
    file: PathBuf,
}

/// What `ldd` says: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, `/lib64/ld-linux… (0x…)`,
/// `linux-vdso.so.1 (0x…)` (the kernel's own, in no file).
fn parse(listing: &str) -> Result<Vec<Library>> {
    let mut libraries = Vec::new();
    for line in listing.lines().map(str::trim) {
        match line.split_once(" => ") {
            Some((name, "not found")) => bail!("{name} is not on this machine"),
            Some((name, rest)) => {
                let file = rest.split(" (").next().unwrap_or(rest);
                libraries.push(Library { name: Some(name.to_owned()), file: file.into() });
            }
            None if line.starts_with('/') => {
                let file = line.split(" (").next().unwrap_or(line);
                libraries.push(Library { name: None, file: file.into() });
            }
            None => {}
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::{Library, parse};

    #[test]
    fn libraries_and_loader_are_found_and_the_kernels_own_is_left_out() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let libraries = parse(listing).unwrap();
        assert_eq!(
            libraries,
            [
                Library {
                    name: Some("libm.so.6".into()),
                    file: "/lib/x86_64-linux-gnu/libm.so.6".into()
                },
                Library { name: None, file: "/lib64/ld-linux-x86-64.so.2".into() }
            ]
        );
        assert_eq!(parse("\tstatically linked\n").unwrap(), []);
    }

    #[test]
    fn a_library_that_is_nowhere_is_an_error() {
        assert!(
            parse("\tlibpcre.so.3 => not found\n")
                .unwrap_err()
                .to_string()
                .contains("libpcre.so.3")
        );
    }
}
