//! Who uses a container.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use chatelaine_core::audit::Action;
use chatelaine_core::clock::Timestamp;
use chatelaine_core::manager::Access;
use http::HeaderMap;

use super::super::super::wire::consumer::{self, ConsumerEntry, ContainerConsumer};
use super::super::consumers::{Kept, ONE, no_entry, put, take};
use super::super::{Answer, Asking, accept, carry_out, object, path, quotas};
use super::{Container, shown};
use crate::barbican::content::{self, CONTAINER};
use crate::http::App;

const READ: Access = Access { rule: "container_consumers:get", action: Action::GetMetadata };
const ADD: Access = Access { rule: "container_consumers:post", action: Action::Update };
const REMOVE: Access = Access { rule: "container_consumers:delete", action: Action::Update };

impl Kept for content::ContainerConsumer {
    type Named = ContainerConsumer;
    const OF: &'static str = "container";

    fn is(&self, named: &ContainerConsumer) -> bool {
        self.name == named.name && self.url == named.url
    }

    fn new(named: &ContainerConsumer, project: &str, now: Timestamp) -> Self {
        Self {
            name: named.name.clone(),
            url: named.url.clone(),
            project: Some(project.to_owned()),
            created: now,
            updated: now,
        }
    }

    fn updated(&mut self) -> &mut Timestamp {
        &mut self.updated
    }

    fn added_by(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

pub(in super::super::super) async fn list(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    path::id("container", &id)?;
    accept::json(&headers)?;
    let found: Container = app.manager.document(&asker.caller, CONTAINER, &id, READ).await?;
    let page = asker.page(&app);
    let mut kept = found.content.consumers;
    kept.sort_by(|left, right| left.name.cmp(&right.name));
    let total = u64::try_from(kept.len()).unwrap_or(u64::MAX);
    let entry = |of: content::ContainerConsumer| {
        ConsumerEntry::new(of.created, of.updated, ContainerConsumer { name: of.name, url: of.url })
    };
    let entries = page.of(kept).into_iter().map(entry).collect();
    let place = format!("containers/{id}/consumers");
    Ok(asker.listing(("consumers", &place), page, false, (entries, total)))
}

/// One entry, as for secrets.
pub(in super::super::super) async fn show(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path((id, consumer)): Path<(String, String)>,
) -> Answer {
    path::id("container", &id)?;
    path::id("consumer", &consumer)?;
    app.manager.document::<content::ContainerContent>(&asker.caller, CONTAINER, &id, ONE).await?;
    Err(no_entry())
}

pub(in super::super::super) async fn add(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    path::id("container", &id)?;
    let found: Container = app.manager.may_document(&asker.caller, CONTAINER, &id, ADD).await?;
    let named = ContainerConsumer::read(object(&app, &headers, body, consumer::SCHEMA).await?)?;
    carry_out(async move {
        let known = found.content.consumers.iter().any(|kept| kept.is(&named));
        let _turn =
            if known { None } else { quotas::room(&app, &found.project, quotas::Counted::Consumers).await? };
        let edit = |found: &mut Container| put(&mut found.content.consumers, &named, &asker);
        let changed = app.manager.edit_document(&asker.caller, CONTAINER, &id, ADD, edit).await?;
        shown(&app, &asker, &changed).await
    })
    .await
}

pub(in super::super::super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    path::id("container", &id)?;
    app.manager.may_document::<content::ContainerContent>(&asker.caller, CONTAINER, &id, REMOVE).await?;
    let named = ContainerConsumer::read(object(&app, &headers, body, consumer::SCHEMA).await?)?;
    carry_out(async move {
        let edit = |found: &mut Container| take(&mut found.content.consumers, &named, &asker, &found.project);
        let changed = app.manager.edit_document(&asker.caller, CONTAINER, &id, REMOVE, edit).await?;
        shown(&app, &asker, &changed).await
    })
    .await
}
