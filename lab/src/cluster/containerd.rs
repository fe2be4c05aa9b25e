//! Images into the nodes' containerds.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use futures::future::try_join_all;

use super::plan::NODES;
use super::run_directory::RunDirectory;
use crate::assets::Assets;
use crate::images::ImageFile;
use crate::process::{bound, output};

/// Imports `images` into both nodes, but for those that are there already.
/// Returns how many imports that took.
pub(super) async fn import(
    run: &RunDirectory,
    assets: &Assets,
    images: &[ImageFile],
) -> Result<usize> {
    let imports = NODES.iter().map(|node| async move {
        let socket = run.containerd_socket(node.name);
        let there = digests(assets, &socket)
            .await
            .with_context(|| format!("the images of {} cannot be listed", node.name))?;
        let mut count = 0;
        for image in images.iter().filter(|image| there.get(&image.name) != Some(&image.digest)) {
            let mut ctr = bound(assets.program("ctr")?);
            ctr.env("LD_LIBRARY_PATH", assets.library_path()?);
            ctr.arg("--address")
                .arg(&socket)
                .args(["--namespace", "k8s.io", "images", "import"])
                .arg(&image.path);
            output(&format!("importing {} into {}", image.name, node.name), &mut ctr).await?;
            count += 1;
        }
        Ok::<usize, anyhow::Error>(count)
    });
    Ok(try_join_all(imports).await?.iter().sum())
}

/// The digest of each image that a containerd has, by name.
async fn digests(assets: &Assets, socket: &Path) -> Result<HashMap<String, String>> {
    let mut ctr = bound(assets.program("ctr")?);
    ctr.env("LD_LIBRARY_PATH", assets.library_path()?);
    ctr.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "list"]);
    Ok(parse_list(&output("listing images", &mut ctr).await?))
}

/// The table that `ctr images list` prints: name, media type, digest, and more.
fn parse_list(table: &str) -> HashMap<String, String> {
    let rows = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace();
        let (name, _, digest) = (columns.next()?, columns.next()?, columns.next()?);
        digest.starts_with("sha256:").then(|| (name.to_owned(), digest.to_owned()))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::parse_list;

    #[test]
    fn names_and_digests_are_read_and_the_heading_is_not() {
        let table = "REF                    TYPE                                       DIGEST        SIZE    PLATFORMS   LABELS\n\
                     docker.io/lab/pause:1  application/vnd.oci.image.manifest.v1+json sha256:abc123 764.0 KiB linux/amd64 io.cri-containerd.image=managed\n";
        let list = parse_list(table);
        assert_eq!(list.len(), 1);
        assert_eq!(list["docker.io/lab/pause:1"], "sha256:abc123");
    }
}
