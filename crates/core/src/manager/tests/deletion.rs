//! Deletion and the reaper: what nobody asked for destroys nothing, and what was asked for is done.

use super::*;
use crate::testkit::FrailStore;

async fn deleted_key(house: &House, payload: &[u8]) -> SecretId {
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(payload)).await.unwrap().id;
    house.manager.delete(&swift, id, None).await.unwrap();
    id
}

async fn stored(house: &House, kind: Kind, id: SecretId) -> Option<Record> {
    house.store.read(&kind, &id.to_string()).await.unwrap()
}

async fn remove(house: &House, record: Record) {
    let removal = Change::Remove { kind: record.kind, id: record.id, expected: record.version };
    house.store.apply(vec![removal]).await.unwrap();
}

fn restorations(house: &House) -> Vec<(String, String)> {
    let events = house.trail.events.lock();
    let about_tombstones = events.iter().filter(|event| event.target_kind == Some("tombstone"));
    about_tombstones
        .map(|event| (event.target.clone().unwrap_or_default(), event.reason.clone().unwrap_or_default()))
        .collect()
}

/// T-TOMBSTONE-FORGED: a planted tombstone, an outlived one, and a whole replayed deletion destroy nothing.
#[tokio::test]
async fn deletion_cannot_be_forged() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"precious")).await.unwrap().id;
    let other = house.manager.put(&swift, None, new_key(b"other")).await.unwrap().id;
    let read = async |kind: Kind, id: SecretId| house.store.read(&kind, &id.to_string()).await.unwrap();

    house.manager.delete(&swift, other, None).await.unwrap();
    let mut planted = read(Kind::TOMBSTONE, other).await.unwrap();
    planted.id = id.to_string();
    house.store.apply(vec![Change::Create(planted)]).await.unwrap();
    house.clock.advance(GRACE);
    let report = house.manager.reap().await.unwrap();
    assert_eq!((report.purged, report.restored), (1, 1), "the asked-for deletion alone is done");
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"precious");

    // The secret is deleted and undeleted; then an intruder puts both authentic records of the deletion back.
    house.manager.delete(&swift, id, None).await.unwrap();
    let (secret, stone) = (read(Kind::SECRET, id).await.unwrap(), read(Kind::TOMBSTONE, id).await.unwrap());
    house.manager.undelete(&swift, id).await.unwrap();
    let newer = read(Kind::SECRET, id).await.unwrap().version;
    house
        .store
        .apply(vec![Change::Replace { expected: newer, record: secret }, Change::Create(stone)])
        .await
        .unwrap();
    house.clock.advance(GRACE);
    let report = house.manager.reap().await.unwrap();
    assert_eq!((report.purged, report.restored), (0, 1));
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"precious");
}

/// A deletion that was prepared before another one was done leaves the other's tombstone alone, so that the key is purged.
#[tokio::test]
async fn deletions_at_the_same_moment_leave_one_tombstone() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"once")).await.unwrap().id;
    let (_, late) = house.manager.find(&swift, "key:delete", id, false).await.unwrap();
    house.manager.delete(&swift, id, None).await.unwrap();
    let stone = stored(&house, Kind::TOMBSTONE, id).await;
    let refused = house.manager.bury(&Actor::of(&swift), &late, Vec::new()).await;
    assert!(matches!(refused, Err(Error::VersionMismatch { current }) if current == Version::new(2)));
    assert!(stone.is_some() && stored(&house, Kind::TOMBSTONE, id).await == stone);
    assert_eq!(house.manager.irregularities(), Irregularities::default(), "nobody planted it");
    house.clock.advance(GRACE);
    assert_eq!(house.manager.reap().await.unwrap().purged, 1);
}

/// T-TOMBSTONE-FORGED: a planted tombstone does not stand in the way of a deletion, and leaves a trace.
#[tokio::test]
async fn a_planted_tombstone_is_replaced_and_written_down() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"precious")).await.unwrap().id;
    let other = deleted_key(&house, b"other").await;
    let mut planted = stored(&house, Kind::TOMBSTONE, other).await.unwrap();
    planted.id = id.to_string();
    planted.version = Version::new(7);
    house.store.apply(vec![Change::Create(planted)]).await.unwrap();
    house.manager.delete(&swift, id, None).await.unwrap();
    assert_eq!(stored(&house, Kind::TOMBSTONE, id).await.unwrap().version, Version::new(8));
    assert_eq!(restorations(&house).iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [id.to_string()]);
    assert_eq!(house.manager.irregularities().planted_tombstones, 1);
    house.clock.advance(GRACE);
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport { purged: 2, ..ReapReport::default() });
}

#[tokio::test]
async fn a_tombstone_on_nothing_is_cleared_and_written_down() {
    let house = house().await;
    let id = deleted_key(&house, b"k").await;
    remove(&house, stored(&house, Kind::SECRET, id).await.unwrap()).await;
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport { cleared: 1, ..ReapReport::default() });
    assert_eq!(restorations(&house).len(), 1);
    assert_eq!(house.manager.irregularities().planted_tombstones, 1);
}

/// Somebody who removes tombstones does not keep deleted keys from being purged.
#[tokio::test]
async fn a_missing_tombstone_is_made_anew() {
    let house = house().await;
    let id = deleted_key(&house, b"k").await;
    remove(&house, stored(&house, Kind::TOMBSTONE, id).await.unwrap()).await;
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport::default(), "it is not due");
    house.clock.advance(GRACE);
    let report = house.manager.reap().await.unwrap();
    assert_eq!(report, ReapReport { remade: 1, purged: 1, ..ReapReport::default() });
    assert_eq!(restorations(&house).len(), 1);
}

/// A tombstone that is made anew gives an intruder nothing: the trail decides.
#[tokio::test]
async fn a_replayed_deletion_without_its_tombstone_is_undone() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = deleted_key(&house, b"precious").await;
    let old = stored(&house, Kind::SECRET, id).await.unwrap();
    let newer = house.manager.undelete(&swift, id).await.unwrap().version;
    house.store.apply(vec![Change::Replace { expected: newer, record: old }]).await.unwrap();
    house.clock.advance(GRACE);
    let report = house.manager.reap().await.unwrap();
    assert_eq!(report, ReapReport { remade: 1, restored: 1, ..ReapReport::default() });
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"precious");
}

/// The trail is long: it is read when something is due, and then once for all.
#[tokio::test]
async fn the_trail_is_read_only_for_what_is_due() {
    let house = house().await;
    for _ in 0..5 {
        deleted_key(&house, b"k").await;
    }
    assert_eq!(house.manager.reap().await.unwrap().waiting, 5);
    assert_eq!(house.trail.readings.load(Ordering::SeqCst), 0);
    house.clock.advance(GRACE);
    assert_eq!(house.manager.reap().await.unwrap().purged, 5);
    assert_eq!(house.trail.readings.load(Ordering::SeqCst), 1);
}

/// What cannot be read is counted, and the rest is purged.
#[tokio::test]
async fn damage_holds_up_nothing_else() {
    let house = house_with(Settings { expired_after: Some(Duration::ZERO), ..Settings::default() }).await;
    let swift = caller("swift", &["service"]);
    let soon = Some(house.clock.now().plus(Duration::from_secs(1)));
    let expiring = NewKey { expires_at: soon, ..new_key(b"k") };
    let unreadable = house.manager.put(&swift, None, expiring).await.unwrap().id;
    house.clock.advance(Duration::from_secs(2));
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(deleted_key(&house, b"k").await);
        house.clock.advance(Duration::from_secs(1));
    }
    house.store.damage(&unreadable.to_string());
    house.store.damage(&ids[1].to_string());
    let mut edited = stored(&house, Kind::SECRET, ids[2]).await.unwrap();
    edited.body[20] ^= 1;
    remove(&house, stored(&house, Kind::SECRET, ids[2]).await.unwrap()).await;
    house.store.apply(vec![Change::Create(edited)]).await.unwrap();
    house.clock.advance(GRACE);
    let report = house.manager.reap().await.unwrap();
    assert_eq!((report.purged, report.restored, report.expired), (2, 0, 0), "{report:?}");
    assert!(report.corrupt >= 3, "{report:?}");
    assert!(stored(&house, Kind::SECRET, ids[2]).await.is_some(), "what does not open is left as it is");
}

/// What stops one part of the work does not stop the others, and is reported at the end.
#[tokio::test]
async fn a_failure_is_reported_when_the_rest_is_done() {
    let house = house_with(Settings { expired_after: Some(Duration::ZERO), ..Settings::default() }).await;
    let soon = Some(house.clock.now().plus(Duration::from_secs(1)));
    let expiring = NewKey { expires_at: soon, ..new_key(b"k") };
    let expired = house.manager.put(&caller("swift", &["service"]), None, expiring).await.unwrap().id;
    let deleted = deleted_key(&house, b"k").await;
    house.clock.advance(GRACE);
    *house.trail.refuses.lock() = Some(Action::Delete);
    assert!(matches!(house.manager.reap().await, Err(Error::Unavailable(_))));
    assert!(stored(&house, Kind::SECRET, expired).await.is_some());
    assert!(stored(&house, Kind::SECRET, deleted).await.is_none(), "what is due was purged all the same");
}

#[tokio::test]
async fn nothing_is_mended_that_cannot_be_written_down() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"live")).await.unwrap().id;
    let other = deleted_key(&house, b"other").await;
    let planted = Record { id: id.to_string(), ..stored(&house, Kind::TOMBSTONE, other).await.unwrap() };
    house.store.apply(vec![Change::Create(planted)]).await.unwrap();
    house.trail.full.store(true, Ordering::SeqCst);
    assert!(matches!(house.manager.reap().await, Err(Error::Unavailable(_))));
    assert!(stored(&house, Kind::TOMBSTONE, id).await.is_some());
}

/// A planted tombstone is judged; before it is removed, an authentic one takes its place: that one stays.
#[tokio::test]
async fn a_newer_tombstone_is_not_removed_for_an_older_one() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"k")).await.unwrap().id;
    let live = stored(&house, Kind::SECRET, id).await.unwrap();
    house.manager.delete(&swift, id, None).await.unwrap();
    let deleted = stored(&house, Kind::SECRET, id).await.unwrap();
    let stone = stored(&house, Kind::TOMBSTONE, id).await.unwrap();
    // The store as it was before, but for a planted tombstone of the same version; the deletion comes between.
    remove(&house, deleted.clone()).await;
    remove(&house, stone.clone()).await;
    let planted = Record { body: vec![1], ..stone.clone() };
    house.store.apply(vec![Change::Create(live.clone()), Change::Create(planted)]).await.unwrap();
    house.store.interpose(vec![
        Change::Replace { expected: live.version, record: deleted },
        Change::Replace { expected: stone.version, record: stone.clone() },
    ]);
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport::default());
    assert_eq!(stored(&house, Kind::TOMBSTONE, id).await, Some(stone));
    house.clock.advance(GRACE);
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport { purged: 1, ..ReapReport::default() });
}

#[tokio::test]
async fn expired_keys_are_deleted_only_where_that_is_set() {
    let day = Duration::from_secs(24 * 3600);
    let house = house_with(Settings { expired_after: Some(day), ..Settings::default() }).await;
    let swift = caller("swift", &["service"]);
    let key = NewKey { expires_at: Some(house.clock.now().plus(day)), ..new_key(b"k") };
    let id = house.manager.put(&swift, None, key).await.unwrap().id;
    house.clock.advance(2 * day - Duration::from_secs(1));
    assert_eq!(house.manager.reap().await.unwrap().expired, 0);
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(
        house.manager.reap().await.unwrap(),
        ReapReport { expired: 1, waiting: 1, ..ReapReport::default() }
    );
    house.manager.undelete(&swift, id).await.unwrap();
    assert_eq!(house.manager.metadata(&swift, id).await.unwrap().state, State::Deactivated);
}

/// A clock that leaps destroys nothing before the time has really passed.
#[tokio::test]
async fn a_clock_that_leaps_purges_nothing() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = deleted_key(&house, b"k").await;
    let start = house.clock.now();
    house.clock.set(start.plus(100 * GRACE));
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport { waiting: 1, ..ReapReport::default() });
    house.manager.undelete(&swift, id).await.unwrap();
    house.clock.set(start);
    house.manager.delete(&swift, id, None).await.unwrap();
    house.clock.set(start.plus(100 * GRACE));
    house.clock.advance(GRACE);
    assert_eq!(
        house.manager.reap().await.unwrap().purged,
        1,
        "the grace period has passed, whatever the clock says"
    );
}

/// A clock that is put right after having been ahead gives no credit for the time it was ahead.
#[tokio::test]
async fn a_clock_that_was_ahead_gives_no_credit() {
    let house = house().await;
    let start = house.clock.now();
    house.clock.set(start.minus(50 * GRACE));
    house.manager.reap().await.unwrap();
    deleted_key(&house, b"k").await;
    house.clock.set(start.plus(50 * GRACE));
    assert_eq!(house.manager.reap().await.unwrap().waiting, 1);
}

/// After the grace period a key is as good as purged, whether or not the reaper has been there.
#[tokio::test]
async fn the_grace_period_ends_in_time() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = deleted_key(&house, b"k").await;
    let deleted = KeyFilter { deleted: true, ..KeyFilter::default() };
    house.clock.advance(GRACE - Duration::from_micros(1));
    assert_eq!(house.manager.list(&swift, &deleted).await.unwrap().keys.len(), 1);
    house.clock.advance(Duration::from_micros(1));
    assert!(matches!(house.manager.undelete(&swift, id).await, Err(Error::NotFound { .. })));
    assert_eq!(house.manager.list(&swift, &deleted).await.unwrap().keys, []);
    assert_eq!(house.manager.reap().await.unwrap().purged, 1);
}

/// Two servers of one store, each with a trail of its own: nothing is remembered that the other may change, and neither takes
/// back what was deleted through the other.
#[tokio::test]
async fn servers_of_one_store_leave_each_others_deletions_alone() {
    let store = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000)));
    let (master, audit) = (key(), key());
    let server = async |name: &str| {
        let keyring = Keyring::new(("m", &master), &[], ("audit", &audit)).unwrap();
        let (policy, _) = Policy::build(&BTreeMap::new(), PolicyConfig::default()).unwrap();
        let settings = Settings { server: name.to_owned(), ..Settings::default() };
        let shared = Arc::new(FrailStore::new(store.clone()).shared());
        let trail = Arc::new(MemoryTrail::default());
        Manager::open(shared, keyring, policy, trail, clock.clone(), settings).await.unwrap()
    };
    let (one, two) = (server("one").await, server("two").await);
    let swift = caller("swift", &["service"]);
    let id = one.put(&swift, None, new_key(b"precious")).await.unwrap().id;
    let (deleted, undone) = (
        one.put(&swift, None, new_key(b"x")).await.unwrap().id,
        one.put(&swift, None, new_key(b"y")).await.unwrap().id,
    );
    assert_eq!(one.count_secrets("service").await.unwrap(), two.count_secrets("service").await.unwrap());
    assert!(two.glance("service", deleted).await.unwrap().is_some());
    one.delete(&swift, deleted, None).await.unwrap();
    assert!(two.glance("service", deleted).await.unwrap().is_none(), "nothing stale is remembered");

    // What was deleted and taken back through one, and is put back as deleted, is found by its trail alone.
    one.delete(&swift, undone, None).await.unwrap();
    let read = async |kind: Kind| store.read(&kind, &undone.to_string()).await.unwrap().unwrap();
    let (secret, stone) = (read(Kind::SECRET).await, read(Kind::TOMBSTONE).await);
    one.undelete(&swift, undone).await.unwrap();
    let newer = read(Kind::SECRET).await.version;
    let replay = vec![Change::Replace { expected: newer, record: secret }, Change::Create(stone)];
    store.apply(replay).await.unwrap();

    clock.advance(GRACE);
    let report = two.reap().await.unwrap();
    assert_eq!((report.purged, report.restored, report.waiting), (0, 0, 2));
    let report = one.reap().await.unwrap();
    assert_eq!((report.purged, report.restored, report.waiting), (1, 1, 0));
    assert_eq!(two.get(&swift, id, false).await.unwrap().1.payload(), b"precious");
    assert_eq!(two.get(&swift, undone, false).await.unwrap().1.payload(), b"y");

    // Each notes how far its own trail has come.
    one.set_note(&one.own_note("head"), b"1").await.unwrap();
    assert!(two.note(&two.own_note("head")).await.unwrap().is_none());
}
