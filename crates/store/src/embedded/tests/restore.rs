//! Copies that take the place of the store.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A store with the records `old`, its copy, and then the record `new`, all of which a kill left in the log.
async fn killed(folder: &Path) -> (PathBuf, PathBuf) {
    let (path, copy) = (folder.join("store.db"), folder.join("copy.db"));
    let store = open(&path);
    put(&store, "old", vec![1; 5000]).await.unwrap();
    store.backup(&copy).unwrap();
    put(&store, "new", vec![2; 5000]).await.unwrap();
    // The files as they are in use, as a kill leaves them.
    let aside = folder.join("aside");
    fs::create_dir(&aside).unwrap();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(folder.join(name), aside.join(name)).unwrap();
    }
    drop(store);
    for name in ["store.db", "store.db-wal"] {
        fs::rename(aside.join(name), folder.join(name)).unwrap();
    }
    (path, copy)
}

#[tokio::test]
async fn a_copy_beside_the_log_of_another_store_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = killed(folder.path()).await;
    drop(EmbeddedStore::open_read_only(&path).unwrap());
    let original = fs::read(&path).unwrap();
    let log = fs::read(files::beside(&path, files::LOG)).unwrap();
    assert!(!log.is_empty());

    for (what, content) in
        [("copy", Some(fs::read(&copy).unwrap())), ("empty", Some(vec![])), ("missing", None)]
    {
        match &content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let refusals = [
            refusal(&path),
            EmbeddedStore::open_read_only(&path).err().unwrap(),
            backup(&path, &folder.path().join("next.db")).unwrap_err(),
            integrity(&path).unwrap_err(),
        ];
        for error in refusals {
            assert!(matches!(error, StoreError::Unavailable(_)), "{what}: {error}");
            assert!(error.to_string().contains("store restore"), "{what}: {error}");
            assert!(error.to_string().contains("store.db-wal"), "{what}: {error}");
        }
        assert_eq!(fs::read(&path).ok(), content, "{what}");
        assert_eq!(fs::read(files::beside(&path, files::LOG)).unwrap(), log, "{what}");
    }
    fs::write(&path, original).unwrap();
    let store = open(&path);
    assert!(store.read(&KIND, "new").await.unwrap().is_some(), "the file and its own log go together");
}

#[tokio::test]
async fn a_restore_keeps_the_old_store_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = killed(folder.path()).await;
    let before = fs::read(&copy).unwrap();
    let restoring = Restoring::begin(&copy, &path).unwrap();
    {
        let seen = EmbeddedStore::open_read_only(restoring.path()).unwrap();
        assert_eq!(seen.count(&Query::of(KIND)).await.unwrap(), 1);
    }
    let kept = restoring.finish().unwrap().unwrap();
    assert_eq!(kept, folder.path().join("store.db.before-restore-1"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let store = open(&path);
    assert!(store.read(&KIND, "old").await.unwrap().is_some());
    assert!(store.read(&KIND, "new").await.unwrap().is_none(), "nothing of the old log came in");
    put(&store, "later", vec![3]).await.unwrap();
    drop(store);
    assert_eq!(integrity(&path).unwrap(), Vec::<String>::new());
    let old = open(&kept);
    assert!(old.read(&KIND, "new").await.unwrap().is_some(), "the old store is whole");
    drop(old);
    assert_eq!(fs::read(&copy).unwrap(), before);

    let kept = Restoring::begin(&copy, &path).unwrap().finish().unwrap().unwrap();
    assert_eq!(kept, folder.path().join("store.db.before-restore-2"));
    let old = open(&kept);
    assert!(old.read(&KIND, "later").await.unwrap().is_some());
}

#[tokio::test]
async fn a_restore_that_was_cut_off_can_be_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = killed(folder.path()).await;
    // As a crash leaves it between the store's file and its log.
    fs::rename(&path, folder.path().join("store.db.before-restore-1")).unwrap();
    let kept = Restoring::begin(&copy, &path).unwrap().finish().unwrap().unwrap();
    assert_eq!(kept, folder.path().join("store.db.before-restore-2"));
    assert!(files::beside(&kept, files::LOG).exists() && !kept.exists());
    assert!(open(&path).read(&KIND, "old").await.unwrap().is_some());
    // And into a folder where there is no store at all.
    let elsewhere = folder.path().join("elsewhere.db");
    assert_eq!(Restoring::begin(&copy, &elsewhere).unwrap().finish().unwrap(), None);
    assert!(open(&elsewhere).read(&KIND, "old").await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_no_sound_copy_is_not_put_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    let store = open(&path);
    let batch = (0..300).map(|n| Change::Create(record(&format!("{n:04}"), vec![3; 1500]))).collect();
    store.apply(batch).await.unwrap();
    store.backup(&copy).unwrap();
    drop(store);
    let before = fs::read(&path).unwrap();

    let mut damaged = fs::read(&copy).unwrap();
    let middle = damaged.len() / 2 / 4096 * 4096;
    damaged[middle..middle + 8192].fill(0xa5);
    fs::write(&copy, damaged).unwrap();
    let newer = folder.path().join("newer.db");
    backup(&path, &newer).unwrap();
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let text = folder.path().join("text.db");
    fs::write(&text, "not a database at all. ".repeat(300)).unwrap();
    let empty = folder.path().join("empty.db");
    fs::write(&empty, "").unwrap();
    for from in [&copy, &newer, &text, &empty, &folder.path().join("missing.db"), &path] {
        assert!(Restoring::begin(from, &path).is_err(), "{}", from.display());
    }
    drop(Restoring::begin(
        &{
            let good = folder.path().join("good.db");
            backup(&path, &good).unwrap();
            good
        },
        &path,
    ));
    assert_eq!(fs::read(&path).unwrap(), before);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    let unexpected = |name: &&std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.contains("restor") || name.contains("partial") || name.contains("journal")
    };
    assert_eq!(left.iter().find(unexpected), None);
}
