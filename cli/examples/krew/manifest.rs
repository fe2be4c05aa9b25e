//! Archives -> krew's manifest (<https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/>).

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An archive of a release.
pub(crate) struct Archive {
    /// `kubectl-lameduck_OS_ARCH.tar.gz`.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The manifest as YAML.
pub(crate) fn manifest(
    version: &str,
    homepage: &str,
    prefix: &str,
    archives: &[Archive],
) -> Result<String, String> {
    if !version.starts_with('v') {
        return Err(format!("{version}: krew's versions begin with a v, as in v0.1.0"));
    }
    if archives.is_empty() {
        return Err("no archive: a plugin without a platform cannot be installed".to_owned());
    }
    let platforms: Result<Vec<Value>, String> =
        archives.iter().map(|archive| platform(prefix, archive)).collect();
    let manifest = json!({
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "lameduck"},
        "spec": {
            "version": version,
            "homepage": homepage,
            "shortDescription": "See, understand and steer how pods end",
            "description": "Lameduck lets pods end without losing a request, and upgrades StatefulSets one \
                            ordinal at a time. This plugin says what it does, what it waits for and why, \
                            and lets you step in.\n",
            "caveats": "Lameduck itself has to be installed in the cluster; `mutate` needs no cluster.\n",
            "platforms": platforms?,
        },
    });
    serde_saphyr::to_string(&manifest).map_err(|error| error.to_string())
}

fn platform(prefix: &str, archive: &Archive) -> Result<Value, String> {
    let name = &archive.name;
    let (os, arch) = name
        .strip_suffix(".tar.gz")
        .and_then(|name| name.strip_prefix("kubectl-lameduck_")?.split_once('_'))
        .ok_or_else(|| format!("{name}: expected kubectl-lameduck_OS_ARCH.tar.gz"))?;
    let sum: String =
        Sha256::digest(&archive.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({
        "selector": {"matchLabels": {"os": os, "arch": arch}},
        "uri": format!("{}/{name}", prefix.trim_end_matches('/')),
        "sha256": sum,
        "bin": "kubectl-lameduck",
        "files": [
            {"from": "kubectl-lameduck", "to": "."},
            {"from": "LICENSE", "to": "."},
        ],
    }))
}
