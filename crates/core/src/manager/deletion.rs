//! Deletion: a tombstone that only a server with the store's keys can make, and the way back within the grace period.

use serde::de::DeserializeOwned;

use super::secrets::Access;
use super::{ATTEMPTS, Actor, Description, Manager};
use crate::audit::{Action, Written};
use crate::clock::Timestamp;
use crate::directory::News;
use crate::document::DocumentKind;
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::policy::Caller;
use crate::record;
use crate::secret::{Deletion, Secret};
use crate::store::{Change, Kind, Record};
use crate::tombstone::{self, Tombstone};

impl Manager {
    /// Deletes a key: it leaves a tombstone, and can be undeleted until the grace period is over.
    ///
    /// # Errors
    /// As for [`Self::update`]; without `expected` whatever version is there is deleted.
    pub async fn delete(&self, caller: &Caller, id: SecretId, expected: Option<Version>) -> Result<()> {
        let found = async {
            let (_, secret) = self.find(caller, "key:delete", id, false).await?;
            match expected {
                Some(expected) if expected != secret.version => {
                    Err(Error::VersionMismatch { current: secret.version })
                }
                _ => Ok(secret),
            }
        };
        match found.await {
            Ok(secret) => self.bury(&Actor::of(caller), &secret, Vec::new()).await,
            Err(error) => self.refuse(caller, Action::Delete, Some(id), error).await,
        }
    }

    /// Deletes a secret by Barbican's rules; `guard` sees the content of the document of the kind `attached` that goes
    /// with it, if there is one, and may refuse.
    ///
    /// # Errors
    /// What `guard` refuses; as for [`Self::edit_secret`].
    pub async fn delete_secret<T: DeserializeOwned + Send>(
        &self,
        caller: &Caller,
        id: SecretId,
        attached: DocumentKind,
        guard: impl Fn(Option<&T>) -> Result<()>,
    ) -> Result<()> {
        let access = Access { rule: "secret:delete", action: Action::Delete };
        for _ in 0..ATTEMPTS {
            let found = async {
                let secret = self.find_secret(caller, id, access).await?;
                let document = self.peek_document::<T>(attached, &id.to_string()).await?;
                guard(document.as_ref().map(|document| &document.content))?;
                // What the guard saw must still be so when the secret goes.
                let unchanged = Change::Require {
                    kind: attached.kind(),
                    id: id.to_string(),
                    expected: document.map(|document| document.version),
                };
                Ok((secret, unchanged))
            };
            let (secret, unchanged) = match found.await {
                Ok(found) => found,
                Err(error) => return self.refuse(caller, Action::Delete, Some(id), error).await,
            };
            match self.bury(&Actor::of(caller), &secret, vec![unchanged]).await {
                // Somebody changed it, or what goes with it, meanwhile: what is there now is looked at again.
                Err(Error::VersionMismatch { .. } | Error::Exists { .. } | Error::NotFound { .. }) => {}
                done => return done,
            }
        }
        Err(Error::Unavailable(format!("secret {id} is changed by too many at once")))
    }

    /// `also`: conditions and changes of the same step.
    pub(super) async fn bury(&self, actor: &Actor, secret: &Secret, also: Vec<Change>) -> Result<()> {
        let now = self.clock.now();
        let purge_at = now.plus(self.settings.grace);
        let event = self.event(actor, Action::Delete, Some(("secret", secret.id.to_string())));
        let mut metadata = secret.metadata.clone();
        metadata.deletion = Some(Deletion { at: now, purge_at, event: event.id });
        metadata.updated = now;
        let record = self.seal(secret.id, secret.version.next(), &metadata, secret.payload()).await?;
        let written = Written { version: record.version, digest: record::digest(&record) };
        let grave = Tombstone { secret: secret.id, version: record.version, event: event.id, purge_at };
        let mut batch = also;
        batch.push(Change::Replace { expected: secret.version, record });
        // Whatever lies on a live secret was planted: it must not stand in the way, and goes in the same step, so that a
        // deletion at the same moment keeps its tombstone.
        match self.store.read(&Kind::TOMBSTONE, &secret.id.to_string()).await? {
            None => {
                let stone = self.tombstone(&metadata.project, &grave, now, Version::FIRST).await?;
                batch.push(Change::Create(stone));
            }
            Some(planted) => {
                // One of a deletion that was faster is not planted: that the secret is as it was tells them apart.
                match self.store.read(&Kind::SECRET, &planted.id).await? {
                    None => return Err(Error::not_found(format!("key {}", secret.id))),
                    Some(now) if now.version != secret.version => {
                        return Err(Error::VersionMismatch { current: now.version });
                    }
                    Some(_) => {}
                }
                self.note_planted(&planted.id, "it lay on a key that is deleted only now: it is replaced")
                    .await?;
                let version = planted.version.next();
                let record = self.tombstone(&metadata.project, &grave, planted.created, version).await?;
                batch.push(Change::Replace { expected: planted.version, record });
            }
        }
        let news = News::is(secret.id, written.version, &metadata, !secret.payload().is_empty());
        self.change(news, event, written, batch).await
    }

    /// The record of a tombstone.
    pub(super) async fn tombstone(
        &self,
        project: &str,
        grave: &Tombstone,
        created: Timestamp,
        version: Version,
    ) -> Result<Record> {
        let key = self.keyring.current(&*self.store, &*self.clock, project).await?;
        let tombstone_key = self.keyring.tombstone_key(&*self.store).await?;
        tombstone::make(&tombstone_key, &key, project, grave, created, version)
    }

    /// Takes a deletion back.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the key is not deleted; [`Error::NotFound`] when the grace period is over, whether or not
    /// it is purged already; as for [`Self::update`].
    pub async fn undelete(&self, caller: &Caller, id: SecretId) -> Result<Description> {
        let found = async {
            let (_, secret) = self.find(caller, "key:undelete", id, true).await?;
            let now = self.passed_now();
            match secret.metadata.deletion {
                Some(deletion) if deletion.purge_at <= now => Err(Error::not_found(format!("key {id}"))),
                _ => Ok(secret),
            }
        };
        match found.await {
            Ok(secret) => self.dig_out(&Actor::of(caller), Action::Undelete, &secret, None).await,
            Err(error) => self.refuse(caller, Action::Undelete, Some(id), error).await,
        }
    }

    pub(super) async fn dig_out(
        &self,
        actor: &Actor,
        action: Action,
        secret: &Secret,
        reason: Option<&str>,
    ) -> Result<Description> {
        let now = self.clock.now();
        let mut metadata = secret.metadata.clone();
        metadata.deletion = None;
        metadata.updated = now;
        let record = self.seal(secret.id, secret.version.next(), &metadata, secret.payload()).await?;
        let version = record.version;
        let written = Written { version, digest: record::digest(&record) };
        let mut batch = vec![Change::Replace { expected: secret.version, record }];
        if let Some(stone) = self.store.read(&Kind::TOMBSTONE, &secret.id.to_string()).await? {
            batch.push(Change::Remove { kind: Kind::TOMBSTONE, id: stone.id, expected: stone.version });
        }
        let mut event = self.event(actor, action, Some(("secret", secret.id.to_string())));
        event.reason = reason.map(str::to_owned);
        let news = News::is(secret.id, version, &metadata, !secret.payload().is_empty());
        self.change(news, event, written, batch).await?;
        Ok(Description { id: secret.id, version, state: metadata.state(now), metadata })
    }
}
