//! Containers: named groups of secrets.

pub(super) mod consumers;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use chatelaine_core::Error;
use chatelaine_core::audit::Action;
use chatelaine_core::document::Document;
use chatelaine_core::id::SecretId;
use chatelaine_core::manager::{Access, DocumentFilter, NewDocument};
use chatelaine_core::secret::Origin;
use http::{HeaderMap, StatusCode};

use super::super::filter::ContainerFilter;
use super::super::wire::Reference;
use super::super::wire::consumer::ContainerConsumer;
use super::super::wire::container::{self, ContainerDocument, Member, NewContainer, Shown};
use super::{
    Answer, Asker, Asking, BarbicanError, accept, allow, carry_out, made, object, path, private, quotas,
};
use crate::barbican::content::{CONTAINER, ContainerContent, MAX_MEMBERS, SecretRef};
use crate::http::App;

type Container = Document<ContainerContent>;

const READ: Access = Access { rule: "container:get", action: Action::GetMetadata };
pub(super) const CREATE: Access = Access { rule: "containers:post", action: Action::Create };
const REMOVE: Access = Access { rule: "container:delete", action: Action::Delete };
const ADD_SECRET: Access = Access { rule: "container_secret:post", action: Action::Update };
const REMOVE_SECRET: Access = Access { rule: "container_secret:delete", action: Action::Update };

/// A container as it is shown: without the secrets that are no longer there.
async fn document(app: &App, asker: &Asker, of: &Container) -> Result<serde_json::Value, BarbicanError> {
    let mut secrets = Vec::new();
    for member in &of.content.secret_refs {
        if app.manager.glance(&of.project, member.secret).await?.is_some() {
            secrets.push((member.name.as_deref(), asker.href("secrets", &member.secret)));
        }
    }
    let consumers: Vec<ContainerConsumer> = of
        .content
        .consumers
        .iter()
        .map(|of| ContainerConsumer { name: of.name.clone(), url: of.url.clone() })
        .collect();
    let shown = ContainerDocument::from(Shown {
        container_ref: asker.href("containers", &of.id),
        created: of.created,
        updated: of.updated,
        name: of.name.as_deref(),
        kind: of.class.as_deref().unwrap_or_default(),
        creator_id: &of.owner,
        secrets,
        consumers: &consumers,
    });
    serde_json::to_value(shown).map_err(|error| Error::Internal(error.to_string()).into())
}

/// The answer that shows a container.
async fn shown(app: &App, asker: &Asker, of: &Container) -> Answer {
    Ok(private(Json(document(app, asker, of).await?)))
}

pub(in super::super) async fn list(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    let filter = ContainerFilter::read(&asker.query);
    let page = asker.page(&app);
    let matches =
        |of: &Container| filter.matches(of.name.as_deref(), of.class.as_deref().unwrap_or_default());
    let filtered = asker.query.filled("name").is_some() || asker.query.filled("type").is_some();
    let wanted = DocumentFilter {
        class: None,
        matches: if filtered { Some(&matches) } else { None },
        everywhere: false,
        offset: page.skip(),
        limit: page.limit,
    };
    let (found, total) =
        app.manager.list_documents(&asker.caller, CONTAINER, "containers:get", &wanted).await?;
    let mut entries = Vec::new();
    for container in &found {
        entries.push(document(&app, &asker, container).await?);
    }
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    Ok(asker.listing(("containers", "containers"), page, false, (entries, total)))
}

/// The secret, if it is there for this project.
async fn usable(app: &App, asker: &Asker, id: Option<SecretId>) -> Result<Option<SecretId>, BarbicanError> {
    let Some(id) = id else { return Ok(None) };
    let view = app.manager.glance(asker.project(), id).await?;
    let usable = view.filter(|view| !view.is_expired(app.manager.now())).is_some_and(|view| {
        let metadata = &view.metadata;
        let own = metadata.origin == Origin::Barbican || metadata.owner == asker.caller.identity().user_id;
        metadata.project == asker.project() && own
    });
    Ok(usable.then_some(id))
}

async fn members(app: &App, asker: &Asker, named: &[Member]) -> Result<Vec<SecretRef>, BarbicanError> {
    let mut members = Vec::new();
    for member in named {
        let secret = usable(app, asker, member.secret).await?.ok_or_else(|| member.not_found())?;
        members.push(SecretRef { name: member.name.clone(), secret });
    }
    Ok(members)
}

pub(in super::super) async fn create(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    accept::json(&headers)?;
    allow(&app, &asker, CREATE).await?;
    let new = NewContainer::read(object(&app, &headers, body, container::SCHEMA).await?, &asker.base)?;
    if new.members.len() > MAX_MEMBERS {
        return Err(too_many());
    }
    carry_out(async move {
        let _turn = quotas::room(&app, asker.project(), quotas::Counted::Containers).await?;
        let content = ContainerContent {
            secret_refs: members(&app, &asker, &new.members).await?,
            ..Default::default()
        };
        let id = SecretId::random();
        let container = new_document(id, new.name, new.kind.as_str(), &content)?;
        app.manager.create_objects(&asker.caller, CREATE, Vec::new(), vec![container]).await?;
        let href = asker.href("containers", &id);
        Ok(made(StatusCode::CREATED, Reference::Container(href.clone()), &href))
    })
    .await
}

/// A container to be stored.
pub(super) fn new_document(
    id: SecretId,
    name: Option<String>,
    kind: &str,
    content: &ContainerContent,
) -> Result<NewDocument, BarbicanError> {
    let content = serde_json::to_value(content).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(NewDocument {
        kind: CONTAINER,
        id: id.to_string(),
        name,
        class: Some(kind.to_owned()),
        parent: None,
        reference: None,
        content,
    })
}

fn too_many() -> BarbicanError {
    BarbicanError::invalid(
        container::SCHEMA,
        Some("secret_refs"),
        format!("a container has at most {MAX_MEMBERS} secrets"),
    )
}

pub(in super::super) async fn show(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    path::id("container", &id)?;
    accept::json(&headers)?;
    let found = app.manager.document(&asker.caller, CONTAINER, &id, READ).await?;
    shown(&app, &asker, &found).await
}

pub(in super::super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    path::id("container", &id)?;
    carry_out(async move {
        app.manager.remove_document(&asker.caller, CONTAINER, &id, REMOVE).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

pub(in super::super) async fn add_secret(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    path::id("container", &id)?;
    let found: Container = app.manager.may_document(&asker.caller, CONTAINER, &id, ADD_SECRET).await?;
    let member = Member::read(object(&app, &headers, body, container::MEMBER_SCHEMA).await?)?;
    if found.class.as_deref() != Some("generic") {
        return Err(BarbicanError::bad_request(
            "Secrets can be added to containers of the type 'generic' only.",
        ));
    }
    carry_out(async move {
        let secret = usable(&app, &asker, member.secret).await?.ok_or_else(|| member.not_found())?;
        let added = SecretRef { name: member.name.clone(), secret };
        let edit = |found: &mut Container| {
            if found.content.secret_refs.contains(&added) {
                return Err(Error::Exists { what: "the secret of this name in the container".to_owned() });
            }
            if found.content.secret_refs.len() >= MAX_MEMBERS {
                return Err(Error::invalid(
                    "secret_ref",
                    format!("a container has at most {MAX_MEMBERS} secrets"),
                ));
            }
            found.content.secret_refs.push(added.clone());
            Ok(())
        };
        app.manager.edit_document(&asker.caller, CONTAINER, &id, ADD_SECRET, edit).await?;
        let href = asker.href("containers", &id);
        Ok(made(StatusCode::CREATED, Reference::Container(href.clone()), &href))
    })
    .await
}

pub(in super::super) async fn remove_secret(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    path::id("container", &id)?;
    app.manager.may_document::<ContainerContent>(&asker.caller, CONTAINER, &id, REMOVE_SECRET).await?;
    let member = Member::read(object(&app, &headers, body, container::MEMBER_SCHEMA).await?)?;
    carry_out(async move {
        let secret = usable(&app, &asker, member.secret).await?.ok_or_else(|| member.not_found())?;
        let removed = SecretRef { name: member.name.clone(), secret };
        let edit = |found: &mut Container| {
            let before = found.content.secret_refs.len();
            found.content.secret_refs.retain(|kept| *kept != removed);
            if found.content.secret_refs.len() == before {
                return Err(Error::not_found("secret of this name in the container"));
            }
            Ok(())
        };
        app.manager.edit_document(&asker.caller, CONTAINER, &id, REMOVE_SECRET, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}
