//! Rotation of master keys and of scope keys: the same contents under newer keys, while everything goes on.
//!
//! A rewrap is no change of a record: version, creation time, fingerprint and history stay, and nobody who updates the
//! record meanwhile is in its way or it in theirs. Each record is one step of its own, and the records alone tell what is
//! left to do: a run that was stopped, wherever that was, is taken up by the next one, on whatever server. Two servers
//! may do it at once.
//!
//! Why no key is destroyed or forgotten that is needed: everything sealed under a key is written on the condition that
//! the store still has that key in force, in the same atomic step (`keyring::marks`, `keyring::scopes`). First the key is
//! taken out of force; from then on there is less and less under it. A look through all that could be, begun after that
//! and finding nothing, therefore holds for good. The look goes by what the records themselves say, not by the index.
//! What cannot be read, or does not open, counts as sealed under every key: it is reported, holds up nothing else, and
//! keeps what may still open it once it is mended.
//!
//! Order for a rotation of the master key: every server of the store is given the new key to hold
//! ([`Manager::hold_master_key`]), one of them makes it the active one ([`Manager::activate_master_key`]) and rewraps
//! ([`Manager::rewrap_master`]); the others write under it from that moment on, and make it their active one when they see
//! that it is the store's ([`Manager::store_master_key`]). When nothing uses the former key ([`Manager::master_key_use`])
//! each forgets it ([`Manager::forget_master_key`]).

mod scopes;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Duration;

use chatelaine_crypto::KeyMaterial;

use super::{Actor, Manager};
use crate::audit::{Action, Durability, Outcome};
use crate::error::{Error, Result};
use crate::keyring::{Held, Sealing};
use crate::record::{self, SealedUnder};
use crate::store::{Change, Kind, Query, Record, StoreError};
use crate::walk::Walk;

pub use scopes::ScopeRewrap;

/// Records looked at between two pauses.
const PAGE: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Bytes of bodies written in one batch, about.
const BATCH_BYTES: usize = 1024 * 1024;
/// So many times all records are looked at in one run, where others keep changing them.
const ROUNDS: usize = 8;
/// The kinds of records that are sealed under master keys.
const UNDER_MASTER: [Kind; 2] = [Kind::SCOPE_KEY, Kind::MARK];

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records looked at.
    pub done: u64,
    /// Records there were at the beginning. What comes meanwhile, and what is looked at again, makes `done` larger.
    pub total: u64,
}

/// What hears of the progress, after each page, and says whether to go on.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress) -> ControlFlow<()> + Send);

/// What a rewrap under another master key did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MasterRewrap {
    /// Records sealed anew.
    pub resealed: u64,
    /// Records that do not open, and places the store cannot read.
    pub failed: u64,
    /// It was stopped before its end.
    pub stopped: bool,
    /// The retired master keys, and how much may still be sealed under each.
    pub in_use: BTreeMap<String, u64>,
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

/// The store's mark has moved to another master key during a run.
fn overtaken() -> Error {
    Error::WrongState {
        reason: "another master key was made the active one meanwhile: begin again".to_owned(),
    }
}

/// What is to be done about one record.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is as it should be.
    Keep,
    /// It is sealed under an older key.
    Reseal,
    /// It does not say what it is sealed under.
    Damaged,
}

/// The step for a record of the server's own, when everything is to be under `master`.
fn master_step(record: &Record, master: &str) -> Step {
    match record::sealed_under(record) {
        Ok(SealedUnder::MasterKey(id)) if id == master => Step::Keep,
        Ok(SealedUnder::MasterKey(_)) => Step::Reseal,
        _ => Step::Damaged,
    }
}

/// The pace of a run: what it tells and when it rests.
struct Pace<'a> {
    pause: Duration,
    progress: Progress,
    on_progress: OnProgress<'a>,
    stopped: bool,
}

impl<'a> Pace<'a> {
    fn new(pause: Duration, on_progress: OnProgress<'a>) -> Self {
        Self { pause, progress: Progress::default(), on_progress, stopped: false }
    }

    /// After a page of so many records. Whether to go on.
    async fn rest(&mut self, records: usize) -> bool {
        add(&mut self.progress.done, records as u64);
        self.progress.total = self.progress.total.max(self.progress.done);
        if (self.on_progress)(self.progress).is_break() {
            self.stopped = true;
        } else if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        !self.stopped
    }
}

/// What records are sealed anew under.
#[derive(Clone, Copy)]
enum Aim<'a> {
    /// This master key.
    Master(&'a Sealing),
    /// The newest key of their project.
    Scope,
}

/// What became of the records of a page.
#[derive(Default)]
struct Written {
    done: u64,
    /// Somebody else was faster.
    lost: u64,
}

impl Manager {
    /// The id of the active master key.
    pub fn master_key_id(&self) -> String {
        self.keyring.master_key_id()
    }

    /// The ids of the retired master keys that are still held.
    pub fn retired_master_keys(&self) -> Vec<String> {
        self.keyring.retired_ids()
    }

    /// The ids of the master keys that are held to become active ones.
    pub fn staged_master_keys(&self) -> Vec<String> {
        self.keyring.staged_ids()
    }

    /// Ids of master keys under which something was found sealed, and which this server does not hold. They are the store's
    /// words: nobody has shown that such keys exist.
    pub fn missing_master_keys(&self) -> Vec<String> {
        self.keyring.missing_ids()
    }

    /// The id of the master key that the store belongs to now.
    ///
    /// # Errors
    /// [`Error::WrongState`] when this server does not hold it; [`Error::Corrupt`] when the store's mark is damaged; those
    /// of the store.
    pub async fn store_master_key(&self) -> Result<String> {
        self.keyring.store_master_key(&*self.store).await
    }

    /// Holds one more master key beside the active one.
    ///
    /// # Errors
    /// As for [`crate::keyring::Keyring::hold`]; [`Error::Unavailable`] when the trail does not take it.
    pub async fn hold_master_key(&self, id: &str, material: &KeyMaterial, held: Held) -> Result<()> {
        // As in `activate_master_key`: it is on disk already.
        self.keyring.hold(id, material, held)?;
        self.note_own(Action::RotateMasterKey, Some(format!("hold {id}"))).await
    }

    /// Makes a master key the active one; the former one is retired. [`Self::rewrap_master`] makes the store follow.
    ///
    /// # Errors
    /// As for [`crate::keyring::Keyring::activate`]; [`Error::Unavailable`] when the trail does not take it.
    pub async fn activate_master_key(&self, id: &str, material: &KeyMaterial) -> Result<()> {
        // First this: whoever asks has written the key down, and what is on disk and in memory must not differ.
        self.keyring.activate(id, material)?;
        self.note_own(Action::RotateMasterKey, Some(format!("activate {id}"))).await
    }

    /// Forgets a retired master key that nothing uses any more.
    ///
    /// # Errors
    /// [`Error::WrongState`] when something does or may use it; as for [`crate::keyring::Keyring::forget_retired`].
    pub async fn forget_master_key(&self, id: &str) -> Result<()> {
        let uses = self.master_key_use(id).await?;
        if uses > 0 {
            let reason = format!("master key {id} is or may be used by {uses} records: rewrap them first");
            return Err(Error::WrongState { reason });
        }
        self.note_own(Action::RotateMasterKey, Some(format!("forget {id}"))).await?;
        self.keyring.forget_retired(id)
    }

    /// How many records are sealed under a master key, or may be: what does not open and what cannot be read counts. With
    /// 0 for a key that the store's mark does not name, nothing will be sealed under it any more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn master_key_use(&self, id: &str) -> Result<u64> {
        let mut uses = 0;
        for kind in UNDER_MASTER {
            let mut walk = Walk::new(&*self.store, Query { limit: PAGE, ..Query::of(kind) });
            loop {
                let page = walk.next().await?;
                if page.is_empty() {
                    break;
                }
                for record in &page {
                    // Which key it is sealed under is believed only if it opens under that.
                    let opened = match self.keyring.open_current(&*self.store, record).await {
                        Ok((record, _)) => master_step(&record, id),
                        Err(Error::Corrupt(_)) => Step::Damaged,
                        Err(Error::NotFound { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                    add(&mut uses, u64::from(opened != Step::Reseal));
                }
            }
            add(&mut uses, walk.skipped());
        }
        Ok(uses)
    }

    /// Seals everything that is under a retired master key under the active one. `on_progress` hears how far it is after
    /// each page of records, and may end it; `pause` is waited then.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the store belongs to a master key that is not held, or another one is made active
    /// meanwhile; those of store and trail. What does not open is in the report instead.
    pub async fn rewrap_master(&self, pause: Duration, on_progress: OnProgress<'_>) -> Result<MasterRewrap> {
        let mut pace = Pace::new(pause, on_progress);
        let active = self.keyring.master_key_id();
        self.note_own(Action::Rewrap, Some(format!("begin: under master key {active}"))).await?;
        let mut report = MasterRewrap::default();
        let result = self.try_rewrap_master(&mut pace, &mut report).await;
        report.stopped = pace.stopped;
        let (resealed, failed) = (report.resealed, report.failed);
        let in_use = report.in_use.values().fold(0, |sum: u64, uses| sum.saturating_add(*uses));
        let counts = format!("{resealed} sealed anew, {failed} failed, {in_use} under retired keys");
        self.note_end(pace.stopped, &result, &counts).await?;
        result.map(|()| report)
    }

    async fn try_rewrap_master(&self, pace: &mut Pace<'_>, report: &mut MasterRewrap) -> Result<()> {
        let sealing = self.keyring.claim(&*self.store).await?;
        for kind in UNDER_MASTER {
            add(&mut pace.progress.total, self.store.count(&Query::of(kind)).await?);
        }
        for _ in 0..ROUNDS {
            report.failed = 0;
            let mut again = false;
            for kind in UNDER_MASTER {
                again |= self.rewrap_kind(kind, &sealing, pace, report).await?;
            }
            if pace.stopped || !again {
                break;
            }
        }
        for id in self.keyring.retired_ids() {
            let uses = self.master_key_use(&id).await?;
            report.in_use.insert(id, uses);
        }
        Ok(())
    }

    /// One look at all records of a kind. Whether another one is needed.
    async fn rewrap_kind(
        &self,
        kind: Kind,
        sealing: &Sealing,
        pace: &mut Pace<'_>,
        report: &mut MasterRewrap,
    ) -> Result<bool> {
        let mut walk = Walk::new(&*self.store, Query { limit: PAGE, ..Query::of(kind) });
        let mut again = false;
        while !pace.stopped {
            let page = walk.next().await?;
            if page.is_empty() {
                break;
            }
            let mut changes = Vec::new();
            for record in &page {
                let resealed = match master_step(record, sealing.id()) {
                    Step::Keep => continue,
                    Step::Reseal if Sealing::is_mark(record) => return Err(overtaken()),
                    Step::Reseal => self.keyring.reseal_under(record, sealing),
                    Step::Damaged => Err(Error::Corrupt("it is not sealed under a master key".to_owned())),
                };
                match resealed {
                    Ok(resealed) => changes.push((record, resealed)),
                    Err(Error::Corrupt(reason)) => {
                        Self::log_not_resealed(record, &reason);
                        add(&mut report.failed, 1);
                    }
                    Err(error) => return Err(error),
                }
            }
            let written = self.write_resealed(Aim::Master(sealing), changes).await?;
            add(&mut report.resealed, written.done);
            again |= written.lost > 0;
            pace.rest(page.len()).await;
        }
        add(&mut report.failed, walk.skipped());
        Ok(again)
    }

    fn log_not_resealed(record: &Record, reason: &str) {
        tracing::error!(kind = %record.kind, id = record.id, reason, "a record could not be sealed under a newer key");
    }

    /// Puts records sealed anew in the place of those that were read, many at once where nobody else is at them.
    async fn write_resealed(&self, aim: Aim<'_>, records: Vec<(&Record, Record)>) -> Result<Written> {
        let mut written = Written::default();
        let mut batch: Vec<Change> = Vec::new();
        let mut bytes = 0_usize;
        for (before, record) in records {
            bytes = bytes.saturating_add(record.body.len());
            batch.push(Change::Reseal { before: before.body.clone(), record });
            if bytes >= BATCH_BYTES {
                self.write_batch(aim, std::mem::take(&mut batch), &mut written).await?;
                bytes = 0;
            }
        }
        self.write_batch(aim, batch, &mut written).await?;
        Ok(written)
    }

    async fn write_batch(&self, aim: Aim<'_>, batch: Vec<Change>, written: &mut Written) -> Result<()> {
        let count = batch.len() as u64;
        match self.write_once(aim, batch.clone()).await? {
            true => add(&mut written.done, count),
            // One that somebody was faster with refuses all: each gets a turn of its own.
            false if count > 1 => {
                for change in batch {
                    let done = self.write_once(aim, vec![change]).await?;
                    add(if done { &mut written.done } else { &mut written.lost }, 1);
                }
            }
            false => add(&mut written.lost, count),
        }
        Ok(())
    }

    /// Whether the batch was made, and nobody was faster.
    async fn write_once(&self, aim: Aim<'_>, mut batch: Vec<Change>) -> Result<bool> {
        if batch.is_empty() {
            return Ok(true);
        }
        let result = match aim {
            Aim::Master(sealing) => {
                batch.push(sealing.condition());
                self.store.apply(batch).await
            }
            Aim::Scope => self.keyring.apply(&*self.store, &*self.clock, batch).await,
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) if Sealing::is_over(&error) => Err(overtaken()),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down how a run ended.
    async fn note_end(&self, stopped: bool, result: &Result<()>, counts: &str) -> Result<()> {
        let how = match result {
            Ok(()) if stopped => "stopped",
            Ok(()) => "end",
            Err(_) => "broken off",
        };
        let mut event = self.event(&Actor::server(), Action::Rewrap, None);
        event.outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
        event.reason = Some(format!("{how}: {counts}"));
        Ok(self.trail.append(&[event], Durability::Synced).await?)
    }
}
