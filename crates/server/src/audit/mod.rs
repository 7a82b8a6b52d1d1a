//! The audit trail on disk: an append-only log of CADF events in which no line can be changed unnoticed.
//!
//! Owns the form of a line ([`format`]), the segments it lies in ([`segment`]), the trail that the server writes
//! ([`file`]), how many refusals it takes ([`refusals`]), reading it back ([`scan`]) and telling what somebody did to it ([`verify`](mod@verify)).
//!
//! Invariant: every line carries the next number and an HMAC-SHA-256 over the authenticator of the line before it and
//! all of its own bytes. Who lacks the key can neither change, insert, move nor remove a line without a trace; lines cut
//! off the end show against a [`Head`] kept elsewhere.
//!
//! Refuses: two servers on one trail, folders others can enter, events that cannot be written as a whole, and any write
//! after one whose fate is unknown.

pub mod file;
pub mod format;
pub mod refusals;
pub mod scan;
pub mod segment;
#[cfg(test)]
mod testing;
pub mod verify;

pub use file::{FileTrail, Options, Recovery};
pub use refusals::LimitedTrail;
pub use scan::{histories, holds, is_younger_than_store, read_lines};
pub use segment::Lock;
pub use verify::{Expected, Finding, FindingKind, Progress, VerifyReport, verify};

use std::path::PathBuf;

/// An authenticator of a line: HMAC-SHA-256, 32 bytes.
pub type LineMac = [u8; 32];

/// The authenticator that the first line of a new trail follows.
pub const GENESIS: LineMac = [0; 32];

/// Where a trail ends: kept elsewhere, it shows later whether lines were cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line; 0 for a trail without lines.
    pub seq: u64,
    /// The authenticator of that line.
    pub mac: LineMac,
}

impl Head {
    /// The head of a trail without lines.
    pub const EMPTY: Self = Self { seq: 0, mac: GENESIS };
}

/// Keeps every other server off a trail that is not open yet.
///
/// # Errors
/// [`TrailError::InUse`]; those of the folder.
pub fn lock(folder: &std::path::Path) -> Result<Lock, TrailError> {
    segment::prepare_folder(folder)?;
    segment::lock(folder)
}

/// Whether somebody has begun a trail in the folder; one that cannot be looked into counts.
pub fn has_lines(folder: &std::path::Path) -> bool {
    folder.exists() && segment::list(folder).map_or(true, |segments| !segments.is_empty())
}

/// Why a trail cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The system refused a file operation.
    #[error("{doing} {path}: {source}", path = path.display())]
    Io {
        /// What was being done, for example `cannot open`.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another process holds the trail open.
    #[error(
        "the audit trail in {} is in use by another server; stop it, or give this server a folder of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// The folder can be entered by others, or is none.
    #[error("the audit folder {} {problem}", path.display())]
    Insecure {
        /// The folder.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The event that tells of a recovery could not be written.
    #[error("the audit trail was mended, and that cannot be written down: {0}")]
    NotNoted(#[source] chatelaine_core::audit::AuditError),
    /// An option or name cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The segment was written under another key.
    #[error(
        "{segment} was written under the audit key {found}, this server has {expected}; start it with the master key \
         the trail belongs to, or move the trail away to begin a new one"
    )]
    OtherKey {
        /// The file's name.
        segment: String,
        /// The id of the key in the segment.
        found: String,
        /// The id of the key that was given.
        expected: String,
    },
    /// A line does not verify.
    #[error(
        "{segment}, line {line}: {problem}; run `chatelaine audit verify` to see what was done to the trail"
    )]
    Broken {
        /// The file's name.
        segment: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl TrailError {
    fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
