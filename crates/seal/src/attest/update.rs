//! Later master keys for a host that has joined: the same exchange, at the end of which the host's document stays and has
//! more keys in it.
//!
//! Invariants: what came is believed only if somebody made the list who has the key that is active here, or the one that is
//! staged and came with the word of that, or if a person said which key is the right one; nothing that is known is replaced, and nothing is taken back.
//!
//! Refuses: keys of another cluster, other keys of known ids and epochs, and senders who are behind this host. Keys that are
//! older than the active one and are not here any more stay away: they were destroyed, and a grant of them may be an old one.

use chatelaine_tpm::attest::messages::DIGEST;

use super::bundle::{Bundle, GrantedKey, confirmation};
use super::joiner::{Arrived, JoinError, Proven, arriving, install};
use crate::custody::later::{Later, Listed};
use crate::document::{KeyState, fingerprint, parse_fingerprint};
use crate::tpm::TpmSeal;
use crate::{Custody, KeyId, MasterKey, SealError, Unsealed};

/// What came, checked; nothing is written yet.
#[derive(Debug)]
pub struct Update {
    new: Vec<(MasterKey, Arrived)>,
    listed: Vec<Listed>,
    left_out: Vec<u32>,
    newest: KeyId,
    proof: [u8; DIGEST],
}

/// What an update has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The keys that were added: epoch and use.
    pub added: Vec<(KeyId, u32, KeyState)>,
    /// The key that is active now, where it was another one before.
    pub activated: Option<KeyId>,
    /// The epochs of older keys that stayed away.
    pub left_out: Vec<u32>,
    /// What to tell the sender.
    pub confirmation: Vec<u8>,
}

impl Updated {
    /// Whether anything is as it was.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.added.is_empty() && self.activated.is_none()
    }
}

impl Proven {
    /// The last step of a host that has master keys: opens those that are new in the TPM, and checks that they belong to
    /// those that it has. `expected` is the fingerprint of the active key at the sender, where a person gave it.
    ///
    /// # Errors
    /// [`JoinError`]
    pub fn receive_later(
        &self,
        seal: &TpmSeal,
        bundle: &[u8],
        own: &Unsealed,
        expected: Option<&str>,
    ) -> Result<Update, JoinError> {
        let bundle = Bundle::parse(bundle)?;
        if !self.answered.is_vouched(&bundle.body(), &bundle.proof) {
            return Err(JoinError::NotVouched);
        }
        if bundle.cluster != *own.cluster() {
            return Err(JoinError::OtherCluster { found: bundle.cluster, own: own.cluster().clone() });
        }
        let active = bundle.keys.first().ok_or(JoinError::NotVouched)?;
        let own_epoch = own.keys.active.epoch;
        if active.epoch < own_epoch {
            return Err(JoinError::Older { found: active.epoch, own: own_epoch });
        }
        let unknown = unknown_of(&bundle, own)?;
        judge(&bundle, own, expected)?;
        let authority = seal.authority()?;
        let (mut new, mut left_out) = (Vec::new(), Vec::new());
        for granted in unknown {
            if granted.epoch < own_epoch {
                left_out.push(granted.epoch);
            } else {
                new.push(self.open(seal.tpm(), &bundle.cluster, granted, &authority)?);
            }
        }
        // A person has said which key is active; that one has to be the list's.
        if let Some((key, _)) = new.iter().find(|(key, _)| key.id == active.id)
            && !bundle.is_by(&key.id, &key.material)?
        {
            return Err(JoinError::OtherKey(active.id.clone()));
        }
        let newest = bundle.newest().ok_or(JoinError::NotVouched)?.id.clone();
        let proof = bundle.proof;
        let listed = bundle
            .keys
            .into_iter()
            .map(|key| Listed { id: key.id, epoch: key.epoch, state: key.state, activated: key.activated })
            .collect();
        Ok(Update { new, listed, left_out, newest, proof })
    }
}

/// The keys that this host does not have.
fn unknown_of<'a>(bundle: &'a Bundle, own: &Unsealed) -> Result<Vec<&'a GrantedKey>, JoinError> {
    let mut unknown = Vec::new();
    for granted in &bundle.keys {
        let known = own.document.keys.iter().find(|key| key.id == granted.id || key.epoch == granted.epoch);
        match known {
            None => unknown.push(granted),
            Some(known)
                if known.id == granted.id && known.epoch == granted.epoch && known.check == granted.check => {
            }
            Some(_) => return Err(JoinError::Conflict { id: granted.id.clone(), epoch: granted.epoch }),
        }
    }
    Ok(unknown)
}

/// Whether the keys are those of this host's servers.
fn judge(bundle: &Bundle, own: &Unsealed, expected: Option<&str>) -> Result<(), JoinError> {
    let own_key = &own.keys.active;
    if let (Some(expected), Some(active)) = (expected, bundle.keys.first()) {
        let (expected, found) = (parse_fingerprint(expected)?, fingerprint(&active.check));
        if expected != found {
            return Err(JoinError::Unexpected(format!(
                "the active one has the fingerprint {found}, not {expected}"
            )));
        }
    }
    // The staged one came with the word of the active one, which may be destroyed there by now.
    let own_keys = std::iter::once(own_key).chain(&own.keys.staged);
    let listed: Vec<_> = own_keys.filter(|own| bundle.keys.iter().any(|key| key.id == own.id)).collect();
    for key in &listed {
        if !bundle.is_by(&key.id, &key.material)? {
            return Err(JoinError::Unexpected(format!(
                "whoever made the list does not have master key {}, which is {} here",
                key.id,
                if key.id == own_key.id { "active" } else { "staged" }
            )));
        }
    }
    if listed.is_empty() && expected.is_none() {
        return Err(JoinError::Unexpected(format!(
            "master key {}, which is active here, is not among them, so that nothing shows whose they are; if it was \
             destroyed there, give the fingerprint of the active one with --expect",
            own_key.id
        )));
    }
    Ok(())
}

impl Custody {
    /// Adds the keys that came to the document, sealed as they came by this host's TPM and by the other configured seals and
    /// the recovery key. Installs the approvals that came along.
    ///
    /// # Errors
    /// Those of the seals and the file; the keys are as they were then.
    pub fn take_later(
        &self,
        unsealed: &mut Unsealed,
        update: Update,
        seal: &TpmSeal,
        now: &str,
    ) -> Result<Updated, SealError> {
        let Update { new, listed, left_out, newest, proof } = update;
        for (key, arrived) in &new {
            install(&arrived.approval, &key.identity(unsealed.cluster()), seal, now)?;
        }
        let new: Vec<_> = new.into_iter().map(|(key, arrived)| (key, arriving(arrived, seal))).collect();
        let Later { added, activated } = self.add_later(unsealed, new, &listed, seal, now)?;
        let newest = unsealed.keys.find(&newest).ok_or(SealError::InvalidId)?;
        let confirmation = confirmation(&newest.material, &proof)?.to_vec();
        Ok(Updated { added, activated, left_out, confirmation })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use chatelaine_crypto::KeyMaterial;

    use super::*;
    use crate::MasterKeys;
    use crate::file::FileSeal;

    /// The list of somebody who knows everything of the keys but themselves.
    #[test]
    fn a_list_is_believed_to_who_has_the_active_key_of_this_host() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let seal = FileSeal::new(folder.path().join("sealing-key"));
        let custody = Custody::new(folder.path().join("keys.json"), vec![std::sync::Arc::new(seal)]);
        let mut own = custody.create("2026-01-01T00:00:00Z").unwrap();
        custody.rotate(&mut own, "2026-01-02T00:00:00Z").unwrap();
        let granted = |key: &crate::document::SealedKey| GrantedKey {
            id: key.id.clone(),
            epoch: key.epoch,
            state: key.state,
            created: key.created.clone(),
            activated: None,
            check: key.check.clone().try_into().unwrap(),
            authenticator: [0; DIGEST],
            grant: Vec::new(),
        };
        let keys = own.document().keys.iter().map(granted).collect();
        let mut bundle = Bundle { cluster: own.cluster().clone(), keys, proof: [0; DIGEST] };
        let (theirs, ours) = (KeyMaterial::random(256).unwrap(), &own.keys);
        let copy = |material: &KeyMaterial| KeyMaterial::copy_from(material.expose());
        let with = |active: &KeyMaterial| MasterKeys {
            active: MasterKey { id: ours.active.id.clone(), epoch: 2, material: copy(active) },
            staged: None,
            // The retired one was stolen.
            retired: vec![MasterKey {
                id: ours.retired[0].id.clone(),
                epoch: 1,
                material: copy(&ours.retired[0].material),
            }],
        };
        bundle.authenticate(&with(&theirs)).unwrap();
        assert!(unknown_of(&bundle, &own).unwrap().is_empty());
        for expected in [None, Some(fingerprint(&bundle.keys[0].check))] {
            let refused = judge(&bundle, &own, expected.as_deref()).unwrap_err();
            assert!(refused.to_string().contains("does not have master key"), "{refused}");
        }
        bundle.authenticate(&with(&ours.active.material)).unwrap();
        judge(&bundle, &own, None).unwrap();
        let wrong = judge(&bundle, &own, Some(&"0".repeat(32))).unwrap_err();
        assert!(matches!(wrong, JoinError::Unexpected(_)), "{wrong}");
        // By the staged key where the active one is gone there; not by a key that is not here at all.
        let mut later = custody.unseal().unwrap();
        custody.stage(&mut later, Vec::new(), "2026-01-03T00:00:00Z").unwrap();
        let entry = later.document().staged().unwrap();
        let granted = GrantedKey { state: KeyState::Active, ..granted(entry) };
        let mut alone = Bundle { cluster: own.cluster().clone(), keys: vec![granted], proof: [0; DIGEST] };
        let with = |material: &KeyMaterial| MasterKeys {
            active: MasterKey { id: entry.id.clone(), epoch: 3, material: copy(material) },
            staged: None,
            retired: Vec::new(),
        };
        alone.authenticate(&with(&later.keys.staged.as_ref().unwrap().material)).unwrap();
        judge(&alone, &later, None).unwrap();
        assert!(judge(&alone, &own, None).unwrap_err().to_string().contains("--expect"));
        alone.authenticate(&with(&theirs)).unwrap();
        assert!(judge(&alone, &later, None).unwrap_err().to_string().contains("which is staged here"));
        bundle.keys[1].check[0] ^= 1;
        assert!(matches!(unknown_of(&bundle, &own), Err(JoinError::Conflict { epoch: 1, .. })));
    }
}
