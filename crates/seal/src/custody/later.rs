//! Keys that come to a document that has keys already.
//!
//! Invariant: no entry goes, and none is used less newly than before; the audit key, the hosts and the recovery key of this
//! host stay.

use super::arriving::Arriving;
use super::proof::wrap_audit_key;
use super::sealing::closed_for;
use super::{Custody, Unsealed};
use crate::document::{KeyState, SealedKey, SealedKeys};
use crate::{KeyId, MasterKey, Seal, SealError};

/// What a sender says of a key, known here or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: KeyId,
    pub(crate) epoch: u32,
    pub(crate) state: KeyState,
    pub(crate) activated: Option<String>,
}

/// What has changed.
pub(crate) struct Later {
    pub(crate) added: Vec<(KeyId, u32, KeyState)>,
    pub(crate) activated: Option<KeyId>,
}

fn invalid(problem: &str) -> SealError {
    SealError::Invalid { what: "master keys", problem: problem.to_owned() }
}

/// The entries with the uses that the sender's list gives them, in the document's order. The list's active key must not be
/// older than the document's.
fn ordered(mut entries: Vec<SealedKey>, listed: &[Listed], now: &str) -> Result<Vec<SealedKey>, SealError> {
    let active = listed.iter().find(|key| key.state == KeyState::Active);
    let active = active.ok_or_else(|| invalid("the list has no active one"))?;
    for entry in &mut entries {
        let state = match entry.epoch.cmp(&active.epoch) {
            std::cmp::Ordering::Equal => KeyState::Active,
            std::cmp::Ordering::Greater => KeyState::Staged,
            std::cmp::Ordering::Less => KeyState::Retired,
        };
        if state == KeyState::Active && entry.state != KeyState::Active {
            entry.activated = Some(active.activated.clone().unwrap_or_else(|| now.to_owned()));
        }
        entry.state = state;
    }
    entries.sort_by_key(|entry| (place(entry.state), std::cmp::Reverse(entry.epoch)));
    Ok(entries)
}

const fn place(state: KeyState) -> u8 {
    match state {
        KeyState::Active => 0,
        KeyState::Staged => 1,
        KeyState::Retired => 2,
    }
}

impl Custody {
    /// Adds keys, of which `seal` may have its part already, and follows the sender's list.
    pub(crate) fn add_later(
        &self,
        unsealed: &mut Unsealed,
        new: Vec<(MasterKey, Arriving)>,
        listed: &[Listed],
        seal: &dyn Seal,
        now: &str,
    ) -> Result<Later, SealError> {
        self.require(seal)?;
        let mut document = unsealed.document.clone();
        self.refuse_to_leave_out(&document)?;
        let (mut keys, mut added) = (Vec::new(), Vec::new());
        for (key, arriving) in new {
            let mut entry = self.seal_arriving(&document.cluster, &key, arriving, now)?;
            if let Some(recipient) = &document.recovery {
                entry.seals.push(closed_for(recipient, &key, &key.identity(&document.cluster), now)?);
            }
            document.keys.push(entry);
            keys.push(key);
        }
        document.keys = ordered(document.keys, listed, now)?;
        for entry in document.keys.iter().filter(|entry| keys.iter().any(|key| key.id == entry.id)) {
            added.push((entry.id.clone(), entry.epoch, entry.state));
        }
        document.check().map_err(invalid)?;
        let state = |document: &SealedKeys| -> Vec<_> {
            document.keys.iter().map(|key| (key.id.clone(), key.state)).collect()
        };
        let order = state(&document);
        if order == state(&unsealed.document) {
            return Ok(Later { added, activated: None });
        }
        let id = document.active().map(|key| key.id.clone()).ok_or(SealError::InvalidId)?;
        let active =
            keys.iter().chain(unsealed.keys.iter()).find(|key| key.id == id).ok_or(SealError::InvalidId)?;
        let activated = (unsealed.keys.active.id != id).then(|| id.clone());
        if activated.is_some() {
            document.audit_key = wrap_audit_key(active, &unsealed.audit_key)?;
        }
        self.write(&mut document, active)?;
        unsealed.keys.rearrange(keys, &order);
        unsealed.document = document;
        Ok(Later { added, activated })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::file::FileSeal;
    use crate::recovery::RecoveryKey;

    const NOW: &str = "2026-01-05T00:00:00Z";

    fn setting() -> (tempfile::TempDir, Custody, Arc<FileSeal>, Unsealed) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let seal = Arc::new(FileSeal::new(folder.path().join("sealing-key")));
        let custody = Custody::new(folder.path().join("keys.json"), vec![Arc::clone(&seal) as Arc<dyn Seal>]);
        let mut unsealed = custody.create("2026-01-01T00:00:00Z").unwrap();
        let recovery = RecoveryKey::random().unwrap().recipient(NOW, 1, 1).unwrap();
        custody.set_recovery(&mut unsealed, Some(recovery), NOW).unwrap();
        (folder, custody, seal, unsealed)
    }

    fn came(key: &MasterKey) -> (MasterKey, Arriving) {
        let copy = crate::KeyMaterial::copy_from(key.material.expose());
        let copy = MasterKey { id: key.id.clone(), epoch: key.epoch, material: copy };
        let created = "2026-01-02T00:00:00Z".to_owned();
        (copy, Arriving { created, activated: None, state: KeyState::Retired, sealed: None })
    }

    fn listed(key: &MasterKey, state: KeyState) -> Listed {
        Listed { id: key.id.clone(), epoch: key.epoch, state, activated: None }
    }

    fn first(unsealed: &Unsealed) -> Listed {
        Listed { id: unsealed.keys.active.id.clone(), epoch: 1, state: KeyState::Active, activated: None }
    }

    #[test]
    fn keys_come_and_what_is_this_hosts_own_stays() {
        use KeyState::{Active, Retired, Staged};
        let (_folder, custody, seal, mut unsealed) = setting();
        let one = first(&unsealed);
        let (two, three) = (MasterKey::random(2).unwrap(), MasterKey::random(3).unwrap());
        let audit = (unsealed.audit_key.id.clone(), unsealed.document().recovery.clone());

        // Held first, used later.
        let list = [one.clone(), listed(&two, Staged)];
        let later = custody.add_later(&mut unsealed, vec![came(&two)], &list, seal.as_ref(), NOW).unwrap();
        assert_eq!((later.added, later.activated), (vec![(two.id.clone(), 2, Staged)], None));
        let opened = custody.unseal().unwrap();
        assert_eq!((&opened.keys.active.id, &opened.keys.staged.as_ref().unwrap().id), (&one.id, &two.id));
        // It was not made here: nothing here decides when it is used.
        assert_eq!(opened.document().waits_for(), None);
        let kinds: Vec<_> = opened.document().keys[1].seals.iter().map(|seal| seal.kind.as_str()).collect();
        assert_eq!(kinds, ["file", "recovery"]);

        // The same again writes nothing.
        let generation = unsealed.document().generation;
        let later = custody.add_later(&mut unsealed, Vec::new(), &list, seal.as_ref(), NOW).unwrap();
        assert!(later.added.is_empty() && later.activated.is_none());
        assert_eq!(unsealed.document().generation, generation);

        // Used, and the next one at once.
        let list = [listed(&three, Active), listed(&two, Retired), Listed { state: Retired, ..one }];
        let later = custody.add_later(&mut unsealed, vec![came(&three)], &list, seal.as_ref(), NOW).unwrap();
        assert_eq!(later.activated.as_ref(), Some(&three.id));
        for unsealed in [&unsealed, &custody.unseal().unwrap()] {
            let epochs: Vec<_> = unsealed.keys.iter().map(|key| key.epoch).collect();
            assert_eq!((epochs, unsealed.keys.staged.is_none()), (vec![3, 2, 1], true));
            assert_eq!(unsealed.document().active().unwrap().activated.as_deref(), Some(NOW));
            assert_eq!((unsealed.audit_key.id.clone(), unsealed.document().recovery.clone()), audit);
            for key in [&two, &three] {
                assert!(unsealed.keys.find(&key.id).unwrap().material.ct_eq(key.material.expose()));
            }
        }
    }

    #[test]
    fn what_the_sender_does_not_list_stays() {
        use KeyState::{Active, Retired};
        let (_folder, custody, seal, mut unsealed) = setting();
        let one = first(&unsealed);
        custody.stage(&mut unsealed, Vec::new(), NOW).unwrap();
        let staged = unsealed.keys.staged.as_ref().unwrap().id.clone();
        let three = MasterKey::random(3).unwrap();
        let list = [listed(&three, Active), Listed { state: Retired, ..one.clone() }];
        custody.add_later(&mut unsealed, vec![came(&three)], &list, seal.as_ref(), NOW).unwrap();
        let opened = custody.unseal().unwrap();
        let retired: Vec<_> = opened.keys.retired.iter().map(|key| key.id.clone()).collect();
        assert_eq!((retired, &opened.keys.active.id), (vec![staged, one.id], &three.id));
    }

    #[test]
    fn nothing_changes_where_the_keys_cannot_be_kept() {
        let (_folder, custody, seal, mut unsealed) = setting();
        let one = first(&unsealed);
        let two = MasterKey::random(2).unwrap();
        let list = [one, listed(&two, KeyState::Staged)];
        let before = std::fs::read(custody.path()).unwrap();
        let other = FileSeal::new(custody.path().with_file_name("other"));
        // Without the seal that has it, and where another seal would be left out.
        let alone = custody.with_seals(Vec::new());
        let refused = alone.add_later(&mut unsealed, vec![came(&two)], &list, seal.as_ref(), NOW);
        assert!(matches!(refused, Err(SealError::Invalid { what: "seal.kind", .. })));
        let another = custody.with_seals(vec![Arc::new(other)]);
        assert!(another.add_later(&mut unsealed, vec![came(&two)], &list, seal.as_ref(), NOW).is_err());
        // And where two keys would follow the active one.
        let three = MasterKey::random(3).unwrap();
        let both = vec![came(&two), came(&three)];
        assert!(custody.add_later(&mut unsealed, both, &list, seal.as_ref(), NOW).is_err());
        assert_eq!(std::fs::read(custody.path()).unwrap(), before);
        assert!(unsealed.keys.staged.is_none() && unsealed.keys.retired.is_empty());
    }
}
