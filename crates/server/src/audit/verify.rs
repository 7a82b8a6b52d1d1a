//! Saying what was done to a trail.
//!
//! The trail is read once, in the order of the files. As long as each line's authenticator fits the line before it, the
//! lines form a *run*. Where one does not fit, a new run begins, and only its first line and its end are remembered.
//! When all is read the runs are put together again by `analysis`: a run whose first line fits the end of another run
//! was moved; one that fits none although its number follows was changed; numbers that no run has were removed.
//!
//! Nothing here needs the lock: a running server's trail can be verified.

mod analysis;
mod report;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use chatelaine_crypto::MacKey;

use super::format::Line;
use super::scan::{LineReader, Read, line_mac};
use super::segment::{self, Segment};
use super::{Head, LineMac, TrailError};
pub use report::{Expected, Finding, FindingKind, Progress, VerifyReport};

/// Most places a report tells apart; a trail with more is broken all over.
const MAX_RUNS: usize = 1000;

/// Lines that follow one another, and the first of which does not follow the one before it in the file.
#[derive(Debug)]
struct Run {
    segment: usize,
    line_number: u64,
    /// The event's bytes and the number of the first line as they stand; none where it cannot be read.
    first: Option<First>,
    /// The number of the first line: as it stands, as the line after it shows, or as its place suggests.
    first_seq: u64,
    last_seq: u64,
    /// The authenticator of the last line, as it stands.
    last_mac: Option<LineMac>,
    /// What that of the first line should be; of use where the run has no other line.
    computed: Option<LineMac>,
    lines: u64,
    /// The first line states what it follows, and fits that.
    anchored: bool,
    /// The line after the first shows that the first had another number.
    renumbered: bool,
    starts_segment: bool,
}

#[derive(Debug)]
struct First {
    event: Vec<u8>,
    seq: u64,
    mac: LineMac,
    states_previous: bool,
}

struct Walk<'a> {
    key: &'a MacKey,
    segments: &'a [Segment],
    runs: Vec<Run>,
    findings: Vec<Finding>,
    lines: u64,
    verified: u64,
    last: Option<Head>,
    first_seq: Option<u64>,
    expected: Expected,
    expected_seen: bool,
    key_ids: Vec<String>,
    /// Segments that do not begin with the number in their name, and the one they begin with.
    misnamed: Vec<(usize, u64)>,
}

/// Reads the whole trail and reports everything that is wrong with it.
///
/// `on_progress` is called now and then, and at the end. Blocks on the disk. The trail may be in use; an expected head
/// must then be older than the call.
///
/// # Errors
/// [`TrailError::Io`] where files cannot be read. A trail that does not verify is a report, no error.
pub fn verify(
    folder: &Path,
    key: &MacKey,
    expected: &Expected,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, TrailError> {
    let segments = segment::list(folder)?;
    let mut total_bytes = 0_u64;
    for segment in &segments {
        let facts =
            std::fs::metadata(&segment.path).map_err(TrailError::io("cannot look at", &segment.path))?;
        total_bytes = total_bytes.saturating_add(facts.len());
    }
    let mut walk = Walk {
        key,
        segments: &segments,
        runs: Vec::new(),
        findings: Vec::new(),
        lines: 0,
        verified: 0,
        last: None,
        first_seq: None,
        expected: *expected,
        expected_seen: false,
        key_ids: Vec::new(),
        misnamed: Vec::new(),
    };
    let mut bytes = 0_u64;
    for index in 0..segments.len() {
        bytes = walk.segment(index, bytes, total_bytes, on_progress)?;
        if walk.runs.len() > MAX_RUNS {
            break;
        }
    }
    on_progress(Progress { bytes, total_bytes, lines: walk.lines });
    Ok(walk.finish())
}

impl Walk<'_> {
    fn segment(
        &mut self,
        index: usize,
        before: u64,
        total_bytes: u64,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<u64, TrailError> {
        let Some(segment) = self.segments.get(index) else { return Ok(before) };
        let newest = index.saturating_add(1) == self.segments.len();
        let mut reader = LineReader::open(segment, u64::MAX)?;
        let mut bytes = Vec::with_capacity(1024);
        let mut number = 0_u64;
        let mut patience = if newest { 5_u8 } else { 0 };
        loop {
            let read = reader.next(&mut bytes).map_err(TrailError::io("cannot read", &segment.path))?;
            match read {
                Read::End => break,
                Read::Torn if patience > 0 => {
                    // A running server may be in the middle of a write.
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Read::Torn => {
                    let seq = self.last.map(|last| last.seq.saturating_add(1));
                    self.find(
                        index,
                        number.saturating_add(1),
                        seq,
                        FindingKind::Torn,
                        format!("the file ends within a line, after {} bytes of it", bytes.len()),
                    );
                    break;
                }
                Read::Line | Read::TooLong => {}
            }
            number = number.saturating_add(1);
            self.lines = self.lines.saturating_add(1);
            self.line(index, number, if read == Read::Line { &bytes } else { &[] });
            bytes.clear();
            if self.lines.is_multiple_of(8192) {
                let bytes = before.saturating_add(reader.offset);
                on_progress(Progress { bytes, total_bytes, lines: self.lines });
            }
            if self.runs.len() > MAX_RUNS {
                break;
            }
        }
        if number == 0 {
            self.empty(index, segment.first_seq);
        }
        Ok(before.saturating_add(reader.offset))
    }

    /// A segment without lines is the newest one of a server that stopped right after it had begun it.
    fn empty(&mut self, index: usize, first_seq: u64) {
        let before = self.expected.first_seq.saturating_sub(1);
        let highest = self.runs.iter().map(|run| run.last_seq).fold(before, u64::max);
        let next = highest.saturating_add(1);
        if first_seq > next {
            let last = first_seq.saturating_sub(1);
            self.find(
                index,
                1,
                Some(next),
                FindingKind::Removed,
                format!("the file has no line; by its name numbers {next} to {last} should stand before it"),
            );
        } else if first_seq < next {
            self.find(
                index,
                1,
                Some(first_seq),
                FindingKind::Changed,
                format!("the file has no line; by its name it should begin with number {first_seq}"),
            );
        }
    }

    fn line(&mut self, index: usize, number: u64, bytes: &[u8]) {
        let name_seq = self.segments.get(index).map_or(1, |segment| segment.first_seq);
        let starts_segment = number == 1;
        let place = self.runs.last().map_or(name_seq, |run| run.last_seq.saturating_add(1));
        let Some(line) = Line::parse(bytes) else {
            self.find(index, number, None, FindingKind::Unparsable, format!(
                "not a line of an audit trail, probably changed; number {place} is expected here, and the line after \
                 it cannot be checked"
            ));
            self.runs.push(Run {
                segment: index,
                line_number: number,
                first: None,
                first_seq: place,
                last_seq: place,
                last_mac: None,
                computed: None,
                lines: 1,
                anchored: false,
                renumbered: false,
                starts_segment,
            });
            return;
        };
        self.note(&line);
        if starts_segment && line.seq != name_seq {
            self.misnamed.push((index, line.seq));
        }
        let start = if starts_segment { line.start() } else { None };
        if let Some((_, key_id)) = start
            && !self.key_ids.iter().any(|known| known == key_id)
            && self.key_ids.len() < 16
        {
            self.key_ids.push(key_id.to_owned());
        }
        let fits = |previous: &LineMac| self.key.verify(&[previous, line.authenticated], &line.mac);
        if let Some(run) = self.runs.last_mut() {
            let only = run.lines == 1;
            let follows = run.last_mac.is_some_and(|mac| fits(&mac))
                || (only && run.computed.is_some_and(|mac| fits(&mac)));
            let next = run.last_seq.saturating_add(1) == line.seq;
            if follows && (next || (only && !run.anchored)) {
                if !next {
                    run.renumbered = true;
                    run.first_seq = line.seq.saturating_sub(1);
                }
                run.last_seq = line.seq;
                run.last_mac = Some(line.mac);
                run.lines = run.lines.saturating_add(1);
                self.verified = self.verified.saturating_add(1);
                return;
            }
        }
        let anchored = start.is_some_and(|(previous, _)| fits(&previous));
        if anchored {
            self.verified = self.verified.saturating_add(1);
        }
        let previous =
            start.map(|(previous, _)| previous).or_else(|| self.runs.last().and_then(|run| run.last_mac));
        self.runs.push(Run {
            segment: index,
            line_number: number,
            first: Some(First {
                event: line.event.to_vec(),
                seq: line.seq,
                mac: line.mac,
                states_previous: start.is_some(),
            }),
            first_seq: line.seq,
            last_seq: line.seq,
            last_mac: Some(line.mac),
            computed: previous.map(|previous| line_mac(self.key, &previous, line.authenticated)),
            lines: 1,
            anchored,
            renumbered: false,
            starts_segment,
        });
    }

    /// Takes notice of a line's number and of the head that was kept elsewhere.
    fn note(&mut self, line: &Line<'_>) {
        self.first_seq.get_or_insert(line.seq);
        self.last = Some(Head { seq: line.seq, mac: line.mac });
        if let Some(expected) = self.expected.head
            && expected == (Head { seq: line.seq, mac: line.mac })
        {
            self.expected_seen = true;
        }
    }

    fn find(&mut self, index: usize, line_number: u64, seq: Option<u64>, kind: FindingKind, text: String) {
        let segment = self.segments.get(index).map(Segment::name).unwrap_or_default();
        self.findings.push(Finding { segment, line_number, seq, kind, text });
    }

    fn finish(mut self) -> VerifyReport {
        if self.lines > 0 && self.verified == 0 {
            self.findings.clear();
            let keys =
                if self.key_ids.is_empty() { "(none named)".to_owned() } else { self.key_ids.join(", ") };
            self.find(0, 1, self.first_seq, FindingKind::Changed, format!(
                "no line of the trail verifies: the key given is not the one it was written under, {keys}, or every \
                 line was changed"
            ));
        } else {
            if self.runs.len() > MAX_RUNS {
                let (index, line) = self.runs.last().map_or((0, 1), |run| (run.segment, run.line_number));
                self.find(
                    index,
                    line,
                    None,
                    FindingKind::Changed,
                    format!("more than {MAX_RUNS} places do not verify; reading stopped here"),
                );
            }
            self.analyse();
            if self.runs.len() <= MAX_RUNS {
                self.compare_expected();
            }
        }
        let order = |name: &str| self.segments.iter().position(|segment| segment.name() == name);
        let mut findings = std::mem::take(&mut self.findings);
        findings.sort_by_cached_key(|finding| (order(&finding.segment), finding.line_number));
        VerifyReport {
            lines: self.lines,
            verified: self.verified,
            segments: self.segments.len() as u64,
            first_seq: self.first_seq,
            last_seq: self.last.map(|last| last.seq),
            last_mac: self.last.map(|last| last.mac),
            findings,
        }
    }

    fn compare_expected(&mut self) {
        let Some(expected) = self.expected.head.filter(|expected| expected.seq > 0) else { return };
        let index = self.segments.len().saturating_sub(1);
        let line = self.runs.last().map_or(1, |run| run.line_number.saturating_add(run.lines));
        let last_seq = self.runs.iter().map(|run| run.last_seq).max().unwrap_or(0);
        if expected.seq > last_seq {
            let first = last_seq.saturating_add(1);
            self.find(
                index,
                line,
                Some(first),
                FindingKind::Removed,
                format!("numbers {first} to {} are missing at the end: the trail was cut off", expected.seq),
            );
        } else if !self.expected_seen && self.first_seq.is_some_and(|first| expected.seq >= first) {
            self.find(index, line, Some(expected.seq), FindingKind::Changed, format!(
                "number {} is not here as it was noted elsewhere: it was changed or removed, or the trail replaced",
                expected.seq
            ));
        }
    }
}
