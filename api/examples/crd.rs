//! Prints the CustomResourceDefinitions, as they stand in `manifests/crds`:
//!
//! ```sh
//! cargo run -p lameduck-api --example crd > manifests/crds/terminationpolicies.lameduck.dev.yaml
//! ```

use lameduck_api::termination_policy_crd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", serde_saphyr::to_string(&termination_policy_crd())?);
    Ok(())
}
