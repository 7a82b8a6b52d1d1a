//! The master keys of a running server: who opens them, when, and what is written down about it.
//!
//! Owns the [`Keeper`], the only holder of opened master keys beside the keyring. Everything on it that touches a seal runs
//! on a thread that may block.
//!
//! Invariant: at most one of unseal, rotation and change of seals runs at a time.

pub(crate) mod attestation;
pub(crate) mod changes;
pub(crate) mod diary;
pub(crate) mod document;
pub(crate) mod later;
pub(crate) mod rotation;
mod seals;
pub(crate) mod siblings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::clock::{Clock as _, SystemClock};
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::boot::BootState;
use chatelaine_seal::passphrase::{self, PassphraseSeal};
use chatelaine_seal::recovery::{RecoveryKey, RecoverySeal};
use chatelaine_seal::tpm::TpmSeal;
use chatelaine_seal::{Custody, Seal, SealError, Unsealed};
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::config::Config;
use diary::Diary;
pub(crate) use seals::{Seals, seal, tpm};

/// The pauses between attempts to unseal grow to so many times the first one.
const LONGEST_PAUSE: u32 = 32;

/// Holds the master keys, or waits for them.
pub struct Keeper {
    custody: Custody,
    seals: Vec<Arc<dyn Seal>>,
    passphrase: Option<PassphraseSeal>,
    tpm: Option<Arc<TpmSeal>>,
    /// Whether it was the TPM that opened a key.
    opened_by_tpm: AtomicBool,
    config: Config,
    diary: Diary,
    unsealed: Mutex<Option<Unsealed>>,
    /// Why the keys are not open.
    problem: parking_lot::Mutex<Option<String>>,
    /// Boot states that wait to be approved.
    pending: parking_lot::Mutex<Vec<BootState>>,
    again: Notify,
    pub(crate) rotation: rotation::Progress,
    attestation: attestation::Attestation,
    pub(crate) siblings: siblings::Siblings,
}

/// Why there are no keys.
#[derive(Debug)]
pub enum NotUnsealed {
    /// The seals do not open now. They may later.
    Sealed(SealError),
    /// Something must be mended before the server can start.
    Failed(SealError),
}

impl NotUnsealed {
    fn of(error: SealError) -> Self {
        match error {
            SealError::Sealed { .. }
            | SealError::Unavailable { .. }
            | SealError::Refused { .. }
            | SealError::NotApproved { .. } => Self::Sealed(error),
            _ => Self::Failed(error),
        }
    }

    /// The seals' own words.
    pub fn into_error(self) -> SealError {
        match self {
            Self::Sealed(error) | Self::Failed(error) => error,
        }
    }
}

/// The time, as documents have it.
pub(crate) fn now() -> String {
    SystemClock.now().to_string()
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SealError> + Send + 'static,
) -> Result<T, SealError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(SealError::Unavailable {
            place: "the seal".to_owned(),
            problem: format!("its thread ended: {error}"),
        })
    })
}

impl Keeper {
    /// The keeper of the configured seals; nothing is opened yet.
    ///
    /// # Errors
    /// Settings that no seal can be made of.
    pub fn new(config: &Config) -> Result<Self, SealError> {
        let Seals { all, passphrase, tpm } = Seals::configured(config)?;
        Ok(Self {
            custody: Custody::new(config.sealed_keys_path(), all.clone()),
            seals: all,
            passphrase,
            tpm,
            opened_by_tpm: AtomicBool::new(false),
            config: config.clone(),
            diary: Diary::in_folder(&config.data.folder),
            unsealed: Mutex::new(None),
            problem: parking_lot::Mutex::new(None),
            pending: parking_lot::Mutex::default(),
            again: Notify::new(),
            rotation: rotation::Progress::default(),
            attestation: attestation::Attestation::default(),
            siblings: siblings::Siblings::new(&config.siblings),
        })
    }

    /// Takes the passphrase from the descriptor that is configured for it, if one is. For the server, at its start.
    ///
    /// # Errors
    /// [`SealError::Io`] where nothing can be read; [`SealError::Invalid`] for what is no passphrase.
    pub fn take_from_descriptor(&self) -> Result<(), SealError> {
        match self.config.seal.passphrase.descriptor {
            0 => Ok(()),
            _ if !self.asks_for_passphrase() => Ok(()),
            number => self.supply(passphrase::from_descriptor(number)?),
        }
    }

    /// The seals, as they describe themselves.
    pub fn describe(&self) -> String {
        self.custody.describe()
    }

    pub(crate) const fn custody(&self) -> &Custody {
        &self.custody
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) const fn diary(&self) -> &Diary {
        &self.diary
    }

    /// Whether the document exists.
    ///
    /// # Errors
    /// Where that cannot be told.
    pub fn exists(&self) -> Result<bool, SealError> {
        self.custody.exists()
    }

    /// Asks the seals once. `make` says that there is no store yet, so that keys may be made.
    ///
    /// # Errors
    /// [`NotUnsealed`].
    pub async fn unseal(&self, make: bool) -> Result<(), NotUnsealed> {
        let mut held = self.unsealed.lock().await;
        if held.is_some() {
            return Ok(());
        }
        let custody = self.custody.clone();
        let outcome = blocking(move || match custody.unseal() {
            Err(SealError::Missing { .. }) if make && !custody.exists()? => {
                custody.create(&now()).map(|made| (made, true))
            }
            other => other.map(|unsealed| (unsealed, false)),
        })
        .await;
        self.settle(&mut held, outcome)
    }

    /// Takes what a command has opened itself, or why nothing opened.
    ///
    /// # Errors
    /// That.
    pub(crate) async fn take(&self, outcome: Result<Unsealed, SealError>) -> Result<(), SealError> {
        let mut held = self.unsealed.lock().await;
        let settled = self.settle(&mut held, outcome.map(|unsealed| (unsealed, false)));
        settled.map_err(NotUnsealed::into_error)
    }

    /// Keeps the keys, or the problem, and writes down what happened. With the keys: whether they were made.
    fn settle(
        &self,
        held: &mut Option<Unsealed>,
        outcome: Result<(Unsealed, bool), SealError>,
    ) -> Result<(), NotUnsealed> {
        match outcome {
            Ok((unsealed, made)) => {
                let tpm = self.tpm.as_ref().filter(|_| !made).map(|tpm| tpm.describe());
                let by_tpm = tpm.is_some_and(|tpm| unsealed.opened_by.contains(&tpm));
                self.opened_by_tpm.store(by_tpm, Ordering::Relaxed);
                for failure in &unsealed.failures {
                    tracing::warn!(failure, "a seal did not open; another one did");
                }
                let key = unsealed.keys.active.id.to_string();
                let by = unsealed.opened_by.first().cloned().unwrap_or_default();
                if made {
                    let place = self.custody.path().display();
                    tracing::info!(master_key = key, %place, seal = by, "a new master key was made: back up what seals it, apart from the store");
                }
                let (action, what) = if made {
                    (Action::SealMasterKey, "made and sealed by")
                } else {
                    (Action::UnsealMasterKey, "opened by")
                };
                self.diary.note(action, Outcome::Success, &format!("master key {key} {what} {by}"));
                *self.problem.lock() = None;
                self.remember(&unsealed.pending);
                *held = Some(unsealed);
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                if let SealError::Sealed { pending, .. } = &error {
                    self.remember(pending);
                }
                let mut problem = self.problem.lock();
                // Once, and not with each attempt.
                if problem.as_ref() != Some(&text) {
                    self.diary.note(Action::UnsealMasterKey, Outcome::Failure, &text);
                    *problem = Some(text);
                }
                Err(NotUnsealed::of(error))
            }
        }
    }

    /// Returns when the keys are open: asks the seals again and again, and at once when somebody says so. `make` is asked
    /// each time.
    pub async fn wait_until_unsealed(&self, make: impl AsyncFn() -> bool, first_pause: Duration) {
        let longest = first_pause.saturating_mul(LONGEST_PAUSE);
        let mut pause = first_pause;
        loop {
            if tokio::time::timeout(pause, self.again.notified()).await.is_ok() {
                pause = first_pause;
            }
            match self.unseal(make().await).await {
                Ok(()) => return,
                // Somebody may be about to put things right: files half copied, modes not yet set.
                Err(error) => {
                    let error = error.into_error();
                    tracing::warn!(%error, seconds = pause.as_secs(), "still sealed");
                    pause = pause.saturating_mul(2).min(longest);
                }
            }
        }
    }

    /// Asks the seals at once, with a passphrase if one is given.
    ///
    /// # Errors
    /// [`SealError::Invalid`] where no seal wants a passphrase; what the seals say.
    pub async fn unseal_now(&self, make: bool, passphrase: Option<KeyMaterial>) -> Result<(), SealError> {
        if let Some(passphrase) = passphrase {
            self.supply(passphrase)?;
        }
        let outcome = self.unseal(make).await;
        if outcome.is_ok() {
            self.again.notify_one();
        }
        outcome.map_err(NotUnsealed::into_error)
    }

    /// Takes the passphrase of the seal that asks for one.
    ///
    /// # Errors
    /// [`SealError::Invalid`] where none does, and for one that is empty or too long.
    pub(crate) fn supply(&self, passphrase: KeyMaterial) -> Result<(), SealError> {
        let seal = self.passphrase.as_ref().filter(|seal| seal.is_asked_for());
        let seal = seal.ok_or_else(|| SealError::Invalid {
            what: "passphrase",
            problem: "no seal waits for one: seal.kind and seal.also do not name `passphrase`, or seal.passphrase.file is set".to_owned(),
        })?;
        seal.supply(passphrase)
    }

    /// The configured seals.
    pub(crate) fn seals(&self) -> Vec<Arc<dyn Seal>> {
        self.seals.clone()
    }

    /// The document, to be opened by a recovery key alone.
    ///
    /// # Errors
    /// [`SealError::Invalid`] for bytes that are no key.
    pub(crate) fn recovering(&self, key: RecoveryKey) -> Result<Custody, SealError> {
        Ok(self.custody.with_seals(vec![Arc::new(RecoverySeal::of_key(key)?)]))
    }

    /// Keeps boot states for those who approve, and tells of them.
    fn remember(&self, pending: &[BootState]) {
        for state in pending {
            tracing::warn!(%state, "not approved: the TPM will not open the master key in this boot state; see `chatelaine master-key approve`");
        }
        *self.pending.lock() = pending.to_vec();
    }

    /// Boot states that wait to be approved.
    pub(crate) fn pending(&self) -> Vec<BootState> {
        let mut pending = self.pending.lock();
        // Approvals are installed while the server runs.
        if let Some(tpm) = &self.tpm {
            pending.retain(|state| !tpm.is_approved(state));
        }
        pending.clone()
    }

    /// The TPM seal, where it is configured.
    pub(crate) fn tpm(&self) -> Option<&Arc<TpmSeal>> {
        self.tpm.as_ref()
    }

    /// The TPM seal and the register to be capped, where one is and this TPM has opened the keys.
    fn tpm_to_cap(&self) -> Option<(Arc<TpmSeal>, u8)> {
        let register = self.config.seal.tpm.cap()?;
        let tpm = self.tpm.as_ref().filter(|_| self.opened_by_tpm.load(Ordering::Relaxed))?;
        Some((Arc::clone(tpm), register))
    }

    /// Whether a person has to give the passphrase.
    pub fn asks_for_passphrase(&self) -> bool {
        self.passphrase.as_ref().is_some_and(PassphraseSeal::is_asked_for)
    }

    /// Why the keys are not open; nothing where they are, or nobody has tried.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Says what keeps the server from serving though its keys are open, or that nothing does any more.
    pub(crate) fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    /// The opened keys, to the exclusion of everybody else.
    pub(crate) async fn opened(&self) -> MutexGuard<'_, Option<Unsealed>> {
        self.unsealed.lock().await
    }

    /// Changes what is kept, where it may block, and writes down that it was done.
    ///
    /// # Errors
    /// [`SealError::Sealed`] while nothing is open; those of the change.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Custody, &mut Unsealed) -> Result<T, SealError> + Send + 'static,
    ) -> Result<T, SealError> {
        let keeper = Arc::clone(self);
        // A change that was begun goes on to its end, whoever asked for it and went away.
        let running = tokio::task::spawn_blocking(move || {
            let mut held = keeper.unsealed.blocking_lock();
            let unsealed = held.as_mut().ok_or_else(|| SealError::Sealed {
                key: "of this server".to_owned(),
                failures: vec!["unseal it first".to_owned()],
                pending: Vec::new(),
            })?;
            work(&keeper.custody, unsealed)
        });
        running.await.unwrap_or_else(|error| {
            Err(SealError::Unavailable { place: "the seal".to_owned(), problem: error.to_string() })
        })
    }
}
