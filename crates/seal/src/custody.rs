//! Who keeps the master keys: the document of sealed keys, and the seals that open it.
//!
//! Owns the order of things: a new key is sealed by every configured seal and for the recovery key, opened again by each
//! to show that it can be, written down durably, and only then used.
//!
//! Invariants: the document on disk is replaced as a whole, by whoever read its newest generation; the last way to open a
//! key is never removed.
//!
//! Refuses: documents that the active master key does not authenticate, and keys that are not those that were sealed.

#[cfg(feature = "tpm")]
pub(crate) mod arriving;
mod changes;
#[cfg(feature = "tpm")]
pub(crate) mod later;
mod proof;
mod sealing;
mod staged;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chatelaine_crypto::KeyMaterial;

use crate::boot::BootState;
use crate::document::{FORMAT, MAX_DOCUMENT, SealedKey, SealedKeys};
use crate::files::PrivateFile;
use crate::{KeyId, MasterKey, MasterKeys, Seal, SealError};

pub(crate) use proof::key_check;
use proof::{authenticate, authenticator, open_audit_key, wrap_audit_key};

/// The document, and the seals in the order in which they are asked.
#[derive(Clone)]
pub struct Custody {
    file: PrivateFile,
    seals: Vec<Arc<dyn Seal>>,
}

/// Master keys in memory.
#[derive(Debug)]
pub struct Unsealed {
    /// The keys.
    pub keys: MasterKeys,
    /// The key of the audit trail.
    pub audit_key: AuditKey,
    /// Which seal opened each key, the active one first.
    pub opened_by: Vec<String>,
    /// What seals said that were asked before and did not open.
    pub failures: Vec<String>,
    /// Boot states among it that wait to be approved.
    pub pending: Vec<BootState>,
    pub(crate) document: SealedKeys,
}

/// The key that authenticates the audit trail. It outlives master keys.
#[derive(Debug)]
pub struct AuditKey {
    /// Its id.
    pub id: KeyId,
    /// Its 32 bytes.
    pub material: KeyMaterial,
}

impl Unsealed {
    /// The document as it is on disk.
    #[must_use]
    pub fn document(&self) -> &SealedKeys {
        &self.document
    }

    /// The servers that share the keys.
    #[must_use]
    pub fn cluster(&self) -> &KeyId {
        &self.document.cluster
    }
}

impl Custody {
    /// The document in the file at `path`, and the seals that open it; nothing is touched yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, seals: Vec<Arc<dyn Seal>>) -> Self {
        Self { file: PrivateFile::new(path, "document of sealed master keys", MAX_DOCUMENT), seals }
    }

    /// The same document with other seals.
    #[must_use]
    pub fn with_seals(&self, seals: Vec<Arc<dyn Seal>>) -> Self {
        Self { file: self.file.clone(), seals }
    }

    /// The file of the document.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The seals, as they describe themselves.
    #[must_use]
    pub fn describe(&self) -> String {
        let seals: Vec<_> = self.seals.iter().map(|seal| seal.describe()).collect();
        seals.join(", ")
    }

    /// Whether there is a document.
    ///
    /// # Errors
    /// [`SealError::Io`] where that cannot be told.
    pub fn exists(&self) -> Result<bool, SealError> {
        self.file.exists()
    }

    /// The document as it is on disk. Nothing shows yet that it is authentic.
    ///
    /// # Errors
    /// [`SealError::Missing`], [`SealError::Damaged`] and those of the file.
    pub fn read(&self) -> Result<SealedKeys, SealError> {
        SealedKeys::parse(&self.file.read()?).map_err(|problem| match problem {
            Some(problem) => SealError::damaged(self.path(), problem),
            None => SealError::UnknownVersion { path: self.path().to_path_buf(), supported: FORMAT },
        })
    }

    /// Makes the first master key and seals it. `now` is the time in RFC 3339.
    ///
    /// # Errors
    /// [`SealError::Exists`] where there is a document already; those of the seals.
    pub fn create(&self, now: &str) -> Result<Unsealed, SealError> {
        self.refuse_existing()?;
        for seal in &self.seals {
            seal.prepare()?;
        }
        self.establish(KeyId::random()?, MasterKey::random(1)?, now)
    }

    pub(crate) fn refuse_existing(&self) -> Result<(), SealError> {
        if self.exists()? {
            return Err(SealError::Exists {
                what: "document of sealed master keys",
                place: self.file.describe(),
            });
        }
        Ok(())
    }

    /// Begins a document with a master key that came from elsewhere: a sibling, or a cooperating service.
    ///
    /// # Errors
    /// As for [`Custody::create`].
    pub fn establish(&self, cluster: KeyId, key: MasterKey, now: &str) -> Result<Unsealed, SealError> {
        let (sealed, pending) = self.seal_new(&cluster, &key, None, now)?;
        self.begin(
            cluster,
            MasterKeys { active: key, staged: None, retired: Vec::new() },
            vec![sealed],
            pending,
        )
    }

    fn begin(
        &self,
        cluster: KeyId,
        keys: MasterKeys,
        sealed: Vec<SealedKey>,
        pending: Vec<BootState>,
    ) -> Result<Unsealed, SealError> {
        let audit_key = AuditKey { id: KeyId::random()?, material: KeyMaterial::random(256)? };
        let mut document = SealedKeys {
            format: FORMAT,
            generation: 1,
            cluster,
            keys: sealed,
            audit_key: wrap_audit_key(&keys.active, &audit_key)?,
            recovery: None,
            hosts: Vec::new(),
            authenticator: Vec::new(),
        };
        self.file.create(&authenticate(&mut document, &keys.active)?)?;
        let opened_by = self.seals.first().map(|seal| seal.describe()).into_iter().collect();
        Ok(Unsealed { keys, audit_key, opened_by, failures: Vec::new(), pending, document })
    }

    /// Opens all keys, each by the first seal that can.
    ///
    /// # Errors
    /// [`SealError::Sealed`] where a key opens by no seal, with what each said; [`SealError::Damaged`] for a document that
    /// is not authentic.
    pub fn unseal(&self) -> Result<Unsealed, SealError> {
        let document = self.read()?;
        let (mut opened_by, mut failures, mut pending) = (Vec::new(), Vec::new(), Vec::new());
        let mut keys = Vec::new();
        for entry in &document.keys {
            let (material, seal) = self.open(&document.cluster, entry, &mut failures, &mut pending)?;
            opened_by.push(seal);
            keys.push(MasterKey { id: entry.id.clone(), epoch: entry.epoch, material });
        }
        let mut keys = keys.into_iter();
        let active = keys.next().ok_or_else(|| SealError::damaged(self.path(), "keys: there is none"))?;
        if !authenticator(&active)?.verify(&[&self.content(&document)?], &document.authenticator) {
            return Err(SealError::damaged(
                self.path(),
                "the master key opens, but it was not the server that wrote the document",
            ));
        }
        let audit_key = open_audit_key(&active, &document.audit_key)
            .map_err(|_| SealError::damaged(self.path(), "audit_key: does not open"))?;
        let staged = document.staged().and_then(|_| keys.next());
        Ok(Unsealed {
            keys: MasterKeys { active, staged, retired: keys.collect() },
            audit_key,
            opened_by,
            failures,
            pending,
            document,
        })
    }

    fn content(&self, document: &SealedKeys) -> Result<Vec<u8>, SealError> {
        document.authenticated().map_err(|error| SealError::damaged(self.path(), error.to_string()))
    }

    fn open(
        &self,
        cluster: &KeyId,
        entry: &SealedKey,
        failures: &mut Vec<String>,
        pending: &mut Vec<BootState>,
    ) -> Result<(KeyMaterial, String), SealError> {
        let identity = entry.identity(cluster);
        let mut said = Vec::new();
        for seal in &self.seals {
            let by_seal = entry.seals.iter().find(|sealed| sealed.is_by(seal.kind(), &seal.name()));
            let outcome = match by_seal {
                None => Err(format!("{}: it did not seal this key", seal.describe())),
                Some(sealed) => match seal.open(&sealed.sealed, &identity) {
                    Err(error) => {
                        let text = error.to_string();
                        if let SealError::NotApproved { state, .. } = error {
                            pending.push(*state);
                        }
                        Err(text)
                    }
                    Ok(material) if !key_check(&material, &identity, &entry.check)? => {
                        Err(format!("{}: what it holds is another key than was sealed", seal.describe()))
                    }
                    Ok(material) => Ok(material),
                },
            };
            match outcome {
                Ok(material) => {
                    failures.append(&mut said);
                    return Ok((material, seal.describe()));
                }
                Err(problem) => said.push(problem),
            }
        }
        if said.is_empty() {
            said.push("no seal is configured".to_owned());
        }
        let pending = std::mem::take(pending);
        Err(SealError::Sealed { key: entry.id.to_string(), failures: said, pending })
    }
}
