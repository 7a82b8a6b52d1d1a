//! Readers keep their view of the store between reads, and nobody can tell.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

fn replaced(version: u64) -> Change {
    let mut next = record("counter", version.to_be_bytes().to_vec());
    next.version = Version::new(version);
    Change::Replace { expected: Version::new(version - 1), record: next }
}

async fn value(store: &EmbeddedStore) -> u64 {
    let found = store.read(&KIND, "counter").await.unwrap().unwrap();
    u64::from_be_bytes(found.body.try_into().unwrap())
}

/// Whoever saw a change acknowledged sees it in every later read, on whatever thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_changes_are_seen_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder.path().join("store.db")));
    put(&store, "counter", 1_u64.to_be_bytes().to_vec()).await.unwrap();
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (store, acknowledged, stop) =
                (Arc::clone(&store), Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut reads, mut seen) = (0_u64, 0);
                while !stop.load(Ordering::SeqCst) {
                    let least = acknowledged.load(Ordering::SeqCst).max(seen);
                    seen = value(&store).await;
                    assert!(seen >= least, "{seen} was read after {least} was known");
                    reads += 1;
                    if reads.is_multiple_of(16) {
                        tokio::task::yield_now().await;
                    }
                }
                reads
            })
        })
        .collect();
    for version in 2..=300 {
        store.apply(vec![replaced(version)]).await.unwrap();
        acknowledged.store(version, Ordering::SeqCst);
        assert_eq!(value(&store).await, version);
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

/// A view that is kept must not keep the write-ahead log from being used anew: it would grow for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_views_do_not_let_the_log_grow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path);
    put(&store, "counter", vec![0; 8]).await.unwrap();
    for round in 0..400 {
        put(&store, &format!("{round}"), vec![7; 20_000]).await.unwrap();
        store.read(&KIND, "counter").await.unwrap();
    }
    let log = std::fs::metadata(folder.path().join("store.db-wal")).unwrap().len();
    assert!(log < 8 * 1024 * 1024, "{log} bytes for 8 MB that were written");
}

/// Scans take views of their own, and see what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_are_as_new_as_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.db"));
    for number in 1..=50_u64 {
        put(&store, &number.to_string(), vec![1]).await.unwrap();
        assert!(store.read(&KIND, &number.to_string()).await.unwrap().is_some());
        assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), number);
    }
}

/// What another process writes is seen soon; one that only reads keeps no views.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_others_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path);
    let reader = EmbeddedStore::open_read_only(&path).unwrap();
    put(&store, "counter", 1_u64.to_be_bytes().to_vec()).await.unwrap();
    assert_eq!((value(&store).await, value(&reader).await), (1, 1));
    let other = schema::open_for_writing(&path, &Options::default()).unwrap();
    rows::change(&other, &replaced(2)).unwrap();
    assert_eq!(value(&reader).await, 2);
    let deadline = Instant::now() + Duration::from_secs(10);
    while value(&store).await != 2 {
        assert!(Instant::now() < deadline, "it is not seen");
    }
}
