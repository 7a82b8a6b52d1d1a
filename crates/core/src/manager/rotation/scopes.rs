//! Rotation of scope keys: a newer one for what is written, the older ones' records sealed anew, the older ones destroyed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Aim, OnProgress, PAGE, Pace, ROUNDS, Step, add};
use crate::audit::{Action, Durability, Outcome};
use crate::error::{Error, Result};
use crate::keyring::{self, CLOSED, OPEN, ScopeKey};
use crate::manager::{Actor, Manager};
use crate::record::{self, SealedUnder};
use crate::store::{Kind, Query, Record};
use crate::walk::Walk;

/// Most projects that one look for scope keys finds; the next one finds more.
const MOST_PROJECTS: usize = 10_000;

/// What a run over older scope keys did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScopeRewrap {
    /// Projects that had older keys.
    pub projects: u64,
    /// Records sealed anew.
    pub resealed: u64,
    /// Older keys that nothing was sealed under any more, destroyed.
    pub destroyed: u64,
    /// Older keys that something is or may still be sealed under.
    pub in_use: u64,
    /// Records that do not open, and places the store cannot read.
    pub failed: u64,
    /// It was stopped before its end.
    pub stopped: bool,
}

/// The step for a record of a project, when everything is to be under the key `newest` or a newer one.
fn scope_step(record: &Record, newest: u32) -> (Step, Option<u32>) {
    match record::sealed_under(record) {
        Ok(SealedUnder::ScopeKey(version)) if version >= newest => (Step::Keep, Some(version)),
        Ok(SealedUnder::ScopeKey(version)) => (Step::Reseal, Some(version)),
        _ => (Step::Damaged, None),
    }
}

/// What one look at all records of a project found.
#[derive(Default)]
struct Look {
    /// The keys that records were sealed under when they were read.
    under: BTreeSet<u32>,
    resealed: u64,
    lost: u64,
    failed: u64,
    /// Records and places of which it is not known what they are sealed under.
    unknown: u64,
}

impl Manager {
    /// Makes a new key-encryption key of a project and closes the older ones: what is written from now on, by any server,
    /// is sealed under it. [`Self::rewrap_scopes`] makes the rest follow. Tells the number of the key.
    ///
    /// # Errors
    /// As for [`crate::keyring::Keyring::rotate`]; [`Error::Unavailable`] when the trail does not take it.
    pub async fn rotate_scope_key(&self, project: &str) -> Result<u32> {
        let mut event =
            self.event(&Actor::server(), Action::RotateScopeKey, Some(("project", project.to_owned())));
        event.outcome = Outcome::Pending;
        self.trail.append(&[event.clone()], Durability::Synced).await?;
        let result = self.keyring.rotate(&*self.store, &*self.clock, project).await;
        event.time = self.clock.now();
        (event.outcome, event.reason) = match &result {
            Ok(version) => (Outcome::Success, Some(format!("key {version}"))),
            Err(_) => (Outcome::Failure, Some("the key was not rotated, or that is not known".to_owned())),
        };
        if let Err(failure) = self.trail.append(&[event], Durability::Written).await {
            tracing::error!(%failure, "the outcome of a rotation could not be written to the audit trail");
        }
        result
    }

    /// The projects whose newest key-encryption key is at least so old, the oldest first; not all where there are very
    /// many.
    ///
    /// # Errors
    /// Those of the store. A key that does not open is left out: the log and the metrics tell.
    pub async fn due_scope_keys(&self, max_age: Duration) -> Result<Vec<String>> {
        let oldest = self.clock.now().minus(max_age);
        let mut due = Vec::new();
        let mut walk = Walk::new(&*self.store, Query { limit: PAGE, ..Query::of(Kind::SCOPE_KEY) });
        let mut damaged = 0;
        'pages: loop {
            let page = walk.next().await?;
            if page.is_empty() {
                break;
            }
            for record in page {
                // The listing is in the order of creation.
                if record.created > oldest || due.len() >= MOST_PROJECTS {
                    break 'pages;
                }
                // The newest one is the one that is open. Its version and time are believed once it opens.
                if record.version != OPEN {
                    continue;
                }
                match self.keyring.open_current(&*self.store, &record).await {
                    Ok((record, _)) if record.version == OPEN => due.push(record.project.clone()),
                    Ok(_) | Err(Error::NotFound { .. }) => {}
                    Err(Error::Corrupt(reason)) => {
                        Self::log_damaged(&record.kind, &record.id, &reason);
                        add(&mut damaged, 1);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.count_damaged(damaged.saturating_add(walk.skipped()));
        Ok(due)
    }

    /// Seals everything that is under closed scope keys under the newest one of its project, and destroys the closed keys
    /// that nothing is sealed under any more. `on_progress` hears how far it is after each page of records, and may end
    /// it; `pause` is waited then.
    ///
    /// # Errors
    /// The first one of store and trail, and that a project's newest key is lost, when all was done for the other projects
    /// that could be. Records that do not open are in the report instead.
    pub async fn rewrap_scopes(&self, pause: Duration, on_progress: OnProgress<'_>) -> Result<ScopeRewrap> {
        self.keyring.let_leave();
        let mut report = ScopeRewrap::default();
        let projects = self.projects_with_closed_keys(&mut report).await?;
        if projects.is_empty() {
            return Ok(report);
        }
        report.projects = projects.len() as u64;
        let mut pace = Pace::new(pause, on_progress);
        let begin = format!("begin: older keys of {} projects", report.projects);
        self.note_own(Action::Rewrap, Some(begin)).await?;
        let result = self.rewrap_projects(&projects, &mut pace, &mut report).await;
        report.stopped = pace.stopped;
        let ScopeRewrap { resealed, destroyed, in_use, failed, .. } = report;
        let counts = format!(
            "{resealed} sealed anew, {failed} failed, {destroyed} older keys destroyed, {in_use} still in use"
        );
        self.note_end(pace.stopped, &result, &counts).await?;
        result.map(|()| report)
    }

    async fn projects_with_closed_keys(&self, report: &mut ScopeRewrap) -> Result<BTreeSet<String>> {
        let mut projects = BTreeSet::new();
        let mut walk = Walk::new(&*self.store, Query { limit: PAGE, ..Query::of(Kind::SCOPE_KEY) });
        while projects.len() < MOST_PROJECTS {
            let page = walk.next().await?;
            if page.is_empty() {
                break;
            }
            projects.extend(page.into_iter().filter(|key| key.version == CLOSED).map(|key| key.project));
        }
        add(&mut report.failed, walk.skipped());
        Ok(projects)
    }

    async fn rewrap_projects(
        &self,
        projects: &BTreeSet<String>,
        pace: &mut Pace<'_>,
        report: &mut ScopeRewrap,
    ) -> Result<()> {
        for kind in keyring::kinds_in_scopes(&*self.store).await? {
            for project in projects {
                let query = Query { project: Some(project.clone()), ..Query::of(kind.clone()) };
                add(&mut pace.progress.total, self.store.count(&query).await?);
            }
        }
        let mut failure = Ok(());
        for project in projects {
            if pace.stopped {
                break;
            }
            match self.rewrap_project(project, pace, report).await {
                Ok(()) => {}
                // The keys of one project are damaged, or it is changed too fast: the others go on.
                Err(error @ (Error::Corrupt(_) | Error::WrongState { .. })) => {
                    tracing::error!(project, %error, "a project's records could not be sealed under its newest key");
                    add(&mut report.failed, 1);
                    failure = failure.and(Err(error));
                }
                Err(error) => return Err(error),
            }
        }
        failure
    }

    async fn rewrap_project(
        &self,
        project: &str,
        pace: &mut Pace<'_>,
        report: &mut ScopeRewrap,
    ) -> Result<()> {
        // Read from the store, before the records are looked at: these were closed before that. What memory says of the
        // newest one may be older.
        let keys = keyring::scope_keys(&*self.store, project).await?;
        let Some(newest) = keyring::newest_of(project, &keys)? else { return Ok(()) };
        let newest = match self.keyring.version(&*self.store, project, newest).await {
            // Other servers have rotated it, and destroyed it already.
            Err(Error::Corrupt(_)) if self.newest_scope_key(project).await? != Some(newest) => return Ok(()),
            found => found?,
        };
        let closed: Vec<_> = keys.into_iter().filter(|(_, record)| record.version == CLOSED).collect();
        let mut look = Look::default();
        for _ in 0..ROUNDS {
            look = self.look_through(project, &newest, pace).await?;
            add(&mut report.resealed, look.resealed);
            if pace.stopped || look.resealed == 0 && look.lost == 0 {
                break;
            }
        }
        add(&mut report.failed, look.failed);
        for (version, record) in closed {
            if pace.stopped || look.unknown > 0 || look.under.contains(&version) {
                add(&mut report.in_use, 1);
                continue;
            }
            match self.keyring.spend(&*self.store, &record).await {
                Ok(()) => add(&mut report.destroyed, 1),
                // Another server has destroyed it at the same moment.
                Err(Error::VersionMismatch { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn newest_scope_key(&self, project: &str) -> Result<Option<u32>> {
        keyring::newest_of(project, &keyring::scope_keys(&*self.store, project).await?)
    }

    /// Looks at all records of a project, and seals anew what is under older keys.
    async fn look_through(&self, project: &str, newest: &ScopeKey, pace: &mut Pace<'_>) -> Result<Look> {
        let mut look = Look::default();
        for kind in keyring::kinds_in_scopes(&*self.store).await? {
            let query = Query { project: Some(project.to_owned()), limit: PAGE, ..Query::of(kind) };
            let mut walk = Walk::new(&*self.store, query);
            while !pace.stopped {
                let page = walk.next().await?;
                if page.is_empty() {
                    break;
                }
                let mut changes = Vec::new();
                for record in &page {
                    let (step, version) = scope_step(record, newest.version);
                    look.under.extend(version);
                    match (step, version) {
                        (Step::Keep, _) => {}
                        (Step::Reseal, Some(version)) => {
                            if let Some(resealed) =
                                self.reseal_for(record, version, newest, &mut look).await?
                            {
                                changes.push((record, resealed));
                            }
                        }
                        (Step::Damaged, _) | (Step::Reseal, None) => {
                            Self::log_not_resealed(record, "it does not say under which key");
                            add(&mut look.failed, 1);
                            add(&mut look.unknown, 1);
                        }
                    }
                }
                let written = self.write_resealed(Aim::Scope, changes).await?;
                add(&mut look.resealed, written.done);
                add(&mut look.lost, written.lost);
                pace.rest(page.len()).await;
            }
            add(&mut look.failed, walk.skipped());
            add(&mut look.unknown, walk.skipped());
        }
        Ok(look)
    }

    async fn reseal_for(
        &self,
        record: &Record,
        version: u32,
        newest: &ScopeKey,
        look: &mut Look,
    ) -> Result<Option<Record>> {
        let resealed = match self.keyring.version(&*self.store, &record.project, version).await {
            Ok(old) => keyring::reseal(record, &old, newest),
            Err(error) => Err(error),
        };
        match resealed {
            Ok(resealed) => Ok(Some(resealed)),
            Err(Error::Corrupt(reason)) => {
                Self::log_not_resealed(record, &reason);
                add(&mut look.failed, 1);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
