mod concurrency;
mod crash;
mod full;
mod histories;

use std::os::unix::fs::{PermissionsExt as _, symlink};

use chatelaine_core::audit::TrustUsed;
use chatelaine_core::clock::ManualClock;

use super::*;
use crate::audit::testing::{
    KEY_ID, NOON, OBSERVER, append, fill, folder, key, key_of, lines, open, open_with, parsed, read,
    segments_of,
};
use crate::audit::{Expected, verify};

/// Fails unless the trail verifies and ends with `head`.
fn assert_intact(folder: &Path, head: Head) {
    let report = verify(folder, &key(), &Expected { first_seq: 1, head: Some(head) }, &mut |_| {}).unwrap();
    assert!(report.is_intact(), "{report:#?}");
    assert_eq!(report.last_seq.unwrap_or(0), head.seq);
}

fn unwritable(outcome: Result<(), AuditError>) -> String {
    match outcome {
        Err(AuditError::Unwritable(why)) => why,
        other => panic!("not Unwritable: {other:?}"),
    }
}

#[test]
fn an_event_is_written_as_cadf_and_read_back_field_by_field() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    let mut event = read(5, 42);
    event.reason = Some("asked for".to_owned());
    append(&trail, std::slice::from_ref(&event), Durability::Synced).unwrap();
    let head = trail.head();
    assert_eq!((head.seq, trail.synced_head()), (1, head));
    let all = parsed(&folder);
    let expected = serde_json::json!({
        "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event",
        "eventType": "activity",
        "id": event.id.to_string(),
        "eventTime": NOON.to_string(),
        "action": "read/key_material",
        "outcome": "success",
        "initiator": {
            "id": "alice",
            "typeURI": "service/security/account/user",
            "project_id": "p-1",
            "host": {"address": "192.0.2.7"},
        },
        "target": {"typeURI": "data/security/secret", "id": "secret-42"},
        "observer": {"id": OBSERVER, "typeURI": "service/security/keymanager"},
        "reason": {"reasonType": "chatelaine", "reasonCode": "asked for"},
        "requestid": "req-5",
        "previous": "0".repeat(64),
        "key": KEY_ID,
        "seq": 1,
        "mac": hex::encode(head.mac),
    });
    assert_eq!(all, [expected]);
}

#[test]
fn reading_key_material_is_told_apart_from_every_other_action() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    let actions = [Action::Get, Action::GetMetadata, Action::List, Action::Delete, Action::Revoke];
    let events: Vec<Event> = actions.iter().map(|action| Event { action: *action, ..read(0, 0) }).collect();
    append(&trail, &events, Durability::Written).unwrap();
    let written: Vec<String> =
        parsed(&folder).iter().map(|line| line["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(written, ["read/key_material", "read/metadata", "read/list", "delete", "revoke"]);
}

/// T-AUDIT-FORGE: no value a caller chooses can end a line, or imitate its end.
#[test]
fn values_cannot_leave_their_place() {
    let (_parent, folder) = folder();
    let mac = "ab".repeat(32);
    let texts = [
        format!("x\"}}\n{{\"typeURI\":\"forged\",\"seq\":9,\"mac\":\"{mac}\"}}\n"),
        format!("\",\"previous\":\"{mac}\",\"key\":\"k\",\"seq\":1,\"mac\":\"{mac}\"}}"),
        "\\".to_owned(),
        "\\\"".to_owned(),
        "\u{0}\u{1}\u{1f}\u{7f}\r\n\t".to_owned(),
        "\u{2028}ж😀".to_owned(),
        "\",\"version\":7,\"x\":\"".to_owned(),
        String::new(),
    ];
    let trail = open(&folder);
    for text in &texts {
        let mut event = read(0, 0);
        event.initiator = Initiator {
            user: text.clone(),
            project: Some(text.clone()),
            service: Some(text.clone()),
            trust: Some(TrustUsed { id: text.clone(), trustor: text.clone(), trustee: text.clone() }),
            address: Some(text.clone()),
        };
        event.target = Some(text.clone());
        event.reason = Some(text.clone());
        event.request_id = Some(text.clone());
        append(&trail, &[event], Durability::Written).unwrap();
    }
    assert_intact(&folder, trail.head());
    let all = parsed(&folder);
    assert_eq!(all.len(), texts.len());
    for (line, text) in all.iter().zip(&texts) {
        // CADF requires an id.
        let user = if text.is_empty() { "unknown" } else { text };
        assert_eq!(line["initiator"]["id"], user);
        for place in [
            "/initiator/project_id",
            "/initiator/service_id",
            "/initiator/trust/id",
            "/initiator/trust/trustor_id",
            "/initiator/trust/trustee_id",
            "/initiator/host/address",
            "/target/id",
            "/reason/reasonCode",
        ] {
            assert_eq!(line.pointer(place).unwrap(), text.as_str(), "{place}");
        }
        assert_eq!(line["requestid"], text.as_str());
    }
}

#[test]
fn a_trail_goes_on_where_it_ended() {
    let (_parent, folder) = folder();
    let mut head = Head::EMPTY;
    for round in 1..=5 {
        let (trail, recovery) = open_with(&folder, &Options::default()).unwrap();
        assert_eq!(recovery, Recovery { torn_bytes: 0, torn_file: None, head });
        assert_eq!((trail.head(), trail.synced_head()), (head, head));
        append(&trail, &[read(0, round), read(0, round)], Durability::Written).unwrap();
        head = trail.head();
        assert_eq!(head.seq, round * 2);
    }
    assert_intact(&folder, head);
    assert_eq!(lines(&folder).len(), 1);
}

#[test]
fn segments_are_named_by_their_first_line_and_keep_the_chain() {
    let (_parent, folder) = folder();
    let head = fill(&folder, 50, 3000);
    assert_intact(&folder, head);
    let all = lines(&folder);
    assert!(all.len() > 5);
    let mut next = 1;
    let mut previous = "0".repeat(64);
    for (path, lines) in &all {
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("audit-{next:012}.jsonl"));
        let first: serde_json::Value = serde_json::from_slice(&lines[0]).unwrap();
        let last: serde_json::Value = serde_json::from_slice(lines.last().unwrap()).unwrap();
        assert_eq!(first["previous"], previous.as_str());
        previous = last["mac"].as_str().unwrap().to_owned();
        next += lines.len() as u64;
        // The line that reached the size is the last one.
        let size: usize = lines.iter().map(Vec::len).sum();
        assert!(size < 3000 + 1000);
    }
    assert_eq!(next, 51);
    // The newest segment is found again, and goes on.
    let (trail, recovery) = open_with(&folder, &segments_of(3000)).unwrap();
    assert_eq!(recovery.head, head);
    append(&trail, &[read(0, 51)], Durability::Written).unwrap();
    assert_intact(&folder, trail.head());
}

#[test]
fn a_segment_begun_without_a_line_is_used_again() {
    let (_parent, folder) = folder();
    let head = fill(&folder, 4, 1);
    std::fs::write(Segment::at(&folder, 5).path, b"").unwrap();
    assert_intact(&folder, head);
    let (trail, recovery) = open_with(&folder, &segments_of(1)).unwrap();
    assert_eq!(recovery.head, head);
    append(&trail, &[read(0, 5)], Durability::Written).unwrap();
    assert_intact(&folder, trail.head());
    drop(trail);
    // T-AUDIT-CUT: the one before it taken away, what it follows cannot be known.
    std::fs::write(Segment::at(&folder, 6).path, b"").unwrap();
    std::fs::remove_file(Segment::at(&folder, 5).path).unwrap();
    let error = open_with(&folder, &segments_of(1)).unwrap_err();
    assert!(error.to_string().contains("put back the segments before it"), "{error}");
}

#[test]
fn files_and_folder_are_for_the_servers_user_only() {
    let (_parent, folder) = folder();
    fill(&folder, 4, 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        files += 1;
    }
    assert_eq!(files, 5);
}

/// T-AUDIT-EDIT: a folder that others can enter, that is another user's, or that is reached through a link, is refused.
#[test]
fn insecure_folders_are_refused() {
    let refused = |folder: &Path| match open_with(folder, &Options::default()) {
        Err(TrailError::Insecure { problem, .. }) => problem,
        other => panic!("not refused: {other:?}"),
    };
    let (parent, folder) = folder();
    fill(&folder, 1, 1000);
    for mode in [0o750, 0o701, 0o770, 0o777] {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&folder).contains("chmod 700"));
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    open(&folder);
    let link = parent.path().join("link");
    symlink(&folder, &link).unwrap();
    assert!(refused(&link).contains("is not a folder"));
    let file = parent.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(refused(&file).contains("is not a folder"));
    let missing = open_with(&parent.path().join("no/such"), &Options::default()).unwrap_err();
    assert!(matches!(missing, TrailError::Io { .. }), "{missing}");
    std::os::unix::fs::chown(&folder, Some(12345), None).expect("this test needs to run as root");
    assert!(refused(&folder).contains("run this as user 12345"));
}

/// T-AUDIT-EDIT: a segment or a lock that is a link somewhere else is not followed.
#[test]
fn links_in_place_of_files_are_refused() {
    for name in ["lock", "audit-000000000001.jsonl"] {
        let (parent, folder) = folder();
        fill(&folder, 1, 1000);
        let elsewhere = parent.path().join("elsewhere");
        std::fs::rename(folder.join(name), &elsewhere).unwrap();
        symlink(&elsewhere, folder.join(name)).unwrap();
        let error = open_with(&folder, &Options::default()).unwrap_err();
        assert!(matches!(error, TrailError::Io { doing: "cannot open", .. }), "{error}");
    }
}

#[test]
fn a_second_server_on_the_trail_is_refused_until_the_first_is_gone() {
    let (_parent, folder) = folder();
    let first = open(&folder);
    append(&first, &[read(0, 1)], Durability::Written).unwrap();
    let error = open_with(&folder, &Options::default()).unwrap_err();
    assert!(matches!(error, TrailError::InUse(_)), "{error}");
    append(&first, &[read(0, 2)], Durability::Written).unwrap();
    drop(first);
    assert_eq!(open(&folder).head().seq, 2);
}

/// T-AUDIT-FORGE: the wrong master key does not continue a trail.
#[test]
fn another_key_is_refused() {
    let (_parent, folder) = folder();
    fill(&folder, 3, 1000);
    let open = |key, key_id| {
        FileTrail::open(&folder, key, key_id, OBSERVER, &Options::default(), &ManualClock::at(NOON))
            .map(|_| ())
            .unwrap_err()
    };
    let error = open(key_of(8), "master-2");
    assert!(
        matches!(&error, TrailError::OtherKey { found, expected, .. } if found == KEY_ID && expected == "master-2"),
        "{error}"
    );
    let error = open(key_of(8), KEY_ID);
    assert!(matches!(error, TrailError::Broken { line: 1, .. }), "{error}");
    // Nothing was changed by the attempts.
    assert_intact(&folder, open_with(&folder, &Options::default()).unwrap().1.head);
}

/// T-AUDIT-EDIT: a newest segment that does not verify is not continued.
#[test]
fn a_changed_newest_segment_is_refused_at_the_start() {
    let (_parent, folder) = folder();
    fill(&folder, 3, 100_000);
    let path = Segment::at(&folder, 1).path;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("alice", "mally", 1)).unwrap();
    let error = open_with(&folder, &Options::default()).unwrap_err();
    assert!(matches!(error, TrailError::Broken { line: 1, .. }), "{error}");
}

#[test]
fn names_that_cannot_stand_in_a_line_are_refused() {
    let (_parent, folder) = folder();
    let clock = ManualClock::at(NOON);
    for (key_id, observer) in
        [("", "o"), ("a b", "o"), ("a\"", "o"), (&*"k".repeat(65), "o"), ("k", ""), ("k", &*"o".repeat(256))]
    {
        let outcome = FileTrail::open(&folder, key(), key_id, observer, &Options::default(), &clock);
        assert!(matches!(outcome, Err(TrailError::Invalid(_))), "{key_id:?} {observer:?}");
    }
    assert!(!folder.exists());
}

#[test]
fn what_is_too_long_or_too_many_is_refused_and_leaves_no_trace() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    let mut long = read(0, 0);
    long.reason = Some("x".repeat(MAX_LINE));
    assert!(unwritable(append(&trail, &[read(0, 1), long], Durability::Written)).contains("longer"));
    let many = vec![read(0, 0); MAX_EVENTS + 1];
    assert!(unwritable(append(&trail, &many, Durability::Written)).contains("at most 1024"));
    append(&trail, &[], Durability::Synced).unwrap();
    assert_eq!(trail.head(), Head::EMPTY);
    // The longest that are taken can be read again.
    let mut longest = read(0, 0);
    longest.reason = Some("\u{1}".repeat(MAX_LINE / 6 - 300));
    append(&trail, &vec![longest; 3], Durability::Synced).unwrap();
    append(&trail, &many[1..], Durability::Synced).unwrap();
    assert_eq!(trail.head().seq, 1027);
    assert_intact(&folder, trail.head());
}

#[test]
fn nothing_secret_is_printed() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    assert!(!format!("{trail:?}").contains("7, 7, 7"));
    assert!(format!("{trail:?}").contains("MacKey(secret)"));
}
