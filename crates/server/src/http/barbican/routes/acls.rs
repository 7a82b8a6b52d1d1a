//! Access lists of secrets and containers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use chatelaine_core::acl::Acl;
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock};
use chatelaine_core::document::Document;
use chatelaine_core::manager::Access;
use chatelaine_core::secret::Metadata;
use http::HeaderMap;

use super::super::wire::Reference;
use super::super::wire::acl::{self, AclDocument, ReadAcl, Shown};
use super::{Answer, Asker, Asking, BarbicanError, accept, carry_out, object, path, private};
use crate::barbican::content::{CONTAINER, ContainerContent};
use crate::http::App;

const READ_SECRET: Access = Access { rule: "secret_acls:get", action: Action::GetMetadata };
const CHANGE_SECRET: Access = Access { rule: "secret_acls:put_patch", action: Action::Update };
const DELETE_SECRET: Access = Access { rule: "secret_acls:delete", action: Action::Update };
const READ_CONTAINER: Access = Access { rule: "container_acls:get", action: Action::GetMetadata };
const CHANGE_CONTAINER: Access = Access { rule: "container_acls:put_patch", action: Action::Update };
const DELETE_CONTAINER: Access = Access { rule: "container_acls:delete", action: Action::Update };

/// What is to become of a list.
#[derive(Debug, Clone)]
enum Change {
    /// Nothing but what is said.
    Put(Option<ReadAcl>),
    /// What is said, and the rest stays.
    Patch(Option<ReadAcl>),
    Remove,
}

fn changed(before: Option<&Acl>, change: &Change) -> Option<Acl> {
    let now = SystemClock.now();
    let created = before.map_or(now, |acl| acl.created);
    match change {
        Change::Remove => None,
        Change::Put(said) => said.clone().filter(|said| !said.is_empty()).map(|said| Acl {
            project_access: said.project_access.unwrap_or(true),
            users: said.users.unwrap_or_default(),
            created,
            updated: now,
        }),
        Change::Patch(None) => before.cloned(),
        Change::Patch(Some(said)) if said.is_empty() && before.is_none() => None,
        Change::Patch(Some(said)) => Some(Acl {
            project_access: said
                .project_access
                .unwrap_or_else(|| before.is_none_or(|acl| acl.project_access)),
            users: said
                .users
                .clone()
                .unwrap_or_else(|| before.map(|acl| acl.users.clone()).unwrap_or_default()),
            created,
            updated: now,
        }),
    }
}

fn shown(acl: Option<&Acl>) -> Response {
    let shown = acl.map(|acl| Shown {
        project_access: acl.project_access,
        users: &acl.users,
        created: acl.created,
        updated: acl.updated,
    });
    private(Json(AclDocument::of(shown)))
}

fn answer(asker: &Asker, collection: &str, id: &str, change: &Change) -> Response {
    match change {
        // Some clients take nothing else for a success.
        Change::Remove => private(Json(serde_json::Value::Null)),
        Change::Put(_) | Change::Patch(_) => {
            private(Json(Reference::Acl(format!("{}/acl", asker.href(collection, &id)))))
        }
    }
}

async fn said(app: &App, headers: &HeaderMap, body: Body) -> Result<Option<ReadAcl>, BarbicanError> {
    acl::read(object(app, headers, body, acl::SCHEMA).await?)
}

pub(super) async fn of_secret(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let id = path::id("secret", &id)?;
    accept::json(&headers)?;
    let view = app.manager.secret(&asker.caller, id, READ_SECRET).await?;
    Ok(shown(view.metadata.acl.as_ref()))
}

async fn change_secret(
    app: Arc<App>,
    asker: Arc<Asker>,
    id: String,
    access: Access,
    change: Change,
) -> Answer {
    carry_out(async move {
        let secret = path::id("secret", &id)?;
        let edit = |metadata: &mut Metadata| {
            metadata.acl = changed(metadata.acl.as_ref(), &change);
            Ok(())
        };
        app.manager.edit_secret(&asker.caller, secret, access, edit).await?;
        Ok(answer(&asker, "secrets", &id, &change))
    })
    .await
}

async fn change_said_secret(
    (app, asker, id): (Arc<App>, Arc<Asker>, String),
    headers: HeaderMap,
    body: Body,
    change: fn(Option<ReadAcl>) -> Change,
) -> Answer {
    app.manager.may(&asker.caller, path::id("secret", &id)?, CHANGE_SECRET).await?;
    let change = change(said(&app, &headers, body).await?);
    change_secret(app, asker, id, CHANGE_SECRET, change).await
}

pub(super) async fn put_secret(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    change_said_secret((app, asker, id), headers, body, Change::Put).await
}

pub(super) async fn patch_secret(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    change_said_secret((app, asker, id), headers, body, Change::Patch).await
}

pub(super) async fn delete_secret(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    change_secret(app, asker, id, DELETE_SECRET, Change::Remove).await
}

pub(super) async fn of_container(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    path::id("container", &id)?;
    accept::json(&headers)?;
    let found =
        app.manager.document::<ContainerContent>(&asker.caller, CONTAINER, &id, READ_CONTAINER).await?;
    Ok(shown(found.acl.as_ref()))
}

async fn change_container(
    app: Arc<App>,
    asker: Arc<Asker>,
    id: String,
    access: Access,
    change: Change,
) -> Answer {
    carry_out(async move {
        path::id("container", &id)?;
        let edit = |document: &mut Document<ContainerContent>| {
            document.acl = changed(document.acl.as_ref(), &change);
            Ok(())
        };
        app.manager.edit_document(&asker.caller, CONTAINER, &id, access, edit).await?;
        Ok(answer(&asker, "containers", &id, &change))
    })
    .await
}

async fn change_said_container(
    (app, asker, id): (Arc<App>, Arc<Asker>, String),
    headers: HeaderMap,
    body: Body,
    change: fn(Option<ReadAcl>) -> Change,
) -> Answer {
    path::id("container", &id)?;
    app.manager.may_document::<ContainerContent>(&asker.caller, CONTAINER, &id, CHANGE_CONTAINER).await?;
    let change = change(said(&app, &headers, body).await?);
    change_container(app, asker, id, CHANGE_CONTAINER, change).await
}

pub(super) async fn put_container(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    change_said_container((app, asker, id), headers, body, Change::Put).await
}

pub(super) async fn patch_container(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    change_said_container((app, asker, id), headers, body, Change::Patch).await
}

pub(super) async fn delete_container(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    change_container(app, asker, id, DELETE_CONTAINER, Change::Remove).await
}
