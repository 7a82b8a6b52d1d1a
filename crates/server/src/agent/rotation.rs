//! Rotation of the service's master key inside the running agent.
//!
//! One task at a time wraps the service's keys anew, and destroys retired master keys that nothing is wrapped under when they
//! have been kept for long enough. Nothing is remembered over a restart: the document tells which keys are retired, the key
//! manager what is under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chatelaine_agent::AgentError;
use chatelaine_core::audit::{Action, Outcome};
use chatelaine_core::clock::{Clock as _, SystemClock, Timestamp};
use chatelaine_seal::document::SealedKeys;
use chatelaine_seal::{KeyId, SealError};

use super::{Host, opening};
use crate::master_key::now;

/// Pause after each key. `rotation.pause_milliseconds` is for pages of 64.
const PAGE: u64 = 64;

/// What runs.
#[derive(Default)]
pub(crate) struct Rotating {
    turn: tokio::sync::Mutex<()>,
    stopping: AtomicBool,
}

impl Rotating {
    /// Lets nothing begin any more. What runs ends with the process, between two keys as well as anywhere.
    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(Duration::from_secs(1), self.turn.lock()).await;
    }
}

/// Why a rotation did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    /// The seals'.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The agent's.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Makes a new master key by all seals and begins to wrap everything anew under it.
///
/// # Errors
/// [`RotateError`]; nothing has changed then.
pub(crate) async fn begin(host: &Arc<Host>) -> Result<(), RotateError> {
    let diary = host.keeper.diary();
    let text = "a new master key of the service by all seals";
    diary.note(Action::SealMasterKey, Outcome::Pending, text);
    let made = host
        .keeper
        .change(|custody, unsealed| {
            custody.rotate(unsealed, &now())?;
            Ok(unsealed.keys.active.id.to_string())
        })
        .await;
    match made {
        Ok(id) => diary.note(Action::SealMasterKey, Outcome::Success, &format!("{text}: {id}")),
        Err(error) => {
            diary.note(Action::SealMasterKey, Outcome::Failure, &format!("{text}: {error}"));
            return Err(error.into());
        }
    }
    opening::take(host).await.map_err(|error| AgentError::Internal(error.to_string()))?;
    tokio::spawn(run(Arc::clone(host)));
    Ok(())
}

/// Takes up what a former process left, and looks again and again.
pub(super) async fn schedule(host: Arc<Host>) {
    run(Arc::clone(&host)).await;
    let every = host.config.rotation.every_seconds;
    if every == 0 {
        return;
    }
    loop {
        tokio::time::sleep(Duration::from_secs(every)).await;
        run(Arc::clone(&host)).await;
    }
}

async fn run(host: Arc<Host>) {
    let _turn = host.rotating.turn.lock().await;
    let retired = host.agent.keyring().own_ids().is_some_and(|(_, retired)| !retired.is_empty());
    if !retired || host.rotating.stopping.load(Ordering::Relaxed) {
        return;
    }
    let pause =
        Duration::from_millis(host.config.rotation.pause_milliseconds) / u32::try_from(PAGE).unwrap_or(1);
    match host.agent.rewrap_all(pause).await {
        Ok(report) => {
            tracing::info!(
                master_key = report.master_key,
                done = report.done,
                passed_over = report.passed_over,
                failed = report.failed,
                "keys were wrapped anew"
            );
            if let Err(error) = destroy_unused(&host).await {
                tracing::error!(%error, "retired master keys could not be destroyed");
            }
        }
        Err(error) => tracing::error!(%error, "the rotation stopped before its end; it is taken up again"),
    }
}

async fn destroy_unused(host: &Arc<Host>) -> Result<(), RotateError> {
    let unused = host.agent.unused_master_keys().await?;
    let keep = Duration::from_secs(host.config.rotation.keep_retired_seconds);
    let due: Vec<KeyId> = {
        let held = host.keeper.opened().await;
        let Some(unsealed) = held.as_ref() else { return Ok(()) };
        let is_due = |id: &KeyId| {
            retired_at(unsealed.document(), id).is_some_and(|at| SystemClock.now().since(at) >= keep)
        };
        unused.iter().filter_map(|id| KeyId::parse(id).ok()).filter(is_due).collect()
    };
    for id in due {
        let wanted = id.clone();
        host.keeper.change(move |custody, unsealed| custody.destroy(unsealed, &wanted)).await?;
        host.keeper.diary().note(
            Action::DestroyMasterKey,
            Outcome::Success,
            &format!("retired master key {id}: no key of the service is wrapped under it"),
        );
        opening::take(host).await.map_err(|error| AgentError::Internal(error.to_string()))?;
    }
    Ok(())
}

/// When a key was retired: when its successor was made.
fn retired_at(document: &SealedKeys, id: &KeyId) -> Option<Timestamp> {
    let epoch = document.keys.iter().find(|key| key.id == *id)?.epoch;
    let later = document.keys.iter().filter(|key| key.epoch > epoch).min_by_key(|key| key.epoch)?;
    Timestamp::parse(&later.created)
}
