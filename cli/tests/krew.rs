//! krew's manifest has what krew asks for.

#[path = "../examples/krew/manifest.rs"]
mod manifest;

use manifest::{Archive, manifest};
use serde_json::Value;

#[test]
fn the_manifest_has_every_field_that_krew_asks_for() {
    let archive = |name: &str| Archive { name: name.to_owned(), bytes: b"abc".to_vec() };
    let archives = [
        archive("kubectl-lameduck_linux_amd64.tar.gz"),
        archive("kubectl-lameduck_darwin_arm64.tar.gz"),
    ];
    let text = manifest("v0.1.0", "https://example.com", "https://example.com/v0.1.0/", &archives)
        .expect("a manifest");
    let read: Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(read["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(read["kind"], "Plugin");
    assert_eq!(read["metadata"]["name"], "lameduck");
    let spec = &read["spec"];
    for member in ["version", "homepage", "shortDescription", "description", "caveats"] {
        assert!(spec[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
    }
    let platforms = spec["platforms"].as_array().expect("platforms");
    assert_eq!(platforms.len(), 2);
    assert_eq!(platforms[1]["selector"]["matchLabels"]["os"], "darwin");
    assert_eq!(platforms[1]["selector"]["matchLabels"]["arch"], "arm64");
    for platform in platforms {
        // The digest of `abc` in FIPS 180-2.
        assert_eq!(
            platform["sha256"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(platform["bin"], "kubectl-lameduck");
        assert_eq!(platform["files"][0]["from"], "kubectl-lameduck");
        let uri = platform["uri"].as_str().expect("a uri");
        assert!(uri.starts_with("https://example.com/v0.1.0/kubectl-lameduck_"), "{uri}");
    }
}

#[test]
fn what_krew_would_refuse_is_not_written() {
    let archive = |name: &str| Archive { name: name.to_owned(), bytes: Vec::new() };
    assert!(
        manifest(
            "0.1.0",
            "https://example.com",
            "https://x",
            &[archive("kubectl-lameduck_linux_amd64.tar.gz")]
        )
        .is_err()
    );
    assert!(
        manifest("v0.1.0", "https://example.com", "https://x", &[archive("lameduck.zip")]).is_err()
    );
    assert!(manifest("v0.1.0", "https://example.com", "https://x", &[]).is_err());
}
