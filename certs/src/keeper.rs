//! The controller's side: looks at the Secrets and the webhook configuration, and carries the plan
//! out, one write at a time.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tracing::info;

use crate::carry_out::{IssueError, Write, carry_out};
use crate::facts::{Data, Facts, Slot};
use crate::plan::{Plan, Reason, plan};
use crate::settings::{
    CA_SECRET, Settings, SettingsError, WEBHOOK_CONFIGURATION, WEBHOOK_TLS_SECRET,
};

/// The longest time between two looks. A Secret that somebody deleted or broke is mended after so
/// long; a look is three GETs.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Most steps of one look. A first installation takes three, a rotation never more than four at
/// once; more than this is two writers against each other.
const MAX_STEPS: usize = 12;
/// A request that takes longer has failed: the lease may be somebody else's by then.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Who wrote what: the field manager of every write, and the label of the Secrets.
const MANAGER: &str = "lameduck-controller";

/// Keeps the CA, the serving certificate and the `caBundle`s. Run by the leader only.
#[derive(Clone)]
pub struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    settings: Settings,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A write that was made, for an Event and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Stable CamelCase word.
    pub reason: Reason,
    /// For a person: what, why, and what comes next.
    pub message: String,
}

/// The outcome of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What was written, in order. Empty most of the time.
    pub done: Vec<Done>,
    /// Why nothing more is to be done now.
    pub reason: Reason,
    /// The same for a person.
    pub message: String,
    /// When to look again.
    pub next_look_after: Duration,
    /// End of the CA that signs.
    pub ca_not_after: Option<Timestamp>,
    /// End of the certificate that webhooks serve.
    pub serving_not_after: Option<Timestamp>,
}

/// Why a look did not come to its end. Whatever was written stands, and the next look goes on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A request failed.
    #[error("cannot {what}; trying again")]
    Api {
        /// What was tried, on what.
        what: String,
        /// The client's error.
        #[source]
        source: Box<kube::Error>,
    },
    /// A request got no answer in time.
    #[error("cannot {what}: no answer within {} s; trying again", REQUEST_TIMEOUT.as_secs())]
    Silence {
        /// What was tried, on what.
        what: String,
    },
    /// A key or certificate could not be made.
    #[error("cannot issue a certificate")]
    Issue(#[from] IssueError),
    /// Leadership ended before a write; the next leader goes on.
    #[error("not the leader any more; the next leader goes on")]
    NotLeader,
    /// More steps than any rotation takes.
    #[error(
        "still not done after {MAX_STEPS} writes: something else changes the Secrets or the \
         webhook configuration at the same time; last step: {last}"
    )]
    Contended {
        /// Reason of the last step.
        last: Reason,
    },
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    Shutdown,
}

/// What one look has seen.
struct Seen {
    ca: Option<Secret>,
    tls: Option<Secret>,
    configuration: Option<MutatingWebhookConfiguration>,
}

impl Keeper {
    /// A keeper of `settings.namespace` and of the webhook configuration `lameduck`.
    ///
    /// # Errors
    /// Settings with which no rotation can work.
    pub fn new(client: Client, settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self {
            secrets: Api::namespaced(client.clone(), &settings.namespace),
            configurations: Api::all(client),
            settings,
        })
    }

    /// One look at `now`: does every step that is due, and says when to look again.
    ///
    /// # Errors
    /// Why it did not come to its end. Nothing is left half-done: each step is one write.
    pub async fn keep(
        &self,
        now: Timestamp,
        may_write: impl Fn() -> bool,
    ) -> Result<Kept, KeeperError> {
        let mut done = Vec::new();
        let mut last = Reason::UpToDate;
        for _ in 0..MAX_STEPS {
            let seen = self.look().await?;
            let facts = seen.facts(&self.settings);
            let Plan { step, reason, message, due_at } = plan(now, &facts, &self.settings);
            let Some(step) = step else {
                return Ok(kept(now, &facts, done, reason, message, due_at));
            };
            last = reason;
            let (settings, ca) = (self.settings.clone(), data(seen.ca.as_ref()).clone());
            // Keys are made off the runtime's threads: they take milliseconds of CPU.
            let write =
                tokio::task::spawn_blocking(move || carry_out(now, &step, &ca, &facts, &settings))
                    .await
                    .map_err(|_| KeeperError::Shutdown)??;
            if !may_write() {
                return Err(KeeperError::NotLeader);
            }
            if self.write(seen, write).await? {
                info!(reason = %reason, message, "certificates kept");
                done.push(Done { reason, message });
            }
        }
        Err(KeeperError::Contended { last })
    }

    async fn look(&self) -> Result<Seen, KeeperError> {
        let secret = |name: &'static str| async move {
            request(format!("read Secret {name}"), self.secrets.get_opt(name)).await
        };
        Ok(Seen {
            ca: secret(CA_SECRET).await?,
            tls: secret(WEBHOOK_TLS_SECRET).await?,
            configuration: request(
                format!("read MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION}"),
                self.configurations.get_opt(WEBHOOK_CONFIGURATION),
            )
            .await?,
        })
    }

    /// One request. `false`: somebody else wrote in between; look again.
    async fn write(&self, seen: Seen, write: Write) -> Result<bool, KeeperError> {
        let outcome = match write {
            Write::Ca(data) => self.write_secret(CA_SECRET, "Opaque", seen.ca, data).await,
            Write::Tls(data) => {
                self.write_secret(WEBHOOK_TLS_SECRET, "kubernetes.io/tls", seen.tls, data).await
            }
            Write::Bundles(pem) => self.publish(seen.configuration, pem).await,
        };
        match outcome {
            Ok(()) => Ok(true),
            // 409: another version, or created by somebody else; 404: deleted in between.
            Err(KeeperError::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if [404, 409].contains(&status.code)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn write_secret(
        &self,
        name: &'static str,
        kind: &str,
        old: Option<Secret>,
        data: Data,
    ) -> Result<(), KeeperError> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        if let Some(mut secret) = old {
            // With the resourceVersion that was read: a write in between is a conflict.
            secret.data = Some(data);
            let what = format!("update Secret {name}");
            request(what, self.secrets.replace(name, &params, &secret)).await?;
        } else {
            let labels = [("app.kubernetes.io/managed-by", MANAGER)];
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                    ..Default::default()
                },
                type_: Some(kind.to_owned()),
                data: Some(data),
                ..Default::default()
            };
            request(format!("create Secret {name}"), self.secrets.create(&params, &secret)).await?;
        }
        Ok(())
    }

    async fn publish(
        &self,
        configuration: Option<MutatingWebhookConfiguration>,
        pem: Vec<u8>,
    ) -> Result<(), KeeperError> {
        let Some(configuration) = configuration else { return Ok(()) };
        let bundle = ByteString(pem);
        let hooks: Vec<_> = configuration
            .webhooks
            .iter()
            .flatten()
            .map(|hook| json!({"name": hook.name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        // A strategic merge: hooks are merged by name, everything else of them stays.
        let patch = json!({
            "metadata": {"resourceVersion": configuration.metadata.resource_version},
            "webhooks": hooks,
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        let what =
            format!("publish the CA in MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION}");
        let patch = Patch::Strategic(patch);
        request(what, self.configurations.patch(WEBHOOK_CONFIGURATION, &params, &patch)).await?;
        Ok(())
    }
}

impl Seen {
    fn facts(&self, settings: &Settings) -> Facts {
        let bundles = self.configuration.as_ref().map(|configuration| {
            let hooks = configuration.webhooks.iter().flatten();
            hooks.map(|hook| hook.client_config.ca_bundle.clone().unwrap_or_default().0).collect()
        });
        Facts::read(Some(data(self.ca.as_ref())), Some(data(self.tls.as_ref())), bundles, settings)
    }
}

fn data(secret: Option<&Secret>) -> &Data {
    static EMPTY: Data = Data::new();
    secret.and_then(|secret| secret.data.as_ref()).unwrap_or(&EMPTY)
}

fn kept(
    now: Timestamp,
    facts: &Facts,
    done: Vec<Done>,
    reason: Reason,
    message: String,
    due_at: Timestamp,
) -> Kept {
    let wait = Duration::try_from(due_at.duration_since(now)).unwrap_or_default();
    let signer = facts.current.present().or(facts.next.present());
    Kept {
        done,
        reason,
        message,
        next_look_after: wait.clamp(Duration::from_secs(1), LOOK_AGAIN),
        ca_not_after: signer.map(|ca| ca.anchor.validity.not_after),
        serving_not_after: match &facts.leaf {
            Slot::Present(leaf) => Some(leaf.validity.not_after),
            Slot::Missing | Slot::Broken(_) => None,
        },
    }
}

async fn request<T>(
    what: String,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KeeperError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(KeeperError::Api { what, source: Box::new(source) }),
        Err(_) => Err(KeeperError::Silence { what }),
    }
}
