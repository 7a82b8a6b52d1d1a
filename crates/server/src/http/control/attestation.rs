//! Hosts that join, at the control socket: who they are, and the exchange for those that have no way to the network.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{
    AnswerRequest, BundleDocument, ChallengeDocument, ConfirmRequest, ConfirmedDocument, EnrolRequest,
    HelloRequest, HostsDocument, ReceiveRequest, ReceivedDocument, SiblingsDocument, WithdrawRequest,
};
use chatelaine_seal::attest::holder::CARRIED;
use chatelaine_seal::attest::{JoinError, Proven};
use chatelaine_seal::hosts::EnrolledHost;
use http::{HeaderMap, StatusCode};

use super::super::change::carry_out;
use super::super::error::ApiError;
use super::super::{App, attestation, body};
use super::Home;
use super::master_key::{PATIENCE, read};
use crate::master_key::changes::Book;
use crate::master_key::later::{self, LaterError};
use crate::master_key::{rotation, siblings};

/// Largest body with later master keys, in bytes: 64 of them in base64.
const MAX_RECEIVED: usize = 1024 * 1024;

/// For servers and agents.
pub(super) fn shared<H: Home>() -> Router<Arc<H>> {
    Router::new()
        .route("/attest/hosts", post(hosts::<H>))
        .route("/attest/enrol", post(enrol::<H>))
        .route("/attest/challenge", post(challenge::<H>))
        .route("/attest/release", post(release::<H>))
}

/// For an unsealed server.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/attest/withdraw", post(withdraw))
        .route("/attest/confirm", post(confirm))
        .route("/attest/receive", post(receive))
        .route("/attest/update", post(update))
}

async fn hosts<H: Home>(State(home): State<Arc<H>>) -> Result<Json<HostsDocument>, ApiError> {
    Ok(Json(home.keeper().hosts().await?))
}

async fn enrol<H: Home>(
    State(home): State<Arc<H>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostsDocument>, ApiError> {
    let EnrolRequest { name, endorsement_name, certificate, keys } = read(&headers, body).await?;
    let host = EnrolledHost { name, endorsement_name, certificate, keys, enrolled: String::new(), has: None };
    home.keeper().enrol(home.book(), host).await?;
    hosts(State(home)).await
}

async fn withdraw(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostsDocument>, ApiError> {
    let WithdrawRequest { name } = read(&headers, body).await?;
    app.keeper.withdraw(Book::Trail(app.manager()), name).await?;
    // A new master key may have waited for it.
    rotation::go_on(&app).await?;
    hosts(State(app)).await
}

async fn challenge<H: Home>(
    State(home): State<Arc<H>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChallengeDocument>, ApiError> {
    let request: HelloRequest = read(&headers, body).await?;
    Ok(Json(attestation::challenge(home.keeper(), home.scribe(), request, CARRIED).await?))
}

async fn release<H: Home>(
    State(home): State<Arc<H>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BundleDocument>, ApiError> {
    let request: AnswerRequest = read(&headers, body).await?;
    Ok(Json(attestation::release(home.keeper(), home.scribe(), request).await?))
}

async fn confirm(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ConfirmedDocument>, ApiError> {
    let request: ConfirmRequest = read(&headers, body).await?;
    Ok(Json(attestation::confirm(&app, None, request).await?))
}

/// Later master keys that somebody carried here.
async fn receive(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ReceivedDocument>, ApiError> {
    let request: ReceiveRequest = body::json(&headers, body, MAX_RECEIVED, PATIENCE).await?;
    let proven = Proven::from_secret_bytes(request.state.expose())
        .map_err(|error| ApiError::field("state", error.to_string()))?;
    let bundle = STANDARD
        .decode(&request.bundle)
        .map_err(|_| ApiError::field("bundle", "it must be base64 with padding"))?;
    carry_out(async move {
        let taken = later::take(&app.keeper, Some(&app), (proven, bundle), request.expect, "files").await;
        let updated = taken.map_err(refused)?;
        let confirmation = STANDARD.encode(&updated.confirmation);
        Ok(Json(ReceivedDocument { text: later::text(&updated), confirmation }))
    })
    .await
}

fn refused(error: LaterError) -> ApiError {
    match error {
        LaterError::Join(JoinError::Seal(error)) => error.into(),
        LaterError::Kept(error) => error.into(),
        LaterError::Join(error) => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// Asks the siblings now.
async fn update(State(app): State<Arc<App>>) -> Result<Json<SiblingsDocument>, ApiError> {
    carry_out(async move {
        siblings::ask_all(&app.keeper, Some(&app)).await;
        Ok(Json(app.keeper.siblings.document()))
    })
    .await
}
