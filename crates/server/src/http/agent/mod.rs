//! The agent's sockets: what a service's processes ask for, and what its operators do.
//!
//! Two sockets, so that a peer that may ask for keys may not replace the master key: the service's, whose peers are checked by
//! user and group, and the control socket in the data folder, for the agent's own user and root.

mod attestation;
mod keys;
pub(crate) mod metrics;
mod operator;
mod socket;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chatelaine_agent::AgentError;
use chatelaine_api::{ErrorDocument, ReadinessCheck, ReadinessDocument};
use chatelaine_core::id::RequestId;
use http::{HeaderValue, StatusCode, header};
use utoipa::OpenApi;

use super::attestation::Scribe;
use super::context::{REQUEST_ID, write_line};
use super::control::Home;
use super::error::ApiError;
use super::health;
use crate::agent::Host;
use crate::master_key::Keeper;
use crate::master_key::changes::Book;

pub(crate) use socket::Socket;

/// A key pair may take seconds, and so may the key manager; each has a limit of its own.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Chatelaine's agent",
        description = "What a service asks the agent on its own host for, over a Unix socket. Processes are known by their user; \
            tokens are needed only to ask on behalf of a user."
    ),
    paths(
        keys::create,
        keys::create_pair,
        keys::get,
        keys::metadata,
        keys::delete,
        keys::list,
        health::healthcheck,
        readyz,
        openapi,
    ),
    components(schemas(ErrorDocument)),
    tags(
        (name = "keys", description = "The service's keys"),
        (name = "operations", description = "For those who watch over the agent"),
    ),
)]
struct Document;

/// The routes of the service's socket.
pub(crate) fn service(host: Arc<Host>) -> Router {
    Router::new()
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/key-pairs", post(keys::create_pair))
        .route("/v1/keys/{id}", get(keys::get).delete(keys::delete))
        .route("/v1/keys/{id}/metadata", get(keys::metadata))
        .route("/v1/openapi.json", get(openapi))
        .route("/healthcheck", get(health::healthcheck))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics::show))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&host), surround))
        .with_state(host)
}

/// The routes of the control socket.
pub(crate) fn control(host: Arc<Host>) -> Router {
    super::control::shared::<Host>()
        .merge(operator::routes())
        .merge(attestation::routes())
        .fallback(unknown)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&host), surround))
        .with_state(host)
}

/// The routes for a process that may not ask.
pub(crate) fn refused(uid: u32, gid: u32) -> Router {
    Router::new().fallback(move || async move {
        let request_id = RequestId::random();
        let message = format!(
            "Forbidden: processes of user {uid} and group {gid} may not ask this agent; its operator allows them in agent.peers, for \
             example with uid:{uid}"
        );
        ApiError::new(StatusCode::FORBIDDEN, message).render(request_id.as_str())
    })
}

async fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is no such route; GET /v1/openapi.json describes them")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take that method; see Allow")
}

/// Request id, time limit, log and metrics, as around the server's routes.
async fn surround(State(host): State<Arc<Host>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let request_id = RequestId::random();
    request.extensions_mut().insert(request_id.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = match tokio::time::timeout(LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ApiError::unavailable("the request took too long; try again", 5, "time limit").into_response()
        }
    };
    let error = response.extensions_mut().remove::<ApiError>();
    if let Some(error) = &error {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = error.render(request_id.as_str());
        response.headers_mut().extend(allow.map(|value| (header::ALLOW, value)));
    }
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    let elapsed = began.elapsed();
    host.metrics.request(&method, route, response.status(), elapsed);
    write_line(
        host.config.log.requests,
        &request_id,
        &method,
        route,
        response.status(),
        error.as_ref(),
        elapsed,
    );
    response
}

/// The description of the service's socket.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "operations", responses((status = 200, body = serde_json::Value)))]
async fn openapi() -> Response {
    let text = Document::openapi().to_json().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Whether keys can be made and given out: the master key is open, and the key manager is there.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = ReadinessDocument), (status = 503, body = ReadinessDocument)))]
async fn readyz(State(host): State<Arc<Host>>) -> Response {
    let sealed = host.agent.keyring().is_sealed();
    let problem =
        sealed.then(|| host.keeper.problem().unwrap_or_else(|| "the master key is being opened".to_owned()));
    let seal = ReadinessCheck { name: "seal".to_owned(), ok: !sealed, problem };
    let remote = tokio::time::timeout(Duration::from_secs(3), host.agent.remote().ready()).await;
    let problem = match remote {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer within 3 s".to_owned()),
    };
    let remote = ReadinessCheck { name: "key_manager".to_owned(), ok: problem.is_none(), problem };
    let document = ReadinessDocument { ready: seal.ok && remote.ok, checks: vec![seal, remote] };
    let status = if document.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(document)).into_response()
}

impl Home for Host {
    fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    fn book(&self) -> Book<'_> {
        Book::Diary
    }

    fn scribe(&self) -> Scribe<'_> {
        Scribe::Diary
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        let text = error.to_string();
        match error {
            AgentError::Sealed => Self::unavailable(text, 10, "sealed"),
            AgentError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, text),
            AgentError::Forbidden(_) | AgentError::NotHere(_) => Self::new(StatusCode::FORBIDDEN, text),
            AgentError::Unauthorized(_) => Self::new(StatusCode::UNAUTHORIZED, text),
            AgentError::Invalid { field: "request", problem } => Self::new(StatusCode::BAD_REQUEST, problem),
            AgentError::Invalid { field, problem } => Self::field(field, problem),
            AgentError::Conflict(_) | AgentError::Changed => Self::new(StatusCode::CONFLICT, text),
            AgentError::Unavailable { problem, retry_after } => {
                Self::unavailable(problem.clone(), retry_after.as_secs().max(1), problem)
            }
            AgentError::Corrupt(_) => {
                Self { detail: Some(text.clone()), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, text) }
            }
            AgentError::Internal(_) => Self::failed(text),
        }
    }
}
