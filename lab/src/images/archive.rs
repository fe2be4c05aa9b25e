//! Files -> an image archive. The same files give the same bytes: no times, no
//! owners, entries in the order of their paths.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::assets::cache::hex;

/// A one-layer image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The full name, registry and tag included.
    pub name: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Its files by their path in the image, which begins with a slash. The
    /// folders above them come by themselves.
    pub files: BTreeMap<PathBuf, Entry>,
}

/// One entry of an image's layer.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A copy of a file on this machine, readable and executable for everybody.
    Copy(PathBuf),
    /// A text file, readable for everybody.
    Text(String),
    /// A folder that everybody may write to, with the sticky bit, as `/tmp`.
    Shared,
}

/// The user that every image of the lab runs as. Numeric, so that a kubelet can
/// see that it is not root.
const USER: &str = "65532:65532";

impl Image {
    /// An image with the few files that every program expects.
    #[must_use]
    pub fn new(name: impl Into<String>, entrypoint: &[&str]) -> Self {
        let mut files = BTreeMap::new();
        files.insert(PathBuf::from("/tmp"), Entry::Shared);
        let text = |text: &str| Entry::Text(text.to_owned());
        files.insert(
            "/etc/passwd".into(),
            text("root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/bin/false\n"),
        );
        files.insert("/etc/group".into(), text("root:x:0:\nnonroot:x:65532:\n"));
        files.insert("/etc/nsswitch.conf".into(), text("hosts: files dns\n"));
        Self {
            name: name.into(),
            entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
            files,
        }
    }

    /// The digest of the image's manifest (`sha256:…`), and the archive.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn build(&self) -> Result<(String, Vec<u8>)> {
        let layer = self.layer()?;
        let layer_digest = digest(&layer);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"User": USER, "Entrypoint": self.entrypoint, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string()
        .into_bytes();
        let mut index = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        let tag = self.name.rsplit(':').next().unwrap_or_default();
        index["annotations"] = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [index]});
        let docker = json!([{"Config": blob_path(&config), "RepoTags": [self.name], "Layers": [format!("blobs/sha256/{}", without_algorithm(&layer_digest))]}]);

        let mut archive = tar::Builder::new(Vec::with_capacity(layer.len() + 64 * 1024));
        append_file(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append_file(&mut archive, "index.json", 0o644, index.to_string().as_bytes())?;
        append_file(&mut archive, "manifest.json", 0o644, docker.to_string().as_bytes())?;
        for blob in [&config, &manifest, &layer] {
            append_file(&mut archive, &blob_path(blob), 0o644, blob)?;
        }
        Ok((digest(&manifest), archive.into_inner().context("an image archive cannot be ended")?))
    }

    /// The layer, a tar of the files and of the folders above them.
    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        let mut folders: BTreeSet<&Path> = BTreeSet::new();
        for (path, entry) in &self.files {
            // From the root down; the root itself is every image's own.
            let mut above: Vec<&Path> =
                path.ancestors().skip(1).filter(|folder| folder.parent().is_some()).collect();
            above.reverse();
            for folder in above {
                if folders.insert(folder) {
                    append_folder(&mut layer, folder, 0o755)?;
                }
            }
            match entry {
                Entry::Shared => {
                    folders.insert(path);
                    append_folder(&mut layer, path, 0o1777)?;
                }
                Entry::Text(text) => {
                    append_file(&mut layer, &relative(path), 0o644, text.as_bytes())?;
                }
                Entry::Copy(source) => {
                    let contents = std::fs::read(source).with_context(|| {
                        format!("{} for the image {} cannot be read", source.display(), self.name)
                    })?;
                    append_file(&mut layer, &relative(path), 0o755, &contents)?;
                }
            }
        }
        layer.into_inner().context("an image layer cannot be ended")
    }
}

/// This machine's architecture in the words of the OCI image specification.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn relative(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn without_algorithm(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn blob_path(blob: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(&Sha256::digest(blob)))
}

fn descriptor(media_type: &str, blob: &[u8]) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn append_file(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    contents: &[u8],
) -> Result<()> {
    let mut header = header(mode, tar::EntryType::Regular);
    header.set_size(contents.len() as u64);
    archive
        .append_data(&mut header, path, contents)
        .with_context(|| format!("{path} cannot be put into an image archive"))
}

fn append_folder(archive: &mut tar::Builder<Vec<u8>>, path: &Path, mode: u32) -> Result<()> {
    let mut header = header(mode, tar::EntryType::Directory);
    header.set_size(0);
    let path = format!("{}/", relative(path));
    archive
        .append_data(&mut header, &path, std::io::empty())
        .with_context(|| format!("{path} cannot be put into an image layer"))
}

fn header(mode: u32, entry_type: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_entry_type(entry_type);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{Entry, Image, architecture};

    fn image() -> Image {
        let mut image = Image::new("docker.io/lab/test:1", &["/bin/test"]);
        image.files.insert("/usr/share/a/b".into(), Entry::Text("x".into()));
        image.files.insert("/usr/share/a/c".into(), Entry::Text("y".into()));
        image
    }

    fn contents(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn same_files_give_the_same_archive() {
        assert_eq!(image().build().unwrap(), image().build().unwrap());
        let mut other = image();
        other.files.insert("/usr/share/a/c".into(), Entry::Text("z".into()));
        assert_ne!(image().build().unwrap().0, other.build().unwrap().0);
    }

    #[test]
    fn every_reference_in_the_archive_is_in_the_archive() {
        let (digest, archive) = image().build().unwrap();
        let files = contents(&archive);
        let json = |name: &str| -> serde_json::Value {
            let (_, _, bytes) = files
                .iter()
                .find(|(path, ..)| path == name)
                .unwrap_or_else(|| panic!("{name} is missing"));
            serde_json::from_slice(bytes).unwrap()
        };
        let index = json("index.json");
        assert_eq!(index["manifests"][0]["digest"], digest);
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            "docker.io/lab/test:1"
        );
        let manifest = json(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")));
        let docker = json("manifest.json");
        let config = json(docker[0]["Config"].as_str().unwrap());
        assert_eq!(config["architecture"], architecture());
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer_path = docker[0]["Layers"][0].as_str().unwrap();
        assert!(layer_path.ends_with(
            manifest["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:")
        ));
        let (_, _, layer) = files.iter().find(|(path, ..)| path == layer_path).unwrap();
        let layer = contents(layer);
        let names: Vec<&str> = layer.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(
            names,
            [
                "etc/",
                "etc/group",
                "etc/nsswitch.conf",
                "etc/passwd",
                "tmp/",
                "usr/",
                "usr/share/",
                "usr/share/a/",
                "usr/share/a/b",
                "usr/share/a/c"
            ]
        );
        assert_eq!(layer.iter().find(|(path, ..)| path == "tmp/").unwrap().1, 0o1777);
    }
}
