//! Keys of users, projects and domains: the newest of one, and the identity service's listing.
//!
//! They are put, changed and deleted as all keys are. Refuses everything that is not a user's, project's or domain's.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use chatelaine_api::{ErrorDocument, KeyPage, Links, ReleasedKey, WiderScope};
use http::{HeaderMap, Method, StatusCode};

use super::super::App;
use super::super::caller::Authenticated;
use super::super::error::ApiError;
use super::{answer, document, listing, no_store, released};

/// Gets the newest active key of a user, project or domain, with its key string: the identity service its own, another
/// service by a trust. That service sends a token that was made under the trust in `X-Auth-Token`, and its own in
/// `X-Service-Token`.
#[utoipa::path(get, path = "/v1/scope-keys/{scope}/{scope_id}", tag = "scope-keys", operation_id = "get_scope_key",
    params(("scope" = WiderScope, Path, description = "Whose key"),
        ("scope_id" = String, Path, pattern = "^[A-Za-z0-9_-]+$", max_length = 64, description = "Keystone's id of the user, project or domain"),
        ("X-Service-Token" = Option<String>, Header, description = "The token of the service that the trust was given to")),
    responses((status = 200, body = ReleasedKey, headers(("ETag" = String))),
        (status = 404, body = ErrorDocument, description = "There is none, or this caller may not see it")))]
pub(crate) async fn get_newest(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    method: Method,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let (scope, scope_id) = customer(path)?;
    if let Some((name, _)) = listing::pairs(query.as_deref())?.first() {
        return Err(listing::unknown(name, "none"));
    }
    let (caller, scope) = (&authenticated.caller, document::wider(scope));
    if method == Method::HEAD {
        // There is nothing to be released in an answer without a body.
        let description = app.manager.scope_key_metadata(caller, scope, &scope_id).await?;
        return Ok(answer(StatusCode::OK, description));
    }
    let (description, secret) = app.manager.scope_key(caller, scope, &scope_id).await?;
    released(description, &secret)
}

fn customer(path: Result<Path<(String, String)>, PathRejection>) -> Result<(WiderScope, String), ApiError> {
    let Path((scope, id)) =
        path.map_err(|_| ApiError::field("scope_id", "it is not text in UTF-8, percent-encoded"))?;
    Ok((listing::wider_scope("scope", &scope)?, listing::keystone_id("scope_id", id)?))
}

/// Lists the own keys of users, projects and domains in the order in which they were put, without their key strings. A page
/// may be short, or empty, although `links.next` says that more follow.
#[utoipa::path(get, path = "/v1/scope-keys", tag = "scope-keys", operation_id = "list_scope_keys",
    params(("scope" = Option<WiderScope>, Query),
        ("scope_id" = Option<String>, Query, description = "Those of this user, project or domain"),
        ("state" = Option<chatelaine_api::State>, Query),
        ("deleted" = Option<bool>, Query, description = "Deleted keys, which can be undeleted, instead of live ones"),
        ("limit" = Option<u32>, Query), ("marker" = Option<String>, Query, description = "List what comes after this key-id")),
    responses((status = 200, body = KeyPage), (status = 400, body = ErrorDocument)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let filter = listing::scope_key_filter(query.as_deref(), app.options.max_page)?;
    let list = app.manager.list_scope_keys(&authenticated.caller, &filter).await?;
    let next = list.next.map(|marker| {
        format!("{}/v1/scope-keys?{}", app.base_of(&headers), listing::next_query(query.as_deref(), marker))
    });
    let keys = list.keys.into_iter().map(document::key).collect();
    let mut response = Json(KeyPage { keys, links: Links { next } }).into_response();
    no_store(&mut response);
    Ok(response)
}
