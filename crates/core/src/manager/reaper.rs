//! The reaper: deletes what expired, destroys what is due and was deleted by somebody who might, restores the rest.

use std::collections::HashSet;

use super::{Actor, Manager};
use crate::audit::{Action, Durability, Written};
use crate::error::{Error, Result};
use crate::reap::{self, Decision, Found};
use crate::record;
use crate::store::{Change, Kind, Position, Query, Record};
use crate::tombstone;

/// What a run of the reaper did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ReapReport {
    /// Secrets whose material was destroyed.
    pub purged: u64,
    /// Secrets that a planted or outlived tombstone lay on; the tombstone was removed.
    pub restored: u64,
    /// Tombstones without a secret, removed.
    pub cleared: u64,
    /// Deletions that are due later.
    pub waiting: u64,
    /// Expired secrets that were deleted.
    pub expired: u64,
    /// Records that did not open; they were left as they are.
    pub corrupt: u64,
}

impl Manager {
    /// One run of the reaper: deletes what expired long enough ago, purges what is due, removes forged tombstones.
    ///
    /// # Errors
    /// Those of store and trail; a trail that does not verify stops the run before anything is destroyed.
    pub async fn reap(&self) -> Result<ReapReport> {
        let mut report = ReapReport::default();
        self.bury_expired(&mut report).await?;
        let mut after: Option<Position> = None;
        loop {
            let stones =
                self.store.list(&Query { after: after.clone(), ..Query::of(Kind::TOMBSTONE) }).await?;
            let Some(last) = stones.last() else { return Ok(report) };
            after = Some(last.position());
            let owned: HashSet<String> = stones.iter().map(|stone| stone.id.clone()).collect();
            let histories =
                self.trail.histories(&move |kind, id| kind == "secret" && owned.contains(id)).await?;
            for stone in &stones {
                let history = histories.get(&("secret".to_owned(), stone.id.clone()));
                match self.reap_one(stone, history, &mut report).await {
                    // Somebody changed the secret or the tombstone meanwhile: the next run looks again.
                    Ok(()) | Err(Error::VersionMismatch { .. } | Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn reap_one(
        &self,
        stone: &Record,
        history: Option<&crate::audit::ChangeHistory>,
        report: &mut ReapReport,
    ) -> Result<()> {
        let tombstone = match tombstone::open(&self.keyring, &*self.store, stone).await {
            Ok(tombstone) => Some(tombstone),
            Err(Error::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        let record = self.store.read(&Kind::SECRET, &stone.id).await?;
        let secret = match &record {
            None => None,
            Some(record) => match self.unseal(record).await {
                Ok(secret) => Some(secret),
                Err(Error::Corrupt(reason)) => {
                    tracing::error!(reason, "the reaper leaves a damaged secret alone");
                    report.corrupt = report.corrupt.saturating_add(1);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        // A tombstone that was replaced since it was listed is newer than the history: it is not judged by that.
        if self.store.read(&Kind::TOMBSTONE, &stone.id).await?.as_ref() != Some(stone) {
            return Ok(());
        }
        let digest = record.as_ref().map(record::digest).unwrap_or_default();
        let found = secret.as_ref().map(|secret| Found {
            version: secret.version,
            metadata: &secret.metadata,
            digest: &digest,
        });
        let removal = Change::Remove { kind: Kind::TOMBSTONE, id: stone.id.clone(), expected: stone.version };
        let actor = Actor::server();
        match (reap::decide(tombstone.as_ref(), found, history, self.clock.now()), &secret) {
            (Decision::Wait, _) => report.waiting = report.waiting.saturating_add(1),
            (Decision::Purge, Some(secret)) => {
                let event = self.event(&actor, Action::Purge, Some(("secret", stone.id.clone())));
                let written = Written { version: secret.version, digest: String::new() };
                let purge =
                    Change::Remove { kind: Kind::SECRET, id: stone.id.clone(), expected: secret.version };
                self.change(&actor, event, written, vec![purge, removal]).await?;
                report.purged = report.purged.saturating_add(1);
            }
            (Decision::Restore(reason), Some(secret)) => {
                tracing::warn!(secret = %secret.id, reason, "a tombstone that nobody asked for was removed");
                if secret.metadata.deletion.is_some() {
                    self.dig_out(&actor, Action::Restore, secret, Some(reason)).await?;
                } else {
                    let mut event =
                        self.event(&actor, Action::Restore, Some(("tombstone", stone.id.clone())));
                    event.reason = Some(reason.to_owned());
                    self.trail.append(&[event], Durability::Synced).await?;
                    self.store.apply(vec![removal]).await?;
                }
                report.restored = report.restored.saturating_add(1);
            }
            (Decision::Clear | Decision::Purge | Decision::Restore(_), _) => {
                self.store.apply(vec![removal]).await?;
                report.cleared = report.cleared.saturating_add(1);
            }
        }
        Ok(())
    }

    async fn bury_expired(&self, report: &mut ReapReport) -> Result<()> {
        let now = self.clock.now();
        let mut after: Option<Position> = None;
        loop {
            let query = Query { due_by: Some(now), after: after.clone(), ..Query::of(Kind::SECRET) };
            let records = self.store.list(&query).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = Some(last.position());
            for record in &records {
                let secret = match self.unseal(record).await {
                    Ok(secret) => secret,
                    Err(Error::Corrupt(_)) => {
                        report.corrupt = report.corrupt.saturating_add(1);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let expired = secret
                    .metadata
                    .expires_at
                    .is_some_and(|end| end.plus(self.settings.expired_after) <= now);
                if !expired || secret.metadata.deletion.is_some() {
                    continue;
                }
                match self.bury(&Actor::server(), &secret).await {
                    Ok(()) => report.expired = report.expired.saturating_add(1),
                    // Somebody changed it meanwhile: the next run looks again.
                    Err(Error::VersionMismatch { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
