//! Who uses a secret.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use chatelaine_core::Error;
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock, Timestamp};
use chatelaine_core::id::SecretId;
use chatelaine_core::manager::Access;
use chatelaine_core::secret::SecretView;
use http::HeaderMap;

use super::super::wire::consumer::{self, ConsumerEntry, SecretConsumer};
use super::{Answer, Asker, Asking, BarbicanError, accept, carry_out, object, path, quotas, secrets};
use crate::barbican::content::{self, ConsumersContent, MAX_CONSUMERS, SECRET_CONSUMERS};
use crate::http::App;

const READ: Access = Access { rule: "secret_consumers:get", action: Action::GetMetadata };
pub(super) const ONE: Access = Access { rule: "consumer:get", action: Action::GetMetadata };
const ADD: Access = Access { rule: "secret_consumers:post", action: Action::Update };
const REMOVE: Access = Access { rule: "secret_consumers:delete", action: Action::Update };

/// A kept user of something, whatever it is told from others by.
pub(super) trait Kept: Sized {
    /// What a client says of it.
    type Named;
    /// What it uses, for messages.
    const OF: &'static str;

    fn is(&self, named: &Self::Named) -> bool;
    fn new(named: &Self::Named, project: &str, now: Timestamp) -> Self;
    fn updated(&mut self) -> &mut Timestamp;
    fn added_by(&self) -> Option<&str>;
}

impl Kept for content::SecretConsumer {
    type Named = SecretConsumer;
    const OF: &'static str = "secret";

    fn is(&self, named: &SecretConsumer) -> bool {
        self.service == named.service
            && self.resource_type == named.resource_type
            && self.resource_id == named.resource_id
    }

    fn new(named: &SecretConsumer, project: &str, now: Timestamp) -> Self {
        Self {
            service: named.service.clone(),
            resource_type: named.resource_type.clone(),
            resource_id: named.resource_id.clone(),
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

/// Adds one to a list; who is there already is only marked as seen.
pub(super) fn put<K: Kept>(list: &mut Vec<K>, named: &K::Named, asker: &Asker) -> Result<(), Error> {
    let now = SystemClock.now();
    if let Some(kept) = list.iter_mut().find(|kept| kept.is(named)) {
        *kept.updated() = now;
        return Ok(());
    }
    if list.len() >= MAX_CONSUMERS {
        return Err(Error::Forbidden {
            reason: format!("a {} has at most {MAX_CONSUMERS} consumers", K::OF),
        });
    }
    list.push(K::new(named, asker.project(), now));
    Ok(())
}

/// Takes one out of a list of what `holder` has: the project that added it may, and the holder.
pub(super) fn take<K: Kept>(
    list: &mut Vec<K>,
    named: &K::Named,
    asker: &Asker,
    holder: &str,
) -> Result<(), Error> {
    let place = list.iter().position(|kept| kept.is(named)).ok_or_else(|| Error::not_found("consumer"))?;
    let kept = list.remove(place);
    if [holder, kept.added_by().unwrap_or(holder)].contains(&asker.project()) {
        return Ok(());
    }
    Err(Error::Forbidden { reason: "the consumer was added by another project".to_owned() })
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let id = path::id("secret", &id)?;
    accept::json(&headers)?;
    app.manager.secret(&asker.caller, id, READ).await?;
    let kept = content_of(&app, id).await?;
    let page = asker.page(&app);
    let total = u64::try_from(kept.consumers.len()).unwrap_or(u64::MAX);
    let entry = |of: content::SecretConsumer| {
        let named = SecretConsumer {
            service: of.service,
            resource_type: of.resource_type,
            resource_id: of.resource_id,
        };
        ConsumerEntry::new(of.created, of.updated, named)
    };
    let entries = page.of(kept.consumers).into_iter().map(entry).collect();
    let place = format!("secrets/{id}/consumers");
    Ok(asker.listing(("consumers", &place), page, false, (entries, total)))
}

/// Who uses a secret.
pub(super) async fn content_of(app: &App, id: SecretId) -> Result<ConsumersContent, Error> {
    let found = app.manager.peek_document::<ConsumersContent>(SECRET_CONSUMERS, &id.to_string()).await?;
    Ok(found.map(|document| document.content).unwrap_or_default())
}

fn shown(asker: &Asker, view: &SecretView, kept: &ConsumersContent) -> Response {
    // Consumers are shown here whatever the microversion.
    let consumers = secrets::consumers(kept);
    super::private(axum::Json(secrets::with_consumers(asker, view, Some(&consumers))))
}

/// One entry. Since no list and no answer says the id of one, there is none to find; who may ask is asked all the same.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path((id, consumer)): Path<(String, String)>,
) -> Answer {
    let id = path::id("secret", &id)?;
    path::id("consumer", &consumer)?;
    app.manager.secret(&asker.caller, id, ONE).await?;
    Err(no_entry())
}

pub(super) fn no_entry() -> BarbicanError {
    BarbicanError::not_found("Not Found. There is no consumer of this id.")
}

pub(super) async fn add(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let id = path::id("secret", &id)?;
    let view = app.manager.may(&asker.caller, id, ADD).await?;
    let named = SecretConsumer::read(object(&app, &headers, body, consumer::SCHEMA).await?)?;
    carry_out(async move {
        let project = view.metadata.project.clone();
        let known = content_of(&app, id).await?.consumers.iter().any(|kept| kept.is(&named));
        let _turn =
            if known { None } else { quotas::room(&app, &project, quotas::Counted::Consumers).await? };
        let edit = |found: Option<ConsumersContent>| {
            let mut found = found.unwrap_or_default();
            put(&mut found.consumers, &named, &asker)?;
            Ok(found)
        };
        let (view, document) =
            app.manager.edit_attached(&asker.caller, SECRET_CONSUMERS, id, ADD, edit).await?;
        Ok(shown(&asker, &view, &document.content))
    })
    .await
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(asker): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let id = path::id("secret", &id)?;
    let project = app.manager.may(&asker.caller, id, REMOVE).await?.metadata.project.clone();
    let named = SecretConsumer::read(object(&app, &headers, body, consumer::SCHEMA).await?)?;
    carry_out(async move {
        let edit = |found: Option<ConsumersContent>| {
            let mut found = found.unwrap_or_default();
            take(&mut found.consumers, &named, &asker, &project)?;
            Ok(found)
        };
        let (view, document) =
            app.manager.edit_attached(&asker.caller, SECRET_CONSUMERS, id, REMOVE, edit).await?;
        Ok(shown(&asker, &view, &document.content))
    })
    .await
}
