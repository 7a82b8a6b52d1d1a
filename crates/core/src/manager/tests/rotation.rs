//! Rotation: the same contents under newer keys, nothing lost, and no key gone that is needed.

mod crash;
mod interleaved;
mod servers;
mod tombstones;

use std::ops::ControlFlow;

use super::*;
use crate::check::{CheckReport, Knowledge};
use crate::keyring::{CLOSED, OPEN};

const NO_PAUSE: Duration = Duration::ZERO;

/// A server of a store that others use, too.
struct Server {
    manager: Manager,
}

/// What servers of one store share.
struct Site {
    store: Arc<dyn Store>,
    trail: Arc<MemoryTrail>,
    clock: Arc<ManualClock>,
    audit: KeyMaterial,
}

impl Site {
    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    fn on(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            trail: Arc::default(),
            clock: Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000))),
            audit: key(),
        }
    }

    fn keyring(&self, active: (&str, &KeyMaterial), retired: &[(&str, &KeyMaterial)]) -> Keyring {
        Keyring::new(active, retired, ("audit", &self.audit)).unwrap()
    }

    /// A server that sees the store by a way of its own.
    async fn try_server(
        &self,
        store: Arc<dyn Store>,
        active: (&str, &KeyMaterial),
        retired: &[(&str, &KeyMaterial)],
    ) -> Result<Server> {
        let keyring = self.keyring(active, retired);
        let (policy, _) = Policy::build(&BTreeMap::new(), PolicyConfig::default()).unwrap();
        let (trail, clock) = (self.trail.clone(), self.clock.clone());
        let manager = Manager::open(store, keyring, policy, trail, clock, Settings::default()).await?;
        Ok(Server { manager })
    }

    async fn server(&self, active: (&str, &KeyMaterial), retired: &[(&str, &KeyMaterial)]) -> Server {
        self.try_server(self.store.clone(), active, retired).await.unwrap()
    }

    async fn record(&self, kind: Kind, id: &str) -> Option<Record> {
        self.store.read(&kind, id).await.unwrap()
    }

    async fn secret(&self, id: SecretId) -> Record {
        self.record(Kind::SECRET, &id.to_string()).await.unwrap()
    }

    async fn put_back(&self, record: Record) {
        let before = self.record(record.kind.clone(), &record.id).await.unwrap();
        self.store.apply(vec![Change::Reseal { before: before.body, record }]).await.unwrap();
    }

    async fn all(&self) -> Vec<Record> {
        let mut all = Vec::new();
        for kind in self.store.kinds().await.unwrap() {
            all.extend(self.store.list(&Query::of(kind)).await.unwrap());
        }
        all
    }

    fn reasons(&self, action: Action) -> Vec<String> {
        let events = self.trail.events.lock();
        events
            .iter()
            .filter(|event| event.action == action)
            .filter_map(|event| event.reason.clone())
            .collect()
    }
}

/// A key string whose length says nothing.
fn any_key(payload: &[u8]) -> NewKey {
    NewKey { algorithm: None, bit_length: None, ..new_key(payload) }
}

impl Server {
    async fn put(&self, payload: &[u8]) -> SecretId {
        self.manager.put(&swift(), None, new_key(payload)).await.unwrap().id
    }

    async fn payload(&self, id: SecretId) -> Vec<u8> {
        self.manager.get(&swift(), id, false).await.unwrap().1.payload().to_vec()
    }

    async fn rewrap_master(&self) -> MasterRewrap {
        self.manager.rewrap_master(NO_PAUSE, &mut |_| ControlFlow::Continue(())).await.unwrap()
    }

    async fn rewrap_scopes(&self) -> ScopeRewrap {
        self.manager.rewrap_scopes(NO_PAUSE, &mut |_| ControlFlow::Continue(())).await.unwrap()
    }

    async fn check(&self) -> CheckReport {
        let Manager { store, keyring, trail, .. } = &self.manager;
        crate::check::check(&**store, keyring, &**trail, Knowledge::Whole, &mut |_| {}).await.unwrap()
    }
}

fn swift() -> Caller {
    caller("swift", &["service"])
}

fn under(record: &Record) -> SealedUnder {
    record::sealed_under(record).unwrap()
}

fn master(id: &str) -> SealedUnder {
    SealedUnder::MasterKey(id.to_owned())
}

#[tokio::test]
async fn a_master_key_is_rotated_and_forgotten() {
    let site = Site::new();
    let (old, new) = (key(), key());
    let server = site.server(("m1", &old), &[]).await;
    let id = server.put(b"payload").await;
    server.manager.set_note("head", b"noted").await.unwrap();
    let before = site.all().await;

    server.manager.activate_master_key("m2", &new).await.unwrap();
    assert_eq!(
        (server.manager.master_key_id(), server.manager.retired_master_keys()),
        ("m2".into(), vec!["m1".into()])
    );
    assert!(matches!(server.manager.forget_master_key("m1").await, Err(Error::WrongState { .. })));
    // Scope key, mark, key of tombstones, note: the mark moves by itself.
    assert_eq!(server.manager.master_key_use("m1").await.unwrap(), 4);
    assert_eq!(server.manager.master_key_use("m2").await.unwrap(), 0);
    let report = server.rewrap_master().await;
    let in_use = BTreeMap::from([("m1".to_owned(), 0)]);
    assert_eq!(report, MasterRewrap { resealed: 3, in_use, ..MasterRewrap::default() });
    assert_eq!(server.rewrap_master().await.resealed, 0, "nothing is left");
    server.manager.forget_master_key("m1").await.unwrap();
    assert_eq!(server.manager.retired_master_keys(), Vec::<String>::new());

    server.manager.keyring.forget();
    let restarted = site.server(("m2", &new), &[]).await;
    for server in [&server, &restarted] {
        assert_eq!(server.payload(id).await, b"payload");
        assert!(server.manager.note("head").await.unwrap().unwrap().ct_eq(b"noted"));
        assert_eq!(server.check().await.findings, []);
        server.put(b"more").await;
    }
    for old in &before {
        let now = site.record(old.kind.clone(), &old.id).await.unwrap();
        let kept =
            |record: &Record| (record.created, record.project.clone(), record.attributes.parent.clone());
        assert_eq!(kept(&now), kept(old));
        if old.kind == Kind::SECRET {
            assert_eq!(now, *old, "secrets are not touched");
        } else {
            assert_eq!((under(&now), now.attributes.reference.as_deref()), (master("m2"), Some("m2")));
            let moved = u64::from(old.id == "master_key");
            assert_eq!(now.version.number(), old.version.number() + moved, "a rewrap is no change");
        }
    }
    assert!(site.try_server(site.store.clone(), ("m1", &old), &[]).await.is_err());
    assert_eq!(site.reasons(Action::RotateMasterKey), ["activate m2", "forget m1"]);
    let rewraps = site.reasons(Action::Rewrap);
    assert_eq!(rewraps.len(), 4, "one at the beginning, one at the end");
    assert_eq!(rewraps[1], "end: 3 sealed anew, 0 failed, 0 under retired keys");
}

#[tokio::test]
async fn a_scope_key_is_rotated_and_destroyed() {
    let site = Site::new();
    let master = key();
    let server = site.server(("m", &master), &[]).await;
    let (kept, deleted, gone) =
        (server.put(b"kept").await, server.put(b"deleted").await, server.put(b"gone").await);
    server.manager.delete(&swift(), deleted, None).await.unwrap();
    server.manager.delete(&swift(), gone, None).await.unwrap();
    let digests = [record::digest(&site.secret(kept).await), record::digest(&site.secret(gone).await)];

    assert_eq!(server.manager.rotate_scope_key("service").await.unwrap(), 2);
    assert_eq!(site.record(Kind::SCOPE_KEY, "service.1").await.unwrap().version, CLOSED);
    let written = server.put(b"written after").await;
    assert_eq!(under(&site.secret(written).await), SealedUnder::ScopeKey(2));
    assert_eq!(under(&site.secret(kept).await), SealedUnder::ScopeKey(1));
    assert_eq!(server.payload(kept).await, b"kept");

    // Three secrets and two tombstones.
    let report = server.rewrap_scopes().await;
    assert_eq!(report, ScopeRewrap { projects: 1, resealed: 5, destroyed: 1, ..ScopeRewrap::default() });
    assert_eq!(server.rewrap_scopes().await, ScopeRewrap::default(), "nothing is left");
    let first = site.record(Kind::SCOPE_KEY, "service.1").await.unwrap();
    assert!(server.manager.keyring.open_scope_key(&first).is_err(), "its material is gone");
    for record in
        site.all().await.iter().filter(|record| record.kind != Kind::SCOPE_KEY && record.kind != Kind::MARK)
    {
        assert_eq!(under(record), SealedUnder::ScopeKey(2), "{record:?}");
    }
    assert_eq!(digests, [record::digest(&site.secret(kept).await), record::digest(&site.secret(gone).await)]);

    assert_eq!(server.manager.rotate_scope_key("service").await.unwrap(), 3);
    assert_eq!(server.rewrap_scopes().await.destroyed, 1);
    assert_eq!(site.record(Kind::SCOPE_KEY, "service.2").await, None);
    let restarted = site.server(("m", &master), &[]).await;
    assert_eq!(restarted.payload(kept).await, b"kept");
    assert_eq!(restarted.payload(written).await, b"written after");
    assert_eq!(restarted.manager.get(&swift(), kept, false).await.unwrap().0.version, Version::FIRST);
    assert_eq!(restarted.check().await.findings, []);
    restarted.manager.undelete(&swift(), deleted).await.unwrap();
    assert_eq!(restarted.payload(deleted).await, b"deleted");
    site.clock.advance(GRACE);
    assert_eq!(restarted.manager.reap().await.unwrap(), ReapReport { purged: 1, ..ReapReport::default() });
    assert_eq!(restarted.check().await.findings, []);
    assert!(matches!(restarted.manager.rotate_scope_key("nobody").await, Err(Error::NotFound { .. })));
}

/// Access lists, documents and everything else of a project go with it.
#[tokio::test]
async fn every_kind_of_record_is_sealed_anew() {
    const QUOTA: DocumentKind = DocumentKind { name: "quota", noun: None, hidden_from_others: false };
    let site = Site::new();
    let server = site.server(("m", &key()), &[]).await;
    let id = server.put(b"payload").await;
    let document = crate::document::Document {
        id: "service".to_owned(),
        version: Version::FIRST,
        project: "service".to_owned(),
        owner: "swift".to_owned(),
        created: site.clock.now(),
        updated: site.clock.now(),
        name: None,
        class: None,
        parent: None,
        reference: None,
        acl: None,
        content: serde_json::json!({ "secrets": 5 }),
    };
    let imported = ImportedDocument { kind: QUOTA, document: document.clone() };
    server.manager.import_document(&imported, Existing::Compare).await.unwrap();
    let users = acl::changed_users(
        None,
        Some(&crate::acl::Acl {
            project_access: true,
            users: ["a".to_owned(), "b".to_owned()].into(),
            created: site.clock.now(),
            updated: site.clock.now(),
        }),
    );
    let entries = server.manager.acl_changes("service", id, users).await.unwrap();
    server.manager.apply(entries).await.unwrap();

    server.manager.rotate_scope_key("service").await.unwrap();
    let report = server.rewrap_scopes().await;
    assert_eq!((report.resealed, report.destroyed, report.failed), (4, 1, 0));
    server.manager.keyring.forget();
    assert_eq!(server.check().await.findings, []);
    let found = server.manager.peek_document::<serde_json::Value>(QUOTA, "service").await.unwrap().unwrap();
    assert_eq!(found, document);
}

#[tokio::test]
async fn what_does_not_open_holds_up_nothing_and_keeps_its_keys() {
    let site = Site::new();
    let (old, new) = (key(), key());
    let server = site.server(("m1", &old), &[]).await;
    let (good, bad) = (server.put(b"good").await, server.put(b"bad").await);
    let whole = site.secret(bad).await;
    let mut edited = whole.clone();
    *edited.body.last_mut().unwrap() ^= 1;
    site.put_back(edited.clone()).await;

    server.manager.rotate_scope_key("service").await.unwrap();
    let report = server.rewrap_scopes().await;
    assert_eq!((report.resealed, report.failed, report.in_use, report.destroyed), (1, 1, 1, 0));
    assert_eq!(under(&site.secret(good).await), SealedUnder::ScopeKey(2));
    // Not even its own account of its key is believed where that could destroy one.
    edited.body[0] = 99;
    site.put_back(edited).await;
    let report = server.rewrap_scopes().await;
    assert_eq!((report.failed, report.in_use, report.destroyed), (1, 1, 0));

    let kept = site.record(Kind::SCOPE_KEY, "service.1").await.unwrap();
    let mut edited = kept.clone();
    // It says that it is under the new master key already.
    edited.body[3] = b'2';
    site.put_back(edited).await;
    server.manager.activate_master_key("m2", &new).await.unwrap();
    let report = server.rewrap_master().await;
    assert_eq!((report.failed, report.in_use["m1"]), (0, 1));
    assert!(matches!(server.manager.forget_master_key("m1").await, Err(Error::WrongState { .. })));

    // Mended, everything goes on where it stood.
    site.put_back(kept).await;
    site.put_back(whole).await;
    server.manager.keyring.forget();
    let report = server.rewrap_master().await;
    assert_eq!((report.resealed, report.failed, report.in_use["m1"]), (1, 0, 0));
    assert_eq!(server.rewrap_scopes().await.destroyed, 1);
    server.manager.forget_master_key("m1").await.unwrap();
    assert_eq!(server.payload(bad).await, b"bad");
    assert_eq!(server.check().await.findings, []);
}

/// A place the store cannot read may hold anything.
#[tokio::test]
async fn unreadable_places_keep_keys() {
    let house = house().await;
    let put = async |payload: &[u8]| {
        house.clock.advance(Duration::from_secs(1));
        house.manager.put(&swift(), None, new_key(payload)).await.unwrap().id
    };
    let (_, second) = (put(b"one").await, put(b"two").await);
    house.manager.rotate_scope_key("service").await.unwrap();
    house.store.damage(&second.to_string());
    let go_on = &mut |_| ControlFlow::Continue(());
    let report = house.manager.rewrap_scopes(NO_PAUSE, go_on).await.unwrap();
    assert_eq!((report.resealed, report.failed, report.in_use, report.destroyed), (1, 1, 1, 0));
    house.store.damage("service.1");
    house.manager.activate_master_key("m2", &key()).await.unwrap();
    let report = house.manager.rewrap_master(NO_PAUSE, go_on).await.unwrap();
    assert!(report.failed >= 1 && report.in_use["master"] >= 1, "{report:?}");
}

#[tokio::test]
async fn a_run_can_be_stopped_and_taken_up() {
    let site = Site::new();
    let (old, new) = (key(), key());
    let server = site.server(("m1", &old), &[]).await;
    for number in 0..200 {
        let project = format!("p{number}");
        server.manager.keyring.current(&*site.store, &*site.clock, &project).await.unwrap();
    }
    for number in 0..150_u32 {
        server.put(&number.to_be_bytes()).await;
    }
    server.manager.activate_master_key("m2", &new).await.unwrap();
    let mut seen = Vec::new();
    let stop = &mut |progress: Progress| {
        seen.push(progress);
        if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let report = server.manager.rewrap_master(Duration::from_millis(1), stop).await.unwrap();
    assert!(report.stopped && report.resealed == 128, "{report:?}");
    assert_eq!(
        seen.iter().map(|progress| (progress.done, progress.total)).collect::<Vec<_>>(),
        [(64, 203), (128, 203)]
    );
    assert_eq!(report.in_use["m1"], 203 - 128 - 1);
    assert!(site.reasons(Action::Rewrap)[1].starts_with("stopped: 128"));
    let report = server.rewrap_master().await;
    assert_eq!((report.resealed, report.in_use["m1"]), (203 - 128 - 1, 0));

    server.manager.rotate_scope_key("service").await.unwrap();
    let stop = &mut |_| ControlFlow::Break(());
    let report = server.manager.rewrap_scopes(NO_PAUSE, stop).await.unwrap();
    assert!(report.stopped && report.resealed == 64 && report.destroyed == 0, "{report:?}");
    let report = server.rewrap_scopes().await;
    assert_eq!((report.resealed, report.destroyed), (150 - 64, 1));
    assert_eq!(server.check().await.findings, []);
}

#[tokio::test]
async fn old_scope_keys_are_due() {
    let site = Site::new();
    let server = site.server(("m", &key()), &[]).await;
    let day = Duration::from_secs(24 * 3600);
    let make = async |project: &str| {
        server.manager.keyring.current(&*site.store, &*site.clock, project).await.unwrap();
    };
    make("old").await;
    make("other").await;
    site.clock.advance(10 * day);
    make("young").await;
    let due = async || server.manager.due_scope_keys(10 * day).await.unwrap();
    assert_eq!(due().await, ["old", "other"]);
    assert_eq!(server.manager.due_scope_keys(11 * day).await.unwrap(), Vec::<String>::new());
    server.manager.rotate_scope_key("old").await.unwrap();
    assert_eq!(due().await, ["other"]);
    site.clock.advance(10 * day);
    assert_eq!(due().await, ["other", "old", "young"]);
    // One whose record was edited is not believed.
    let mut edited = site.record(Kind::SCOPE_KEY, "young.1").await.unwrap();
    edited.body[40] ^= 1;
    site.put_back(edited).await;
    assert_eq!(due().await, ["other", "old"]);
    assert_eq!(server.manager.irregularities().damaged_records, 1);
}

/// A newer key that is lost is not made a second time: what is sealed under the lost one would be taken for it.
#[tokio::test]
async fn a_lost_newest_key_is_not_replaced() {
    let site = Site::new();
    let server = site.server(("m", &key()), &[]).await;
    let id = server.put(b"payload").await;
    server.manager.rotate_scope_key("service").await.unwrap();
    let lost = site.record(Kind::SCOPE_KEY, "service.2").await.unwrap();
    let removal = Change::Remove { kind: Kind::SCOPE_KEY, id: lost.id.clone(), expected: lost.version };
    site.store.apply(vec![removal]).await.unwrap();
    server.manager.keyring.forget();
    let refused = server.manager.put(&swift(), None, new_key(b"more")).await.unwrap_err();
    assert!(matches!(&refused, Error::Corrupt(reason) if reason.contains("service.2")), "{refused}");
    assert!(matches!(server.manager.rotate_scope_key("service").await, Err(Error::Corrupt(_))));
    let go_on = &mut |_| ControlFlow::Continue(());
    assert!(matches!(server.manager.rewrap_scopes(NO_PAUSE, go_on).await, Err(Error::Corrupt(_))));
    assert_eq!(server.payload(id).await, b"payload", "what can be read is read");
    site.store.apply(vec![Change::Create(lost)]).await.unwrap();
    assert_eq!(server.rewrap_scopes().await.destroyed, 1);
    assert_eq!(server.payload(id).await, b"payload");
}

#[test]
fn a_keyring_tells_its_master_keys_apart() {
    let (one, two) = (key(), key());
    let audit = key();
    let keyring = Keyring::new(("m1", &one), &[], ("a", &audit)).unwrap();
    assert!(keyring.audit_key().verify(&[b"x"], &chatelaine_crypto::MacKey::new(&audit).sign(&[b"x"])));
    assert_eq!(keyring.audit_key_id(), "a");
    assert!(matches!(keyring.activate("m1", &two), Err(Error::Invalid { .. })), "another key of the same id");
    keyring.activate("m1", &one).unwrap();
    assert_eq!(keyring.retired_ids(), Vec::<String>::new());
    assert!(matches!(keyring.forget_retired("m1"), Err(Error::WrongState { .. })));
    assert!(matches!(keyring.forget_retired("m2"), Err(Error::NotFound { .. })));
    keyring.activate("m2", &two).unwrap();
    keyring.activate("m1", &one).unwrap();
    assert_eq!((keyring.master_key_id(), keyring.retired_ids()), ("m1".to_owned(), vec!["m2".to_owned()]));
    keyring.forget_retired("m2").unwrap();
    assert_eq!(keyring.retired_ids(), Vec::<String>::new());
    assert!(keyring.audit_key().verify(&[b"x"], &chatelaine_crypto::MacKey::new(&audit).sign(&[b"x"])));
    for id in [String::new(), "m".repeat(256)] {
        assert!(matches!(keyring.activate(&id, &two), Err(Error::Invalid { .. })));
    }
    for number in 2..=64 {
        keyring.activate(&format!("m{number}"), &key()).unwrap();
    }
    assert!(matches!(keyring.activate("one too many", &two), Err(Error::Invalid { .. })));
    assert!(Keyring::new(("m", &one), &[("m", &two)], ("a", &audit)).is_err());
}
