//! What the agent's operators do over its control socket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use chatelaine_api::{
    AgentKeyDocument, AgentRotationDocument, AgentScopeKeyRequest, AgentStatusDocument, MasterKeysDocument,
    RecoveryRequest, SealChangeRequest, UnsealRequest,
};
use chatelaine_crypto::KeyMaterial;
use http::{HeaderMap, StatusCode};

use super::super::change::carry_out;
use super::super::control::master_key::{read, recipient, seal_to_add};
use super::super::error::ApiError;
use crate::agent::Host;
use crate::agent::rotation::{self, RotateError};
use crate::master_key::changes::Book;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/master-key/status", post(master_keys))
        .route("/master-key/unseal", post(unseal))
        // What commands have written down stays in the diary: an agent has no trail to hand it over to.
        .route("/master-key/diary", post(master_keys))
        .route("/master-key/rotate", post(rotate_elsewhere))
        .route("/master-key/seal/add", post(add_seal))
        .route("/master-key/seal/remove", post(remove_seal))
        .route("/master-key/recovery", post(set_recovery))
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

async fn add_seal(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let (kind, passphrase) = seal_to_add(read(&headers, body).await?)?;
    carry_out(async move {
        host.keeper.add_seal(Book::Diary, kind, passphrase).await?;
        master_keys(State(host)).await
    })
    .await
}

async fn remove_seal(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let SealChangeRequest { kind, name, .. } = read(&headers, body).await?;
    let name = name.unwrap_or_else(|| kind.clone());
    carry_out(async move {
        host.keeper.remove_seal(Book::Diary, kind, name).await?;
        master_keys(State(host)).await
    })
    .await
}

async fn set_recovery(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let RecoveryRequest { recovery } = read(&headers, body).await?;
    let recipient = recovery.map(recipient).transpose()?;
    carry_out(async move {
        host.keeper.set_recovery(Book::Diary, recipient).await?;
        master_keys(State(host)).await
    })
    .await
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
