//! The reaper: deletes what expired, destroys what is due and was deleted by somebody who might, restores the rest.
//!
//! What cannot be read holds nothing else up: it is counted and left as it is. The trail is read once for many deletions
//! that are due, and not at all where none is.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Actor, Manager};
use crate::audit::{Action, ChangeHistory, Written};
use crate::clock::Timestamp;
use crate::directory::News;
use crate::error::{Error, Result};
use crate::id::Version;
use crate::reap::{self, Decision, Found};
use crate::record;
use crate::secret;
use crate::store::{Change, Kind, Query, Record};
use crate::tombstone::{self, Tombstone};
use crate::walk::Walk;

/// So many deletions that are due share one reading of the trail.
const DUE_AT_ONCE: usize = 10_000;

/// What a run of the reaper did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ReapReport {
    /// Secrets whose material was destroyed.
    pub purged: u64,
    /// Secrets that a planted or outlived tombstone lay on; the tombstone was removed.
    pub restored: u64,
    /// Tombstones without a secret, removed.
    pub cleared: u64,
    /// Tombstones of deleted secrets that were missing, made anew.
    pub remade: u64,
    /// Deletions that are due later.
    pub waiting: u64,
    /// Expired secrets that were deleted.
    pub expired: u64,
    /// Records that did not open, and places the store could not read; they were left as they are.
    pub corrupt: u64,
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

/// What is known of the trail's word about a tombstone.
#[derive(Clone, Copy)]
enum Trail<'a> {
    NotAsked,
    Says(Option<&'a ChangeHistory>),
}

impl Manager {
    /// One run of the reaper: deletes what expired long enough ago, purges what is due, removes forged tombstones.
    ///
    /// # Errors
    /// The first one of store and trail, when all was done that could be; a trail that does not verify destroys nothing.
    pub async fn reap(&self) -> Result<ReapReport> {
        let mut report = ReapReport::default();
        let now = self.passed_now();
        if now < self.clock.now() {
            tracing::error!(
                believed = %now,
                "the clock was set forward: what is due only by that is not purged. Set the clock right, or restart the \
                 server if it is right now"
            );
        }
        let expired = self.bury_expired(now, &mut report).await;
        let remade = self.remake_tombstones(now, &mut report).await;
        let reaped = self.reap_tombstones(now, &mut report).await;
        self.count_damaged(report.corrupt);
        match expired.and(remade).and(reaped) {
            Ok(()) => Ok(report),
            Err(error) => {
                tracing::warn!(?report, "what the reaper did although it failed");
                Err(error)
            }
        }
    }

    /// Takes what happened to one record: what was changed meanwhile or is damaged does not stop the run.
    fn settle<T>(kind: &Kind, id: &str, result: Result<T>, report: &mut ReapReport) -> Result<Option<T>> {
        match result {
            Ok(done) => Ok(Some(done)),
            // Somebody changed the secret or the tombstone meanwhile: the next run looks again.
            Err(
                Error::VersionMismatch { .. }
                | Error::NotFound { .. }
                | Error::WrongState { .. }
                | Error::Exists { .. },
            ) => Ok(None),
            Err(Error::Corrupt(reason)) => {
                Self::log_damaged(kind, id, &reason);
                add(&mut report.corrupt, 1);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn reap_tombstones(&self, now: Timestamp, report: &mut ReapReport) -> Result<()> {
        let mut walk = Walk::new(&*self.store, Query::of(Kind::TOMBSTONE));
        let mut due = Vec::new();
        let walked = loop {
            let stones = match walk.next().await {
                Ok(stones) if stones.is_empty() => break Ok(()),
                Ok(stones) => stones,
                Err(error) => break Err(error.into()),
            };
            for stone in stones {
                let result = self.reap_one(&stone, Trail::NotAsked, now, report).await;
                if Self::settle(&stone.kind, &stone.id, result, report)? == Some(Decision::Due) {
                    due.push(stone);
                }
            }
            if due.len() >= DUE_AT_ONCE {
                self.reap_due(std::mem::take(&mut due), now, report).await?;
            }
        };
        add(&mut report.corrupt, walk.skipped());
        self.reap_due(due, now, report).await?;
        walked
    }

    /// Purges what is due, with the trail's consent.
    async fn reap_due(&self, due: Vec<Record>, now: Timestamp, report: &mut ReapReport) -> Result<()> {
        if due.is_empty() {
            return Ok(());
        }
        let ids: HashSet<String> = due.iter().map(|stone| stone.id.clone()).collect();
        let histories = self.trail.histories(&move |kind, id| kind == "secret" && ids.contains(id)).await?;
        for stone in &due {
            let history = histories.get(&("secret".to_owned(), stone.id.clone()));
            let result = self.reap_one(stone, Trail::Says(history), now, report).await;
            Self::settle(&stone.kind, &stone.id, result, report)?;
        }
        Ok(())
    }

    /// Deals with one tombstone, unless the trail has to be asked first: then it is [`Decision::Due`].
    async fn reap_one(
        &self,
        stone: &Record,
        trail: Trail<'_>,
        now: Timestamp,
        report: &mut ReapReport,
    ) -> Result<Decision> {
        let tombstone = match tombstone::open(&self.keyring, &*self.store, stone).await {
            Ok(tombstone) => Some(tombstone),
            Err(Error::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        let record = self.store.read(&Kind::SECRET, &stone.id).await?;
        let (record, secret) = match &record {
            None => (None, None),
            Some(record) => {
                let (record, secret) = self.unseal_current(record).await?;
                (Some(record), Some(secret))
            }
        };
        // A tombstone that was replaced since it was listed is newer than the secret read here, and than the history: it is
        // not judged by those.
        if self.store.read(&Kind::TOMBSTONE, &stone.id).await?.as_ref() != Some(stone) {
            return Ok(Decision::Wait);
        }
        let digest = record.as_deref().map(record::digest).unwrap_or_default();
        let found = secret.as_ref().map(|secret| Found {
            version: secret.version,
            metadata: &secret.metadata,
            digest: &digest,
        });
        let mut decision = reap::decide(tombstone.as_ref(), found, now);
        if let (Decision::Due, Trail::Says(history), Some(found), Some(tombstone)) =
            (decision, trail, found, &tombstone)
            && !reap::judge(tombstone.event, found, history)
        {
            decision = if self.store.is_shared() && !reap::knows(found, history) {
                // It is for the server it was asked of, whose trail has the request.
                Decision::Wait
            } else {
                Decision::Restore(
                    "the audit trail does not hold the request as the newest change of the secret",
                )
            };
        }
        let removal = Change::Remove { kind: Kind::TOMBSTONE, id: stone.id.clone(), expected: stone.version };
        // Holds the tombstone to the secret it was judged by: one of a newer deletion is not removed.
        let unchanged = Change::Require {
            kind: Kind::SECRET,
            id: stone.id.clone(),
            expected: secret.as_ref().map(|secret| secret.version),
        };
        match (decision, &secret) {
            (Decision::Wait, _) => add(&mut report.waiting, 1),
            (Decision::Due, Some(secret)) => {
                if matches!(trail, Trail::Says(_)) {
                    let event =
                        self.event(&Actor::server(), Action::Purge, Some(("secret", stone.id.clone())));
                    let written = Written { version: secret.version, digest: String::new() };
                    let purge =
                        Change::Remove { kind: Kind::SECRET, id: stone.id.clone(), expected: secret.version };
                    let mut batch = vec![purge, removal];
                    batch.extend(self.attached_removals(secret.id).await?);
                    self.change(News::Gone(Arc::new(secret.view())), event, written, batch).await?;
                    add(&mut report.purged, 1);
                }
            }
            (Decision::Restore(reason), Some(secret)) => {
                self.note_planted(&stone.id, reason).await?;
                if secret.metadata.deletion.is_some() {
                    self.dig_out(&Actor::server(), Action::Restore, secret, Some(reason)).await?;
                } else {
                    self.store.apply(vec![unchanged, removal]).await?;
                }
                add(&mut report.restored, 1);
            }
            (Decision::Clear | Decision::Due | Decision::Restore(_), _) => {
                self.note_planted(&stone.id, "there is no key it could lie on").await?;
                self.store.apply(vec![unchanged, removal]).await?;
                add(&mut report.cleared, 1);
            }
        }
        Ok(decision)
    }

    /// Makes tombstones anew for deleted secrets that are due and have none: without one they would never be purged. Whether
    /// the deletion was asked for is for the trail to say, as ever.
    async fn remake_tombstones(&self, now: Timestamp, report: &mut ReapReport) -> Result<()> {
        let state = Some(secret::DELETED.to_owned());
        let query = Query { due_by: Some(now), state, ..Query::of(Kind::SECRET) };
        let mut walk = Walk::new(&*self.store, query);
        loop {
            let records = walk.next().await?;
            if records.is_empty() {
                add(&mut report.corrupt, walk.skipped());
                return Ok(());
            }
            for record in &records {
                let result = self.remake_tombstone(record).await;
                if Self::settle(&record.kind, &record.id, result, report)? == Some(true) {
                    add(&mut report.remade, 1);
                }
            }
        }
    }

    async fn remake_tombstone(&self, record: &Record) -> Result<bool> {
        if self.store.read(&Kind::TOMBSTONE, &record.id).await?.is_some() {
            return Ok(false);
        }
        let secret = self.unseal(record).await?;
        let Some(deletion) = secret.metadata.deletion else { return Ok(false) };
        let grave = Tombstone {
            secret: secret.id,
            version: secret.version,
            event: deletion.event,
            purge_at: deletion.purge_at,
        };
        let stone =
            self.tombstone(&secret.metadata.project, &grave, self.clock.now(), Version::FIRST).await?;
        let unchanged =
            Change::Require { kind: Kind::SECRET, id: record.id.clone(), expected: Some(secret.version) };
        self.note_tombstone(&record.id, "the key is deleted and has none: it is made anew").await?;
        self.apply(vec![unchanged, Change::Create(stone)]).await?;
        Ok(true)
    }

    async fn bury_expired(&self, now: Timestamp, report: &mut ReapReport) -> Result<()> {
        let Some(after) = self.settings.expired_after else { return Ok(()) };
        let long_ago = now.minus(after);
        let state = Some(secret::LIVE.to_owned());
        let query = Query { due_by: Some(long_ago), state, ..Query::of(Kind::SECRET) };
        let mut walk = Walk::new(&*self.store, query);
        loop {
            let records = walk.next().await?;
            if records.is_empty() {
                add(&mut report.corrupt, walk.skipped());
                return Ok(());
            }
            for record in &records {
                let result = self.bury_if_expired(record, long_ago).await;
                if Self::settle(&record.kind, &record.id, result, report)? == Some(true) {
                    add(&mut report.expired, 1);
                }
            }
        }
    }

    async fn bury_if_expired(&self, record: &Record, long_ago: Timestamp) -> Result<bool> {
        let secret = self.unseal(record).await?;
        let expired = secret.metadata.expires_at.is_some_and(|end| end <= long_ago);
        if !expired || secret.metadata.deletion.is_some() {
            return Ok(false);
        }
        self.bury(&Actor::server(), &secret, Vec::new()).await?;
        Ok(true)
    }
}
