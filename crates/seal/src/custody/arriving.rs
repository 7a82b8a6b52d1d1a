//! Keys that come from a sibling, of which a seal may have its part already.
//!
//! Invariant: the document is written only when every configured seal has opened every key here and now.

use std::sync::Arc;

use super::proof::check_of;
use super::sealing::gives_another_key;
use super::{Custody, Unsealed};
use crate::document::{KeyState, Sealed, SealedKey};
use crate::{KeyId, MasterKey, MasterKeys, Seal, SealError};

/// A key from elsewhere.
pub(crate) struct Arriving {
    pub(crate) created: String,
    pub(crate) activated: Option<String>,
    pub(crate) state: KeyState,
    /// What a seal of this kind and name has of it already.
    pub(crate) sealed: Option<(&'static str, String, serde_json::Value)>,
}

impl Custody {
    /// Begins a document with several keys, of which `seal`, one of the configured seals, may have some already.
    pub(crate) fn establish_all(
        &self,
        cluster: KeyId,
        keys: MasterKeys,
        arriving: Vec<Arriving>,
        seal: &dyn Seal,
        now: &str,
    ) -> Result<Unsealed, SealError> {
        self.require(seal)?;
        for seal in &self.seals {
            seal.prepare()?;
        }
        let mut entries = Vec::new();
        for (key, arriving) in keys.iter().zip(arriving) {
            entries.push(self.seal_arriving(&cluster, key, arriving, now)?);
        }
        self.begin(cluster, keys, entries, Vec::new())
    }

    /// Refuses a seal that is not among the configured ones.
    pub(super) fn require(&self, seal: &dyn Seal) -> Result<(), SealError> {
        let is_it = |other: &Arc<dyn Seal>| other.kind() == seal.kind() && other.name() == seal.name();
        if self.seals.iter().any(is_it) {
            return Ok(());
        }
        Err(SealError::Invalid {
            what: "seal.kind",
            problem: format!("seal.kind or seal.also must name `{}`", seal.kind()),
        })
    }

    /// Seals a key that came by every configured seal.
    pub(super) fn seal_arriving(
        &self,
        cluster: &KeyId,
        key: &MasterKey,
        arriving: Arriving,
        now: &str,
    ) -> Result<SealedKey, SealError> {
        let Arriving { created, activated, state, sealed } = arriving;
        let identity = key.identity(cluster);
        let mut seals = Vec::new();
        for seal in &self.seals {
            let as_it_came =
                sealed.as_ref().filter(|(kind, name, _)| seal.kind() == *kind && seal.name() == *name);
            let made = match as_it_came {
                Some((_, _, value)) => value.clone(),
                None => seal.seal(&key.material, &identity)?,
            };
            // This host has to open it alone, and now.
            if !seal.open(&made, &identity)?.ct_eq(key.material.expose()) {
                return Err(gives_another_key(seal.as_ref()));
            }
            let (kind, name) = (seal.kind().to_owned(), seal.name());
            seals.push(Sealed { kind, name, created: now.to_owned(), sealed: made });
        }
        let (id, epoch, check) = (key.id.clone(), key.epoch, check_of(key, &identity)?);
        Ok(SealedKey { id, epoch, state, created, activated, waits: None, check, seals })
    }
}
