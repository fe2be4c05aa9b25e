//! Tencent's guide to lossless upgrades as a script that asks each second: weight 0 through `lb-rs-weight`, the
//! CLB's weights, the console's connections, the pod, its successor. A person takes longer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::clb::process::Admin;
use crate::clb::tke::desired::SERVICE_WEIGHTS;
use crate::lb::FULL_WEIGHT;
use crate::lb::stand_in::target_name;
use crate::progress::Step;
use crate::scenario::Side;

/// Between two looks at the CLB, its console, or the pod.
const EACH: Duration = Duration::from_secs(1);
/// Of the StatefulSet and of the Service in the manifests.
const WEB: &str = "web";

/// Replaces all pods, the highest ordinal first.
pub(super) async fn upgrade(side: &Side, clb: Admin, end: Instant, step: &mut Step) -> Result<()> {
    let mut pods = side.list().await?;
    pods.sort_by_key(ordinal);
    for old in pods.iter().rev() {
        let name = old.name_any();
        let ordinal = ordinal(old).with_context(|| format!("{name} has no ordinal"))?;
        let ip = old.status.as_ref().and_then(|status| status.pod_ip.clone());
        let ip = ip.with_context(|| format!("{name} has no address"))?;
        weigh(side, json!(weights(ordinal).to_string())).await?;
        until(&format!("the CLB to have weight 0 for {name}"), end, step, async || {
            let weights = clb.weights(&ip).await?;
            Ok(!weights.is_empty() && weights.iter().all(|weight| *weight == 0))
        })
        .await?;
        let target = target_name(old);
        until(&format!("{name} to have no connection"), end, step, async || {
            Ok(side.balancer.connections().await?.get(&target) == Some(&0))
        })
        .await?;
        side.delete(old, None).await?;
        // Ready is bound too: the readiness gate waits for that.
        let uid = old.uid().unwrap_or_default();
        until(&format!("the next {name} to be ready"), end, step, async || {
            let now = side.look().await?;
            Ok(now.iter().any(|pod| pod.name == name && pod.uid != uid && pod.ready && !pod.ending))
        })
        .await?;
    }
    weigh(side, Value::Null).await
}

/// The value of `lb-rs-weight` that takes the pod with this ordinal out.
fn weights(ordinal: u32) -> Value {
    json!({
        "defaultWeight": FULL_WEIGHT,
        "groups": [{
            "key": {"proto": "TCP", "port": 80},
            "statefulSets": [{"name": WEB, "weights": [{"weight": 0, "podIndexes": [ordinal]}]}],
        }],
    })
}

/// Writes the annotation, or takes it away.
async fn weigh(side: &Side, value: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {SERVICE_WEIGHTS: value}}}));
    let written = side.api::<Service>().patch(WEB, &PatchParams::default(), &patch).await;
    written
        .map(drop)
        .with_context(|| format!("the Service of {} cannot be changed", side.namespace))
}

fn ordinal(pod: &Pod) -> Option<u32> {
    pod.metadata.name.as_deref()?.rsplit_once('-')?.1.parse().ok()
}

async fn until(
    what: &str,
    end: Instant,
    step: &mut Step,
    look: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    step.message(format!("waiting for {what}"));
    while !look().await? {
        ensure!(Instant::now() < end, "waited in vain for {what}");
        sleep(EACH).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::clb::tke::weights::Weights;

    #[test]
    fn tke_takes_what_is_written() {
        let text = super::weights(2).to_string();
        Weights::parse(&text, &[("TCP", 80)]).unwrap();
    }
}
