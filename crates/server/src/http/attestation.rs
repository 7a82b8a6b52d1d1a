//! How a host that joins gets the master keys: two requests, whose messages prove its TPM and its boot.
//!
//! Owns the wire rules, and that nothing is handed out before it is written down. A token alone gives nothing here: the
//! host must be enrolled, and what it gets opens in its TPM only.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{
    AnswerRequest, BundleDocument, ChallengeDocument, ConfirmRequest, ConfirmedDocument, ErrorDocument,
    HeldKeysDocument, HelloRequest,
};
use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::policy::Caller;
use chatelaine_seal::attest::holder::ONLINE;
use chatelaine_seal::attest::{About, Reason, Refused};
use chatelaine_seal::{KeyId, SealError};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::App;
use super::body;
use super::caller::Authenticated;
use super::change::to_the_end;
use super::error::ApiError;
use super::native::no_store;
use crate::master_key::{Keeper, rotation};

/// Largest body, in bytes: a hello in base64, with room for spaces.
const MAX_BODY: usize = 64 * 1024;
/// Largest messages, in bytes, as their formats have it.
const MAX_HELLO: usize = 20_000;
const MAX_ANSWER: usize = 4096;
const MAX_CONFIRMATION: usize = 32;

fn decoded(field: &'static str, text: &str, limit: usize) -> Result<Vec<u8>, ApiError> {
    let bytes =
        STANDARD.decode(text).map_err(|_| ApiError::field(field, "it must be base64 with padding"))?;
    if bytes.is_empty() || bytes.len() > limit {
        return Err(ApiError::field(field, format!("it must have 1 to {limit} bytes")));
    }
    Ok(bytes)
}

fn answer(document: impl Serialize) -> Response {
    let mut response = Json(document).into_response();
    no_store(&mut response);
    response
}

/// What is wrong with this host is for its operator: on the network the log says it.
fn broken(caller: Option<&Caller>, error: SealError) -> ApiError {
    match error {
        error @ SealError::Sealed { .. } => ApiError::unavailable(
            "the key manager is sealed: its master key is not available",
            30,
            error.to_string(),
        ),
        error if caller.is_none() => error.into(),
        error => ApiError::failed(error.to_string()),
    }
}

/// Where it is written down who asked, and what came of it.
#[derive(Clone, Copy)]
pub(super) enum Scribe<'a> {
    /// The server's audit trail; without a caller for the operator at the control socket.
    Trail(&'a App, Option<&'a Caller>),
    /// The diary, where there is no trail: an agent's.
    Diary,
}

impl<'a> Scribe<'a> {
    const fn caller(self) -> Option<&'a Caller> {
        match self {
            Self::Trail(_, caller) => caller,
            Self::Diary => None,
        }
    }

    async fn refused(self, keeper: &Keeper, text: String) {
        match self {
            Self::Trail(app, caller) => app.manager.note_grant_refused(caller, text).await,
            Self::Diary => keeper.diary().note(Action::GrantMasterKey, Outcome::Failure, &text),
        }
    }

    async fn granted(self, keeper: &Keeper, text: String) -> Result<(), ApiError> {
        match self {
            Self::Trail(app, caller) => app.manager.note_grant(caller, text).await?,
            Self::Diary => keeper.diary().note(Action::GrantMasterKey, Outcome::Success, &text),
        }
        Ok(())
    }
}

async fn refused(keeper: &Keeper, scribe: Scribe<'_>, refused: Box<Refused>) -> ApiError {
    let Refused { about, reason } = *refused;
    scribe.refused(keeper, format!("{about}: {reason}")).await;
    tracing::info!(%about, %reason, "a host that wants to join was refused");
    let text = reason.to_string();
    match reason {
        Reason::Here(error) => broken(scribe.caller(), error),
        Reason::Busy => ApiError::unavailable(text, 60, ""),
        Reason::UnknownKey(_) => ApiError::field("key", "only `server` is handed out here"),
        Reason::Exchange(_) if about == About::default() => ApiError::new(StatusCode::BAD_REQUEST, text),
        _ => ApiError::new(StatusCode::FORBIDDEN, text),
    }
}

/// Challenges a host.
pub(super) async fn challenge(
    keeper: &Arc<Keeper>,
    scribe: Scribe<'_>,
    request: HelloRequest,
    patience: Duration,
) -> Result<ChallengeDocument, ApiError> {
    let hello = decoded("hello", &request.hello, MAX_HELLO)?;
    let made = keeper.challenge(request.key, hello, patience).await;
    match made.map_err(|error| broken(scribe.caller(), error))? {
        Ok(made) => {
            tracing::info!(about = %made.about, "a host that wants to join was challenged");
            Ok(ChallengeDocument { id: made.id, challenge: STANDARD.encode(made.challenge) })
        }
        Err(refusal) => Err(refused(keeper, scribe, refusal).await),
    }
}

/// Checks an answer and hands out the keys.
pub(super) async fn release(
    keeper: &Arc<Keeper>,
    scribe: Scribe<'_>,
    request: AnswerRequest,
) -> Result<BundleDocument, ApiError> {
    let message = decoded("answer", &request.answer, MAX_ANSWER)?;
    let id =
        KeyId::parse(&request.id).map_err(|_| ApiError::field("id", "it must be the id of a challenge"))?;
    let granted = keeper.grant(id.to_string(), message).await;
    match granted.map_err(|error| broken(scribe.caller(), error))? {
        Ok(granted) => {
            let epochs: Vec<_> = granted.epochs.iter().map(ToString::to_string).collect();
            let text = format!("{}, epochs {}", granted.about, epochs.join(", "));
            scribe.granted(keeper, text.clone()).await?;
            tracing::info!("the master keys were granted to {text}");
            Ok(BundleDocument { bundle: STANDARD.encode(granted.bundle) })
        }
        Err(refusal) => Err(refused(keeper, scribe, refusal).await),
    }
}

/// Takes a host's word that it has kept the keys.
pub(super) async fn kept(
    keeper: &Arc<Keeper>,
    scribe: Scribe<'_>,
    request: ConfirmRequest,
) -> Result<ConfirmedDocument, ApiError> {
    let said = decoded("confirmation", &request.confirmation, MAX_CONFIRMATION)?;
    let id =
        KeyId::parse(&request.id).map_err(|_| ApiError::field("id", "it must be the id of a challenge"))?;
    let kept = keeper.confirm(id.to_string(), said).await;
    match kept.map_err(|error| broken(scribe.caller(), error))? {
        Ok(kept) => {
            let text = format!("{}, kept up to epoch {}", kept.about, kept.epoch);
            scribe.granted(keeper, text.clone()).await?;
            tracing::info!("the master keys were kept by {text}");
            Ok(ConfirmedDocument { epoch: kept.epoch })
        }
        Err(refusal) => Err(refused(keeper, scribe, refusal).await),
    }
}

/// The same, and goes on with a rotation that waited for it.
pub(super) async fn confirm(
    app: &Arc<App>,
    caller: Option<&Caller>,
    request: ConfirmRequest,
) -> Result<ConfirmedDocument, ApiError> {
    let confirmed = kept(&app.keeper, Scribe::Trail(app, caller), request).await?;
    if let Err(error) = rotation::go_on(app).await {
        tracing::error!(%error, "the staged master key could not be made the active one; it goes on later");
    }
    Ok(confirmed)
}

/// Which master keys are here: by it a host that has joined knows whether there is anything to get.
#[utoipa::path(get, path = "/v1/attestation/keys", tag = "attestation",
    responses((status = 200, body = HeldKeysDocument), (status = 403, body = ErrorDocument)))]
pub(crate) async fn held_keys(
    State(app): State<Arc<App>>,
    Authenticated { caller, slot: _slot }: Authenticated,
) -> Result<Response, ApiError> {
    app.manager.authorize_join(&caller).await?;
    let held = app.keeper.held_keys().await;
    Ok(answer(held.map_err(|error| broken(Some(&caller), error))?))
}

/// After the last step: the host has kept the keys. A new master key is used when every host has said so.
#[utoipa::path(post, path = "/v1/attestation/confirm", tag = "attestation", request_body = ConfirmRequest,
    responses((status = 200, body = ConfirmedDocument), (status = 400, body = ErrorDocument),
        (status = 403, body = ErrorDocument, description = "The rules do not allow it, or nobody waits for it; the message says why")))]
pub(crate) async fn confirm_keys(
    State(app): State<Arc<App>>,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Authenticated { caller, slot } = authenticated;
    app.manager.authorize_join(&caller).await?;
    let request = body::json(&headers, body, MAX_BODY, app.options.client_timeout).await?;
    to_the_end(slot, async move { Ok(answer(confirm(&app, Some(&caller), request).await?)) }).await
}

/// The first step of a host that joins: it says who it is, and is challenged.
#[utoipa::path(post, path = "/v1/attestation/challenge", tag = "attestation", request_body = HelloRequest,
    responses((status = 200, body = ChallengeDocument), (status = 400, body = ErrorDocument),
        (status = 403, body = ErrorDocument, description = "The rules do not allow it, or the host is not enrolled for it; the message says why")))]
pub(crate) async fn challenge_host(
    State(app): State<Arc<App>>,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Authenticated { caller, slot } = authenticated;
    app.manager.authorize_join(&caller).await?;
    let request = body::json(&headers, body, MAX_BODY, app.options.client_timeout).await?;
    to_the_end(slot, async move {
        let scribe = Scribe::Trail(&app, Some(&caller));
        Ok(answer(challenge(&app.keeper, scribe, request, ONLINE).await?))
    })
    .await
}

/// The last step: the host proves its TPM and its boot, and gets the master keys, sealed for both.
#[utoipa::path(post, path = "/v1/attestation/release", tag = "attestation", request_body = AnswerRequest,
    responses((status = 200, body = BundleDocument), (status = 400, body = ErrorDocument),
        (status = 403, body = ErrorDocument, description = "The rules do not allow it, the proof is wrong, or nobody approved the boot; the message says why")))]
pub(crate) async fn release_keys(
    State(app): State<Arc<App>>,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Authenticated { caller, slot } = authenticated;
    app.manager.authorize_join(&caller).await?;
    let request = body::json(&headers, body, MAX_BODY, app.options.client_timeout).await?;
    to_the_end(slot, async move {
        Ok(answer(release(&app.keeper, Scribe::Trail(&app, Some(&caller)), request).await?))
    })
    .await
}

#[cfg(test)]
mod tests;
