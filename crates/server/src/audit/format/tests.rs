use proptest::prelude::*;

use super::*;
use crate::audit::scan::line_mac;
use crate::audit::testing::{OBSERVER, change, key, read};

const PREVIOUS: LineMac = [0xab; 32];

/// The line of an event, without its newline.
fn line(event: &Event, seq: u64, start: bool) -> Vec<u8> {
    let mut out = Vec::new();
    render(event, OBSERVER, &mut out);
    if start {
        render_start(&PREVIOUS, "master-1", &mut out);
    }
    render_seq(seq, &mut out);
    let mac = line_mac(&key(), &PREVIOUS, &out);
    render_mac(&mac, &mut out);
    assert_eq!(out.pop(), Some(b'\n'));
    out
}

#[test]
fn the_chains_fields_are_found_again() {
    for seq in [1, 9, 10, 4213, u64::MAX] {
        for start in [true, false] {
            let bytes = line(&read(1, 2), seq, start);
            let found = Line::parse(&bytes).unwrap();
            assert_eq!(found.seq, seq);
            assert!(key().verify(&[&PREVIOUS, found.authenticated], &found.mac));
            assert_eq!(found.start(), start.then_some((PREVIOUS, "master-1")));
            assert_eq!(Line::renumbered(found.event, seq), found.authenticated);
        }
    }
}

/// T-AUDIT-EDIT: the same fields written in another way are not a line.
#[test]
fn there_is_one_way_to_write_a_line() {
    let good = String::from_utf8(line(&read(1, 2), 17, false)).unwrap();
    let (front, mac) = good.split_at(good.len() - 66);
    let variants = [
        format!("{front}{}\"}}", mac[..64].to_uppercase()),
        good.replace(",\"seq\":17", ",\"seq\":017"),
        good.replace(",\"seq\":17", ",\"seq\": 17"),
        good.replace(",\"seq\":17", ",\"seq\":+17"),
        good.replace(",\"seq\":17", ",\"seq\":0"),
        good.replace(",\"seq\":17", ",\"seq\":99999999999999999999"),
        good.replace(",\"mac\":", ", \"mac\":"),
        good.replace("\"}", "\" }"),
        format!("{good} "),
        format!("{good}\r"),
        format!(" {good}"),
        good[..good.len() - 1].to_owned(),
        "\"}".to_owned(),
        String::new(),
    ];
    for variant in variants {
        assert!(variant != good && Line::parse(variant.as_bytes()).is_none(), "{variant}");
    }
}

#[test]
fn only_changes_of_records_have_a_history() {
    let bytes = line(&change(Action::Delete, Outcome::Pending, "s-1", 7), 1, true);
    let found = parse_change(&bytes).unwrap().unwrap();
    assert_eq!((found.kind.as_str(), found.id.as_str()), ("secret", "s-1"));
    assert_eq!((found.change.action, found.change.outcome), (Action::Delete, Outcome::Pending));
    assert_eq!(found.change.written, Written { version: Version::new(7), digest: format!("{:032x}", 7) });
    assert!(parse_change(&line(&read(1, 2), 1, false)).unwrap().is_none());
    let of_the_service = Event { target_kind: None, ..change(Action::StartServer, Outcome::Success, "x", 1) };
    assert!(parse_change(&line(&of_the_service, 1, false)).unwrap().is_none());
    // A later release may know more actions: to go on without understanding them would be to guess.
    let text = String::from_utf8(bytes).unwrap().replace("\"delete\"", "\"vanish\"");
    assert!(parse_change(text.as_bytes()).unwrap_err().contains("not one this release knows"));
}

proptest! {
    /// T-AUDIT-FORGE: whatever the values are, the line is JSON that says them, and has its end where it should.
    #[test]
    fn any_value_stays_in_its_place(user in ".{1,40}", target in any::<String>(), reason in any::<String>(), seq in 1..u64::MAX) {
        let mut event = read(1, 2);
        event.initiator.user.clone_from(&user);
        event.target = Some(target.clone());
        event.reason = Some(reason.clone());
        let bytes = line(&event, seq, false);
        prop_assert!(!bytes.iter().any(|byte| *byte < 0x20));
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(value["initiator"]["id"].as_str(), Some(user.as_str()));
        prop_assert_eq!(value["target"]["id"].as_str(), Some(target.as_str()));
        prop_assert_eq!(value["reason"]["reasonCode"].as_str(), Some(reason.as_str()));
        let found = Line::parse(&bytes).unwrap();
        prop_assert_eq!(found.seq, seq);
        prop_assert!(found.start().is_none());
        prop_assert!(parse_change(&bytes).unwrap().is_none());
    }

    /// T-AUDIT-FORGE: no bytes make the parsers fail otherwise than by saying so.
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Some(line) = Line::parse(&bytes) {
            let _ = line.start();
        }
        let _ = parse_change(&bytes);
    }
}

/// The example of the manual is a true line, under the key of these tests.
#[test]
fn the_documented_line_verifies() {
    let page = include_str!("../../../../../docs/admin/audit.md");
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("{\"typeURI\"")).collect();
    let [example] = lines[..] else { panic!("{} examples", lines.len()) };
    let found = Line::parse(example.as_bytes()).unwrap();
    let (previous, key_id) = found.start().unwrap();
    assert_eq!((found.seq, key_id), (4213, "master-1"));
    assert!(key().verify(&[&previous, found.authenticated], &found.mac));
    assert_eq!(parse_change(example.as_bytes()).unwrap().unwrap().change.action, Action::Delete);
    // Every field is explained.
    for field in
        ["typeURI", "eventType", "eventTime", "initiator", "observer", "requestid", "previous", "reason"]
    {
        assert!(page.contains(&format!("`{field}")), "{field}");
    }
}
