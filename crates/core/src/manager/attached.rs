//! Documents that may not be there yet: what a protocol keeps of a secret beside it, and of a project.
//!
//! Invariant: they are made by the first change, and go when their secret does.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::documents::busy;
use super::secrets::{Access, project_of};
use super::{ATTEMPTS, Manager};
use crate::audit::Action;
use crate::document::{Document, DocumentKind};
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::policy::Caller;
use crate::secret::SecretView;
use crate::store::{Change, Kind, Query};

impl Manager {
    /// Makes or changes the document of a project that is not the caller's own, for administrators of all projects.
    ///
    /// # Errors
    /// As for [`Self::edit_document`].
    pub async fn put_document<T: Serialize + DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        (project, id): (&str, &str),
        access: Access,
        edit: impl Fn(Option<T>) -> Result<T>,
    ) -> Result<Document<T>> {
        for _ in 0..ATTEMPTS {
            let allowed =
                project_of(caller).and_then(|_| self.policy.load().require(access.rule, caller, None));
            if let Err(error) = allowed {
                let target = Some((kind.name, id.to_owned()));
                return self.refuse_on(caller, access.action, target, error).await;
            }
            if let Some(document) =
                self.put_once(caller, kind, (project, id, None), access.action, &edit).await?
            {
                return Ok(document);
            }
        }
        Err(busy(kind, id))
    }

    /// Makes or changes the document that goes with a secret, by what the rules say of the secret.
    ///
    /// # Errors
    /// As for [`Self::edit_document`].
    pub async fn edit_attached<T: Serialize + DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        secret: SecretId,
        access: Access,
        edit: impl Fn(Option<T>) -> Result<T>,
    ) -> Result<(Arc<SecretView>, Document<T>)> {
        let id = secret.to_string();
        for _ in 0..ATTEMPTS {
            let view = self.may(caller, secret, access).await?;
            let place = (view.metadata.project.as_str(), id.as_str(), Some(view.version));
            if let Some(document) = self.put_once(caller, kind, place, access.action, &edit).await? {
                return Ok((view, document));
            }
        }
        Err(busy(kind, &id))
    }

    /// One attempt; `None` when somebody was faster. `with`: the version of the secret the document goes with.
    async fn put_once<T: Serialize + DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        (project, id, with): (&str, &str, Option<Version>),
        action: Action,
        edit: &(impl Fn(Option<T>) -> Result<T> + ?Sized),
    ) -> Result<Option<Document<T>>> {
        let prepared = async {
            let now = self.clock.now();
            let found: Option<Document<T>> = self.peek_document(kind, id).await?;
            let expected = found.as_ref().map(|document| document.version);
            let document = match found {
                Some(document) => Document {
                    version: document.version.next(),
                    updated: now,
                    content: edit(Some(document.content))?,
                    ..document
                },
                None => Document {
                    id: id.to_owned(),
                    version: Version::FIRST,
                    project: project.to_owned(),
                    owner: caller.identity().user_id.clone(),
                    created: now,
                    updated: now,
                    name: None,
                    class: None,
                    parent: with.map(|_| id.to_owned()),
                    reference: None,
                    acl: None,
                    content: edit(None)?,
                },
            };
            let record = self.seal_document(kind, &document).await?;
            Ok((expected, document, record))
        };
        let (expected, document, record) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                return self.refuse_on(caller, action, Some((kind.name, id.to_owned())), error).await;
            }
        };
        let events = vec![self.event_of(caller, action, kind.name, &record)];
        let mut batch = vec![match expected {
            Some(expected) => Change::Replace { expected, record },
            None => Change::Create(record),
        }];
        if let Some(version) = with {
            // A secret that goes at this moment leaves nothing behind.
            batch.push(Change::Require { kind: Kind::SECRET, id: id.to_owned(), expected: Some(version) });
        }
        match self.change_several(project, events, batch, &[]).await {
            Ok(()) => Ok(Some(document)),
            Err(Error::VersionMismatch { .. } | Error::Exists { .. } | Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The removal of the documents that go with a secret, for its end.
    pub(super) async fn attached_removals(&self, secret: SecretId) -> Result<Vec<Change>> {
        let mut removals = Vec::new();
        for kind in &self.settings.attached_kinds {
            let query = Query { parent: Some(secret.to_string()), ..Query::of(kind.kind()) };
            for record in self.store.list(&query).await? {
                removals.push(Change::Remove { kind: record.kind, id: record.id, expected: record.version });
            }
        }
        removals.extend(self.acl_removals(secret).await?);
        Ok(removals)
    }
}
