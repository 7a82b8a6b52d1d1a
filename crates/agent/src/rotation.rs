//! Replacement of the service's master key: every key that is wrapped under a retired one is wrapped anew. Data and keys stay
//! what they are.
//!
//! Each step is one key: read, wrap, write on the condition that nobody changed it meanwhile. So it may be broken off
//! anywhere, run twice, and run on several hosts at the same time. What is left to be done is asked of the key manager, never
//! remembered.
//!
//! Invariant: a retired master key counts as used as long as any key of the service names it, deleted ones that can be
//! undeleted included.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_api::{AgentRotationDocument, KeyDocument};
use chatelaine_crypto::Envelope;
use parking_lot::Mutex;

use crate::remote::{OnBehalf, next_marker};
use crate::{Agent, AgentError, locks};

/// So many keys are asked for at once.
const PAGE: &str = "100";
/// A key that others keep changing is tried so often.
const ATTEMPTS: usize = 5;

/// How far it has come.
#[derive(Debug, Default)]
pub struct Progress {
    shown: Mutex<Option<AgentRotationDocument>>,
    running: tokio::sync::Mutex<()>,
}

enum Step {
    Done,
    PassedOver,
    Failed(AgentError),
}

impl Progress {
    fn count(&self, step: &Step) {
        if let Some(shown) = self.shown.lock().as_mut() {
            let figure = match step {
                Step::Done => &mut shown.done,
                Step::PassedOver => &mut shown.passed_over,
                Step::Failed(_) => &mut shown.failed,
            };
            *figure = figure.saturating_add(1);
        }
    }
}

impl Agent {
    /// The rotation that runs, or the last one.
    pub fn rotation(&self) -> Option<AgentRotationDocument> {
        self.rotation.shown.lock().clone()
    }

    /// Wraps every key anew that is under a retired master key, with a pause after each.
    ///
    /// # Errors
    /// [`AgentError::Conflict`] while one runs; [`AgentError::Sealed`]; what keeps it from going on, which is in
    /// [`Agent::rotation`], too.
    pub async fn rewrap_all(self: &Arc<Self>, pause: Duration) -> Result<AgentRotationDocument, AgentError> {
        let Ok(_alone) = self.rotation.running.try_lock() else {
            return Err(AgentError::Conflict("a rotation runs already".to_owned()));
        };
        let (active, retired) = self.keyring.own_ids().ok_or(AgentError::Sealed)?;
        let begun =
            AgentRotationDocument { running: true, master_key: active, ..AgentRotationDocument::default() };
        *self.rotation.shown.lock() = Some(begun);
        let mut outcome = Ok(());
        for master_key in retired {
            outcome = self.rewrap_from(&master_key, pause).await;
            if outcome.is_err() {
                break;
            }
        }
        let mut shown = self.rotation.shown.lock();
        let mut ended = shown.take().unwrap_or_default();
        ended.running = false;
        ended.problem = outcome.as_ref().err().map(ToString::to_string);
        *shown = Some(ended.clone());
        outcome.map(|()| ended)
    }

    async fn rewrap_from(&self, master_key: &str, pause: Duration) -> Result<(), AgentError> {
        let mut marker: Option<String> = None;
        loop {
            let mut filter = vec![("master_key", master_key), ("limit", PAGE)];
            filter.extend(marker.as_deref().map(|marker| ("marker", marker)));
            let page = self.remote.list(&filter, OnBehalf::Service).await?;
            for key in &page.keys {
                let step = self.rewrap(key).await?;
                if let Step::Failed(error) = &step {
                    tracing::error!(key = key.id, %error, "not wrapped anew: it keeps its master key");
                }
                self.rotation.count(&step);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            // Not the last key of the page: it may be gone, or the page short.
            marker = next_marker(&page);
            if marker.is_none() {
                return Ok(());
            }
        }
    }

    /// One key. Errors are those that would be the same for the next one.
    async fn rewrap(&self, key: &KeyDocument) -> Result<Step, AgentError> {
        for _ in 0..ATTEMPTS {
            let released = match self.remote.get_inactive(&key.id).await {
                Ok(released) => released,
                Err(AgentError::NotFound(_)) => return Ok(Step::PassedOver),
                Err(error @ (AgentError::Conflict(_) | AgentError::Internal(_))) => {
                    return Ok(Step::Failed(error));
                }
                Err(error) => return Err(error),
            };
            let Ok(envelope) = Envelope::parse(released.key_string.expose()) else {
                // Wrapped by other means than this agent, under a master key that has the same name.
                return Ok(Step::Failed(AgentError::Corrupt(key.id.clone())));
            };
            let new = match locks::rewrap(&self.keyring, &key.id, &envelope) {
                Ok(Some(new)) => new,
                Ok(None) => return Ok(Step::PassedOver),
                Err(AgentError::Sealed) => return Err(AgentError::Sealed),
                Err(error) => return Ok(Step::Failed(error)),
            };
            match self.remote.replace(&key.id, released.key.version, new.to_bytes()).await {
                Ok(()) => return Ok(Step::Done),
                Err(AgentError::Changed) => {}
                Err(AgentError::NotFound(_)) => return Ok(Step::PassedOver),
                Err(
                    error @ (AgentError::Conflict(_) | AgentError::Invalid { .. } | AgentError::Internal(_)),
                ) => {
                    return Ok(Step::Failed(error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Step::Failed(AgentError::Changed))
    }

    /// Those retired master keys that no key of the service is wrapped under any more.
    ///
    /// # Errors
    /// [`AgentError::Sealed`]; what the key manager says.
    pub async fn unused_master_keys(&self) -> Result<Vec<String>, AgentError> {
        let (_, retired) = self.keyring.own_ids().ok_or(AgentError::Sealed)?;
        let mut unused = Vec::new();
        for id in retired {
            if !self.is_used(&id, "false").await? && !self.is_used(&id, "true").await? {
                unused.push(id);
            }
        }
        Ok(unused)
    }

    async fn is_used(&self, master_key: &str, deleted: &str) -> Result<bool, AgentError> {
        let mut marker: Option<String> = None;
        loop {
            let mut filter = vec![("master_key", master_key), ("deleted", deleted), ("limit", PAGE)];
            filter.extend(marker.as_deref().map(|marker| ("marker", marker)));
            let page = self.remote.list(&filter, OnBehalf::Service).await?;
            if !page.keys.is_empty() {
                return Ok(true);
            }
            marker = next_marker(&page);
            if marker.is_none() {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
