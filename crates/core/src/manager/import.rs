//! Import: what another key manager held comes in as it was, with its ids, owners and times.
//!
//! Owns how it is written: each object with all that belongs to it in one audited batch, by the server itself. So an
//! object is there whole or not at all, and an import that was interrupted can be run again. Refuses to touch what is
//! there already: it is the same, or it is a conflict and stays as it is.

use chatelaine_crypto::KeyMaterial;
use serde_json::Value;

use super::acl::changed_users;
use super::{Actor, MAX_ACL_USERS, Manager};
use crate::acl::Acl;
use crate::audit::{Action, Event, Written};
use crate::clock::Timestamp;
use crate::directory::News;
use crate::document::{Document, DocumentKind};
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::keyring::Keyring;
use crate::record;
use crate::secret::{self, Metadata, Secret};
use crate::store::{Change, Kind, MAX_ATTRIBUTE, MAX_BODY, MAX_ID, Record, Store};

/// What sealing adds to a body at most, in bytes, generously.
const SEAL_ROOM: usize = 1024;
/// Room for the version in the id of a project's key.
const VERSION_ROOM: usize = 12;

/// A secret to be imported.
#[derive(Debug)]
pub struct ImportedSecret {
    /// Its id.
    pub id: SecretId,
    /// Everything but the payload.
    pub metadata: Metadata,
    /// Its payload, if it has one.
    pub payload: Option<KeyMaterial>,
    /// For each kind of documents that can go with it: the one that does, if any.
    pub attached: Vec<(DocumentKind, Option<Document<Value>>)>,
}

/// A document of its own to be imported.
#[derive(Debug, Clone)]
pub struct ImportedDocument {
    /// Its kind.
    pub kind: DocumentKind,
    /// It; its version is the first.
    pub document: Document<Value>,
}

/// What to do about objects whose id is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Tell whether they are the same.
    Compare,
    /// Believe that an earlier run of the same import wrote them.
    PassOver,
}

/// What there is under the id of an object to be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing; after an import: it was written.
    Absent,
    /// The same, or something that was not to be compared.
    Present,
    /// Something else, and how it differs.
    Conflict(&'static str),
}

impl ImportedSecret {
    /// Whether it is within the limits of the domain.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field that is not.
    pub fn check(&self, now: Timestamp, max_payload: usize) -> Result<()> {
        check_project(&self.metadata.project)?;
        check_acl(self.metadata.acl.as_ref())?;
        if self.metadata.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::invalid("expiration", "it is not in the future"));
        }
        let length = self.payload.as_ref().map_or(0, KeyMaterial::len);
        if self.payload.is_some() && !(1..=max_payload).contains(&length) {
            let reason = format!("it has {length} bytes, 1 to {max_payload} are allowed");
            return Err(Error::invalid("payload", reason));
        }
        let body = secret::encode(&self.metadata, &[])?.len().saturating_add(length);
        check_size("metadata and payload", body)?;
        let name = self.metadata.name.as_ref();
        check_attributes([Some(&self.metadata.owner), name, self.metadata.master_key.as_ref()])?;
        self.attached.iter().filter_map(|(_, document)| document.as_ref()).try_for_each(check_document)
    }

    /// What there is under its id.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when that does not open; those of the store.
    pub async fn standing(
        &self,
        store: &dyn Store,
        keyring: &Keyring,
        existing: Existing,
    ) -> Result<Standing> {
        let Some(record) = store.read(&Kind::SECRET, &self.id.to_string()).await? else {
            return Ok(Standing::Absent);
        };
        if existing == Existing::PassOver {
            return Ok(Standing::Present);
        }
        let (record, body) = keyring.open_current(store, &record).await?;
        let found = Secret::decode(&record, body)?;
        if found.metadata.deletion.is_some() {
            return Ok(Standing::Conflict("it was imported or made before, and deleted here"));
        }
        if found.metadata != self.metadata {
            return Ok(Standing::Conflict("what is known of it differs"));
        }
        let same = match &self.payload {
            Some(payload) => payload.ct_eq(found.payload()),
            None => found.payload().is_empty(),
        };
        if !same {
            return Ok(Standing::Conflict("its payload differs"));
        }
        for (kind, document) in &self.attached {
            let standing = document_standing(store, keyring, *kind, &record.id, document.as_ref()).await?;
            if standing != Standing::Present {
                return Ok(Standing::Conflict("what goes with it differs"));
            }
        }
        Ok(Standing::Present)
    }
}

impl ImportedDocument {
    /// As for a secret.
    ///
    /// # Errors
    /// As for [`ImportedSecret::check`].
    pub fn check(&self) -> Result<()> {
        check_document(&self.document)
    }

    /// What there is under its id.
    ///
    /// # Errors
    /// As for [`ImportedSecret::standing`].
    pub async fn standing(
        &self,
        store: &dyn Store,
        keyring: &Keyring,
        existing: Existing,
    ) -> Result<Standing> {
        let id = &self.document.id;
        if existing == Existing::PassOver {
            let found = store.read(&self.kind.kind(), id).await?;
            return Ok(if found.is_some() { Standing::Present } else { Standing::Absent });
        }
        document_standing(store, keyring, self.kind, id, Some(&self.document)).await
    }
}

/// `Present`: it is as wanted, be that that there is none.
async fn document_standing(
    store: &dyn Store,
    keyring: &Keyring,
    kind: DocumentKind,
    id: &str,
    wanted: Option<&Document<Value>>,
) -> Result<Standing> {
    let found = match store.read(&kind.kind(), id).await? {
        None => None,
        Some(record) => {
            let (record, body) = keyring.open_current(store, &record).await?;
            Some(Document::<Value>::decode(&record, body.expose())?)
        }
    };
    Ok(match (found, wanted) {
        (None, None) => Standing::Present,
        (None, Some(_)) => Standing::Absent,
        (Some(found), Some(wanted)) if Document { version: wanted.version, ..found.clone() } == *wanted => {
            Standing::Present
        }
        (Some(_), _) => Standing::Conflict("its content differs"),
    })
}

fn check_project(project: &str) -> Result<()> {
    let most = MAX_ID.saturating_sub(VERSION_ROOM);
    if project.is_empty() || project.len() > most {
        let reason = format!("its id has {} bytes, 1 to {most} are allowed", project.len());
        return Err(Error::invalid("project", reason));
    }
    Ok(())
}

fn check_acl(acl: Option<&Acl>) -> Result<()> {
    let users = acl.map_or(0, |acl| acl.users.len());
    if users > MAX_ACL_USERS {
        let reason = format!("its access list names {users} users, at most {MAX_ACL_USERS} are allowed");
        return Err(Error::invalid("users", reason));
    }
    Ok(())
}

fn check_size(what: &str, length: usize) -> Result<()> {
    let most = MAX_BODY.saturating_sub(SEAL_ROOM);
    if length > most {
        return Err(Error::invalid(what, format!("{length} bytes together, at most {most} are allowed")));
    }
    Ok(())
}

fn check_attributes<'a>(texts: impl IntoIterator<Item = Option<&'a String>>) -> Result<()> {
    if texts.into_iter().flatten().any(|text| text.len() > MAX_ATTRIBUTE) {
        let reason = format!("longer than the {MAX_ATTRIBUTE} bytes that are allowed");
        return Err(Error::invalid("owner or name", reason));
    }
    Ok(())
}

fn check_document(document: &Document<Value>) -> Result<()> {
    check_project(&document.project)?;
    check_acl(document.acl.as_ref())?;
    check_attributes([Some(&document.owner), document.name.as_ref(), document.class.as_ref()])?;
    let content =
        serde_json::to_vec(&document.content).map_err(|error| Error::Internal(error.to_string()))?;
    check_size("content", content.len().saturating_add(MAX_ATTRIBUTE * 8))
}

impl Manager {
    /// Imports a secret with its access list and the documents that go with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] as from [`ImportedSecret::check`], and those of store and trail.
    pub async fn import_secret(&self, secret: &ImportedSecret, existing: Existing) -> Result<Standing> {
        secret.check(self.clock.now(), self.settings.max_secret_payload)?;
        let found = secret.standing(&*self.store, &self.keyring, existing).await?;
        if found != Standing::Absent {
            return Ok(found);
        }
        let (id, metadata) = (secret.id, &secret.metadata);
        let payload = secret.payload.as_ref().map_or(&[][..], |payload| payload.expose());
        let record = self.seal(id, Version::FIRST, metadata, payload).await?;
        let mut events = vec![self.import_event("secret", &record)];
        let mut batch = vec![Change::Create(record)];
        for (kind, document) in &secret.attached {
            if let Some(document) = document {
                let record = self.seal_document(*kind, document).await?;
                events.push(self.import_event(kind.name, &record));
                batch.push(Change::Create(record));
            }
        }
        let users = changed_users(None, metadata.acl.as_ref());
        batch.extend(self.acl_changes(&metadata.project, id, users).await?);
        let news = [News::is(id, Version::FIRST, metadata, !payload.is_empty())];
        written(self.change_several(&metadata.project, events, batch, &news).await)
    }

    /// Imports a document of its own.
    ///
    /// # Errors
    /// As for [`Self::import_secret`].
    pub async fn import_document(&self, imported: &ImportedDocument, existing: Existing) -> Result<Standing> {
        imported.check()?;
        let found = imported.standing(&*self.store, &self.keyring, existing).await?;
        if found != Standing::Absent {
            return Ok(found);
        }
        let record = self.seal_document(imported.kind, &imported.document).await?;
        let events = vec![self.import_event(imported.kind.name, &record)];
        let batch = vec![Change::Create(record)];
        written(self.change_several(&imported.document.project, events, batch, &[]).await)
    }

    fn import_event(&self, kind: &'static str, record: &Record) -> (Event, Written) {
        let written = Written { version: record.version, digest: record::digest(record) };
        (self.event(&Actor::server(), Action::Import, Some((kind, record.id.clone()))), written)
    }
}

/// The end of a change that was to create everything in it.
fn written(result: Result<()>) -> Result<Standing> {
    match result {
        Ok(()) => Ok(Standing::Absent),
        Err(Error::Exists { .. }) => {
            Ok(Standing::Conflict("something that would go with it is there already"))
        }
        Err(error) => Err(error),
    }
}
