//! What a server answers that has no master keys yet: that it lives, that it is not ready, and to everything else 503.
//!
//! Tokens are not looked at: nothing can be released, whoever asks.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use chatelaine_api::{ReadinessCheck, ReadinessDocument};
use chatelaine_core::id::RequestId;
use chatelaine_core::manager::Irregularities;
use http::{HeaderValue, StatusCode, header};
use ipnet::IpNet;

use super::context::{Peer, REQUEST_ID, client_address};
use super::error::ApiError;
use super::{barbican, health};
use crate::config::Config;
use crate::identity::Counters;
use crate::master_key::Keeper;
use crate::telemetry::metrics::Metrics;

/// Seconds after which a client may try again.
const RETRY_AFTER: u64 = 10;

struct Waiting {
    keeper: Arc<Keeper>,
    metrics: Metrics,
    metrics_networks: Vec<IpNet>,
    trusted_proxies: Vec<IpNet>,
}

/// The routes of a sealed server.
pub fn routes(keeper: Arc<Keeper>, config: &Config) -> Router {
    let waiting = Waiting {
        keeper,
        metrics: Metrics::new(),
        metrics_networks: config.server.metrics_networks.clone(),
        trusted_proxies: config.server.trusted_proxies.clone(),
    };
    Router::new()
        .route("/healthcheck", get(health::healthcheck))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(refuse)
        .with_state(Arc::new(waiting))
}

/// Whether the request comes from those who watch over the server.
fn is_operators(waiting: &Waiting, request: &Request) -> bool {
    let Some(peer) = request.extensions().get::<Peer>() else { return true };
    let address = client_address(peer.0.ip().to_canonical(), request.headers(), &waiting.trusted_proxies);
    waiting.metrics_networks.iter().any(|network| network.contains(&address))
}

async fn readyz(State(waiting): State<Arc<Waiting>>, request: Request) -> Response {
    let problem = is_operators(&waiting, &request)
        .then(|| format!("sealed: {}", waiting.keeper.problem().unwrap_or_else(|| "opening".to_owned())));
    let checks = vec![ReadinessCheck { name: "seal".to_owned(), ok: false, problem }];
    let document = ReadinessDocument { ready: false, checks };
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(document)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    response
}

async fn metrics(State(waiting): State<Arc<Waiting>>, request: Request) -> Response {
    if !is_operators(&waiting, &request) {
        return refuse(request).await;
    }
    waiting.metrics.check("seal", false);
    let text = waiting.metrics.encode(&Counters::default(), Irregularities::default(), 0, 0);
    health::open_metrics(text)
}

async fn refuse(request: Request) -> Response {
    let request_id = RequestId::random();
    let error = ApiError::unavailable(
        "the key manager is sealed: it waits for its master key; try again later",
        RETRY_AFTER,
        "sealed",
    );
    tracing::debug!(%request_id, "refused: sealed");
    let mut response = if barbican::path::is_barbican(request.uri().path()) {
        barbican::error::render(&error, request_id.as_str())
    } else {
        error.render(request_id.as_str())
    };
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
