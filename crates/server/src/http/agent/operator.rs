//! What the agent's operators do over its control socket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use chatelaine_api::{
    AgentKeyDocument, AgentRotationDocument, AgentScopeKeyRequest, AgentStatusDocument, MasterKeysDocument,
    UnsealRequest,
};
use chatelaine_crypto::KeyMaterial;
use http::{HeaderMap, StatusCode};

use super::super::change::carry_out;
use super::super::control::master_key::read;
use super::super::error::ApiError;
use crate::agent::Host;
use crate::agent::rotation::{self, RotateError};

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/master-key/status", post(master_keys))
        .route("/master-key/unseal", post(unseal))
        // What commands have written down stays in the diary: an agent has no trail to hand it over to.
        .route("/master-key/diary", post(master_keys))
        .route("/master-key/rotate", post(rotate_elsewhere))
        .route("/agent/status", post(status))
        .route("/agent/rotate", post(rotate))
        .route("/agent/scope-keys", post(create_scope_key))
}

async fn master_keys(State(host): State<Arc<Host>>) -> Result<Json<MasterKeysDocument>, ApiError> {
    Ok(Json(host.keeper.status(true).await?))
}

async fn unseal(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let request: UnsealRequest = read(&headers, body).await?;
    let passphrase = request.passphrase.map(|text| KeyMaterial::copy_from(text.expose()));
    host.keeper.unseal_now(false, passphrase).await?;
    master_keys(State(host)).await
}

async fn status(State(host): State<Arc<Host>>) -> Json<AgentStatusDocument> {
    let ids = host.agent.keyring().own_ids();
    let sealed = ids.is_none();
    let (active, retired) = ids.map_or((None, Vec::new()), |(active, retired)| (Some(active), retired));
    Json(AgentStatusDocument {
        sealed,
        problem: host.keeper.problem(),
        active_master_key: active,
        retired_master_keys: retired,
        other_keyrings: host.agent.keyring().other_ids(),
        endpoint: host.agent.remote().endpoint().to_owned(),
        cached_keys: host.agent.counts().entries,
        rotation: host.agent.rotation(),
    })
}

async fn rotate(State(host): State<Arc<Host>>) -> Result<Json<AgentRotationDocument>, ApiError> {
    let shown = Arc::clone(&host);
    carry_out(async move { rotation::begin(&host).await.map_err(ApiError::from) }).await?;
    Ok(Json(shown.agent.rotation().unwrap_or_default()))
}

impl From<RotateError> for ApiError {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Seal(error) => error.into(),
            RotateError::Agent(error) => error.into(),
        }
    }
}

async fn rotate_elsewhere() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "an agent runs here: `chatelaine agent rotate` replaces its master key",
    )
}

async fn create_scope_key(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<AgentKeyDocument>), ApiError> {
    let request: AgentScopeKeyRequest = read(&headers, body).await?;
    let agent = Arc::clone(&host.agent);
    let made =
        carry_out(async move { agent.create_scope_key(request).await.map_err(ApiError::from) }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
