//! Reading a trail line by line, and believing it only while it verifies.
//!
//! [`LineReader`] cuts a segment into lines of bounded length; [`Chain`] follows the authenticators and stops at the
//! first line that does not fit. What exactly was done to a trail that does not fit is for [`super::verify`] to say.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Take};
use std::path::Path;

use chatelaine_core::audit::{Action, ChangeHistory, HistoryKey};
use chatelaine_crypto::MacKey;

use super::format::{ChangeOf, Line, MAX_LINE, is_action, parse_change};
use super::segment::{self, Segment};
use super::{GENESIS, Head, LineMac, TrailError};

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// A line, without its newline.
    Line,
    /// More bytes than a line may have, and their newline; only the first are handed over.
    TooLong,
    /// Bytes at the end of the file that no newline follows.
    Torn,
    /// Nothing more.
    End,
}

/// Reads the lines of one segment.
#[derive(Debug)]
pub(super) struct LineReader {
    reader: BufReader<Take<File>>,
    /// Bytes of all lines returned so far, newlines included.
    pub(super) offset: u64,
    /// Bytes of a line that is too long, dropped so far.
    dropped: u64,
}

impl LineReader {
    /// Reads at most `length` bytes of a segment.
    pub(super) fn open(segment: &Segment, length: u64) -> Result<Self, TrailError> {
        let reader = BufReader::with_capacity(256 * 1024, segment.read()?.take(length));
        Ok(Self { reader, offset: 0, dropped: 0 })
    }

    /// Reads the next line. What is left in `line` by a [`Read::Torn`] is continued by the next call.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> std::io::Result<Read> {
        if self.dropped == 0 {
            let room = (MAX_LINE as u64).saturating_sub(line.len() as u64);
            (&mut self.reader).take(room).read_until(b'\n', line)?;
            if line.last() == Some(&b'\n') {
                self.offset = self.offset.saturating_add(line.len() as u64);
                line.pop();
                return Ok(Read::Line);
            }
            if line.len() < MAX_LINE {
                return Ok(if line.is_empty() { Read::End } else { Read::Torn });
            }
            self.dropped = line.len() as u64;
        }
        loop {
            let bytes = self.reader.fill_buf()?;
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let used = newline.map_or(bytes.len(), |at| at.saturating_add(1));
            self.reader.consume(used);
            self.dropped = self.dropped.saturating_add(used as u64);
            if newline.is_some() {
                self.offset = self.offset.saturating_add(std::mem::take(&mut self.dropped));
                return Ok(Read::TooLong);
            }
            if used == 0 {
                return Ok(Read::Torn);
            }
        }
    }
}

/// The authenticator that a line should have.
pub(super) fn line_mac(key: &MacKey, previous: &LineMac, authenticated: &[u8]) -> LineMac {
    key.sign(&[previous, authenticated])
}

/// Where a segment that verifies ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentEnd {
    /// The last line; none where the segment has no lines.
    pub(super) head: Option<Head>,
    /// How many lines it has.
    pub(super) lines: u64,
    /// Bytes up to and including the last newline.
    pub(super) whole: u64,
    /// Whether bytes follow the last newline.
    pub(super) torn: bool,
}

/// Follows the chain through segments.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) key: &'a MacKey,
    /// The id that the key must have in the first line of each segment; any, where none is given.
    pub(super) key_id: Option<&'a str>,
    /// The last line followed so far; none before the first segment.
    pub(super) head: Option<Head>,
}

impl Chain<'_> {
    /// Follows one segment, up to `length` bytes, and hands each verified line to `each`, which may refuse it.
    pub(super) fn follow(
        &mut self,
        segment: &Segment,
        length: u64,
        each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<SegmentEnd, TrailError> {
        let mut reader = LineReader::open(segment, length)?;
        let mut bytes = Vec::with_capacity(1024);
        let mut end = SegmentEnd { head: None, lines: 0, whole: 0, torn: false };
        loop {
            bytes.clear();
            let number = end.lines.saturating_add(1);
            let broken =
                |problem: String| TrailError::Broken { segment: segment.name(), line: number, problem };
            match reader.next(&mut bytes).map_err(TrailError::io("cannot read", &segment.path))? {
                Read::End => return Ok(end),
                Read::Torn => return Ok(SegmentEnd { torn: true, ..end }),
                Read::TooLong => return Err(broken(format!("longer than {MAX_LINE} bytes"))),
                Read::Line => {}
            }
            let line =
                Line::parse(&bytes).ok_or_else(|| broken("not a line of an audit trail".to_owned()))?;
            let head = self.step(segment, end.lines == 0, &line).map_err(|problem| match problem {
                Problem::Line(problem) => broken(problem),
                Problem::OtherKey { found, expected } => {
                    TrailError::OtherKey { segment: segment.name(), found, expected }
                }
            })?;
            each(&bytes).map_err(broken)?;
            self.head = Some(head);
            end = SegmentEnd { head: Some(head), lines: number, whole: reader.offset, torn: false };
        }
    }

    fn step(&self, segment: &Segment, first: bool, line: &Line<'_>) -> Result<Head, Problem> {
        let wrong = |problem: String| Problem::Line(problem);
        let mut previous = self.head;
        if first {
            let (stated, key_id) =
                line.start().ok_or_else(|| wrong("does not state what it follows".to_owned()))?;
            if let Some(expected) = self.key_id.filter(|expected| *expected != key_id) {
                return Err(Problem::OtherKey { found: key_id.to_owned(), expected: expected.to_owned() });
            }
            if line.seq != segment.first_seq {
                return Err(wrong(format!("has number {}, the file's name says otherwise", line.seq)));
            }
            let before = line.seq.saturating_sub(1);
            if before == 0 && stated != GENESIS {
                return Err(wrong("claims to follow another line, and is the first".to_owned()));
            }
            let stated = Head { seq: before, mac: stated };
            if previous.is_some_and(|previous| previous != stated) {
                return Err(wrong("does not follow the last line of the segment before".to_owned()));
            }
            previous = Some(stated);
        }
        let previous = previous.unwrap_or(Head::EMPTY);
        if line.seq != previous.seq.saturating_add(1) {
            return Err(wrong(format!("has number {} and follows number {}", line.seq, previous.seq)));
        }
        if !self.key.verify(&[&previous.mac, line.authenticated], &line.mac) {
            return Err(wrong(format!(
                "number {} does not verify: it or the line before was changed, or the key is another",
                line.seq
            )));
        }
        Ok(Head { seq: line.seq, mac: line.mac })
    }
}

enum Problem {
    Line(String),
    OtherKey { found: String, expected: String },
}

/// Where to stop: a place in the newest segment.
#[derive(Debug, Clone)]
pub(super) struct Until {
    pub(super) segment: Segment,
    /// Bytes of that segment.
    pub(super) length: u64,
}

/// Follows all segments of a folder, or those up to a place, which must be there.
pub(super) fn follow_all(
    folder: &Path,
    chain: &mut Chain<'_>,
    until: Option<&Until>,
    each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), TrailError> {
    let mut segments = segment::list(folder)?;
    if let Some(until) = until {
        segments.retain(|segment| segment.first_seq <= until.segment.first_seq);
        if segments.last() != Some(&until.segment) {
            let problem = "the file is missing".to_owned();
            return Err(TrailError::Broken { segment: until.segment.name(), line: 1, problem });
        }
    }
    let newest = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter().enumerate() {
        let limit = until.filter(|_| index == newest).map_or(u64::MAX, |until| until.length);
        let end = chain.follow(segment, limit, each)?;
        // Without a given end the newest segment of a running server may be in the middle of a write.
        let torn = end.torn && (index != newest || until.is_some());
        if torn || (limit != u64::MAX && end.whole != limit) {
            let line = end.lines.saturating_add(1);
            let problem = "the file ends within a line or too early".to_owned();
            return Err(TrailError::Broken { segment: segment.name(), line, problem });
        }
    }
    Ok(())
}

/// Reads a trail back from its oldest segment on, verifying it, and hands each line to `each` as one JSON object,
/// without its newline. Returns where the trail ends.
///
/// A line is handed over once it and all before it verify. Blocks on the disk; the trail may be in use.
///
/// # Errors
/// [`TrailError::Broken`] at the first line that does not verify or that `each` refuses, [`TrailError::Io`].
pub fn read_lines(
    folder: &Path,
    key: &MacKey,
    each: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<Head, TrailError> {
    let mut chain = Chain { key, key_id: None, head: None };
    follow_all(folder, &mut chain, None, &mut |line| {
        each(std::str::from_utf8(line).map_err(|error| error.to_string())?)
    })?;
    Ok(chain.head.unwrap_or(Head::EMPTY))
}

/// Whether the line that a head names is in the trail as it was; true as well where it is older than all segments.
/// Blocks on the disk; the trail may be in use.
///
/// # Errors
/// [`TrailError::Io`].
pub fn holds(folder: &Path, key: &MacKey, head: Head) -> Result<bool, TrailError> {
    let segments = segment::list(folder)?;
    if head.seq == 0 || segments.first().is_some_and(|oldest| head.seq < oldest.first_seq) {
        return Ok(true);
    }
    let Some(segment) = segments.iter().rev().find(|segment| segment.first_seq <= head.seq) else {
        return Ok(false);
    };
    let mut found = false;
    let mut chain = Chain { key, key_id: None, head: None };
    let followed = chain.follow(segment, u64::MAX, &mut |line| {
        found |= Line::parse(line).is_some_and(|line| (Head { seq: line.seq, mac: line.mac }) == head);
        Ok(())
    });
    match followed {
        Ok(_) | Err(TrailError::Broken { .. } | TrailError::OtherKey { .. }) => Ok(found),
        Err(error) => Err(error),
    }
}

/// Lines at the beginning of a trail, one of which says so where the store is older than the trail.
const BEGINNING: u64 = 8;

/// Whether the trail says of itself that it was begun beside a store with records of an older one. Blocks on the disk.
///
/// # Errors
/// As for [`read_lines`], for the first lines.
pub fn is_younger_than_store(folder: &Path, key: &MacKey) -> Result<bool, TrailError> {
    let Some(first) = segment::list(folder)?.into_iter().next() else { return Ok(false) };
    let mut reader = LineReader::open(&first, u64::MAX)?;
    let (mut bytes, mut length, mut younger) = (Vec::new(), 0, false);
    for _ in 0..BEGINNING {
        bytes.clear();
        if reader.next(&mut bytes).map_err(TrailError::io("cannot read", &first.path))? != Read::Line {
            break;
        }
        length = reader.offset;
    }
    let mut chain = Chain { key, key_id: None, head: None };
    chain.follow(&first, length, &mut |line| {
        younger |= is_action(line, Action::BeginTrail)?;
        Ok(())
    })?;
    Ok(younger)
}

/// What the trail in `folder` says of the changes of the records that `wanted` accepts, as far as it is written; it may
/// be in use. Blocks on the disk.
///
/// # Errors
/// As for [`read_lines`].
pub fn histories(
    folder: &Path,
    key: &MacKey,
    wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
) -> Result<HashMap<HistoryKey, ChangeHistory>, TrailError> {
    let mut histories = Histories::default();
    let mut chain = Chain { key, key_id: None, head: None };
    follow_all(folder, &mut chain, None, &mut |line| {
        if let Some(change) = parse_change(line)? {
            absorb(&mut histories, wanted, change);
        }
        Ok(())
    })?;
    Ok(histories)
}

pub(super) type Histories = HashMap<HistoryKey, ChangeHistory>;

/// Takes in a change, if its record is wanted.
pub(super) fn absorb(
    histories: &mut Histories,
    wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ChangeOf { kind, id, change }: ChangeOf,
) {
    if wanted(&kind, &id) {
        histories.entry((kind, id)).or_default().absorb(change);
    }
}
