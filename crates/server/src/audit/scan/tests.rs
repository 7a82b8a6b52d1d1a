use super::*;
use crate::audit::testing::{fill, folder, key, key_of, lines, put};

fn read_all(bytes: &[u8]) -> Vec<(Read, usize)> {
    let parent = tempfile::tempdir().unwrap();
    let segment = Segment::at(parent.path(), 1);
    std::fs::write(&segment.path, bytes).unwrap();
    let mut reader = LineReader::open(&segment, u64::MAX).unwrap();
    let mut found = Vec::new();
    loop {
        let mut line = Vec::new();
        let read = reader.next(&mut line).unwrap();
        if read == Read::End {
            return found;
        }
        found.push((read, line.len()));
        if read == Read::Torn {
            return found;
        }
    }
}

#[test]
fn lines_are_cut_at_newlines_and_bounded() {
    assert_eq!(read_all(b""), []);
    assert_eq!(read_all(b"\n"), [(Read::Line, 0)]);
    assert_eq!(read_all(b"ab\ncd"), [(Read::Line, 2), (Read::Torn, 2)]);
    let mut longest = vec![b'x'; MAX_LINE - 1];
    longest.push(b'\n');
    assert_eq!(read_all(&longest), [(Read::Line, MAX_LINE - 1)]);
    longest.insert(0, b'x');
    longest.extend_from_slice(b"next\n");
    assert_eq!(read_all(&longest), [(Read::TooLong, MAX_LINE), (Read::Line, 4)]);
    assert_eq!(read_all(&vec![0; 1_000_000]), [(Read::Torn, MAX_LINE)]);
}

#[test]
fn a_line_that_is_still_being_written_is_continued() {
    use std::io::Write as _;
    let parent = tempfile::tempdir().unwrap();
    let segment = Segment::at(parent.path(), 1);
    let mut file = File::create(&segment.path).unwrap();
    file.write_all(b"first\nsec").unwrap();
    let mut reader = LineReader::open(&segment, u64::MAX).unwrap();
    let mut line = Vec::new();
    assert_eq!(reader.next(&mut line).unwrap(), Read::Line);
    line.clear();
    assert_eq!(reader.next(&mut line).unwrap(), Read::Torn);
    file.write_all(b"ond\n").unwrap();
    assert_eq!(reader.next(&mut line).unwrap(), Read::Line);
    assert_eq!((line.as_slice(), reader.offset), (&b"second"[..], 13));
}

#[test]
fn reading_back_hands_over_every_line_in_order_and_tells_the_end() {
    let (_parent, folder) = folder();
    let head = fill(&folder, 12, 2000);
    let mut numbers = Vec::new();
    let end = read_lines(&folder, &key(), &mut |line| {
        let event: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        numbers.push(event["seq"].as_u64().unwrap());
        Ok(())
    })
    .unwrap();
    assert_eq!(end, head);
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
}

/// T-AUDIT-EDIT: no line is handed over from the first on that does not verify.
#[test]
fn reading_back_stops_before_a_changed_line() {
    let (_parent, folder) = folder();
    fill(&folder, 12, 2000);
    let mut all = lines(&folder);
    let (path, lines) = &mut all[1];
    lines[1] = String::from_utf8(lines[1].clone()).unwrap().replace("alice", "mally").into_bytes();
    put(path, lines);
    let mut seen = 0;
    let error = read_lines(&folder, &key(), &mut |_| {
        seen += 1;
        Ok(())
    })
    .unwrap_err();
    assert_eq!(seen, 5);
    let TrailError::Broken { segment, line, .. } = error else { panic!("{error}") };
    assert_eq!((segment.as_str(), line), ("audit-000000000005.jsonl", 2));
}

/// T-AUDIT-FORGE: with another key nothing is handed over.
#[test]
fn reading_back_with_another_key_fails_at_once() {
    let (_parent, folder) = folder();
    fill(&folder, 1, 2000);
    let error = read_lines(&folder, &key_of(8), &mut |_| panic!("a line was handed over")).unwrap_err();
    assert!(matches!(error, TrailError::Broken { line: 1, .. }), "{error}");
}

#[test]
fn what_reads_may_refuse() {
    let (_parent, folder) = folder();
    fill(&folder, 3, 2000);
    let error = read_lines(&folder, &key(), &mut |_| Err("enough".to_owned())).unwrap_err();
    assert!(error.to_string().contains("enough"));
}
