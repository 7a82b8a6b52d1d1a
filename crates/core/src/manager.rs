//! The one door: every operation on secrets, whatever protocol asked for it.
//!
//! Order of a read: authorize, read, write the audit event, release. Order of a change: authorize, write a `pending` event
//! and wait until it is durable, change the store with compare-and-set, write how it ended. An operation whose event
//! cannot be written fails and releases nothing. Refusals are written down as well.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::audit::{Action, AuditTrail, Durability, Event, Initiator, Outcome, Written};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::{RequestId, SecretId, Version};
use crate::keyring::Keyring;
use crate::policy::{Caller, KeyTarget, Policy};
use crate::reap::{self, Decision, Found};
use crate::record::{self, SealedUnder};
use crate::secret::{self, Deletion, Metadata, Revocation, RevocationReason, Scope, Secret, State};
use crate::store::{Change, Kind, Position, Query, Record, Store, StoreError};
use crate::tombstone::{self, Tombstone};

/// What an operator sets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a deleted secret can be undeleted.
    pub grace: Duration,
    /// How long after its expiry a secret is deleted.
    pub expired_after: Duration,
    /// Largest payload, in bytes.
    pub max_payload: usize,
    /// Most secrets in one page of a listing.
    pub max_page: NonZeroUsize,
}

impl Default for Settings {
    fn default() -> Self {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
        Self {
            grace: WEEK,
            expired_after: WEEK,
            max_payload: 65_536,
            max_page: const { NonZeroUsize::new(1000).unwrap() },
        }
    }
}

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

/// A secret without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its id.
    pub id: SecretId,
    /// The version of its record.
    pub version: Version,
    /// Its state now.
    pub state: State,
    /// Everything else.
    pub metadata: Metadata,
}

/// What a run of the reaper did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ReapReport {
    /// Secrets whose material was destroyed.
    pub purged: u64,
    /// Secrets that a planted or outlived tombstone lay on; the tombstone was removed.
    pub restored: u64,
    /// Tombstones without a secret, removed.
    pub cleared: u64,
    /// Deletions that are due later.
    pub waiting: u64,
    /// Expired secrets that were deleted.
    pub expired: u64,
    /// Records that did not open; they were left as they are.
    pub corrupt: u64,
}

/// The one door.
pub struct Manager {
    store: Arc<dyn Store>,
    keyring: Keyring,
    policy: ArcSwap<Policy>,
    trail: Arc<dyn AuditTrail>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

/// Who is written down, for a request of a caller or for the server's own work.
struct Actor {
    initiator: Initiator,
    request_id: Option<String>,
}

impl Actor {
    fn of(caller: &Caller) -> Self {
        Self { initiator: caller.initiator(), request_id: Some(caller.request_id().to_string()) }
    }

    fn server() -> Self {
        Self {
            initiator: Initiator { user: "chatelaine".to_owned(), ..Initiator::default() },
            request_id: None,
        }
    }
}

impl Manager {
    /// A door to a store, once the store is known to belong to the keyring's master key.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it does not; those of the store.
    pub async fn open(
        store: Arc<dyn Store>,
        keyring: Keyring,
        policy: Policy,
        trail: Arc<dyn AuditTrail>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self> {
        keyring.adopt(&*store, &*clock).await?;
        Ok(Self { store, keyring, policy: ArcSwap::from_pointee(policy), trail, clock, settings })
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub async fn store_health(&self) -> std::result::Result<(), String> {
        self.store.health().await.map_err(|error| error.to_string())
    }

    /// Wraps and unwraps a value under the master key, to show that the server could.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot.
    pub fn canary(&self) -> Result<()> {
        self.keyring.canary(&*self.clock)
    }

    /// What was noted by [`Self::set_note`], for the server's own use.
    ///
    /// # Errors
    /// As for [`Keyring::note`].
    pub async fn note(&self, name: &str) -> Result<Option<chatelaine_crypto::KeyMaterial>> {
        self.keyring.note(&*self.store, name).await
    }

    /// Notes something in the store, sealed under the master key.
    ///
    /// # Errors
    /// As for [`Keyring::set_note`].
    pub async fn set_note(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.keyring.set_note(&*self.store, &*self.clock, name, bytes).await
    }

    /// Writes down that somebody came without a valid token. A trail that cannot take it does not change the refusal.
    pub async fn note_refused_token(
        &self,
        request_id: &RequestId,
        address: Option<std::net::IpAddr>,
        reason: &str,
    ) {
        let actor = Actor {
            initiator: Initiator {
                address: address.map(|address| address.to_string()),
                ..Initiator::default()
            },
            request_id: Some(request_id.to_string()),
        };
        let mut event = self.event(&actor, Action::Authenticate, None);
        event.outcome = Outcome::Failure;
        event.reason = Some(reason.to_owned());
        if let Err(failure) = self.trail.append(&[event], Durability::Written).await {
            tracing::error!(%failure, %request_id, "a refused token could not be written to the audit trail");
        }
    }

    /// Writes down something the server did by itself: its start, its stop, what it mended in the trail.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the trail does not take it.
    pub async fn note_own(&self, action: Action, reason: Option<String>) -> Result<()> {
        let mut event = self.event(&Actor::server(), action, None);
        event.reason = reason;
        Ok(self.trail.append(&[event], Durability::Synced).await?)
    }

    /// Puts new rules in force.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    fn event(&self, actor: &Actor, action: Action, target: Option<(&'static str, String)>) -> Event {
        let (target_kind, target) = target.unzip();
        Event {
            id: SecretId::random(),
            time: self.clock.now(),
            action,
            outcome: Outcome::Success,
            initiator: actor.initiator.clone(),
            target_kind,
            target,
            written: None,
            reason: None,
            request_id: actor.request_id.clone(),
        }
    }

    /// Writes down that something was refused, and passes the refusal on. If that cannot be written, the refusal stands.
    async fn refuse<T>(
        &self,
        caller: &Caller,
        action: Action,
        id: Option<SecretId>,
        error: Error,
    ) -> Result<T> {
        let mut event = self.event(&Actor::of(caller), action, id.map(|id| ("secret", id.to_string())));
        event.outcome = Outcome::Failure;
        event.reason = Some(match &error {
            Error::Forbidden { reason } | Error::WrongState { reason } => reason.clone(),
            Error::Invalid { field, .. } => format!("{field} is invalid"),
            Error::Unavailable(_) => "unavailable".to_owned(),
            Error::Corrupt(_) => "corrupt".to_owned(),
            Error::Internal(_) => "internal".to_owned(),
            other => other.to_string(),
        });
        if let Err(failure) = self.trail.append(&[event], Durability::Written).await {
            tracing::error!(%failure, request_id = %caller.request_id(), "a refusal could not be written to the audit trail");
        }
        Err(error)
    }

    /// Seals a secret as the record that is stored.
    async fn seal(
        &self,
        id: SecretId,
        version: Version,
        metadata: &Metadata,
        payload: &[u8],
    ) -> Result<Record> {
        let key = self.keyring.current(&*self.store, &*self.clock, &metadata.project).await?;
        let mut record = Record {
            kind: Kind::SECRET,
            id: id.to_string(),
            project: metadata.project.clone(),
            created: metadata.created,
            version,
            attributes: metadata.index(self.settings.expired_after),
            body: Vec::new(),
        };
        let body = secret::encode(metadata, payload)?;
        record::seal(&mut record, &SealedUnder::ScopeKey(key.version), &key.cipher, body.expose())?;
        Ok(record)
    }

    async fn unseal(&self, record: &Record) -> Result<Secret> {
        let body = self.keyring.open(&*self.store, record).await?;
        Secret::decode(record, body)
    }

    fn describe(&self, secret: &Secret) -> Description {
        let metadata = secret.metadata.clone();
        Description {
            id: secret.id,
            version: secret.version,
            state: metadata.state(self.clock.now()),
            metadata,
        }
    }

    /// One change: pending event, store, outcome.
    async fn change(
        &self,
        actor: &Actor,
        mut event: Event,
        written: Written,
        batch: Vec<Change>,
    ) -> Result<()> {
        debug_assert_eq!(event.initiator, actor.initiator);
        event.written = Some(written);
        event.outcome = Outcome::Pending;
        self.trail.append(std::slice::from_ref(&event), Durability::Synced).await?;
        let result = self.store.apply(batch).await;
        event.time = self.clock.now();
        match &result {
            Ok(()) => event.outcome = Outcome::Success,
            Err(error) => {
                event.outcome = Outcome::Failure;
                if let StoreError::Conflict { reason, .. } = error {
                    event.reason = Some(reason.to_string());
                } else {
                    // Whether it was done is not known, so the pending event stays the last word on the version.
                    event.written = None;
                    event.reason = Some("the store did not confirm the change".to_owned());
                }
            }
        }
        if let Err(failure) = self.trail.append(&[event], Durability::Written).await {
            // The pending event is durable and the change is made or refused: to fail now would misreport it.
            tracing::error!(%failure, "the outcome of a change could not be written to the audit trail");
        }
        Ok(result?)
    }

    /// The secret, if the caller may do `rule` to it; one that the caller may not know of is not found.
    async fn find(
        &self,
        caller: &Caller,
        rule: &str,
        id: SecretId,
        deleted: bool,
    ) -> Result<(Record, Secret)> {
        let policy = self.policy.load();
        policy.admit(caller)?;
        let missing = || Error::not_found(format!("key {id}"));
        let record = self.store.read(&Kind::SECRET, &id.to_string()).await?.ok_or_else(missing)?;
        let secret = self.unseal(&record).await?;
        let target = KeyTarget { owner: &secret.metadata.owner, project_id: &secret.metadata.project };
        policy.require(rule, caller, Some(target)).map_err(|_| missing())?;
        if secret.metadata.deletion.is_some() != deleted {
            return Err(if deleted {
                Error::WrongState { reason: format!("key {id} is not deleted") }
            } else {
                missing()
            });
        }
        Ok((record, secret))
    }

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

    async fn bury(&self, actor: &Actor, secret: &Secret) -> Result<()> {
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

    async fn dig_out(
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

    /// One run of the reaper: deletes what expired long enough ago, purges what is due, removes forged tombstones.
    ///
    /// # Errors
    /// Those of store and trail; a trail that does not verify stops the run before anything is destroyed.
    pub async fn reap(&self) -> Result<ReapReport> {
        let mut report = ReapReport::default();
        self.bury_expired(&mut report).await?;
        let mut after: Option<Position> = None;
        loop {
            let stones =
                self.store.list(&Query { after: after.clone(), ..Query::of(Kind::TOMBSTONE) }).await?;
            let Some(last) = stones.last() else { return Ok(report) };
            after = Some(last.position());
            let owned: HashSet<String> = stones.iter().map(|stone| stone.id.clone()).collect();
            let histories =
                self.trail.histories(&move |kind, id| kind == "secret" && owned.contains(id)).await?;
            for stone in &stones {
                let history = histories.get(&("secret".to_owned(), stone.id.clone()));
                match self.reap_one(stone, history, &mut report).await {
                    // Somebody changed the secret or the tombstone meanwhile: the next run looks again.
                    Ok(()) | Err(Error::VersionMismatch { .. } | Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn reap_one(
        &self,
        stone: &Record,
        history: Option<&crate::audit::ChangeHistory>,
        report: &mut ReapReport,
    ) -> Result<()> {
        let tombstone = match tombstone::open(&self.keyring, &*self.store, stone).await {
            Ok(tombstone) => Some(tombstone),
            Err(Error::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        let record = self.store.read(&Kind::SECRET, &stone.id).await?;
        let secret = match &record {
            None => None,
            Some(record) => match self.unseal(record).await {
                Ok(secret) => Some(secret),
                Err(Error::Corrupt(reason)) => {
                    tracing::error!(reason, "the reaper leaves a damaged secret alone");
                    report.corrupt = report.corrupt.saturating_add(1);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        // A tombstone that was replaced since it was listed is newer than the history: it is not judged by that.
        if self.store.read(&Kind::TOMBSTONE, &stone.id).await?.as_ref() != Some(stone) {
            return Ok(());
        }
        let digest = record.as_ref().map(record::digest).unwrap_or_default();
        let found = secret.as_ref().map(|secret| Found {
            version: secret.version,
            metadata: &secret.metadata,
            digest: &digest,
        });
        let removal = Change::Remove { kind: Kind::TOMBSTONE, id: stone.id.clone(), expected: stone.version };
        let actor = Actor::server();
        match (reap::decide(tombstone.as_ref(), found, history, self.clock.now()), &secret) {
            (Decision::Wait, _) => report.waiting = report.waiting.saturating_add(1),
            (Decision::Purge, Some(secret)) => {
                let event = self.event(&actor, Action::Purge, Some(("secret", stone.id.clone())));
                let written = Written { version: secret.version, digest: String::new() };
                let purge =
                    Change::Remove { kind: Kind::SECRET, id: stone.id.clone(), expected: secret.version };
                self.change(&actor, event, written, vec![purge, removal]).await?;
                report.purged = report.purged.saturating_add(1);
            }
            (Decision::Restore(reason), Some(secret)) => {
                tracing::warn!(secret = %secret.id, reason, "a tombstone that nobody asked for was removed");
                if secret.metadata.deletion.is_some() {
                    self.dig_out(&actor, Action::Restore, secret, Some(reason)).await?;
                } else {
                    let mut event =
                        self.event(&actor, Action::Restore, Some(("tombstone", stone.id.clone())));
                    event.reason = Some(reason.to_owned());
                    self.trail.append(&[event], Durability::Synced).await?;
                    self.store.apply(vec![removal]).await?;
                }
                report.restored = report.restored.saturating_add(1);
            }
            (Decision::Clear | Decision::Purge | Decision::Restore(_), _) => {
                self.store.apply(vec![removal]).await?;
                report.cleared = report.cleared.saturating_add(1);
            }
        }
        Ok(())
    }

    async fn bury_expired(&self, report: &mut ReapReport) -> Result<()> {
        let now = self.clock.now();
        let mut after: Option<Position> = None;
        loop {
            let query = Query { due_by: Some(now), after: after.clone(), ..Query::of(Kind::SECRET) };
            let records = self.store.list(&query).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = Some(last.position());
            for record in &records {
                let secret = match self.unseal(record).await {
                    Ok(secret) => secret,
                    Err(Error::Corrupt(_)) => {
                        report.corrupt = report.corrupt.saturating_add(1);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let expired = secret
                    .metadata
                    .expires_at
                    .is_some_and(|end| end.plus(self.settings.expired_after) <= now);
                if !expired || secret.metadata.deletion.is_some() {
                    continue;
                }
                match self.bury(&Actor::server(), &secret).await {
                    Ok(()) => report.expired = report.expired.saturating_add(1),
                    // Somebody changed it meanwhile: the next run looks again.
                    Err(Error::VersionMismatch { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
