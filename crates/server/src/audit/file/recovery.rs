//! Opening a trail that a process left behind, perhaps in the middle of a write.
//!
//! Invariant: bytes that are cut off are kept in a file named by the number of the event that tells of it. As long as the
//! trail has no line of that number the event is still due, even if the process died right after the cut.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use chatelaine_crypto::MacKey;

use crate::audit::scan::{Chain, SegmentEnd};
use crate::audit::segment::{self, Appender, Segment};
use crate::audit::{Head, TrailError};

/// Most bytes of an unfinished line that are kept.
const MAX_KEPT: u64 = 16 * 1024 * 1024;

/// What opening the trail found and mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of an unfinished line that were cut off the end; 0 after a regular stop.
    pub torn_bytes: u64,
    /// Where those bytes were kept (at most 16 MiB of them).
    pub torn_file: Option<PathBuf>,
    /// Where the trail ended; [`Head::EMPTY`] for a new one. The event of a recovery follows it.
    pub head: Head,
}

impl Recovery {
    /// Whether something was mended that has to be written down.
    pub(super) fn is_due(&self) -> bool {
        self.torn_file.is_some()
    }

    /// What is written down.
    pub(super) fn reason(&self) -> String {
        let file = self.torn_file.as_ref().and_then(|path| path.file_name()).unwrap_or_default();
        format!(
            "the trail ended within a line: {} bytes were cut off and kept in {}",
            self.torn_bytes,
            file.to_string_lossy()
        )
    }
}

/// Finds the newest segment, verifies it, cuts off an unfinished line and opens it for appending; with its length.
pub(super) fn recover(
    folder: &Path,
    key: &MacKey,
    key_id: &str,
) -> Result<(Segment, Appender, u64, Recovery), TrailError> {
    let mut segments = segment::list(folder)?;
    let Some(last) = segments.pop() else {
        let first = Segment::at(folder, 1);
        let file = Appender::open(&first, true)?;
        segment::sync_folder(folder)?;
        return Ok((first, file, 0, Recovery { torn_bytes: 0, torn_file: None, head: Head::EMPTY }));
    };
    let file = Appender::open(&last, false)?;
    // What is read below must be what the disk holds, whatever the process before was told or not told about it.
    file.sync().map_err(TrailError::io("cannot sync", &last.path))?;
    file.forget_cached();
    segment::sync_folder(folder)?;
    let mut chain = Chain { key, key_id: Some(key_id), head: None };
    let end = chain.follow(&last, u64::MAX, &mut |_| Ok(()))?;
    let head = match end.head {
        Some(head) => head,
        None => head_before(&segments, &last, key, key_id)?,
    };
    if end.torn {
        cut(folder, &last, &file, end, head)?;
    }
    let torn = segment::largest_torn(folder, head.seq.saturating_add(1))?;
    let (torn_bytes, torn_file) = torn.map_or((0, None), |(bytes, path)| (bytes, Some(path)));
    Ok((last, file, end.whole, Recovery { torn_bytes, torn_file, head }))
}

/// The end of the trail where the newest segment has no line yet: that of the segment before.
fn head_before(earlier: &[Segment], empty: &Segment, key: &MacKey, key_id: &str) -> Result<Head, TrailError> {
    let broken = |problem: String| TrailError::Broken { segment: empty.name(), line: 1, problem };
    let head = match earlier.last() {
        None => Head::EMPTY,
        Some(before) => {
            let end =
                Chain { key, key_id: Some(key_id), head: None }.follow(before, u64::MAX, &mut |_| Ok(()))?;
            end.head
                .filter(|_| !end.torn)
                .ok_or_else(|| broken("the segment before it ends torn".to_owned()))?
        }
    };
    if head.seq.checked_add(1) == Some(empty.first_seq) {
        Ok(head)
    } else {
        Err(broken(format!(
            "the segment has no line, and the trail before it ends with number {}; put back the segments before it",
            head.seq
        )))
    }
}

fn cut(
    folder: &Path,
    segment: &Segment,
    file: &Appender,
    end: SegmentEnd,
    head: Head,
) -> Result<(), TrailError> {
    let mut source = segment.read()?;
    source.seek(SeekFrom::Start(end.whole)).map_err(TrailError::io("cannot read", &segment.path))?;
    segment::keep_torn(folder, head.seq.saturating_add(1), &mut source.take(MAX_KEPT))?;
    file.truncate(end.whole)
        .and_then(|()| file.sync())
        .map_err(TrailError::io("cannot shorten", &segment.path))
}
