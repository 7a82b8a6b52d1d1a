//! Barbican's routes: each handler reads the request, calls operations of the manager and writes the answer.
//!
//! Owns the order in which a request is looked at: token, project, microversion, rule, body. Every answer to an
//! authenticated request says which microversion it has. Changes run to their end in a task of their own, so that a
//! client that goes away leaves no change half logged.

mod acls;
mod consumers;
mod containers;
mod metadata;
mod orders;
mod payloads;
mod quotas;
mod secrets;
mod stores;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawQuery, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Extension, Json, Router};
use chatelaine_core::manager::Access;
use chatelaine_core::policy::Caller;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use super::body::{self, Object};
use super::error::BarbicanError;
use super::paging::{Links, Page};
use super::query::Query;
use super::version::{self, Microversion};
use super::wire::Listing;
use super::{accept, path};
use crate::http::App;
use crate::http::caller::Authenticated;
use crate::http::change::carry_out;
use crate::http::error::ApiError;
use crate::http::limits::Slot;
use crate::http::native::no_store;

/// An authenticated caller with a project, and what every handler needs to know of the request.
pub(crate) struct Asker {
    caller: Caller,
    version: Microversion,
    /// This server's address as the client knows it.
    base: String,
    query: Query,
    /// The caller's place among the running requests.
    _slot: Slot,
}

/// What no other route below `/v1` takes.
pub(crate) const NOWHERE: &str = "/v1/{*rest}";

type Asking = Extension<Arc<Asker>>;
type Answer = Result<Response, BarbicanError>;

/// All routes under `/v1`, and the root.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let secret_parts = Router::new()
        .route("/v1/secrets/{id}/payload", node(get(payloads::read), "GET"))
        .route(
            "/v1/secrets/{id}/metadata",
            node(get(metadata::all).put(metadata::replace).post(metadata::add), "GET, POST, PUT"),
        )
        .route(
            "/v1/secrets/{id}/metadata/{key}",
            node(
                get(metadata::one)
                    .put(metadata::change)
                    .post(metadata::put_or_change)
                    .delete(metadata::remove),
                "DELETE, GET, POST, PUT",
            ),
        )
        .route("/v1/secrets/{id}/acl", acl::<acls::OfSecret>())
        .route(
            "/v1/secrets/{id}/consumers",
            node(get(consumers::list).post(consumers::add).delete(consumers::remove), "DELETE, GET, POST"),
        )
        .route("/v1/secrets/{id}/consumers/{consumer}", node(get(consumers::show), "GET"));
    let containers = Router::new()
        .route("/v1/containers", node(get(containers::list).post(containers::create), "GET, POST"))
        .route("/v1/containers/{id}", node(get(containers::show).delete(containers::remove), "DELETE, GET"))
        .route(
            "/v1/containers/{id}/secrets",
            node(post(containers::add_secret).delete(containers::remove_secret), "DELETE, POST"),
        )
        .route(
            "/v1/containers/{id}/consumers",
            node(
                get(containers::consumers::list)
                    .post(containers::consumers::add)
                    .delete(containers::consumers::remove),
                "DELETE, GET, POST",
            ),
        )
        .route("/v1/containers/{id}/consumers/{consumer}", node(get(containers::consumers::show), "GET"))
        .route("/v1/containers/{id}/acl", acl::<acls::OfContainer>());
    let others = Router::new()
        .route(
            "/v1/orders",
            node(get(orders::list).post(orders::create).put(orders::refuse_put), "GET, POST"),
        )
        .route("/v1/orders/{id}", node(get(orders::show).delete(orders::remove), "DELETE, GET"))
        .route("/v1/quotas", node(get(quotas::effective), "GET"))
        .route("/v1/project-quotas", node(get(quotas::list), "GET"))
        .route(
            "/v1/project-quotas/{project}",
            node(get(quotas::show).put(quotas::set).delete(quotas::remove), "DELETE, GET, PUT"),
        )
        .route(
            "/v1/transport_keys",
            node(get(stores::transport_keys).post(stores::no_transport_key), "GET, POST"),
        )
        .route(
            "/v1/transport_keys/{id}",
            node(get(stores::transport_key).delete(stores::delete_transport_key), "DELETE, GET"),
        )
        .route("/v1/secret-stores", node(get(stores::list), "GET"))
        .route("/v1/secret-stores/global-default", node(get(stores::global_default), "GET"))
        .route("/v1/secret-stores/preferred", node(get(stores::preferred), "GET"))
        .route("/v1/secret-stores/{*rest}", any(stores::none));
    Router::new()
        .route("/v1", node(get(describe), "GET"))
        .route("/v1/secrets", node(get(secrets::list).post(secrets::create), "GET, POST"))
        .route(
            "/v1/secrets/{id}",
            node(get(secrets::show).put(payloads::fill).delete(secrets::remove), "DELETE, GET, PUT"),
        )
        .merge(secret_parts)
        .merge(containers)
        .merge(others)
        .route(NOWHERE, any(nothing_here))
        .layer(middleware::from_fn_with_state(Arc::clone(app), enter))
        .route("/", node(get(root), "GET").layer(middleware::from_fn(stamp)))
}

/// The route of an access list.
fn acl<L: acls::Listed>() -> MethodRouter<Arc<App>> {
    node(
        get(acls::show::<L>).put(acls::put::<L>).patch(acls::patch::<L>).delete(acls::remove::<L>),
        "DELETE, GET, PATCH, PUT",
    )
}

/// A route with its methods; HEAD is none of them, as on Barbican.
fn node(methods: MethodRouter<Arc<App>>, allow: &'static str) -> MethodRouter<Arc<App>> {
    let refuse = move || async move { wrong_method(allow) };
    methods.head(refuse).options(|| async { StatusCode::OK }).fallback(refuse)
}

fn wrong_method(allow: &'static str) -> Response {
    let mut response = BarbicanError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("This method is not allowed here; allowed: {allow}"),
    )
    .into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

async fn nothing_here() -> BarbicanError {
    BarbicanError::not_found("Not Found. There is nothing of this name here.")
}

/// The layer around all that needs a token.
async fn enter(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    let (mut parts, body) = request.into_parts();
    let Authenticated { caller, slot } = match Authenticated::from_request_parts(&mut parts, &app).await {
        Ok(authenticated) => authenticated,
        Err(error) => return error.into_response(),
    };
    if caller.identity().project_id.is_none() {
        return ApiError {
            challenge: Some(app.identities.challenge()),
            ..ApiError::new(
                StatusCode::UNAUTHORIZED,
                "The request you have made requires authentication: send a token that is scoped to a project.",
            )
        }
        .into_response();
    }
    let version = match Microversion::read(&parts.headers) {
        Ok(version) => version,
        Err(refusal) => return refusal.into_response(),
    };
    let asker = Asker {
        caller,
        version,
        base: app.base_of(&parts.headers),
        query: Query::read(parts.uri.query()),
        _slot: slot,
    };
    parts.extensions.insert(Arc::new(asker));
    // Handlers take parts of the path as text.
    let mut response = if percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8().is_ok() {
        next.run(Request::from_parts(parts, body)).await
    } else {
        nothing_here().await.into_response()
    };
    version.stamp(response.headers_mut());
    response
}

/// The layer around the root, which needs no token: every answer says which microversion it has.
async fn stamp(mut request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    let version = match Microversion::read(request.headers()) {
        Ok(version) => version,
        Err(refusal) => return refusal.into_response(),
    };
    request.extensions_mut().insert(version);
    let mut response = next.run(request).await;
    version.stamp(response.headers_mut());
    response
}

async fn root(
    State(app): State<Arc<App>>,
    Extension(version): Extension<Microversion>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    version::root(version, &headers, query.as_deref(), &app.base_of(&headers))
}

async fn describe(Extension(asker): Asking, headers: HeaderMap) -> Answer {
    accept::json(&headers)?;
    Ok(Json(asker.version.document(&asker.base)).into_response())
}

impl Asker {
    fn href(&self, collection: &str, id: &impl std::fmt::Display) -> String {
        format!("{}/v1/{collection}/{id}", self.base)
    }

    fn project(&self) -> &str {
        self.caller.identity().project_id.as_deref().unwrap_or_default()
    }

    fn page(&self, app: &App) -> Page {
        Page::read(&self.query, app.options.barbican.default_limit, app.options.barbican.max_limit)
    }

    /// A page as it is answered; `keep` has the links carry the whole query.
    fn listing<T: Serialize>(
        &self,
        (name, path): (&'static str, &str),
        page: Page,
        keep: bool,
        (entries, total): (Vec<T>, u64),
    ) -> Response {
        let collection = format!("{}/v1/{path}", self.base);
        let links: Links = page.links(&collection, keep.then_some(&self.query), total, entries.len());
        private(Json(Listing { name, entries, total, links }))
    }
}

impl Page {
    fn skip(self) -> usize {
        usize::try_from(self.offset).unwrap_or(usize::MAX)
    }
}

/// An answer that no proxy may keep.
fn private(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    no_store(&mut response);
    response
}

/// 201 or 202 with the address of what was made.
fn made(status: StatusCode, shown: impl Serialize, href: &str) -> Response {
    let mut response = private((status, Json(shown)));
    if let Ok(location) = HeaderValue::try_from(href) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The JSON object in a request's body.
async fn object(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    schema: &'static str,
) -> Result<Object, BarbicanError> {
    let limit = body::limit(app.options.barbican.max_payload_bytes);
    body::object(headers, body, limit, app.options.client_timeout, schema).await
}

/// Whether a caller may create or list at all, asked before its body is read.
async fn allow(app: &App, asker: &Asker, access: Access) -> Result<(), BarbicanError> {
    Ok(app.manager.allow(&asker.caller, access).await?)
}
