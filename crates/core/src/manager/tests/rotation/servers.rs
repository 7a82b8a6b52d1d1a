//! Several servers at one store, and several at one record: each change is made under the keys in force, and none undone.

use super::*;
use crate::keyring::Held;

/// Another server has not heard of the newer keys: its writes are sealed under them all the same, and lose nothing.
#[tokio::test]
async fn another_servers_writes_follow() {
    let site = Site::new();
    let (old, new) = (key(), key());
    let first = site.server(("m1", &old), &[]).await;
    let second = site.server(("m1", &old), &[]).await;
    let id = second.put(b"before").await;
    second.manager.set_note("head", b"1").await.unwrap();

    first.manager.rotate_scope_key("service").await.unwrap();
    assert_eq!(second.payload(id).await, b"before");
    assert_eq!(
        second.manager.keyring.current(&*site.store, &*site.clock, "service").await.unwrap().version,
        1
    );
    let late = second.put(b"late").await;
    assert_eq!(under(&site.secret(late).await), SealedUnder::ScopeKey(2));
    first.rewrap_scopes().await;
    let update = KeyUpdate { name: Some(Some("new".to_owned())), ..KeyUpdate::default() };
    second.manager.update(&swift(), id, Version::FIRST, update).await.unwrap();
    assert_eq!(under(&site.secret(id).await), SealedUnder::ScopeKey(2));

    second.manager.activate_master_key("m2", &new).await.unwrap();
    first.manager.activate_master_key("m2", &new).await.unwrap();
    assert_eq!(first.rewrap_master().await.in_use["m1"], 0);
    // The second one still believes in the mark as it was.
    second.manager.set_note("head", b"2").await.unwrap();
    let other = Caller::authenticated(
        Arc::new(Identity {
            user_id: "swift".to_owned(),
            project_id: Some("new project".to_owned()),
            roles: vec!["service".to_owned()],
            ..Identity::default()
        }),
        None,
        None,
        RequestId::random(),
    );
    second.manager.put(&other, None, new_key(b"x")).await.unwrap();
    assert_eq!(under(&site.record(Kind::SCOPE_KEY, "new project.1").await.unwrap()), master("m2"));
    assert_eq!(under(&site.record(Kind::MARK, "head").await.unwrap()), master("m2"));
    assert_eq!(first.manager.master_key_use("m1").await.unwrap(), 0);
    assert_eq!(first.check().await.findings, []);
    assert_eq!(second.check().await.findings, []);
}

/// A server that was not given the new key does not write under the old one any more, and says what it lacks.
#[tokio::test]
async fn a_server_without_the_new_master_key_writes_nothing_under_the_old_one() {
    let site = Site::new();
    let old = key();
    let first = site.server(("m1", &old), &[]).await;
    let second = site.server(("m1", &old), &[]).await;
    second.manager.set_note("head", b"1").await.unwrap();
    first.manager.activate_master_key("m2", &key()).await.unwrap();
    first.rewrap_master().await;
    let refused = second.manager.set_note("head", b"2").await;
    assert!(matches!(refused, Err(Error::Corrupt(_) | Error::WrongState { .. })), "{refused:?}");
    assert_eq!(first.manager.master_key_use("m1").await.unwrap(), 0);
    assert!(first.manager.note("head").await.unwrap().unwrap().ct_eq(b"1"));
}

/// It says which key it lacks, and goes on when it gets that.
#[tokio::test]
async fn a_master_key_that_is_missing_is_named_until_it_is_held() {
    let site = Site::new();
    let (old, new) = (key(), key());
    let first = site.server(("m1", &old), &[]).await;
    let second = site.server(("m1", &old), &[]).await;
    let id = second.put(b"before").await;
    first.manager.activate_master_key("m2", &new).await.unwrap();
    first.rewrap_master().await;
    assert_eq!(second.manager.missing_master_keys(), [""; 0]);
    let refused = second.manager.store_master_key().await.unwrap_err().to_string();
    assert!(refused.contains("m2") && refused.contains("attest update"), "{refused}");
    second.manager.keyring.forget();
    assert!(matches!(second.manager.get(&swift(), id, false).await, Err(Error::Corrupt(_))));
    assert_eq!(second.manager.missing_master_keys(), ["m2"]);

    second.manager.hold_master_key("m2", &new, Held::Staged).await.unwrap();
    assert_eq!(second.manager.missing_master_keys(), [""; 0]);
    assert_eq!(second.payload(id).await, b"before");
    assert_eq!(second.manager.store_master_key().await.unwrap(), "m2");
    second.manager.set_note("head", b"1").await.unwrap();
    assert_eq!(under(&site.record(Kind::MARK, "head").await.unwrap()), master("m2"));
}

/// A server that holds a newer key and has not followed yet does not take the store back.
#[tokio::test]
async fn a_server_that_lags_does_not_bring_the_former_key_back() {
    let site = Site::new();
    let (m0, m1, m2) = (key(), key(), key());
    let first = site.server(("m1", &m1), &[("m0", &m0)]).await;
    let second = site.server(("m1", &m1), &[("m0", &m0)]).await;
    for server in [&first, &second] {
        server.manager.hold_master_key("m2", &m2, Held::Staged).await.unwrap();
        assert_eq!(server.manager.staged_master_keys(), ["m2"]);
        // Held is not in use.
        server.manager.set_note("head", b"1").await.unwrap();
        assert_eq!(under(&site.record(Kind::MARK, "head").await.unwrap()), master("m1"));
    }
    first.manager.activate_master_key("m2", &m2).await.unwrap();
    first.rewrap_master().await;
    let refused = second.manager.rewrap_master(NO_PAUSE, &mut |_| ControlFlow::Continue(())).await;
    assert!(matches!(refused, Err(Error::WrongState { .. })), "{refused:?}");
    assert_eq!(second.manager.store_master_key().await.unwrap(), "m2");
    assert_eq!(first.manager.master_key_use("m1").await.unwrap(), 0);
    second.manager.activate_master_key("m2", &m2).await.unwrap();
    assert_eq!(second.manager.staged_master_keys(), [""; 0]);
    assert_eq!(second.rewrap_master().await.in_use["m1"], 0);

    // What is held stays what it is: no active or retired key becomes a newer one, and no other key gets its id.
    second.manager.hold_master_key("m2", &m2, Held::Staged).await.unwrap();
    second.manager.hold_master_key("m1", &m1, Held::Staged).await.unwrap();
    assert_eq!(second.manager.staged_master_keys(), [""; 0]);
    for id in ["m1", "m2", "m3"] {
        let held = second.manager.hold_master_key(id, &key(), Held::Staged).await;
        assert_eq!(held.is_ok(), id == "m3", "{id}");
    }
    second.manager.hold_master_key("m3", &key(), Held::Retired).await.unwrap_err();
}

/// The worst moment: a body is sealed under a key, and written only when that key has been rotated, and destroyed.
#[tokio::test]
async fn a_write_that_began_under_a_destroyed_key_is_sealed_anew_or_refused() {
    let site = Site::new();
    let master = key();
    let server = site.server(("m", &master), &[]).await;
    let id = server.put(b"payload").await;
    let stale = site.secret(id).await;
    let update = async |name: &str| {
        let secret = server.manager.unseal(&site.secret(id).await).await.unwrap();
        let mut metadata = secret.metadata.clone();
        metadata.name = Some(name.to_owned());
        let record =
            server.manager.seal(id, secret.version.next(), &metadata, secret.payload()).await.unwrap();
        (vec![Change::Replace { expected: secret.version, record: record.clone() }], record)
    };
    let (batch, sealed) = update("first").await;
    assert_eq!(under(&sealed), SealedUnder::ScopeKey(1));
    server.manager.rotate_scope_key("service").await.unwrap();
    assert_eq!(server.rewrap_scopes().await.destroyed, 1);
    // The key is destroyed in the store, and still in memory.
    server.manager.apply(batch).await.unwrap();
    let now = site.secret(id).await;
    assert_eq!((under(&now), record::digest(&now)), (SealedUnder::ScopeKey(2), record::digest(&sealed)));

    let (batch, sealed) = update("second").await;
    assert_eq!(under(&sealed), SealedUnder::ScopeKey(2));
    server.manager.rotate_scope_key("service").await.unwrap();
    assert_eq!(server.rewrap_scopes().await.destroyed, 1);
    server.manager.keyring.forget();
    assert!(matches!(server.manager.apply(batch).await, Err(Error::Unavailable(_))));
    assert_eq!(site.secret(id).await.version, now.version, "refused, not lost");

    // Whoever has read the record before gets what it is now.
    let (fresh, secret) = server.manager.unseal_current(&stale).await.unwrap();
    assert_eq!((fresh.version, secret.metadata.name.as_deref()), (now.version, Some("first")));
    assert_eq!(server.payload(id).await, b"payload");
}

/// A rewrap loses against whoever changes the record meanwhile, and tries again on what it is then.
#[tokio::test]
async fn an_update_at_the_same_moment_wins() {
    let house = house().await;
    let id = house.manager.put(&swift(), None, new_key(b"payload")).await.unwrap().id;
    house.manager.delete(&swift(), id, None).await.unwrap();
    let stone = house.store.read(&Kind::TOMBSTONE, &id.to_string()).await.unwrap().unwrap();
    house.manager.rotate_scope_key("service").await.unwrap();
    // Just before the rewrap writes the tombstone, it is removed and made anew: the same id, version and time.
    let first = house.manager.keyring.version(&*house.store, "service", 1).await.unwrap();
    let other = crate::keyring::reseal(&stone, &first, &first).unwrap();
    assert!(other != stone && other.version == stone.version && other.created == stone.created);
    house.store.interpose(vec![Change::Reseal { before: stone.body.clone(), record: other.clone() }]);
    let go_on = &mut |_| ControlFlow::Continue(());
    let report = house.manager.rewrap_scopes(NO_PAUSE, go_on).await.unwrap();
    assert_eq!((report.resealed, report.destroyed, report.failed), (2, 1, 0), "it came around again");

    house.manager.undelete(&swift(), id).await.unwrap();
    assert_eq!(house.manager.get(&swift(), id, false).await.unwrap().1.payload(), b"payload");

    // The same for a note that somebody replaces.
    house.manager.set_note("head", b"old").await.unwrap();
    let old = house.store.read(&Kind::MARK, "head").await.unwrap().unwrap();
    house.manager.set_note("head", b"new").await.unwrap();
    let new = house.store.read(&Kind::MARK, "head").await.unwrap().unwrap();
    house.store.apply(vec![Change::Replace { expected: new.version, record: old.clone() }]).await.unwrap();
    house.manager.activate_master_key("m2", &key()).await.unwrap();
    // The first page is that of the scope keys; the notes are written next.
    let mut pages = 0;
    let interpose = &mut |_| {
        if pages == 0 {
            house.store.interpose(vec![Change::Replace { expected: old.version, record: new.clone() }]);
        }
        pages += 1;
        ControlFlow::Continue(())
    };
    let report = house.manager.rewrap_master(NO_PAUSE, interpose).await.unwrap();
    assert_eq!((report.failed, report.in_use["master"]), (0, 0));
    assert!(house.manager.note("head").await.unwrap().unwrap().ct_eq(b"new"));
}

/// A slow rewrap under a master key that is the store's no more does not bring that key back.
#[tokio::test]
async fn a_rewrap_ends_when_the_next_rotation_begins() {
    let site = Site::new();
    let (m1, m2, m3) = (key(), key(), key());
    let first = site.server(("m1", &m1), &[]).await;
    first.put(b"payload").await;
    let slow = site.server(("m2", &m2), &[("m1", &m1), ("m3", &m3)]).await;
    let fast = site.server(("m3", &m3), &[("m1", &m1), ("m2", &m2)]).await;
    let claimed = slow.manager.keyring.claim(&*site.store).await.unwrap();
    let record = site.record(Kind::SCOPE_KEY, "service.1").await.unwrap();
    let resealed = slow.manager.keyring.reseal_under(&record, &claimed).unwrap();
    assert_eq!(under(&resealed), master("m2"));
    fast.rewrap_master().await;
    let late = vec![Change::Reseal { before: record.body.clone(), record: resealed }, claimed.condition()];
    assert!(matches!(site.store.apply(late).await, Err(StoreError::Conflict { .. })));
    for id in ["m1", "m2"] {
        fast.manager.forget_master_key(id).await.unwrap();
    }
    assert_eq!(fast.check().await.findings, []);
}

#[tokio::test]
async fn two_servers_rotate_one_scope_key_once() {
    let site = Site::new();
    let master = key();
    let (first, second) = (site.server(("m", &master), &[]).await, site.server(("m", &master), &[]).await);
    let id = first.put(b"payload").await;
    let store: Arc<dyn Store> = Arc::new(crate::testkit::FrailStore::new(site.store.clone()).mixed(7));
    let slow = site.try_server(store, ("m", &master), &[]).await.unwrap();
    let (one, other) = tokio::join!(slow.manager.rotate_scope_key("service"), async {
        tokio::task::yield_now().await;
        first.manager.rotate_scope_key("service").await
    });
    assert!(one.unwrap() <= 3 && other.unwrap() <= 3);
    let keys = crate::keyring::scope_keys(&*site.store, "service").await.unwrap();
    assert_eq!(keys.values().filter(|record| record.version == OPEN).count(), 1, "one is open");
    assert_eq!(keys.last_key_value().unwrap().1.version, OPEN, "the newest");
    assert_eq!(second.payload(id).await, b"payload");
}
