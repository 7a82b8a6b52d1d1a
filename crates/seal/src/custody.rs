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
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chatelaine_crypto::{KeyMaterial, MacKey, RecordCipher, derive};

use crate::boot::BootState;
use crate::document::{
    FORMAT, KeyState, MAX_DOCUMENT, MAX_KEYS, Sealed, SealedAuditKey, SealedKey, SealedKeys,
};
use crate::files::PrivateFile;
use crate::recovery::{RecoveryRecipient, RecoverySeal};
use crate::{KeyId, KeyIdentity, MasterKey, MasterKeys, Seal, SealError};

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
        self.begin(cluster, MasterKeys { active: key, retired: Vec::new() }, vec![sealed], pending)
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
        Ok(Unsealed {
            keys: MasterKeys { active, retired: keys.collect() },
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

    /// Makes a new active master key; the former one is retired. The caller uses the new one from now on and moves
    /// everything that the retired one wraps.
    ///
    /// # Errors
    /// Those of the seals and the file; nothing has changed then.
    pub fn rotate(&self, unsealed: &mut Unsealed, now: &str) -> Result<(), SealError> {
        if unsealed.document.keys.len() >= MAX_KEYS {
            return Err(SealError::Invalid {
                what: "master keys",
                problem: format!("there are {MAX_KEYS} already; destroy retired ones first"),
            });
        }
        self.refuse_to_leave_out(&unsealed.document)?;
        let epoch = unsealed.keys.active.epoch.checked_add(1).ok_or(SealError::Invalid {
            what: "master keys",
            problem: "there are no more epochs".to_owned(),
        })?;
        let key = MasterKey::random(epoch)?;
        let mut document = unsealed.document.clone();
        let (entry, mut pending) = self.seal_new(&document.cluster, &key, document.recovery.as_ref(), now)?;
        // Nobody shall find out at the next boot that the new key does not open.
        if let Some(state) = pending.pop() {
            let place = self.describe();
            return Err(SealError::NotApproved { place, state: Box::new(state) });
        }
        for former in &mut document.keys {
            former.state = KeyState::Retired;
        }
        document.keys.insert(0, entry);
        document.audit_key = wrap_audit_key(&key, &unsealed.audit_key)?;
        self.write(&mut document, &key)?;
        unsealed.document = document;
        let former = std::mem::replace(&mut unsealed.keys.active, key);
        unsealed.keys.retired.insert(0, former);
        Ok(())
    }

    /// Refuses a new key where a seal that holds the present one would not hold it: whoever relies on that seal would be
    /// locked out.
    fn refuse_to_leave_out(&self, document: &SealedKeys) -> Result<(), SealError> {
        let sealed = document.active().into_iter().flat_map(|key| &key.seals);
        let other = sealed
            .filter(|sealed| sealed.kind != crate::recovery::KIND)
            .find(|sealed| !self.seals.iter().any(|seal| sealed.is_by(seal.kind(), &seal.name())));
        match other {
            None => Ok(()),
            Some(Sealed { kind, name, .. }) => Err(SealError::Invalid {
                what: "seal",
                problem: format!(
                    "{kind} {name} holds the master key and would not hold a new one: name it in seal.kind or seal.also and \
                     restart the server, or remove it with `chatelaine master-key seal remove`"
                ),
            }),
        }
    }

    /// Removes a retired master key for good. Whoever asks has made sure that nothing is wrapped under it.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for the active key and unknown ones; those of the file.
    pub fn destroy(&self, unsealed: &mut Unsealed, id: &KeyId) -> Result<(), SealError> {
        if unsealed.keys.active.id == *id {
            return Err(SealError::Invalid {
                what: "master key",
                problem: format!("{id} is active; rotate the master key first"),
            });
        }
        if !unsealed.keys.retired.iter().any(|key| key.id == *id) {
            return Err(SealError::Invalid { what: "master key", problem: format!("there is no {id}") });
        }
        let mut document = unsealed.document.clone();
        document.keys.retain(|key| key.id != *id);
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        unsealed.keys.retired.retain(|key| key.id != *id);
        Ok(())
    }

    /// Seals all keys by one more seal, or anew by one that sealed them before.
    ///
    /// # Errors
    /// Those of the seal and the file; nothing has changed then.
    pub fn add_seal(&self, unsealed: &mut Unsealed, seal: &dyn Seal, now: &str) -> Result<(), SealError> {
        seal.prepare()?;
        let mut document = unsealed.document.clone();
        let pending = seal_all(&mut document, &unsealed.keys, seal, now)?;
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        unsealed.pending = pending;
        Ok(())
    }

    /// Removes what a seal made.
    ///
    /// # Errors
    /// [`SealError::Invalid`] where it made nothing, or where a key would be left without any other; those of the file.
    pub fn remove_seal(&self, unsealed: &mut Unsealed, kind: &str, name: &str) -> Result<(), SealError> {
        let invalid = |problem: String| SealError::Invalid { what: "seal", problem };
        let mut document = unsealed.document.clone();
        let mut removed = false;
        for key in &mut document.keys {
            let before = key.seals.len();
            key.seals.retain(|sealed| !sealed.is_by(kind, name));
            removed |= key.seals.len() < before;
        }
        if !removed {
            return Err(invalid(format!("{kind} {name} has sealed no key")));
        }
        for (entry, key) in document.keys.iter().zip(unsealed.keys.iter()) {
            // Break-glass alone is no way to start, nor is a seal that nobody has configured.
            let mut failures = Vec::new();
            let opened = self.open(&document.cluster, entry, &mut failures, &mut Vec::new());
            if !opened.is_ok_and(|(material, _)| material.ct_eq(key.material.expose())) {
                return Err(invalid(format!(
                    "{kind} {name} is the last one that opens master key {} here: add another, name it in seal.kind or \
                     seal.also, and restart the server first",
                    key.id
                )));
            }
        }
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(())
    }

    /// Seals all keys for a recovery key, in place of a former one; none removes it.
    ///
    /// # Errors
    /// Those of the file; nothing has changed then.
    pub fn set_recovery(
        &self,
        unsealed: &mut Unsealed,
        recipient: Option<RecoveryRecipient>,
        now: &str,
    ) -> Result<(), SealError> {
        let mut document = unsealed.document.clone();
        for key in &mut document.keys {
            key.seals.retain(|sealed| sealed.kind != crate::recovery::KIND);
        }
        if let Some(recipient) = &recipient {
            let cluster = document.cluster.clone();
            for (entry, key) in document.keys.iter_mut().zip(unsealed.keys.iter()) {
                put(entry, closed_for(recipient, key, &key.identity(&cluster), now)?);
            }
        }
        document.recovery = recipient;
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(())
    }

    /// Also tells for which boot states the key does not open yet.
    fn seal_new(
        &self,
        cluster: &KeyId,
        key: &MasterKey,
        recovery: Option<&RecoveryRecipient>,
        now: &str,
    ) -> Result<(SealedKey, Vec<BootState>), SealError> {
        let identity = key.identity(cluster);
        let mut seals = Vec::new();
        let mut pending = Vec::new();
        for seal in &self.seals {
            seals.push(seal_one(seal.as_ref(), key, &identity, now, &mut pending)?);
        }
        if let Some(recipient) = recovery {
            seals.push(closed_for(recipient, key, &identity, now)?);
        }
        let key = SealedKey {
            id: key.id.clone(),
            epoch: key.epoch,
            state: KeyState::Active,
            created: now.to_owned(),
            check: check_of(key, &identity)?,
            seals,
        };
        Ok((key, pending))
    }

    pub(crate) fn write(&self, document: &mut SealedKeys, active: &MasterKey) -> Result<(), SealError> {
        let on_disk = self.read()?.generation;
        if on_disk != document.generation {
            return Err(SealError::Refused {
                place: self.file.describe(),
                problem: "another process has changed it since it was read".to_owned(),
                remedy: "stop the other process, and restart this one".to_owned(),
            });
        }
        document.generation = document.generation.saturating_add(1);
        self.file.replace(&authenticate(document, active)?)
    }
}

fn gives_another_key(seal: &dyn Seal) -> SealError {
    SealError::Refused {
        place: seal.describe(),
        problem: "it does not give back the key that it was given".to_owned(),
        remedy: "do not use it".to_owned(),
    }
}

/// Seals a key and opens it again, to show that it can be opened; or tells that it will, once the boot state is approved.
fn seal_one(
    seal: &dyn Seal,
    key: &MasterKey,
    identity: &KeyIdentity<'_>,
    now: &str,
    pending: &mut Vec<BootState>,
) -> Result<Sealed, SealError> {
    let sealed = seal.seal(&key.material, identity)?;
    match seal.open(&sealed, identity) {
        Ok(opened) if opened.ct_eq(key.material.expose()) => {}
        Ok(_) => return Err(gives_another_key(seal)),
        Err(SealError::NotApproved { state, .. }) => pending.push(*state),
        Err(error) => return Err(error),
    }
    Ok(Sealed { kind: seal.kind().to_owned(), name: seal.name(), created: now.to_owned(), sealed })
}

/// Seals a key for the recovery key, whose private half is elsewhere.
fn closed_for(
    recipient: &RecoveryRecipient,
    key: &MasterKey,
    identity: &KeyIdentity<'_>,
    now: &str,
) -> Result<Sealed, SealError> {
    let seal = RecoverySeal::of_recipient(recipient);
    let sealed = seal.seal(&key.material, identity)?;
    Ok(Sealed { kind: seal.kind().to_owned(), name: seal.name(), created: now.to_owned(), sealed })
}

fn put(entry: &mut SealedKey, sealed: Sealed) {
    entry.seals.retain(|other| !other.is_by(&sealed.kind, &sealed.name));
    entry.seals.push(sealed);
}

fn seal_all(
    document: &mut SealedKeys,
    keys: &MasterKeys,
    seal: &dyn Seal,
    now: &str,
) -> Result<Vec<BootState>, SealError> {
    let cluster = document.cluster.clone();
    let mut pending = Vec::new();
    for (entry, key) in document.keys.iter_mut().zip(keys.iter()) {
        put(entry, seal_one(seal, key, &key.identity(&cluster), now, &mut pending)?);
    }
    Ok(pending)
}

fn check_key(material: &KeyMaterial) -> Result<MacKey, SealError> {
    Ok(MacKey::new(&derive(material, "chatelaine master key check", &[], 32)?))
}

fn check_of(key: &MasterKey, identity: &KeyIdentity<'_>) -> Result<Vec<u8>, SealError> {
    Ok(check_key(&key.material)?.sign(&[&identity.associated_data("check")]).to_vec())
}

/// Whether a key is the one that a check was made with.
///
/// # Errors
/// [`SealError::Crypto`].
pub(crate) fn key_check(
    material: &KeyMaterial,
    identity: &KeyIdentity<'_>,
    check: &[u8],
) -> Result<bool, SealError> {
    Ok(check_key(material)?.verify(&[&identity.associated_data("check")], check))
}

fn authenticator(active: &MasterKey) -> Result<MacKey, SealError> {
    Ok(MacKey::new(&derive(&active.material, "chatelaine sealed master keys", &[], 32)?))
}

/// Signs the document and gives its text.
fn authenticate(document: &mut SealedKeys, active: &MasterKey) -> Result<Vec<u8>, SealError> {
    let invalid = |error: serde_json::Error| SealError::Invalid {
        what: "document of sealed master keys",
        problem: error.to_string(),
    };
    let content = document.authenticated().map_err(invalid)?;
    document.authenticator = authenticator(active)?.sign(&[&content]).to_vec();
    let text = document.render().map_err(invalid)?;
    if text.len() > MAX_DOCUMENT {
        return Err(SealError::Invalid {
            what: "document of sealed master keys",
            problem: format!(
                "it would have more than {MAX_DOCUMENT} bytes; remove seals that are not needed"
            ),
        });
    }
    Ok(text)
}

fn audit_cipher(active: &MasterKey) -> Result<RecordCipher, SealError> {
    Ok(RecordCipher::new(&derive(&active.material, "chatelaine audit key", &[], 32)?)?)
}

fn wrap_audit_key(active: &MasterKey, key: &AuditKey) -> Result<SealedAuditKey, SealError> {
    let wrapped = audit_cipher(active)?.seal(key.id.as_str().as_bytes(), key.material.expose())?;
    Ok(SealedAuditKey { id: key.id.clone(), wrapped })
}

fn open_audit_key(active: &MasterKey, sealed: &SealedAuditKey) -> Result<AuditKey, SealError> {
    let material = audit_cipher(active)?.open(sealed.id.as_str().as_bytes(), &sealed.wrapped)?;
    Ok(AuditKey { id: sealed.id.clone(), material })
}
