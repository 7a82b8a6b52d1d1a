//! What verifying takes and tells.

use std::path::Path;

use crate::audit::{Head, LineMac, TrailError, segment};

/// What is known of the trail from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The number the trail shall begin with, or a lower one: 1 unless older segments were archived.
    pub first_seq: u64,
    /// A line that shall be there: with it, lines cut off the end and a trail replaced by another are found.
    pub head: Option<Head>,
}

impl Expected {
    /// For those to whom it does not matter whether older segments were archived: the trail shall begin with the first
    /// segment there is.
    ///
    /// # Errors
    /// [`TrailError::Io`].
    pub fn any_beginning(folder: &Path, head: Option<Head>) -> Result<Self, TrailError> {
        let first_seq = segment::list(folder)?.first().map_or(1, |segment| segment.first_seq);
        Ok(Self { first_seq, head })
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self { first_seq: 1, head: None }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// The line's bytes are not those that were written.
    Changed,
    /// Lines are missing before this place, or at the end.
    Removed,
    /// The line stands after one with a higher number.
    Reordered,
    /// The line was never written here: a copy of another, or a forgery.
    Inserted,
    /// The file ends within a line.
    Torn,
    /// A whole segment, or the end of the one before, is missing.
    MissingSegment,
    /// The line cannot be read as one of a trail.
    Unparsable,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the file.
    pub segment: String,
    /// The line in that file, counted from 1; for missing lines the one they should stand before.
    pub line_number: u64,
    /// The number of the line concerned, the first of several, where it is known.
    pub seq: Option<u64>,
    /// What was done.
    pub kind: FindingKind,
    /// The same in a sentence.
    pub text: String,
}

/// How far the reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes there were when the reading began.
    pub total_bytes: u64,
    /// Lines read.
    pub lines: u64,
}

/// What the reading found. The trail is intact where `findings` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many lines there are.
    pub lines: u64,
    /// How many of them fit the line before.
    pub verified: u64,
    /// How many files.
    pub segments: u64,
    /// The number of the first line; more than 1 where older segments were archived.
    pub first_seq: Option<u64>,
    /// The number of the last line in the last file.
    pub last_seq: Option<u64>,
    /// That line's authenticator.
    pub last_mac: Option<LineMac>,
    /// What is wrong, in the order of files and lines.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}
