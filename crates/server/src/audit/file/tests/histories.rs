use chatelaine_core::audit::LoggedChange;

use super::*;
use crate::audit::scan::Until;
use crate::audit::testing::{change, put};

fn histories(
    trail: &FileTrail,
    wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
) -> Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(trail.histories(wanted))
}

fn logged(event: &Event) -> LoggedChange {
    LoggedChange {
        event: event.id,
        action: event.action,
        outcome: event.outcome,
        written: event.written.clone().unwrap(),
    }
}

/// 40 secrets, each created and then deleted; the deletion of every other one is only begun. Many segments, with reads
/// in between.
fn changes(folder: &Path) -> (FileTrail, Vec<(Event, Event)>) {
    let (trail, _) = open_with(folder, &segments_of(5000)).unwrap();
    let mut all = Vec::new();
    for number in 0..40 {
        let id = format!("s-{number}");
        let begun = change(Action::Create, Outcome::Pending, &id, 1);
        let created = Event { outcome: Outcome::Success, ..begun.clone() };
        let deleting = change(Action::Delete, Outcome::Pending, &id, 2);
        let mut batch = vec![begun, read(0, number), created.clone(), deleting.clone()];
        if number % 2 == 0 {
            batch.push(Event { outcome: Outcome::Success, ..deleting.clone() });
        }
        append(&trail, &batch, Durability::Written).unwrap();
        all.push((created, deleting));
    }
    (trail, all)
}

#[test]
fn histories_tell_what_was_done_and_what_was_only_begun() {
    let (_parent, folder) = folder();
    let (trail, events) = changes(&folder);
    assert!(lines(&folder).len() > 10);
    let all = histories(&trail, &|_, _| true).unwrap();
    assert_eq!(all.len(), 40);
    for (number, (created, deleting)) in events.iter().enumerate() {
        let history = &all[&("secret".to_owned(), format!("s-{number}"))];
        if number % 2 == 0 {
            let done = LoggedChange { outcome: Outcome::Success, ..logged(deleting) };
            assert_eq!(history, &ChangeHistory { done: Some(done), begun: vec![] });
        } else {
            let done = Some(logged(created));
            assert_eq!(history, &ChangeHistory { done, begun: vec![logged(deleting)] });
        }
    }
    let one = histories(&trail, &|kind, id| kind == "secret" && id == "s-7").unwrap();
    assert_eq!(one.keys().collect::<Vec<_>>(), [&("secret".to_owned(), "s-7".to_owned())]);
    assert!(histories(&trail, &|_, _| false).unwrap().is_empty());
}

/// T-AUDIT-EDIT, T-AUDIT-CUT, T-AUDIT-FORGE: a trail that does not verify gives no history at all, so that nothing is
/// destroyed on its word.
#[test]
fn a_trail_that_does_not_verify_has_no_histories() {
    let tamperings: [fn(&Path); 6] = [
        |folder| {
            let (path, mut lines) = lines(folder).remove(0);
            lines[0] = String::from_utf8(lines[0].clone()).unwrap().replace("create", "delete").into_bytes();
            put(&path, &lines);
        },
        |folder| {
            let (path, mut lines) = lines(folder).remove(3);
            lines.remove(1);
            put(&path, &lines);
        },
        |folder| std::fs::remove_file(&lines(folder)[2].0).unwrap(),
        |folder| std::fs::remove_file(&lines(folder).last().unwrap().0).unwrap(),
        |folder| {
            let (path, mut lines) = lines(folder).pop().unwrap();
            lines.pop();
            put(&path, &lines);
        },
        |folder| {
            let (path, mut lines) = lines(folder).remove(2);
            lines.swap(0, 1);
            put(&path, &lines);
        },
    ];
    for (number, tamper) in tamperings.iter().enumerate() {
        let (_parent, folder) = folder();
        let (trail, _) = changes(&folder);
        tamper(&folder);
        let outcome = histories(&trail, &|_, _| true);
        assert!(matches!(outcome, Err(AuditError::Broken(_))), "{number}: {outcome:?}");
    }
}

#[test]
fn an_archived_beginning_leaves_the_rest_readable() {
    let (_parent, folder) = folder();
    let (trail, _) = changes(&folder);
    std::fs::remove_file(&lines(&folder)[0].0).unwrap();
    let all = histories(&trail, &|_, _| true).unwrap();
    assert!(!all.contains_key(&("secret".to_owned(), "s-0".to_owned())));
    assert!(all.contains_key(&("secret".to_owned(), "s-39".to_owned())));
}

#[test]
fn a_new_trail_has_no_histories() {
    let (_parent, folder) = folder();
    assert!(histories(&open(&folder), &|_, _| true).unwrap().is_empty());
}

/// T-AUDIT-CUT: the newest segment has no line yet, and one before it was taken away.
#[test]
fn the_end_is_compared_with_what_was_written_last() {
    let (_parent, folder) = folder();
    fill(&folder, 4, 1);
    std::fs::write(Segment::at(&folder, 5).path, b"").unwrap();
    let trail = open(&folder);
    histories(&trail, &|_, _| true).unwrap();
    std::fs::remove_file(Segment::at(&folder, 4).path).unwrap();
    let error = histories(&trail, &|_, _| true).unwrap_err();
    assert!(error.to_string().contains("do not end with number 4"), "{error}");
}

/// Reading ends when the question is dropped, at the next line, also where there is nothing to hand over.
#[test]
fn reading_stops_when_nobody_waits() {
    let (_parent, folder) = folder();
    let trail = open(&folder);
    append(&trail, &vec![read(0, 0); 100], Durability::Written).unwrap();
    let until = Until { segment: Segment::at(&folder, 1), length: trail.shared.state.lock().length };
    let (send, receive) = tokio::sync::mpsc::channel(4);
    reading::read(&trail.shared, &until, trail.head(), &send).unwrap();
    drop(receive);
    let error = reading::read(&trail.shared, &until, trail.head(), &send).unwrap_err();
    assert!(error.to_string().contains("line 1: nobody waits"), "{error}");
}
