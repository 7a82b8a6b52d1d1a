//! The one error of the domain: what a caller can act on, without saying more than the caller may know.
//!
//! Each protocol maps these variants in one function. The text of `Unavailable`, `Corrupt` and `Internal` is for the
//! log, not for the client.

use crate::id::Version;

/// The result of a domain operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or the caller may not know of it.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for, for example "key 6f1c…".
        what: String,
    },
    /// The caller may not do this.
    #[error("not allowed: {reason}")]
    Forbidden {
        /// Which rule refused, for the log and the client.
        reason: String,
    },
    /// A field of the request is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the protocol names it.
        field: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// Something of this id exists already.
    #[error("{what} exists already")]
    Exists {
        /// What exists.
        what: String,
    },
    /// The record has another version than the caller expected: somebody was faster.
    #[error("it has version {current} now: read it again and repeat the change on what you find")]
    VersionMismatch {
        /// The version it has now.
        current: Version,
    },
    /// The thing is in a state that does not allow this.
    #[error("{reason}")]
    WrongState {
        /// The state, and what would have to happen first.
        reason: String,
    },
    /// The master key is not available, so nothing can be done.
    #[error("the server is sealed: its master key is not available")]
    Sealed,
    /// Something this server depends on does not answer.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// What is stored is not what was stored: it was damaged or tampered with.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// A defect of this program.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// A wrong field.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// A missing thing.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }
}

impl From<crate::store::StoreError> for Error {
    fn from(error: crate::store::StoreError) -> Self {
        use crate::store::{ConflictReason, StoreError};
        match error {
            StoreError::Conflict { reason: ConflictReason::Changed(current), .. } => {
                Self::VersionMismatch { current }
            }
            StoreError::Conflict { kind, id, reason: ConflictReason::Exists } => {
                Self::Exists { what: format!("{kind} {id}") }
            }
            StoreError::Conflict { kind, id, reason: ConflictReason::Missing } => {
                Self::not_found(format!("{kind} {id}"))
            }
            StoreError::Conflict { kind, id, reason: reason @ ConflictReason::Resealed } => {
                Self::WrongState { reason: format!("{kind} {id}: {reason}: repeat the request") }
            }
            StoreError::Unavailable(reason) => Self::Unavailable(reason),
            StoreError::Corrupt(reason) => Self::Corrupt(reason),
            error @ (StoreError::NewerSchema { .. } | StoreError::Invalid(_)) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

impl From<crate::audit::AuditError> for Error {
    fn from(error: crate::audit::AuditError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
