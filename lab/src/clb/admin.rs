//! The paths under `/lab`, with which a scenario sets the service up and looks at what happened.
//!
//! | path | method | body or answer |
//! |---|---|---|
//! | `/lab/load-balancers` | POST | load balancers, made or replaced; GET: as they are, without faults |
//! | `/lab/load-balancers/{id}` | DELETE | |
//! | `/lab/credentials` | POST | secrets, added; DELETE: all are forgotten |
//! | `/lab/faults` | POST | faults, in place of those before |
//! | `/lab/settings` | POST | task time, requests per second, tasks that fail, quota of targets, life of temporary secrets |
//! | `/lab/health` | POST | the health of a target |
//! | `/lab/weights` | POST | weights that targets have at once |
//! | `/lab/tke` | POST | lags and sync period; GET: what is not synced, and why |
//! | `/lab/calls` | GET | the calls of the API so far; DELETE: they are forgotten |

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::credentials::{Secret, TEMPORARY_SECONDS_MAX};
use super::error::ApiError;
use super::faults::{FAULTS_MAX, Fault};
use super::limiter::REQUESTS_PER_SECOND;
use super::model::{Health, LoadBalancer};
use super::service::Service;
use super::state::TaskTime;
use super::tke;
use super::write::BACKENDS_MAX;

type Answer = Result<Response, Refused>;

/// Why a setting is not taken.
struct Refused(String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.0).into_response()
    }
}

/// What `/lab/settings` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// How long a write takes.
    pub task_time: TaskTime,
    /// How many calls of an action a second has.
    pub requests_per_second: usize,
    /// How many of the next tasks fail.
    pub failing_tasks: u32,
    /// How many targets a load balancer may have.
    pub backends_max: usize,
    /// The longest that a temporary secret is valid.
    pub temporary_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            task_time: TaskTime::default(),
            requests_per_second: REQUESTS_PER_SECOND,
            failing_tasks: 0,
            backends_max: BACKENDS_MAX,
            temporary_seconds: TEMPORARY_SECONDS_MAX,
        }
    }
}

/// What `/lab/health` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetHealth {
    /// On which load balancer.
    pub load_balancer_id: String,
    /// The target's address.
    pub ip: IpAddr,
    /// What the check says from now on.
    pub health: Health,
}

/// What `/lab/weights` takes a list of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetWeight {
    /// On which load balancer.
    pub load_balancer_id: String,
    /// The target's address.
    pub ip: IpAddr,
    /// 0 to 100.
    pub weight: u32,
}

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/lab/load-balancers", post(make).get(load_balancers))
        .route("/lab/load-balancers/{id}", delete(remove))
        .route("/lab/credentials", post(add_secrets).delete(forget_secrets))
        .route("/lab/faults", post(set_faults))
        .route("/lab/settings", post(set))
        .route("/lab/health", post(set_health))
        .route("/lab/weights", post(set_weights))
        .route("/lab/tke", post(set_tke).get(tke_errors))
        .route("/lab/calls", axum::routing::get(calls).delete(forget_calls))
}

fn refused(why: impl ToString) -> Refused {
    Refused(why.to_string())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(refused)
}

fn told(value: &impl Serialize) -> Answer {
    let text = serde_json::to_string(value).map_err(refused)?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn make(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Answer {
    let all: Vec<LoadBalancer> = read(&body)?;
    for one in all {
        let id = one.id.clone();
        let made = service.lock().state.make(one, Timestamp::now());
        made.map_err(|ApiError { code, message }| refused(format!("{code}: {message}")))?;
        service.touch(&id);
    }
    done()
}

async fn load_balancers(Shared(service): Shared<Arc<Service>>) -> Answer {
    let all: Vec<LoadBalancer> = service.lock().state.all().cloned().collect();
    told(&all)
}

async fn remove(Shared(service): Shared<Arc<Service>>, Path(id): Path<String>) -> Answer {
    service.lock().state.remove(&id);
    done()
}

async fn add_secrets(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Answer {
    let all: Vec<Secret> = read(&body)?;
    let mut world = service.lock();
    all.into_iter().for_each(|secret| world.credentials.add(secret));
    done()
}

async fn forget_secrets(Shared(service): Shared<Arc<Service>>) -> Answer {
    service.lock().credentials.clear();
    done()
}

async fn set_faults(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Answer {
    let all: Vec<Fault> = read(&body)?;
    if all.len() > FAULTS_MAX {
        return Err(refused("too many faults"));
    }
    service.lock().faults.set(all, Timestamp::now());
    done()
}

async fn set(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Answer {
    let settings: Settings = read(&body)?;
    let mut world = service.lock();
    world.state.task_time = settings.task_time;
    world.state.failing_tasks = settings.failing_tasks;
    world.state.backends_max = settings.backends_max;
    world.credentials.temporary_seconds = settings.temporary_seconds;
    world.limiter.limit = settings.requests_per_second;
    done()
}

async fn set_health(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Answer {
    let TargetHealth { load_balancer_id, ip, health } = read(&body)?;
    service.lock().state.set_health(&load_balancer_id, ip, health);
    service.touch(&load_balancer_id);
    done()
}

async fn set_weights(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Answer {
    let all: Vec<TargetWeight> = read(&body)?;
    service.weigh(&all);
    done()
}

async fn set_tke(Shared(service): Shared<Arc<Service>>, body: Bytes) -> Answer {
    let settings: tke::Settings = read(&body)?;
    service.lock().tke = settings;
    done()
}

async fn tke_errors(Shared(service): Shared<Arc<Service>>) -> Answer {
    told(&service.lock().tke_errors)
}

async fn calls(Shared(service): Shared<Arc<Service>>) -> Answer {
    told(&service.lock().calls.all())
}

async fn forget_calls(Shared(service): Shared<Arc<Service>>) -> Answer {
    service.lock().calls.clear();
    done()
}
