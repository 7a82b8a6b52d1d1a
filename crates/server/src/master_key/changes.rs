//! Changes of how master keys are sealed, asked for by operators: each is written down before and after.

use std::sync::Arc;

use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::manager::Manager;
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::recovery::RecoveryRecipient;
use chatelaine_seal::{Custody, KeyId, Seal as _, SealError, Unsealed};

use super::{Keeper, blocking, now, seal, seals};
use crate::config::SealKind;

/// Where it is written down what was done.
#[derive(Clone, Copy)]
pub(crate) enum Book<'a> {
    /// The audit trail of the running server.
    Trail(&'a Manager),
    /// Where no server runs: the diary, which the next start hands over to the trail.
    Diary,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The seal's or the document's reason.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It could not be written down.
    #[error(transparent)]
    Audit(#[from] chatelaine_core::Error),
}

impl Book<'_> {
    pub(super) async fn note(
        self,
        keeper: &Keeper,
        action: Action,
        outcome: Outcome,
        text: &str,
    ) -> Result<(), ChangeError> {
        match self {
            Self::Trail(manager) => {
                manager.note_own_outcome(action, outcome, Some(text.to_owned())).await?;
            }
            Self::Diary => keeper.diary().note(action, outcome, text),
        }
        Ok(())
    }

    /// Does something between two entries.
    pub(crate) async fn around<T: Send + 'static>(
        self,
        keeper: &Arc<Keeper>,
        action: Action,
        text: &str,
        work: impl FnOnce(&Custody, &mut Unsealed) -> Result<T, SealError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        self.note(keeper, action, Outcome::Pending, text).await?;
        match keeper.change(work).await {
            Ok(done) => {
                tracing::info!(action = action.cadf(), "{text}");
                self.note(keeper, action, Outcome::Success, text).await?;
                Ok(done)
            }
            Err(error) => {
                tracing::error!(action = action.cadf(), %error, "not done: {text}");
                self.note(keeper, action, Outcome::Failure, &format!("{text}: {error}")).await?;
                Err(error.into())
            }
        }
    }
}

impl Keeper {
    /// Seals all master keys by one more seal, or by a known one anew.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub(crate) async fn add_seal(
        self: &Arc<Self>,
        book: Book<'_>,
        kind: SealKind,
        passphrase: Option<KeyMaterial>,
    ) -> Result<(), ChangeError> {
        let seal = match passphrase {
            None => seal(self.config(), kind)?,
            Some(passphrase) if kind == SealKind::Passphrase => {
                let seal = seals::passphrase(self.config())?;
                seal.supply(passphrase)?;
                Arc::new(seal)
            }
            Some(_) => {
                let problem = "only the seal passphrase takes one".to_owned();
                return Err(SealError::Invalid { what: "passphrase", problem }.into());
            }
        };
        let text = format!("all master keys by {}", seal.describe());
        let work = move |custody: &Custody, unsealed: &mut Unsealed| {
            custody.add_seal(unsealed, seal.as_ref(), &now())?;
            Ok(std::mem::take(&mut unsealed.pending))
        };
        let pending = book.around(self, Action::SealMasterKey, &text, work).await?;
        self.remember(&pending);
        Ok(())
    }

    /// Removes what a seal made of the master keys.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub(crate) async fn remove_seal(
        self: &Arc<Self>,
        book: Book<'_>,
        kind: String,
        name: String,
    ) -> Result<(), ChangeError> {
        let text = format!("no master key by {kind} {name} any more");
        let work =
            move |custody: &Custody, unsealed: &mut Unsealed| custody.remove_seal(unsealed, &kind, &name);
        book.around(self, Action::SealMasterKey, &text, work).await
    }

    /// Seals all master keys for a recovery key; none removes the former one.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub(crate) async fn set_recovery(
        self: &Arc<Self>,
        book: Book<'_>,
        recipient: Option<RecoveryRecipient>,
    ) -> Result<(), ChangeError> {
        let text = match &recipient {
            Some(recipient) => format!("all master keys for recovery key {}", recipient.fingerprint()),
            None => "no master key for a recovery key any more".to_owned(),
        };
        let work = move |custody: &Custody, unsealed: &mut Unsealed| {
            custody.set_recovery(unsealed, recipient, &now())
        };
        book.around(self, Action::SealMasterKey, &text, work).await
    }

    /// Caps this boot, where that is configured and the TPM has opened the keys in it: everything else is open by now, so that
    /// the TPM is needed no more.
    ///
    /// # Errors
    /// [`ChangeError`]; the server must not serve then.
    pub(crate) async fn cap(&self, book: Book<'_>) -> Result<(), ChangeError> {
        let Some((tpm, register)) = self.tpm_to_cap() else { return Ok(()) };
        let text = format!(
            "no master key by {} until the host starts anew: PCR {register} is extended",
            tpm.describe()
        );
        book.note(self, Action::SealMasterKey, Outcome::Pending, &text).await?;
        match blocking(move || tpm.cap()).await {
            Ok(_) => {
                tracing::warn!(
                    register,
                    "capped: the TPM opens the master keys for nobody until the host starts anew"
                );
                book.note(self, Action::SealMasterKey, Outcome::Success, &text).await
            }
            Err(error) => {
                book.note(self, Action::SealMasterKey, Outcome::Failure, &format!("{text}: {error}")).await?;
                Err(error.into())
            }
        }
    }

    /// Removes a retired master key for good.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub(crate) async fn destroy(self: &Arc<Self>, book: Book<'_>, id: KeyId) -> Result<(), ChangeError> {
        let text = format!("master key {id}");
        let work = move |custody: &Custody, unsealed: &mut Unsealed| custody.destroy(unsealed, &id);
        book.around(self, Action::DestroyMasterKey, &text, work).await
    }
}
