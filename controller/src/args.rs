//! Flags and environment.

use std::net::SocketAddr;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use lameduck_certs::CertificateArgs;
use lameduck_core::names::SYSTEM_NAMESPACE;

/// Access to Tencent's load balancers, CLB. Without a region they are not read.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Tencent CLB")]
pub struct ClbArgs {
    /// The region of the load balancers, for example `ap-guangzhou`.
    #[arg(long, env = "LAMEDUCK_CLB_REGION", value_parser = NonEmptyStringValueParser::new())]
    pub clb_region: Option<String>,
    /// The cluster's VPC, `vpc-…`: with it, load balancers that no Service names are found too.
    #[arg(
        long,
        env = "LAMEDUCK_CLB_VPC_ID",
        requires = "clb_region",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub clb_vpc_id: Option<String>,
    /// The API. In a VPC: `https://clb.internal.tencentcloudapi.com`.
    #[arg(long, env = "LAMEDUCK_CLB_ENDPOINT", default_value = "https://clb.tencentcloudapi.com")]
    pub clb_endpoint: String,
    /// STS, for pod identity. In a VPC: `https://sts.internal.tencentcloudapi.com`.
    #[arg(
        long,
        env = "LAMEDUCK_CLB_STS_ENDPOINT",
        default_value = "https://sts.tencentcloudapi.com"
    )]
    pub clb_sts_endpoint: String,
    /// The host that requests are signed for, where it is not the endpoint's own.
    #[arg(long, env = "LAMEDUCK_CLB_HOST")]
    pub clb_host: Option<String>,
    /// Folder of a mounted Secret with the files `secretId`, `secretKey` and, for temporary keys, `token`.
    #[arg(long, env = "LAMEDUCK_CLB_CREDENTIALS")]
    pub clb_credentials: Option<std::path::PathBuf>,
}

/// Drains pods that end, answers their holds, and keeps the webhook's certificates.
#[derive(Clone, Debug, Parser)]
#[command(name = "lameduck-controller", version)]
pub struct Args {
    /// Namespace of the installation: the Lease and the Secrets are here.
    #[arg(long, env = "LAMEDUCK_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,
    /// Name of the Lease that replicas lead by.
    #[arg(long, env = "LAMEDUCK_LEASE", default_value = "lameduck-controller")]
    pub lease: String,
    /// Name of this replica, unique among them. Default: the host's name and something random.
    #[arg(long, env = "LAMEDUCK_IDENTITY")]
    pub identity: Option<String>,
    /// Where holds are answered, plain HTTP.
    #[arg(long, env = "LAMEDUCK_HOLD_ADDRESS", default_value = "[::]:8080")]
    pub hold_address: SocketAddr,
    /// Where metrics and health are served, plain HTTP.
    #[arg(long, env = "LAMEDUCK_ADMIN_ADDRESS", default_value = "[::]:8081")]
    pub admin_address: SocketAddr,
    /// Answer holds that call from their node's address too: only for networks that hide pods behind
    /// their nodes on the way to a Service.
    #[arg(long, env = "LAMEDUCK_ACCEPT_NODE_ADDRESSES")]
    pub accept_node_addresses: bool,
    /// Image of the container that counts the connections of pods which were started without a hold.
    #[arg(long, env = "LAMEDUCK_HOLD_IMAGE", default_value = "docker.io/lameduck/hold:0.1.0")]
    pub hold_image: String,
    /// Tencent's load balancers.
    #[command(flatten)]
    pub clb: ClbArgs,
    /// The webhook's certificates.
    #[command(flatten)]
    pub certificates: CertificateArgs,
    /// What is logged: a tracing filter, for example `info` or `lameduck_controller=debug`. The client's
    /// own messages are off: each failure is logged where it is dealt with.
    #[arg(long, env = "LAMEDUCK_LOG", default_value = "info,kube_client=off")]
    pub log: String,
}
