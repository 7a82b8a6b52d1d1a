//! Native keys: put, get, list, update, revoke. A key is seen by the service that put it, and by nobody else.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::{Actor, Description, Manager};
use crate::audit::{Action, Durability, Written};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::policy::Caller;
use crate::record;
use crate::secret::{self, Metadata, Revocation, RevocationReason, Scope, Secret, State};
use crate::store::{Change, Kind, Query};

/// A key to be put.
#[derive(Debug)]
pub struct NewKey {
    /// The key string.
    pub payload: chatelaine_crypto::KeyMaterial,
    /// A name for people.
    pub name: Option<String>,
    /// Canonical name of the algorithm.
    pub algorithm: Option<String>,
    /// Length of the key itself, in bits.
    pub bit_length: Option<u32>,
    /// Its scope.
    pub scope: Scope,
    /// The service's master key the key string is wrapped under, by name.
    pub master_key: Option<String>,
    /// Free words of its owner.
    pub attributes: BTreeMap<String, String>,
    /// Not released before this.
    pub activates_at: Option<Timestamp>,
    /// Not released from this on.
    pub expires_at: Option<Timestamp>,
}

/// A change of a key; what is `None` stays.
#[derive(Debug, Default)]
pub struct KeyUpdate {
    /// A new key string.
    pub payload: Option<chatelaine_crypto::KeyMaterial>,
    /// A new name, or none any more.
    pub name: Option<Option<String>>,
    /// The master key the new key string is wrapped under.
    pub master_key: Option<Option<String>>,
    /// New free words, in place of all old ones.
    pub attributes: Option<BTreeMap<String, String>>,
    /// A new expiry, or none any more.
    pub expires_at: Option<Option<Timestamp>>,
}

/// Which of the caller's keys to list.
#[derive(Debug, Default, Clone)]
pub struct KeyFilter {
    /// Of this scope.
    pub scope: Option<Scope>,
    /// Wrapped under this master key.
    pub master_key: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// Deleted ones (which can be undeleted) instead of live ones.
    pub deleted: bool,
    /// At most this many.
    pub limit: Option<NonZeroUsize>,
    /// After this key.
    pub marker: Option<SecretId>,
}

impl Manager {
    fn check_payload(&self, payload: &[u8]) -> Result<()> {
        if payload.is_empty() || payload.len() > self.settings.max_payload {
            return Err(Error::invalid(
                "key_string",
                format!("it has {} bytes, 1 to {} are allowed", payload.len(), self.settings.max_payload),
            ));
        }
        Ok(())
    }

    /// Creates a key under the caller's id, or under a new one.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Forbidden`], [`Error::Invalid`], and those of store and trail.
    pub async fn put(&self, caller: &Caller, id: Option<SecretId>, key: NewKey) -> Result<Description> {
        let id = id.unwrap_or_else(SecretId::random);
        match self.try_put(caller, id, key).await {
            Err(error @ (Error::Forbidden { .. } | Error::Invalid { .. })) => {
                self.refuse(caller, Action::Create, Some(id), error).await
            }
            Err(Error::Exists { .. }) => Err(Error::Exists { what: format!("key {id}") }),
            other => other,
        }
    }

    async fn try_put(&self, caller: &Caller, id: SecretId, key: NewKey) -> Result<Description> {
        {
            let policy = self.policy.load();
            policy.admit(caller)?;
            policy.require("key:create", caller, None)?;
        }
        let identity = caller.identity();
        let project = identity.project_id.clone().ok_or_else(|| Error::Forbidden {
            reason: "keys belong to projects: use a project-scoped token".to_owned(),
        })?;
        self.check_payload(key.payload.expose())?;
        let now = self.clock.now();
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::invalid("expires_at", "it is not in the future"));
        }
        if let (Some(start), Some(end)) = (key.activates_at, key.expires_at)
            && end <= start
        {
            return Err(Error::invalid("expires_at", "it is not after activates_at"));
        }
        let metadata = Metadata {
            owner: identity.user_id.clone(),
            project,
            name: key.name,
            algorithm: key.algorithm,
            bit_length: key.bit_length,
            scope: key.scope,
            master_key: key.master_key,
            attributes: key.attributes,
            created: now,
            updated: now,
            activates_at: key.activates_at,
            expires_at: key.expires_at,
            revocation: None,
            deletion: None,
        };
        let record = self.seal(id, Version::FIRST, &metadata, key.payload.expose()).await?;
        let written = Written { version: Version::FIRST, digest: record::digest(&record) };
        let actor = Actor::of(caller);
        let event = self.event(&actor, Action::Create, Some(("secret", id.to_string())));
        self.change(&actor, event, written, vec![Change::Create(record)]).await?;
        Ok(Description { id, version: Version::FIRST, state: metadata.state(now), metadata })
    }

    /// Reads a key with its key string. `allow_inactive` releases one that is revoked, expired or not active yet.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], [`Error::Forbidden`], and those of store and trail.
    pub async fn get(
        &self,
        caller: &Caller,
        id: SecretId,
        allow_inactive: bool,
    ) -> Result<(Description, Secret)> {
        let found = async {
            let (_, secret) = self.find(caller, "key:get", id, false).await?;
            let description = self.describe(&secret);
            if description.state != State::Active && !allow_inactive {
                return Err(Error::WrongState {
                    reason: format!(
                        "key {id} is {}: its key string is not released",
                        description.state.as_str()
                    ),
                });
            }
            Ok((description, secret))
        };
        match found.await {
            Ok((description, secret)) => {
                let mut event = self.event(&Actor::of(caller), Action::Get, Some(("secret", id.to_string())));
                if description.state != State::Active {
                    event.reason = Some(format!("released although {}", description.state.as_str()));
                }
                self.trail.append(&[event], Durability::Written).await?;
                Ok((description, secret))
            }
            Err(error) => self.refuse(caller, Action::Get, Some(id), error).await,
        }
    }

    /// Reads a key's metadata.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], and those of store and trail.
    pub async fn metadata(&self, caller: &Caller, id: SecretId) -> Result<Description> {
        match self.find(caller, "key:get_metadata", id, false).await {
            Ok((_, secret)) => {
                let event =
                    self.event(&Actor::of(caller), Action::GetMetadata, Some(("secret", id.to_string())));
                self.trail.append(&[event], Durability::Written).await?;
                Ok(self.describe(&secret))
            }
            Err(error) => self.refuse(caller, Action::GetMetadata, Some(id), error).await,
        }
    }

    /// Lists the caller's own keys in the order of their creation; the second value tells whether more follow.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown marker, [`Error::Forbidden`], and those of store and trail.
    pub async fn list(&self, caller: &Caller, filter: &KeyFilter) -> Result<(Vec<Description>, bool)> {
        match self.try_list(caller, filter).await {
            Ok(page) => {
                let event = self.event(&Actor::of(caller), Action::List, None);
                self.trail.append(&[event], Durability::Written).await?;
                Ok(page)
            }
            Err(error) => self.refuse(caller, Action::List, None, error).await,
        }
    }

    async fn try_list(&self, caller: &Caller, filter: &KeyFilter) -> Result<(Vec<Description>, bool)> {
        {
            let policy = self.policy.load();
            policy.admit(caller)?;
            policy.require("key:list", caller, None)?;
        }
        let identity = caller.identity();
        let mut after = match filter.marker {
            None => None,
            Some(id) => {
                let marker = self.store.read(&Kind::SECRET, &id.to_string()).await?;
                let own = marker.filter(|record| record.attributes.owner.as_ref() == Some(&identity.user_id));
                Some(own.ok_or_else(|| Error::invalid("marker", "it names none of your keys"))?.position())
            }
        };
        let limit =
            filter.limit.map_or(self.settings.max_page, |limit| limit.min(self.settings.max_page)).get();
        let now = self.clock.now();
        let mut page = Vec::new();
        loop {
            let query = Query {
                project: identity.project_id.clone(),
                owner: Some(identity.user_id.clone()),
                state: Some(if filter.deleted { secret::DELETED } else { secret::LIVE }.to_owned()),
                class: filter.scope.map(|scope| scope.as_str().to_owned()),
                reference: filter.master_key.clone(),
                after: after.clone(),
                ..Query::of(Kind::SECRET)
            };
            let records = self.store.list(&query).await?;
            let Some(last) = records.last() else { return Ok((page, false)) };
            after = Some(last.position());
            for record in &records {
                let secret = self.unseal(record).await?;
                let state = secret.metadata.state(now);
                // The index is a copy: what the sealed body says decides.
                let same = secret.metadata.owner == identity.user_id
                    && secret.metadata.deletion.is_some() == filter.deleted
                    && filter.state.is_none_or(|wanted| wanted == state);
                if !same {
                    continue;
                }
                if page.len() == limit {
                    return Ok((page, true));
                }
                page.push(Description {
                    id: secret.id,
                    version: secret.version,
                    state,
                    metadata: secret.metadata,
                });
            }
        }
    }

    /// Changes a key that has version `expected`.
    ///
    /// # Errors
    /// [`Error::VersionMismatch`] when somebody was faster; [`Error::NotFound`], [`Error::Invalid`], [`Error::Forbidden`],
    /// and those of store and trail.
    pub async fn update(
        &self,
        caller: &Caller,
        id: SecretId,
        expected: Version,
        update: KeyUpdate,
    ) -> Result<Description> {
        let edit = |secret: &Secret, now: Timestamp| {
            let mut metadata = secret.metadata.clone();
            if let Some(payload) = &update.payload {
                self.check_payload(payload.expose())?;
            }
            if let Some(name) = &update.name {
                metadata.name.clone_from(name);
            }
            if let Some(master_key) = &update.master_key {
                metadata.master_key.clone_from(master_key);
            }
            if let Some(attributes) = &update.attributes {
                metadata.attributes.clone_from(attributes);
            }
            if let Some(expires_at) = update.expires_at {
                if expires_at.is_some_and(|end| end <= now) {
                    return Err(Error::invalid("expires_at", "it is not in the future"));
                }
                metadata.expires_at = expires_at;
            }
            Ok(metadata)
        };
        self.replace(caller, Action::Update, "key:update", id, Some(expected), update.payload.as_ref(), edit)
            .await
    }

    /// Revokes a key: it is released no more.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it was revoked for good already; as for [`Self::update`].
    pub async fn revoke(
        &self,
        caller: &Caller,
        id: SecretId,
        reason: RevocationReason,
    ) -> Result<Description> {
        let edit = |secret: &Secret, now: Timestamp| {
            let mut metadata = secret.metadata.clone();
            if metadata.state(now) == State::Compromised {
                return Err(Error::WrongState { reason: format!("key {id} is compromised already") });
            }
            metadata.revocation = Some(Revocation { reason, at: now });
            Ok(metadata)
        };
        self.replace(caller, Action::Revoke, "key:revoke", id, None, None, edit).await
    }

    #[expect(clippy::too_many_arguments, reason = "one private helper with two callers")]
    async fn replace(
        &self,
        caller: &Caller,
        action: Action,
        rule: &str,
        id: SecretId,
        expected: Option<Version>,
        payload: Option<&chatelaine_crypto::KeyMaterial>,
        edit: impl Fn(&Secret, Timestamp) -> Result<Metadata>,
    ) -> Result<Description> {
        let prepared = async {
            let (_, secret) = self.find(caller, rule, id, false).await?;
            if expected.is_some_and(|expected| expected != secret.version) {
                return Err(Error::VersionMismatch { current: secret.version });
            }
            let now = self.clock.now();
            let mut metadata = edit(&secret, now)?;
            metadata.updated = now;
            let payload = payload.map_or_else(|| secret.payload(), |new| new.expose());
            let record = self.seal(id, secret.version.next(), &metadata, payload).await?;
            Ok((secret.version, metadata, record))
        };
        let (current, metadata, record) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(caller, action, Some(id), error).await,
        };
        let version = record.version;
        let written = Written { version, digest: record::digest(&record) };
        let actor = Actor::of(caller);
        let event = self.event(&actor, action, Some(("secret", id.to_string())));
        self.change(&actor, event, written, vec![Change::Replace { expected: current, record }]).await?;
        Ok(Description { id, version, state: metadata.state(self.clock.now()), metadata })
    }
}
