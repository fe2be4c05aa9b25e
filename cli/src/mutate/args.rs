//! Flags of `mutate`.

use std::path::PathBuf;

use clap::Args;

use crate::common::screen::OutputArgs;

/// What the webhook of this version injects where an installation says nothing else.
const HOLD_IMAGE: &str = concat!("docker.io/lameduck/hold:", env!("CARGO_PKG_VERSION"));

/// Arguments of `mutate`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kubectl lameduck mutate -f shop.yaml --policy default
  kustomize build . | kubectl lameduck mutate -f -
  kubectl lameduck mutate -R -f manifests/ -f policy.yaml --policy strict -o json
  kubectl lameduck mutate -f shop.yaml --policy default --patched | kubectl apply --dry-run=server -f -

No cluster is asked. Policies, and the labels of namespaces, are those among the manifests; the policy
`default` is there anyway, with the defaults of every field. Objects are taken as new ones.")]
pub struct MutateArgs {
    /// Manifests, YAML or JSON: a file, a folder (its *.yaml, *.yml and *.json), or `-` for standard input
    #[arg(
        long = "filename",
        short = 'f',
        visible_alias = "file",
        required = true,
        value_name = "FILE"
    )]
    pub files: Vec<PathBuf>,
    /// Folders with all that is below them
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// The label lameduck.dev/policy of namespaces that are not among the manifests, or have none there
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// The hold's image, as the installation's webhook has it
    #[arg(long, value_name = "IMAGE", default_value = HOLD_IMAGE)]
    pub hold_image: String,
    /// Print the manifests as they become, as YAML for `kubectl apply`; kinds that stay as they are too
    #[arg(long, conflicts_with = "output")]
    pub patched: bool,
    /// End with 1 where something would be changed, as `git diff` does
    #[arg(long)]
    pub exit_code: bool,
    /// The format.
    #[command(flatten)]
    pub output: OutputArgs,
}
