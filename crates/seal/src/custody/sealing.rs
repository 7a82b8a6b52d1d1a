//! How a key gets into a seal, or is closed for the recovery key.
//!
//! Invariant: a seal opens what it has just sealed, or tells for which boot state it will.

use super::Custody;
use super::proof::check_of;
use crate::boot::BootState;
use crate::document::{KeyState, Sealed, SealedKey, SealedKeys};
use crate::recovery::{RecoveryRecipient, RecoverySeal};
use crate::{KeyId, KeyIdentity, MasterKey, MasterKeys, Seal, SealError};

impl Custody {
    /// Also tells for which boot states the key does not open yet.
    pub(super) fn seal_new(
        &self,
        cluster: &KeyId,
        key: &MasterKey,
        recovery: Option<&RecoveryRecipient>,
        now: &str,
    ) -> Result<(SealedKey, Vec<BootState>), SealError> {
        let identity = key.identity(cluster);
        let mut seals = Vec::new();
        let mut pending = Vec::new();
        for seal in &self.seals {
            seals.push(seal_one(seal.as_ref(), key, &identity, now, &mut pending)?);
        }
        if let Some(recipient) = recovery {
            seals.push(closed_for(recipient, key, &identity, now)?);
        }
        let key = SealedKey {
            id: key.id.clone(),
            epoch: key.epoch,
            state: KeyState::Active,
            created: now.to_owned(),
            activated: None,
            waits: None,
            check: check_of(key, &identity)?,
            seals,
        };
        Ok((key, pending))
    }
}

pub(super) fn gives_another_key(seal: &dyn Seal) -> SealError {
    SealError::Refused {
        place: seal.describe(),
        problem: "it does not give back the key that it was given".to_owned(),
        remedy: "do not use it".to_owned(),
    }
}

/// Seals a key and opens it again, to show that it can be opened; or tells that it will, once the boot state is approved.
fn seal_one(
    seal: &dyn Seal,
    key: &MasterKey,
    identity: &KeyIdentity<'_>,
    now: &str,
    pending: &mut Vec<BootState>,
) -> Result<Sealed, SealError> {
    let sealed = seal.seal(&key.material, identity)?;
    match seal.open(&sealed, identity) {
        Ok(opened) if opened.ct_eq(key.material.expose()) => {}
        Ok(_) => return Err(gives_another_key(seal)),
        Err(SealError::NotApproved { state, .. }) => pending.push(*state),
        Err(error) => return Err(error),
    }
    Ok(Sealed { kind: seal.kind().to_owned(), name: seal.name(), created: now.to_owned(), sealed })
}

/// Seals a key for the recovery key, whose private half is elsewhere.
pub(super) fn closed_for(
    recipient: &RecoveryRecipient,
    key: &MasterKey,
    identity: &KeyIdentity<'_>,
    now: &str,
) -> Result<Sealed, SealError> {
    let seal = RecoverySeal::of_recipient(recipient);
    let sealed = seal.seal(&key.material, identity)?;
    Ok(Sealed { kind: seal.kind().to_owned(), name: seal.name(), created: now.to_owned(), sealed })
}

pub(super) fn put(entry: &mut SealedKey, sealed: Sealed) {
    entry.seals.retain(|other| !other.is_by(&sealed.kind, &sealed.name));
    entry.seals.push(sealed);
}

pub(super) fn seal_all(
    document: &mut SealedKeys,
    keys: &MasterKeys,
    seal: &dyn Seal,
    now: &str,
) -> Result<Vec<BootState>, SealError> {
    let cluster = document.cluster.clone();
    let mut pending = Vec::new();
    for (entry, key) in document.keys.iter_mut().zip(keys.iter()) {
        put(entry, seal_one(seal, key, &key.identity(&cluster), now, &mut pending)?);
    }
    Ok(pending)
}
