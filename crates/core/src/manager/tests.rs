mod check;
mod deletion;
mod import;
mod listing;
mod rotation;
mod scope_keys;
mod secrets;
mod settings;
mod update;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use chatelaine_crypto::KeyMaterial;
use parking_lot::Mutex;

use super::*;
use crate::audit::{AuditError, ChangeHistory, HistoryKey, LoggedChange};
use crate::clock::{ManualClock, Timestamp};
use crate::id::RequestId;
use crate::policy::{Identity, PolicyConfig};
use crate::secret::{RevocationReason, Scope};
use crate::store::Query;
use crate::testkit::{DamagedStore, MemoryStore};

/// A trail in memory that can be told to fail.
#[derive(Default)]
struct MemoryTrail {
    events: Mutex<Vec<Event>>,
    full: AtomicBool,
    readings: AtomicUsize,
    refuses: Mutex<Option<Action>>,
}

#[async_trait]
impl AuditTrail for MemoryTrail {
    async fn append(&self, events: &[Event], _: Durability) -> std::result::Result<(), AuditError> {
        let refuses = *self.refuses.lock();
        if self.full.load(Ordering::SeqCst) || events.iter().any(|event| Some(event.action) == refuses) {
            return Err(AuditError::Unwritable("disk full".to_owned()));
        }
        self.events.lock().extend_from_slice(events);
        Ok(())
    }

    async fn histories(
        &self,
        wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> std::result::Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
        self.readings.fetch_add(1, Ordering::SeqCst);
        let mut histories: HashMap<HistoryKey, ChangeHistory> = HashMap::new();
        for event in self.events.lock().iter() {
            let (Some(kind), Some(id), Some(written)) = (event.target_kind, &event.target, &event.written)
            else {
                continue;
            };
            if wanted(kind, id) {
                histories.entry((kind.to_owned(), id.clone())).or_default().absorb(LoggedChange {
                    event: event.id,
                    action: event.action,
                    outcome: event.outcome,
                    written: written.clone(),
                });
            }
        }
        Ok(histories)
    }
}

struct House {
    manager: Manager,
    store: Arc<DamagedStore>,
    trail: Arc<MemoryTrail>,
    clock: Arc<ManualClock>,
}

fn key() -> KeyMaterial {
    KeyMaterial::random(256).unwrap()
}

fn new_keyring(id: &str) -> Keyring {
    Keyring::new((id, &key()), &[], ("audit", &key())).unwrap()
}

async fn house() -> House {
    house_with(Settings::default()).await
}

async fn house_with(settings: Settings) -> House {
    let store = Arc::new(DamagedStore::new(MemoryStore::new()));
    let trail = Arc::new(MemoryTrail::default());
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000)));
    let keyring = new_keyring("master");
    let (policy, warnings) = Policy::build(&BTreeMap::new(), PolicyConfig::default()).unwrap();
    assert!(warnings.is_empty());
    let manager =
        Manager::open(store.clone(), keyring, policy, trail.clone(), clock.clone(), settings).await.unwrap();
    House { manager, store, trail, clock }
}

fn caller(user: &str, roles: &[&str]) -> Caller {
    let identity = Identity {
        user_id: user.to_owned(),
        project_id: Some("service".to_owned()),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Identity::default()
    };
    Caller::authenticated(Arc::new(identity), None, None, RequestId::random())
}

fn new_key(payload: &[u8]) -> NewKey {
    NewKey {
        payload: KeyMaterial::copy_from(payload),
        name: None,
        algorithm: Some("aes".to_owned()),
        bit_length: Some(256),
        scope: Scope::Entity,
        scope_id: None,
        master_key: None,
        attributes: BTreeMap::new(),
        activates_at: None,
        expires_at: None,
    }
}

const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

#[tokio::test]
async fn a_key_lives_from_put_to_purge() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = SecretId::random();
    let wrapped = NewKey { master_key: Some("m".to_owned()), ..new_key(b"wrapped") };
    let put = house.manager.put(&swift, Some(id), wrapped).await.unwrap();
    assert_eq!((put.id, put.version, put.state), (id, Version::FIRST, State::Active));
    assert!(matches!(
        house.manager.put(&swift, Some(id), new_key(b"again")).await,
        Err(Error::Exists { .. })
    ));
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"wrapped");

    let update = || KeyUpdate { payload: Some(KeyMaterial::copy_from(b"rewrapped")), ..KeyUpdate::default() };
    let changed = house.manager.update(&swift, id, Version::FIRST, update()).await.unwrap();
    assert_eq!(changed.version, Version::new(2));
    let late = house.manager.update(&swift, id, Version::FIRST, update()).await;
    assert!(matches!(late, Err(Error::VersionMismatch { current }) if current == Version::new(2)));
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"rewrapped");

    house.manager.delete(&swift, id, None).await.unwrap();
    assert!(matches!(house.manager.get(&swift, id, false).await, Err(Error::NotFound { .. })));
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport { waiting: 1, ..ReapReport::default() });
    house.manager.undelete(&swift, id).await.unwrap();
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"rewrapped");

    house.manager.delete(&swift, id, None).await.unwrap();
    house.clock.advance(GRACE);
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport { purged: 1, ..ReapReport::default() });
    assert!(house.store.read(&Kind::SECRET, &id.to_string()).await.unwrap().is_none());
    assert!(matches!(house.manager.undelete(&swift, id).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn strangers_learn_nothing() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"wrapped")).await.unwrap().id;
    let glance = caller("glance", &["service"]);
    assert!(matches!(house.manager.get(&glance, id, false).await, Err(Error::NotFound { .. })));
    assert!(matches!(house.manager.delete(&glance, id, None).await, Err(Error::NotFound { .. })));
    assert!(house.manager.list(&glance, &KeyFilter::default()).await.unwrap().keys.is_empty());
    for roles in [&["member"][..], &["service", "compute"][..], &[][..]] {
        let refused = house.manager.get(&caller("swift", roles), id, false).await;
        assert!(matches!(refused, Err(Error::Forbidden { .. })), "{roles:?}");
    }
    let failures = house.trail.events.lock().iter().filter(|event| event.outcome == Outcome::Failure).count();
    assert_eq!(failures, 5, "each refusal is written down");
}

#[tokio::test]
async fn no_audit_no_release() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"wrapped")).await.unwrap().id;
    house.trail.full.store(true, Ordering::SeqCst);
    assert!(matches!(house.manager.get(&swift, id, false).await, Err(Error::Unavailable(_))));
    assert!(matches!(house.manager.metadata(&swift, id).await, Err(Error::Unavailable(_))));
    assert!(matches!(house.manager.put(&swift, None, new_key(b"other")).await, Err(Error::Unavailable(_))));
    assert!(matches!(house.manager.delete(&swift, id, None).await, Err(Error::Unavailable(_))));
    house.trail.full.store(false, Ordering::SeqCst);
    assert_eq!(house.manager.list(&swift, &KeyFilter::default()).await.unwrap().keys.len(), 1);
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"wrapped");
}

#[tokio::test]
async fn states_decide_what_is_released() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let hour = Duration::from_secs(3600);
    let now = house.clock.now();
    let key = NewKey {
        activates_at: Some(now.plus(hour)),
        expires_at: Some(now.plus(3 * hour)),
        ..new_key(b"timed")
    };
    let id = house.manager.put(&swift, None, key).await.unwrap().id;
    assert!(matches!(house.manager.get(&swift, id, false).await, Err(Error::WrongState { .. })));
    house.clock.advance(2 * hour);
    assert!(house.manager.get(&swift, id, false).await.is_ok());
    house.clock.advance(2 * hour);
    assert!(matches!(house.manager.get(&swift, id, false).await, Err(Error::WrongState { .. })));
    assert_eq!(house.manager.get(&swift, id, true).await.unwrap().0.state, State::Deactivated);
    house.clock.advance(100 * GRACE);
    assert_eq!(house.manager.reap().await.unwrap(), ReapReport::default(), "what expired stays");
    assert_eq!(house.manager.metadata(&swift, id).await.unwrap().state, State::Deactivated);

    let id = house.manager.put(&swift, None, new_key(b"leaked")).await.unwrap().id;
    let revoked = house.manager.revoke(&swift, id, RevocationReason::KeyCompromise).await.unwrap();
    assert_eq!(revoked.state, State::Compromised);
    assert!(matches!(house.manager.get(&swift, id, false).await, Err(Error::WrongState { .. })));
    let again = house.manager.revoke(&swift, id, RevocationReason::Superseded).await;
    assert!(matches!(again, Err(Error::WrongState { .. })));
}

#[tokio::test]
async fn bad_input_changes_nothing() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let past = NewKey { expires_at: Some(Timestamp::EPOCH), ..new_key(b"k") };
    for (key, field) in
        [(new_key(b""), "key_string"), (new_key(&[0; 65_537]), "key_string"), (past, "expires_at")]
    {
        let refused = house.manager.put(&swift, None, key).await;
        assert!(matches!(refused, Err(Error::Invalid { field: found, .. }) if found == field));
    }
    assert_eq!(house.store.count(&Query::of(Kind::SECRET)).await.unwrap(), 0);
    let filter = KeyFilter { marker: Some(SecretId::random()), ..KeyFilter::default() };
    assert!(matches!(house.manager.list(&swift, &filter).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_store_of_another_master_key_is_refused() {
    let house = house().await;
    let keyring = new_keyring("other");
    let refused = keyring.adopt(&*house.store, &*house.clock).await;
    assert!(matches!(refused, Err(Error::WrongState { .. })));
}

#[tokio::test]
async fn notes_are_kept_and_replaced() {
    let house = house().await;
    assert!(house.manager.note("head").await.unwrap().is_none());
    for text in [b"one", b"two"] {
        house.manager.set_note("head", text).await.unwrap();
        assert!(house.manager.note("head").await.unwrap().unwrap().ct_eq(text));
    }
    house.manager.set_note("other", b"x").await.unwrap();
    assert!(house.manager.note("head").await.unwrap().unwrap().ct_eq(b"two"));
}

/// T-NETWORK: from outside the allowed networks nothing is released, nor to an address that is not known.
#[tokio::test]
async fn networks_are_held_to() {
    let house = house().await;
    let from = |address: Option<&str>| {
        let inside = caller("cinder", &["service"]);
        let address = address.map(|address| address.parse().unwrap());
        Caller::authenticated(Arc::new(inside.identity().clone()), None, address, RequestId::random())
    };
    let id = house.manager.put(&from(None), None, new_key(b"key")).await.unwrap().id;
    let networks = vec!["10.1.0.0/16".parse().unwrap()];
    let config = PolicyConfig { networks, ..PolicyConfig::default() };
    house.manager.set_policy(Policy::build(&BTreeMap::new(), config).unwrap().0);
    assert!(house.manager.get(&from(Some("10.1.2.3")), id, false).await.is_ok());
    for outside in [Some("10.2.0.1"), Some("::1"), None] {
        let refused = house.manager.get(&from(outside), id, false).await.unwrap_err();
        assert!(matches!(refused, Error::Forbidden { .. }), "{outside:?}: {refused}");
    }
}

/// The key of a project that has secrets is never replaced by another, under which none of them would open.
#[tokio::test]
async fn a_lost_scope_key_is_not_replaced() {
    let house = house().await;
    let swift = caller("swift", &["service"]);
    let id = house.manager.put(&swift, None, new_key(b"wrapped")).await.unwrap().id;
    let (kind, expected) = (Kind::SCOPE_KEY, Version::FIRST);
    let record = house.store.read(&kind, "service.1").await.unwrap().unwrap();
    house.store.apply(vec![Change::Remove { kind, id: record.id.clone(), expected }]).await.unwrap();
    // A server that is started anew.
    let keyring = &house.manager.keyring;
    keyring.forget();
    let refused = house.manager.put(&swift, None, new_key(b"more")).await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt(reason) if reason.contains("service.1")), "{refused}");
    assert!(house.store.read(&Kind::SCOPE_KEY, "service.1").await.unwrap().is_none());
    assert!(matches!(house.manager.list(&swift, &KeyFilter::default()).await, Err(Error::Corrupt(_))));
    house.store.apply(vec![Change::Create(record)]).await.unwrap();
    assert_eq!(house.manager.get(&swift, id, false).await.unwrap().1.payload(), b"wrapped");
    house.manager.put(&swift, None, new_key(b"more")).await.unwrap();
}

#[tokio::test]
async fn only_a_marked_store_is_recognised() {
    let house = house().await;
    let keyring = &house.manager.keyring;
    assert!(keyring.recognises(&*house.store).await.unwrap());
    assert!(!keyring.recognises(&MemoryStore::new()).await.unwrap());
    let other = new_keyring("other");
    assert!(matches!(other.recognises(&*house.store).await, Err(Error::WrongState { .. })));
}

/// Who may not create keys is refused before anything is done for the key, and that is written down.
#[tokio::test]
async fn authorization_to_put_can_be_asked_for_alone() {
    let house = house().await;
    house.manager.authorize_put(&caller("swift", &["service"]), None, Scope::Entity).await.unwrap();
    assert!(house.trail.events.lock().is_empty());
    let refused = house.manager.authorize_put(&caller("swift", &["member"]), None, Scope::Entity).await;
    assert!(matches!(refused, Err(Error::Forbidden { .. })));
    let events = house.trail.events.lock();
    assert_eq!((events.len(), events[0].action, events[0].outcome), (1, Action::Create, Outcome::Failure));
}
