//! What one batch does, and what it refuses.

use super::*;
use crate::store::{MAX_ATTRIBUTE, MAX_BATCH, MAX_BODY, MAX_ID, Query};

pub(super) async fn a_record_comes_back_as_it_was_put(store: Arc<dyn Store>) {
    let mut full = record("full", 1_795_000_000_123_456);
    full.attributes = IndexAttributes {
        owner: Some("owner".into()),
        name: Some("name".into()),
        state: Some("active".into()),
        class: Some("class".into()),
        parent: Some("parent".into()),
        reference: Some("reference".into()),
        due: Some(Timestamp::from_micros(1_795_000_000_123_457)),
    };
    let bare = record("bare", -5);
    create(&*store, &full).await;
    create(&*store, &bare).await;
    assert_eq!(found(&*store, "full").await, Some(full));
    assert_eq!(found(&*store, "bare").await, Some(bare));
    assert_eq!(found(&*store, "neither").await, None);
    assert_eq!(store.read(&Kind::new("other"), "full").await.unwrap(), None);
}

pub(super) async fn a_record_is_replaced_and_removed(store: Arc<dyn Store>) {
    let first = record("a", 1);
    create(&*store, &first).await;
    let mut second = Record { version: first.version.next(), body: b"new".to_vec(), ..first.clone() };
    second.project = "elsewhere".into();
    second.attributes.owner = Some("owner".into());
    let batch = vec![Change::Replace { expected: first.version, record: second.clone() }];
    store.apply(batch).await.unwrap();
    assert_eq!(found(&*store, "a").await.as_ref(), Some(&second));
    let mut third = Record { version: second.version.next(), ..second.clone() };
    third.attributes = IndexAttributes::default();
    let batch = vec![Change::Replace { expected: second.version, record: third.clone() }];
    store.apply(batch).await.unwrap();
    assert_eq!(found(&*store, "a").await.as_ref(), Some(&third), "attributes can be taken away");
    store.apply(vec![removed(&third)]).await.unwrap();
    assert_eq!(found(&*store, "a").await, None);
    assert!(store.list(&Query::of(KIND)).await.unwrap().is_empty());
}

pub(super) async fn the_creation_time_never_changes(store: Arc<dyn Store>) {
    let first = record("a", 10);
    create(&*store, &first).await;
    let moved =
        Record { created: Timestamp::from_micros(99), version: first.version.next(), ..first.clone() };
    store.apply(vec![Change::Replace { expected: first.version, record: moved }]).await.unwrap();
    let now = found(&*store, "a").await.unwrap();
    assert_eq!((now.created, now.version), (first.created, first.version.next()));
    assert_eq!(store.list(&Query::of(KIND)).await.unwrap(), vec![now]);
}

pub(super) async fn creating_what_exists_is_refused(store: Arc<dyn Store>) {
    let first = record("a", 1);
    create(&*store, &first).await;
    let again = Record { body: b"other".to_vec(), created: Timestamp::from_micros(2), ..first.clone() };
    refused(&*store, vec![Change::Create(again)], "a", ConflictReason::Exists).await;
    assert_eq!(found(&*store, "a").await, Some(first));
}

pub(super) async fn changing_what_is_missing_is_refused(store: Arc<dyn Store>) {
    let never = record("never", 1);
    refused(&*store, vec![changed(&never, "x")], "never", ConflictReason::Missing).await;
    refused(&*store, vec![removed(&never)], "never", ConflictReason::Missing).await;
    assert_eq!(found(&*store, "never").await, None);
    assert!(store.kinds().await.unwrap().is_empty());
}

pub(super) async fn changing_another_version_is_refused(store: Arc<dyn Store>) {
    let first = record("a", 1);
    create(&*store, &first).await;
    store.apply(vec![changed(&first, "second")]).await.unwrap();
    let second = found(&*store, "a").await.unwrap();
    let why = ConflictReason::Changed(second.version);
    refused(&*store, vec![changed(&first, "late")], "a", why).await;
    refused(&*store, vec![removed(&first)], "a", why).await;
    let ahead = Record { version: Version::new(7), ..second.clone() };
    refused(&*store, vec![removed(&ahead)], "a", why).await;
    assert_eq!(found(&*store, "a").await, Some(second));
}

pub(super) async fn a_late_conflict_undoes_the_whole_batch(store: Arc<dyn Store>) {
    let (kept, gone, last) = (record("kept", 1), record("gone", 2), record("last", 3));
    for record in [&kept, &gone, &last] {
        create(&*store, record).await;
    }
    let steps = || vec![Change::Create(record("new", 4)), changed(&kept, "changed"), removed(&gone)];
    let stale = Record { version: Version::new(9), ..last.clone() };
    let conflicts = [
        (Change::Create(last.clone()), "last", ConflictReason::Exists),
        (changed(&record("nobody", 1), ""), "nobody", ConflictReason::Missing),
        (removed(&stale), "last", ConflictReason::Changed(last.version)),
        (required("last", None), "last", ConflictReason::Exists),
    ];
    for (conflict, on, why) in conflicts {
        let mut batch = steps();
        batch.push(conflict);
        refused(&*store, batch, on, why).await;
        let all = store.list(&Query::of(KIND)).await.unwrap();
        assert_eq!(all, vec![kept.clone(), gone.clone(), last.clone()], "after {why}");
    }
    store.apply(steps()).await.unwrap();
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), 3);
}

pub(super) async fn requirements_guard_a_batch(store: Arc<dyn Store>) {
    let guard = record("guard", 1);
    create(&*store, &guard).await;
    let put = || Change::Create(record("put", 2));
    let first = Some(guard.version);
    refused(&*store, vec![put(), required("guard", None)], "guard", ConflictReason::Exists).await;
    refused(&*store, vec![put(), required("absent", first)], "absent", ConflictReason::Missing).await;
    let why = ConflictReason::Changed(guard.version);
    refused(&*store, vec![required("guard", Some(Version::new(2))), put()], "guard", why).await;
    assert_eq!(found(&*store, "put").await, None);
    store.apply(vec![required("guard", first), required("absent", None), put()]).await.unwrap();
    assert!(found(&*store, "put").await.is_some());
    assert_eq!(found(&*store, "guard").await, Some(guard), "a requirement changes nothing");
    store.apply(vec![required("absent", None)]).await.unwrap();
    assert_eq!(found(&*store, "absent").await, None);
}

pub(super) async fn resealing_keeps_version_and_creation(store: Arc<dyn Store>) {
    let first = record("a", 10);
    create(&*store, &first).await;
    let mut anew = Record { body: b"anew".to_vec(), created: Timestamp::from_micros(99), ..first.clone() };
    anew.attributes.reference = Some("new key".to_owned());
    let change = Change::Reseal { before: first.body.clone(), record: anew.clone() };
    store.apply(vec![change, required("b", None)]).await.unwrap();
    anew.created = first.created;
    assert_eq!(found(&*store, "a").await.as_ref(), Some(&anew));
    assert_eq!(store.list(&Query::of(KIND)).await.unwrap(), vec![anew.clone()]);
    let query = Query { reference: anew.attributes.reference.clone(), ..Query::of(KIND) };
    assert_eq!(store.count(&query).await.unwrap(), 1, "the index follows");
    store.apply(vec![changed(&first, "second")]).await.unwrap();
    assert_eq!(found(&*store, "a").await.unwrap().version, first.version.next());
}

pub(super) async fn resealing_never_overwrites_what_changed(store: Arc<dyn Store>) {
    let first = record("a", 1);
    create(&*store, &first).await;
    store.apply(vec![changed(&first, "second")]).await.unwrap();
    let second = found(&*store, "a").await.unwrap();
    refused(&*store, vec![resealed(&first, "late")], "a", ConflictReason::Changed(second.version)).await;
    // Another body of the same version: somebody else sealed it anew, or it was removed and made anew.
    let stale = Record { body: b"seconD".to_vec(), ..second.clone() };
    let beside = || Change::Create(record("beside", 2));
    refused(&*store, vec![beside(), resealed(&stale, "late")], "a", ConflictReason::Resealed).await;
    let stale = Record { body: Vec::new(), ..second.clone() };
    refused(&*store, vec![resealed(&stale, "late"), beside()], "a", ConflictReason::Resealed).await;
    assert_eq!(found(&*store, "beside").await, None);
    assert_eq!(found(&*store, "a").await.as_ref(), Some(&second));
    store.apply(vec![removed(&second)]).await.unwrap();
    refused(&*store, vec![resealed(&second, "late")], "a", ConflictReason::Missing).await;
    assert_eq!(found(&*store, "a").await, None);
}

pub(super) async fn one_batch_may_do_everything_at_once(store: Arc<dyn Store>) {
    store.apply(Vec::new()).await.unwrap();
    let (kept, gone) = (record("kept", 1), record("gone", 2));
    store.apply(vec![Change::Create(kept.clone()), Change::Create(gone.clone())]).await.unwrap();
    let batch = vec![
        Change::Create(record("new", 3)),
        changed(&kept, "changed"),
        removed(&gone),
        required("free", None),
    ];
    store.apply(batch).await.unwrap();
    let ids: Vec<_> = store.list(&Query::of(KIND)).await.unwrap().into_iter().map(|r| r.id).collect();
    assert_eq!(ids, ["kept", "new"]);
    assert_eq!(found(&*store, "kept").await.unwrap().body, b"changed");
}

pub(super) async fn kinds_are_separate_and_listed(store: Arc<dyn Store>) {
    assert!(store.kinds().await.unwrap().is_empty());
    let names = ["zebra", "antelope", "lion"];
    for name in names {
        let same_id = Record { kind: Kind::stored(name.into()), body: name.into(), ..record("same", 1) };
        create(&*store, &same_id).await;
    }
    assert_eq!(store.kinds().await.unwrap(), [Kind::new("antelope"), Kind::new("lion"), Kind::new("zebra")]);
    for name in names {
        let kind = Kind::new(name);
        assert_eq!(store.read(&kind, "same").await.unwrap().unwrap().body, name.as_bytes());
        assert_eq!(store.list(&Query::of(kind)).await.unwrap().len(), 1);
    }
    let lion = store.read(&Kind::new("lion"), "same").await.unwrap().unwrap();
    store.apply(vec![removed(&lion)]).await.unwrap();
    assert_eq!(store.kinds().await.unwrap(), [Kind::new("antelope"), Kind::new("zebra")]);
}

pub(super) async fn an_id_can_be_used_again(store: Arc<dyn Store>) {
    let first = record("a", 1);
    create(&*store, &first).await;
    store.apply(vec![removed(&first)]).await.unwrap();
    let second = record("a", 2);
    create(&*store, &second).await;
    assert_eq!(store.list(&Query::of(KIND)).await.unwrap(), vec![second]);
}

pub(super) async fn limits_are_kept(store: Arc<dyn Store>) {
    let long_text = Some("x".repeat(MAX_ATTRIBUTE + 1));
    let with = |attributes| Record { attributes, ..record("attribute", 1) };
    let none = IndexAttributes::default;
    let too_much = [
        Change::Create(record("", 1)),
        Change::Create(record(&"i".repeat(MAX_ID + 1), 1)),
        required("", None),
        Change::Create(Record { body: vec![0; MAX_BODY + 1], ..record("body", 1) }),
        Change::Create(Record { project: "p".repeat(MAX_ATTRIBUTE + 1), ..record("project", 1) }),
        Change::Create(with(IndexAttributes { owner: long_text.clone(), ..none() })),
        Change::Create(with(IndexAttributes { name: long_text.clone(), ..none() })),
        Change::Create(with(IndexAttributes { state: long_text.clone(), ..none() })),
        Change::Create(with(IndexAttributes { class: long_text.clone(), ..none() })),
        Change::Create(with(IndexAttributes { parent: long_text.clone(), ..none() })),
        Change::Create(with(IndexAttributes { reference: long_text, ..none() })),
    ];
    for (number, change) in too_much.into_iter().enumerate() {
        let batch = vec![Change::Create(record("beside", 1)), change];
        let answer = store.apply(batch).await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "case {number}: {answer:?}");
    }
    let twice = vec![Change::Create(record("a", 1)), required("a", None)];
    assert!(matches!(store.apply(twice).await, Err(StoreError::Invalid(_))));
    let long: Vec<_> = (0..=MAX_BATCH).map(|n| Change::Create(record(&format!("r{n}"), 1))).collect();
    assert!(matches!(store.apply(long).await, Err(StoreError::Invalid(_))));
    assert!(store.kinds().await.unwrap().is_empty(), "a refused batch leaves nothing behind");
}

pub(super) async fn the_largest_sizes_are_stored(store: Arc<dyn Store>) {
    let text = Some("ä".repeat(MAX_ATTRIBUTE / 2));
    let mut largest = record(&"i".repeat(MAX_ID), i64::MAX);
    largest.project = "p".repeat(MAX_ATTRIBUTE);
    largest.attributes = IndexAttributes {
        owner: text.clone(),
        name: text.clone(),
        state: text.clone(),
        class: text.clone(),
        parent: text.clone(),
        reference: text,
        due: Some(Timestamp::from_micros(i64::MAX)),
    };
    largest.body = (0..MAX_BODY).map(|n| (n % 251) as u8).collect();
    create(&*store, &largest).await;
    assert!(found(&*store, &largest.id).await.as_ref() == Some(&largest));
    let neighbour = record(&format!("{}j", "i".repeat(MAX_ID - 1)), i64::MIN);
    create(&*store, &neighbour).await;
    assert_eq!(found(&*store, &neighbour.id).await, Some(neighbour));
    let batch: Vec<_> = (0..MAX_BATCH).map(|n| Change::Create(record(&format!("r{n:04}"), 1))).collect();
    store.apply(batch).await.unwrap();
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), MAX_BATCH as u64 + 2);
}

pub(super) async fn texts_and_bodies_are_kept_exactly(store: Arc<dyn Store>) {
    let bodies: [Vec<u8>; 4] =
        [Vec::new(), vec![0], (0..=255).collect(), b"'; DROP TABLE records; --".to_vec()];
    for (number, body) in bodies.into_iter().enumerate() {
        let record = Record { body, ..record(&format!("body{number}"), 1) };
        create(&*store, &record).await;
        assert_eq!(found(&*store, &record.id).await, Some(record));
    }
    // Cases that a careless collation, quoting or normalisation would fold together.
    let texts =
        ["schlüssel", "Schlüssel", "SCHLÜSSEL", "schlu\u{308}ssel", "鍵", "🔑", "a'b\"c`d", "%", "_", "a\\b"];
    for text in texts.into_iter().chain(["a b", "a b ", " a b", ""]) {
        let mut one = record(if text.is_empty() { "empty" } else { text }, 2);
        one.project = text.to_owned();
        one.attributes.owner = Some(text.to_owned());
        one.attributes.name = Some(text.to_owned());
        create(&*store, &one).await;
        let mut query = Query::of(KIND);
        query.owner = Some(text.to_owned());
        query.name = Some(text.to_owned());
        assert_eq!(store.list(&query).await.unwrap(), vec![one.clone()], "{text:?}");
        query = Query::of(KIND);
        query.project = Some(text.to_owned());
        assert_eq!(store.list(&query).await.unwrap(), vec![one], "{text:?}");
    }
}

pub(super) async fn the_store_is_healthy_and_described(store: Arc<dyn Store>) {
    store.health().await.unwrap();
    create(&*store, &record("a", 1)).await;
    store.health().await.unwrap();
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), 1, "looking at the health adds nothing");
    let line = store.describe();
    assert!(!line.is_empty() && line.lines().count() == 1, "{line:?}");
}
