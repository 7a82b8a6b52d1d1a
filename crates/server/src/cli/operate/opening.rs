//! Master keys opened in the process of a command, where no server is asked for what needs them.
//!
//! Owns the question for the passphrase: on a terminal, or else the first line of standard input. Invariant: it is asked for
//! only where a seal waits for one and no other seal opens the keys. Changes nothing and writes nothing down.

use chatelaine_core::keyring::Keyring;
use chatelaine_seal::passphrase::MAX_PASSPHRASE;
use chatelaine_seal::{SealError, Unsealed};

use super::failed;
use crate::cli::{Failure, Terminal};
use crate::config::Config;
use crate::master_key::{Keeper, blocking};
use crate::startup;

/// What came of it.
pub(super) enum Opening {
    /// The keys.
    Open(Box<Unsealed>),
    /// What the seals said.
    Closed(SealError),
    /// The same, where a passphrase would have been taken and nobody gave one.
    NotGiven(SealError),
}

/// Asks the seals, and then, if need be, for the passphrase.
pub(super) async fn attempt(keeper: &Keeper, terminal: &mut Terminal) -> Result<Opening, Failure> {
    let ask_seals = || {
        let custody = keeper.custody().clone();
        blocking(move || custody.unseal())
    };
    let error = match ask_seals().await {
        Ok(unsealed) => return Ok(Opening::Open(Box::new(unsealed))),
        Err(error @ SealError::Sealed { .. }) if keeper.asks_for_passphrase() => error,
        Err(error) => return Ok(Opening::Closed(error)),
    };
    let given = terminal.ask_secret("Passphrase: ", MAX_PASSPHRASE)?;
    if given.is_empty() {
        return Ok(Opening::NotGiven(error));
    }
    if let Err(error) = keeper.supply(given) {
        return Ok(Opening::Closed(error));
    }
    Ok(match ask_seals().await {
        Ok(unsealed) => Opening::Open(Box::new(unsealed)),
        Err(error) => Opening::Closed(error),
    })
}

impl Opening {
    /// The keys, or why there are none.
    pub(super) fn into_result(self) -> Result<Unsealed, SealError> {
        match self {
            Self::Open(unsealed) => Ok(*unsealed),
            Self::Closed(error) | Self::NotGiven(error) => Err(error),
        }
    }
}

/// Advice for those who gave no passphrase.
pub(super) const GIVE_IT: &str = "type the passphrase, or give it as the first line of standard input";

/// The keyring over the configured master keys.
pub(super) async fn keyring(config: &Config, terminal: &mut Terminal) -> Result<Keyring, Failure> {
    let seal = |error: SealError| failed(anyhow::Error::new(error).context("seal"));
    let keeper = Keeper::new(config).map_err(seal)?;
    match attempt(&keeper, terminal).await? {
        Opening::Open(unsealed) => startup::keyring(&unsealed).map_err(failed),
        Opening::Closed(error) => Err(seal(error)),
        Opening::NotGiven(error) => Err(seal(error).advise(GIVE_IT)),
    }
}
