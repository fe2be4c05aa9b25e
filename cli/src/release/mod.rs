//! `release`: the audited break-glass. Lets a pod that Lameduck holds go now, whatever it waits for.
//!
//! It writes an annotation that names the pod, who and why; the controller does the rest and tells it in an
//! Event. Where no controller takes it up, the finalizer is taken off from here.

mod decide;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource as _, ResourceExt as _};
use lameduck_api::names::{ANNOTATION_RELEASE, CONDITION_DRAINED, FINALIZER};
use lameduck_core::drain::{EventReason, Outcome, Release};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::common::cluster::Cluster;
use crate::common::failure::{Failure, one_line};
use crate::common::finalizer::has_finalizer;
use crate::common::screen::Screen;
use crate::common::target::{Kind, Target};
pub use decide::{Held, held};

/// Arguments of `release`.
#[derive(Args, Debug)]
#[command(after_help = "\
Use it where a pod must go now although requests are lost by it. What it waits for is said before it asks.
It needs the right to patch the pod. Who and why stand on the pod, in an Event (reason LetGo) and in the
API server's audit log.

Examples:
  kubectl lameduck release pod/shop-2 --reason \"client hangs, INC-4711\"
  kubectl lameduck release pod/shop-2 -n prod --reason \"node must go\" --yes")]
pub struct ReleaseArgs {
    /// The pod
    #[arg(value_name = "pod/NAME")]
    pub pod: Target,
    /// Why: for those who look later
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Time that the controller gets before the finalizer is taken off from here
    #[arg(long, value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub controller_timeout: u64,
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("say why".to_owned()) } else { Ok(text.to_owned()) }
}

/// Times that the finalizer is tried to be taken off where others change the pod meanwhile.
const TRIES: usize = 5;
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lets the pod go.
///
/// # Errors
/// Nothing holds the pod, the person says no, or the API server refuses.
pub async fn run(args: ReleaseArgs, cluster: &Cluster, screen: &Screen) -> Result<(), Failure> {
    let Target { kind: Kind::Pod, name } = &args.pod else {
        return Err(Failure::usage(format!("{} is not a pod", args.pod)));
    };
    let glass =
        Glass { pods: Api::namespaced(cluster.client.clone(), &cluster.namespace), cluster, name };
    let pod = glass
        .read()
        .await?
        .ok_or_else(|| Failure::refused(format!("there is no pod {}/{name}", cluster.namespace)))?;
    let held = held(&pod)?;
    if !args.yes {
        confirm(&glass.full_name(), &held).await?;
    }
    let release = Release {
        uid: pod.uid().unwrap_or_default(),
        by: glass.who().await?,
        reason: args.reason,
        at: Timestamp::now(),
    };
    glass.annotate(&release).await?;
    let patience = Duration::from_secs(args.controller_timeout);
    let told = match glass.wait(&release, has_finalizer(&pod.metadata), patience).await? {
        Some(done) => done,
        None => glass.without_controller(&release, patience).await?,
    };
    screen.print(&format!("pod {}: {told}\n", glass.full_name()))
}

/// Asks the person at the terminal.
async fn confirm(pod: &str, held: &Held) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to be asked").cure("say --yes"));
    }
    let mut ask = io::stderr().lock();
    writeln!(ask, "pod {pod}: {}", one_line(&held.waits_for))?;
    write!(ask, "Let it go now? What it still serves is cut off. [y/N] ")?;
    ask.flush()?;
    drop(ask);
    // On a thread of its own, so that Ctrl-C is heard meanwhile; it ends with the process.
    let (send, answered) = oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        // Whoever waited may be gone.
        drop(send.send(io::stdin().lock().read_line(&mut answer).map(|_| answer)));
    });
    let answer = answered.await.unwrap_or_else(|_| Ok(String::new()))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::refused("not released: you did not say yes")),
    }
}

struct Glass<'a> {
    pods: Api<Pod>,
    cluster: &'a Cluster,
    name: &'a str,
}

impl Glass<'_> {
    fn full_name(&self) -> String {
        format!("{}/{}", self.cluster.namespace, self.name)
    }

    async fn read(&self) -> Result<Option<Pod>, Failure> {
        let what = || format!("pod {} cannot be read", self.full_name());
        self.pods.get_opt(self.name).await.map_err(|error| Failure::of_call(&what(), &error))
    }

    /// The API server's name for who asks.
    async fn who(&self) -> Result<String, Failure> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.cluster.client.clone());
        let asked = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let review = asked
            .map_err(|error| Failure::of_call("the API server does not say who you are", &error))?;
        let user = review.status.and_then(|status| status.user_info);
        Ok(user.and_then(|user| user.username).unwrap_or_else(|| "somebody without a name".into()))
    }

    async fn annotate(&self, release: &Release) -> Result<(), Failure> {
        let value = serde_json::to_string(release)
            .map_err(|error| Failure::refused(format!("the reason cannot be written: {error}")))?;
        // The UID: a successor of the same name is another pod.
        let patch = json!({
            "metadata": {"uid": release.uid, "annotations": {ANNOTATION_RELEASE: value}},
        });
        let done = self.pods.patch(self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match done {
            Ok(_) => Ok(()),
            // It went by itself meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            Err(error) => {
                let what = format!("pod {} cannot be annotated", self.full_name());
                Err(Failure::of_call(&what, &error))
            }
        }
    }

    /// Waits until the controller has taken it up. None where it has not in time.
    async fn wait(
        &self,
        release: &Release,
        had_finalizer: bool,
        patience: Duration,
    ) -> Result<Option<String>, Failure> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            match self.read().await? {
                None => return Ok(Some("released, and gone".to_owned())),
                Some(pod) if pod.uid().as_deref() != Some(&*release.uid) => {
                    return Ok(Some("released, and replaced by another of its name".to_owned()));
                }
                // Without a finalizer the hold's own last word is all that tells.
                Some(pod) if is_taken_up(&pod, had_finalizer) => {
                    let grace = "it goes as soon as its containers have ended";
                    return Ok(Some(format!("released: its holds end now, and {grace}")));
                }
                Some(_) => sleep(LOOK_EVERY).await,
            }
        }
        Ok(None)
    }

    /// Takes the finalizer off, and tells it: nobody else does.
    async fn without_controller(
        &self,
        release: &Release,
        patience: Duration,
    ) -> Result<String, Failure> {
        let Some(pod) = self.take_finalizer_off(release).await? else {
            return Ok("released, and gone".to_owned());
        };
        let seconds = patience.as_secs();
        let told = format!(
            "no controller took it up in {seconds} s, so this command has released it: it has no finalizer any more. \
             A hold that runs ends by itself, after unreachableSeconds of its policy and when its connections have \
             closed; to kill it at once: kubectl delete pod {} -n {} --force",
            self.name, self.cluster.namespace
        );
        match self.tell(&pod, release).await {
            Ok(()) => Ok(told),
            Err(error) => Ok(format!("{told}. The Event could not be written: {}", error.message)),
        }
    }

    /// The pod whose finalizer was taken off; None where it went by itself.
    async fn take_finalizer_off(&self, release: &Release) -> Result<Option<Pod>, Failure> {
        for _ in 0..TRIES {
            let Some(pod) =
                self.read().await?.filter(|pod| pod.uid().as_deref() == Some(&*release.uid))
            else {
                return Ok(None);
            };
            if !has_finalizer(&pod.metadata) {
                return Ok(Some(pod));
            }
            let rest: Vec<&String> =
                pod.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
            let patch = json!({"metadata": {
                "uid": release.uid,
                "resourceVersion": pod.resource_version(),
                "finalizers": rest,
            }});
            let done =
                self.pods.patch(self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            match done {
                Ok(_) => return Ok(Some(pod)),
                // Its kubelet writes to it too.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
                Err(error) => {
                    let what =
                        format!("the finalizer of pod {} cannot be taken off", self.full_name());
                    return Err(Failure::of_call(&what, &error));
                }
            }
        }
        let message =
            format!("pod {} was changed by others {TRIES} times meanwhile", self.full_name());
        Err(Failure::refused(message).cure("try again"))
    }

    /// The Event that the controller would have written.
    async fn tell(&self, pod: &Pod, release: &Release) -> Result<(), Failure> {
        let regarding = ObjectReference {
            api_version: Some(Pod::api_version(&()).into_owned()),
            kind: Some(Pod::kind(&()).into_owned()),
            namespace: pod.namespace(),
            name: Some(pod.name_any()),
            uid: pod.uid(),
            ..ObjectReference::default()
        };
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", self.name)),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            action: Some("Release".to_owned()),
            reason: Some(EventReason::LetGo.as_str().to_owned()),
            note: Some(format!("{}. No controller took it up", release.words())),
            regarding: Some(regarding),
            reporting_controller: Some("lameduck.dev/kubectl".to_owned()),
            reporting_instance: Some("kubectl-lameduck".to_owned()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        };
        let events: Api<Event> =
            Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let made = events.create(&PostParams::default(), &event).await;
        made.map(drop).map_err(|error| Failure::of_call("no Event can be written", &error))
    }
}

/// Whether a controller has heard of the release.
fn is_taken_up(pod: &Pod, had_finalizer: bool) -> bool {
    if had_finalizer {
        return !has_finalizer(&pod.metadata);
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|condition| {
        condition.type_ == CONDITION_DRAINED
            && condition.reason.as_deref() == Some(Outcome::Released.as_str())
    })
}
