//! What Barbican has for several backends and for keys of their transport: here there is one store, and TLS.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use chatelaine_core::audit::Action;
use chatelaine_core::manager::Access;
use http::HeaderMap;

use super::super::error::shortened;
use super::{Answer, Asker, Asking, BarbicanError, accept, allow};
use crate::http::App;

/// As Barbican with one backend: whoever may ask learns that there is nothing.
async fn nothing(app: &App, asker: &Asker, rule: &'static str) -> Answer {
    allow(app, asker, Access { rule, action: Action::List }).await?;
    Err(none().await)
}

pub(super) async fn list(State(app): State<Arc<App>>, Extension(asker): Asking) -> Answer {
    nothing(&app, &asker, "secretstores:get").await
}

pub(super) async fn global_default(State(app): State<Arc<App>>, Extension(asker): Asking) -> Answer {
    nothing(&app, &asker, "secretstores:get_global_default").await
}

pub(super) async fn preferred(State(app): State<Arc<App>>, Extension(asker): Asking) -> Answer {
    nothing(&app, &asker, "secretstores:get_preferred").await
}

/// For every method of what lies below.
pub(super) async fn none() -> BarbicanError {
    BarbicanError::not_found("Not Found. This server has one secret store; there is nothing to choose.")
}

pub(super) async fn transport_keys(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    allow(&app, &asker, Access { rule: "transport_keys:get", action: Action::List }).await?;
    let page = asker.page(&app);
    Ok(asker.listing::<String>(("transport_keys", "transport_keys"), page, false, (Vec::new(), 0)))
}

pub(super) async fn no_transport_key(State(app): State<Arc<App>>, Extension(asker): Asking) -> Answer {
    allow(&app, &asker, Access { rule: "transport_keys:post", action: Action::Create }).await?;
    Err(no_transport_keys())
}

pub(super) async fn transport_key(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    allow(&app, &asker, Access { rule: "transport_key:get", action: Action::GetMetadata }).await?;
    Err(BarbicanError::not_found(format!("Not Found. There is no transport key '{}'.", shortened(&id))))
}

pub(super) async fn delete_transport_key(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    allow(&app, &asker, Access { rule: "transport_key:delete", action: Action::Delete }).await?;
    Err(BarbicanError::not_found(format!("Not Found. There is no transport key '{}'.", shortened(&id))))
}

/// 400 for a request that needs a transport key.
pub(super) fn no_transport_keys() -> BarbicanError {
    BarbicanError::bad_request(
        "This server has no transport keys: payloads are protected by TLS on their way.",
    )
}

/// 400 for a request that names one.
pub(super) fn unknown_transport_key(id: &str) -> BarbicanError {
    BarbicanError::parameter("transport_key_id", format!("there is no transport key '{}'", shortened(id)))
}
