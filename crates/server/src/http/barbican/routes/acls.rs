//! Access lists of secrets and containers, which have the same routes: [`Listed`] is what they differ in.

use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use chatelaine_core::Error;
use chatelaine_core::acl::Acl;
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock};
use chatelaine_core::document::Document;
use chatelaine_core::id::SecretId;
use chatelaine_core::manager::Access;
use chatelaine_core::secret::Metadata;
use http::HeaderMap;

use super::super::wire::Reference;
use super::super::wire::acl::{self, AclDocument, ReadAcl, Shown};
use super::{Answer, Asker, Asking, accept, carry_out, object, path, private};
use crate::barbican::content::{CONTAINER, ContainerContent};
use crate::http::App;

/// The rules of the three things that are done to a list.
pub(super) struct Rules {
    read: Access,
    change: Access,
    remove: Access,
}

impl Rules {
    const fn new(read: &'static str, change: &'static str, remove: &'static str) -> Self {
        Self {
            read: Access { rule: read, action: Action::GetMetadata },
            change: Access { rule: change, action: Action::Update },
            remove: Access { rule: remove, action: Action::Update },
        }
    }
}

/// What has an access list.
pub(super) trait Listed: Send + 'static {
    const NOUN: &'static str;
    const COLLECTION: &'static str;
    const RULES: Rules;

    /// The list; `looking` is whether that is all, or only the first step of a change.
    fn list(
        app: &App,
        asker: &Asker,
        id: SecretId,
        looking: bool,
    ) -> impl Future<Output = Result<Option<Acl>, Error>> + Send;

    fn edit(
        app: &App,
        asker: &Asker,
        id: SecretId,
        access: Access,
        change: &Change,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A secret.
pub(super) struct OfSecret;
/// A container.
pub(super) struct OfContainer;

impl Listed for OfSecret {
    const NOUN: &'static str = "secret";
    const COLLECTION: &'static str = "secrets";
    const RULES: Rules = Rules::new("secret_acls:get", "secret_acls:put_patch", "secret_acls:delete");

    async fn list(app: &App, asker: &Asker, id: SecretId, looking: bool) -> Result<Option<Acl>, Error> {
        let view = if looking {
            app.manager.secret(&asker.caller, id, Self::RULES.read).await?
        } else {
            app.manager.may(&asker.caller, id, Self::RULES.change).await?
        };
        Ok(view.metadata.acl.clone())
    }

    async fn edit(
        app: &App,
        asker: &Asker,
        id: SecretId,
        access: Access,
        change: &Change,
    ) -> Result<(), Error> {
        let edit = |found: &mut Metadata| {
            found.acl = changed(found.acl.as_ref(), change);
            Ok(())
        };
        app.manager.edit_secret(&asker.caller, id, access, edit).await.map(|_| ())
    }
}

impl Listed for OfContainer {
    const NOUN: &'static str = "container";
    const COLLECTION: &'static str = "containers";
    const RULES: Rules =
        Rules::new("container_acls:get", "container_acls:put_patch", "container_acls:delete");

    async fn list(app: &App, asker: &Asker, id: SecretId, looking: bool) -> Result<Option<Acl>, Error> {
        let (caller, id) = (&asker.caller, id.to_string());
        let found: Document<ContainerContent> = if looking {
            app.manager.document(caller, CONTAINER, &id, Self::RULES.read).await?
        } else {
            app.manager.may_document(caller, CONTAINER, &id, Self::RULES.change).await?
        };
        Ok(found.acl)
    }

    async fn edit(
        app: &App,
        asker: &Asker,
        id: SecretId,
        access: Access,
        change: &Change,
    ) -> Result<(), Error> {
        let edit = |found: &mut Document<ContainerContent>| {
            found.acl = changed(found.acl.as_ref(), change);
            Ok(())
        };
        app.manager.edit_document(&asker.caller, CONTAINER, &id.to_string(), access, edit).await.map(|_| ())
    }
}

/// What is to become of a list.
#[derive(Debug, Clone)]
pub(super) enum Change {
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

pub(super) async fn show<L: Listed>(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let id = path::id(L::NOUN, &id)?;
    accept::json(&headers)?;
    Ok(shown(L::list(&app, &asker, id, true).await?.as_ref()))
}

/// Reads what the body says and carries it out.
async fn follow<L: Listed>(
    (app, asker, id): (Arc<App>, Arc<Asker>, String),
    headers: HeaderMap,
    body: Body,
    change: fn(Option<ReadAcl>) -> Change,
) -> Answer {
    let id = path::id(L::NOUN, &id)?;
    L::list(&app, &asker, id, false).await?;
    let change = change(acl::read(object(&app, &headers, body, acl::SCHEMA).await?)?);
    carry_out(async move {
        L::edit(&app, &asker, id, L::RULES.change, &change).await?;
        let href = asker.href(L::COLLECTION, &id);
        Ok(private(Json(Reference::Acl(format!("{href}/acl")))))
    })
    .await
}

pub(super) async fn put<L: Listed>(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    follow::<L>((app, asker, id), headers, body, Change::Put).await
}

pub(super) async fn patch<L: Listed>(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    follow::<L>((app, asker, id), headers, body, Change::Patch).await
}

pub(super) async fn remove<L: Listed>(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
) -> Answer {
    let id = path::id(L::NOUN, &id)?;
    carry_out(async move {
        L::edit(&app, &asker, id, L::RULES.remove, &Change::Remove).await?;
        // Some clients take nothing else for a success.
        Ok(private(Json(serde_json::Value::Null)))
    })
    .await
}
