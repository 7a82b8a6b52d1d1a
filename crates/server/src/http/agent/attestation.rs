//! Siblings of an agent, at its control socket, as far as it differs from a server: nothing waits for them. An agent has no
//! address on the network, so the messages of the exchange are carried.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use chatelaine_api::{ConfirmRequest, ConfirmedDocument, HostsDocument, WithdrawRequest};
use http::HeaderMap;

use super::super::attestation::{self, Scribe};
use super::super::control::master_key::read;
use super::super::error::ApiError;
use crate::agent::Host;
use crate::master_key::changes::Book;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/attest/withdraw", post(withdraw)).route("/attest/confirm", post(confirm))
}

async fn withdraw(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostsDocument>, ApiError> {
    let WithdrawRequest { name } = read(&headers, body).await?;
    host.keeper.withdraw(Book::Diary, name).await?;
    Ok(Json(host.keeper.hosts().await?))
}

async fn confirm(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ConfirmedDocument>, ApiError> {
    let request: ConfirmRequest = read(&headers, body).await?;
    Ok(Json(attestation::kept(&host.keeper, Scribe::Diary, request).await?))
}
