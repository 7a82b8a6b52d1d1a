//! Keys over keys: the master key, the scopes' key-encryption keys it wraps, and what is derived from it.
//!
//! Every project has key-encryption keys of its own, versioned, sealed under the master key in records of kind
//! `scope_key`. Opened ones stay in locked memory. The master key itself seals nothing else but the server's own marks;
//! tombstones and the audit trail are authenticated under keys derived from it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use chatelaine_crypto::{KeyMaterial, MacKey, RecordCipher, derive};
use parking_lot::RwLock;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::Version;
use crate::record::{self, SealedUnder};
use crate::store::{Change, ConflictReason, IndexAttributes, Kind, Query, Record, Store, StoreError};

/// Most opened scope keys held in memory; beyond it the memory of them starts anew.
const MAX_OPEN: usize = 65_536;
/// What the mark of the master key holds.
const MARK_PLAINTEXT: &[u8] = b"chatelaine store";
/// Id of the mark of the master key.
const MASTER_KEY_MARK: &str = "master_key";

struct Master {
    id: String,
    cipher: RecordCipher,
    tombstone: MacKey,
    audit: KeyMaterial,
}

impl Master {
    fn new(id: &str, material: &KeyMaterial) -> Result<Self> {
        let internal = |error: chatelaine_crypto::CryptoError| Error::Internal(error.to_string());
        let part = |label| derive(material, label, &[], 32).map_err(internal);
        Ok(Self {
            id: id.to_owned(),
            cipher: RecordCipher::new(&part("chatelaine master record")?).map_err(internal)?,
            tombstone: MacKey::new(&part("chatelaine master tombstone")?),
            audit: part("chatelaine master audit")?,
        })
    }
}

/// A version of a scope's key-encryption key, opened.
#[derive(Clone)]
pub struct ScopeKey {
    /// Its version, 1 the first.
    pub version: u32,
    /// The cipher under it.
    pub cipher: Arc<RecordCipher>,
}

/// The keys of an unsealed server.
pub struct Keyring {
    active: Master,
    retired: Vec<Master>,
    opened: RwLock<HashMap<(String, u32), Arc<RecordCipher>>>,
    current: RwLock<HashMap<String, u32>>,
}

impl Keyring {
    /// A keyring over an active master key and retired ones, each an id and 256 bits.
    ///
    /// # Errors
    /// [`Error::Internal`] when the cryptographic library refuses the material.
    pub fn new(active: (&str, &KeyMaterial), retired: &[(&str, &KeyMaterial)]) -> Result<Self> {
        Ok(Self {
            active: Master::new(active.0, active.1)?,
            retired: retired.iter().map(|(id, material)| Master::new(id, material)).collect::<Result<_>>()?,
            opened: RwLock::default(),
            current: RwLock::default(),
        })
    }

    /// The id of the active master key.
    pub fn master_key_id(&self) -> &str {
        &self.active.id
    }

    /// The key that authenticates the audit trail.
    pub fn audit_key(&self) -> MacKey {
        MacKey::new(&self.active.audit)
    }

    /// The authenticator of a tombstone under the active master key.
    pub fn sign_tombstone(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.active.tombstone.sign(parts)
    }

    /// Whether an authenticator of a tombstone was made under one of the master keys.
    pub fn verify_tombstone(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        std::iter::once(&self.active).chain(&self.retired).any(|master| master.tombstone.verify(parts, tag))
    }

    fn master(&self, id: &str) -> Option<&Master> {
        std::iter::once(&self.active).chain(&self.retired).find(|master| master.id == id)
    }

    /// Whether the store is marked as belonging to this master key; an empty store is not.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the store belongs to another master key or holds records of unknown origin.
    pub async fn recognises(&self, store: &dyn Store) -> Result<bool> {
        let foreign = || Error::WrongState {
            reason: format!(
                "{} was made under another master key than {}: give the server the master key that belongs to this store, or another store",
                store.describe(),
                self.active.id
            ),
        };
        if let Some(mark) = store.read(&Kind::MARK, MASTER_KEY_MARK).await? {
            let plain = self.open_under_master(&mark).map_err(|_| foreign())?;
            return if plain.ct_eq(MARK_PLAINTEXT) { Ok(true) } else { Err(foreign()) };
        }
        if store.kinds().await?.is_empty() { Ok(false) } else { Err(foreign()) }
    }

    /// Makes sure that the store belongs to this master key, and marks an empty store as its own. Whether an empty one may
    /// be believed to be new is for the caller to know.
    ///
    /// # Errors
    /// As for [`Self::recognises`].
    pub async fn adopt(&self, store: &dyn Store, clock: &dyn Clock) -> Result<()> {
        if self.recognises(store).await? {
            return Ok(());
        }
        let mark = self.seal_under_master(Kind::MARK, MASTER_KEY_MARK, "", clock, MARK_PLAINTEXT)?;
        match store.apply(vec![Change::Create(mark)]).await {
            Err(StoreError::Conflict { reason: ConflictReason::Exists, .. }) => {
                Box::pin(self.adopt(store, clock)).await
            }
            other => Ok(other?),
        }
    }

    fn seal_under_master(
        &self,
        kind: Kind,
        id: &str,
        project: &str,
        clock: &dyn Clock,
        plaintext: &[u8],
    ) -> Result<Record> {
        let mut record = Record {
            kind,
            id: id.to_owned(),
            project: project.to_owned(),
            created: clock.now(),
            version: Version::FIRST,
            attributes: IndexAttributes {
                reference: Some(self.active.id.clone()),
                ..IndexAttributes::default()
            },
            body: Vec::new(),
        };
        record::seal(
            &mut record,
            &SealedUnder::MasterKey(self.active.id.clone()),
            &self.active.cipher,
            plaintext,
        )?;
        Ok(record)
    }

    /// What the server itself has noted under a name, sealed under the master key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the note is not the server's own; those of the store.
    pub async fn note(&self, store: &dyn Store, name: &str) -> Result<Option<KeyMaterial>> {
        match store.read(&Kind::MARK, name).await? {
            Some(record) => self.open_under_master(&record).map(Some),
            None => Ok(None),
        }
    }

    /// Notes something under a name, in place of what was noted before.
    ///
    /// # Errors
    /// [`Error::VersionMismatch`] or [`Error::Exists`] when another server was faster; those of the store.
    pub async fn set_note(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        name: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let change = match store.read(&Kind::MARK, name).await? {
            None => Change::Create(self.seal_under_master(Kind::MARK, name, "", clock, bytes)?),
            Some(before) => {
                let mut record = Record { version: before.version.next(), ..before.clone() };
                record.attributes.reference = Some(self.active.id.clone());
                let under = SealedUnder::MasterKey(self.active.id.clone());
                record::seal(&mut record, &under, &self.active.cipher, bytes)?;
                Change::Replace { expected: before.version, record }
            }
        };
        Ok(store.apply(vec![change]).await?)
    }

    fn open_under_master(&self, record: &Record) -> Result<KeyMaterial> {
        let SealedUnder::MasterKey(id) = record::sealed_under(record)? else {
            return Err(Error::Corrupt(format!(
                "{}/{} is not sealed under a master key",
                record.kind, record.id
            )));
        };
        let master = self.master(&id).ok_or_else(|| {
            Error::Corrupt(format!(
                "{}/{} is sealed under master key {id}, which this server does not hold",
                record.kind, record.id
            ))
        })?;
        record::open(record, &master.cipher)
    }

    /// The newest key-encryption key of a project; the first use of a project makes one.
    ///
    /// # Errors
    /// Those of the store; [`Error::Corrupt`] when a key does not open, or is lost: one that sealed something is never
    /// replaced by another.
    pub async fn current(&self, store: &dyn Store, clock: &dyn Clock, project: &str) -> Result<ScopeKey> {
        let known = self.current.read().get(project).copied();
        if let Some(version) = known {
            return self.version(store, project, version).await;
        }
        let version = match newest_scope_key(store, project).await? {
            Some(version) => version,
            None => match sealed_record(store, project).await? {
                None => self.create_scope_key(store, clock, project).await?,
                // Another task may have made the key and used it between the two looks.
                Some(record) => newest_scope_key(store, project).await?.ok_or_else(|| {
                    let missing = match record::sealed_under(&record) {
                        Ok(SealedUnder::ScopeKey(version)) => scope_key_id(project, version),
                        _ => format!("of project {project}"),
                    };
                    Error::Corrupt(format!(
                        "scope key {missing} is missing, and {}/{} is sealed under it: restore the store from its backup",
                        record.kind, record.id
                    ))
                })?,
            },
        };
        let key = self.version(store, project, version).await?;
        let mut current = self.current.write();
        if current.len() >= MAX_OPEN {
            current.clear();
        }
        current.insert(project.to_owned(), version);
        Ok(key)
    }

    async fn create_scope_key(&self, store: &dyn Store, clock: &dyn Clock, project: &str) -> Result<u32> {
        let material = KeyMaterial::random(256).map_err(|error| Error::Internal(error.to_string()))?;
        let version = 1_u32;
        let mut record = self.seal_under_master(
            Kind::SCOPE_KEY,
            &scope_key_id(project, version),
            project,
            clock,
            material.expose(),
        )?;
        record.attributes.parent = Some(project.to_owned());
        match store.apply(vec![Change::Create(record)]).await {
            // Another server or task was faster: its key is the one.
            Ok(()) | Err(StoreError::Conflict { reason: ConflictReason::Exists, .. }) => Ok(version),
            Err(error) => Err(error.into()),
        }
    }

    /// A given version of a project's key-encryption key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is none or it does not open; those of the store.
    pub async fn version(&self, store: &dyn Store, project: &str, version: u32) -> Result<ScopeKey> {
        let name = (project.to_owned(), version);
        if let Some(cipher) = self.opened.read().get(&name) {
            return Ok(ScopeKey { version, cipher: Arc::clone(cipher) });
        }
        let id = scope_key_id(project, version);
        let record = store.read(&Kind::SCOPE_KEY, &id).await?.ok_or_else(|| {
            Error::Corrupt(format!("scope key {id} is missing: what it protects cannot be read"))
        })?;
        let cipher = Arc::new(self.open_scope_key(&record)?);
        let mut opened = self.opened.write();
        if opened.len() >= MAX_OPEN {
            opened.clear();
        }
        opened.insert(name, Arc::clone(&cipher));
        Ok(ScopeKey { version, cipher })
    }

    /// Forgets the opened scope keys, as a restart does.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.opened.write().clear();
        self.current.write().clear();
    }

    /// Opens a record of kind `scope_key`.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn open_scope_key(&self, record: &Record) -> Result<RecordCipher> {
        let material = self.open_under_master(record)?;
        RecordCipher::new(&material)
            .map_err(|_| Error::Corrupt(format!("scope key {} has a wrong length", record.id)))
    }

    /// Opens any record, whatever it is sealed under.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of the store, where a scope key must be read first.
    pub async fn open(&self, store: &dyn Store, record: &Record) -> Result<KeyMaterial> {
        match record::sealed_under(record)? {
            SealedUnder::MasterKey(_) => self.open_under_master(record),
            SealedUnder::ScopeKey(version) => {
                let key = self.version(store, &record.project, version).await?;
                record::open(record, &key.cipher)
            }
        }
    }

    /// Wraps and unwraps a value under the active master key, to show that the server could.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot.
    pub fn canary(&self, clock: &dyn Clock) -> Result<()> {
        let record = self.seal_under_master(Kind::MARK, "canary", "", clock, MARK_PLAINTEXT)?;
        let plain = self.open_under_master(&record)?;
        if plain.ct_eq(MARK_PLAINTEXT) {
            Ok(())
        } else {
            Err(Error::Internal("the canary came back changed".to_owned()))
        }
    }
}

async fn newest_scope_key(store: &dyn Store, project: &str) -> Result<Option<u32>> {
    let query = Query { parent: Some(project.to_owned()), ..Query::of(Kind::SCOPE_KEY) };
    let mut newest = None;
    for record in store.list(&query).await? {
        newest = newest.max(Some(scope_key_version(&record, project)?));
    }
    Ok(newest)
}

/// A record of the project that cannot be read without a scope key, if there is one.
async fn sealed_record(store: &dyn Store, project: &str) -> Result<Option<Record>> {
    let query =
        Query { project: Some(project.to_owned()), limit: NonZeroUsize::MIN, ..Query::of(Kind::SECRET) };
    Ok(store.list(&query).await?.pop())
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
