//! Disks that are full, or fail.

use std::process::Command;

use super::*;

/// A file system of 64 KiB in memory, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(done.success(), "this test needs the right to mount a tmpfs");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Appends until the disk is full; how many were taken.
fn fill_up(trail: &FileTrail) -> u64 {
    for number in 1..1000 {
        match append(trail, &[read(0, number)], Durability::Synced) {
            Ok(()) => {}
            outcome => {
                let why = unwritable(outcome);
                assert!(why.contains("disk full") || why.contains("No space left"), "{why}");
                return number - 1;
            }
        }
    }
    panic!("the disk does not get full");
}

/// A full disk refuses the event and nothing else: what was taken stays, the trail verifies, and it goes on when there is
/// room again, without being opened anew.
#[test]
fn a_full_disk_refuses_events_until_there_is_room() {
    let disk = SmallDisk::mount();
    let folder = disk.0.path().join("audit");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 20_000]).unwrap();
    let (trail, _) = open_with(&folder, &Options::default()).unwrap();
    let taken = fill_up(&trail);
    assert!(taken > 10);
    for _ in 0..3 {
        unwritable(append(&trail, &[read(0, 0), read(0, 0)], Durability::Written));
        assert_eq!(trail.head().seq, taken);
        assert_intact(&folder, trail.head());
    }
    let path = Segment::at(&folder, 1).path;
    assert_eq!(std::fs::metadata(&path).unwrap().len(), trail.shared.state.lock().length);
    std::fs::remove_file(&ballast).unwrap();
    append(&trail, &[read(0, 0)], Durability::Synced).unwrap();
    assert_eq!(trail.head().seq, taken + 1);
    assert_intact(&folder, trail.head());
    let head = trail.head();
    drop(trail);
    assert_eq!(open(&folder).head(), head);
}

/// The same where every append wants a new segment.
#[test]
fn a_full_disk_has_no_room_for_a_segment() {
    let disk = SmallDisk::mount();
    let folder = disk.0.path().join("audit");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 20_000]).unwrap();
    let (trail, _) = open_with(&folder, &segments_of(1)).unwrap();
    let taken = fill_up(&trail);
    assert!(taken > 5);
    unwritable(append(&trail, &[read(0, 0)], Durability::Written));
    assert_intact(&folder, trail.head());
    std::fs::remove_file(&ballast).unwrap();
    append(&trail, &[read(0, 0), read(0, 0)], Durability::Synced).unwrap();
    assert_eq!(trail.head().seq, taken + 2);
    assert_intact(&folder, trail.head());
}

/// A full disk at the start: the unfinished line cannot be kept, so it is not cut off, and the next start does both.
#[test]
fn a_torn_line_on_a_full_disk_waits_for_room() {
    let disk = SmallDisk::mount();
    let folder = disk.0.path().join("audit");
    let head = fill(&folder, 3, 100_000);
    let path = Segment::at(&folder, 1).path;
    let torn = [std::fs::read(&path).unwrap(), b"{\"typeURI\":\"half".to_vec()].concat();
    std::fs::write(&path, &torn).unwrap();
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 100_000]).unwrap_err();
    let error = open_with(&folder, &Options::default()).unwrap_err();
    assert!(matches!(error, TrailError::Io { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), torn);
    std::fs::remove_file(&ballast).unwrap();
    let (trail, recovery) = open_with(&folder, &Options::default()).unwrap();
    assert_eq!((recovery.torn_bytes, recovery.head), (16, head));
    assert_eq!(trail.head().seq, 4);
    assert_intact(&folder, trail.head());
}

#[test]
fn a_short_write_is_undone() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    append(&trail, &[read(0, 1)], Durability::Written).unwrap();
    // Within the first line, within the second, at its end.
    for length in [0, 1, 300, 900] {
        trail.shared.state.lock().file.faults.lock().short_write = Some(length);
        let why = unwritable(append(&trail, &[read(0, 8), read(0, 9)], Durability::Synced));
        assert!(why.starts_with(&format!("only {length} of")), "{why}");
        assert_intact(&folder, trail.head());
    }
    append(&trail, &[read(0, 2)], Durability::Synced).unwrap();
    assert_eq!(trail.head().seq, 2);
    assert_intact(&folder, trail.head());
}

/// Nothing is taken any more, by nobody, and opening the trail anew mends it.
fn assert_poisoned(trail: FileTrail, folder: &Path) {
    for durability in [Durability::Written, Durability::Synced] {
        let why = unwritable(append(&trail, &[read(0, 0)], durability));
        assert!(why.contains("restart the server"), "{why}");
    }
    drop(trail);
    let trail = open(folder);
    append(&trail, &[read(0, 0)], Durability::Synced).unwrap();
    assert_intact(folder, trail.head());
}

/// An unfinished line that cannot be removed must not be followed by another.
#[test]
fn a_write_that_cannot_be_undone_poisons() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    append(&trail, &[read(0, 1)], Durability::Written).unwrap();
    {
        let state = trail.shared.state.lock();
        let mut faults = state.file.faults.lock();
        faults.short_write = Some(100);
        faults.truncate = true;
    }
    unwritable(append(&trail, &[read(0, 2)], Durability::Written));
    assert_poisoned(trail, &folder);
    assert_eq!(parsed(&folder)[1]["action"], "recover");
}

/// After a failed sync the system may have dropped what it had accepted.
#[test]
fn a_failed_sync_poisons() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    append(&trail, &[read(0, 1)], Durability::Synced).unwrap();
    trail.shared.state.lock().file.faults.lock().sync = true;
    let why = unwritable(append(&trail, &[read(0, 2)], Durability::Synced));
    assert!(why.contains("could not be synced"), "{why}");
    assert_eq!(trail.synced_head().seq, 1);
    assert_poisoned(trail, &folder);
}

#[test]
fn a_failed_sync_at_the_end_of_a_segment_poisons() {
    let (_parent, folder) = folder();
    let (trail, _) = open_with(&folder, &segments_of(1)).unwrap();
    append(&trail, &[read(0, 1)], Durability::Synced).unwrap();
    trail.shared.state.lock().file.faults.lock().sync = true;
    let why = unwritable(append(&trail, &[read(0, 2)], Durability::Written));
    assert!(why.contains("could not be synced"), "{why}");
    assert_eq!(lines(&folder).len(), 1);
    assert_poisoned(trail, &folder);
}

/// T-AUDIT-CUT: a running server notices at its next sync that its segment was taken away, replaced or cut.
#[test]
fn a_segment_taken_away_under_a_running_server_poisons() {
    let tamperings: [fn(&Path); 4] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::rename(path, path.with_extension("1")).unwrap(),
        |path| {
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            std::fs::rename(&copy, path).unwrap();
        },
        |path| std::fs::write(path, b"").unwrap(),
    ];
    for tamper in tamperings {
        let (_parent, folder) = folder();
        let trail = open(&folder);
        append(&trail, &[read(0, 1), read(0, 2)], Durability::Synced).unwrap();
        tamper(&Segment::at(&folder, 1).path);
        let why = unwritable(append(&trail, &[read(0, 3)], Durability::Synced));
        assert!(why.contains("by somebody else"), "{why}");
        unwritable(append(&trail, &[read(0, 4)], Durability::Written));
    }
}

/// Something in the way of the next segment: the append fails, nothing is poisoned, and it works when it is gone.
#[test]
fn a_segment_that_cannot_be_begun_is_tried_again() {
    let (_parent, folder) = folder();
    let (trail, _) = open_with(&folder, &segments_of(1)).unwrap();
    append(&trail, &[read(0, 1)], Durability::Synced).unwrap();
    let next = Segment::at(&folder, 2).path;
    std::fs::write(&next, b"not ours").unwrap();
    let why = unwritable(append(&trail, &[read(0, 2)], Durability::Written));
    assert!(why.contains("audit-000000000002.jsonl"), "{why}");
    std::fs::remove_file(&next).unwrap();
    append(&trail, &[read(0, 2)], Durability::Written).unwrap();
    assert_intact(&folder, trail.head());
}
