//! New master keys for several servers: made and handed out first, used later.
//!
//! Invariants: at most one key is staged; it becomes active only when every enrolled host that has keys has confirmed it, or
//! an operator has said that it does not wait for that host.

use super::proof::wrap_audit_key;
use super::{Custody, Unsealed};
use crate::document::{KeyState, MAX_KEYS, SealedKey, SealedKeys, Waits};
use crate::hosts::{EnrolledHost, SERVER};
use crate::{MasterKey, SealError};

fn invalid(problem: impl Into<String>) -> SealError {
    SealError::Invalid { what: "master key", problem: problem.into() }
}

impl SealedKeys {
    /// Enrolled hosts with keys of the server that have not confirmed the key of this epoch, but for some.
    pub fn hosts_without(&self, epoch: u32, without: &[String]) -> impl Iterator<Item = &EnrolledHost> {
        let concerned =
            self.hosts.iter().filter(|host| host.may_get(SERVER) && !without.contains(&host.name));
        concerned.filter(move |host| host.has.as_ref().is_some_and(|has| has.kept < epoch))
    }

    /// The names of the hosts that the activation of the staged key waits for; nothing where no key that was made here is
    /// staged.
    #[must_use]
    pub fn waits_for(&self) -> Option<Vec<String>> {
        let staged = self.staged()?;
        let without = &staged.waits.as_ref()?.without;
        Some(self.hosts_without(staged.epoch, without).map(|host| host.name.clone()).collect())
    }

    /// The names of hosts that do not have the active key yet, and may need a retired one; those that its making did not
    /// wait for are not among them.
    #[must_use]
    pub fn hosts_behind(&self) -> Vec<String> {
        let Some(active) = self.active() else { return Vec::new() };
        let without = active.waits.as_ref().map_or(&[][..], |waits| &waits.without);
        self.hosts_without(active.epoch, without).map(|host| host.name.clone()).collect()
    }

    fn refuse_strangers(&self, without: &[String]) -> Result<(), SealError> {
        match without.iter().find(|name| !self.hosts.iter().any(|host| host.name == **name)) {
            None => Ok(()),
            Some(name) => Err(SealError::Invalid {
                what: "without",
                problem: format!("no host {name:?} is enrolled here"),
            }),
        }
    }
}

impl Custody {
    /// Makes the key that follows, and shows that it opens here.
    pub(super) fn make_next(
        &self,
        unsealed: &Unsealed,
        now: &str,
    ) -> Result<(MasterKey, SealedKey), SealError> {
        let document = &unsealed.document;
        if document.keys.len() >= MAX_KEYS {
            return Err(invalid(format!("there are {MAX_KEYS} already; destroy retired ones first")));
        }
        if let Some(staged) = document.staged() {
            return Err(invalid(format!("{} was made and is about to become active", staged.id)));
        }
        self.refuse_to_leave_out(document)?;
        let epoch = unsealed.keys.active.epoch.checked_add(1);
        let key = MasterKey::random(epoch.ok_or_else(|| invalid("there are no more epochs"))?)?;
        let (entry, mut pending) = self.seal_new(&document.cluster, &key, document.recovery.as_ref(), now)?;
        // Nobody shall find out at the next boot that the new key does not open.
        if let Some(state) = pending.pop() {
            return Err(SealError::NotApproved { place: self.describe(), state: Box::new(state) });
        }
        Ok((key, entry))
    }

    /// Makes a new master key that is not used yet. `without` are names of enrolled hosts that its activation does not wait
    /// for.
    ///
    /// # Errors
    /// As for [`Custody::rotate`]; [`SealError::Invalid`] for names of hosts that are not enrolled.
    pub fn stage(&self, unsealed: &mut Unsealed, without: Vec<String>, now: &str) -> Result<(), SealError> {
        unsealed.document.refuse_strangers(&without)?;
        let (key, mut entry) = self.make_next(unsealed, now)?;
        entry.state = KeyState::Staged;
        entry.waits = Some(Waits { without });
        let mut document = unsealed.document.clone();
        document.keys.insert(1.min(document.keys.len()), entry);
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        unsealed.keys.staged = Some(key);
        Ok(())
    }

    /// Lets the staged key wait for these hosts no longer.
    ///
    /// # Errors
    /// [`SealError::Invalid`] where no key made here is staged, or for names of hosts that are not enrolled; those of the file.
    pub fn wait_without(&self, unsealed: &mut Unsealed, without: Vec<String>) -> Result<(), SealError> {
        let mut document = unsealed.document.clone();
        document.refuse_strangers(&without)?;
        let staged = document.keys.get_mut(1).filter(|key| key.state == KeyState::Staged);
        let waits = staged.and_then(|key| key.waits.as_mut());
        let waits = waits.ok_or_else(|| invalid("none that was made here is about to become active"))?;
        let more: Vec<_> = without.into_iter().filter(|name| !waits.without.contains(name)).collect();
        if more.is_empty() {
            return Ok(());
        }
        waits.without.extend(more);
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(())
    }

    /// Makes the staged key the active one; the former one is retired. Whether it may be is for the caller to know.
    ///
    /// # Errors
    /// [`SealError::Invalid`] where none is staged; those of the file.
    pub fn activate_staged(&self, unsealed: &mut Unsealed, now: &str) -> Result<(), SealError> {
        let mut document = unsealed.document.clone();
        if document.staged().is_none() {
            return Err(invalid("none is about to become active"));
        }
        let Some(key) = &unsealed.keys.staged else {
            return Err(invalid("the one that is about to become active is not open"));
        };
        document.audit_key = wrap_audit_key(key, &unsealed.audit_key)?;
        document.keys.swap(0, 1);
        for (place, entry) in document.keys.iter_mut().enumerate() {
            entry.state = if place == 0 { KeyState::Active } else { KeyState::Retired };
        }
        if let Some(active) = document.keys.first_mut() {
            active.activated = Some(now.to_owned());
        }
        self.write(&mut document, key)?;
        let order: Vec<_> = document.keys.iter().map(|key| (key.id.clone(), key.state)).collect();
        unsealed.keys.rearrange(Vec::new(), &order);
        unsealed.document = document;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::file::FileSeal;

    const NOW: &str = "2026-01-02T00:00:00Z";

    fn host(name: &str, digit: char, kept: Option<u32>) -> EnrolledHost {
        EnrolledHost {
            name: name.to_owned(),
            endorsement_name: std::iter::repeat_n(digit, 68).collect(),
            certificate: false,
            keys: vec![SERVER.to_owned()],
            enrolled: NOW.to_owned(),
            has: kept.map(|kept| crate::hosts::Has { granted: 1, kept, changed: NOW.to_owned() }),
        }
    }

    fn custody() -> (tempfile::TempDir, Custody, Unsealed) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let seal = FileSeal::new(folder.path().join("sealing-key"));
        let custody = Custody::new(folder.path().join("keys.json"), vec![std::sync::Arc::new(seal)]);
        let unsealed = custody.create("2026-01-01T00:00:00Z").unwrap();
        (folder, custody, unsealed)
    }

    #[test]
    fn a_key_is_staged_and_becomes_active_later() {
        let (_folder, custody, mut unsealed) = custody();
        let first = unsealed.keys.active.id.clone();
        assert!(custody.activate_staged(&mut unsealed, NOW).is_err());
        custody.stage(&mut unsealed, Vec::new(), NOW).unwrap();
        let staged = unsealed.keys.staged.as_ref().unwrap().id.clone();
        assert_eq!(unsealed.keys.active.id, first);
        // It is there after a restart, and neither another one is made nor this one destroyed.
        let mut unsealed = custody.unseal().unwrap();
        assert_eq!(
            (&unsealed.keys.active.id, unsealed.keys.staged.as_ref().map(|key| &key.id)),
            (&first, Some(&staged))
        );
        let again = custody.stage(&mut unsealed, Vec::new(), NOW).unwrap_err().to_string();
        assert!(again.contains("about to become active"), "{again}");
        assert!(custody.rotate(&mut unsealed, NOW).is_err());
        assert!(custody.destroy(&mut unsealed, &staged).unwrap_err().to_string().contains("other servers"));

        custody.activate_staged(&mut unsealed, "2026-01-03T00:00:00Z").unwrap();
        for unsealed in [unsealed, custody.unseal().unwrap()] {
            assert_eq!((&unsealed.keys.active.id, unsealed.keys.staged.is_none()), (&staged, true));
            assert_eq!(unsealed.keys.retired[0].id, first);
            let entry = unsealed.document().active().unwrap();
            assert_eq!((entry.epoch, entry.activated.as_deref()), (2, Some("2026-01-03T00:00:00Z")));
        }
        // What follows goes on from there.
        let mut unsealed = custody.unseal().unwrap();
        custody.rotate(&mut unsealed, NOW).unwrap();
        assert_eq!(custody.unseal().unwrap().keys.iter().map(|key| key.epoch).collect::<Vec<_>>(), [3, 2, 1]);
    }

    #[test]
    fn activation_waits_for_every_host_that_has_keys() {
        let (_folder, custody, mut unsealed) = custody();
        for host in [host("new", '1', None), host("two", '2', Some(1)), host("three", '3', Some(1))] {
            custody.enrol(&mut unsealed, host).unwrap();
        }
        assert_eq!(unsealed.document().waits_for(), None);
        let unknown = custody.stage(&mut unsealed, vec!["four".to_owned()], NOW).unwrap_err().to_string();
        assert!(unknown.contains("\"four\""), "{unknown}");
        custody.stage(&mut unsealed, Vec::new(), NOW).unwrap();
        // One that was only enrolled has nothing to lose.
        assert_eq!(unsealed.document().waits_for().unwrap(), ["two", "three"]);
        let two = unsealed.document().hosts[1].endorsement_name.clone();
        custody.note_granted(&mut unsealed, &two, 2, NOW).unwrap();
        assert_eq!(unsealed.document().waits_for().unwrap(), ["two", "three"], "granted is not kept");
        custody.note_kept(&mut unsealed, &two, 2, NOW).unwrap();
        assert_eq!(custody.unseal().unwrap().document().waits_for().unwrap(), ["three"]);
        // An older confirmation that comes late takes nothing back.
        custody.note_kept(&mut unsealed, &two, 1, NOW).unwrap();
        assert_eq!(unsealed.document().waits_for().unwrap(), ["three"]);
        custody.wait_without(&mut unsealed, vec!["three".to_owned()]).unwrap();
        assert!(custody.wait_without(&mut unsealed, vec!["four".to_owned()]).is_err());
        assert_eq!(custody.unseal().unwrap().document().waits_for().unwrap(), [""; 0]);
        custody.activate_staged(&mut unsealed, NOW).unwrap();
        assert_eq!(unsealed.document().hosts_behind(), [""; 0]);
        assert!(custody.wait_without(&mut unsealed, Vec::new()).is_err());
        // Of the next key that cannot be said.
        custody.rotate(&mut unsealed, NOW).unwrap();
        assert_eq!(unsealed.document().hosts_behind(), ["two", "three"]);
    }
}
