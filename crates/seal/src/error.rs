//! Why a seal did not open or close.

use std::path::PathBuf;

use chatelaine_crypto::CryptoError;

use crate::boot::BootState;
use crate::ownership::Doubt;

/// Why a seal did not open or close. Messages say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// There is nothing to open.
    #[error(
        "there is no {what} in {place}: restore it from its backup; a new one is made only by `chatelaine serve` where there is no store yet"
    )]
    Missing {
        /// What should be there.
        what: &'static str,
        /// Where.
        place: String,
    },
    /// There is something already.
    #[error("there is a {what} in {place} already; it is not overwritten")]
    Exists {
        /// What is there.
        what: &'static str,
        /// Where.
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
    /// A file is not as it was written.
    #[error("{}: {problem}; restore the file from its backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line or field, and what is wrong with it; never its value.
        problem: String,
    },
    /// A file was written by another release.
    #[error("{}: the format is not version {supported}, which this release reads; use the release that wrote it", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version this release reads.
        supported: u32,
    },
    /// A text is not the id of a key.
    #[error("the id of a master key is a UUID in lower case with hyphens")]
    InvalidId,
    /// A value given by a person or a setting is not allowed.
    #[error("{what}: {problem}")]
    Invalid {
        /// The field or setting.
        what: &'static str,
        /// What is wrong and what is allowed; never a secret's value.
        problem: String,
    },
    /// The seal works, and refuses: another passphrase, another token, a boot state nobody approved.
    #[error("{place}: {problem}; {remedy}")]
    Refused {
        /// The seal, as it describes itself.
        place: String,
        /// Why.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The seal's device does not answer now and may later.
    #[error("{place} is not available: {problem}")]
    Unavailable {
        /// The seal, as it describes itself.
        place: String,
        /// What happened.
        problem: String,
    },
    /// The seal is bound to how the host boots, and nobody has approved how it has booted now.
    #[error("{place}: {state} is not approved; approve it with `chatelaine master-key approve`")]
    NotApproved {
        /// The seal, as it describes itself.
        place: String,
        /// How the host has booted, and for which key.
        state: Box<BootState>,
    },
    /// None of the seals opened a key.
    #[error("master key {key} stays sealed: {}", failures.join("; "))]
    Sealed {
        /// The key.
        key: String,
        /// What each seal said, in the order in which they were asked.
        failures: Vec<String>,
        /// Boot states among it that wait to be approved.
        pending: Vec<BootState>,
    },
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
    /// A primitive failed, or the system gave no random bytes.
    #[error("a cryptographic operation failed: {0}")]
    Crypto(#[from] CryptoError),
}

impl SealError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn insecure(
        path: impl Into<PathBuf>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Insecure { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn doubted(path: impl Into<PathBuf>, Doubt { problem, remedy }: Doubt) -> Self {
        Self::Insecure { path: path.into(), problem, remedy }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), problem: problem.into() }
    }
}
