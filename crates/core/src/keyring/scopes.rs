//! Key-encryption keys of scopes: one per project at a time to seal under, older ones to open with.
//!
//! The record of a key says by its own version, which its seal is bound to, how far the key has come:
//!
//! 1. *open*: bodies are sealed under it. A project's newest key is open, and no other one is.
//! 2. *closed*: it only opens. The step that makes a newer key closes it.
//! 3. *spent*: its material is gone. Only the first key of a project is kept in this state, so that no second first one
//!    is ever made; later ones are removed instead.
//!
//! Whatever is sealed under a key is written on the condition that the key is open ([`Keyring::apply`]), in the same atomic
//! step. So nothing is written under a closed key, not even by a server that has not heard of the newer one: its change
//! is refused, sealed anew under the newer key and made then. What is sealed under a closed key only gets less. Whoever
//! looks through all records of the project once, after the key was closed, and finds nothing under it has shown that
//! nothing ever will be, and may destroy it. Deleted secrets in their grace period and their tombstones are records like
//! others: they are sealed anew, and hold the key until they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use chatelaine_crypto::{KeyMaterial, RecordCipher};
use parking_lot::{Mutex, RwLock};

use super::{ATTEMPTS, Keyring, internal};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::Version;
use crate::record::{self, SealedUnder};
use crate::store::{Change, Kind, Query, Record, Store, StoreError};
use crate::walk::Walk;

/// Most opened scope keys held in memory; beyond it the memory of them starts anew.
const MAX_OPEN: usize = 65_536;
/// The version of the record of a key that is open.
pub(crate) const OPEN: Version = Version::FIRST;
/// The version of the record of a key that is closed.
pub(crate) const CLOSED: Version = Version::new(2);
/// The number of a project's first key.
const FIRST_KEY: u32 = 1;

/// A version of a scope's key-encryption key, opened.
#[derive(Clone)]
pub struct ScopeKey {
    /// Its version, 1 the first.
    pub version: u32,
    /// The cipher under it.
    pub cipher: Arc<RecordCipher>,
}

/// A key by project and version.
type Name = (String, u32);

/// What is in memory of scope keys.
#[derive(Default)]
pub(super) struct Opened {
    opened: RwLock<HashMap<Name, Arc<RecordCipher>>>,
    current: RwLock<HashMap<String, u32>>,
    /// Destroyed in the store; here they stay a little longer, for who has read a record just before.
    leaving: Mutex<Vec<Name>>,
}

impl Opened {
    fn remember(&self, project: &str, version: u32, cipher: Arc<RecordCipher>) {
        let mut opened = self.opened.write();
        if opened.len() >= MAX_OPEN {
            opened.clear();
        }
        opened.insert((project.to_owned(), version), cipher);
    }
}

impl Keyring {
    /// The newest key-encryption key of a project; the first use of a project makes one.
    ///
    /// # Errors
    /// Those of the store; [`Error::Corrupt`] when a key does not open, or is lost: one that sealed something is never
    /// replaced by another.
    pub async fn current(&self, store: &dyn Store, clock: &dyn Clock, project: &str) -> Result<ScopeKey> {
        let known = self.scopes.current.read().get(project).copied();
        if let Some(version) = known {
            match self.version(store, project, version).await {
                // It may be gone for good, in favour of a newer one.
                Err(Error::Corrupt(_)) => self.forget_current(project),
                found => return found,
            }
        }
        let mut version = self.newest_or_first(store, clock, project).await?;
        for _ in 0..ATTEMPTS {
            match self.version(store, project, version).await {
                Ok(key) => {
                    let mut current = self.scopes.current.write();
                    if current.len() >= MAX_OPEN {
                        current.clear();
                    }
                    let known = current.entry(project.to_owned()).or_default();
                    *known = version.max(*known);
                    return Ok(key);
                }
                // The same between the two looks.
                Err(damage @ Error::Corrupt(_)) => match newest(store, project).await? {
                    Some(newer) if newer > version => version = newer,
                    _ => return Err(damage),
                },
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(format!("the keys of project {project} are rotated by too many at once")))
    }

    async fn newest_or_first(&self, store: &dyn Store, clock: &dyn Clock, project: &str) -> Result<u32> {
        if let Some(version) = newest(store, project).await? {
            return Ok(version);
        }
        let Some(record) = sealed_record(store, project).await? else {
            return self.create_first(store, clock, project).await;
        };
        // Another task may have made the key and used it between the two looks.
        newest(store, project).await?.ok_or_else(|| {
            let missing = match record::sealed_under(&record) {
                Ok(SealedUnder::ScopeKey(version)) => scope_key_id(project, version),
                _ => format!("of project {project}"),
            };
            Error::Corrupt(format!(
                "scope key {missing} is missing, and {}/{} is sealed under it: restore the store from its backup",
                record.kind, record.id
            ))
        })
    }

    fn forget_current(&self, project: &str) {
        self.scopes.current.write().remove(project);
    }

    async fn create_first(&self, store: &dyn Store, clock: &dyn Clock, project: &str) -> Result<u32> {
        let material = KeyMaterial::random(256).map_err(internal)?;
        // What is in memory of a key of this name is not what there will be.
        self.scopes.opened.write().remove(&(project.to_owned(), FIRST_KEY));
        let made = self
            .write_sealed(store, |sealed| {
                let place = (Kind::SCOPE_KEY, scope_key_id(project, FIRST_KEY));
                let mut record =
                    sealed.create((place.0, &place.1, project), clock.now(), material.expose())?;
                record.attributes.parent = Some(project.to_owned());
                Ok(vec![Change::Create(record)])
            })
            .await;
        match made {
            // Another server or task was faster: its key is the one.
            Ok(()) | Err(Error::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        // Nobody can have spent the first one without a newer one.
        Ok(newest(store, project).await?.unwrap_or(FIRST_KEY))
    }

    /// A given version of a project's key-encryption key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is none (any more) or it does not open; those of the store.
    pub async fn version(&self, store: &dyn Store, project: &str, version: u32) -> Result<ScopeKey> {
        if let Some(cipher) = self.scopes.opened.read().get(&(project.to_owned(), version)) {
            return Ok(ScopeKey { version, cipher: Arc::clone(cipher) });
        }
        let id = scope_key_id(project, version);
        let missing =
            || Error::Corrupt(format!("scope key {id} is missing: what it protects cannot be read"));
        let mut record = store.read(&Kind::SCOPE_KEY, &id).await?.ok_or_else(missing)?;
        for _ in 0..ATTEMPTS {
            match self.open_scope_key(&record) {
                Ok(cipher) => {
                    let cipher = Arc::new(cipher);
                    self.scopes.remember(project, version, Arc::clone(&cipher));
                    return Ok(ScopeKey { version, cipher });
                }
                // It may have been sealed under another master key since it was read.
                Err(damage) => {
                    let now = store.read(&Kind::SCOPE_KEY, &id).await?.ok_or_else(missing)?;
                    if now == record {
                        return Err(damage);
                    }
                    record = now;
                }
            }
        }
        Err(Error::Unavailable(format!("scope key {id} is changed by too many at once")))
    }

    /// Opens the record of a key that is not spent.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn open_scope_key(&self, record: &Record) -> Result<RecordCipher> {
        let material = self.open_under_master(record)?;
        if record.version > CLOSED {
            return Err(Error::Corrupt(format!("scope key {} is spent", record.id)));
        }
        RecordCipher::new(&material)
            .map_err(|_| Error::Corrupt(format!("scope key {} has a wrong length", record.id)))
    }

    /// Whether the record of a key is as it should be, spent or not.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn check_scope_key(&self, record: &Record) -> Result<()> {
        if record.version > CLOSED {
            return self.open_under_master(record).map(drop);
        }
        self.open_scope_key(record).map(drop)
    }

    /// Applies a batch on the condition that the scope keys its bodies are sealed under are open. Where one is closed by
    /// now, the bodies are sealed anew under the newest one; versions and fingerprints stay.
    ///
    /// # Errors
    /// Those of the store; a conflict on the scope key when the newest one cannot be used.
    pub async fn apply(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        mut batch: Vec<Change>,
    ) -> std::result::Result<(), StoreError> {
        let mut attempts = 0;
        loop {
            let keys: BTreeSet<Name> = batch.iter().filter_map(Change::record).filter_map(key_of).collect();
            if keys.is_empty() {
                return store.apply(batch).await;
            }
            let mut guarded = batch.clone();
            guarded.extend(keys.iter().map(|(project, version)| Change::Require {
                kind: Kind::SCOPE_KEY,
                id: scope_key_id(project, *version),
                expected: Some(OPEN),
            }));
            let refusal = match store.apply(guarded).await {
                Err(refusal) if is_about_scope_key(&refusal) => refusal,
                other => return other,
            };
            attempts += 1;
            if attempts == ATTEMPTS {
                return Err(refusal);
            }
            if let Err(error) = self.follow(store, clock, &mut batch, &keys).await {
                tracing::error!(%error, %refusal, "a change could not be sealed under a newer scope key");
                return Err(refusal);
            }
        }
    }

    /// Seals the bodies of a batch under the newest keys of their projects.
    async fn follow(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        batch: &mut [Change],
        keys: &BTreeSet<Name>,
    ) -> Result<()> {
        for (project, version) in keys {
            self.forget_current(project);
            let new = self.current(store, clock, project).await?;
            if new.version == *version {
                continue;
            }
            let old = self.version(store, project, *version).await?;
            let name = (project.clone(), *version);
            for record in batch.iter_mut().filter_map(Change::record_mut) {
                if key_of(record).as_ref() == Some(&name) {
                    *record = reseal(record, &old, &new)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a new key of a project and closes the others, in one step. Tells the number of the newest one, which another
    /// server may have made at the same moment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the project has no key yet; [`Error::Corrupt`] when its newest one does not open or is lost;
    /// those of the store.
    pub async fn rotate(&self, store: &dyn Store, clock: &dyn Clock, project: &str) -> Result<u32> {
        let mut first_seen = None;
        let mut refusal = Error::not_found(format!("a key of project {project}"));
        for _ in 0..ATTEMPTS {
            let keys = scope_keys(store, project).await?;
            let Some(newest) = newest_of(project, &keys)? else { break };
            if newest > *first_seen.get_or_insert(newest) {
                return Ok(newest);
            }
            match self.rotate_once(store, clock, project, (newest, &keys)).await {
                Ok(next) => {
                    self.forget_current(project);
                    return Ok(next);
                }
                Err(
                    error @ (Error::Exists { .. } | Error::VersionMismatch { .. } | Error::NotFound { .. }),
                ) => refusal = error,
                Err(error) => return Err(error),
            }
        }
        Err(refusal)
    }

    async fn rotate_once(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        project: &str,
        (newest, keys): (u32, &BTreeMap<u32, Record>),
    ) -> Result<u32> {
        let next = newest
            .checked_add(1)
            .ok_or_else(|| Error::Internal(format!("project {project} had as many keys as there can be")))?;
        let material = KeyMaterial::random(256).map_err(internal)?;
        let mut open = Vec::new();
        for record in keys.values().filter(|record| record.version == OPEN) {
            match self.open_current(store, record).await {
                Ok((record, material)) if record.version == OPEN => {
                    open.push((material, record.into_owned()));
                }
                // Another server has closed it meanwhile, and made the next key as well.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let id = scope_key_id(project, next);
        self.write_sealed(store, |sealed| {
            let mut record =
                sealed.create((Kind::SCOPE_KEY, &id, project), clock.now(), material.expose())?;
            record.attributes.parent = Some(project.to_owned());
            let mut batch = vec![Change::Create(record)];
            for (material, record) in &open {
                batch.push(sealed.replace(record, material.expose())?);
            }
            Ok(batch)
        })
        .await?;
        Ok(next)
    }

    /// Destroys a closed key that nothing is sealed under any more.
    pub(crate) async fn spend(&self, store: &dyn Store, record: &Record) -> Result<()> {
        let (project, version) = (record.project.clone(), scope_key_version(record, &record.project)?);
        if record.version != CLOSED {
            return Err(Error::Internal(format!("scope key {} is not closed", record.id)));
        }
        if version == FIRST_KEY {
            self.write_sealed(store, |sealed| Ok(vec![sealed.replace(record, &[])?])).await?;
        } else {
            let (kind, id) = (Kind::SCOPE_KEY, record.id.clone());
            store.apply(vec![Change::Remove { kind, id, expected: CLOSED }]).await?;
        }
        self.scopes.leaving.lock().push((project, version));
        Ok(())
    }

    /// Takes the keys that were destroyed before out of memory.
    pub(crate) fn let_leave(&self) {
        let leaving = std::mem::take(&mut *self.scopes.leaving.lock());
        let mut opened = self.scopes.opened.write();
        for name in &leaving {
            opened.remove(name);
        }
    }

    /// Forgets the opened scope keys, as a restart does.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.scopes.opened.write().clear();
        self.scopes.current.write().clear();
    }
}

/// A record of a project, sealed under one of its keys, sealed anew under another.
pub(crate) fn reseal(record: &Record, from: &ScopeKey, to: &ScopeKey) -> Result<Record> {
    record::reseal(record, &from.cipher, &SealedUnder::ScopeKey(to.version), &to.cipher)
}

/// Whether a batch was refused since a scope key is not in the state it should be in.
pub(crate) fn is_about_scope_key(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict { kind, .. } if *kind == Kind::SCOPE_KEY)
}

/// The scope key that the body of a record is sealed under, if it is.
fn key_of(record: &Record) -> Option<Name> {
    match record::sealed_under(record) {
        Ok(SealedUnder::ScopeKey(version)) => Some((record.project.clone(), version)),
        _ => None,
    }
}

/// The records of all keys of a project, by their number.
pub(crate) async fn scope_keys(store: &dyn Store, project: &str) -> Result<BTreeMap<u32, Record>> {
    let mut walk = Walk::new(store, Query { parent: Some(project.to_owned()), ..Query::of(Kind::SCOPE_KEY) });
    let mut keys = BTreeMap::new();
    loop {
        let page = walk.next().await?;
        if page.is_empty() {
            break;
        }
        for record in page {
            keys.insert(scope_key_version(&record, project)?, record);
        }
    }
    if walk.skipped() > 0 {
        return Err(Error::Corrupt(format!("a scope key of project {project} cannot be read")));
    }
    Ok(keys)
}

async fn newest(store: &dyn Store, project: &str) -> Result<Option<u32>> {
    newest_of(project, &scope_keys(store, project).await?)
}

/// The number of the newest of a project's keys, which is open unless a newer one was lost.
pub(crate) fn newest_of(project: &str, keys: &BTreeMap<u32, Record>) -> Result<Option<u32>> {
    match keys.last_key_value() {
        None => Ok(None),
        Some((version, record)) if record.version == OPEN => Ok(Some(*version)),
        Some((version, _)) => Err(Error::Corrupt(format!(
            "scope key {} is missing, and all older ones are closed: restore the store from its backup",
            scope_key_id(project, version.saturating_add(1))
        ))),
    }
}

/// The kinds of records that are sealed under scope keys, as far as the store has any.
pub(crate) async fn kinds_in_scopes(store: &dyn Store) -> Result<Vec<Kind>> {
    let kinds = store.kinds().await?;
    Ok(kinds.into_iter().filter(|kind| *kind != Kind::SCOPE_KEY && *kind != Kind::MARK).collect())
}

/// A record of the project that cannot be read without a scope key, if there is one.
async fn sealed_record(store: &dyn Store, project: &str) -> Result<Option<Record>> {
    for kind in kinds_in_scopes(store).await? {
        let query = Query { project: Some(project.to_owned()), limit: NonZeroUsize::MIN, ..Query::of(kind) };
        if let Some(record) = store.list(&query).await?.pop() {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn scope_key_id(project: &str, version: u32) -> String {
    format!("{project}.{version}")
}

fn scope_key_version(record: &Record, project: &str) -> Result<u32> {
    record
        .id
        .strip_prefix(project)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| Error::Corrupt(format!("scope key {} is not one of project {project}", record.id)))
}
