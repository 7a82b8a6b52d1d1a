//! Documents: what a protocol keeps beside secrets, by the same order of authorize, audit, act.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::projects::{Condition, PAGE};
use super::secrets::{Access, NewSecret, object_target, project_of};
use super::{ATTEMPTS, Actor, Manager};
use crate::audit::{Action, Durability, Event, Written};
use crate::directory::News;
use crate::document::{Document, DocumentKind};
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::policy::Caller;
use crate::recent::Kept;
use crate::record::{self, SealedUnder};
use crate::secret::SecretView;
use crate::store::{Change, MAX_BODY, Query, Record};

/// Largest content of a document, in bytes; beside it there is room for the seal.
const MAX_CONTENT: usize = MAX_BODY - 1024;

/// A document to be stored; project and owner are the caller's, unless `project` says otherwise.
#[derive(Debug)]
pub struct NewDocument {
    /// Its kind.
    pub kind: DocumentKind,
    /// Its id.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// What it is within its kind.
    pub class: Option<String>,
    /// The secret it goes with.
    pub parent: Option<String>,
    /// What it refers to.
    pub reference: Option<String>,
    /// The content.
    pub content: serde_json::Value,
}

/// Which documents to list.
pub struct DocumentFilter<'a, T> {
    /// Only of this class.
    pub class: Option<&'a str>,
    /// What each must meet; `None`: nothing.
    pub matches: Option<Condition<'a, Document<T>>>,
    /// In every project, not only the caller's.
    pub everywhere: bool,
    /// How many to leave out first.
    pub offset: usize,
    /// At most this many.
    pub limit: usize,
}

impl Manager {
    /// Stores secrets and documents that belong together, all or none.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Invalid`], [`Error::Exists`], and those of store and trail.
    pub async fn create_objects(
        &self,
        caller: &Caller,
        access: Access,
        secrets: Vec<(SecretId, NewSecret)>,
        documents: Vec<NewDocument>,
    ) -> Result<Vec<Arc<SecretView>>> {
        let prepared = async {
            let project = project_of(caller)?;
            self.policy.load().require(access.rule, caller, None)?;
            let mut events = Vec::new();
            let mut batch = Vec::new();
            let mut views = Vec::new();
            for (id, new) in &secrets {
                let metadata = self.new_metadata(caller, new)?;
                let payload = new.payload.as_ref().map_or(&[][..], |payload| payload.expose());
                let record = self.seal(*id, Version::FIRST, &metadata, payload).await?;
                events.push(self.event_of(caller, access.action, "secret", &record));
                batch.push(Change::Create(record));
                let has_payload = !payload.is_empty();
                views.push(Arc::new(SecretView { id: *id, version: Version::FIRST, metadata, has_payload }));
            }
            for new in documents {
                let now = self.clock.now();
                let document = Document {
                    id: new.id,
                    version: Version::FIRST,
                    project: project.to_owned(),
                    owner: caller.identity().user_id.clone(),
                    created: now,
                    updated: now,
                    name: new.name,
                    class: new.class,
                    parent: new.parent,
                    reference: new.reference,
                    acl: None,
                    content: new.content,
                };
                let record = self.seal_document(new.kind, &document).await?;
                events.push(self.event_of(caller, access.action, new.kind.name, &record));
                batch.push(Change::Create(record));
            }
            Ok((project, events, batch, views))
        };
        let (project, events, batch, views) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(caller, access.action, None, error).await,
        };
        let news: Vec<News> = views.iter().map(|view| News::Is(Arc::clone(view))).collect();
        self.change_several(project, events, batch, &news).await?;
        Ok(views)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], and those of store and trail.
    pub async fn document<T: DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        id: &str,
        access: Access,
    ) -> Result<Document<T>> {
        match self.find_document(caller, kind, id, access).await {
            Ok(document) => {
                let event = self.event(&Actor::of(caller), access.action, Some((kind.name, id.to_owned())));
                self.trail.append(&[event], Durability::Written).await?;
                Ok(document)
            }
            Err(error) => {
                self.refuse_on(caller, access.action, Some((kind.name, id.to_owned())), error).await
            }
        }
    }

    /// Whether a caller may do something to a document, for protocols that look at the rest of a request after that.
    /// What is found is not to be shown; the operation itself asks again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], and those of the store; refusals are written down.
    pub async fn may_document<T: DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        id: &str,
        access: Access,
    ) -> Result<Document<T>> {
        match self.find_document(caller, kind, id, access).await {
            Ok(document) => Ok(document),
            Err(error) => {
                self.refuse_on(caller, access.action, Some((kind.name, id.to_owned())), error).await
            }
        }
    }

    /// Changes a document; `edit` may be called again when somebody else was faster.
    ///
    /// # Errors
    /// What `edit` refuses, [`Error::NotFound`], [`Error::Forbidden`], and those of store and trail.
    pub async fn edit_document<T: Serialize + DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        id: &str,
        access: Access,
        edit: impl Fn(&mut Document<T>) -> Result<()>,
    ) -> Result<Document<T>> {
        let target = Some((kind.name, id.to_owned()));
        for _ in 0..ATTEMPTS {
            let prepared = async {
                let mut document: Document<T> = self.find_document(caller, kind, id, access).await?;
                let expected = document.version;
                edit(&mut document)?;
                document.version = expected.next();
                document.updated = self.clock.now();
                let record = self.seal_document(kind, &document).await?;
                Ok((expected, document, record))
            };
            let (expected, document, record) = match prepared.await {
                Ok(prepared) => prepared,
                Err(error) => return self.refuse_on(caller, access.action, target, error).await,
            };
            let events = vec![self.event_of(caller, access.action, kind.name, &record)];
            let batch = vec![Change::Replace { expected, record }];
            match self.change_several(&document.project, events, batch, &[]).await {
                Ok(()) => return Ok(document),
                Err(Error::VersionMismatch { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(kind, id))
    }

    /// Removes a document for good.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], and those of store and trail.
    pub async fn remove_document(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        id: &str,
        access: Access,
    ) -> Result<()> {
        let target = Some((kind.name, id.to_owned()));
        for _ in 0..ATTEMPTS {
            let found = self.find_document::<serde_json::Value>(caller, kind, id, access).await;
            let document = match found {
                Ok(document) => document,
                Err(error) => return self.refuse_on(caller, access.action, target, error).await,
            };
            let written = Written { version: document.version, digest: String::new() };
            let event = self.event(&Actor::of(caller), access.action, target.clone());
            let removal = Change::Remove { kind: kind.kind(), id: id.to_owned(), expected: document.version };
            match self.change_several(&document.project, vec![(event, written)], vec![removal], &[]).await {
                Ok(()) => return Ok(()),
                Err(Error::VersionMismatch { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(kind, id))
    }

    /// Lists documents in the order of their creation; the second value is the number of all that match.
    ///
    /// # Errors
    /// [`Error::Forbidden`], and those of store and trail.
    pub async fn list_documents<T: DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        rule: &str,
        filter: &DocumentFilter<'_, T>,
    ) -> Result<(Vec<Document<T>>, usize)> {
        let listed = async {
            let project = project_of(caller)?;
            self.policy.load().require(rule, caller, None)?;
            let project = (!filter.everywhere).then_some(project);
            self.scan_documents(kind, project, filter).await
        };
        match listed.await {
            Ok(page) => {
                let mut event = self.event(&Actor::of(caller), Action::List, None);
                event.target_kind = Some(kind.name);
                self.trail.append(&[event], Durability::Written).await?;
                Ok(page)
            }
            Err(error) => self.refuse_on(caller, Action::List, None, error).await,
        }
    }

    async fn scan_documents<T: DeserializeOwned + Send>(
        &self,
        kind: DocumentKind,
        project: Option<&str>,
        filter: &DocumentFilter<'_, T>,
    ) -> Result<(Vec<Document<T>>, usize)> {
        let query = Query {
            project: project.map(str::to_owned),
            class: filter.class.map(str::to_owned),
            limit: PAGE,
            ..Query::of(kind.kind())
        };
        let counted = match filter.matches {
            None => Some(self.store.count(&query).await?),
            Some(_) => None,
        };
        let (mut page, mut total, mut after) = (Vec::new(), 0_usize, None);
        loop {
            let records = self.store.list(&Query { after, ..query.clone() }).await?;
            let Some(last) = records.last() else { break };
            after = Some(last.position());
            for record in &records {
                if filter.matches.is_none() && total < filter.offset {
                    total = total.saturating_add(1);
                    continue;
                }
                let Some(document) = self.undamaged_document(record).await? else { continue };
                if filter.matches.is_some_and(|matches| !matches(&document)) {
                    continue;
                }
                if total >= filter.offset && page.len() < filter.limit {
                    page.push(document);
                }
                total = total.saturating_add(1);
            }
            if counted.is_some() && page.len() == filter.limit {
                break;
            }
        }
        Ok((page, counted.map_or(total, |counted| usize::try_from(counted).unwrap_or(usize::MAX))))
    }

    /// How many documents of a kind a project has, for its quota.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn count_documents(&self, kind: DocumentKind, project: &str) -> Result<u64> {
        Ok(self.store.count(&Query { project: Some(project.to_owned()), ..Query::of(kind.kind()) }).await?)
    }

    /// The sum of a number over all documents of a kind that a project has, for its quota.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn sum_documents<T: DeserializeOwned + Send>(
        &self,
        kind: DocumentKind,
        project: &str,
        number: impl Fn(&Document<T>) -> usize + Send,
    ) -> Result<usize> {
        let (mut sum, mut after) = (0_usize, None);
        loop {
            let query =
                Query { project: Some(project.to_owned()), after, limit: PAGE, ..Query::of(kind.kind()) };
            let records = self.store.list(&query).await?;
            let Some(last) = records.last() else { return Ok(sum) };
            after = Some(last.position());
            for record in &records {
                if let Some(document) = self.undamaged_document(record).await? {
                    sum = sum.saturating_add(number(&document));
                }
            }
        }
    }

    /// Reads a document for the protocol's own rules (a quota in force); nobody is shown it by this.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn peek_document<T: DeserializeOwned + Send>(
        &self,
        kind: DocumentKind,
        id: &str,
    ) -> Result<Option<Document<T>>> {
        let seen = match self.recent.find(&kind.kind(), id) {
            Ok(Kept::Document(found)) => {
                return found.map(|found| Document::decode(&found.0, &found.1)).transpose();
            }
            Ok(Kept::Secret(_)) => return Err(Error::Internal(format!("{}/{id} is a secret", kind.name))),
            Err(seen) => seen,
        };
        let Some(record) = self.store.read(&kind.kind(), id).await? else {
            self.recent.keep(&kind.kind(), id, seen, Kept::Document(None));
            return Ok(None);
        };
        let (record, body) = match self.keyring.open_current(&*self.store, &record).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let document = Document::decode(&record, body.expose())?;
        let kept = (Record { body: Vec::new(), ..record.into_owned() }, body.expose().to_vec());
        self.recent.keep(&kind.kind(), id, seen, Kept::Document(Some(Arc::new(kept))));
        Ok(Some(document))
    }

    /// The document, if there is one that the caller may know of and use by `access`.
    async fn find_document<T: DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        id: &str,
        access: Access,
    ) -> Result<Document<T>> {
        let project = project_of(caller)?;
        let missing = || Error::not_found(format!("{} {id}", kind.noun.unwrap_or(kind.name)));
        let Some(noun) = kind.noun else {
            self.policy.load().require(access.rule, caller, None)?;
            return self.peek_document(kind, id).await?.ok_or_else(missing);
        };
        let document: Document<T> = self.peek_document(kind, id).await?.ok_or_else(missing)?;
        if kind.hidden_from_others && document.project != project {
            return Err(missing());
        }
        let target = object_target(noun, caller, &document.project, &document.owner, document.acl.as_ref());
        self.policy
            .load()
            .require_on(access.rule, caller, &target)
            .map_err(|error| if self.settings.hide_existence { missing() } else { error })?;
        Ok(document)
    }

    /// The document; a damaged one is left out, so that it does not hide what stands beside it.
    async fn undamaged_document<T: DeserializeOwned>(&self, record: &Record) -> Result<Option<Document<T>>> {
        match self.open_document(record).await {
            Err(Error::Corrupt(reason)) => {
                self.count_damaged(1);
                Self::log_damaged(&record.kind, &record.id, &reason);
                Ok(None)
            }
            Err(Error::NotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    async fn open_document<T: DeserializeOwned>(&self, record: &Record) -> Result<Document<T>> {
        let (record, body) = self.keyring.open_current(&*self.store, record).await?;
        Document::decode(&record, body.expose())
    }

    pub(super) async fn seal_document<T: Serialize>(
        &self,
        kind: DocumentKind,
        document: &Document<T>,
    ) -> Result<Record> {
        let (mut record, body) = document.encode(kind.kind())?;
        if body.len() > MAX_CONTENT {
            return Err(Error::invalid(kind.name, "it would be larger than can be stored: make it smaller"));
        }
        let key = self.keyring.current(&*self.store, &*self.clock, &document.project).await?;
        record::seal(&mut record, &SealedUnder::ScopeKey(key.version), &key.cipher, &body)?;
        Ok(record)
    }

    /// The event of a change that leads to this record.
    pub(super) fn event_of(
        &self,
        caller: &Caller,
        action: Action,
        kind: &'static str,
        record: &Record,
    ) -> (Event, Written) {
        let written = Written { version: record.version, digest: record::digest(record) };
        (self.event(&Actor::of(caller), action, Some((kind, record.id.clone()))), written)
    }
}

pub(super) fn busy(kind: DocumentKind, id: &str) -> Error {
    Error::Unavailable(format!("{} {id} is changed by too many at once", kind.name))
}
