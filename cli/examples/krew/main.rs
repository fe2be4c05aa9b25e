//! Prints krew's manifest of the plugin, for the archives of a release:
//!
//! ```sh
//! cargo run -p lameduck-cli --example krew -- v0.1.0 HOMEPAGE URL-OF-THE-FOLDER kubectl-lameduck_linux_amd64.tar.gz
//! ```

mod manifest;

use std::path::Path;

use manifest::{Archive, manifest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(version), Some(homepage), Some(prefix)) = (words.next(), words.next(), words.next())
    else {
        return Err("usage: krew VERSION HOMEPAGE URL-OF-THE-FOLDER ARCHIVE...".into());
    };
    let mut archives = Vec::new();
    for path in words {
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
        archives.push(Archive { name, bytes });
    }
    print!("{}", manifest(&version, &homepage, &prefix, &archives)?);
    Ok(())
}
