//! The file: reopening, refusals, permissions, copies, damage.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/store.db");
    let store = open(&path);
    put(&store, "a", vec![1, 2, 3]).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("a/b/store.db-wal")), 0o600);
    assert_eq!((mode(&folder.path().join("a")), mode(&folder.path().join("a/b"))), (0o700, 0o700));
    drop(store);
    assert!(!folder.path().join("a/b/store.db-wal").exists(), "a clean end leaves one file");
    let store = open(&path);
    assert_eq!(store.read(&KIND, "a").await.unwrap(), Some(record("a", vec![1, 2, 3])));
    assert!(matches!(put(&store, "a", vec![]).await, Err(StoreError::Conflict { .. })));
}

#[tokio::test]
async fn a_newer_schema_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path));
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let known = schema::KNOWN;
    assert!(matches!(refusal(&path), StoreError::NewerSchema { found: 99, known: k } if k == known));
    assert!(matches!(EmbeddedStore::open_read_only(&path), Err(StoreError::NewerSchema { .. })));
    assert!(matches!(backup(&path, &folder.path().join("copy.db")), Err(StoreError::NewerSchema { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn files_of_others_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.db");
    let text = folder.path().join("text.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
    fs::write(&text, "not a database at all, but long enough to have a header. ".repeat(100)).unwrap();
    for path in [&foreign, &text] {
        let before = fs::read(path).unwrap();
        let error = refusal(path);
        assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(path).unwrap(), before);
    }
    assert!(refusal(&foreign).to_string().contains("another program"));
    assert!(matches!(refusal(folder.path()), StoreError::Unavailable(_)), "a folder");
    assert!(matches!(refusal(&text.join("x.db")), StoreError::Unavailable(_)), "a file as a folder");
}

#[tokio::test]
async fn reading_only_reads_beside_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    assert!(matches!(EmbeddedStore::open_read_only(&path), Err(StoreError::Unavailable(_))));
    assert!(!path.exists(), "looking creates nothing");
    let server = open(&path);
    put(&server, "a", vec![1]).await.unwrap();
    let reader = EmbeddedStore::open_read_only(&path).unwrap();
    assert!(reader.read(&KIND, "a").await.unwrap().is_some());
    put(&server, "b", vec![1]).await.unwrap();
    assert_eq!(reader.count(&Query::of(KIND)).await.unwrap(), 2);
    assert!(matches!(put(&reader, "c", vec![]).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(reader.health().await, Err(StoreError::Unavailable(_))));
    assert!(reader.describe().contains("read-only"));
    drop((reader, server));
    assert_eq!(integrity(&path).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_replaced_file_is_not_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path);
    store.health().await.unwrap();
    fs::rename(&path, folder.path().join("moved.db")).unwrap();
    assert!(matches!(store.health().await, Err(StoreError::Unavailable(_))), "gone");
    fs::write(&path, "").unwrap();
    let error = store.health().await.unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Arc::new(open(&path));
    let done = Arc::new(AtomicBool::new(false));
    let (writing, stop) = (Arc::clone(&store), Arc::clone(&done));
    let writer = tokio::spawn(async move {
        let mut number = 0;
        while !stop.load(Ordering::SeqCst) {
            put(&writing, &format!("{number:06}"), vec![5; 3000]).await.unwrap();
            number += 1;
        }
        number
    });
    for copy in 0..3 {
        while store.count(&Query::of(KIND)).await.unwrap() < (copy + 1) * 30 {
            tokio::task::yield_now().await;
        }
        let before = store.count(&Query::of(KIND)).await.unwrap();
        let to = folder.path().join(format!("copy{copy}.db"));
        let (from, target) = (Arc::clone(&store), to.clone());
        tokio::task::spawn_blocking(move || from.backup(&target)).await.unwrap().unwrap();
        assert_eq!(mode(&to), 0o600);
        assert_eq!(integrity(&to).unwrap(), Vec::<String>::new());
        let copied = EmbeddedStore::open_read_only(&to).unwrap();
        let ids: Vec<_> = copied.list(&Query::of(KIND)).await.unwrap().into_iter().map(|r| r.id).collect();
        assert!(ids.len() as u64 >= before.min(1000), "what was acknowledged before is in the copy");
        let expected: Vec<_> = (0..ids.len()).map(|number| format!("{number:06}")).collect();
        assert_eq!(ids, expected, "no record without those before it");
    }
    done.store(true, Ordering::SeqCst);
    assert!(writer.await.unwrap() > 0);

    let taken = folder.path().join("taken.db");
    fs::write(&taken, "precious").unwrap();
    let error = store.backup(&taken).unwrap_err();
    assert!(error.to_string().contains("not overwritten"), "{error}");
    assert_eq!(fs::read(&taken).unwrap(), b"precious");
    let cut_off = folder.path().join("next.db.partial");
    fs::write(&cut_off, "half").unwrap();
    let error = store.backup(&folder.path().join("next.db")).unwrap_err();
    assert!(
        error.to_string().contains("next.db.partial exists") && error.to_string().contains("remove"),
        "{error}"
    );
    assert_eq!(fs::read(&cut_off).unwrap(), b"half", "another copy may be writing it");
    fs::remove_file(&cut_off).unwrap();
    assert!(store.backup(&folder.path().join("no/such/folder.db")).is_err());
    let restored = open(&folder.path().join("copy0.db"));
    put(&restored, "new", vec![]).await.unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("partial")), "{left:?}");
}

#[test]
fn an_index_that_does_not_agree_with_its_table_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path));
    let owned = || {
        let mut record = record("a", vec![1]);
        record.attributes.owner = Some("somebody".to_owned());
        Change::Create(record)
    };
    // The row is written while the index claims to hold other rows.
    let redefine = |from: &str, to: &str| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "writable_schema", true).unwrap();
        let change = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE name = 'records_by_owner'";
        assert_eq!(connection.execute(change, [from, to]).unwrap(), 1);
    };
    redefine("owner IS NOT NULL", "owner = 'nobody'");
    rows::change(&rusqlite::Connection::open(&path).unwrap(), &owned()).unwrap();
    redefine("owner = 'nobody'", "owner IS NOT NULL");
    let found = integrity(&path).unwrap();
    assert!(found.iter().any(|line| line.contains("records_by_owner")), "{found:?}");
    assert!(matches!(backup(&path, &folder.path().join("copy.db")), Err(StoreError::Corrupt(_))));
}

#[tokio::test]
async fn damage_is_reported_and_the_rest_stays_readable() {
    const RECORDS: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path);
    let batch = (0..RECORDS).map(|n| Change::Create(record(&format!("{n:04}"), vec![3; 1500]))).collect();
    store.apply(batch).await.unwrap();
    drop(store);
    let pages = fs::metadata(&path).unwrap().len() / 4096;
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(pages / 2 * 4096)).unwrap();
    file.write_all(&[0xa5; 2 * 4096]).unwrap();
    drop(file);

    let store = open(&path);
    let (mut sound, mut damaged) = (0, 0);
    for number in 0..RECORDS {
        match store.read(&KIND, &format!("{number:04}")).await {
            Ok(Some(found)) => {
                assert_eq!(found.body, vec![3; 1500]);
                sound += 1;
            }
            Ok(None) => panic!("{number} is missing without an error"),
            Err(StoreError::Corrupt(text)) => {
                assert!(text.contains("chatelaine store check"), "{text}");
                damaged += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(damaged > 0 && sound > RECORDS / 2, "{sound} sound, {damaged} damaged");
    assert!(!integrity(&path).unwrap().is_empty());
    assert!(matches!(backup(&path, &folder.path().join("copy.db")), Err(StoreError::Corrupt(_))));
    assert!(!folder.path().join("copy.db").exists());
}
