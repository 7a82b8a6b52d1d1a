//! Opening the agent's master keys, again and again until they are open, and then those of other services.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_agent::keyring::ServiceKeys;
use chatelaine_crypto::CryptoError;
use chatelaine_seal::{Custody, MasterKeys, SealError, Unsealed};

use super::Host;
use crate::master_key::blocking;
use crate::master_key::changes::Book;

/// Opens everything, then looks after rotation.
pub(super) async fn run(host: Arc<Host>) {
    let pause = Duration::from_secs(host.config.seal.retry_seconds);
    if let Err(error) = host.keeper.unseal(false).await {
        let error = error.into_error();
        let advice = if matches!(error, SealError::Missing { .. }) {
            "`chatelaine agent init` makes the service's first master key; where another host of the service has one, it comes from there by \
             `chatelaine attest hello` and what follows it"
        } else {
            "`chatelaine master-key status` says more"
        };
        tracing::error!(%error, advice, "SEALED: no key is given out until the service's master key opens");
        host.keeper.wait_until_unsealed(async || false, pause).await;
    }
    if host.config.seal.tpm.cap().is_some() {
        // After it the TPM opens nothing more, other services' keys either.
        open_others(Arc::clone(&host), pause).await;
        if let Err(error) = host.keeper.cap(Book::Diary).await {
            tracing::error!(%error, "seal.tpm.cap_register: no key is given out, since the TPM would still open the master keys");
            return;
        }
    }
    if let Err(error) = take(&host).await {
        tracing::error!(%error, "the master keys cannot be used");
        return;
    }
    tracing::info!("the service's master key is open");
    let others = open_others(Arc::clone(&host), pause);
    let rotation = super::rotation::schedule(Arc::clone(&host));
    tokio::join!(others, rotation);
}

/// Gives the agent the keys as they are open now.
pub(super) async fn take(host: &Host) -> Result<(), CryptoError> {
    if let Some(unsealed) = host.keeper.opened().await.as_ref() {
        host.agent.keyring().open(service_keys(&unsealed.keys)?);
    }
    Ok(())
}

pub(super) fn service_keys(keys: &MasterKeys) -> Result<ServiceKeys, CryptoError> {
    let MasterKeys { active, staged, retired } = keys;
    ServiceKeys::new(
        (active.id.as_str(), &active.material),
        // A sibling may use the staged one already.
        staged.iter().chain(retired).map(|key| (key.id.as_str(), &key.material)),
    )
}

/// Opens the documents of other services; those that do not open are tried again.
async fn open_others(host: Arc<Host>, pause: Duration) {
    let open = host.agent.keyring().other_ids();
    let mut waiting: Vec<_> =
        host.config.agent.keyrings.clone().into_iter().filter(|(name, _)| !open.contains_key(name)).collect();
    while !waiting.is_empty() {
        let mut left = Vec::new();
        for (name, path) in waiting {
            let custody = Custody::new(path.clone(), host.keeper.seals());
            let opened = blocking(move || custody.unseal()).await;
            let outcome = opened.map_err(|error| error.to_string()).and_then(|unsealed: Unsealed| {
                service_keys(&unsealed.keys).map_err(|error| error.to_string())
            });
            match outcome {
                Ok(keys) => {
                    tracing::info!(keyring = name, "another service's master keys are open");
                    host.agent.keyring().open_other(&name, keys);
                }
                Err(error) => {
                    tracing::warn!(keyring = name, path = %path.display(), error, "another service's master keys do not open");
                    left.push((name, path));
                }
            }
        }
        waiting = left;
        if !waiting.is_empty() {
            tokio::time::sleep(pause).await;
        }
    }
}
