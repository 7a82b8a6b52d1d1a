//! Payloads: adding the one of a secret stored without, and reading it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chatelaine_core::audit::Action;
use chatelaine_core::manager::Access;
use chatelaine_core::secret::Secret;
use http::{HeaderMap, StatusCode, header};

use super::super::content::{self, ContentType};
use super::{Answer, Asker, Asking, BarbicanError, accept, body, carry_out, path, private};
use crate::http::App;

/// A payload on its way out; wiped when it is there.
struct Released(Secret);

impl AsRef<[u8]> for Released {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

pub(super) async fn fill(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    request_body: Body,
) -> Answer {
    let id = path::id("secret", &id)?;
    let access = Access { rule: "secret:put", action: Action::Update };
    let view = app.manager.may(&asker.caller, id, access).await?;
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"));
    let content_type = content::put_type(text(header::CONTENT_TYPE))?;
    if let Some(id) = asker.query.first("transport_key_id") {
        return Err(super::stores::unknown_transport_key(id));
    }
    let limit = app.options.barbican.max_payload_bytes;
    let bytes = body::bytes(&headers, request_body, limit, app.options.client_timeout).await?;
    if view.has_payload {
        return Err(BarbicanError::new(
            StatusCode::CONFLICT,
            "The secret has its payload already; it cannot be changed. Store a new secret instead.",
        ));
    }
    let payload = content::put(content_type, text(header::CONTENT_ENCODING), &bytes, limit)?;
    carry_out(async move {
        let stored_type = payload.content_type.as_str();
        app.manager.fill_secret(&asker.caller, id, &payload.bytes, stored_type).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

pub(super) async fn read(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    released(&app, &asker, &id, &headers).await
}

/// The answer with the payload.
pub(super) async fn released(app: &App, asker: &Asker, id: &str, headers: &HeaderMap) -> Answer {
    let id = path::id("secret", id)?;
    let secret = app.manager.release_secret(&asker.caller, id).await?;
    if secret.payload().is_empty() {
        return Err(BarbicanError::not_found("Not Found. The secret has no payload yet."));
    }
    let key = asker.query.first("transport_key_id");
    match (key, asker.query.first("trans_wrapped_session_key")) {
        (None, None) => {}
        (None, Some(_)) => {
            return Err(BarbicanError::parameter("transport_key_id", "trans_wrapped_session_key needs it"));
        }
        (Some(id), _) => return Err(super::stores::unknown_transport_key(id)),
    }
    let stored = match secret.metadata.content_type.as_deref() {
        None => Some(ContentType::OctetStream),
        Some(name) => ContentType::stored(name),
    };
    let content_type = accept::payload(headers, stored, secret.payload())?;
    let mut response: Response = private(Body::from(Bytes::from_owner(Released(secret))));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}
