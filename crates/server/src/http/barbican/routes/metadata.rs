//! User metadata of secrets: words of their owners.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use chatelaine_core::Error;
use chatelaine_core::audit::Action;
use chatelaine_core::manager::Access;
use http::{HeaderMap, StatusCode};

use super::super::wire::Reference;
use super::super::wire::metadata::{self, Entry, MetadataDocument};
use super::{Answer, Asking, BarbicanError, accept, carry_out, made, object, path, private};
use crate::http::App;

const READ: Access = Access { rule: "secret_meta:get", action: Action::GetMetadata };
const ADD: Access = Access { rule: "secret_meta:post", action: Action::Update };
const CHANGE: Access = Access { rule: "secret_meta:put", action: Action::Update };
const REMOVE: Access = Access { rule: "secret_meta:delete", action: Action::Update };

type Words = BTreeMap<String, String>;

fn unknown(key: &str) -> BarbicanError {
    BarbicanError::not_found(format!(
        "Not Found. The secret has no metadata of the key '{}'.",
        super::super::error::shortened(key)
    ))
}

pub(super) async fn all(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let id = path::id("secret", &id)?;
    accept::json(&headers)?;
    let view = app.manager.secret(&asker.caller, id, READ).await?;
    Ok(private(Json(MetadataDocument { metadata: view.metadata.attributes.clone() })))
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path((id, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let id = path::id("secret", &id)?;
    accept::json(&headers)?;
    let view = app.manager.secret(&asker.caller, id, READ).await?;
    let value = view.metadata.attributes.get(&key).ok_or_else(|| unknown(&key))?;
    Ok(private(Json(Entry { key: key.clone(), value: value.clone() })))
}

pub(super) async fn replace(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let id = path::id("secret", &id)?;
    app.manager.may(&asker.caller, id, CHANGE).await?;
    let all = metadata::read_all(object(&app, &headers, body, metadata::SCHEMA).await?)?.metadata;
    carry_out(async move {
        let edit = |found: &mut chatelaine_core::secret::Metadata| {
            found.attributes.clone_from(&all);
            Ok(())
        };
        app.manager.edit_secret(&asker.caller, id, CHANGE, edit).await?;
        let href = format!("{}/metadata", asker.href("secrets", &id));
        Ok(private((StatusCode::CREATED, Json(Reference::Metadata(href)))))
    })
    .await
}

/// How a change of one entry ended, beside the errors that all changes have.
enum Wrong {
    Unknown,
    Exists,
    Full,
}

/// Changes the words of a secret; what `edit` finds wrong is told apart by the caller.
async fn edit(
    app: Arc<App>,
    asker: Arc<super::Asker>,
    id: chatelaine_core::id::SecretId,
    access: Access,
    change: impl Fn(&mut Words) -> Result<(), Wrong> + Send + Sync + 'static,
) -> Result<Result<(), Wrong>, BarbicanError> {
    carry_out(async move {
        let wrong = parking_lot::Mutex::new(None);
        let edit = |found: &mut chatelaine_core::secret::Metadata| {
            change(&mut found.attributes).map_err(|problem| {
                *wrong.lock() = Some(problem);
                Error::WrongState { reason: "its metadata does not allow it".to_owned() }
            })
        };
        let done = app.manager.edit_secret(&asker.caller, id, access, edit).await;
        match (done, wrong.into_inner()) {
            (Ok(_), _) => Ok(Ok(())),
            (Err(Error::WrongState { .. }), Some(problem)) => Ok(Err(problem)),
            (Err(error), _) => Err(error.into()),
        }
    })
    .await
}

fn insert(words: &mut Words, entry: &Entry) -> Result<(), Wrong> {
    if words.len() >= metadata::MAX_ENTRIES && !words.contains_key(&entry.key) {
        return Err(Wrong::Full);
    }
    words.insert(entry.key.clone(), entry.value.clone());
    Ok(())
}

fn refusal(problem: &Wrong, key: &str) -> BarbicanError {
    match problem {
        Wrong::Unknown => unknown(key),
        Wrong::Full => metadata::too_many(),
        Wrong::Exists => BarbicanError::new(
            StatusCode::CONFLICT,
            format!("The secret has metadata of the key '{}' already.", super::super::error::shortened(key)),
        ),
    }
}

pub(super) async fn add(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let id = path::id("secret", &id)?;
    app.manager.may(&asker.caller, id, ADD).await?;
    let entry = metadata::read_entry(object(&app, &headers, body, metadata::ENTRY_SCHEMA).await?)?;
    let entry = Arc::new(entry);
    let new = Arc::clone(&entry);
    let change = move |words: &mut Words| {
        if words.contains_key(&new.key) { Err(Wrong::Exists) } else { insert(words, &new) }
    };
    edit(app, Arc::clone(&asker), id, ADD, change).await?.map_err(|problem| refusal(&problem, &entry.key))?;
    let href = format!("{}/metadata/{}", asker.href("secrets", &id), entry.key);
    // The answer shows the entry, its address is in the header alone.
    Ok(made(StatusCode::CREATED, &*entry, &href))
}

/// Puts the entry that the path names, by `change`, and answers with it.
async fn put_entry(
    (app, asker): (Arc<App>, Arc<super::Asker>),
    (id, key): (String, String),
    (headers, body): (HeaderMap, Body),
    access: Access,
    change: fn(&mut Words, &Entry) -> Result<(), Wrong>,
) -> Result<Arc<Entry>, BarbicanError> {
    let id = path::id("secret", &id)?;
    app.manager.may(&asker.caller, id, access).await?;
    let entry = metadata::read_entry(object(&app, &headers, body, metadata::ENTRY_SCHEMA).await?)?;
    metadata::same_key(&entry, &key)?;
    let entry = Arc::new(entry);
    let new = Arc::clone(&entry);
    let change = move |words: &mut Words| change(words, &new);
    edit(app, asker, id, access, change).await?.map_err(|problem| refusal(&problem, &key))?;
    Ok(entry)
}

pub(super) async fn change(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(place): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let known = |words: &mut Words, new: &Entry| {
        if words.contains_key(&new.key) { insert(words, new) } else { Err(Wrong::Unknown) }
    };
    let entry = put_entry((app, asker), place, (headers, body), CHANGE, known).await?;
    Ok(private(Json(&*entry)))
}

/// Not in Barbican, but sent by its client: makes the entry, or changes it.
pub(super) async fn put_or_change(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(place): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let entry = put_entry((app, asker), place, (headers, body), ADD, insert).await?;
    Ok(private((StatusCode::CREATED, Json(&*entry))))
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path((id, key)): Path<(String, String)>,
) -> Answer {
    let id = path::id("secret", &id)?;
    let view = app.manager.may(&asker.caller, id, REMOVE).await?;
    if view.metadata.attributes.contains_key(&key) {
        let change = move |words: &mut Words| {
            words.remove(&key);
            Ok(())
        };
        let _ = edit(app, asker, id, REMOVE, change).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
