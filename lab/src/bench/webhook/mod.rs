//! `bench webhook`: how many reviews one core answers, how late an answer is, and what the process
//! weighs.
//!
//! The shipped binary runs on one core of its own, against a stand-in for the API server that knows one
//! policy and one namespace; the load runs on another core. Requests carry a pod as a real API server
//! sends it, grown to 10 KB.

mod api;
mod client;
mod load;
mod process;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::api::Api;
use self::client::Client;
use self::process::{Usage, Webhook};
use super::{Figure, MIB};
use crate::images::product;
use crate::progress::Progress;

/// How long the phases take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Each phase, after its warm-up.
    pub phase: Duration,
    /// Before each phase.
    pub warm_up: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { phase: Duration::from_secs(10), warm_up: Duration::from_secs(2) }
    }
}

/// Kept-alive connections that an API server holds to one host.
const CONNECTIONS: usize = 25;
/// Handshakes at a time.
const HANDSHAKES: usize = 10;
/// Reviews per second of the open loop.
const RATE: u32 = 1000;
/// Connections while the memory is read.
const MANY_CONNECTIONS: usize = 200;
/// Bytes of a review.
const REVIEW_BYTES: usize = 10_000;

/// The budgets of the specification.
const KEPT_ALIVE_PER_CORE: f64 = 25_000.0;
const COLD_PER_CORE: f64 = 2_500.0;
const P99_MILLIS: f64 = 2.0;
const DECISION_MICROS: f64 = 20.0;
const MEMORY_MIB: f64 = 32.0;

/// Builds the webhook, starts it on a core of its own, and measures.
///
/// # Errors
/// It cannot be built or started, or it answers a review with anything but a patch.
pub async fn run(options: Options, progress: &Progress) -> Result<Vec<Figure>> {
    let binary = product::webhook(progress).await?;
    let review = review(&product::workspace().join("tests/corpus"))?;
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let api = Api::start(&certificate).await?;
    let cores = load::cores()?;
    let client = Client::new(certificate.cert.der(), &review)?;
    let webhook = Webhook::start(&binary, &api.kubeconfig()?, cores.server).await?;
    let client = Arc::new(client.to(webhook.reviews));

    let mut step = progress.step("measuring the webhook");
    step.message("one review");
    client.check().await.context("the webhook does not inject the bench's pod")?;

    step.message(format!("{CONNECTIONS} kept-alive connections"));
    load::kept_alive(&client, cores.client, CONNECTIONS, options.warm_up).await?;
    let before = webhook.usage().await?;
    let kept_alive = load::kept_alive(&client, cores.client, CONNECTIONS, options.phase).await?;
    let kept_alive_cost = before.until(&webhook.usage().await?);

    step.message(format!("a TLS connection for each review, {HANDSHAKES} at a time"));
    load::cold(&client, cores.client, HANDSHAKES, options.warm_up).await?;
    let before = webhook.usage().await?;
    let cold = load::cold(&client, cores.client, HANDSHAKES, options.phase).await?;
    let cold_cost = before.until(&webhook.usage().await?);

    step.message(format!("open loop, {RATE} reviews per second"));
    load::open_loop(&client, cores.client, CONNECTIONS, RATE, options.warm_up).await?;
    let latency = load::open_loop(&client, cores.client, CONNECTIONS, RATE, options.phase).await?;

    step.message(format!("memory at {MANY_CONNECTIONS} connections"));
    let connections = load::connect(&client, MANY_CONNECTIONS).await?;
    let memory = webhook.memory()?.now_bytes;
    drop(connections);
    step.done("");

    let micros = |percent| latency.value_at_percentile(percent) as f64;
    let seconds = options.phase.as_secs_f64();
    let mut figures = vec![
        per_core("reviews on kept-alive TLS", kept_alive, &kept_alive_cost, KEPT_ALIVE_PER_CORE),
        Figure::for_information(
            "reviews on kept-alive TLS, seen by the client",
            kept_alive as f64 / seconds,
            "/s",
        ),
        per_core("reviews with a new TLS connection each", cold, &cold_cost, COLD_PER_CORE),
        Figure::for_information(
            "reviews with a new TLS connection each, seen by the client",
            cold as f64 / seconds,
            "/s",
        ),
        Figure::for_information(format!("answer at {RATE}/s, median"), micros(50.0) / 1000.0, "ms"),
        Figure::at_most(
            format!("answer at {RATE}/s, 99th percentile"),
            micros(99.0) / 1000.0,
            P99_MILLIS,
            "ms",
        ),
        Figure::for_information(
            format!("answer at {RATE}/s, slowest of {}", latency.len()),
            latency.max() as f64 / 1000.0,
            "ms",
        ),
        Figure::at_most(
            format!("decision of a review of {} bytes, median", review.len()),
            kept_alive_cost.decision_micros()?,
            DECISION_MICROS,
            "µs",
        ),
        Figure::at_most(
            format!("resident memory at {MANY_CONNECTIONS} connections"),
            memory as f64 / MIB,
            MEMORY_MIB,
            "MiB",
        ),
    ];
    if cores.server == cores.client {
        figures.push(Figure::for_information("cores: load and webhook share one", 1.0, ""));
    }
    Ok(figures)
}

/// Reviews per second of processor time: what one core answers when nothing else runs on it. Unlike
/// the rate that the client sees, it does not depend on how fast the client is.
fn per_core(what: &str, reviews: u64, cost: &Usage, budget: f64) -> Figure {
    Figure::at_least(
        format!("{what}, per second of one core"),
        reviews as f64 / cost.processor_seconds,
        budget,
        "/s",
    )
}

/// A recorded review of an ordinary pod, with more environment until it has its size.
fn review(corpus: &Path) -> Result<Vec<u8>> {
    let is_pod = |review: &Value| {
        let request = &review["request"];
        request["kind"]["kind"] == "Pod"
            && request["operation"] == "CREATE"
            && request["object"]["metadata"]["labels"]["app"] == "restricted"
    };
    let files =
        std::fs::read_dir(corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut review = files
        .filter_map(|file| serde_json::from_slice(&std::fs::read(file.ok()?.path()).ok()?).ok())
        .find(is_pod)
        .with_context(|| format!("{} holds no review of the restricted pod", corpus.display()))?;
    let request = &mut review["request"];
    request["namespace"] = json!(api::NAMESPACE);
    let container = &mut request["object"]["spec"]["containers"][0];
    ensure!(container.is_object(), "the recorded pod has no container");
    container["env"] = json!([]);
    for index in 0.. {
        let size = serde_json::to_vec(&review)?.len();
        if size >= REVIEW_BYTES {
            break;
        }
        let environment =
            review["request"]["object"]["spec"]["containers"][0]["env"].as_array_mut();
        let environment = environment.context("the environment is a list")?;
        environment.push(
            json!({"name": format!("SETTING_{index}"), "value": "a value of ordinary length"}),
        );
    }
    Ok(serde_json::to_vec(&review)?)
}
