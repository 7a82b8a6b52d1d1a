//! Master keys as documents of the control socket and the command line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatelaine_api::{
    BootStateDocument, MasterKeyDocument, MasterKeysDocument, RecoveryDocument, SealedByDocument,
};
use chatelaine_seal::SealError;
use chatelaine_seal::boot::BootState;
use chatelaine_seal::document::{KeyState, SealedKeys};

use super::Keeper;

impl Keeper {
    /// What there is to say of the master keys. `running`: whether a server asks.
    ///
    /// # Errors
    /// Those of the file of the sealed keys.
    pub(crate) async fn status(&self, running: bool) -> Result<MasterKeysDocument, SealError> {
        let (sealed, held) = match self.unsealed.try_lock() {
            Ok(held) => (held.is_none(), held.as_ref().map(|unsealed| unsealed.document().clone())),
            // A change runs, for which the keys must be open, or an attempt to open them.
            Err(_) => (self.problem().is_some(), None),
        };
        let document = match held {
            Some(document) => Some(document),
            None => {
                let custody = self.custody.clone();
                super::blocking(move || match custody.read() {
                    Ok(document) => Ok(Some(document)),
                    Err(SealError::Missing { .. }) => Ok(None),
                    Err(error) => Err(error),
                })
                .await?
            }
        };
        let mut status = document.map_or_else(MasterKeysDocument::default, |document| shown(&document));
        status.running = running;
        status.sealed = sealed;
        status.problem = self.problem();
        status.seals = self.describe();
        status.rotation = self.rotation.document();
        status.pending = self.pending().into_iter().map(boot_state).collect();
        status.siblings = self.siblings.document().siblings;
        Ok(status)
    }
}

/// A boot state as a document.
pub(crate) fn boot_state(state: BootState) -> BootStateDocument {
    let BootState { cluster, epoch, registers, values, digest } = state;
    BootStateDocument { cluster: cluster.to_string(), epoch, registers, values, digest }
}

/// What a key is used for, in a word.
pub(crate) const fn word(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Staged => "staged",
        KeyState::Retired => "retired",
    }
}

fn shown(document: &SealedKeys) -> MasterKeysDocument {
    let keys = document.keys.iter().map(|key| MasterKeyDocument {
        id: key.id.to_string(),
        epoch: key.epoch,
        state: word(key.state).to_owned(),
        created: key.created.clone(),
        fingerprint: key.fingerprint(),
        seals: key
            .seals
            .iter()
            .map(|sealed| SealedByDocument {
                kind: sealed.kind.clone(),
                name: sealed.name.clone(),
                created: sealed.created.clone(),
            })
            .collect(),
    });
    MasterKeysDocument {
        cluster: document.cluster.to_string(),
        keys: keys.collect(),
        waits_for: document.waits_for().unwrap_or_default(),
        recovery: document.recovery.as_ref().map(|recipient| RecoveryDocument {
            fingerprint: recipient.fingerprint(),
            public_key: STANDARD.encode(&recipient.public_key),
            created: recipient.created.clone(),
            threshold: recipient.threshold,
            shares: recipient.shares,
        }),
        ..MasterKeysDocument::default()
    }
}
