mod properties;

use std::path::PathBuf;

use super::*;
use crate::audit::testing::{self, KEY_ID, fill, folder, key, key_of, lines, put};
use crate::audit::{GENESIS, format, read_lines};

/// Several lines to a segment, several segments.
const SMALL: u64 = 2000;

fn check(folder: &Path, head: Option<Head>) -> VerifyReport {
    verify(folder, &key(), &Expected { first_seq: 1, head }, &mut |_| {}).unwrap()
}

fn kinds(report: &VerifyReport) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

/// The one finding of a report.
fn only(report: &VerifyReport) -> &Finding {
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    &report.findings[0]
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A trail of twelve lines in segments of four: (its parent, folder, lines of each segment, head).
#[expect(clippy::type_complexity, reason = "of one helper")]
fn trail() -> (tempfile::TempDir, PathBuf, Vec<(PathBuf, Vec<Vec<u8>>)>, Head) {
    let (parent, folder) = folder();
    let head = fill(&folder, 12, SMALL);
    let lines = lines(&folder);
    assert_eq!(lines.iter().map(|(_, lines)| lines.len()).collect::<Vec<_>>(), [4, 4, 4]);
    (parent, folder, lines, head)
}

/// A line such as the server writes, under any key.
fn forge(key: &MacKey, previous: &LineMac, seq: u64, first: bool) -> Vec<u8> {
    let mut line = Vec::new();
    format::render(&testing::read(666, seq), testing::OBSERVER, &mut line);
    if first {
        format::render_start(previous, KEY_ID, &mut line);
    }
    format::render_seq(seq, &mut line);
    let mac = line_mac(key, previous, &line);
    format::render_mac(&mac, &mut line);
    line
}

fn mac_of(line: &[u8]) -> LineMac {
    Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap().mac
}

#[test]
fn an_untouched_trail_is_intact_and_progress_reaches_the_end() {
    let (_parent, folder, _, head) = trail();
    let mut last = None;
    let expected = Expected { first_seq: 1, head: Some(head) };
    let report = verify(&folder, &key(), &expected, &mut |progress| last = Some(progress)).unwrap();
    assert!(report.is_intact(), "{report:#?}");
    assert_eq!((report.lines, report.verified, report.segments), (12, 12, 3));
    assert_eq!((report.first_seq, report.last_seq, report.last_mac), (Some(1), Some(12), Some(head.mac)));
    let last = last.unwrap();
    assert_eq!((last.bytes, last.lines), (last.total_bytes, 12));
    assert!(last.bytes > 6000);
}

/// T-AUDIT-EDIT: a word changed in a line is found, with segment, line and number, wherever the line stands.
#[test]
fn a_changed_line_is_named() {
    for (segment, line) in [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (2, 2), (2, 3)] {
        let (_parent, folder, mut all, _) = trail();
        let (path, lines) = &mut all[segment];
        let text = String::from_utf8(lines[line].clone()).unwrap();
        lines[line] = text.replace("alice", "mally").into_bytes();
        put(path, lines);
        let report = check(&folder, None);
        let finding = only(&report);
        assert_eq!(finding.kind, FindingKind::Changed);
        assert_eq!((&finding.segment, finding.line_number), (&name(path), line as u64 + 1));
        assert_eq!(finding.seq, Some(segment as u64 * 4 + line as u64 + 1));
    }
}

/// T-AUDIT-EDIT: a changed number alone is found as such.
#[test]
fn a_changed_number_is_named() {
    for line in [1, 2] {
        let (_parent, folder, mut all, _) = trail();
        let (path, lines) = &mut all[1];
        let text = String::from_utf8(lines[line].clone()).unwrap();
        let seq = 5 + line;
        lines[line] = text.replace(&format!(",\"seq\":{seq},"), ",\"seq\":99,").into_bytes();
        put(path, lines);
        let report = check(&folder, None);
        let finding = &report.findings[0];
        assert_eq!(finding.kind, FindingKind::Changed, "{report:#?}");
        assert_eq!((&finding.segment, finding.line_number), (&name(path), line as u64 + 1));
    }
}

/// T-AUDIT-CUT: a line taken out of the middle leaves a gap, which is named.
#[test]
fn a_removed_line_is_named() {
    for (line, count) in [(1, 1), (2, 1), (1, 2)] {
        let (_parent, folder, mut all, _) = trail();
        let (path, lines) = &mut all[1];
        lines.drain(line..line + count);
        put(path, lines);
        let report = check(&folder, None);
        let finding = only(&report);
        assert_eq!(finding.kind, FindingKind::Removed);
        assert_eq!((&finding.segment, finding.line_number), (&name(path), line as u64 + 1));
        assert_eq!(finding.seq, Some(5 + line as u64));
    }
}

/// T-AUDIT-CUT: the first line of a segment, and lines at the end of one that is not the newest.
#[test]
fn lines_removed_at_a_border_are_found() {
    let (_parent, folder, mut all, _) = trail();
    all[1].1.remove(0);
    put(&all[1].0, &all[1].1);
    let report = check(&folder, None);
    assert!(
        report.findings.iter().any(|finding| finding.segment == name(&all[1].0)
            && finding.line_number == 1
            && finding.seq == Some(5)),
        "{report:#?}"
    );

    let (_parent, folder, mut all, _) = trail();
    all[1].1.truncate(2);
    put(&all[1].0, &all[1].1);
    let report = check(&folder, None);
    let finding = only(&report);
    assert_eq!((finding.kind, finding.seq), (FindingKind::MissingSegment, Some(7)));
    assert_eq!((&finding.segment, finding.line_number), (&name(&all[2].0), 1));
}

/// T-AUDIT-CUT: a segment taken away in the middle, and the oldest.
#[test]
fn a_removed_segment_is_named() {
    for (gone, first) in [(1, 5), (0, 1)] {
        let (_parent, folder, all, head) = trail();
        std::fs::remove_file(&all[gone].0).unwrap();
        let report = check(&folder, Some(head));
        let finding = only(&report);
        assert_eq!((finding.kind, finding.seq), (FindingKind::MissingSegment, Some(first)));
        assert_eq!((&finding.segment, finding.line_number), (&name(&all[gone + 1].0), 1));
        assert!(finding.text.contains(&format!("numbers {first} to {}", first + 3)), "{}", finding.text);
    }
}

#[test]
fn an_archived_segment_is_no_finding_when_it_is_expected_to_be_away() {
    let (_parent, folder, all, head) = trail();
    std::fs::remove_file(&all[0].0).unwrap();
    let check =
        |first_seq| verify(&folder, &key(), &Expected { first_seq, head: Some(head) }, &mut |_| {}).unwrap();
    assert!(check(5).is_intact());
    // More than expected is no harm; less is.
    assert!(check(8).is_intact());
    assert_eq!(kinds(&check(4)), [FindingKind::MissingSegment]);
}

/// T-AUDIT-CUT: lines, or a whole segment, cut off the end show against a head kept elsewhere, and only so.
#[test]
fn a_cut_end_shows_against_an_expected_head_only() {
    for keep in 0..4 {
        let (_parent, folder, mut all, head) = trail();
        let (path, lines) = &mut all[2];
        lines.truncate(keep);
        if keep == 0 {
            std::fs::remove_file(path).unwrap();
        } else {
            put(path, lines);
        }
        assert!(check(&folder, None).is_intact());
        let report = check(&folder, Some(head));
        let finding = only(&report);
        assert_eq!((finding.kind, finding.seq), (FindingKind::Removed, Some(9 + keep as u64)));
        assert!(finding.text.contains("to 12 are missing at the end"), "{}", finding.text);
    }
}

/// T-AUDIT-CUT: nothing at all is left.
#[test]
fn an_emptied_folder_shows_against_an_expected_head() {
    let (_parent, folder, all, head) = trail();
    for (path, _) in &all {
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(kinds(&check(&folder, Some(head))), [FindingKind::Removed]);
    // An empty file with the name of a later segment betrays itself.
    std::fs::write(&all[2].0, b"").unwrap();
    let report = check(&folder, None);
    assert_eq!((only(&report).kind, only(&report).seq), (FindingKind::Removed, Some(1)));
}

/// T-AUDIT-FORGE: another trail under the same key in place of this one shows against a head kept elsewhere.
#[test]
fn a_replaced_trail_shows_against_an_expected_head() {
    let (_parent, folder, _, head) = trail();
    let (_other_parent, other, _, _) = trail();
    assert!(check(&other, None).is_intact());
    let report = check(&other, Some(head));
    assert_eq!((only(&report).kind, only(&report).seq), (FindingKind::Changed, Some(12)));
    // A segment of another trail among those of this one shows by itself.
    std::fs::copy(Segment::at(&other, 5).path, Segment::at(&folder, 5).path).unwrap();
    assert!(!check(&folder, None).is_intact());
}

/// T-AUDIT-EDIT: a trail set back to an older copy and then continued shows against a head noted in between.
#[test]
fn a_trail_set_back_and_continued_shows_against_an_expected_head() {
    let (_parent, folder, all, head) = trail();
    put(&all[2].0, &all[2].1[..1]);
    fill(&folder, 8, SMALL);
    assert!(check(&folder, None).is_intact());
    assert_eq!(kinds(&check(&folder, Some(head))), [FindingKind::Changed]);
}

/// T-AUDIT-EDIT: two lines that changed places.
#[test]
fn reordered_lines_are_named() {
    let (_parent, folder, mut all, _) = trail();
    let (path, lines) = &mut all[1];
    lines.swap(1, 2);
    put(path, lines);
    let report = check(&folder, None);
    assert!(kinds(&report).contains(&FindingKind::Reordered), "{report:#?}");
    assert!(report.findings.iter().all(|finding| finding.segment == name(path)), "{report:#?}");
    assert!(report.findings.iter().all(|finding| (2..=4).contains(&finding.line_number)), "{report:#?}");
}

/// T-AUDIT-EDIT: two segments that changed names.
#[test]
fn reordered_segments_are_named() {
    let (_parent, folder, all, _) = trail();
    put(&all[1].0, &all[2].1);
    put(&all[2].0, &all[1].1);
    let report = check(&folder, None);
    let finding = &report.findings[0];
    assert_eq!((finding.segment.as_str(), finding.line_number), (name(&all[1].0).as_str(), 1), "{report:#?}");
    assert!(kinds(&report).contains(&FindingKind::Reordered), "{report:#?}");
}

/// T-AUDIT-EDIT: a segment under a name that is not its own.
#[test]
fn a_renamed_segment_is_named() {
    let (_parent, folder, all, _) = trail();
    std::fs::rename(&all[2].0, Segment::at(&folder, 10).path).unwrap();
    let report = check(&folder, None);
    assert_eq!(only(&report).kind, FindingKind::Changed);
    assert!(only(&report).text.contains("renamed"), "{}", only(&report).text);
    // Under a name no segment has, it counts as missing.
    std::fs::rename(Segment::at(&folder, 10).path, folder.join("audit-9.jsonl")).unwrap();
    assert_eq!(kinds(&check(&folder, Some(Head { seq: 12, mac: [1; 32] }))), [FindingKind::Removed]);
}

/// T-AUDIT-FORGE: a line made without the key, a copy of an old line, and one made with another key, put in between.
#[test]
fn an_inserted_line_is_named() {
    let stranger = key_of(8);
    for forgery in 0..4 {
        for place in 1..4 {
            let (_parent, folder, mut all, _) = trail();
            let (path, lines) = &mut all[1];
            let seq = 5 + place as u64;
            let line = match forgery {
                0 => forge(&stranger, &mac_of(&lines[place - 1]), seq, false),
                1 => lines[0].clone(),
                2 => lines[1].clone(),
                _ => forge(&stranger, &GENESIS, seq, true),
            };
            lines.insert(place, line);
            put(path, lines);
            let report = check(&folder, None);
            let finding = &report.findings[0];
            // Of two equal lines side by side the second counts as the copy.
            let at = if forgery == 2 && place == 1 { 3 } else { place as u64 + 1 };
            assert_eq!((&finding.segment, finding.line_number), (&name(path), at), "{report:#?}");
            assert_eq!(report.findings.len(), 1, "{report:#?}");
            // A copy of a true line may count as one or the other.
            let copied = matches!(forgery, 1 | 2) && finding.kind == FindingKind::Reordered;
            assert!(copied || finding.kind == FindingKind::Inserted, "{report:#?}");
        }
    }
}

/// T-AUDIT-FORGE: lines added at the end without the key.
#[test]
fn an_appended_forgery_is_named() {
    let (_parent, folder, mut all, head) = trail();
    let (path, lines) = &mut all[2];
    lines.push(forge(&key_of(8), &head.mac, 13, false));
    put(path, lines);
    let report = check(&folder, None);
    let finding = only(&report);
    assert_eq!((&finding.segment, finding.line_number), (&name(path), 5));
    assert!(read_lines(&folder, &key(), &mut |_| Ok(())).is_err());
}

/// T-AUDIT-FORGE: a whole trail under another key, and the true trail read with another key.
#[test]
fn another_key_verifies_nothing() {
    let (_parent, folder, _, _) = trail();
    let report = verify(&folder, &key_of(8), &Expected::default(), &mut |_| {}).unwrap();
    assert_eq!(report.verified, 0);
    assert!(only(&report).text.contains(KEY_ID), "{}", only(&report).text);
}

#[test]
fn an_unfinished_line_is_named() {
    let (_parent, folder, mut all, _) = trail();
    let (path, lines) = &mut all[2];
    lines[3].truncate(100);
    put(path, lines);
    let report = check(&folder, None);
    let finding = only(&report);
    assert_eq!((finding.kind, finding.line_number, finding.seq), (FindingKind::Torn, 4, Some(12)));
    assert!(finding.text.contains("after 100 bytes"));
}

/// T-AUDIT-EDIT: a line of any length counts as one, is never held in memory, and the lines after it are read.
#[test]
fn a_line_too_long_is_one_finding() {
    let (_parent, folder, mut all, _) = trail();
    let (path, lines) = &mut all[1];
    let mut long = vec![b'x'; 300_000];
    long.push(b'\n');
    lines[1] = long;
    put(path, lines);
    let report = check(&folder, None);
    let finding = only(&report);
    assert_eq!((finding.kind, finding.line_number), (FindingKind::Unparsable, 2));
    assert_eq!(report.lines, 12);
}

/// T-AUDIT-EDIT: a trail broken all over is read no further than it takes to say so.
#[test]
fn findings_are_bounded() {
    let (_parent, folder, mut all, _) = trail();
    let (path, lines) = &mut all[1];
    lines.splice(1..1, std::iter::repeat_n(b"nonsense\n".to_vec(), 5 * MAX_RUNS));
    put(path, lines);
    let report = check(&folder, None);
    assert!(report.findings.len() <= MAX_RUNS + 10);
    assert!(report.findings.iter().any(|finding| finding.text.contains("reading stopped here")));
    assert!(report.lines < 2 * MAX_RUNS as u64);
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let (_parent, folder) = folder();
    let error = verify(&folder, &key(), &Expected::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, TrailError::Io { .. }));
    assert!(error.to_string().contains("audit"));
}
