use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::KeyIdentity;
use crate::file::FileSeal;
use crate::passphrase::{Cost, PassphraseSeal};
use crate::recovery::{RecoveryKey, RecoverySeal};
use crate::testkit::private_folder;

const NOW: &str = "2026-01-01T00:00:00Z";

struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self { folder: private_folder() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn seal(&self, name: &str) -> Arc<dyn Seal> {
        Arc::new(FileSeal::new(self.path(name)))
    }

    fn custody(&self) -> Custody {
        Custody::new(self.path("sealed-keys.json"), vec![self.seal("sealing-key")])
    }

    fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.path("sealed-keys.json");
        let mut document: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut document);
        std::fs::write(&path, document.to_string()).unwrap();
    }
}

fn passphrase(text: &str) -> Arc<PassphraseSeal> {
    let seal = PassphraseSeal::new(None, Cost { memory_kib: 8192, passes: 1, lanes: 1 }).unwrap();
    seal.supply(KeyMaterial::copy_from(text.as_bytes())).unwrap();
    Arc::new(seal)
}

fn same(one: &Unsealed, other: &Unsealed) {
    assert_eq!(one.document, other.document);
    assert_eq!(one.keys.iter().count(), other.keys.iter().count());
    for (one, other) in one.keys.iter().zip(other.keys.iter()) {
        assert_eq!((&one.id, one.epoch), (&other.id, other.epoch));
        assert!(one.material.ct_eq(other.material.expose()));
    }
    assert_eq!(one.audit_key.id, other.audit_key.id);
    assert!(one.audit_key.material.ct_eq(other.audit_key.material.expose()));
}

#[test]
fn what_was_created_is_unsealed_and_never_overwritten() {
    let house = House::new();
    assert!(matches!(house.custody().unseal(), Err(SealError::Missing { .. })));
    let created = house.custody().create(NOW).unwrap();
    assert_eq!(created.keys.active.epoch, 1);
    same(&created, &house.custody().unseal().unwrap());
    assert!(matches!(house.custody().create(NOW), Err(SealError::Exists { .. })));
    same(&created, &house.custody().unseal().unwrap());
}

#[test]
fn rotation_retires_and_destruction_removes() {
    let house = House::new();
    let custody = house.custody();
    let mut unsealed = custody.create(NOW).unwrap();
    let first = unsealed.keys.active.id.clone();
    let audit_key = unsealed.audit_key.id.clone();
    custody.rotate(&mut unsealed, NOW).unwrap();
    custody.rotate(&mut unsealed, NOW).unwrap();
    assert_eq!(unsealed.keys.iter().map(|key| key.epoch).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(unsealed.audit_key.id, audit_key);
    same(&unsealed, &house.custody().unseal().unwrap());

    let active = unsealed.keys.active.id.clone();
    assert!(custody.destroy(&mut unsealed, &active).unwrap_err().to_string().contains("is active"));
    assert!(custody.destroy(&mut unsealed, &KeyId::random().unwrap()).is_err());
    custody.destroy(&mut unsealed, &first).unwrap();
    assert_eq!(unsealed.keys.iter().map(|key| key.epoch).collect::<Vec<_>>(), [3, 2]);
    same(&unsealed, &house.custody().unseal().unwrap());
    assert!(!std::fs::read_to_string(custody.path()).unwrap().contains(first.as_str()));
}

/// Several seals hold the same key: that is how an installation moves from one to another.
#[test]
fn keys_move_from_one_seal_to_another() {
    let house = House::new();
    let mut unsealed = house.custody().create(NOW).unwrap();
    house.custody().rotate(&mut unsealed, NOW).unwrap();
    let error = house.custody().remove_seal(&mut unsealed, "file", "file").unwrap_err();
    assert!(error.to_string().contains("the last one"), "{error}");

    let person = passphrase("correct horse battery");
    house.custody().add_seal(&mut unsealed, person.as_ref(), NOW).unwrap();
    let both = house.custody().with_seals(vec![person.clone(), house.seal("sealing-key")]);
    let opened = both.unseal().unwrap();
    assert_eq!(opened.opened_by, ["passphrase", "passphrase"]);
    both.remove_seal(&mut unsealed, "file", "file").unwrap();
    assert!(matches!(house.custody().unseal(), Err(SealError::Sealed { .. })));
    same(&unsealed, &house.custody().with_seals(vec![person]).unseal().unwrap());
    assert!(
        both.remove_seal(&mut unsealed, "tpm", "tpm").unwrap_err().to_string().contains("has sealed no key")
    );
}

#[test]
fn what_each_seal_said_is_told() {
    let house = House::new();
    let mut unsealed = house.custody().create(NOW).unwrap();
    let person = passphrase("correct horse battery");
    house.custody().add_seal(&mut unsealed, person.as_ref(), NOW).unwrap();
    let seals: Vec<Arc<dyn Seal>> = vec![passphrase("incorrect horse"), house.seal("sealing-key")];
    let opened = house.custody().with_seals(seals).unseal().unwrap();
    assert_eq!(opened.failures.len(), 1);
    assert!(opened.failures[0].contains("does not open"), "{:?}", opened.failures);
    let seals: Vec<Arc<dyn Seal>> = vec![passphrase("incorrect horse"), house.seal("other-key")];
    let error = house.custody().with_seals(seals).unseal().unwrap_err().to_string();
    assert!(error.contains("does not open") && error.contains("other-key"), "{error}");
    let error = house.custody().with_seals(Vec::new()).unseal().unwrap_err().to_string();
    assert!(error.contains("no seal is configured"), "{error}");
}

/// T-SEAL-EDIT: whoever edits the document without the master key is found out.
#[test]
fn an_edited_document_is_refused() {
    let house = House::new();
    let mut unsealed = house.custody().create(NOW).unwrap();
    house.custody().rotate(&mut unsealed, NOW).unwrap();
    let mine = RecoveryKey::random().unwrap().recipient(NOW, 1, 1).unwrap();
    let whole = std::fs::read(house.path("sealed-keys.json")).unwrap();
    type Edit<'a> = &'a dyn Fn(&mut serde_json::Value);
    let edits: [(&str, Edit<'_>); 6] = [
        // The next master key would be sealed for the attacker.
        ("recovery", &|document| document["recovery"] = serde_json::json!(mine)),
        ("generation", &|document| document["generation"] = 100.into()),
        ("created", &|document| document["keys"][0]["created"] = "2030-01-01T00:00:00Z".into()),
        ("a key less", &|document| drop(document["keys"].as_array_mut().unwrap().pop())),
        ("a seal less", &|document| document["keys"][1]["seals"][0]["created"] = "".into()),
        ("audit", &|document| document["audit_key"]["id"] = KeyId::random().unwrap().to_string().into()),
    ];
    for (what, edit) in edits {
        std::fs::write(house.path("sealed-keys.json"), &whole).unwrap();
        house.edit(edit);
        let error = house.custody().unseal().unwrap_err();
        assert!(matches!(error, SealError::Damaged { .. }), "{what}: {error}");
    }
    std::fs::write(house.path("sealed-keys.json"), &whole).unwrap();
    house.edit(|document| document["keys"][0]["check"] = document["keys"][1]["check"].clone());
    assert!(house.custody().unseal().unwrap_err().to_string().contains("another key than was sealed"));
    house.edit(|document| document["keys"][0]["epoch"] = 9.into());
    assert!(matches!(house.custody().unseal(), Err(SealError::Sealed { .. })));
    std::fs::write(house.path("sealed-keys.json"), &whole).unwrap();
    same(&unsealed, &house.custody().unseal().unwrap());
}

#[test]
fn two_processes_do_not_overwrite_each_other() {
    let house = House::new();
    let mut one = house.custody().create(NOW).unwrap();
    let mut other = house.custody().unseal().unwrap();
    house.custody().rotate(&mut one, NOW).unwrap();
    let error = house.custody().rotate(&mut other, NOW).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    assert_eq!(other.keys.active.epoch, 1);
    same(&one, &house.custody().unseal().unwrap());
}

/// A seal that breaks at some call.
struct Fragile {
    inner: Arc<dyn Seal>,
    works: AtomicBool,
    lies: AtomicBool,
}

impl Seal for Fragile {
    fn kind(&self) -> &'static str {
        "fragile"
    }

    fn describe(&self) -> String {
        "fragile".to_owned()
    }

    fn prepare(&self) -> Result<(), SealError> {
        self.inner.prepare()
    }

    fn seal(&self, key: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<serde_json::Value, SealError> {
        if !self.works.load(Ordering::Relaxed) {
            let problem = "unplugged".to_owned();
            return Err(SealError::Unavailable { place: self.describe(), problem });
        }
        if self.lies.load(Ordering::Relaxed) {
            return self.inner.seal(&KeyMaterial::zeroed(32), identity);
        }
        self.inner.seal(key, identity)
    }

    fn open(&self, sealed: &serde_json::Value, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, SealError> {
        self.inner.open(sealed, identity)
    }
}

#[test]
fn a_seal_that_fails_or_lies_leaves_everything_as_it_was() {
    let house = House::new();
    let fragile = Arc::new(Fragile {
        inner: house.seal("sealing-key"),
        works: AtomicBool::new(true),
        lies: AtomicBool::new(false),
    });
    let custody = house.custody().with_seals(vec![fragile.clone()]);
    let mut unsealed = custody.create(NOW).unwrap();
    fragile.works.store(false, Ordering::Relaxed);
    assert!(matches!(custody.rotate(&mut unsealed, NOW), Err(SealError::Unavailable { .. })));
    fragile.works.store(true, Ordering::Relaxed);
    fragile.lies.store(true, Ordering::Relaxed);
    let error = custody.rotate(&mut unsealed, NOW).unwrap_err();
    assert!(error.to_string().contains("does not give back the key"), "{error}");
    assert_eq!(unsealed.keys.active.epoch, 1);
    same(&unsealed, &custody.unseal().unwrap());
}

/// T-LOCKED-OUT: with every other seal gone, the recovery key opens all keys, also those made after it.
#[test]
fn the_recovery_key_opens_when_all_else_is_lost() {
    let house = House::new();
    let custody = house.custody();
    let mut unsealed = custody.create(NOW).unwrap();
    let key = RecoveryKey::random().unwrap();
    let text = key.to_text().unwrap();
    custody.set_recovery(&mut unsealed, Some(key.recipient(NOW, 1, 1).unwrap()), NOW).unwrap();
    custody.rotate(&mut unsealed, NOW).unwrap();
    std::fs::remove_file(house.path("sealing-key")).unwrap();
    assert!(matches!(custody.unseal(), Err(SealError::Sealed { .. })));

    let recovery = |key| -> Vec<Arc<dyn Seal>> { vec![Arc::new(RecoverySeal::of_key(key).unwrap())] };
    let mut recovered = custody.with_seals(recovery(RecoveryKey::parse(&text).unwrap())).unseal().unwrap();
    same(&unsealed, &recovered);
    let error = custody.with_seals(recovery(RecoveryKey::random().unwrap())).unseal().unwrap_err();
    assert!(error.to_string().contains("fetch that one"), "{error}");

    custody.add_seal(&mut recovered, &FileSeal::new(house.path("sealing-key")), NOW).unwrap();
    same(&recovered, &custody.unseal().unwrap());

    custody.set_recovery(&mut recovered, None, NOW).unwrap();
    let error = custody.with_seals(recovery(RecoveryKey::parse(&text).unwrap())).unseal().unwrap_err();
    assert!(error.to_string().contains("did not seal this key"), "{error}");
}
