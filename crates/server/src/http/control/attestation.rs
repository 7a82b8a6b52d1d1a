//! Hosts that join, at the control socket: who they are, and the exchange for those that have no way to the network.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use chatelaine_api::{
    AnswerRequest, BundleDocument, ChallengeDocument, EnrolRequest, HelloRequest, HostsDocument,
    WithdrawRequest,
};
use chatelaine_seal::attest::holder::CARRIED;
use chatelaine_seal::hosts::EnrolledHost;
use http::HeaderMap;

use super::super::App;
use super::super::attestation;
use super::super::error::ApiError;
use super::master_key::read;
use crate::master_key::changes::Book;

/// For an unsealed server.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/attest/hosts", post(hosts))
        .route("/attest/enrol", post(enrol))
        .route("/attest/withdraw", post(withdraw))
        .route("/attest/challenge", post(challenge))
        .route("/attest/release", post(release))
}

async fn hosts(State(app): State<Arc<App>>) -> Result<Json<HostsDocument>, ApiError> {
    Ok(Json(app.keeper.hosts().await?))
}

async fn enrol(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostsDocument>, ApiError> {
    let EnrolRequest { name, endorsement_name, certificate, keys } = read(&headers, body).await?;
    let host = EnrolledHost { name, endorsement_name, certificate, keys, enrolled: String::new() };
    app.keeper.enrol(Book::Trail(app.manager()), host).await?;
    hosts(State(app)).await
}

async fn withdraw(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostsDocument>, ApiError> {
    let WithdrawRequest { name } = read(&headers, body).await?;
    app.keeper.withdraw(Book::Trail(app.manager()), name).await?;
    hosts(State(app)).await
}

async fn challenge(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChallengeDocument>, ApiError> {
    let request: HelloRequest = read(&headers, body).await?;
    Ok(Json(attestation::challenge(&app, None, request, CARRIED).await?))
}

async fn release(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BundleDocument>, ApiError> {
    let request: AnswerRequest = read(&headers, body).await?;
    Ok(Json(attestation::release(&app, None, request).await?))
}
