//! The way to the cluster: the same kubeconfig and flags as kubectl.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lameduck_core::text::chain;

use super::failure::{Exit, Failure};

/// Flags that every command has, as kubectl has them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// The kubeconfig file; else $KUBECONFIG, else ~/.kube/config, else the pod's own account
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig, in place of the context's
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig, in place of the context's
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// The namespace; else the context's
    #[arg(long, short = 'n', global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The longest that one request may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_timeout: u64,
}

/// Which namespaces and objects a command looks at, as kubectl's flags say it.
#[derive(Args, Clone, Debug, Default)]
pub struct ScopeArgs {
    /// All namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// Only objects with these labels, as in `app=shop,tier!=db`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,
}

/// A client, and the namespace that a command works in where it names none.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace of the flags or of the context.
    pub namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Cluster({})", self.namespace)
    }
}

impl ClusterArgs {
    /// A client. Nothing is asked yet.
    ///
    /// # Errors
    /// There is no usable configuration.
    pub async fn connect(&self) -> Result<Cluster, Failure> {
        let mut config = self.config().await?;
        let timeout = Duration::from_secs(self.request_timeout);
        config.connect_timeout = Some(timeout.min(Duration::from_secs(10)));
        config.read_timeout = Some(timeout);
        config.write_timeout = Some(timeout);
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| {
            Failure::new(
                Exit::Unreachable,
                format!("the kubeconfig cannot be used: {}", chain(&error)),
            )
        })?;
        Ok(Cluster { client, namespace })
    }

    async fn config(&self) -> Result<Config, Failure> {
        let unusable = |error: &dyn std::error::Error| {
            // What comes behind shows the file, and there are keys in it.
            let chain = chain(error);
            let words = chain.split("-->").next().unwrap_or_default().lines().next();
            let words = words.unwrap_or_default().trim_end_matches([':', ' ']);
            Failure::new(Exit::Unreachable, format!("no cluster to ask: {words}"))
                .cure("name a kubeconfig: --kubeconfig FILE, or $KUBECONFIG")
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let names_one =
            options.context.is_some() || options.cluster.is_some() || options.user.is_some();
        if let Some(file) = &self.kubeconfig {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| unusable(&error))?;
            return Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| unusable(&error));
        }
        match Config::from_kubeconfig(&options).await {
            Ok(config) => Ok(config),
            // Inside a pod, and only where nothing else was asked for: one that is mistyped must not become
            // another cluster.
            Err(error) if names_one || has_kubeconfig() => Err(unusable(&error)),
            Err(error) => Config::incluster().map_err(|_| unusable(&error)),
        }
    }
}

/// Whether a kubeconfig is named, or is where kubectl looks for one.
fn has_kubeconfig() -> bool {
    let is_named = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    is_named || home.is_some_and(|home| home.join(".kube/config").exists())
}
