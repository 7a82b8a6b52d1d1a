//! The native key API: putting, getting, changing and listing keys of services.
//!
//! Owns its wire rules ([`validate`], [`document`], [`listing`]) and nothing of what is allowed: each handler reads the
//! request, calls one operation of the manager and writes the answer. Changes run to their end in a task of their own,
//! so that a client that goes away leaves no change half logged.

pub(crate) mod algorithms;
pub(super) mod document;
pub(crate) mod encryption_defaults;
pub(crate) mod listing;
pub(crate) mod precondition;
pub(crate) mod scope_keys;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use chatelaine_api::{KeyDocument, KeyPage, NewKeyRequest, ReleasedKey, RevokeRequest, UpdateKeyRequest};
use chatelaine_core::id::{SecretId, Version};
use chatelaine_core::manager::Description;
use chatelaine_core::secret::Secret;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::App;
use super::body;
use super::caller::Authenticated;
use super::change::{self, to_the_end};
use super::error::ApiError;

/// The key-id in a path. One that cannot even be decoded is refused after the caller is known, as every wrong one is.
type KeyPath = Result<Path<String>, PathRejection>;

/// Names that are too long to be ids are not repeated in messages.
fn key_id(path: KeyPath) -> Result<SecretId, ApiError> {
    let Path(text) =
        path.map_err(|_| ApiError::field("key_id", "it is not text in UTF-8, percent-encoded"))?;
    SecretId::parse(&text).map_err(|error| ApiError::field("key_id", error.to_string()))
}

fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn answer(status: StatusCode, description: Description) -> Response {
    let tag = etag(description.version);
    let mut response = (status, Json(document::key(description))).into_response();
    response.headers_mut().insert(header::ETAG, tag);
    no_store(&mut response);
    response
}

/// Nothing about keys may lie in a proxy's cache (RFC 9111, section 5.2.2.5).
pub(super) fn no_store(response: &mut Response) {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

async fn create(
    app: Arc<App>,
    authenticated: Authenticated,
    id: Option<SecretId>,
    request: NewKeyRequest,
) -> Result<Description, ApiError> {
    let Authenticated { caller, slot } = authenticated;
    to_the_end(slot, async move {
        // Generating costs: who may not have a key gets none generated.
        app.manager.authorize_put(&caller, id, document::scope(request.scope)).await?;
        let key = validate::new_key(request).await?;
        Ok(app.manager.put(&caller, id, key).await?)
    })
    .await
}

/// Puts a key under an id of the caller's choice.
#[utoipa::path(put, path = "/v1/keys/{key_id}", tag = "keys", request_body = NewKeyRequest,
    params(("key_id" = String, Path, description = "A UUID in lower case, the same for nothing else")),
    responses((status = 201, body = KeyDocument, headers(("ETag" = String, description = "The version"))),
        (status = 400, body = chatelaine_api::ErrorDocument), (status = 409, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn put_key(
    State(app): State<Arc<App>>,
    path: KeyPath,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = key_id(path)?;
    let request = body::json(&headers, body, app.options.max_body, app.options.client_timeout).await?;
    Ok(answer(StatusCode::CREATED, create(app, authenticated, Some(id), request).await?))
}

/// Creates a key under an id of the server's choice, or lets the server generate one.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = NewKeyRequest,
    responses((status = 201, body = KeyDocument, headers(("Location" = String), ("ETag" = String))),
        (status = 400, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn create_key(
    State(app): State<Arc<App>>,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request = body::json(&headers, body, app.options.max_body, app.options.client_timeout).await?;
    let base = app.base_of(&headers);
    let description = create(app, authenticated, None, request).await?;
    let location = HeaderValue::try_from(format!("{base}/v1/keys/{}", description.id));
    let mut response = answer(StatusCode::CREATED, description);
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Gets a key with its key string.
#[utoipa::path(get, path = "/v1/keys/{key_id}", tag = "keys",
    params(("key_id" = String, Path, description = "The key-id"),
        ("allow_inactive" = Option<bool>, Query, description = "Release a key that is revoked, expired or not active yet")),
    responses((status = 200, body = ReleasedKey, headers(("ETag" = String))),
        (status = 404, body = chatelaine_api::ErrorDocument), (status = 409, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn get_key(
    State(app): State<Arc<App>>,
    path: KeyPath,
    RawQuery(query): RawQuery,
    method: Method,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let id = key_id(path)?;
    let allow_inactive = listing::allow_inactive(query.as_deref())?;
    if method == Method::HEAD {
        // There is nothing to be released in an answer without a body.
        return Ok(answer(StatusCode::OK, app.manager.metadata(&authenticated.caller, id).await?));
    }
    let (description, secret) = app.manager.get(&authenticated.caller, id, allow_inactive).await?;
    released(description, &secret)
}

/// The answer with a key string.
fn released(description: Description, secret: &Secret) -> Result<Response, ApiError> {
    let tag = etag(description.version);
    let mut response = document::released(description, secret)?;
    response.headers_mut().insert(header::ETAG, tag);
    no_store(&mut response);
    Ok(response)
}

/// Gets what is known about a key, without its key string.
#[utoipa::path(get, path = "/v1/keys/{key_id}/metadata", tag = "keys",
    params(("key_id" = String, Path, description = "The key-id")),
    responses((status = 200, body = KeyDocument), (status = 404, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn get_metadata(
    State(app): State<Arc<App>>,
    path: KeyPath,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let id = key_id(path)?;
    Ok(answer(StatusCode::OK, app.manager.metadata(&authenticated.caller, id).await?))
}

/// Lists the caller's own keys in the order in which they were put. A page may be short, or empty, although `links.next` says
/// that more follow.
#[utoipa::path(get, path = "/v1/keys", tag = "keys",
    params(("scope" = Option<chatelaine_api::Scope>, Query), ("master_key" = Option<String>, Query),
        ("state" = Option<chatelaine_api::State>, Query),
        ("deleted" = Option<bool>, Query, description = "Deleted keys, which can be undeleted, instead of live ones"),
        ("limit" = Option<u32>, Query), ("marker" = Option<String>, Query, description = "List what comes after this key-id")),
    responses((status = 200, body = KeyPage), (status = 400, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn list_keys(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let filter = listing::filter(query.as_deref(), app.options.max_page)?;
    let list = app.manager.list(&authenticated.caller, &filter).await?;
    let next = list.next.map(|marker| {
        format!("{}/v1/keys?{}", app.base_of(&headers), listing::next_query(query.as_deref(), marker))
    });
    let keys = list.keys.into_iter().map(document::key).collect();
    let mut response = Json(KeyPage { keys, links: chatelaine_api::Links { next } }).into_response();
    no_store(&mut response);
    Ok(response)
}

/// Changes a key whose version is the one that `If-Match` names.
#[utoipa::path(patch, path = "/v1/keys/{key_id}", tag = "keys", request_body = UpdateKeyRequest,
    params(("key_id" = String, Path, description = "The key-id"), ("If-Match" = String, Header, description = "The ETag of the version to be changed")),
    responses((status = 200, body = KeyDocument), (status = 400, body = chatelaine_api::ErrorDocument),
        (status = 409, body = chatelaine_api::ErrorDocument), (status = 412, body = chatelaine_api::ErrorDocument),
        (status = 428, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn update_key(
    State(app): State<Arc<App>>,
    path: KeyPath,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = key_id(path)?;
    let expected = precondition::required(&headers)?;
    let request: UpdateKeyRequest =
        body::json(&headers, body, app.options.max_body, app.options.client_timeout).await?;
    let Authenticated { caller, slot } = authenticated;
    let description = to_the_end(slot, async move {
        let update = validate::update(request)?;
        Ok(app.manager.update(&caller, id, expected, update).await?)
    })
    .await?;
    Ok(answer(StatusCode::OK, description))
}

/// Deletes a key; until the grace period is over it can be undeleted.
#[utoipa::path(delete, path = "/v1/keys/{key_id}", tag = "keys",
    params(("key_id" = String, Path, description = "The key-id"), ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 404, body = chatelaine_api::ErrorDocument), (status = 412, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn delete_key(
    State(app): State<Arc<App>>,
    path: KeyPath,
    authenticated: Authenticated,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let id = key_id(path)?;
    let expected = precondition::optional(&headers)?;
    let Authenticated { caller, slot } = authenticated;
    to_the_end(slot, async move {
        app.manager.delete(&caller, id, expected).await.map_err(|error| raced(error, expected))?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Without a version that the caller asked for, there is no precondition that could fail.
fn raced(error: chatelaine_core::Error, expected: Option<Version>) -> ApiError {
    match expected {
        None => change::raced("key", error),
        Some(_) => error.into(),
    }
}

/// Takes a deletion back, until the grace period is over; from then on the key is not found.
#[utoipa::path(post, path = "/v1/keys/{key_id}/undelete", tag = "keys",
    params(("key_id" = String, Path, description = "The key-id")),
    responses((status = 200, body = KeyDocument), (status = 404, body = chatelaine_api::ErrorDocument),
        (status = 409, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn undelete_key(
    State(app): State<Arc<App>>,
    path: KeyPath,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let id = key_id(path)?;
    let Authenticated { caller, slot } = authenticated;
    let description = to_the_end(slot, async move {
        app.manager.undelete(&caller, id).await.map_err(|error| raced(error, None))
    })
    .await?;
    Ok(answer(StatusCode::OK, description))
}

/// Revokes a key: its key string is released no more unless `allow_inactive` is asked for.
#[utoipa::path(post, path = "/v1/keys/{key_id}/revoke", tag = "keys", request_body = RevokeRequest,
    params(("key_id" = String, Path, description = "The key-id")),
    responses((status = 200, body = KeyDocument), (status = 404, body = chatelaine_api::ErrorDocument),
        (status = 409, body = chatelaine_api::ErrorDocument)))]
pub(crate) async fn revoke_key(
    State(app): State<Arc<App>>,
    path: KeyPath,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = key_id(path)?;
    let request: RevokeRequest =
        body::json(&headers, body, app.options.max_body, app.options.client_timeout).await?;
    let reason = document::reason(request.reason);
    let Authenticated { caller, slot } = authenticated;
    let description = to_the_end(slot, async move {
        app.manager.revoke(&caller, id, reason).await.map_err(|error| raced(error, None))
    })
    .await?;
    Ok(answer(StatusCode::OK, description))
}
