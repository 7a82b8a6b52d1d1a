//! From a request to its caller: tokens to identity, refusals to 401, 403-free; then the caller's own limits.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use chatelaine_client::SecretText;
use chatelaine_core::policy::Caller;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::App;
use super::context::Context;
use super::error::ApiError;
use super::limits::Slot;
use crate::identity::{AuthenticationError, Presented, Request};

/// An authenticated caller that is within its limits. Holds its slot while it lives.
pub(crate) struct Authenticated {
    pub(crate) caller: Caller,
    pub(crate) slot: Slot,
}

/// A token in a header, out of reach of logs from here on. Two headers of one name are refused as no token.
fn token(headers: &HeaderMap, name: &str) -> Option<SecretText> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        // Nothing valid: an empty token is refused by every kind of identity.
        return Some(SecretText::new(""));
    }
    Some(SecretText::new(first.to_str().unwrap_or_default()))
}

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let context =
            parts.extensions.get::<Context>().cloned().ok_or_else(|| {
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has no context")
            })?;
        let (user, service) =
            (token(&parts.headers, "x-auth-token"), token(&parts.headers, "x-service-token"));
        let request = Request {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            address: context.address,
            request_id: &context.request_id,
        };
        let presented = Presented { token: user.as_ref(), service_token: service.as_ref() };
        let unauthorized = || ApiError {
            challenge: Some(app.identities.challenge()),
            ..ApiError::new(
                StatusCode::UNAUTHORIZED,
                "The request you have made requires authentication: send a valid token in X-Auth-Token.",
            )
        };
        let reason = match app.identities.authenticate(presented, request).await {
            Ok(caller) => {
                let slot = app.limits.admit(caller.identity())?;
                return Ok(Self { caller, slot });
            }
            Err(AuthenticationError::Unavailable { reason, retry_after }) => {
                return Err(ApiError::unavailable(
                    "the token cannot be validated at the moment; try again",
                    retry_after,
                    reason,
                ));
            }
            Err(AuthenticationError::Missing) => "no token",
            Err(AuthenticationError::Refused { reason }) => reason,
        };
        app.metrics.refused_token();
        app.manager.note_refused_token(&context.request_id, context.address, reason).await;
        Err(ApiError { detail: Some(reason.to_owned()), ..unauthorized() })
    }
}
