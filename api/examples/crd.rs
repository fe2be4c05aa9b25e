//! Writes the CustomResourceDefinitions into `manifests/crds`:
//!
//! ```sh
//! cargo run -p lameduck-api --example crd
//! ```

use std::path::Path;

use lameduck_api::{termination_policy_crd, upgrade_crd};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    for crd in [termination_policy_crd(), upgrade_crd()] {
        let name = crd.metadata.name.as_deref().ok_or("a definition without a name")?;
        std::fs::write(folder.join(format!("{name}.yaml")), serde_saphyr::to_string(&crd)?)?;
    }
    Ok(())
}
