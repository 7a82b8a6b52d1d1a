//! Order, pages, filters and counts.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::{MAX_PAGE, Query};

fn page(limit: usize) -> Query {
    Query { limit: NonZeroUsize::new(limit).unwrap(), ..Query::of(KIND) }
}

async fn ids(store: &dyn Store, query: &Query) -> Vec<String> {
    store.list(query).await.unwrap().into_iter().map(|record| record.id).collect()
}

pub(super) async fn equal_creation_times_are_ordered_by_id(store: Arc<dyn Store>) {
    for (id, created) in
        [("b", 5), ("é", 5), ("a", 5), ("B", 5), ("a-", 5), ("z", 4), ("0", 6), ("aa", 5), ("past", -1)]
    {
        create(&*store, &record(id, created)).await;
    }
    let expected = ["past", "z", "B", "a", "a-", "aa", "b", "é", "0"];
    assert_eq!(ids(&*store, &Query::of(KIND)).await, expected, "ids are ordered by their bytes");
    let mut query = page(1);
    for id in expected {
        let found = store.list(&query).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, id);
        query.after = Some(found[0].position());
    }
    assert!(store.list(&query).await.unwrap().is_empty());
}

pub(super) async fn replacing_keeps_the_place(store: Arc<dyn Store>) {
    for (id, created) in [("a", 1), ("b", 2), ("c", 3)] {
        create(&*store, &record(id, created)).await;
    }
    let before = found(&*store, "a").await.unwrap();
    store.apply(vec![changed(&before, "much later")]).await.unwrap();
    assert_eq!(ids(&*store, &Query::of(KIND)).await, ["a", "b", "c"]);
}

pub(super) async fn pages_meet_without_gap_or_overlap(store: Arc<dyn Store>) {
    let all: Vec<_> = (0..53).map(|n| record(&format!("{:02}", (n * 17) % 53), n / 4)).collect();
    store.apply(all.iter().cloned().map(Change::Create).collect()).await.unwrap();
    let mut expected: Vec<_> = all.iter().map(Record::position).collect();
    expected.sort();
    for limit in [1, 2, 7, 52, 53, 54] {
        let mut query = page(limit);
        let mut visited = Vec::new();
        loop {
            let found = store.list(&query).await.unwrap();
            assert!(found.len() <= limit);
            let Some(last) = found.last() else { break };
            query.after = Some(last.position());
            visited.extend(found.iter().map(Record::position));
        }
        assert_eq!(visited, expected, "pages of {limit}");
    }
}

pub(super) async fn a_page_is_never_longer_than_allowed(store: Arc<dyn Store>) {
    for part in 0..3 {
        let batch = (0..500).map(|n| Change::Create(record(&format!("{part}-{n:03}"), n))).collect();
        store.apply(batch).await.unwrap();
    }
    assert_eq!(store.list(&page(usize::MAX)).await.unwrap().len(), MAX_PAGE);
    assert_eq!(store.list(&Query::of(KIND)).await.unwrap().len(), MAX_PAGE);
    assert_eq!(store.count(&page(1)).await.unwrap(), 1500);
}

pub(super) async fn every_filter_alone_and_combined(store: Arc<dyn Store>) {
    // Attributes from a small generator of fixed start, so that every combination of filters meets some records.
    let mut state = 0x2545_f491_u32;
    let mut pick = move |choices: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % choices
    };
    let mut all = Vec::new();
    for number in 0..240_i64 {
        let mut one = record(&format!("r{number:03}"), (number * 7) % 40);
        let mut text = |name: &str| match pick(5) {
            0 => None,
            1 => Some(format!("{name}-b")),
            _ => Some(format!("{name}-a")),
        };
        one.project = text("project").unwrap_or_default();
        one.attributes = IndexAttributes {
            owner: text("owner"),
            name: text("name"),
            state: text("state"),
            class: text("class"),
            parent: text("parent"),
            reference: text("reference"),
            due: (number % 3 != 0).then(|| Timestamp::from_micros(number % 50)),
        };
        if number % 10 == 9 {
            one.kind = Kind::new("other");
        }
        all.push(one);
    }
    store.apply(all.iter().cloned().map(Change::Create).collect()).await.unwrap();
    all.sort_by_key(Record::position);
    let mut met = 0;
    for mask in 0..256_u32 {
        let on = |bit: u32, name: &str| (mask & (1 << bit) != 0).then(|| format!("{name}-a"));
        let mut query = Query {
            project: on(0, "project"),
            owner: on(1, "owner"),
            name: on(2, "name"),
            state: on(3, "state"),
            class: on(4, "class"),
            parent: on(5, "parent"),
            reference: on(6, "reference"),
            due_by: (mask & 128 != 0).then(|| Timestamp::from_micros(30)),
            ..Query::of(KIND)
        };
        let expected: Vec<_> = all.iter().filter(|record| query.matches(record)).cloned().collect();
        let listed = store.list(&query).await.unwrap();
        let names = |records: &[Record]| records.iter().map(|record| record.id.clone()).collect::<Vec<_>>();
        assert_eq!(names(&listed), names(&expected), "{query:?}");
        assert!(listed == expected, "the records differ in more than their ids: {query:?}");
        assert_eq!(store.count(&query).await.unwrap(), expected.len() as u64, "{query:?}");
        met += usize::from(!expected.is_empty());
        if let Some(middle) = expected.get(expected.len() / 2) {
            query.after = Some(middle.position());
            let rest = &expected[expected.len() / 2 + 1..];
            assert_eq!(store.list(&query).await.unwrap(), rest, "{query:?}");
        }
    }
    assert!(met > 200, "only {met} combinations met a record: the data is too thin");
    for change in
        [|q: &mut Query| q.owner = Some("nobody".into()), |q: &mut Query| q.kind = Kind::new("none")]
    {
        let mut query = Query::of(KIND);
        change(&mut query);
        assert!(store.list(&query).await.unwrap().is_empty());
        assert_eq!(store.count(&query).await.unwrap(), 0);
    }
}

pub(super) async fn due_records_are_found(store: Arc<dyn Store>) {
    for (id, due) in [("a", Some(10)), ("b", Some(20)), ("c", None), ("d", Some(-3)), ("e", Some(30))] {
        let mut one = record(id, 1);
        one.attributes.due = due.map(Timestamp::from_micros);
        create(&*store, &one).await;
    }
    for (by, expected) in
        [(-4, &[][..]), (-3, &["d"]), (10, &["a", "d"]), (19, &["a", "d"]), (i64::MAX, &["a", "b", "d", "e"])]
    {
        let query = Query { due_by: Some(Timestamp::from_micros(by)), ..Query::of(KIND) };
        assert_eq!(ids(&*store, &query).await, expected, "due by {by}");
        assert_eq!(store.count(&query).await.unwrap(), expected.len() as u64);
    }
}

pub(super) async fn counting_ignores_page_and_limit(store: Arc<dyn Store>) {
    let batch = (0..10).map(|n| Change::Create(record(&n.to_string(), n))).collect();
    store.apply(batch).await.unwrap();
    let mut query = page(3);
    query.after = Some(record("4", 4).position());
    assert_eq!(store.count(&query).await.unwrap(), 10);
    assert_eq!(ids(&*store, &query).await, ["5", "6", "7"]);
}

pub(super) async fn a_marker_may_name_a_removed_record(store: Arc<dyn Store>) {
    for (id, created) in [("a", 1), ("b", 1), ("c", 1), ("d", 2)] {
        create(&*store, &record(id, created)).await;
    }
    store.apply(vec![removed(&record("b", 1))]).await.unwrap();
    let query = Query { after: Some(record("b", 1).position()), ..Query::of(KIND) };
    assert_eq!(ids(&*store, &query).await, ["c", "d"]);
}

pub(super) async fn paging_visits_each_once_while_others_come_and_go(store: Arc<dyn Store>) {
    const STAYING: usize = 150;
    let batch =
        (0..STAYING).map(|n| Change::Create(record(&format!("stay-{n:03}"), (n / 2) as i64))).collect();
    store.apply(batch).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (other, stop) = (Arc::clone(&store), Arc::clone(&done));
    let churn = tokio::spawn(async move {
        let mut rounds = 0_i64;
        while !stop.load(Ordering::SeqCst) {
            let here = [record(&format!("go-{rounds}"), rounds % 80), record(&format!("x-{rounds}"), 20)];
            other.apply(here.iter().cloned().map(Change::Create).collect()).await.unwrap();
            tokio::task::yield_now().await;
            other.apply(here.iter().map(removed).collect()).await.unwrap();
            tokio::task::yield_now().await;
            rounds += 1;
        }
        rounds
    });
    for limit in [3, 7, 40] {
        let mut query = page(limit);
        let mut visits: HashMap<String, usize> = HashMap::new();
        loop {
            let found = store.list(&query).await.unwrap();
            let Some(last) = found.last() else { break };
            let places: Vec<_> = found.iter().map(Record::position).collect();
            assert!(places.is_sorted_by(|a, b| a < b), "in order");
            assert!(query.after.as_ref().is_none_or(|after| *after < places[0]), "after the marker");
            query.after = Some(last.position());
            for record in found {
                *visits.entry(record.id).or_default() += 1;
            }
            tokio::task::yield_now().await;
        }
        assert!(visits.values().all(|&times| times == 1), "nothing is seen twice");
        let stayed = visits.keys().filter(|id| id.starts_with("stay-")).count();
        assert_eq!(stayed, STAYING, "nothing that stayed is missed, pages of {limit}");
    }
    done.store(true, Ordering::SeqCst);
    assert!(churn.await.unwrap() > 0);
}
