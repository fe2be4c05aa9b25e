//! What each call reads from its answer.
//!
//! The public functions take an answer's body, as the API sends it with status 200, and read it as the
//! [`Client`](crate::Client) does: recorded answers can be looked at, tested and fuzzed without a server.

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use crate::calls::{Bindings, BoundLoadBalancer};
use crate::change::TaskStatus;
use crate::decode::{self, list, text};
use crate::envelope;
use crate::error::Failure;
use crate::health::{self, Health};
use crate::load_balancer::LoadBalancer;
use crate::rows::{Gap, GapKind, Listeners};
use crate::text::one_line;

/// Reads an answer of DescribeTargets.
///
/// # Errors
/// It is not whole JSON, it is a refusal, or it has no list of listeners. What cannot be read below
/// that list is no error but a [`Gap`] or an unknown weight.
pub fn describe_targets(body: &[u8]) -> Result<Listeners, Failure> {
    targets(&response(body)?)
}

/// Reads an answer of DescribeTargetHealth.
///
/// # Errors
/// As [`describe_targets`], of the list of load balancers.
pub fn describe_target_health(body: &[u8]) -> Result<Health, Failure> {
    health(&response(body)?)
}

/// Reads an answer of DescribeLBListeners.
///
/// # Errors
/// As [`describe_targets`], of the list of load balancers.
pub fn describe_lb_listeners(body: &[u8]) -> Result<Bindings, Failure> {
    bindings(&response(body)?)
}

/// Reads an answer of DescribeLoadBalancers, the first page: its load balancers, and how many there are
/// on all pages.
///
/// # Errors
/// It is not whole JSON, it is a refusal, it does not say how many there are, or one of them cannot be
/// told from others.
pub fn describe_load_balancers(body: &[u8]) -> Result<(Vec<LoadBalancer>, usize), Failure> {
    page(&response(body)?, 0)
}

/// Reads an answer of DescribeTaskStatus.
///
/// # Errors
/// It is not whole JSON, it is a refusal, or it has no status that this client knows.
pub fn describe_task_status(body: &[u8]) -> Result<TaskStatus, Failure> {
    TaskStatus::read(&response(body)?)
}

fn response(body: &[u8]) -> Result<Value, Failure> {
    let answer = crate::http::Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body),
    };
    // The time is only looked at next to a server's Date, and there is none.
    envelope::open(&answer, Timestamp::UNIX_EPOCH, &one_line).map(|reply| reply.response)
}

pub(crate) fn targets(response: &Value) -> Result<Listeners, Failure> {
    Ok(decode::listeners(list(response, "Listeners")?))
}

pub(crate) fn health(response: &Value) -> Result<Health, Failure> {
    Ok(health::read(list(response, "LoadBalancers")?))
}

pub(crate) fn bindings(response: &Value) -> Result<Bindings, Failure> {
    let mut bindings = Bindings::default();
    for value in list(response, "LoadBalancers")? {
        let id = text(&value["LoadBalancerId"]);
        let listeners = value["Listeners"].as_array();
        let (Some(load_balancer_id), Some(listeners)) = (&id, listeners) else {
            let named = id.as_deref().unwrap_or("without LoadBalancerId");
            bindings.gaps.push(Gap {
                listener_id: None,
                location_id: None,
                kind: GapKind::Unreadable,
                detail: format!("the load balancer {named} comes without a list of listeners"),
            });
            continue;
        };
        bindings.load_balancers.push(BoundLoadBalancer {
            load_balancer_id: load_balancer_id.clone(),
            vip: text(&value["Vip"]),
            region: text(&value["Region"]),
            listeners: decode::listeners(listeners),
        });
    }
    Ok(bindings)
}

/// One page from `offset` on, and how many there are in all.
pub(crate) fn page(response: &Value, offset: usize) -> Result<(Vec<LoadBalancer>, usize), Failure> {
    let total = response["TotalCount"].as_u64().and_then(|total| usize::try_from(total).ok());
    let Some(total) = total else {
        return Err(Failure::Unexpected { detail: "there is no number TotalCount".to_owned() });
    };
    // An empty set may come as null; the count tells it from a missing one.
    if total <= offset && response["LoadBalancerSet"].is_null() {
        return Ok((Vec::new(), total));
    }
    let set = list(response, "LoadBalancerSet")?;
    if set.is_empty() && offset < total {
        return Err(Failure::Unexpected {
            detail: format!("{total} load balancers were promised, and {offset} came"),
        });
    }
    Ok((set.iter().map(LoadBalancer::read).collect::<Result<_, _>>()?, total))
}
