//! Who uses a container.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use chatelaine_core::Error;
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock};
use chatelaine_core::manager::Access;
use http::HeaderMap;

use super::super::super::wire::consumer::{self, ConsumerEntry, ContainerConsumer};
use super::super::consumers::{ONE, may_remove, no_entry};
use super::super::{Answer, Asking, accept, carry_out, object, path, quotas};
use super::{Container, shown};
use crate::barbican::content::{self, CONTAINER, MAX_CONSUMERS};
use crate::http::App;

const READ: Access = Access { rule: "container_consumers:get", action: Action::GetMetadata };
const ADD: Access = Access { rule: "container_consumers:post", action: Action::Update };
const REMOVE: Access = Access { rule: "container_consumers:delete", action: Action::Update };

fn same(kept: &content::ContainerConsumer, named: &ContainerConsumer) -> bool {
    kept.name == named.name && kept.url == named.url
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
        let known = found.content.consumers.iter().any(|kept| same(kept, &named));
        let _turn =
            if known { None } else { quotas::room(&app, &found.project, quotas::Counted::Consumers).await? };
        let edit = |found: &mut Container| {
            let now = SystemClock.now();
            if let Some(kept) = found.content.consumers.iter_mut().find(|kept| same(kept, &named)) {
                kept.updated = now;
            } else if found.content.consumers.len() >= MAX_CONSUMERS {
                return Err(Error::Forbidden {
                    reason: format!("a container has at most {MAX_CONSUMERS} consumers"),
                });
            } else {
                found.content.consumers.push(content::ContainerConsumer {
                    name: named.name.clone(),
                    url: named.url.clone(),
                    project: Some(asker.project().to_owned()),
                    created: now,
                    updated: now,
                });
            }
            Ok(())
        };
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
        let edit = |found: &mut Container| {
            let consumers = &mut found.content.consumers;
            let place = consumers.iter().position(|kept| same(kept, &named));
            let kept = place.map(|place| consumers.remove(place));
            let kept = kept.ok_or_else(|| Error::not_found("consumer"))?;
            may_remove(&asker, kept.project.as_deref(), &found.project)
        };
        let changed = app.manager.edit_document(&asker.caller, CONTAINER, &id, REMOVE, edit).await?;
        shown(&app, &asker, &changed).await
    })
    .await
}
