//! Hosts that join: who may ask for master keys on their behalf, and what is written down about it.
//!
//! The keys themselves never come here: they are granted where they are unsealed, to hosts that are enrolled.

use super::{Actor, Manager};
use crate::audit::{Action, Durability, Outcome};
use crate::error::Result;
use crate::policy::Caller;

impl Manager {
    /// Refuses a caller who may not take part in an attestation.
    ///
    /// # Errors
    /// [`crate::error::Error::Forbidden`].
    pub async fn authorize_join(&self, caller: &Caller) -> Result<()> {
        let allowed = {
            let policy = self.policy.load();
            policy.admit_from(caller).and_then(|()| policy.require("attestation:join", caller, None))
        };
        match allowed {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(caller, Action::GrantMasterKey, None, error).await,
        }
    }

    /// Writes down that a host is about to get master keys; without a caller it is the operator at the control socket.
    ///
    /// # Errors
    /// [`crate::error::Error::Unavailable`] when the trail cannot be written: then nothing may be handed out.
    pub async fn note_grant(&self, caller: Option<&Caller>, reason: String) -> Result<()> {
        let actor = caller.map_or_else(Actor::server, Actor::of);
        let mut event = self.event(&actor, Action::GrantMasterKey, None);
        event.reason = Some(reason);
        Ok(self.trail.append(&[event], Durability::Synced).await?)
    }

    /// Writes down that a host gets nothing. If that cannot be written, the refusal stands.
    pub async fn note_grant_refused(&self, caller: Option<&Caller>, reason: String) {
        let actor = caller.map_or_else(Actor::server, Actor::of);
        let mut event = self.event(&actor, Action::GrantMasterKey, None);
        event.outcome = Outcome::Failure;
        event.reason = Some(reason);
        if let Err(failure) = self.trail.append_refusal(event).await {
            tracing::error!(%failure, "a refused attestation could not be written to the audit trail");
        }
    }
}
