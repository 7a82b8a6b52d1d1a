//! The check of a store finds what was done to it behind the manager's back.

use super::*;
use crate::check::{CheckReport, Knowledge};

async fn checked(house: &House) -> CheckReport {
    let House { manager, store, trail, .. } = house;
    crate::check::check(&**store, &manager.keyring, &**trail, Knowledge::Whole, &mut |_| {}).await.unwrap()
}

async fn problem(house: &House) -> String {
    let mut findings = checked(house).await.findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0).problem
}

async fn stored(house: &House, id: SecretId) -> Record {
    house.store.read(&Kind::SECRET, &id.to_string()).await.unwrap().unwrap()
}

/// Puts a record in the place of whatever is there, as somebody with access to the store could.
async fn plant(house: &House, record: Record) {
    if let Some(there) = house.store.read(&record.kind, &record.id).await.unwrap() {
        let removal = Change::Remove { kind: there.kind, id: there.id, expected: there.version };
        house.store.apply(vec![removal]).await.unwrap();
    }
    house.store.apply(vec![Change::Create(record)]).await.unwrap();
}

async fn two_keys() -> (House, SecretId, SecretId) {
    let house = house().await;
    let cinder = caller("cinder", &["service"]);
    let first = house.manager.put(&cinder, None, new_key(b"first")).await.unwrap().id;
    let second = house.manager.put(&cinder, None, new_key(b"second")).await.unwrap().id;
    (house, first, second)
}

#[tokio::test]
async fn a_good_store_has_no_findings_through_a_whole_life() {
    let (house, first, second) = two_keys().await;
    let cinder = caller("cinder", &["service"]);
    house.manager.revoke(&cinder, first, RevocationReason::Superseded).await.unwrap();
    house.manager.delete(&cinder, second, None).await.unwrap();
    let report = checked(&house).await;
    assert_eq!(report.findings, []);
    assert_eq!(report.records.get("secret"), Some(&2));
    house.clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(house.manager.reap().await.unwrap().purged, 1);
    assert_eq!(checked(&house).await.findings, []);
}

/// T-STORE-ROLLBACK: a whole older state of a record opens, but the trail knows better.
#[tokio::test]
async fn an_older_state_of_a_record_is_found() {
    let (house, first, _) = two_keys().await;
    let old = stored(&house, first).await;
    let update = KeyUpdate { name: Some(Some("new".to_owned())), ..KeyUpdate::default() };
    house.manager.update(&caller("cinder", &["service"]), first, Version::FIRST, update).await.unwrap();
    plant(&house, old).await;
    assert!(problem(&house).await.contains("rolled back"));
}

/// T-STORE-SWAP: a record in another's place does not open.
#[tokio::test]
async fn a_record_in_anothers_place_is_found() {
    let (house, first, second) = two_keys().await;
    let mut swapped = stored(&house, first).await;
    swapped.id = second.to_string();
    plant(&house, swapped).await;
    let findings = checked(&house).await.findings;
    assert!(findings.iter().any(|finding| finding.problem.contains("does not open")), "{findings:?}");
}

/// T-STORE-REMOVE: a record that is gone without a purge is missed.
#[tokio::test]
async fn a_removed_record_is_found() {
    let (house, first, _) = two_keys().await;
    let removal = Change::Remove { kind: Kind::SECRET, id: first.to_string(), expected: Version::FIRST };
    house.store.apply(vec![removal]).await.unwrap();
    assert!(problem(&house).await.contains("missing"));
}

/// A purged record that is put back from an old copy of the store is found.
#[tokio::test]
async fn a_record_back_from_its_grave_is_found() {
    let (house, first, _) = two_keys().await;
    let old = stored(&house, first).await;
    house.manager.delete(&caller("cinder", &["service"]), first, None).await.unwrap();
    house.clock.advance(Duration::from_secs(8 * 24 * 3600));
    house.manager.reap().await.unwrap();
    plant(&house, old).await;
    assert!(problem(&house).await.contains("purged"));
}

#[tokio::test]
async fn an_edited_index_is_found() {
    let (house, first, _) = two_keys().await;
    let mut edited = stored(&house, first).await;
    edited.attributes.owner = Some("mallory".to_owned());
    plant(&house, edited).await;
    assert!(problem(&house).await.contains("index"));
}

/// A change whose end was not logged because the process died may be there or not; both are good.
#[tokio::test]
async fn a_change_that_was_only_begun_may_have_happened_or_not() {
    let (house, first, _) = two_keys().await;
    let update = KeyUpdate { name: Some(Some("new".to_owned())), ..KeyUpdate::default() };
    house.manager.update(&caller("cinder", &["service"]), first, Version::FIRST, update).await.unwrap();
    let last = house.trail.events.lock().pop().unwrap();
    assert_eq!(last.outcome, Outcome::Success);
    assert_eq!(checked(&house).await.findings, []);
    // The same, where the store never got the change of the second key.
    let begun = house.trail.events.lock().last().unwrap().clone();
    let never = Event {
        target: Some(SecretId::random().to_string()),
        written: Some(Written { version: Version::FIRST, digest: "d".repeat(32) }),
        ..begun
    };
    house.trail.events.lock().push(never);
    assert_eq!(checked(&house).await.findings, []);
}

/// A trail that is read while the store is in use: each reading comes after another change of one key.
struct BusyTrail<'a> {
    house: &'a House,
    changing: SecretId,
}

#[async_trait]
impl AuditTrail for BusyTrail<'_> {
    async fn append(&self, events: &[Event], durability: Durability) -> std::result::Result<(), AuditError> {
        self.house.trail.append(events, durability).await
    }

    async fn histories(
        &self,
        wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> std::result::Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
        let cinder = caller("cinder", &["service"]);
        let version = self.house.manager.metadata(&cinder, self.changing).await.unwrap().version;
        let update = KeyUpdate { name: Some(Some(version.to_string())), ..KeyUpdate::default() };
        self.house.manager.update(&cinder, self.changing, version, update).await.unwrap();
        self.house.trail.histories(wanted).await
    }
}

#[tokio::test]
async fn a_store_in_use_raises_no_false_alarm() {
    let (house, first, second) = two_keys().await;
    let old = stored(&house, second).await;
    let update = KeyUpdate { name: Some(Some("new".to_owned())), ..KeyUpdate::default() };
    house.manager.update(&caller("cinder", &["service"]), second, Version::FIRST, update).await.unwrap();
    let busy = BusyTrail { house: &house, changing: first };
    let check = async || {
        crate::check::check(&*house.store, &house.manager.keyring, &busy, Knowledge::Whole, &mut |_| {})
            .await
            .unwrap()
            .findings
    };
    assert_eq!(check().await, []);
    plant(&house, old).await;
    let findings = check().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].id, second.to_string());
}

/// T-STORE-LOSS: damage is named, and the rest is checked.
#[tokio::test]
async fn damage_is_found() {
    let (house, first, second) = two_keys().await;
    house.store.lose_index(&first.to_string());
    house.clock.advance(Duration::from_secs(1));
    let third = house.manager.put(&caller("cinder", &["service"]), None, new_key(b"third")).await.unwrap().id;
    house.store.damage(&third.to_string());
    let report = checked(&house).await;
    let of = |id: &str| -> Vec<String> {
        report.findings.iter().filter(|found| found.id == id).map(|found| found.problem.clone()).collect()
    };
    assert!(of(&first.to_string()).iter().any(|problem| problem.contains("index")), "{report:?}");
    assert!(of(&third.to_string()).iter().any(|problem| problem.contains("cannot be read")), "{report:?}");
    assert!(of("").iter().any(|problem| problem.contains("1 places")), "{report:?}");
    assert_eq!(of(&second.to_string()), Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_key_without_a_tombstone_is_found() {
    let (house, first, _) = two_keys().await;
    house.manager.delete(&caller("cinder", &["service"]), first, None).await.unwrap();
    let stone = house.store.read(&Kind::TOMBSTONE, &first.to_string()).await.unwrap().unwrap();
    let removal = Change::Remove { kind: stone.kind, id: stone.id, expected: stone.version };
    house.store.apply(vec![removal]).await.unwrap();
    assert!(problem(&house).await.contains("no tombstone"));
    house.clock.advance(GRACE);
    assert_eq!(house.manager.reap().await.unwrap().purged, 1);
    assert_eq!(checked(&house).await.findings, []);
}
