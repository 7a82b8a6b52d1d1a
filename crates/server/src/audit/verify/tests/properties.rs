//! Whatever is done to a trail.

use proptest::prelude::*;

use super::*;

/// T-AUDIT-EDIT: every single byte of every segment counts, also in what frames a line; the report names the line or,
/// where two lines became one or one two, the one after it.
#[test]
fn every_flipped_byte_is_found() {
    let (_parent, folder, all, _) = trail();
    let mut flips = 0;
    for (path, lines) in &all {
        let good = lines.concat();
        let mut place = 0;
        for (number, line) in lines.iter().enumerate() {
            for _ in 0..line.len() {
                let mut bad = good.clone();
                // Case, sign and lowest bit in turn.
                bad[place] ^= [0x20, 0x80, 0x01][place % 3];
                std::fs::write(path, &bad).unwrap();
                let report = check(&folder, None);
                let number = number as u64 + 1;
                assert!(
                    report.findings.iter().any(|finding| finding.segment == name(path)
                        && (number..=number + 1).contains(&finding.line_number)),
                    "byte {place} of {}: {report:#?}",
                    path.display()
                );
                // A newline lost at the very end looks like an unfinished line: reading back leaves that out.
                let newest_end = place + 1 == good.len() && *path == all[2].0;
                assert_eq!(
                    read_lines(&folder, &key(), &mut |_| Ok(())).is_err(),
                    !newest_end,
                    "byte {place}"
                );
                place += 1;
                flips += 1;
            }
        }
        std::fs::write(path, &good).unwrap();
    }
    assert!(flips > 6000);
    assert!(check(&folder, None).is_intact());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// T-AUDIT-EDIT, T-AUDIT-CUT: whatever is done to the lines of a trail, if its bytes differ afterwards, verifying
    /// says so, or it is the beginning of the true trail, and then an expected head shows it.
    #[test]
    fn no_rearrangement_passes(steps in proptest::collection::vec((0..5_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255_u8), 1..4)) {
        let (_parent, folder, all, head) = trail();
        let good: Vec<Vec<u8>> = all.iter().map(|(_, lines)| lines.concat()).collect();
        let mut segments: Vec<Vec<Vec<u8>>> = all.iter().map(|(_, lines)| lines.clone()).collect();
        for (step, one, other, mask) in steps {
            let segment = one.index(segments.len());
            let lines = &mut segments[segment];
            if lines.is_empty() { continue; }
            let (from, to) = (one.index(lines.len()), other.index(lines.len()));
            match step {
                0 => lines.swap(from, to),
                1 => { lines.remove(from); }
                2 => { let copy = lines[from].clone(); lines.insert(to, copy); }
                3 => { let at = other.index(lines[from].len()); lines[from][at] ^= mask; }
                _ => { let line = lines.remove(from); let next = (segment + 1) % segments.len(); segments[next].insert(0, line); }
            }
        }
        for ((path, _), lines) in all.iter().zip(&segments) {
            put(path, lines);
        }
        let bad: Vec<Vec<u8>> = segments.iter().map(|lines| lines.concat()).collect();
        let intact = check(&folder, None).is_intact();
        let intact_with_head = check(&folder, Some(head)).is_intact();
        if bad == good {
            prop_assert!(intact && intact_with_head);
        } else {
            prop_assert!(!intact_with_head);
            if intact {
                prop_assert!(good.concat().starts_with(&bad.concat()));
            }
        }
    }

    /// T-AUDIT-FORGE: no bytes at all make the reader fail or pass for a trail.
    #[test]
    fn garbage_is_reported_and_nothing_else_happens(bytes in proptest::collection::vec(any::<u8>(), 1..3000)) {
        let (_parent, folder) = folder();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(Segment::at(&folder, 1).path, bytes).unwrap();
        prop_assert!(!check(&folder, None).is_intact());
    }
}
