//! Settings: documents that say how something outside is to be treated, a user, a project or a domain.
//!
//! Invariants: the rules are asked, with what the setting is about, before anything is looked up, so that a refusal says
//! nothing about what is set; a change names the version it is based on, and makes a new one where there was none.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::secrets::Access;
use super::{Actor, Manager};
use crate::audit::{Action, Durability, Written};
use crate::document::{Document, DocumentKind};
use crate::error::{Error, Result};
use crate::id::Version;
use crate::policy::Caller;
use crate::policy::rules::Attributes;
use crate::store::Change;

/// Where a setting is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its kind.
    pub kind: DocumentKind,
    /// Its id within the kind.
    pub id: &'a str,
    /// Under whose key it is sealed.
    pub project: &'a str,
    /// What it is, for messages: "the encryption default of project 4f1c…".
    pub what: &'a str,
}

impl Manager {
    async fn allow_setting(
        &self,
        caller: &Caller,
        place: Place<'_>,
        access: Access,
        target: &impl Attributes,
    ) -> Result<()> {
        let allowed = self.policy.load().require_on(access.rule, caller, target);
        match allowed {
            Ok(()) => Ok(()),
            Err(error) => self.refuse_setting(caller, place, access.action, error).await,
        }
    }

    async fn refuse_setting<T>(
        &self,
        caller: &Caller,
        place: Place<'_>,
        action: Action,
        error: Error,
    ) -> Result<T> {
        self.refuse_on(caller, action, Some((place.kind.name, place.id.to_owned())), error).await
    }

    /// Reads a setting.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], and those of store and trail.
    pub async fn setting<T: DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        place: Place<'_>,
        access: Access,
        target: &impl Attributes,
    ) -> Result<Document<T>> {
        self.allow_setting(caller, place, access, target).await?;
        match self.peek_document(place.kind, place.id).await {
            Ok(Some(document)) => {
                let target = Some((place.kind.name, place.id.to_owned()));
                let event = self.event(&Actor::of(caller), access.action, target);
                self.trail.append(&[event], Durability::Written).await?;
                Ok(document)
            }
            Ok(None) => self.refuse_setting(caller, place, access.action, Error::not_found(place.what)).await,
            Err(error) => self.refuse_setting(caller, place, access.action, error).await,
        }
    }

    /// Whether the caller may look at settings that are found out together; that it did is written down.
    ///
    /// # Errors
    /// [`Error::Forbidden`], and those of the trail.
    pub async fn allow_settings(
        &self,
        caller: &Caller,
        kind: DocumentKind,
        access: Access,
        target: &impl Attributes,
    ) -> Result<()> {
        let allowed = self.policy.load().require_on(access.rule, caller, target);
        if let Err(error) = allowed {
            return self.refuse(caller, access.action, None, error).await;
        }
        let mut event = self.event(&Actor::of(caller), access.action, None);
        event.target_kind = Some(kind.name);
        Ok(self.trail.append(&[event], Durability::Written).await?)
    }

    /// Sets a setting: a new one without `expected`, and else in place of the one that has this version.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is one and no version was named, [`Error::VersionMismatch`], [`Error::NotFound`] where a
    /// version was named and there is none, [`Error::Forbidden`], and those of store and trail.
    pub async fn put_setting<T: Serialize + DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        place: Place<'_>,
        access: Access,
        target: &impl Attributes,
        (expected, content): (Option<Version>, T),
    ) -> Result<Document<T>> {
        self.allow_setting(caller, place, access, target).await?;
        let prepared = async {
            let now = self.clock.now();
            let found: Option<Document<T>> = self.peek_document(place.kind, place.id).await?;
            let document = match (found, expected) {
                (Some(found), Some(expected)) if found.version == expected => {
                    Document { version: expected.next(), updated: now, content, ..found }
                }
                (Some(found), Some(_)) => return Err(Error::VersionMismatch { current: found.version }),
                (Some(_), None) => return Err(Error::Exists { what: place.what.to_owned() }),
                (None, Some(_)) => return Err(Error::not_found(place.what)),
                (None, None) => Document {
                    id: place.id.to_owned(),
                    version: Version::FIRST,
                    project: place.project.to_owned(),
                    owner: caller.identity().user_id.clone(),
                    created: now,
                    updated: now,
                    name: None,
                    class: None,
                    parent: None,
                    reference: None,
                    acl: None,
                    content,
                },
            };
            let record = self.seal_document(place.kind, &document).await?;
            Ok((document, record))
        };
        let (document, record) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse_setting(caller, place, access.action, error).await,
        };
        let action = if expected.is_some() { access.action } else { Action::Create };
        let events = vec![self.event_of(caller, action, place.kind.name, &record)];
        let change = match expected {
            Some(expected) => Change::Replace { expected, record },
            None => Change::Create(record),
        };
        match self.change_several(place.project, events, vec![change], &[]).await {
            Ok(()) => Ok(document),
            Err(error) => Err(told(error, place)),
        }
    }

    /// Removes a setting, of this version where one is named.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VersionMismatch`], [`Error::Forbidden`], and those of store and trail.
    pub async fn remove_setting(
        &self,
        caller: &Caller,
        place: Place<'_>,
        access: Access,
        target: &impl Attributes,
        expected: Option<Version>,
    ) -> Result<()> {
        self.allow_setting(caller, place, access, target).await?;
        let found = async {
            let found = self.peek_document::<serde_json::Value>(place.kind, place.id).await?;
            let current = found.ok_or_else(|| Error::not_found(place.what))?.version;
            match expected {
                Some(expected) if expected != current => Err(Error::VersionMismatch { current }),
                _ => Ok(current),
            }
        };
        let current = match found.await {
            Ok(current) => current,
            Err(error) => return self.refuse_setting(caller, place, access.action, error).await,
        };
        let written = Written { version: current, digest: String::new() };
        let event =
            self.event(&Actor::of(caller), access.action, Some((place.kind.name, place.id.to_owned())));
        let removal = Change::Remove { kind: place.kind.kind(), id: place.id.to_owned(), expected: current };
        self.change_several(place.project, vec![(event, written)], vec![removal], &[])
            .await
            .map_err(|error| told(error, place))
    }
}

/// The same error in the words of whoever asked.
fn told(error: Error, place: Place<'_>) -> Error {
    match error {
        Error::Exists { .. } => Error::Exists { what: place.what.to_owned() },
        Error::NotFound { .. } => Error::not_found(place.what),
        other => other,
    }
}
