//! What a host that joins, or has joined, needs of itself, and where the keys end up that it gets.

use std::sync::Arc;

use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::keyring::Keyring;
use chatelaine_core::store::Store;
use chatelaine_crypto::KeyMaterial;
use chatelaine_seal::attest::{JoinError, Known, Proven};
use chatelaine_seal::tpm::TpmSeal;
use chatelaine_seal::{KeyId, MasterKeys};
use chatelaine_store::Address;

use super::Expectation;
use crate::cli::operate::master_key::access::seal_failed;
use crate::cli::operate::{control, failed};
use crate::cli::{Exit, Failure, Terminal};
use crate::config::Config;
use crate::master_key::{Keeper, now};
use crate::{audit, startup};

/// A host without master keys, whose server does not run.
pub(super) struct Place {
    keeper: Keeper,
    pub(super) seal: Arc<TpmSeal>,
    _lock: audit::Lock,
}

impl Place {
    /// Looks whether this host can join at all.
    pub(super) async fn prepare(config: &Config) -> Result<Self, Failure> {
        let keeper = Keeper::new(config).map_err(seal_failed)?;
        let seal = keeper.tpm().map(Arc::clone).ok_or_else(no_tpm)?;
        seal.authority().map_err(seal_failed)?;
        if keeper.exists().map_err(seal_failed)? {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{}: this host has master keys already", config.sealed_keys_path().display()),
            )
            .advise(
                "keys that were made later come by `chatelaine attest update`, or by files; to replace all, move that file \
                 away first, and only if nothing needs them",
            ));
        }
        if audit::has_lines(&config.audit_path()) {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{}: the audit trail here was begun under other keys", config.audit_path().display()),
            )
            .advise(
                "restore the document of sealed keys it belongs to, or move the trail away; keep both together, so that \
                 the trail can still be verified",
            ));
        }
        if control::connect(&config.control_path()).await?.is_some() {
            return Err(Failure::new(Exit::Conflict, "a server runs here").advise("stop it first"));
        }
        startup::prepare_data_folder(&config.data.folder).map_err(failed)?;
        let lock = audit::lock(&config.audit_path()).map_err(failed)?;
        Ok(Self { keeper, seal, _lock: lock })
    }
}

/// A host that says hello: one that joins, or one that has joined and gets later keys.
pub(super) enum Host {
    Joins(Box<Place>),
    HasJoined(Arc<TpmSeal>),
}

impl Host {
    /// Finds out which.
    pub(super) async fn find(config: &Config) -> Result<Self, Failure> {
        let keeper = Keeper::new(config).map_err(seal_failed)?;
        if !keeper.exists().map_err(seal_failed)? {
            return Ok(Self::Joins(Box::new(Place::prepare(config).await?)));
        }
        let seal = keeper.tpm().map(Arc::clone).ok_or_else(no_tpm)?;
        seal.authority().map_err(seal_failed)?;
        Ok(Self::HasJoined(seal))
    }

    pub(super) fn seal(&self) -> &Arc<TpmSeal> {
        match self {
            Self::Joins(place) => &place.seal,
            Self::HasJoined(seal) => seal,
        }
    }
}

fn no_tpm() -> Failure {
    Failure::usage("what joins is a TPM, and no seal of this host is one")
        .advise("name tpm in seal.kind or seal.also, and the release authority in seal.tpm.authority")
}

/// Who says which keys are the right ones.
pub(super) enum Judge {
    Fingerprint(String),
    Store(Arc<dyn Store>),
}

impl Judge {
    /// The person, or else the store.
    pub(super) async fn find(config: &Config, expectation: Expectation) -> Result<Self, Failure> {
        if let Some(text) = expectation.expect {
            let text = chatelaine_seal::document::parse_fingerprint(&text).map_err(seal_failed)?;
            return Ok(Self::Fingerprint(text));
        }
        let there = match startup::store_address(config).map_err(failed)? {
            Address::Embedded(file) => file.exists(),
            Address::Memory => false,
            Address::Database(_) => true,
        };
        if there {
            let store = startup::store(config).await.map_err(failed)?;
            if !store.kinds().await.map_err(failed)?.is_empty() {
                return Ok(Self::Store(store));
            }
        }
        Err(Failure::usage(
            "nothing here tells the right master keys from somebody else's: the store is empty",
        )
        .advise(
            "give --expect FINGERPRINT, as `chatelaine master-key status` of a server with the keys shows it",
        ))
    }
}

fn fits(store: &Arc<dyn Store>, keys: &MasterKeys, runtime: &tokio::runtime::Handle) -> Result<(), String> {
    let retired: Vec<_> = keys.retired.iter().map(|key| (key.id.as_str(), &key.material)).collect();
    // The audit key does not matter for the store.
    let audit = KeyMaterial::random(256).map_err(|error| error.to_string())?;
    let active = (keys.active.id.as_str(), &keys.active.material);
    let keyring = Keyring::new(active, &retired, ("none", &audit)).map_err(|error| error.to_string())?;
    match runtime.block_on(keyring.recognises(&**store)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} does not know them", store.describe())),
        Err(error) => Err(error.to_string()),
    }
}

/// A joiner's error as a failure of a command.
pub(super) fn join_failed(error: JoinError) -> Failure {
    let text = error.to_string();
    match error {
        JoinError::Seal(error) => seal_failed(error),
        JoinError::Unexpected(_) | JoinError::OtherKey(_) | JoinError::NotVouched => {
            Failure::new(Exit::Invalid, text)
        }
        _ => Failure::new(Exit::Failed, text),
    }
}

/// Opens the keys, checks them, and keeps them. Gives what to tell the sender.
pub(super) async fn take_over(
    place: &Place,
    proven: Proven,
    bundle: Vec<u8>,
    judge: Judge,
    from: &str,
    terminal: &mut Terminal,
) -> Result<Vec<u8>, Failure> {
    let custody = place.keeper.custody().clone();
    let seal = Arc::clone(&place.seal);
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let by_store = |_: &KeyId, keys: &MasterKeys| match &judge {
            Judge::Store(store) => fits(store, keys, &runtime),
            Judge::Fingerprint(_) => Ok(()),
        };
        let known = match &judge {
            Judge::Fingerprint(text) => Known::Fingerprint(text),
            Judge::Store(_) => Known::By(&by_store),
        };
        let mut joined = proven.receive(&seal, &bundle, &known)?;
        let confirmation = std::mem::take(&mut joined.confirmation);
        Ok((custody.take_over(joined, &seal, &now())?, confirmation))
    };
    let outcome = tokio::task::spawn_blocking(work).await.map_err(failed)?;
    let diary = place.keeper.diary();
    match outcome {
        Ok((unsealed, confirmation)) => {
            let key = &unsealed.keys.active;
            let text = format!(
                "cluster {}, master key {} of epoch {}, from {from}",
                unsealed.cluster(),
                key.id,
                key.epoch
            );
            diary.note(Action::JoinCluster, Outcome::Success, &text);
            terminal.note(&format!("joined: {text}; the server can be started"));
            Ok(confirmation)
        }
        Err(error) => {
            diary.note(Action::JoinCluster, Outcome::Failure, &format!("from {from}: {error}"));
            Err(join_failed(error))
        }
    }
}
