//! The bodies of requests, and what is wrong with them.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::write::{Action, Part, PartTarget, RuleKey, Write};

/// Reads a body.
///
/// # Errors
/// `UnknownParameter`, `MissingParameter`, or `InvalidParameter` for what is no JSON or of another type.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = error.to_string();
        let code = if message.starts_with("unknown field") {
            "UnknownParameter"
        } else if message.starts_with("missing field") {
            "MissingParameter"
        } else {
            "InvalidParameter"
        };
        ApiError::new(code, message)
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeTargets {
    pub(super) load_balancer_id: String,
    pub(super) listener_ids: Option<Vec<String>>,
    pub(super) protocol: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) filters: Option<Vec<Filter>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeListeners {
    pub(super) load_balancer_id: String,
    pub(super) listener_ids: Option<Vec<String>>,
    pub(super) protocol: Option<String>,
    pub(super) port: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Filter {
    pub(super) name: String,
    pub(super) values: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeLoadBalancers {
    pub(super) load_balancer_ids: Option<Vec<String>>,
    pub(super) load_balancer_vips: Option<Vec<IpAddr>>,
    pub(super) backend_private_ips: Option<Vec<IpAddr>>,
    pub(super) vpc_id: Option<String>,
    pub(super) offset: Option<usize>,
    pub(super) limit: Option<usize>,
    /// Whether targets are bound: taken, and not obeyed.
    #[serde(rename = "WithRs")]
    _with_rs: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeTargetHealth {
    pub(super) load_balancer_ids: Vec<String>,
    pub(super) listener_ids: Option<Vec<String>>,
    pub(super) location_ids: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DescribeLbListeners {
    #[serde(rename = "Backends")]
    pub(super) backends: Vec<Backend>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Backend {
    pub(super) vpc_id: String,
    pub(super) private_ip: IpAddr,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeTaskStatus {
    pub(super) task_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct AssumeRoleWithWebIdentity {
    pub(super) provider_id: String,
    pub(super) web_identity_token: String,
    pub(super) role_arn: String,
    pub(super) role_session_name: String,
    pub(super) duration_seconds: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListenerTargets {
    /// Stands outside in a batch.
    load_balancer_id: Option<String>,
    listener_id: String,
    targets: Vec<RequestTarget>,
    location_id: Option<String>,
    domain: Option<String>,
    url: Option<String>,
    weight: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Batch {
    load_balancer_id: String,
    modify_list: Vec<ListenerTargets>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RequestTarget {
    port: Option<u16>,
    #[serde(rename = "Type")]
    _type: Option<String>,
    instance_id: Option<String>,
    eni_ip: Option<IpAddr>,
    weight: Option<i64>,
}

/// Reads the body of a write.
///
/// # Errors
/// As [`parse`]; and `MissingParameter` or `InvalidParameter` for a target without a port or an address.
pub(super) fn write(action: Action, body: &[u8]) -> Result<Write, ApiError> {
    let (load_balancer, parts) = if action == Action::WeighBatch {
        let Batch { load_balancer_id, modify_list } = parse(body)?;
        (load_balancer_id, modify_list)
    } else {
        let mut part: ListenerTargets = parse(body)?;
        let id = part.load_balancer_id.take();
        (id.ok_or_else(|| ApiError::missing("LoadBalancerId"))?, vec![part])
    };
    let parts = parts.into_iter().map(|part| read_part(action, part)).collect::<Result<_, _>>()?;
    Ok(Write { load_balancer, action, parts })
}

fn read_part(action: Action, part: ListenerTargets) -> Result<Part, ApiError> {
    let ListenerTargets {
        load_balancer_id,
        listener_id,
        targets,
        location_id,
        domain,
        url,
        weight,
    } = part;
    if load_balancer_id.is_some() {
        return Err(ApiError::new("UnknownParameter", "LoadBalancerId stands inside ModifyList"));
    }
    let rule = match (location_id, domain, url) {
        (Some(id), _, _) => Some(RuleKey::Location(id)),
        (None, Some(domain), Some(url)) => Some(RuleKey::Name(domain, url)),
        (None, None, None) => None,
        (None, _, _) => return Err(ApiError::missing("Domain and Url")),
    };
    // The outer weight is ModifyTargetWeight's; RegisterTargets has none.
    let outer = (action != Action::Register).then_some(weight).flatten();
    let target = |target: RequestTarget| {
        let port = target.port.ok_or_else(|| ApiError::missing("Port"))?;
        match (target.eni_ip, target.instance_id) {
            (Some(ip), None) => {
                Ok(PartTarget { ip, port, weight: target.weight.or(outer), name: None })
            }
            (None, Some(id)) => {
                let message = format!("the instance {id} is not found; the lab has EniIp targets");
                Err(ApiError::new("InvalidParameter", message))
            }
            _ => Err(ApiError::new("InvalidParameter", "exactly one of InstanceId and EniIp")),
        }
    };
    let targets = targets.into_iter().map(target).collect::<Result<_, _>>()?;
    Ok(Part { listener: listener_id, rule, targets })
}
