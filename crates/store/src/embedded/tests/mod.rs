//! The embedded store: conformance, and what happens around its file.

mod crash;
mod file;
mod restore;
mod views;

use std::path::Path;

use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::Version;
use chatelaine_core::testkit::conformance;

use super::*;

const KIND: Kind = Kind::SECRET;

fn record(id: &str, body: Vec<u8>) -> Record {
    Record {
        kind: KIND,
        id: id.to_owned(),
        project: "project".to_owned(),
        created: Timestamp::EPOCH,
        version: Version::FIRST,
        attributes: chatelaine_core::store::IndexAttributes::default(),
        body,
    }
}

async fn put(store: &EmbeddedStore, id: &str, body: Vec<u8>) -> Result<(), StoreError> {
    store.apply(vec![Change::Create(record(id, body))]).await
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, &Options::default()).unwrap()
}

fn readers(path: &Path) -> Arc<Readers> {
    Arc::new(Readers::new(path.to_owned(), Duration::from_secs(1), true))
}

/// The error of opening, as text; fails the test when it opens.
fn refusal(path: &Path) -> StoreError {
    match EmbeddedStore::open(path, &Options::default()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicUsize::new(0);
    conformance::run(async || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Arc::new(open(&folder.path().join(format!("{number}.db")))) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn the_memory_address_conforms() {
    conformance::run(async || crate::open("memory:").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_of_one_process_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder.path().join("1.db")), open(&folder.path().join("2.db")));
    put(&one, "only-in-one", vec![1]).await.unwrap();
    assert!(one.read(&KIND, "only-in-one").await.unwrap().is_some());
    assert!(two.read(&KIND, "only-in-one").await.unwrap().is_none());
}

#[test]
fn a_group_that_does_not_fit_is_tried_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let options = Options { max_pages: Some(40), ..Options::default() };
    files::create_store(&path).unwrap();
    let writer =
        writer::Writer::new(schema::open_for_writing(&path, &options).unwrap(), &path, readers(&path))
            .unwrap();
    let job = |id: &str, size: usize| {
        let (reply, answer) = oneshot::channel();
        (Job { batch: vec![Change::Create(record(id, vec![7; size]))], reply }, answer)
    };
    let (small, mut small_answer) = job("small", 10);
    let (large, mut large_answer) = job("large", 400_000);
    let (again, mut again_answer) = job("small", 10);
    let (left, answer) = job("left", 10);
    drop(answer);
    writer.commit(vec![small, large, again, left]);
    assert!(matches!(small_answer.try_recv().unwrap(), Ok(())));
    let Err(StoreError::Unavailable(text)) = large_answer.try_recv().unwrap() else {
        panic!("it cannot fit")
    };
    assert!(text.contains("full"), "{text}");
    assert!(matches!(again_answer.try_recv().unwrap(), Err(StoreError::Conflict { .. })));
    drop(writer);
    let connection = schema::open_for_reading(&path, Duration::from_secs(1)).unwrap();
    assert!(rows::read(&connection, &KIND, "small").unwrap().is_some());
    assert!(rows::read(&connection, &KIND, "large").unwrap().is_none());
    assert!(rows::read(&connection, &KIND, "left").unwrap().is_none(), "nobody waits for it any longer");
}

#[tokio::test]
async fn an_undecodable_record_fails_only_the_batch_that_touches_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path));
    let connection = schema::open_for_writing(&path, &Options::default()).unwrap();
    rows::change(&connection, &Change::Create(record("bad", vec![1]))).unwrap();
    connection.execute("UPDATE records SET version = -1", []).unwrap();
    let writer = writer::Writer::new(connection, &path, readers(&path)).unwrap();
    let job = |id: &str| {
        let (reply, answer) = oneshot::channel();
        (Job { batch: vec![Change::Create(record(id, vec![7]))], reply }, answer)
    };
    let (bad, mut bad_answer) = job("bad");
    let (good, mut good_answer) = job("good");
    writer.commit(vec![bad, good]);
    assert!(matches!(bad_answer.try_recv().unwrap(), Err(StoreError::Corrupt(_))));
    assert!(matches!(good_answer.try_recv().unwrap(), Ok(())));
}

#[tokio::test]
async fn only_so_many_scans_run_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { timeout: Duration::from_millis(500), ..Options::default() };
    let store = Arc::new(EmbeddedStore::open(&folder.path().join("store.db"), &options).unwrap());
    let most = reader::most_at_once();
    let (opened, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(parking_lot::Mutex::new(gate));
    for _ in 0..most {
        let (store, gate) = (Arc::clone(&store), Arc::clone(&gate));
        // Ends when the test drops its side; its caller has given up long before.
        let (started, running) = oneshot::channel();
        tokio::spawn(async move {
            let work = move |_: &rusqlite::Connection| {
                let _ = started.send(());
                let _ = gate.lock().recv();
                Ok(())
            };
            assert!(matches!(store.scan(work).await, Err(StoreError::Unavailable(_))));
        });
        running.await.unwrap();
    }
    let error = store.count(&Query::of(KIND)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("overloaded")), "{error}");
    assert!(store.read(&KIND, "a").await.unwrap().is_none(), "single records are read all the same");
    drop(opened);
    while store.scans.available_permits() < most {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_full_store_says_so_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::open(&path, &Options { max_pages: Some(100), ..Options::default() }).unwrap();
    let mut stored = 0;
    let error = loop {
        match put(&store, &format!("r{stored}"), vec![9; 16 * 1024]).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the limit does not hold");
    };
    assert!(stored > 5);
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("full")), "{error}");
    for number in 0..stored {
        assert!(store.read(&KIND, &format!("r{number}")).await.unwrap().is_some());
    }
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), stored);
    let (kind, expected) = (KIND, Version::FIRST);
    store.apply(vec![Change::Remove { kind, id: "r0".into(), expected }]).await.unwrap();
    put(&store, "after", vec![9; 8 * 1024]).await.unwrap();
}

#[tokio::test]
async fn a_lock_held_elsewhere_is_reported_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let options = Options { timeout: Duration::from_millis(400), ..Options::default() };
    let store = EmbeddedStore::open(&path, &options).unwrap();
    put(&store, "before", vec![1]).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = put(&store, "during", vec![1]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("another process")), "{error}");
    assert!(matches!(store.health().await, Err(StoreError::Unavailable(_))));
    assert!(store.read(&KIND, "before").await.unwrap().is_some(), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    put(&store, "during", vec![1]).await.unwrap();
    store.health().await.unwrap();
}

#[tokio::test]
async fn versions_beyond_the_columns_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.db"));
    let huge = Record { version: Version::new(u64::MAX), ..record("a", vec![]) };
    assert!(matches!(store.apply(vec![Change::Create(huge)]).await, Err(StoreError::Invalid(_))));
}

#[test]
fn every_listing_uses_its_index_without_sorting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path));
    let connection = schema::open_for_reading(&path, Duration::from_secs(1)).unwrap();
    let text = || Some("x".to_owned());
    let after = Some(record("x", vec![]).position());
    let all = Query { after, ..Query::of(KIND) };
    for (query, index) in [
        (all.clone(), "records_by_creation"),
        (Query { project: text(), ..all.clone() }, "records_by_project"),
        (Query { owner: text(), project: text(), state: text(), ..all.clone() }, "records_by_owner"),
        (Query { parent: text(), project: text(), ..all.clone() }, "records_by_parent"),
        (Query { reference: text(), ..all.clone() }, "records_by_reference"),
        (Query { owner: text(), reference: text(), ..all.clone() }, "records_by_owner_and_reference"),
    ] {
        let plan = rows::listing(&query).plan(&connection);
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"), "{plan}");
        assert!(plan.contains("(created,id)>(?,?)"), "the marker is found by the index: {plan}");
    }
    let due = Query { due_by: Some(Timestamp::EPOCH), ..all };
    assert!(rows::listing(&due).plan(&connection).contains("records_by_due"));
}
