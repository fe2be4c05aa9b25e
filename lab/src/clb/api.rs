//! The API over HTTP: `POST /`, routed by `X-TC-Action`, every error of the API with status 200.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::calls::Call;
use super::credentials::{Caller, TEMPORARY_SECONDS_MAX, token_failure};
use super::error::ApiError;
use super::faults::{CallFaults, Kind};
use super::limiter::exceeded;
use super::model::{DEFAULT_REGION, LoadBalancer};
use super::read;
use super::request::{self, parse};
use super::service::{Service, World};
use super::signature::{Signed, verify};
use super::state::not_found;
use super::write::Action;

const CLB_VERSION: &str = "2018-03-17";
const STS_VERSION: &str = "2018-08-13";
const ASSUME_ROLE: &str = "AssumeRoleWithWebIdentity";
/// How long a temporary secret is valid where nothing is asked for.
const ROLE_SECONDS: u32 = 7_200;
/// Regions that exist; load balancers may be in others as well.
const REGIONS: [&str; 6] =
    [DEFAULT_REGION, "ap-shanghai", "ap-beijing", "ap-nanjing", "ap-hongkong", "ap-singapore"];
const ACTIONS: [&str; 10] = [
    "DescribeTargets",
    "DescribeListeners",
    "DescribeLoadBalancers",
    "DescribeLBListeners",
    "DescribeTargetHealth",
    "DescribeTaskStatus",
    "RegisterTargets",
    "DeregisterTargets",
    "ModifyTargetWeight",
    "BatchModifyTargetWeight",
];

/// One request, on its way to its answer.
struct Exchange {
    request_id: String,
    faults: CallFaults,
    result: Result<Value, ApiError>,
}

/// Answers a request.
pub(super) async fn answer(
    Shared(service): Shared<Arc<Service>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let signed = Signed {
        method: "POST",
        query: uri.query().unwrap_or_default(),
        headers: &headers,
        body: &body,
    };
    let Exchange { request_id, faults, result } = exchange(&service, &signed);
    service.wake();
    let mut response = match result {
        Ok(value) => faults.spoil(value),
        Err(error) => json!({"Error": error.value()}),
    };
    response["RequestId"] = json!(request_id);
    let mut text = json!({"Response": response}).to_string();
    let mut status = StatusCode::OK;
    for kind in faults.kinds() {
        match kind {
            Kind::Slow { millis } => sleep(Duration::from_millis(*millis)).await,
            // Never inside a character: ids, addresses and names are ASCII.
            Kind::TruncatedJson => text.truncate(text.len() / 2),
            Kind::HttpStatus { status: code } => {
                status = StatusCode::from_u16(*code).unwrap_or(StatusCode::BAD_GATEWAY);
                text = format!("<html><body>{status}</body></html>");
            }
            _ => {}
        }
    }
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

/// What happens to a request at once, and its entry among the calls.
fn exchange(service: &Service, signed: &Signed<'_>) -> Exchange {
    let mut world = service.lock();
    // Behind the lock: the order of the times is that in which calls see what others did.
    let now = Timestamp::now();
    let action = signed.header("x-tc-action").unwrap_or_default().to_owned();
    let ids = named_load_balancers(signed.body);
    let faults = world.faults.of_call(&action, &ids, now);
    let request_id = world.request_id(now);
    let mut caller = Caller::anonymous();
    let result = perform(&mut world, signed, &action, &faults, &request_id, &mut caller, now);
    let code = result.as_ref().err().map(|error| error.code.clone()).unwrap_or_default();
    let secret_id = caller.id;
    world.calls.push(Call { at: now, action, load_balancer_ids: ids, secret_id, code });
    Exchange { request_id, faults, result }
}

fn perform(
    world: &mut World,
    signed: &Signed<'_>,
    action: &str,
    faults: &CallFaults,
    request_id: &str,
    caller: &mut Caller,
    now: Timestamp,
) -> Result<Value, ApiError> {
    if action.is_empty() {
        return Err(ApiError::missing("X-TC-Action"));
    }
    let mut clock = now;
    for kind in faults.kinds() {
        match kind {
            // No effect either: a proxy in front of the service failed.
            Kind::HttpStatus { .. } => return Ok(json!({})),
            Kind::ClockSkew { seconds } => {
                clock = clock.saturating_add(SignedDuration::from_secs(*seconds)).unwrap_or(clock);
            }
            Kind::Throttling => return Err(exceeded(action, world.limiter.limit)),
            Kind::ExpiredToken => return Err(token_failure()),
            Kind::ApiError { code, message } => return Err(ApiError::new(code, message.as_str())),
            _ => {}
        }
    }
    let version = signed.header("x-tc-version").ok_or_else(|| ApiError::missing("X-TC-Version"))?;
    let of_version = |expected: &str| {
        let error = || ApiError::new("NoSuchVersion", format!("{action} has no version {version}"));
        (version == expected).then_some(()).ok_or_else(error)
    };
    if signed.header("authorization") == Some("SKIP") {
        if action != ASSUME_ROLE {
            return Err(ApiError::missing("Authorization"));
        }
        of_version(STS_VERSION)?;
        return assume_role(world, signed.body, now);
    }
    let (found, scope) = verify(signed, &world.credentials, clock)?;
    *caller = found;
    if scope != "clb" || !ACTIONS.contains(&action) {
        let message = format!("The request action `{action}` of {scope} is invalid.");
        return Err(ApiError::new("InvalidAction", message));
    }
    of_version(CLB_VERSION)?;
    let region = signed.header("x-tc-region").ok_or_else(|| ApiError::missing("X-TC-Region"))?;
    if !REGIONS.contains(&region) && !world.state.all().any(|one| one.region == region) {
        return Err(ApiError::new("UnsupportedRegion", format!("{region} is not supported.")));
    }
    caller.may(action)?;
    world.limiter.take(&caller.account, action, now)?;
    dispatch(world, signed.body, action, faults, region, request_id, now)
}

fn dispatch(
    world: &mut World,
    body: &[u8],
    action: &str,
    faults: &CallFaults,
    region: &str,
    request_id: &str,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let seen = |world: &World, id: &str| -> Option<LoadBalancer> {
        let found = world.state.as_of(id, now, faults.age(id))?;
        (found.region == region).then(|| faults.view(found))
    };
    let one = |world: &World, id: &str| seen(world, id).ok_or_else(|| not_found(id));
    let all = |world: &World| -> Vec<LoadBalancer> {
        world.state.all().filter_map(|known| seen(world, &known.id)).collect()
    };
    let kind = match action {
        "DescribeTargets" => {
            let request: request::DescribeTargets = parse(body)?;
            return read::targets(&one(world, &request.load_balancer_id)?, &request);
        }
        "DescribeListeners" => {
            let request: request::DescribeListeners = parse(body)?;
            return read::listeners(&one(world, &request.load_balancer_id)?, &request);
        }
        "DescribeLoadBalancers" => return read::load_balancers(all(world).iter(), &parse(body)?),
        "DescribeLBListeners" => {
            let request: request::DescribeLbListeners = parse(body)?;
            return Ok(read::lb_listeners(all(world).iter(), &request.backends));
        }
        "DescribeTargetHealth" => {
            let request: request::DescribeTargetHealth = parse(body)?;
            let ids = request.load_balancer_ids.iter();
            let found = ids.map(|id| one(world, id)).collect::<Result<Vec<_>, _>>()?;
            return read::target_health(&found, &request);
        }
        "DescribeTaskStatus" => {
            let request: request::DescribeTaskStatus = parse(body)?;
            let found = world.state.outcome(&request.task_id);
            let (outcome, id) = found.ok_or_else(|| {
                ApiError::new("InvalidParameter", format!("no task {}", request.task_id))
            })?;
            return Ok(read::task_status(&outcome, id));
        }
        "RegisterTargets" => Action::Register,
        "DeregisterTargets" => Action::Deregister,
        "ModifyTargetWeight" => Action::Weigh,
        _ => Action::WeighBatch,
    };
    let write = request::write(kind, body)?;
    if world.state.get(&write.load_balancer).is_none_or(|found| found.region != region) {
        return Err(not_found(&write.load_balancer));
    }
    world.state.begin(write, false, request_id, now)?;
    Ok(json!({}))
}

/// Makes a temporary secret.
fn assume_role(world: &mut World, body: &[u8], now: Timestamp) -> Result<Value, ApiError> {
    let request: request::AssumeRoleWithWebIdentity = parse(body)?;
    for (name, value) in [
        ("ProviderId", &request.provider_id),
        ("WebIdentityToken", &request.web_identity_token),
        ("RoleSessionName", &request.role_session_name),
    ] {
        if value.is_empty() {
            return Err(ApiError::missing(name));
        }
    }
    if !request.role_arn.starts_with("qcs::cam::uin/") {
        return Err(ApiError::new("InvalidParameter.RoleArn", "no role of that name"));
    }
    let seconds = request.duration_seconds.unwrap_or(ROLE_SECONDS);
    if seconds == 0 || seconds > TEMPORARY_SECONDS_MAX {
        return Err(ApiError::new("InvalidParameter.DurationSeconds", "out of range"));
    }
    let fresh = world.request_id(now).replace('-', "");
    let secret = world.credentials.mint(&fresh, seconds, now);
    let end = secret.expires.unwrap_or(now);
    Ok(json!({
        "ExpiredTime": end.as_second(),
        "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "Credentials":
            {"Token": secret.token, "TmpSecretId": secret.id, "TmpSecretKey": secret.key},
    }))
}

/// The load balancers that a body names, whatever else it is.
fn named_load_balancers(body: &[u8]) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let one = value["LoadBalancerId"].as_str();
    let all = value["LoadBalancerIds"].as_array().into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(all).map(str::to_owned).collect()
}
