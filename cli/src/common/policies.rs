//! The cluster's policies, read one by one: one that this version does not know spoils no other.

use std::collections::BTreeMap;

use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, Error, ResourceExt as _};
use lameduck_api::{TerminationPolicy, TerminationPolicySpec};
use lameduck_core::policy::Policy;
use serde_json::json;

/// Policies in one answer.
const PAGE: u32 = 500;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Policies by name.
    pub known: BTreeMap<String, Policy>,
    /// Those that this version cannot read, and why: a field that only a newer one knows.
    pub unreadable: BTreeMap<String, String>,
}

/// Every policy of the cluster.
///
/// # Errors
/// They cannot be listed.
pub async fn read(client: &Client) -> Result<Policies, Error> {
    let api: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::erase::<TerminationPolicy>(&()));
    let mut params = ListParams::default().limit(PAGE);
    let mut policies = Policies::default();
    loop {
        let page = api.list(&params).await?;
        page.items.into_iter().for_each(|object| policies.take(object));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(policies),
        }
    }
}

impl Policies {
    fn take(&mut self, object: DynamicObject) {
        let name = object.name_any();
        let spec = object.data.get("spec").cloned().unwrap_or_else(|| json!({}));
        match serde_json::from_value::<TerminationPolicySpec>(spec) {
            Ok(spec) => drop(self.known.insert(name, spec.into())),
            Err(error) => drop(self.unreadable.insert(name, error.to_string())),
        }
    }
}
