//! The record store as the domain sees it: opaque sealed records, compare-and-set, listing by index attributes.
//!
//! A backend never sees plain text. It moves [`Record`]s, applies a batch of [`Change`]s as one atomic step or not at
//! all, and lists in one stable order: by creation time, then id. What the body means, and whether it is authentic, is
//! decided above (`record`). Every backend passes `testkit::conformance`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::id::Version;

/// Longest id of a record, in bytes.
pub const MAX_ID: usize = 255;
/// Longest value of an index attribute, in bytes.
pub const MAX_ATTRIBUTE: usize = 1024;
/// Largest sealed body, in bytes: a payload of the largest configurable size and its metadata.
pub const MAX_BODY: usize = 2 * 1024 * 1024;
/// Most changes in one batch.
pub const MAX_BATCH: usize = 1000;
/// Most records in one page of a listing.
pub const MAX_PAGE: usize = 1000;

/// What sort of record it is: `secret`, `tombstone`, `scope_key` … Lower-case letters and underscores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// A secret, with its metadata and payload.
    pub const SECRET: Self = Self(Cow::Borrowed("secret"));
    /// The authenticated request to purge a secret when its grace period is over.
    pub const TOMBSTONE: Self = Self(Cow::Borrowed("tombstone"));
    /// A version of a scope's key-encryption key.
    pub const SCOPE_KEY: Self = Self(Cow::Borrowed("scope_key"));
    /// A mark of the server's own: which master key the store belongs to, how far the audit trail had come.
    pub const MARK: Self = Self(Cow::Borrowed("mark"));

    /// A kind that a protocol defines.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A kind as read from storage.
    pub fn stored(name: String) -> Self {
        Self(Cow::Owned(name))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a record can be listed by, beside kind and project. A copy, for the backend, of facts the sealed body holds:
/// a reader that needs to be sure compares with the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexAttributes {
    /// The user that put it.
    pub owner: Option<String>,
    /// The name its owner gave it.
    pub name: Option<String>,
    /// Its state, for example `active`.
    pub state: Option<String>,
    /// What it is within its kind, for example the scope or type of a secret.
    pub class: Option<String>,
    /// The record it belongs to.
    pub parent: Option<String>,
    /// Something it refers to by name, for example the master key a key string is wrapped under.
    pub reference: Option<String>,
    /// When something is to be done about it, for example purged.
    pub due: Option<Timestamp>,
}

/// The stored form of one thing.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What sort of record.
    pub kind: Kind,
    /// Its id, unique within the kind; at most [`MAX_ID`] bytes.
    pub id: String,
    /// The project (or other scope) it belongs to.
    pub project: String,
    /// When it was created. Never changes; listings are ordered by it.
    pub created: Timestamp,
    /// 1 at creation, one more at each change.
    pub version: Version,
    /// What it can be listed by.
    pub attributes: IndexAttributes,
    /// The sealed body.
    pub body: Vec<u8>,
}

impl Record {
    /// The place of this record in listings.
    pub fn position(&self) -> Position {
        Position { created: self.created, id: self.id.clone() }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Record({}/{} version {} of {}, {} bytes)",
            self.kind,
            self.id,
            self.version,
            self.project,
            self.body.len()
        )
    }
}

/// One step of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds a record; refused when one of this kind and id exists. Its version is the record's own.
    Create(Record),
    /// Replaces the record of this kind and id if its version is `expected`. `created` stays as stored.
    Replace {
        /// The version that must be found.
        expected: Version,
        /// What takes its place.
        record: Record,
    },
    /// Puts the same version of a record, sealed under another key, in place of the one whose body is exactly `before`:
    /// version and creation time stay. That the body is compared, and not the version alone, keeps a record that was
    /// removed and made anew, or that somebody else has sealed anew meanwhile, from being overwritten.
    Reseal {
        /// The body that must be found.
        before: Vec<u8>,
        /// What takes its place; its version must be found, too.
        record: Record,
    },
    /// Removes the record if its version is `expected`.
    Remove {
        /// The record's kind.
        kind: Kind,
        /// The record's id.
        id: String,
        /// The version that must be found.
        expected: Version,
    },
    /// Changes nothing; the batch is refused unless the record's version is `expected` (`None`: it does not exist).
    Require {
        /// The record's kind.
        kind: Kind,
        /// The record's id.
        id: String,
        /// The version that must be found.
        expected: Option<Version>,
    },
}

impl Change {
    /// Kind and id of the record it is about.
    pub fn target(&self) -> (&Kind, &str) {
        match self {
            Self::Create(record) | Self::Replace { record, .. } | Self::Reseal { record, .. } => {
                (&record.kind, &record.id)
            }
            Self::Remove { kind, id, .. } | Self::Require { kind, id, .. } => (kind, id),
        }
    }

    /// The record it writes, where it writes one.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Create(record) | Self::Replace { record, .. } | Self::Reseal { record, .. } => Some(record),
            Self::Remove { .. } | Self::Require { .. } => None,
        }
    }

    /// The same, to be changed.
    pub fn record_mut(&mut self) -> Option<&mut Record> {
        match self {
            Self::Create(record) | Self::Replace { record, .. } | Self::Reseal { record, .. } => Some(record),
            Self::Remove { .. } | Self::Require { .. } => None,
        }
    }

    /// The version that must be found; `None`: there must be no record.
    pub fn expected(&self) -> Option<Version> {
        match self {
            Self::Create(_) => None,
            Self::Reseal { record, .. } => Some(record.version),
            Self::Replace { expected, .. } | Self::Remove { expected, .. } => Some(*expected),
            Self::Require { expected, .. } => *expected,
        }
    }
}

/// A place in the order of a listing: everything after it comes next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Creation time of the record before.
    pub created: Timestamp,
    /// Its id.
    pub id: String,
}

/// Which records to list: all given conditions hold.
#[derive(Clone, Debug)]
pub struct Query {
    /// The kind; a listing is always of one kind.
    pub kind: Kind,
    /// The project.
    pub project: Option<String>,
    /// The owner.
    pub owner: Option<String>,
    /// The exact name.
    pub name: Option<String>,
    /// The state.
    pub state: Option<String>,
    /// The class.
    pub class: Option<String>,
    /// The parent.
    pub parent: Option<String>,
    /// The reference.
    pub reference: Option<String>,
    /// Only records with a due time at or before this.
    pub due_by: Option<Timestamp>,
    /// Start after this place.
    pub after: Option<Position>,
    /// At most this many, never more than [`MAX_PAGE`].
    pub limit: NonZeroUsize,
}

impl Query {
    /// All records of a kind, a full page of them.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            project: None,
            owner: None,
            name: None,
            state: None,
            class: None,
            parent: None,
            reference: None,
            due_by: None,
            after: None,
            limit: const { NonZeroUsize::new(MAX_PAGE).unwrap() },
        }
    }

    /// Whether a record meets the conditions (order and limit aside).
    pub fn matches(&self, record: &Record) -> bool {
        fn same(wanted: Option<&String>, found: Option<&String>) -> bool {
            wanted.is_none() || wanted == found
        }
        let attributes = &record.attributes;
        self.kind == record.kind
            && self.project.as_ref().is_none_or(|project| *project == record.project)
            && same(self.owner.as_ref(), attributes.owner.as_ref())
            && same(self.name.as_ref(), attributes.name.as_ref())
            && same(self.state.as_ref(), attributes.state.as_ref())
            && same(self.class.as_ref(), attributes.class.as_ref())
            && same(self.parent.as_ref(), attributes.parent.as_ref())
            && same(self.reference.as_ref(), attributes.reference.as_ref())
            && self.due_by.is_none_or(|by| attributes.due.is_some_and(|due| due <= by))
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition of the batch did not hold; nothing was changed.
    #[error("{kind}/{id}: {reason}; nothing was changed")]
    Conflict {
        /// The record's kind.
        kind: Kind,
        /// The record's id.
        id: String,
        /// What stood in the way.
        reason: ConflictReason,
    },
    /// The store cannot be reached, is full, read-only or too slow. Nothing is known to be changed; trying later may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What the store holds cannot be read as records: damage, or a foreign database.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The store was made by a newer version of this program.
    #[error(
        "the store has schema version {found}, this program knows versions up to {known}: use the newer program"
    )]
    NewerSchema {
        /// The version found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The request is outside the limits of this module: an error in this program, not in the store.
    #[error("invalid store request: {0}")]
    Invalid(String),
}

/// What stood in the way of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConflictReason {
    /// A record that was to be created exists.
    #[error("it exists already")]
    Exists,
    /// A record that was to be changed does not exist.
    #[error("it does not exist")]
    Missing,
    /// Somebody changed the record since it was read.
    #[error("it has version {0} now")]
    Changed(Version),
    /// The record is of the expected version, and not the one that was read: it was sealed or made anew since.
    #[error("it was sealed anew at the same moment")]
    Resealed,
}

/// A backend. Calls may be made from any task, concurrently.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads one record.
    async fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>, StoreError>;

    /// Applies all changes as one atomic, durable step, or none. When it returns `Ok`, the batch survives a power cut.
    /// A batch names each record at most once.
    async fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError>;

    /// Lists records in the order of [`Position`].
    async fn list(&self, query: &Query) -> Result<Vec<Record>, StoreError>;

    /// Counts the records a query matches, whatever its `after` and `limit`.
    async fn count(&self, query: &Query) -> Result<u64, StoreError>;

    /// All kinds that have at least one record, sorted.
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError>;

    /// Whether the store answers and would take a write.
    async fn health(&self) -> Result<(), StoreError>;

    /// Whether other servers may change the store while this one uses it: then nothing that was read is taken for what the
    /// store holds later.
    fn is_shared(&self) -> bool {
        false
    }

    /// One line for logs and `doctor`: engine and place, without credentials.
    fn describe(&self) -> String;
}

/// Checks the limits of this module, for backends to call first.
///
/// # Errors
/// [`StoreError::Invalid`] naming what is out of bounds.
pub fn check_batch(batch: &[Change]) -> Result<(), StoreError> {
    if batch.len() > MAX_BATCH {
        return Err(StoreError::Invalid(format!(
            "a batch of {} changes, at most {MAX_BATCH} are allowed",
            batch.len()
        )));
    }
    let mut seen = std::collections::HashSet::with_capacity(batch.len());
    for change in batch {
        let (kind, id) = change.target();
        if id.is_empty() || id.len() > MAX_ID {
            return Err(StoreError::Invalid(format!(
                "an id of {} bytes, 1 to {MAX_ID} are allowed",
                id.len()
            )));
        }
        if !seen.insert((kind, id)) {
            return Err(StoreError::Invalid(format!("{kind}/{id} is named twice in one batch")));
        }
        if let Some(record) = change.record() {
            if record.body.len() > MAX_BODY {
                return Err(StoreError::Invalid(format!(
                    "a body of {} bytes, at most {MAX_BODY} are allowed",
                    record.body.len()
                )));
            }
            let attributes = &record.attributes;
            let texts = [
                &attributes.owner,
                &attributes.name,
                &attributes.state,
                &attributes.class,
                &attributes.parent,
                &attributes.reference,
            ];
            if texts.into_iter().flatten().chain([&record.project]).any(|text| text.len() > MAX_ATTRIBUTE) {
                return Err(StoreError::Invalid(format!(
                    "an index attribute is longer than {MAX_ATTRIBUTE} bytes"
                )));
            }
        }
    }
    Ok(())
}
