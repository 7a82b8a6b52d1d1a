//! Siblings of an agent, at its control socket: who may get the service's master keys by their TPM, and the exchange, whose
//! messages somebody carries. An agent has no address on the network for them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use chatelaine_api::{
    AnswerRequest, BundleDocument, ChallengeDocument, ConfirmRequest, ConfirmedDocument, EnrolRequest,
    HelloRequest, HostsDocument, WithdrawRequest,
};
use chatelaine_seal::attest::holder::CARRIED;
use chatelaine_seal::hosts::EnrolledHost;
use http::HeaderMap;

use super::super::attestation::{self, Scribe};
use super::super::control::master_key::read;
use super::super::error::ApiError;
use crate::agent::Host;
use crate::master_key::changes::Book;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/attest/hosts", post(hosts))
        .route("/attest/enrol", post(enrol))
        .route("/attest/withdraw", post(withdraw))
        .route("/attest/challenge", post(challenge))
        .route("/attest/release", post(release))
        .route("/attest/confirm", post(confirm))
}

async fn hosts(State(host): State<Arc<Host>>) -> Result<Json<HostsDocument>, ApiError> {
    Ok(Json(host.keeper.hosts().await?))
}

async fn enrol(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostsDocument>, ApiError> {
    let EnrolRequest { name, endorsement_name, certificate, keys } = read(&headers, body).await?;
    let enrolled =
        EnrolledHost { name, endorsement_name, certificate, keys, enrolled: String::new(), has: None };
    host.keeper.enrol(Book::Diary, enrolled).await?;
    hosts(State(host)).await
}

async fn withdraw(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostsDocument>, ApiError> {
    let WithdrawRequest { name } = read(&headers, body).await?;
    host.keeper.withdraw(Book::Diary, name).await?;
    hosts(State(host)).await
}

async fn challenge(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChallengeDocument>, ApiError> {
    let request: HelloRequest = read(&headers, body).await?;
    Ok(Json(attestation::challenge(&host.keeper, Scribe::Diary, request, CARRIED).await?))
}

async fn release(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BundleDocument>, ApiError> {
    let request: AnswerRequest = read(&headers, body).await?;
    Ok(Json(attestation::release(&host.keeper, Scribe::Diary, request).await?))
}

async fn confirm(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ConfirmedDocument>, ApiError> {
    let request: ConfirmRequest = read(&headers, body).await?;
    Ok(Json(attestation::kept(&host.keeper, Scribe::Diary, request).await?))
}
