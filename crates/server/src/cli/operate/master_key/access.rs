//! Where the master keys are reached: in the running server, or here.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_api::MasterKeysDocument;
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::SealError;
use chatelaine_seal::passphrase::{MAX_PASSPHRASE, MIN_PASSPHRASE};
use serde::Serialize;

use crate::audit;
use crate::cli::operate::opening::{self, GIVE_IT, Opening};
use crate::cli::operate::{control, failed};
use crate::cli::{Exit, Failure, Terminal};
use crate::config::Config;
use crate::master_key::{Keeper, NotUnsealed, changes::ChangeError};

/// Seals may be slow: a TPM, a token, a costly passphrase.
const PATIENCE: Duration = Duration::from_secs(300);

/// Opened master keys.
pub(in crate::cli::operate) enum Access {
    /// The running server's.
    Server,
    /// Of this process, while no server runs.
    Here { keeper: Arc<Keeper>, _lock: audit::Lock },
}

impl Access {
    /// Reaches the server, or opens the keys here.
    pub(in crate::cli::operate) async fn open(
        config: &Config,
        terminal: &mut Terminal,
    ) -> Result<Self, Failure> {
        if control::connect(&config.control_path()).await?.is_some() {
            return Ok(Self::Server);
        }
        let keeper = Arc::new(Keeper::new(config).map_err(seal_failed)?);
        if !keeper.exists().map_err(seal_failed)? {
            return Err(Failure::new(
                Exit::NotFound,
                format!("{}: there are no sealed master keys", config.sealed_keys_path().display()),
            )
            .advise("name the server's configuration with --config FILE"));
        }
        let lock = audit::lock(&config.audit_path()).map_err(failed)?;
        let opening = opening::attempt(&keeper, terminal).await?;
        let given = !matches!(opening, Opening::NotGiven(_));
        keeper.take(opening.into_result()).await.map_err(|error| match given {
            true => seal_failed(error),
            false => seal_failed(error).advise(GIVE_IT),
        })?;
        Ok(Self::Here { keeper, _lock: lock })
    }

    /// What there is to say of keys that are open here.
    pub(super) async fn status(&self) -> Result<MasterKeysDocument, Failure> {
        match self {
            Self::Server => Err(failed(anyhow::anyhow!("the server is asked for its own status"))),
            Self::Here { keeper, .. } => keeper.status(false).await.map_err(seal_failed),
        }
    }
}

/// The status by the server, or what the document says where none runs.
pub(super) async fn status(config: &Config) -> Result<MasterKeysDocument, Failure> {
    if control::connect(&config.control_path()).await?.is_some() {
        return ask_server(config, "/master-key/status", &()).await;
    }
    let keeper = Keeper::new(config).map_err(seal_failed)?;
    let status = keeper.status(false).await.map_err(seal_failed)?;
    Ok(MasterKeysDocument { sealed: true, ..status })
}

/// Asks the running server.
pub(super) async fn ask_server(
    config: &Config,
    path: &str,
    request: &impl Serialize,
) -> Result<MasterKeysDocument, Failure> {
    control::ask(&config.control_path(), path, request, PATIENCE).await
}

/// A seal's refusal as a failure of a command.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(in crate::cli::operate) fn seal_failed(error: SealError) -> Failure {
    let exit = match error {
        SealError::Invalid { .. } => Exit::Usage,
        SealError::Unavailable { .. } | SealError::Sealed { .. } | SealError::NotApproved { .. } => {
            Exit::Unavailable
        }
        SealError::Missing { .. } => Exit::NotFound,
        SealError::Exists { .. } => Exit::Conflict,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

/// The same for a change.
pub(in crate::cli::operate) fn refused(error: ChangeError) -> Failure {
    match error {
        ChangeError::Seal(error) => seal_failed(error),
        ChangeError::Audit(error) => failed(error),
    }
}

impl From<NotUnsealed> for Failure {
    fn from(error: NotUnsealed) -> Self {
        seal_failed(error.into_error())
    }
}

/// Asks before something that cannot be taken back.
pub(super) fn confirm(yes: bool, what: &str, terminal: &mut Terminal) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !terminal.can_ask() {
        return Err(Failure::usage("there is nobody to confirm this")
            .advise("give --yes if it is meant, or run it on a terminal without --format json"));
    }
    if terminal.ask(&format!("{what} Type yes to go on: "))? == "yes" {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "nothing was changed: the answer was not yes"))
    }
}

/// A passphrase that did not exist before: twice, where a person types it.
pub(in crate::cli::operate) fn new_passphrase(terminal: &mut Terminal) -> Result<KeyMaterial, Failure> {
    let first = terminal.ask_secret("New passphrase: ", MAX_PASSPHRASE)?;
    if first.len() < MIN_PASSPHRASE {
        let length = first.len();
        return Err(Failure::new(
            Exit::Invalid,
            format!("the passphrase has {length} bytes, at least {MIN_PASSPHRASE} are required"),
        ));
    }
    if terminal.input_is_terminal {
        let second = terminal.ask_secret("Once more: ", MAX_PASSPHRASE)?;
        if !first.ct_eq(second.expose()) {
            return Err(Failure::usage("the two passphrases differ; nothing was changed"));
        }
    }
    Ok(first)
}
