//! The metadata of a machine that has a role: temporary secrets without any other.
//!
//! `GET /latest/meta-data/cam/security-credentials/` names the role, and the same with the role's name
//! gives a secret.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde_json::json;

use super::credentials::TEMPORARY_SECONDS_MAX;
use super::service::Service;

/// The machine's role.
pub const ROLE: &str = "lameduck-lab";
const PATH: &str = "/latest/meta-data/cam/security-credentials/";

pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route(PATH, get(async || ROLE)).route(&format!("{PATH}{{role}}"), get(secret))
}

async fn secret(Shared(service): Shared<Arc<Service>>, Path(role): Path<String>) -> Response {
    if role != ROLE {
        return StatusCode::NOT_FOUND.into_response();
    }
    let now = Timestamp::now();
    let mut world = service.lock();
    let fresh = world.request_id(now).replace('-', "");
    let secret = world.credentials.mint(&fresh, TEMPORARY_SECONDS_MAX, now);
    let end = secret.expires.unwrap_or(now);
    json!({
        "TmpSecretId": secret.id, "TmpSecretKey": secret.key, "Token": secret.token,
        "ExpiredTime": end.as_second(),
        "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "Code": "Success",
    })
    .to_string()
    .into_response()
}
