//! Trails for tests.

use std::path::{Path, PathBuf};

use chatelaine_core::audit::{
    Action, AuditError, AuditTrail as _, Durability, Event, Initiator, Outcome, Written,
};
use chatelaine_core::clock::{ManualClock, Timestamp};
use chatelaine_core::id::{SecretId, Version};
use chatelaine_crypto::{KeyMaterial, MacKey};

use super::{FileTrail, Options, Recovery, TrailError, segment};

pub(super) const KEY_ID: &str = "master-1";
pub(super) const OBSERVER: &str = "km-1.example";
/// 2026-11-24T10:00:00Z and a bit.
pub(super) const NOON: Timestamp = Timestamp::from_micros(1_795_514_400_123_456);

pub(super) fn key() -> MacKey {
    key_of(7)
}

pub(super) fn key_of(byte: u8) -> MacKey {
    MacKey::new(&KeyMaterial::from_vec(vec![byte; 32]))
}

/// A folder for a trail that does not exist yet, in a folder that is removed at the end.
pub(super) fn folder() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("audit");
    (parent, path)
}

pub(super) fn open_with(folder: &Path, options: &Options) -> Result<(FileTrail, Recovery), TrailError> {
    FileTrail::open(folder, key(), KEY_ID, OBSERVER, options, &ManualClock::at(NOON))
}

pub(super) fn open(folder: &Path) -> FileTrail {
    open_with(folder, &Options::default()).unwrap().0
}

pub(super) fn segments_of(size: u64) -> Options {
    Options { segment_size: size, ..Options::default() }
}

/// A read of key material; `number` shows in its target, `writer` in its request.
pub(super) fn read(writer: u64, number: u64) -> Event {
    Event {
        id: SecretId::random(),
        time: NOON,
        action: Action::Get,
        outcome: Outcome::Success,
        initiator: Initiator {
            user: "alice".to_owned(),
            project: Some("p-1".to_owned()),
            address: Some("192.0.2.7".to_owned()),
            ..Initiator::default()
        },
        target_kind: Some("secret"),
        target: Some(format!("secret-{number}")),
        written: None,
        reason: None,
        request_id: Some(format!("req-{writer}")),
    }
}

/// An event of a change.
pub(super) fn change(action: Action, outcome: Outcome, id: &str, version: u64) -> Event {
    Event {
        action,
        outcome,
        target: Some(id.to_owned()),
        written: Some(Written { version: Version::new(version), digest: format!("{version:032x}") }),
        ..read(0, 0)
    }
}

pub(super) fn append(trail: &FileTrail, events: &[Event], durability: Durability) -> Result<(), AuditError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(trail.append(events, durability))
}

/// Writes `count` events one by one, numbered from 1, and closes the trail.
pub(super) fn fill(folder: &Path, count: u64, segment_size: u64) -> super::Head {
    let (trail, _) = open_with(folder, &segments_of(segment_size)).unwrap();
    for number in 1..=count {
        append(&trail, &[read(0, number)], Durability::Written).unwrap();
    }
    trail.head()
}

/// The lines of each segment, with their newlines.
pub(super) fn lines(folder: &Path) -> Vec<(PathBuf, Vec<Vec<u8>>)> {
    segment::list(folder)
        .unwrap()
        .into_iter()
        .map(|segment| {
            let bytes = std::fs::read(&segment.path).unwrap();
            let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            (segment.path, lines)
        })
        .collect()
}

/// Writes lines back.
pub(super) fn put(path: &Path, lines: &[Vec<u8>]) {
    std::fs::write(path, lines.concat()).unwrap();
}

/// All lines, verified and parsed.
pub(super) fn parsed(folder: &Path) -> Vec<serde_json::Value> {
    let mut all = Vec::new();
    super::read_lines(folder, &key(), &mut |line| {
        all.push(serde_json::from_str(line).map_err(|error| error.to_string())?);
        Ok(())
    })
    .unwrap();
    all
}
