//! What keeps the identities from being opened, reread or edited.
//!
//! Invariant: a message names the setting or the file and says what to do; it never holds a token or a password.

use std::path::{Path, PathBuf};

/// Why identities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A setting is not acceptable.
    #[error("{field}: {problem}; {remedy}")]
    Setting {
        /// The setting with its section, as in the configuration file.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A file cannot be used as it is.
    #[error("{path}: {problem}; {remedy}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The system refused to read or write.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, in words that a path may follow.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A request to change identities does not fit them.
    #[error("{0}")]
    Edit(String),
    /// Keystone refuses our own credentials.
    #[error("identity.keystone: {0}")]
    OwnCredentials(String),
    /// The system has no random bytes.
    #[error("the system's random generator failed; no token was made")]
    Random,
    /// Work on another thread broke off.
    #[error("the work was broken off")]
    BrokenOff,
}

impl IdentityError {
    pub(super) fn setting(
        field: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Setting { field, problem: problem.into(), remedy: remedy.into() }
    }

    pub(super) fn file(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::File { path: path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A conversion for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }
}
