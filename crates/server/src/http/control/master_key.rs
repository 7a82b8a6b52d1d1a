//! The master keys at the control socket.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use chatelaine_api::{
    DestroyMasterKeyRequest, MasterKeysDocument, RecoveryDocument, RecoveryRequest, RotateRequest,
    RotatedProjectKey, SealChangeRequest, UnsealRequest,
};
use chatelaine_core::id::RequestId;
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::recovery::RecoveryRecipient;
use chatelaine_seal::{KeyId, SealError};
use clap::ValueEnum as _;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::super::change::carry_out;
use super::super::error::ApiError;
use super::super::{App, body};
use super::Home;
use crate::config::{Config, SealKind};
use crate::master_key::changes::ChangeError;
use crate::master_key::{Keeper, rotation};
use crate::startup;

/// Largest body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long a body may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// For servers and agents.
pub(super) fn shared<H: Home>() -> Router<Arc<H>> {
    Router::new()
        .route("/master-key/seal/add", post(add_seal::<H>))
        .route("/master-key/seal/remove", post(remove_seal::<H>))
        .route("/master-key/recovery", post(set_recovery::<H>))
}

/// For an unsealed server.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/master-key/status", post(status))
        .route("/master-key/unseal", post(unseal))
        .route("/master-key/diary", post(hand_over))
        .route("/master-key/rotate", post(rotate))
        .route("/master-key/destroy", post(destroy))
        .route("/project-key/rotate/{project}", post(rotate_project))
}

/// For a sealed one.
pub(super) fn sealed_routes(keeper: Arc<Keeper>, config: &Config) -> Router {
    let waiting = Arc::new(Waiting { keeper, config: config.clone() });
    Router::new()
        .route("/master-key/status", post(status_sealed))
        .route("/master-key/unseal", post(unseal_sealed))
        .fallback(sealed)
        .with_state(waiting)
}

struct Waiting {
    keeper: Arc<Keeper>,
    config: Config,
}

impl From<SealError> for ApiError {
    /// The client is the operator: it is told everything.
    fn from(error: SealError) -> Self {
        let status = match &error {
            SealError::Invalid { .. } | SealError::InvalidId => StatusCode::BAD_REQUEST,
            SealError::Sealed { .. } | SealError::Unavailable { .. } | SealError::NotApproved { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Seal(error) => error.into(),
            ChangeError::Audit(error) => error.into(),
        }
    }
}

pub(in crate::http) async fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    body::json(headers, body, MAX_BODY, PATIENCE).await
}

async fn answer(keeper: &Keeper) -> Result<Json<MasterKeysDocument>, ApiError> {
    Ok(Json(keeper.status(true).await?))
}

async fn status(State(app): State<Arc<App>>) -> Result<Json<MasterKeysDocument>, ApiError> {
    let Json(mut status) = answer(&app.keeper).await?;
    status.missing = app.manager().missing_master_keys();
    Ok(Json(status))
}

/// There is nothing to do.
async fn unseal(State(app): State<Arc<App>>) -> Result<Json<MasterKeysDocument>, ApiError> {
    answer(&app.keeper).await
}

/// Takes into the trail what a command has written down meanwhile.
async fn hand_over(State(app): State<Arc<App>>) -> Result<Json<MasterKeysDocument>, ApiError> {
    let taken = app.keeper.diary().hand_over(app.manager()).await;
    taken.map_err(|error| ApiError::failed(format!("{error:#}")))?;
    answer(&app.keeper).await
}

async fn rotate(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let request: RotateRequest = read(&headers, body).await?;
    carry_out(async move {
        rotation::begin(&app, request).await?;
        answer(&app.keeper).await
    })
    .await
}

async fn rotate_project(
    State(app): State<Arc<App>>,
    project: Result<Path<String>, PathRejection>,
) -> Result<Json<RotatedProjectKey>, ApiError> {
    let Path(project) = project.map_err(|error| ApiError::field("project", error.body_text()))?;
    let version = rotation::rotate_project(&app, &project).await?;
    Ok(Json(RotatedProjectKey { project, version }))
}

async fn destroy(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let DestroyMasterKeyRequest { id, without } = read(&headers, body).await?;
    let id = KeyId::parse(&id)?;
    carry_out(async move {
        rotation::destroy(&app, id, &without).await?;
        answer(&app.keeper).await
    })
    .await
}

/// A seal that is to be added, and its passphrase where it has one.
#[expect(clippy::needless_pass_by_value, reason = "the passphrase is wiped here")]
fn seal_to_add(request: SealChangeRequest) -> Result<(SealKind, Option<KeyMaterial>), ApiError> {
    let kind =
        SealKind::from_str(&request.kind, false).map_err(|problem| ApiError::field("kind", problem))?;
    Ok((kind, request.passphrase.as_ref().map(|text| KeyMaterial::copy_from(text.expose()))))
}

async fn add_seal<H: Home>(
    State(home): State<Arc<H>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let (kind, passphrase) = seal_to_add(read(&headers, body).await?)?;
    carry_out(async move {
        home.keeper().add_seal(home.book(), kind, passphrase).await?;
        answer(home.keeper()).await
    })
    .await
}

async fn remove_seal<H: Home>(
    State(home): State<Arc<H>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let SealChangeRequest { kind, name, .. } = read(&headers, body).await?;
    let name = name.unwrap_or_else(|| kind.clone());
    carry_out(async move {
        home.keeper().remove_seal(home.book(), kind, name).await?;
        answer(home.keeper()).await
    })
    .await
}

async fn set_recovery<H: Home>(
    State(home): State<Arc<H>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let RecoveryRequest { recovery } = read(&headers, body).await?;
    let recipient = recovery.map(recipient).transpose()?;
    carry_out(async move {
        home.keeper().set_recovery(home.book(), recipient).await?;
        answer(home.keeper()).await
    })
    .await
}

fn recipient(document: RecoveryDocument) -> Result<RecoveryRecipient, ApiError> {
    let RecoveryDocument { public_key, created, threshold, shares, .. } = document;
    let public_key = chatelaine_api::KeyString::from_base64(&public_key)
        .map_err(|problem| ApiError::field("public_key", problem))?;
    let public_key = public_key.expose().to_vec();
    Ok(RecoveryRecipient { public_key, created, threshold, shares })
}

async fn status_sealed(State(waiting): State<Arc<Waiting>>) -> Response {
    rendered(answer(&waiting.keeper).await)
}

async fn unseal_sealed(State(waiting): State<Arc<Waiting>>, headers: HeaderMap, body: Body) -> Response {
    rendered(unseal_waiting(&waiting, &headers, body).await)
}

async fn unseal_waiting(
    waiting: &Waiting,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<MasterKeysDocument>, ApiError> {
    let UnsealRequest { passphrase } = read(headers, body).await?;
    let passphrase = passphrase.map(|text| KeyMaterial::copy_from(text.expose()));
    waiting.keeper.unseal_now(startup::is_new(&waiting.config).await, passphrase).await?;
    answer(&waiting.keeper).await
}

/// Nothing surrounds a sealed server's routes.
fn rendered(outcome: Result<Json<MasterKeysDocument>, ApiError>) -> Response {
    match outcome {
        Ok(document) => document.into_response(),
        Err(error) => error.render(RequestId::random().as_str()),
    }
}

async fn sealed() -> Response {
    let text = "the server is sealed; `chatelaine master-key status` says why";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).render(RequestId::random().as_str())
}
