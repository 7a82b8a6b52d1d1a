//! Keys at the service's socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use chatelaine_agent::keys::{OpenedKey, Peer};
use chatelaine_agent::scopes::Whose;
use chatelaine_api::{
    AgentCreateRequest, AgentKey, AgentKeyDocument, AgentKeyPage, AgentPairDocument, AgentPairRequest,
    ErrorDocument, KeyString, Scope,
};
use chatelaine_client::SecretText;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::body;
use super::super::change::carry_out;
use super::super::error::ApiError;
use crate::agent::Host;

/// Largest body, in bytes: the longest key in base64, and words around it.
const MAX_BODY: usize = 256 * 1024;
/// Longer bodies are not even thrown away.
const MOST_DISCARDED: usize = 64 * 1024 * 1024;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest key-id that is looked at.
const MAX_ID: usize = 64;

/// Whose key locks the one that is asked for, as far as the service knows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hints {
    scope: Option<Scope>,
    scope_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
    marker: Option<String>,
}

/// Reads a request. What is too long is read to its end, unless it is absurd: a process that writes to a closed socket would
/// not come to read why.
async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ApiError> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| (MAX_BODY + 1..=MOST_DISCARDED).contains(&length)) {
        let mut body = body;
        let discard = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(PATIENCE, discard).await;
        let message = format!("the body is larger than {MAX_BODY} bytes");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    body::json(headers, body, MAX_BODY, PATIENCE).await
}

fn peer(headers: &HeaderMap, hints: Hints) -> Result<Peer, ApiError> {
    let token = match headers.get("x-auth-token") {
        None => None,
        Some(value) => {
            let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= 8 << 10);
            let text = text.ok_or_else(|| ApiError::field("X-Auth-Token", "it is not a token"))?;
            Some(SecretText::new(text))
        }
    };
    let whose = match (hints.scope, hints.scope_id) {
        (None, None) => None,
        (Some(scope @ (Scope::User | Scope::Project | Scope::Domain)), Some(id)) => Some(Whose { scope, id }),
        (Some(Scope::Entity), _) => {
            return Err(ApiError::field("scope", "it must be user, project or domain"));
        }
        (Some(_), None) => return Err(ApiError::field("scope_id", "it is needed beside scope")),
        (None, Some(_)) => return Err(ApiError::field("scope", "it is needed beside scope_id")),
    };
    Ok(Peer { token, whose })
}

fn id(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let Path(id) = path.map_err(|error| ApiError::field("key-id", error.body_text()))?;
    if id.is_empty()
        || id.len() > MAX_ID
        || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return Err(ApiError::field("key-id", "it must be a UUID in lower case with hyphens"));
    }
    Ok(id)
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    let Query(query) = query.map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "the query: unknown or wrong parameter; see GET /v1/openapi.json",
        )
    })?;
    Ok(query)
}

fn with_key(opened: &OpenedKey, status: StatusCode, released: bool) -> Response {
    let key_string = released.then(|| KeyString::new(opened.key.expose().to_vec()));
    let key = AgentKey { document: opened.document.clone(), key_string };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (status, no_store, Json(key)).into_response()
}

/// Make a key, or keep a given one.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = AgentCreateRequest,
    params(("X-Auth-Token" = Option<String>, Header, description = "The token of the user for whom the service asks")),
    responses((status = 201, body = AgentKey), (status = 400, body = ErrorDocument), (status = 401, body = ErrorDocument),
        (status = 403, body = ErrorDocument), (status = 409, body = ErrorDocument), (status = 413, body = ErrorDocument),
        (status = 415, body = ErrorDocument), (status = 503, body = ErrorDocument)))]
pub(super) async fn create(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: AgentCreateRequest = read(&headers, body).await?;
    let peer = peer(&headers, Hints::default())?;
    let released = request.return_key;
    let agent = Arc::clone(&host.agent);
    let made = carry_out(async move { agent.create(request, peer).await.map_err(ApiError::from) }).await?;
    Ok(with_key(&made, StatusCode::CREATED, released))
}

/// Make a pair of keys.
#[utoipa::path(post, path = "/v1/key-pairs", tag = "keys", request_body = AgentPairRequest,
    params(("X-Auth-Token" = Option<String>, Header, description = "The token of the user for whom the service asks")),
    responses((status = 201, body = AgentPairDocument), (status = 400, body = ErrorDocument), (status = 401, body = ErrorDocument),
        (status = 403, body = ErrorDocument), (status = 413, body = ErrorDocument), (status = 415, body = ErrorDocument),
        (status = 503, body = ErrorDocument)))]
pub(super) async fn create_pair(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<AgentPairDocument>), ApiError> {
    let request: AgentPairRequest = read(&headers, body).await?;
    let peer = peer(&headers, Hints::default())?;
    let agent = Arc::clone(&host.agent);
    let made =
        carry_out(async move { agent.create_pair(request, peer).await.map_err(ApiError::from) }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// A key, opened.
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "The key-id"),
        ("scope" = Option<Scope>, Query, description = "Whose key locks it, where the service knows: user, project or domain"),
        ("scope_id" = Option<String>, Query, description = "The id of that user, project or domain"),
        ("X-Auth-Token" = Option<String>, Header, description = "The token of the user for whom the service asks")),
    responses((status = 200, body = AgentKey), (status = 400, body = ErrorDocument), (status = 401, body = ErrorDocument),
        (status = 403, body = ErrorDocument), (status = 404, body = ErrorDocument), (status = 409, body = ErrorDocument),
        (status = 500, body = ErrorDocument), (status = 503, body = ErrorDocument)))]
pub(super) async fn get(
    State(host): State<Arc<Host>>,
    path: Result<Path<String>, PathRejection>,
    hints: Result<Query<Hints>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = id(path)?;
    let peer = peer(&headers, query(hints)?)?;
    let opened = host.agent.get(&id, peer).await?;
    Ok(with_key(&opened, StatusCode::OK, true))
}

/// What is known about a key.
#[utoipa::path(get, path = "/v1/keys/{id}/metadata", tag = "keys",
    params(("id" = String, Path, description = "The key-id"),
        ("X-Auth-Token" = Option<String>, Header, description = "The token of the user for whom the service asks")),
    responses((status = 200, body = AgentKeyDocument), (status = 400, body = ErrorDocument), (status = 401, body = ErrorDocument),
        (status = 403, body = ErrorDocument), (status = 404, body = ErrorDocument), (status = 503, body = ErrorDocument)))]
pub(super) async fn metadata(
    State(host): State<Arc<Host>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<AgentKeyDocument>, ApiError> {
    let id = id(path)?;
    let peer = peer(&headers, Hints::default())?;
    Ok(Json(host.agent.metadata(&id, peer).await?))
}

/// Delete a key.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "The key-id"),
        ("X-Auth-Token" = Option<String>, Header, description = "The token of the user for whom the service asks")),
    responses((status = 204), (status = 400, body = ErrorDocument), (status = 401, body = ErrorDocument),
        (status = 403, body = ErrorDocument), (status = 404, body = ErrorDocument), (status = 503, body = ErrorDocument)))]
pub(super) async fn delete(
    State(host): State<Arc<Host>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let id = id(path)?;
    let peer = peer(&headers, Hints::default())?;
    let agent = Arc::clone(&host.agent);
    carry_out(async move { agent.delete(&id, peer).await.map_err(ApiError::from) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The service's own keys, without the keys themselves.
#[utoipa::path(get, path = "/v1/keys", tag = "keys",
    params(("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000"),
        ("marker" = Option<String>, Query, description = "`next_marker` of the page before"),
        ("X-Auth-Token" = Option<String>, Header, description = "The token of the user for whom the service asks")),
    responses((status = 200, body = AgentKeyPage), (status = 400, body = ErrorDocument), (status = 401, body = ErrorDocument),
        (status = 403, body = ErrorDocument), (status = 503, body = ErrorDocument)))]
pub(super) async fn list(
    State(host): State<Arc<Host>>,
    page: Result<Query<Page>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<AgentKeyPage>, ApiError> {
    let Page { limit, marker } = query(page)?;
    if limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
        return Err(ApiError::field("limit", "it must be 1 to 1000"));
    }
    let peer = peer(&headers, Hints::default())?;
    Ok(Json(host.agent.list(limit, marker.as_deref(), peer).await?))
}
