//! Processes that die in the middle.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

/// Names the folder to the child.
const FOLDER: &str = "CHATELAINE_TEST_TRAIL_FOLDER";

/// Writes from eight threads without end, and prints each acknowledged event's writer and number.
fn write_until_killed(folder: &Path) {
    let (trail, _) = open_with(folder, &segments_of(50_000)).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_time().build().unwrap();
    runtime.block_on(async {
        let writers = (0..16_u64).map(|writer| {
            let trail = &trail;
            async move {
                for number in 0.. {
                    let durability = if writer % 2 == 0 { Durability::Synced } else { Durability::Written };
                    trail.append(&[read(writer, number), read(writer, number)], durability).await.unwrap();
                    // One `write`, so that no line is torn by the end of the process.
                    let line = format!("acknowledged {writer} {number}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                    std::io::stdout().flush().unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        futures_util::future::join_all(writers).await;
    });
}

/// T-AUDIT-CUT: a server killed in the middle of its work has every event it acknowledged in its trail, in order, and the
/// trail opens, verifies and goes on.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_until_killed(Path::new(&folder));
    }
    let (_parent, folder) = folder();
    let mut before = 0_u64;
    for patience in [1, 40, 400, 1500, 3000] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "audit::file::tests::crash::what_was_acknowledged_survives_a_kill",
                "--nocapture",
            ])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut acknowledged: HashMap<u64, u64> = HashMap::new();
        let mut count = 0_u64;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // The first one may stand behind what the test runner prints.
            let Some((_, rest)) = line.split_once("acknowledged ") else { continue };
            let (writer, number) = rest.split_once(' ').unwrap();
            acknowledged.insert(writer.parse().unwrap(), number.parse().unwrap());
            count += 1;
            if count == patience {
                // SIGKILL. What is in the pipe already is read to its end.
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(count >= patience);

        let (trail, recovery) = open_with(&folder, &segments_of(50_000)).unwrap();
        assert_intact(&folder, trail.head());
        let all = parsed(&folder);
        let mut last: HashMap<u64, u64> = HashMap::new();
        let mut seen = HashSet::new();
        for line in all.iter().skip(usize::try_from(before).unwrap()) {
            let Some(writer) = line["requestid"].as_str() else { continue };
            let writer: u64 = writer.strip_prefix("req-").unwrap().parse().unwrap();
            let number: u64 =
                line["target"]["id"].as_str().unwrap().strip_prefix("secret-").unwrap().parse().unwrap();
            assert!(last.insert(writer, number).is_none_or(|before| number >= before));
            seen.insert((writer, number));
        }
        for (writer, number) in acknowledged {
            for number in 0..=number {
                assert!(seen.contains(&(writer, number)), "{number} of writer {writer} is lost");
            }
        }
        append(&trail, &[Event { request_id: None, ..read(0, 0) }], Durability::Synced).unwrap();
        assert!(trail.head().seq > recovery.head.seq && recovery.head.seq > before);
        before = trail.head().seq;
    }
    assert!(lines(&folder).len() > 3);
}

/// T-AUDIT-CUT: wherever the file ends, whole lines stay, the rest is kept aside, and that it was is an event.
#[test]
fn a_line_torn_anywhere_is_cut_off_kept_and_written_down() {
    let (_parent, folder) = folder();
    fill(&folder, 3, 100_000);
    let path = Segment::at(&folder, 1).path;
    let good = std::fs::read(&path).unwrap();
    let ends: Vec<usize> =
        good.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let last_whole = |length: usize| ends.iter().copied().filter(|end| *end <= length).max().unwrap_or(0);
    // Every length around the borders, and a sample of those between.
    let lengths = (0..=good.len())
        .filter(|length| length % 37 == 0 || ends.iter().any(|end| length.abs_diff(*end) <= 3));
    for length in lengths {
        let (_parent, folder) = super::folder();
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(Segment::at(&folder, 1).path, &good[..length]).unwrap();
        let whole = last_whole(length);
        let lines_left = ends.iter().filter(|end| **end <= length).count();
        let (trail, recovery) = open_with(&folder, &Options::default()).unwrap();
        assert_eq!(recovery.torn_bytes, (length - whole) as u64);
        assert_eq!(recovery.head.seq, lines_left as u64);
        let written = parsed(&folder);
        if length == whole {
            assert_eq!((recovery.torn_file, written.len()), (None, lines_left));
        } else {
            assert_eq!(std::fs::read(recovery.torn_file.unwrap()).unwrap(), &good[whole..length]);
            assert_eq!(written.len(), lines_left + 1);
            let event = written.last().unwrap();
            assert_eq!(
                (&event["action"], &event["initiator"]["id"]),
                (&"recover".into(), &"chatelaine".into())
            );
            assert_eq!(event["eventTime"], NOON.to_string());
            let reason = event["reason"]["reasonCode"].as_str().unwrap();
            assert!(
                reason.contains(&format!("{} bytes were cut off and kept in torn-", length - whole)),
                "{reason}"
            );
            assert_eq!(trail.synced_head(), trail.head());
        }
        append(&trail, &[read(0, 9)], Durability::Written).unwrap();
        assert_intact(&folder, trail.head());
        let head = trail.head();
        drop(trail);
        // It is told once.
        let (_, recovery) = open_with(&folder, &Options::default()).unwrap();
        assert_eq!(recovery, Recovery { torn_bytes: 0, torn_file: None, head });
    }
}

/// The process died after the cut and before the event: the next start writes it.
#[test]
fn a_recovery_that_was_not_written_down_is_written_down_later() {
    let (_parent, folder) = folder();
    let head = fill(&folder, 3, 100_000);
    std::fs::write(folder.join("torn-000000000004"), b"ha").unwrap();
    std::fs::write(folder.join("torn-000000000004-1"), b"half").unwrap();
    // Not of this number.
    std::fs::write(folder.join("torn-000000000003"), b"older, and longer").unwrap();
    std::fs::write(folder.join("torn-0000000000045"), b"of another number").unwrap();
    let (trail, recovery) = open_with(&folder, &Options::default()).unwrap();
    let file = folder.join("torn-000000000004-1");
    assert_eq!(recovery, Recovery { torn_bytes: 4, torn_file: Some(file), head });
    assert_eq!(trail.head().seq, 4);
    assert_eq!(parsed(&folder)[3]["action"], "recover");
    drop(trail);
    assert_eq!(open(&folder).head().seq, 4);
}

/// A recovery whose event needs a new segment.
#[test]
fn a_full_segment_with_a_torn_line_is_mended() {
    let (_parent, folder) = folder();
    let head = fill(&folder, 3, 100_000);
    let path = Segment::at(&folder, 1).path;
    // A power cut may leave zeros of any number.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(300_000).unwrap();
    let length = lines(&folder)[0].1[..3].iter().map(Vec::len).sum::<usize>() as u64;
    let (trail, recovery) = open_with(&folder, &segments_of(1000)).unwrap();
    assert_eq!((recovery.torn_bytes, recovery.head), (300_000 - length, head));
    assert_eq!(lines(&folder).len(), 2);
    append(&trail, &[read(0, 5)], Durability::Synced).unwrap();
    assert_intact(&folder, trail.head());
}
