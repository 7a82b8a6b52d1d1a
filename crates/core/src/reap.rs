//! The pure step of the reaper: from what is found to what is to be done about one tombstone.
//!
//! Material is destroyed only if the tombstone is authentic, the secret itself says it was deleted by the same request,
//! and the audit trail holds that request as the newest change of the secret. Anything else is a planted, replayed or
//! outlived tombstone: it is removed and the secret stays. The trail is long, so it is asked last: only about tombstones
//! that are due and agree with their secret.

use crate::audit::{Action, ChangeHistory};
use crate::clock::Timestamp;
use crate::id::{SecretId, Version};
use crate::secret::Metadata;
use crate::tombstone::Tombstone;

/// The secret a tombstone lies on, as found in the store.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Its version.
    pub version: Version,
    /// Its metadata.
    pub metadata: &'a Metadata,
    /// The fingerprint of its sealed body.
    pub digest: &'a str,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The grace period is not over.
    Wait,
    /// Destroy the material and remove the tombstone, if the audit trail says the same ([`judge`]).
    Due,
    /// Remove the tombstone and make sure that the secret is live; the text says why.
    Restore(&'static str),
    /// There is no secret: remove the tombstone.
    Clear,
}

/// Decides about one tombstone without the trail. `tombstone` is `None` when the record is not authentic.
pub fn decide(tombstone: Option<&Tombstone>, secret: Option<Found<'_>>, now: Timestamp) -> Decision {
    let Some(secret) = secret else { return Decision::Clear };
    let Some(tombstone) = tombstone else { return Decision::Restore("the tombstone is not authentic") };
    let Some(deletion) = secret.metadata.deletion else {
        return Decision::Restore("the secret was not deleted");
    };
    if deletion.event != tombstone.event || secret.version != tombstone.version {
        return Decision::Restore("the tombstone belongs to another deletion");
    }
    if tombstone.purge_at > now || deletion.purge_at > now { Decision::Wait } else { Decision::Due }
}

/// Whether the trail knows the secret as it was found, or later. Where several servers use one store, each has a trail of
/// its own, and what went through another server is not in it.
pub fn knows(secret: Found<'_>, history: Option<&ChangeHistory>) -> bool {
    let changes = history.into_iter().flat_map(|history| history.done.iter().chain(&history.begun));
    changes.into_iter().any(|change| change.written.version >= secret.version)
}

/// Whether the trail holds the deletion by the event `deleted_by` as the newest change of the secret as it was found.
pub fn judge(deleted_by: SecretId, secret: Found<'_>, history: Option<&ChangeHistory>) -> bool {
    history.is_some_and(|history| {
        let newest = match &history.done {
            Some(done) if done.written.version >= secret.version => Some(done),
            // The process may have died between the change and the note that it was done.
            _ => history
                .begun
                .iter()
                .find(|begun| begun.written.version == secret.version && begun.event == deleted_by),
        };
        newest.is_some_and(|change| {
            change.action == Action::Delete
                && change.event == deleted_by
                && change.written.version == secret.version
                && change.written.digest == secret.digest
        })
    })
}
