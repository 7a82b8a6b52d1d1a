//! Whether the server lives, whether it can do its work, and how much it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use chatelaine_api::{ErrorDocument, ReadinessCheck, ReadinessDocument};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::Mutex;

use super::App;
use super::context::Context;
use super::error::ApiError;
use crate::master_key::siblings;

/// One check may take so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// The checks are not run more often than this, however often they are asked for.
const FRESH: Duration = Duration::from_secs(1);

/// The last answer of the checks.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, ReadinessDocument)>>);

/// The process answers. For load balancers; says nothing of the neighbours.
#[utoipa::path(get, path = "/healthcheck", tag = "operations", responses((status = 200, body = String)))]
pub(crate) async fn healthcheck() -> &'static str {
    "OK"
}

/// Whether the server can do its work: store, seal (a canary is wrapped and unwrapped, and the store's master key is here), audit trail, identities. What is
/// wrong with them is told to the networks that may read metrics.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = ReadinessDocument), (status = 503, body = ReadinessDocument)))]
pub(crate) async fn readyz(State(app): State<Arc<App>>, Extension(context): Extension<Context>) -> Response {
    let mut document = check(&app).await;
    if !is_operators(&app, &context) {
        document.checks.iter_mut().for_each(|check| check.problem = None);
    }
    let status = if document.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(document)).into_response();
    if status != StatusCode::OK {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// Whether a request comes from the networks of those who watch over the server, or from the control socket.
fn is_operators(app: &App, context: &Context) -> bool {
    let watched_from =
        |address| app.options.metrics_networks.iter().any(|network| network.contains(&address));
    context.address.is_none_or(watched_from)
}

/// Runs the checks, or repeats the last answer while it is fresh.
pub(crate) async fn check(app: &Arc<App>) -> ReadinessDocument {
    let mut last = app.readiness.0.lock().await;
    if let Some((at, document)) = &*last
        && at.elapsed() < FRESH
    {
        return document.clone();
    }
    let within = |result: Result<Result<(), String>, tokio::time::error::Elapsed>| match result {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    let store = tokio::time::timeout(PATIENCE, app.manager.store_health());
    let identity = tokio::time::timeout(PATIENCE, app.identities.health());
    let mark = tokio::time::timeout(PATIENCE, siblings::look(app));
    let (store, identity, mark) = tokio::join!(store, identity, mark);
    let results = [
        ("store", within(store)),
        ("seal", app.manager.canary().map_err(|error| error.to_string()).and_then(|()| within(mark))),
        ("audit", app.trail.health()),
        ("identity", within(identity)),
    ];
    for (name, result) in &results {
        app.metrics.check(name, result.is_ok());
    }
    let checks: Vec<_> = results
        .into_iter()
        .map(|(name, result)| ReadinessCheck {
            name: name.to_owned(),
            ok: result.is_ok(),
            problem: result.err(),
        })
        .collect();
    let document = ReadinessDocument { ready: checks.iter().all(|check| check.ok), checks };
    if let Some((_, before)) = &*last
        && before != &document
    {
        for check in document.checks.iter().filter(|check| !before.checks.contains(check)) {
            let problem = check.problem.as_deref();
            if check.ok {
                tracing::info!(check = check.name, "ready again");
            } else {
                tracing::error!(check = check.name, problem, "not ready");
            }
        }
    }
    *last = Some((Instant::now(), document.clone()));
    document
}

/// Figures for Prometheus, in OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), (status = 403, body = ErrorDocument)))]
pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
) -> Result<Response, ApiError> {
    if !is_operators(&app, &context) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "your network may not read metrics; the operator allows it in server.metrics_networks",
        ));
    }
    let (met, left_out) = (app.manager.irregularities(), app.refusals.left_out());
    let text = app.metrics.encode(&app.identities.counters(), met, app.trail.head().seq, left_out);
    Ok(open_metrics(text))
}

/// An answer with figures.
pub(super) fn open_metrics(text: String) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
