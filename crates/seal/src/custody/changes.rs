//! Changes of what is kept: other keys, other seals, another recovery key.
//!
//! Invariant: memory follows the disk: what is unsealed changes only after the document was written. Refuses to leave anybody
//! behind who relies on a seal, and to write over what another process wrote.

use super::proof::{authenticate, wrap_audit_key};
use super::sealing::{closed_for, put, seal_all};
use super::{Custody, Unsealed};
use crate::document::{KeyState, Sealed, SealedKeys};
use crate::recovery::RecoveryRecipient;
use crate::{KeyId, MasterKey, Seal, SealError};

impl Custody {
    /// Makes a new active master key; the former one is retired. The caller uses the new one from now on and moves
    /// everything that the retired one wraps.
    ///
    /// # Errors
    /// Those of the seals and the file; nothing has changed then.
    pub fn rotate(&self, unsealed: &mut Unsealed, now: &str) -> Result<(), SealError> {
        let (key, entry) = self.make_next(unsealed, now)?;
        let mut document = unsealed.document.clone();
        for former in &mut document.keys {
            former.state = KeyState::Retired;
        }
        document.keys.insert(0, entry);
        document.audit_key = wrap_audit_key(&key, &unsealed.audit_key)?;
        self.write(&mut document, &key)?;
        unsealed.document = document;
        let former = std::mem::replace(&mut unsealed.keys.active, key);
        unsealed.keys.retired.insert(0, former);
        Ok(())
    }

    /// Refuses a new key where a seal that holds the present one would not hold it: whoever relies on that seal would be
    /// locked out.
    pub(super) fn refuse_to_leave_out(&self, document: &SealedKeys) -> Result<(), SealError> {
        let sealed = document.active().into_iter().flat_map(|key| &key.seals);
        let other = sealed
            .filter(|sealed| sealed.kind != crate::recovery::KIND)
            .find(|sealed| !self.seals.iter().any(|seal| sealed.is_by(seal.kind(), &seal.name())));
        match other {
            None => Ok(()),
            Some(Sealed { kind, name, .. }) => Err(SealError::Invalid {
                what: "seal",
                problem: format!(
                    "{kind} {name} holds the master key and would not hold a new one: name it in seal.kind or seal.also and \
                     restart the server, or remove it with `chatelaine master-key seal remove`"
                ),
            }),
        }
    }

    /// Removes a retired master key for good. Whoever asks has made sure that nothing is wrapped under it.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for the active key and unknown ones; those of the file.
    pub fn destroy(&self, unsealed: &mut Unsealed, id: &KeyId) -> Result<(), SealError> {
        if unsealed.keys.active.id == *id {
            return Err(SealError::Invalid {
                what: "master key",
                problem: format!("{id} is active; rotate the master key first"),
            });
        }
        if unsealed.keys.staged.as_ref().is_some_and(|key| key.id == *id) {
            let problem = format!("{id} is about to become active: other servers may have it and use it");
            return Err(SealError::Invalid { what: "master key", problem });
        }
        if !unsealed.keys.retired.iter().any(|key| key.id == *id) {
            return Err(SealError::Invalid { what: "master key", problem: format!("there is no {id}") });
        }
        let mut document = unsealed.document.clone();
        document.keys.retain(|key| key.id != *id);
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        unsealed.keys.retired.retain(|key| key.id != *id);
        Ok(())
    }

    /// Seals all keys by one more seal, or anew by one that sealed them before.
    ///
    /// # Errors
    /// Those of the seal and the file; nothing has changed then.
    pub fn add_seal(&self, unsealed: &mut Unsealed, seal: &dyn Seal, now: &str) -> Result<(), SealError> {
        seal.prepare()?;
        let mut document = unsealed.document.clone();
        let pending = seal_all(&mut document, &unsealed.keys, seal, now)?;
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        unsealed.pending = pending;
        Ok(())
    }

    /// Removes what a seal made.
    ///
    /// # Errors
    /// [`SealError::Invalid`] where it made nothing, or where a key would be left without any other; those of the file.
    pub fn remove_seal(&self, unsealed: &mut Unsealed, kind: &str, name: &str) -> Result<(), SealError> {
        let invalid = |problem: String| SealError::Invalid { what: "seal", problem };
        let mut document = unsealed.document.clone();
        let mut removed = false;
        for key in &mut document.keys {
            let before = key.seals.len();
            key.seals.retain(|sealed| !sealed.is_by(kind, name));
            removed |= key.seals.len() < before;
        }
        if !removed {
            return Err(invalid(format!("{kind} {name} has sealed no key")));
        }
        for (entry, key) in document.keys.iter().zip(unsealed.keys.iter()) {
            // Break-glass alone is no way to start, nor is a seal that nobody has configured.
            let mut failures = Vec::new();
            let opened = self.open(&document.cluster, entry, &mut failures, &mut Vec::new());
            if !opened.is_ok_and(|(material, _)| material.ct_eq(key.material.expose())) {
                return Err(invalid(format!(
                    "{kind} {name} is the last one that opens master key {} here: add another, name it in seal.kind or \
                     seal.also, and restart the server first",
                    key.id
                )));
            }
        }
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(())
    }

    /// Seals all keys for a recovery key, in place of a former one; none removes it.
    ///
    /// # Errors
    /// Those of the file; nothing has changed then.
    pub fn set_recovery(
        &self,
        unsealed: &mut Unsealed,
        recipient: Option<RecoveryRecipient>,
        now: &str,
    ) -> Result<(), SealError> {
        let mut document = unsealed.document.clone();
        for key in &mut document.keys {
            key.seals.retain(|sealed| sealed.kind != crate::recovery::KIND);
        }
        if let Some(recipient) = &recipient {
            let cluster = document.cluster.clone();
            for (entry, key) in document.keys.iter_mut().zip(unsealed.keys.iter()) {
                put(entry, closed_for(recipient, key, &key.identity(&cluster), now)?);
            }
        }
        document.recovery = recipient;
        self.write(&mut document, &unsealed.keys.active)?;
        unsealed.document = document;
        Ok(())
    }

    pub(crate) fn write(&self, document: &mut SealedKeys, active: &MasterKey) -> Result<(), SealError> {
        let on_disk = self.read()?.generation;
        if on_disk != document.generation {
            return Err(SealError::Refused {
                place: self.file.describe(),
                problem: "another process has changed it since it was read".to_owned(),
                remedy: "stop the other process, and restart this one".to_owned(),
            });
        }
        document.generation = document.generation.saturating_add(1);
        self.file.replace(&authenticate(document, active)?)
    }
}
