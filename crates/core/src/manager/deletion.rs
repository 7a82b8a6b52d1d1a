//! Deletion: a tombstone that only a server with the master key can make, and the way back within the grace period.

use super::{Actor, Description, Manager};
use crate::audit::{Action, Written};
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::policy::Caller;
use crate::record;
use crate::secret::{Deletion, Secret};
use crate::store::{Change, Kind};
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
            Ok(secret) => self.bury(&Actor::of(caller), &secret).await,
            Err(error) => self.refuse(caller, Action::Delete, Some(id), error).await,
        }
    }

    pub(super) async fn bury(&self, actor: &Actor, secret: &Secret) -> Result<()> {
        let now = self.clock.now();
        let purge_at = now.plus(self.settings.grace);
        let event = self.event(actor, Action::Delete, Some(("secret", secret.id.to_string())));
        let mut metadata = secret.metadata.clone();
        metadata.deletion = Some(Deletion { at: now, purge_at, event: event.id });
        metadata.updated = now;
        let record = self.seal(secret.id, secret.version.next(), &metadata, secret.payload()).await?;
        let written = Written { version: record.version, digest: record::digest(&record) };
        let grave = Tombstone { secret: secret.id, version: record.version, event: event.id, purge_at };
        let key = self.keyring.current(&*self.store, &*self.clock, &metadata.project).await?;
        // Whatever lies there was planted or is left over: it must not stand in the way.
        if let Some(planted) = self.store.read(&Kind::TOMBSTONE, &secret.id.to_string()).await? {
            let removal = Change::Remove { kind: Kind::TOMBSTONE, id: planted.id, expected: planted.version };
            self.store.apply(vec![removal]).await?;
        }
        let stone = tombstone::make(&self.keyring, &key, &metadata.project, &grave, now, Version::FIRST)?;
        let stone = Change::Create(stone);
        self.change(actor, event, written, vec![Change::Replace { expected: secret.version, record }, stone])
            .await
    }

    /// Takes a deletion back.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the key is not deleted; [`Error::NotFound`] when it is purged; as for [`Self::update`].
    pub async fn undelete(&self, caller: &Caller, id: SecretId) -> Result<Description> {
        match self.find(caller, "key:undelete", id, true).await {
            Ok((_, secret)) => self.dig_out(&Actor::of(caller), Action::Undelete, &secret, None).await,
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
        self.change(actor, event, written, batch).await?;
        Ok(Description { id: secret.id, version, state: metadata.state(now), metadata })
    }
}
