//! Policies of a cluster, each read by itself: one that only a newer command understands hides no other.

use std::collections::BTreeMap;

use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::ApiResource;
use kube::{Client, Error, ResourceExt as _};
use lameduck_api::{TerminationPolicy, TerminationPolicySpec};
use lameduck_core::policy::Policy;

use super::pages::pages;

/// All policies, by name. A name is in one of the two maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Those that were understood as a whole.
    pub known: BTreeMap<String, Policy>,
    /// The others, and why: most often a field of a newer version. What is left of such a policy without that
    /// field is not read: the field may change what the others mean, and a partial read is unknown.
    pub unreadable: BTreeMap<String, String>,
}

impl Policies {
    /// Takes a policy in.
    pub fn learn(&mut self, object: &DynamicObject) {
        let name = object.name_any();
        match policy(object) {
            Ok(policy) => self.known.insert(name, policy).map(|_| ()),
            Err(why) => self.unreadable.insert(name, why).map(|_| ()),
        };
    }

    /// Whether there is a policy of this name, understood or not.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.known.contains_key(name) || self.unreadable.contains_key(name)
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().chain(self.unreadable.keys()).map(String::as_str)
    }
}

/// A policy, or the path of the field that is not understood, and why.
fn policy(object: &DynamicObject) -> Result<Policy, String> {
    let spec = object.data.get("spec").ok_or("spec: it is missing")?;
    // A path says which field; without one the error of an enum does not name it.
    let read = serde_path_to_error::deserialize(spec).map_err(|error| {
        let path = error.path().to_string();
        let dot = if path == "." { String::new() } else { format!(".{path}") };
        format!("spec{dot}: {}", error.into_inner())
    });
    read.map(|spec: TerminationPolicySpec| Policy::from(spec))
}

/// Reads every policy, by pages.
///
/// # Errors
/// They cannot be listed.
pub async fn read(client: &Client) -> Result<Policies, Error> {
    let kind = ApiResource::erase::<TerminationPolicy>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let list = async |page| api.list(&page).await;
    let all = pages(ListParams::default(), list, |object| object).await?;
    let mut policies = Policies::default();
    all.iter().for_each(|object| policies.learn(object));
    Ok(policies)
}

#[cfg(test)]
mod tests {
    use lameduck_core::policy::Mode;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_a_newer_version_hides_no_other_policy_and_is_never_the_default() {
        let mut policies = Policies::default();
        for (name, spec) in [
            ("off", json!({"mode": "Off"})),
            ("newer", json!({"mode": "Off", "hold": {"jitterSeconds": 3}})),
            ("newer-word", json!({"mode": "Rehearse"})),
            ("empty", json!({})),
        ] {
            let object = json!({
                "apiVersion": "lameduck.dev/v1alpha1",
                "kind": "TerminationPolicy",
                "metadata": {"name": name},
                "spec": spec,
            });
            policies.learn(&serde_json::from_value(object).expect("an object"));
        }
        assert_eq!(policies.known.keys().collect::<Vec<_>>(), ["empty", "off"]);
        assert_eq!(policies.known["off"].mode, Mode::Off);
        assert_eq!(policies.known["empty"], Policy::default());
        let why = &policies.unreadable;
        assert_eq!(why.keys().collect::<Vec<_>>(), ["newer", "newer-word"]);
        assert!(why["newer"].starts_with("spec.hold.jitterSeconds: unknown field"), "{why:?}");
        assert!(why["newer-word"].starts_with("spec.mode: unknown variant"), "{why:?}");
        assert!(policies.contains("newer") && !policies.contains("gone"));
        assert_eq!(policies.names().count(), 4);
    }
}
