//! The HTTP side of the server: routes, the layers around them, and the state they share.
//!
//! Owns the only place where a request becomes a call of the manager. Invariants: every answer has a request id; every
//! wait has a limit; an error never says more than the caller may know ([`error`]).

pub(crate) mod agent;
mod attestation;
pub(crate) mod barbican;
pub(crate) mod body;
mod caller;
mod change;
mod context;
pub mod control;
pub(crate) mod error;
pub mod gate;
mod health;
mod limits;
pub mod listener;
pub(crate) mod native;
mod openapi;
mod operator;
pub mod sealed;
mod tls;
mod unread;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use chatelaine_api::AlgorithmsDocument;
use chatelaine_core::manager::Manager;
use chatelaine_core::turns::Turns;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ipnet::IpNet;
use tokio::sync::Semaphore;

use crate::audit::{FileTrail, LimitedTrail};
use crate::config::{BarbicanConfig, Config};
use crate::encryption_defaults::Choice;
use crate::identity::Identities;
use crate::master_key::Keeper;
use crate::telemetry::metrics::Metrics;
use error::ApiError;
use limits::Limits;

pub use openapi::document as openapi_document;
pub use tls::{TlsError, TlsSettings};

/// What the HTTP side needs of the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    host_href: String,
    tls: bool,
    trusted_proxies: Vec<IpNet>,
    metrics_networks: Vec<IpNet>,
    client_timeout: Duration,
    request_timeout: Duration,
    log_requests: bool,
    max_body: usize,
    max_page: NonZeroUsize,
    barbican: BarbicanConfig,
    /// What is in force for who has no encryption default.
    encryption_default: Choice,
}

impl Options {
    /// From the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            host_href: config.server.host_href.trim_end_matches('/').to_owned(),
            tls: config.has_tls(),
            trusted_proxies: config.server.trusted_proxies.clone(),
            metrics_networks: config.server.metrics_networks.clone(),
            client_timeout: Duration::from_secs(config.server.client_timeout_seconds),
            request_timeout: Duration::from_secs(config.server.request_timeout_seconds),
            log_requests: config.log.requests,
            // Base64 grows by a third; names and attributes fit in 64 KiB.
            max_body: config
                .limits
                .max_key_string_bytes
                .saturating_mul(4)
                .div_ceil(3)
                .saturating_add(64 * 1024),
            max_page: NonZeroUsize::new(config.limits.max_page).unwrap_or(NonZeroUsize::MIN),
            barbican: config.barbican.clone(),
            encryption_default: config.encryption_defaults.choice(),
        }
    }
}

/// What all requests share.
pub struct App {
    pub(crate) manager: Manager,
    pub(crate) identities: Identities,
    pub(crate) trail: Arc<FileTrail>,
    pub(crate) metrics: Metrics,
    pub(crate) options: Options,
    /// The master keys.
    pub(crate) keeper: Arc<Keeper>,
    /// Held by a run of the reaper.
    pub(crate) reaping: tokio::sync::Mutex<()>,
    limits: Limits,
    /// Held while a project's quota is counted and used.
    turns: Turns,
    /// Places for the making of key pairs, one for each processor.
    pairs: Semaphore,
    pub(crate) refusals: Arc<LimitedTrail>,
    algorithms: Arc<AlgorithmsDocument>,
    readiness: health::Readiness,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        manager: Manager,
        identities: Identities,
        trail: Arc<FileTrail>,
        refusals: Arc<LimitedTrail>,
        keeper: Arc<Keeper>,
        config: &Config,
    ) -> Self {
        Self {
            manager,
            identities,
            trail,
            metrics: Metrics::new(),
            options: Options::new(config),
            keeper,
            reaping: tokio::sync::Mutex::new(()),
            limits: Limits::new(&config.limits),
            turns: Turns::default(),
            pairs: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get)),
            refusals,
            algorithms: Arc::new(native::algorithms::document()),
            readiness: health::Readiness::default(),
        }
    }

    /// The manager, for work that no request asks for.
    pub const fn manager(&self) -> &Manager {
        &self.manager
    }

    /// The metrics.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Identities, to be reloaded.
    pub const fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The address of this server as the client knows it, for links.
    fn base_of(&self, headers: &HeaderMap) -> String {
        if !self.options.host_href.is_empty() {
            return self.options.host_href.clone();
        }
        let mut told = headers.get_all(context::FORWARDED_PROTO).iter();
        let scheme = match (told.next().map(HeaderValue::as_bytes), told.next()) {
            (Some(b"https"), None) => "https",
            (Some(b"http"), None) => "http",
            // Not told, or not in one word.
            _ if self.options.tls => "https",
            _ => "http",
        };
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A host that is no authority gives a link without one, which clients resolve against the request.
        match host.parse::<http::uri::Authority>() {
            Ok(authority) => format!("{scheme}://{authority}"),
            Err(_) => String::new(),
        }
    }
}

/// All routes with the layers around them, for paths that the gate has made clean.
pub fn surrounded(app: Arc<App>) -> Router {
    routes(&app)
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), context::surround))
        .with_state(app)
}

/// All routes, as [`openapi`] describes them.
fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/v1/keys", get(native::list_keys).post(native::create_key))
        .route(
            "/v1/keys/{key_id}",
            get(native::get_key).put(native::put_key).patch(native::update_key).delete(native::delete_key),
        )
        .route("/v1/keys/{key_id}/metadata", get(native::get_metadata))
        .route("/v1/keys/{key_id}/undelete", post(native::undelete_key))
        .route("/v1/keys/{key_id}/revoke", post(native::revoke_key))
        .route("/v1/scope-keys", get(native::scope_keys::list))
        .route("/v1/scope-keys/{scope}/{scope_id}", get(native::scope_keys::get_newest))
        .route("/v1/encryption-defaults/effective", get(native::encryption_defaults::effective))
        .route(
            "/v1/encryption-defaults/{level}/{id}",
            get(native::encryption_defaults::show)
                .put(native::encryption_defaults::set)
                .delete(native::encryption_defaults::unset),
        )
        .route("/v1/operator/secrets", get(operator::list_secrets))
        .route("/v1/operator/secrets/{secret_id}", get(operator::get_secret))
        .route("/v1/operator/secrets/{secret_id}/undelete", post(operator::undelete_secret))
        .route("/v1/operator/secrets/{secret_id}/purge", post(operator::purge_secret))
        .route("/v1/attestation/challenge", post(attestation::challenge_host))
        .route("/v1/attestation/release", post(attestation::release_keys))
        .route("/v1/attestation/confirm", post(attestation::confirm_keys))
        .route("/v1/attestation/keys", get(attestation::held_keys))
        .route("/v1/algorithms", get(native::algorithms::list))
        .route("/v1/openapi.json", get(openapi::serve))
        .route("/healthcheck", get(health::healthcheck))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .merge(barbican::routes::routes(app))
}

/// Neither this nor the next repeats what was sent: it could be a misplaced key.
async fn no_such_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is no such route; GET /v1/openapi.json lists them")
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method is not allowed here; the Allow header says which are",
    )
}

/// A panic is a defect: the request fails, the server goes on, the log has the place (by the panic hook).
fn panicked(_: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    ApiError::failed("a panic, reported above").into_response()
}

/// The type of a JSON answer that is written by hand.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests;
