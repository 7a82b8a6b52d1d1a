//! The store's own key of tombstones: made once, sealed anew by rotations, and no way to destroy anything when it is lost.

use super::*;

const NOTE: &str = "tombstone_key";

async fn lose_the_key(site: &Site) {
    let note = site.record(Kind::MARK, NOTE).await.unwrap();
    let removal = Change::Remove { kind: Kind::MARK, id: note.id, expected: note.version };
    site.store.apply(vec![removal]).await.unwrap();
}

#[tokio::test]
async fn a_lost_key_makes_nothing_destroyable() {
    let site = Site::new();
    let master = key();
    let server = site.server(("m", &master), &[]).await;
    let id = server.put(b"payload").await;
    server.manager.delete(&swift(), id, None).await.unwrap();
    let note = site.record(Kind::MARK, NOTE).await.unwrap();
    lose_the_key(&site).await;
    // The server that runs knows it still; one that is started makes another one.
    assert_eq!(server.manager.reap().await.unwrap().waiting, 1);
    let restarted = site.server(("m", &master), &[]).await;
    assert_ne!(site.record(Kind::MARK, NOTE).await.unwrap(), note);
    site.clock.advance(GRACE);
    let report = restarted.manager.reap().await.unwrap();
    assert_eq!((report.purged, report.restored), (0, 1), "what cannot be verified is kept");
    assert_eq!(restarted.payload(id).await, b"payload");
    // Nor does a new deletion with the new key make the old one of it.
    restarted.manager.delete(&swift(), id, None).await.unwrap();
    site.clock.advance(GRACE);
    assert_eq!(restarted.manager.reap().await.unwrap().purged, 1);
}

#[tokio::test]
async fn a_damaged_key_is_not_replaced() {
    let site = Site::new();
    let master = key();
    let server = site.server(("m", &master), &[]).await;
    let mut note = site.record(Kind::MARK, NOTE).await.unwrap();
    *note.body.last_mut().unwrap() ^= 1;
    site.put_back(note.clone()).await;
    let refused = site.try_server(site.store.clone(), ("m", &master), &[]).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))));
    assert_eq!(site.record(Kind::MARK, NOTE).await.unwrap(), note);
    assert!(server.check().await.findings.iter().any(|finding| finding.id == NOTE));
}

/// Servers that are started at the same moment, on an empty store or on one that lacks the key, use one key.
#[tokio::test]
async fn servers_that_adopt_a_store_at_once_agree() {
    for seed in 1..40 {
        let site = Site::new();
        let master = key();
        if seed % 2 == 0 {
            site.server(("m", &master), &[]).await;
            lose_the_key(&site).await;
        }
        let start = |seed| {
            let store = Arc::new(crate::testkit::FrailStore::new(site.store.clone()).mixed(seed));
            site.try_server(store, ("m", &master), &[])
        };
        let (one, other) = tokio::join!(start(seed * 2), start(seed * 977));
        let (one, other) = (one.unwrap(), other.unwrap());
        let id = one.put(b"payload").await;
        one.manager.delete(&swift(), id, None).await.unwrap();
        site.clock.advance(GRACE);
        let report = other.manager.reap().await.unwrap();
        assert_eq!((report.purged, report.restored), (1, 0), "{seed}");
    }
}

/// A deletion that waits through both rotations is done as it was asked for, and no earlier.
#[tokio::test]
async fn a_deletion_outlives_rotations() {
    let site = Site::new();
    let (old, new) = (key(), key());
    let server = site.server(("m1", &old), &[]).await;
    let id = server.put(b"payload").await;
    server.manager.delete(&swift(), id, None).await.unwrap();
    server.manager.activate_master_key("m2", &new).await.unwrap();
    server.rewrap_master().await;
    server.manager.forget_master_key("m1").await.unwrap();
    server.manager.rotate_scope_key("service").await.unwrap();
    server.rewrap_scopes().await;
    let restarted = site.server(("m2", &new), &[]).await;
    assert_eq!(restarted.manager.reap().await.unwrap(), ReapReport { waiting: 1, ..ReapReport::default() });
    site.clock.advance(GRACE);
    assert_eq!(restarted.manager.reap().await.unwrap(), ReapReport { purged: 1, ..ReapReport::default() });
    assert_eq!(restarted.check().await.findings, []);
}
