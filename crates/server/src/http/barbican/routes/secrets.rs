//! Secrets: listing, storing, showing, deleting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chatelaine_core::Error;
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock};
use chatelaine_core::id::SecretId;
use chatelaine_core::manager::{Access, NewSecret, SecretFilter};
use chatelaine_core::secret::{SecretType, SecretView};
use http::{HeaderMap, StatusCode};

use super::super::filter::{SecretEntry, SecretFilter as Filter};
use super::super::wire::Reference;
use super::super::wire::consumer::SecretConsumer;
use super::super::wire::secret::{self, SecretDocument, Shown};
use super::consumers::content_of;
use super::{
    Answer, Asker, Asking, BarbicanError, accept, allow, carry_out, made, object, path, payloads, private,
    quotas,
};
use crate::barbican::content::{ConsumersContent, SECRET_CONSUMERS};
use crate::http::App;

pub(super) const READ: Access = Access { rule: "secret:get", action: Action::GetMetadata };
pub(super) const STORE: Access = Access { rule: "secrets:post", action: Action::Create };

/// The media type of a payload whose type nobody said.
pub(super) const DEFAULT_TYPE: &str = "application/octet-stream";

/// A secret as it is shown.
pub(super) fn document<'a>(
    asker: &Asker,
    view: &'a SecretView,
    consumers: &'a [SecretConsumer],
) -> SecretDocument<'a> {
    let shows = asker.version.shows_consumers();
    with_consumers(asker, view, shows.then_some(consumers))
}

/// A secret as it is shown, with its consumers or without.
pub(super) fn with_consumers<'a>(
    asker: &Asker,
    view: &'a SecretView,
    consumers: Option<&'a [SecretConsumer]>,
) -> SecretDocument<'a> {
    let metadata = &view.metadata;
    let content_type = view.has_payload.then(|| metadata.content_type.as_deref().unwrap_or(DEFAULT_TYPE));
    SecretDocument::from(Shown {
        secret_ref: asker.href("secrets", &view.id),
        created: metadata.created,
        updated: metadata.updated,
        name: metadata.name.as_deref(),
        secret_type: metadata.secret_type.unwrap_or(SecretType::Symmetric),
        expiration: metadata.expires_at,
        algorithm: metadata.algorithm.as_deref(),
        bit_length: metadata.bit_length,
        mode: metadata.mode.as_deref(),
        creator_id: &metadata.owner,
        content_type,
        consumers,
    })
}

/// The consumers of a secret, as they are shown.
pub(super) fn consumers(content: &ConsumersContent) -> Vec<SecretConsumer> {
    let consumer = |of: &crate::barbican::content::SecretConsumer| SecretConsumer {
        service: of.service.clone(),
        resource_type: of.resource_type.clone(),
        resource_id: of.resource_id.clone(),
    };
    content.consumers.iter().map(consumer).collect()
}

async fn consumers_of(app: &App, id: SecretId) -> Result<Vec<SecretConsumer>, BarbicanError> {
    Ok(consumers(&content_of(app, id).await?))
}

/// The same for a listing: what is damaged does not hide the secrets beside it.
async fn undamaged_consumers_of(app: &App, id: SecretId) -> Result<Vec<SecretConsumer>, BarbicanError> {
    match content_of(app, id).await {
        Err(Error::Corrupt(reason)) => {
            tracing::error!(reason, "the consumers of a secret are left out of a listing");
            Ok(Vec::new())
        }
        found => Ok(consumers(&found?)),
    }
}

fn entry<'a>(id: &'a str, view: &'a SecretView) -> SecretEntry<'a> {
    let metadata = &view.metadata;
    SecretEntry {
        id,
        name: metadata.name.as_deref(),
        algorithm: metadata.algorithm.as_deref(),
        mode: metadata.mode.as_deref(),
        bit_length: metadata.bit_length,
        secret_type: metadata.secret_type.unwrap_or(SecretType::Symmetric).as_str(),
        created: metadata.created,
        updated: metadata.updated,
        expiration: metadata.expires_at,
    }
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    allow(&app, &asker, Access { rule: "secrets:get", action: Action::List }).await?;
    let filter = Filter::read(&asker.query)?;
    let page = asker.page(&app);
    let matches = |view: &SecretView| filter.matches(&entry("", view));
    let order = |left: &SecretView, right: &SecretView| {
        let (left_id, right_id) = (left.id.to_string(), right.id.to_string());
        filter.compare(&entry(&left_id, left), &entry(&right_id, right))
    };
    let plain = filter.is_plain();
    let wanted = SecretFilter {
        acl_only: filter.acl_only(),
        matches: if plain { None } else { Some(&matches) },
        order: if plain { None } else { Some(&order) },
        offset: page.skip(),
        limit: page.limit,
    };
    let (views, total) = app.manager.list_secrets(&asker.caller, &wanted).await?;
    let mut used: HashMap<SecretId, Vec<SecretConsumer>> = HashMap::new();
    if asker.version.shows_consumers() {
        for view in &views {
            used.insert(view.id, undamaged_consumers_of(&app, view.id).await?);
        }
    }
    let shown = |view| document(&asker, view, used.get(&view.id).map(Vec::as_slice).unwrap_or_default());
    let entries: Vec<SecretDocument<'_>> = views.iter().map(|view| shown(view)).collect();
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    Ok(asker.listing(("secrets", "secrets"), page, true, (entries, total)))
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    accept::json(&headers)?;
    allow(&app, &asker, STORE).await?;
    let object = object(&app, &headers, body, secret::SCHEMA).await?;
    let now = SystemClock.now();
    let new = secret::NewSecret::read(object, now, app.options.barbican.max_payload_bytes)?;
    // Without a payload there is nothing it could have protected.
    if let Some(id) = new.transport_key_id.as_ref().filter(|_| new.payload.is_some()) {
        return Err(super::stores::unknown_transport_key(id));
    }
    if new.transport_key_needed {
        return Err(super::stores::no_transport_keys());
    }
    let (payload, content_type) = match new.payload {
        None => (None, None),
        Some(payload) => (Some(payload.bytes), Some(payload.content_type.as_str().to_owned())),
    };
    let new = NewSecret {
        payload,
        content_type,
        name: new.name,
        secret_type: Some(new.secret_type),
        algorithm: new.algorithm,
        mode: new.mode,
        bit_length: new.bit_length,
        expires_at: new.expiration,
    };
    carry_out(async move {
        let _turn = quotas::room(&app, asker.project(), quotas::Counted::Secrets).await?;
        let view = app.manager.create_secret(&asker.caller, new).await?;
        let href = asker.href("secrets", &view.id);
        Ok(made(StatusCode::CREATED, Reference::Secret(href.clone()), &href))
    })
    .await
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    if accept::wants_payload(&headers) {
        return payloads::released(&app, &asker, &id, &headers).await;
    }
    let id = path::id("secret", &id)?;
    let view = app.manager.secret(&asker.caller, id, READ).await?;
    let wanted = asker.query.first("transport_key_needed");
    if wanted.is_some_and(|text| text.trim().eq_ignore_ascii_case("true")) {
        return Err(super::stores::no_transport_keys());
    }
    let used = if asker.version.shows_consumers() { consumers_of(&app, id).await? } else { Vec::new() };
    Ok(shown(&asker, &view, &used))
}

/// The answer that shows a secret.
pub(super) fn shown(asker: &Asker, view: &SecretView, used: &[SecretConsumer]) -> Response {
    private(Json(document(asker, view, used)))
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    let id = path::id("secret", &id)?;
    carry_out(async move {
        app.manager.may(&asker.caller, id, Access { rule: "secret:delete", action: Action::Delete }).await?;
        let forced = !asker.version.consumers_block_deletion() || secret::forced(&asker.query)?;
        let used = AtomicBool::new(false);
        let guard = |found: Option<&ConsumersContent>| {
            if !forced && found.is_some_and(|content| !content.consumers.is_empty()) {
                used.store(true, Ordering::Relaxed);
                return Err(Error::WrongState { reason: "it has consumers".to_owned() });
            }
            Ok(())
        };
        match app.manager.delete_secret(&asker.caller, id, SECRET_CONSUMERS, guard).await {
            Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
            Err(Error::WrongState { .. }) if used.load(Ordering::Relaxed) => {
                Err(BarbicanError::has_consumers())
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}
