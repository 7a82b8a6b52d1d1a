//! Seals: where master keys rest while the server does not run.
//!
//! Owns the trait [`Seal`], the keys it hands out ([`MasterKeys`]) and the seals themselves; [`file`](mod@file) keeps
//! them in a file that only the server's user reads.
//!
//! Invariants: a seal never overwrites a key; there is exactly one active key; no error carries key bytes.
//!
//! Refuses: keys in places that others can read or change.

pub mod file;
mod keys;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use keys::{MasterKey, MasterKeyId, MasterKeys};

use std::path::PathBuf;

use chatelaine_crypto::CryptoError;

/// A place where master keys rest. Calls block.
pub trait Seal: Send + Sync {
    /// What sort of seal it is, as the configuration names it, for example `file`.
    fn kind(&self) -> &'static str;

    /// Where the keys are, for the log; without secrets.
    fn describe(&self) -> String;

    /// Whether there are keys.
    ///
    /// # Errors
    /// [`SealError`] where that cannot be told.
    fn exists(&self) -> Result<bool, SealError>;

    /// Takes the keys out.
    ///
    /// # Errors
    /// [`SealError::Missing`] where there are none; others where they cannot be had or not be trusted.
    fn unseal(&self) -> Result<MasterKeys, SealError>;

    /// Makes a new 256-bit master key, seals it and returns it.
    ///
    /// # Errors
    /// [`SealError::Exists`] where there are keys already: none is ever overwritten.
    fn create(&self) -> Result<MasterKeys, SealError>;
}

/// Why a seal did not open or close. Messages say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// There are no keys.
    #[error(
        "there is no master key in {place}: restore it from its backup; a new one is made only by `chatelaine serve` where there is no store yet"
    )]
    Missing {
        /// The seal, as it describes itself.
        place: String,
    },
    /// There are keys already.
    #[error("there is a master key in {place} already; it is not overwritten")]
    Exists {
        /// The seal, as it describes itself.
        place: String,
    },
    /// Others could read or change the keys.
    #[error("{}: {problem}; {remedy}", path.display())]
    Insecure {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The keys are not as they were written.
    #[error("{}: {problem}; restore the file from its backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line or field, and what is wrong with it; never its value.
        problem: String,
    },
    /// The keys were written by another release.
    #[error("{}: the format is not version {supported}, which this release reads; use the release that wrote it", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version this release reads.
        supported: u32,
    },
    /// A text is not the id of a master key.
    #[error("the id of a master key is a UUID in lower case with hyphens")]
    InvalidId,
    /// The system refused a file operation.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No random bytes could be had.
    #[error("the master key could not be made: {0}")]
    Crypto(#[from] CryptoError),
}

impl SealError {
    fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
