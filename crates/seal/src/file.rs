//! The file seal: master keys wrapped under a sealing key in a text file, protected by the file system alone.
//!
//! Owns the key file and its format ([`format`](mod@format)). For installations whose machine or disk is protected by
//! other means, or where systemd hands the file out as a credential: a copy of this file opens every copy of the sealed
//! master keys, so the two are backed up apart. A file of exactly 32 bytes is a sealing key as well.
//!
//! Refuses: files that others can read or change, and content that is not exactly as written.

mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use chatelaine_crypto::{KeyMaterial, RecordCipher, derive};
use serde::{Deserialize, Serialize};

use crate::files::PrivateFile;
use crate::{KeyId, KeyIdentity, Seal, SealError, base64_bytes, parse_sealed};
use format::{FileKey, FileKeys};

/// Largest file, in bytes.
const MAX_FILE: usize = 16 * 1024;
/// A sealing key without anything around it, as systemd's credentials may be.
const BARE_KEY: usize = 32;
const KIND: &str = "file";

/// Master keys wrapped under a sealing key in a file.
#[derive(Debug, Clone)]
pub struct FileSeal {
    file: PrivateFile,
}

/// What the document holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    /// The sealing key.
    sealing_key: String,
    /// Nonce, ciphertext and tag of the record cipher.
    #[serde(with = "base64_bytes")]
    wrapped: Vec<u8>,
}

impl FileSeal {
    /// The seal whose sealing key is in the file at `path`; nothing is touched yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { file: PrivateFile::new(path, "sealing key", MAX_FILE) }
    }

    /// Whether there is a key file.
    ///
    /// # Errors
    /// [`SealError::Io`] where that cannot be told.
    pub fn exists(&self) -> Result<bool, SealError> {
        self.file.exists()
    }

    fn keys(&self) -> Result<FileKeys, SealError> {
        let content = self.file.read()?;
        if content.len() == BARE_KEY {
            return FileKeys::of_bare(&content);
        }
        format::parse(&content).map_err(|problem| match problem {
            format::Problem::UnknownVersion => {
                SealError::UnknownVersion { path: self.file.path().to_path_buf(), supported: format::VERSION }
            }
            format::Problem::Damaged(problem) => SealError::damaged(self.file.path(), problem),
        })
    }
}

/// The cipher for master keys; a sealing key is used for nothing else.
fn cipher(key: &FileKey) -> Result<RecordCipher, SealError> {
    Ok(RecordCipher::new(&derive(&key.material, "chatelaine sealing key", &[], 32)?)?)
}

impl Seal for FileSeal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn describe(&self) -> String {
        self.file.describe()
    }

    fn prepare(&self) -> Result<(), SealError> {
        let keys = FileKeys { active: FileKey::random()?, retired: Vec::new() };
        match self.file.create(&format::render(&keys)) {
            // A credential that systemd made, or another's who was faster: if it can be used, it is.
            Err(SealError::Exists { .. }) => self.keys().map(drop),
            other => other,
        }
    }

    fn seal(&self, key: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<serde_json::Value, SealError> {
        let keys = self.keys()?;
        let wrapped = cipher(&keys.active)?.seal(&identity.associated_data(KIND), key.expose())?;
        Ok(serde_json::json!(Wrapped { sealing_key: keys.active.id.to_string(), wrapped }))
    }

    fn open(&self, sealed: &serde_json::Value, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, SealError> {
        let sealed: Wrapped = parse_sealed(self, sealed)?;
        let keys = self.keys()?;
        let refused = |problem: String| SealError::Refused {
            place: self.describe(),
            problem,
            remedy: "restore the sealing key and the sealed master keys from backups that belong together"
                .to_owned(),
        };
        let key = keys.iter().find(|key| key.id.as_str() == sealed.sealing_key).ok_or_else(|| {
            refused("it does not hold the sealing key that the master key is wrapped under".to_owned())
        })?;
        cipher(key)?
            .open(&identity.associated_data(KIND), &sealed.wrapped)
            .map_err(|_| refused(format!("sealing key {} does not open the master key", key.id)))
    }
}

impl FileKeys {
    /// The keys of a file that holds nothing but one.
    fn of_bare(bytes: &[u8]) -> Result<Self, SealError> {
        let material = KeyMaterial::copy_from(bytes);
        let id = KeyId::from_random(derive(&material, "chatelaine sealing key id", &[], 16)?.expose());
        Ok(Self { active: FileKey { id, material }, retired: Vec::new() })
    }
}
