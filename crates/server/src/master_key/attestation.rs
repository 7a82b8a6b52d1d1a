//! Hosts that may get the master keys of this server, and how they get them.
//!
//! Owns the holder's side of the exchange, made from the configuration when it is first asked for, and what waits for an
//! approval. Invariant: whatever is granted comes back to the caller only to be written down first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chatelaine_api::{
    BootStateDocument, HeldKeyDocument, HeldKeysDocument, HostDocument, HostsDocument, PendingHostDocument,
};
use chatelaine_core::audit::Action;
use chatelaine_core::clock::{Clock as _, SystemClock};
use chatelaine_seal::attest::{self, Challenged, Granted, Holder, HolderSettings, Kept, Reason, Refused};
use chatelaine_seal::boot::BootState;
use chatelaine_seal::document::SealedKeys;
use chatelaine_seal::hosts::EnrolledHost;
use chatelaine_seal::{Custody, SealError, Unsealed};

use super::changes::{Book, ChangeError};
use super::{Keeper, now};
use crate::config::Config;

/// Most boot states of other hosts that are remembered.
const MAX_PENDING: usize = 256;

/// What a running server remembers of hosts that join.
#[derive(Default)]
pub(super) struct Attestation {
    holder: parking_lot::Mutex<Option<Arc<Holder>>>,
    pending: parking_lot::Mutex<VecDeque<(String, BootState)>>,
}

impl Attestation {
    fn holder(&self, config: &Config) -> Result<Arc<Holder>, SealError> {
        let mut held = self.holder.lock();
        if let Some(holder) = &*held {
            return Ok(Arc::clone(holder));
        }
        let folder = &config.seal.tpm.makers;
        let makers = if folder.as_os_str().is_empty() { Vec::new() } else { attest::makers(folder)? };
        let holder = Arc::new(Holder::new(HolderSettings {
            registers: config.seal.tpm.registers.clone(),
            authority: config.release_authority_path(),
            approvals: config.approvals_path(),
            makers,
        })?);
        *held = Some(Arc::clone(&holder));
        Ok(holder)
    }

    fn remember(&self, refused: &Refused) {
        let (Some(host), Reason::NotApproved(states)) = (&refused.about.host, &refused.reason) else {
            return;
        };
        let mut pending = self.pending.lock();
        for state in states {
            let entry = (host.clone(), state.clone());
            pending.retain(|known| *known != entry);
            while pending.len() >= MAX_PENDING {
                pending.pop_front();
            }
            pending.push_back(entry);
        }
    }

    /// A host that got its keys has nothing to wait for.
    fn forget(&self, granted: &Granted) {
        self.pending.lock().retain(|(host, _)| granted.about.host.as_ref() != Some(host));
    }
}

/// The hosts of a document, and boot states that wait.
pub(crate) fn document(document: &SealedKeys, pending: Vec<(String, BootState)>) -> HostsDocument {
    let hosts = document.hosts.iter().map(|host| HostDocument {
        name: host.name.clone(),
        endorsement_name: host.endorsement_name.clone(),
        certificate: host.certificate,
        keys: host.keys.clone(),
        enrolled: host.enrolled.clone(),
        granted: host.has.as_ref().map_or(0, |has| has.granted),
        kept: host.has.as_ref().map_or(0, |has| has.kept),
    });
    let pending = pending.into_iter().map(|(host, state)| PendingHostDocument {
        host,
        state: BootStateDocument {
            cluster: state.cluster.to_string(),
            epoch: state.epoch,
            registers: state.registers,
            values: state.values,
            digest: state.digest,
        },
    });
    HostsDocument { hosts: hosts.collect(), pending: pending.collect() }
}

impl Keeper {
    /// The enrolled hosts, and boot states of theirs that wait to be approved.
    ///
    /// # Errors
    /// [`SealError::Sealed`] while nothing is open.
    pub(crate) async fn hosts(self: &Arc<Self>) -> Result<HostsDocument, SealError> {
        let pending = self.attestation.pending.lock().iter().cloned().collect();
        self.change(move |_, unsealed| Ok(document(unsealed.document(), pending))).await
    }

    /// Lets a host get master keys.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub(crate) async fn enrol(
        self: &Arc<Self>,
        book: Book<'_>,
        host: EnrolledHost,
    ) -> Result<(), ChangeError> {
        let text = format!(
            "host {}, endorsement key {}, {}, for {}",
            host.name,
            host.endorsement_name,
            if host.certificate { "with its certificate" } else { "by its name alone" },
            host.keys.join(", ")
        );
        let host = EnrolledHost { enrolled: now(), ..host };
        let work = move |custody: &Custody, unsealed: &mut Unsealed| custody.enrol(unsealed, host);
        book.around(self, Action::EnrolHost, &text, work).await
    }

    /// No longer lets a host get master keys.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub(crate) async fn withdraw(self: &Arc<Self>, book: Book<'_>, name: String) -> Result<(), ChangeError> {
        let text = format!("host {} is enrolled no longer", name.escape_default());
        let work =
            move |custody: &Custody, unsealed: &mut Unsealed| custody.withdraw(unsealed, &name).map(drop);
        book.around(self, Action::EnrolHost, &text, work).await
    }

    /// Challenges a host.
    ///
    /// # Errors
    /// [`SealError`] for what is wrong here; the refusal of the host is inside.
    pub(crate) async fn challenge(
        self: &Arc<Self>,
        key: String,
        hello: Vec<u8>,
        patience: Duration,
    ) -> Result<Result<Challenged, Box<Refused>>, SealError> {
        let keeper = Arc::clone(self);
        let now = u64::try_from(SystemClock.now().as_micros()).unwrap_or_default() / 1_000_000;
        self.change(move |_, unsealed| {
            let holder = keeper.attestation.holder(&keeper.config)?;
            Ok(holder.challenge(unsealed.document(), &key, &hello, now, patience))
        })
        .await
    }

    /// Checks what a host proved, and grants it the master keys. Nothing may be handed out before it is written down.
    ///
    /// # Errors
    /// As for [`Keeper::challenge`].
    pub(crate) async fn grant(
        self: &Arc<Self>,
        id: String,
        answer: Vec<u8>,
    ) -> Result<Result<Granted, Box<Refused>>, SealError> {
        let keeper = Arc::clone(self);
        self.change(move |custody, unsealed| {
            let granted = keeper.attestation.holder(&keeper.config)?.grant(unsealed, &id, &answer);
            match &granted {
                Ok(granted) => {
                    keeper.attestation.forget(granted);
                    let newest = granted.epochs.iter().max().copied().unwrap_or_default();
                    if let Some(name) = &granted.about.endorsement_name {
                        custody.note_granted(unsealed, name, newest, &now())?;
                    }
                }
                Err(refused) => keeper.attestation.remember(refused),
            }
            Ok(granted)
        })
        .await
    }

    /// Takes a host's word that it has kept what it got.
    ///
    /// # Errors
    /// As for [`Keeper::challenge`].
    pub(crate) async fn confirm(
        self: &Arc<Self>,
        id: String,
        confirmation: Vec<u8>,
    ) -> Result<Result<Kept, Box<Refused>>, SealError> {
        let keeper = Arc::clone(self);
        self.change(move |custody, unsealed| {
            let kept = keeper.attestation.holder(&keeper.config)?.confirm(&id, &confirmation);
            if let Ok(kept) = &kept
                && let Some(name) = &kept.about.endorsement_name
            {
                custody.note_kept(unsealed, name, kept.epoch, &now())?;
            }
            Ok(kept)
        })
        .await
    }

    /// Which master keys are here, for siblings.
    ///
    /// # Errors
    /// [`SealError::Sealed`] while nothing is open.
    pub(crate) async fn held_keys(self: &Arc<Self>) -> Result<HeldKeysDocument, SealError> {
        self.change(move |_, unsealed| {
            let keys = unsealed.document().keys.iter().map(|key| HeldKeyDocument {
                id: key.id.to_string(),
                epoch: key.epoch,
                state: super::document::word(key.state).to_owned(),
            });
            Ok(HeldKeysDocument { cluster: unsealed.cluster().to_string(), keys: keys.collect() })
        })
        .await
    }
}
