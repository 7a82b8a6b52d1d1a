//! The operator's routes: secrets of all projects, whichever interface made them, without their payloads.
//!
//! Owns their wire rules ([`request`], [`document`]), which are those of the native API, and nothing of what is allowed:
//! the rules `operator:*` decide. Refuses parameters it does not know. Nothing here releases key material.

mod document;
mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use chatelaine_api::{ErrorDocument, Links, SecretDocument, SecretPage};
use chatelaine_core::secret::SecretView;
use http::{HeaderMap, StatusCode};

use super::App;
use super::caller::Authenticated;
use super::change::{raced, to_the_end};
use super::error::ApiError;
use super::native::{listing, no_store};

fn answer(app: &App, view: &SecretView) -> Response {
    uncached(Json(document::secret(view, app.manager.now())))
}

fn uncached(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    no_store(&mut response);
    response
}

/// Lists secrets of all projects in the order in which they were made.
#[utoipa::path(get, path = "/v1/operator/secrets", tag = "operator",
    params(("project" = Option<String>, Query, description = "Those of this project only"),
        ("deleted" = Option<bool>, Query, description = "Deleted secrets, which can be undeleted, instead of live ones"),
        ("limit" = Option<u32>, Query), ("marker" = Option<String>, Query, description = "List what comes after this id")),
    responses((status = 200, body = SecretPage), (status = 400, body = ErrorDocument), (status = 403, body = ErrorDocument)))]
pub(crate) async fn list_secrets(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let filter = request::filter(query.as_deref(), app.options.max_page)?;
    let (page, more) = app.manager.operator_list(&authenticated.caller, &filter).await?;
    let next = page.last().filter(|_| more).map(|last| {
        let query = listing::next_query(query.as_deref(), last.id);
        format!("{}/v1/operator/secrets?{query}", app.base_of(&headers))
    });
    let now = app.manager.now();
    let secrets = page.iter().map(|view| document::secret(view, now)).collect();
    Ok(uncached(Json(SecretPage { secrets, links: Links { next } })))
}

/// Shows what is known of a secret, deleted or not.
#[utoipa::path(get, path = "/v1/operator/secrets/{secret_id}", tag = "operator",
    params(("secret_id" = String, Path, description = "The secret's id")),
    responses((status = 200, body = SecretDocument), (status = 403, body = ErrorDocument), (status = 404, body = ErrorDocument)))]
pub(crate) async fn get_secret(
    State(app): State<Arc<App>>,
    Path(secret_id): Path<String>,
    RawQuery(query): RawQuery,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let id = request::secret_id(&secret_id)?;
    request::no_parameters(query.as_deref())?;
    let view = app.manager.operator_show(&authenticated.caller, id).await?;
    Ok(answer(&app, &view))
}

/// Takes a deletion back.
#[utoipa::path(post, path = "/v1/operator/secrets/{secret_id}/undelete", tag = "operator",
    params(("secret_id" = String, Path, description = "The secret's id")),
    responses((status = 200, body = SecretDocument), (status = 403, body = ErrorDocument), (status = 404, body = ErrorDocument),
        (status = 409, body = ErrorDocument, description = "It is not deleted")))]
pub(crate) async fn undelete_secret(
    State(app): State<Arc<App>>,
    Path(secret_id): Path<String>,
    RawQuery(query): RawQuery,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let id = request::secret_id(&secret_id)?;
    request::no_parameters(query.as_deref())?;
    let Authenticated { caller, slot } = authenticated;
    to_the_end(slot, async move {
        let undeleted = app.manager.operator_undelete(&caller, id).await;
        Ok(answer(&app, &*undeleted.map_err(|error| raced("secret", error))?))
    })
    .await
}

/// Destroys a deleted secret before its grace period is over; there is no way back.
#[utoipa::path(post, path = "/v1/operator/secrets/{secret_id}/purge", tag = "operator",
    params(("secret_id" = String, Path, description = "The secret's id")),
    responses((status = 204), (status = 403, body = ErrorDocument), (status = 404, body = ErrorDocument),
        (status = 409, body = ErrorDocument, description = "It is not deleted, or was deleted too short a time ago")))]
pub(crate) async fn purge_secret(
    State(app): State<Arc<App>>,
    Path(secret_id): Path<String>,
    RawQuery(query): RawQuery,
    authenticated: Authenticated,
) -> Result<Response, ApiError> {
    let id = request::secret_id(&secret_id)?;
    request::no_parameters(query.as_deref())?;
    let Authenticated { caller, slot } = authenticated;
    to_the_end(slot, async move {
        app.manager.operator_purge(&caller, id).await.map_err(|error| raced("secret", error))?;
        Ok(uncached(StatusCode::NO_CONTENT))
    })
    .await
}
