//! Quotas: how much a project may have.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use chatelaine_core::audit::Action;
use chatelaine_core::document::Document;
use chatelaine_core::manager::{Access, DocumentFilter};
use http::{HeaderMap, StatusCode};

use super::super::wire::quota::{self, EffectiveDocument, ProjectDocument, ProjectEntry, Quotas};
use super::{Answer, Asking, BarbicanError, accept, allow, carry_out, object, private};
use crate::barbican::content::{
    CONTAINER, ConsumersContent, ContainerContent, ORDER, PROJECT_QUOTA, QuotaContent, SECRET_CONSUMERS,
};
use crate::http::App;

const EFFECTIVE: Access = Access { rule: "quotas:get", action: Action::GetMetadata };
const READ: Access = Access { rule: "project_quotas:get", action: Action::GetMetadata };
const SET: Access = Access { rule: "project_quotas:put", action: Action::Update };
const REMOVE: Access = Access { rule: "project_quotas:delete", action: Action::Delete };

/// The longest id of a project that has quotas, in bytes: with the number of its key it is the id of a record.
const MAX_PROJECT: usize = chatelaine_core::store::MAX_ID - 12;

impl From<&QuotaContent> for Quotas {
    fn from(of: &QuotaContent) -> Self {
        Self {
            secrets: of.secrets,
            orders: of.orders,
            containers: of.containers,
            consumers: of.consumers,
            cas: of.cas,
        }
    }
}

impl From<Quotas> for QuotaContent {
    fn from(of: Quotas) -> Self {
        Self {
            secrets: of.secrets,
            orders: of.orders,
            containers: of.containers,
            consumers: of.consumers,
            cas: of.cas,
        }
    }
}

/// What a quota counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counted {
    Secrets,
    Orders,
    Containers,
    Consumers,
}

/// Makes sure that a project may have one more. Where that has to be counted, counting and creating is one thing at a
/// time, or two requests would both see the last free place: the turn is held until what is returned is dropped.
pub(super) async fn room(
    app: &App,
    project: &str,
    of: Counted,
) -> Result<Option<tokio::sync::OwnedMutexGuard<()>>, BarbicanError> {
    if of.quota(in_force(app, project).await?).is_none_or(|quota| quota < 0) {
        return Ok(None);
    }
    let turn = app.turns.of(project).lock_owned().await;
    // It may have been changed while others had their turn.
    let quota = of.quota(in_force(app, project).await?);
    let (name, count) = match of {
        Counted::Secrets => {
            let count = app.manager.count_secrets(project).await?;
            ("secrets", u64::try_from(count).unwrap_or(u64::MAX))
        }
        Counted::Orders => ("orders", app.manager.count_documents(ORDER, project).await?),
        Counted::Containers => ("containers", app.manager.count_documents(CONTAINER, project).await?),
        Counted::Consumers => ("consumers", count_consumers(app, project).await?),
    };
    quota::room(name, quota, count)?;
    Ok(Some(turn))
}

impl Counted {
    const fn quota(self, quotas: Quotas) -> Option<i64> {
        match self {
            Self::Secrets => quotas.secrets,
            Self::Orders => quotas.orders,
            Self::Containers => quotas.containers,
            Self::Consumers => quotas.consumers,
        }
    }
}

/// What counts for a project: its own quotas over the configured ones.
async fn in_force(app: &App, project: &str) -> Result<Quotas, BarbicanError> {
    let own = app.manager.peek_document::<QuotaContent>(PROJECT_QUOTA, project).await?;
    let defaults = &app.options.barbican.quotas;
    let defaults = Quotas {
        secrets: Some(defaults.secrets),
        orders: Some(defaults.orders),
        containers: Some(defaults.containers),
        consumers: Some(defaults.consumers),
        cas: Some(defaults.cas),
    };
    Ok(own.map_or(defaults, |own| Quotas::from(&own.content).over(defaults)))
}

/// The consumers of all secrets and containers of a project.
async fn count_consumers(app: &App, project: &str) -> Result<u64, BarbicanError> {
    let of_secrets = |of: &Document<ConsumersContent>| of.content.consumers.len();
    let of_containers = |of: &Document<ContainerContent>| of.content.consumers.len();
    let secrets = app.manager.sum_documents(SECRET_CONSUMERS, project, of_secrets).await?;
    let containers = app.manager.sum_documents(CONTAINER, project, of_containers).await?;
    Ok(u64::try_from(secrets.saturating_add(containers)).unwrap_or(u64::MAX))
}

pub(super) async fn effective(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    app.manager.allow_look(&asker.caller, EFFECTIVE).await?;
    let quotas = in_force(&app, asker.project()).await?;
    Ok(private(Json(EffectiveDocument { quotas })))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    let page = asker.page(&app);
    let wanted = DocumentFilter::<QuotaContent> {
        class: None,
        matches: None,
        everywhere: true,
        offset: page.skip(),
        limit: page.limit,
    };
    let (found, total) =
        app.manager.list_documents(&asker.caller, PROJECT_QUOTA, "project_quotas:get", &wanted).await?;
    let entry = |of: &Document<QuotaContent>| ProjectEntry {
        project_id: of.id.clone(),
        project_quotas: Quotas::from(&of.content),
    };
    let entries: Vec<ProjectEntry> = found.iter().map(entry).collect();
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    Ok(asker.listing(("project_quotas", "project-quotas"), page, false, (entries, total)))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(project): Path<String>,
    headers: HeaderMap,
) -> Answer {
    accept::json(&headers)?;
    allow(&app, &asker, READ).await?;
    let project = short(&project)?;
    let found: Document<QuotaContent> =
        app.manager.document(&asker.caller, PROJECT_QUOTA, project, READ).await?;
    Ok(private(Json(ProjectDocument { project_quotas: Quotas::from(&found.content) })))
}

fn short(project: &str) -> Result<&str, BarbicanError> {
    if project.len() <= MAX_PROJECT {
        Ok(project)
    } else {
        Err(BarbicanError::not_found("Not Found. No quotas are set for this project."))
    }
}

pub(super) async fn set(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    allow(&app, &asker, SET).await?;
    let new = Quotas::read(object(&app, &headers, body, quota::SCHEMA).await?)?;
    short(&project)?;
    carry_out(async move {
        let edit = |found: Option<QuotaContent>| {
            let before = found.as_ref().map(Quotas::from).unwrap_or_default();
            Ok(QuotaContent::from(new.over(before)))
        };
        let place = (project.as_str(), project.as_str());
        app.manager.put_document(&asker.caller, PROJECT_QUOTA, place, SET, edit).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(project): Path<String>,
) -> Answer {
    allow(&app, &asker, REMOVE).await?;
    short(&project)?;
    carry_out(async move {
        app.manager.remove_document(&asker.caller, PROJECT_QUOTA, &project, REMOVE).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}
