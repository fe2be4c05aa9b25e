//! What reads answer: the shapes of the API's samples, with `null` where they have it and `[]` where
//! they have that. Pure.

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::model::{Health, Listener, LoadBalancer, Target};
use super::request::{
    Backend, DescribeListeners, DescribeLoadBalancers, DescribeTargetHealth, DescribeTargets,
};
use super::signature::hex;
use super::state::Outcome;

/// The most listeners that one DescribeTargets and one DescribeListeners may name.
const TARGETS_LISTENERS_MAX: usize = 20;
const LISTENERS_MAX: usize = 100;
/// The most load balancers that one DescribeLoadBalancers and one DescribeTargetHealth may name.
const IDS_MAX: usize = 20;
const HEALTH_IDS_MAX: usize = 30;
/// DescribeLoadBalancers' page, where none is named, and the longest.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

fn too_long(name: &str) -> ApiError {
    ApiError::new("InvalidParameterValue.Length", format!("`{name}` has too many elements."))
}

/// Whether a request that names these listeners is about `listener`.
fn wanted(
    listener: &Listener,
    ids: Option<&Vec<String>>,
    protocol: Option<&str>,
    port: Option<i64>,
) -> bool {
    ids.is_none_or(|ids| ids.is_empty() || ids.contains(&listener.id))
        && protocol.is_none_or(|name| json!(listener.protocol) == name)
        && port.is_none_or(|port| port == i64::from(listener.port))
}

/// `DescribeTargets`.
pub(super) fn targets(of: &LoadBalancer, request: &DescribeTargets) -> Result<Value, ApiError> {
    let ids = request.listener_ids.as_ref();
    if ids.is_some_and(|ids| ids.len() > TARGETS_LISTENERS_MAX) {
        return Err(too_long("ListenerIds"));
    }
    let (mut ips, mut locations) = (None, None);
    for filter in request.filters.iter().flatten() {
        match filter.name.as_str() {
            "private-ip-address" => ips = Some(&filter.values),
            "location-id" => locations = Some(&filter.values),
            "tag" => {}
            other => {
                let message = format!("the filter {other} is unknown");
                return Err(ApiError::new("InvalidParameterValue.InvalidFilter", message));
            }
        }
    }
    let rows = |targets: &[Target]| -> Vec<Value> {
        let fits = |target: &&Target| ips.is_none_or(|ips| ips.contains(&target.ip.to_string()));
        targets.iter().filter(fits).map(backend).collect()
    };
    let listeners = of
        .listeners
        .iter()
        .filter(|one| wanted(one, ids, request.protocol.as_deref(), request.port));
    let listeners: Vec<Value> = listeners
        .map(|listener| {
            let rules = listener
                .rules
                .iter()
                .filter(|rule| locations.is_none_or(|ids| ids.contains(&rule.location_id)));
            let rules: Vec<Value> = rules
                .map(|rule| {
                    json!({
                        "LocationId": rule.location_id, "Domain": rule.domain, "Url": rule.url,
                        "Targets": rows(&rule.targets), "FunctionTargets": [],
                    })
                })
                .collect();
            let has_rules = listener.protocol.has_rules();
            json!({
                "ListenerId": listener.id, "Protocol": listener.protocol, "Port": listener.port,
                "EndPort": 0,
                "Rules": has_rules.then_some(rules),
                "Targets": (!has_rules).then(|| rows(&listener.targets)),
            })
        })
        .collect();
    Ok(json!({"Listeners": listeners}))
}

fn backend(target: &Target) -> Value {
    json!({
        "Type": "ENI",
        "InstanceId": "",
        "Port": target.port,
        "Weight": target.weight,
        "PublicIpAddresses": null,
        "PrivateIpAddresses": [target.ip],
        "InstanceName": null,
        "RegisteredTime": time(target.registered),
        "EniId": eni(target),
    })
}

/// The interface that carries the address: always the same for the same address.
fn eni(target: &Target) -> String {
    let hash = hex(&Sha256::digest(target.ip.to_string().as_bytes()));
    format!("eni-{}", hash.get(..8).unwrap_or_default())
}

fn time(at: jiff::Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `DescribeListeners`.
pub(super) fn listeners(of: &LoadBalancer, request: &DescribeListeners) -> Result<Value, ApiError> {
    let ids = request.listener_ids.as_ref();
    if ids.is_some_and(|ids| ids.len() > LISTENERS_MAX) {
        return Err(too_long("ListenerIds"));
    }
    let check = |kind: &str| {
        json!({
            "HealthSwitch": 1, "TimeOut": 2, "IntervalTime": 5, "HealthNum": 3, "UnHealthNum": 3,
            "CheckType": kind, "SourceIpType": 0, "ExtendedCode": null,
        })
    };
    let listeners = of
        .listeners
        .iter()
        .filter(|one| wanted(one, ids, request.protocol.as_deref(), request.port));
    let listeners: Vec<Value> = listeners
        .map(|listener| {
            let has_rules = listener.protocol.has_rules();
            let rules = listener.rules.iter().map(|rule| {
                json!({
                    "ListenerId": listener.id, "LocationId": rule.location_id,
                    "Domain": rule.domain, "Url": rule.url, "Scheduler": "WRR",
                    "SessionExpireTime": 0, "HealthCheck": check("HTTP"),
                })
            });
            let rules: Vec<Value> = rules.collect();
            json!({
                "ListenerId": listener.id, "ListenerName": "TKE-DEDICATED-LISTENER",
                "Protocol": listener.protocol, "Port": listener.port, "EndPort": 0,
                "HealthCheck": (!has_rules).then(|| check("TCP")),
                "Scheduler": (!has_rules).then_some("WRR"),
                "SessionExpireTime": 0, "SessionType": "NORMAL",
                "KeepaliveEnable": has_rules.then_some(0),
                "DeregisterTargetRst": false, "IdleConnectTimeout": (!has_rules).then_some(900),
                "TargetType": "NODE", "TargetGroup": null, "TargetGroupList": null,
                "MaxConn": -1, "MaxCps": -1, "AttrFlags": [], "Toa": false,
                "CreateTime": "2026-01-01 00:00:00", "Certificate": null, "SniSwitch": 0,
                "Rules": has_rules.then_some(rules),
            })
        })
        .collect();
    Ok(json!({"TotalCount": listeners.len(), "Listeners": listeners}))
}

/// `DescribeLoadBalancers` over those of the region.
pub(super) fn load_balancers<'a>(
    all: impl Iterator<Item = &'a LoadBalancer>,
    request: &DescribeLoadBalancers,
) -> Result<Value, ApiError> {
    let ids = request.load_balancer_ids.as_ref();
    if ids.is_some_and(|ids| ids.len() > IDS_MAX) {
        return Err(too_long("LoadBalancerIds"));
    }
    let limit = request.limit.unwrap_or(PAGE);
    if limit > PAGE_MAX {
        return Err(ApiError::new("InvalidParameterValue", "`Limit` is more than 100."));
    }
    let carries = |one: &LoadBalancer, ips: &Vec<std::net::IpAddr>| {
        one.pools().any(|(.., targets)| targets.iter().any(|target| ips.contains(&target.ip)))
    };
    let fits = |one: &&LoadBalancer| {
        ids.is_none_or(|ids| ids.contains(&one.id))
            && request.load_balancer_vips.as_ref().is_none_or(|vips| vips.contains(&one.vip))
            && request.vpc_id.as_ref().is_none_or(|vpc| *vpc == one.vpc_id)
            && request.backend_private_ips.as_ref().is_none_or(|ips| carries(one, ips))
    };
    let found: Vec<&LoadBalancer> = all.filter(fits).collect();
    let page = found.iter().skip(request.offset.unwrap_or(0)).take(limit).map(|one| {
        json!({
            "LoadBalancerId": one.id, "LoadBalancerName": one.id,
            "LoadBalancerType": if one.open { "OPEN" } else { "INTERNAL" }, "Forward": 1,
            "LoadBalancerVips": [one.vip], "Status": 1, "StatusTime": "2026-01-01 00:00:00",
            "CreateTime": "2026-01-01 00:00:00", "VpcId": one.vpc_id,
            "NumericalVpcId": one.numeric_vpc_id, "SubnetId": "", "AddressIPVersion": "ipv4",
            "Tags": [{"TagKey": "tke-createdBy-flag", "TagValue": "yes"}],
            "TargetRegionInfo":
                {"Region": one.region, "VpcId": one.vpc_id, "NumericalVpcId": one.numeric_vpc_id},
            "SlaType": "", "AttributeFlags": [],
        })
    });
    Ok(json!({"TotalCount": found.len(), "LoadBalancerSet": page.collect::<Vec<_>>()}))
}

/// `DescribeLBListeners`: what carries one of `backends`.
pub(super) fn lb_listeners<'a>(
    all: impl Iterator<Item = &'a LoadBalancer>,
    backends: &[Backend],
) -> Value {
    let found = all.filter_map(|one| {
        let rows = |targets: &[Target]| -> Vec<Value> {
            let named = |target: &&Target| {
                backends
                    .iter()
                    .any(|named| named.vpc_id == one.vpc_id && named.private_ip == target.ip)
            };
            let row = |target: &Target| {
                json!({
                    "Type": "eni", "PrivateIp": target.ip, "Port": target.port,
                    "VpcId": one.numeric_vpc_id, "Weight": target.weight,
                })
            };
            targets.iter().filter(named).map(row).collect()
        };
        let listeners: Vec<Value> = one
            .listeners
            .iter()
            .filter_map(|listener| {
                let own = rows(&listener.targets);
                let rules = listener.rules.iter().map(|rule| (rule, rows(&rule.targets)));
                let rules: Vec<Value> = rules
                    .filter(|(_, rows)| !rows.is_empty())
                    .map(|(rule, rows)| {
                        json!({
                            "LocationId": rule.location_id, "Domain": rule.domain,
                            "Url": rule.url, "Targets": rows,
                        })
                    })
                    .collect();
                let has_rules = listener.protocol.has_rules();
                (!own.is_empty() || !rules.is_empty()).then(|| {
                    json!({
                        "ListenerId": listener.id, "Protocol": listener.protocol,
                        "Port": listener.port, "EndPort": 0,
                        "Rules": has_rules.then_some(rules), "Targets": (!has_rules).then_some(own),
                    })
                })
            })
            .collect();
        (!listeners.is_empty()).then(|| {
            json!({
                "LoadBalancerId": one.id, "Vip": one.vip, "Region": one.region,
                "Listeners": listeners,
            })
        })
    });
    json!({"LoadBalancers": found.collect::<Vec<_>>()})
}

/// `DescribeTargetHealth` of the load balancers that were found.
pub(super) fn target_health(
    found: &[LoadBalancer],
    request: &DescribeTargetHealth,
) -> Result<Value, ApiError> {
    if request.load_balancer_ids.len() > HEALTH_IDS_MAX {
        return Err(too_long("LoadBalancerIds"));
    }
    let rows = |targets: &[Target]| -> Vec<Value> {
        let row = |target: &Target| {
            json!({
                "IP": target.ip, "Port": target.port,
                "HealthStatus": target.health == Health::Alive, "TargetId": eni(target),
                "HealthStatusDetail": target.health, "HealthStatusDetial": target.health,
                "TargetGroupId": null, "Weight": target.weight,
            })
        };
        targets.iter().map(row).collect()
    };
    let of = |one: &LoadBalancer| {
        let ids = request.listener_ids.as_ref();
        let listeners = one.listeners.iter().filter(|one| wanted(one, ids, None, None));
        let listeners = listeners.map(|listener| {
            let fits = |id: &String| {
                request.location_ids.as_ref().is_none_or(|ids| ids.is_empty() || ids.contains(id))
            };
            let rules: Vec<Value> = if listener.protocol.has_rules() {
                let rules = listener.rules.iter().filter(|rule| fits(&rule.location_id));
                rules
                    .map(|rule| {
                        json!({
                            "LocationId": rule.location_id, "Domain": rule.domain,
                            "Url": rule.url, "Targets": rows(&rule.targets),
                        })
                    })
                    .collect()
            } else {
                // Targets of layer 4 stand in one rule without a name.
                let location = listener.id.replacen("lbl-", "loc-", 1);
                vec![json!({
                    "LocationId": location, "Domain": null, "Url": null,
                    "Targets": rows(&listener.targets),
                })]
            };
            json!({
                "ListenerId": listener.id, "ListenerName": "TKE-DEDICATED-LISTENER",
                "Protocol": listener.protocol, "Port": listener.port, "Rules": rules,
            })
        });
        json!({
            "LoadBalancerId": one.id, "LoadBalancerName": one.id,
            "Listeners": listeners.collect::<Vec<_>>(),
        })
    };
    Ok(json!({"LoadBalancers": found.iter().map(of).collect::<Vec<_>>()}))
}

/// `DescribeTaskStatus`.
pub(super) fn task_status(outcome: &Outcome, load_balancer: &str) -> Value {
    let (status, message) = match outcome {
        Outcome::Done => (0, None),
        Outcome::Failed(why) => (1, Some(why)),
        Outcome::Working => (2, None),
    };
    json!({"Status": status, "LoadBalancerIds": [load_balancer], "Message": message})
}
