//! The check of a whole store: every seal, every copy in the index, every version against the audit trail.
//!
//! A seal shows that a record was not edited or swapped; only the trail shows that a record is not an older state of
//! itself, or gone. The store may be in use: what does not fit is looked at again before it is reported.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::num::NonZeroUsize;

use crate::audit::{AuditTrail, ChangeHistory, HistoryKey};
use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::record;
use crate::secret::Secret;
use crate::store::{Kind, Position, Query, Record, Store};
use crate::tombstone;
use crate::walk::Walk;

/// So many secrets are compared with the trail at once, each a few hundred bytes; more take further readings of both.
const SECRETS_AT_ONCE: u64 = 200_000;
/// How often a record that changes meanwhile is looked at again.
const ROUNDS: usize = 5;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The record's kind.
    pub kind: String,
    /// The record's id.
    pub id: String,
    /// What is wrong, and what it can come from.
    pub problem: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records by kind.
    pub records: BTreeMap<String, u64>,
    /// Everything that is wrong; empty for a good store.
    pub findings: Vec<Finding>,
}

/// How much the trail knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// Everything since the store began.
    Whole,
    /// Older parts of the trail are archived elsewhere: a record the trail does not name may be older.
    Recent,
    /// Other servers change the store as well, each with a trail of its own: what this one does not know, another may.
    Shared,
}

/// What the trail says of one secret against what the store holds: `None` when they agree.
fn compare(
    stored: Option<(u64, &str)>,
    history: Option<&ChangeHistory>,
    knowledge: Knowledge,
) -> Option<String> {
    let is_shared = knowledge == Knowledge::Shared;
    let Some(history) = history else {
        return match (stored, knowledge) {
            (Some(_), Knowledge::Whole) => {
                Some("the audit trail knows nothing of it: it was not put through the key manager".to_owned())
            }
            _ => None,
        };
    };
    let mut possible: Vec<(u64, &str)> = history
        .begun
        .iter()
        .map(|change| (change.written.version.number(), change.written.digest.as_str()))
        .collect();
    let done =
        history.done.as_ref().map(|change| (change.written.version.number(), change.written.digest.as_str()));
    possible.extend(done);
    // A removal has no digest: the record is gone after it.
    let may_be_gone = possible.iter().any(|(_, digest)| digest.is_empty())
        || (done.is_none() && knowledge == Knowledge::Whole);
    match stored {
        None if may_be_gone || is_shared => None,
        None => done.map(|(version, _)| format!("it is missing: the audit trail knows version {version}")),
        Some((version, digest)) if possible.contains(&(version, digest)) => None,
        Some((version, _)) => match done {
            // Removed here and made anew through another server.
            Some((_, "")) if is_shared => None,
            Some((known, "")) => {
                Some(format!("it was purged at version {known} and is back at version {version}"))
            }
            Some((known, _)) if version < known => Some(format!(
                "it was rolled back: it has version {version}, the audit trail knows version {known}"
            )),
            Some((known, _)) if version == known => {
                Some(format!("it is not the version {version} that the audit trail knows: it was replaced"))
            }
            None if knowledge == Knowledge::Recent => None,
            _ if is_shared => None,
            _ => Some(format!("the audit trail does not know its version {version}")),
        },
    }
}

struct Check<'a> {
    store: &'a dyn Store,
    keyring: &'a Keyring,
    report: CheckReport,
}

/// Turns damage into words; other errors stay.
fn in_words<T>(result: Result<T>) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Corrupt(problem)) => Ok(Err(problem)),
        Err(error) => Err(error),
    }
}

/// A record that was removed since it was listed has no problem.
fn gone_is_well(error: Error) -> Result<Option<String>> {
    if matches!(error, Error::NotFound { .. }) { Ok(None) } else { Err(error) }
}

impl Check<'_> {
    fn find(&mut self, kind: &Kind, id: &str, problem: impl Into<String>) {
        self.report.findings.push(Finding {
            kind: kind.to_string(),
            id: id.to_owned(),
            problem: problem.into(),
        });
    }

    /// Looks at every record of every kind.
    async fn records(&mut self, on_progress: &mut (dyn FnMut(u64) + Send)) -> Result<()> {
        let mut seen: u64 = 0;
        for kind in self.store.kinds().await? {
            let mut walk = Walk::new(self.store, Query::of(kind.clone()));
            let mut last: Option<Position> = None;
            loop {
                let page = walk.next().await?;
                if page.is_empty() {
                    break;
                }
                for record in &page {
                    let position = record.position();
                    if last.as_ref() == Some(&position) {
                        self.find(&kind, &record.id, "it is there twice: the index of the store is damaged");
                    }
                    last = Some(position);
                    for problem in self.problems_of(record).await? {
                        self.find(&kind, &record.id, problem);
                    }
                }
                let count = self.report.records.entry(kind.to_string()).or_default();
                *count = count.saturating_add(page.len() as u64);
                seen = seen.saturating_add(page.len() as u64);
                on_progress(seen);
            }
            if walk.skipped() > 0 {
                let places = walk.skipped();
                self.find(
                    &kind,
                    "",
                    format!("{places} places cannot be read: restore the store from its backup"),
                );
            }
        }
        Ok(())
    }

    async fn problems_of(&self, record: &Record) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        match in_words(self.problem_of(record).await.or_else(gone_is_well))? {
            Ok(problem) => problems.extend(problem),
            Err(problem) => problems.push(problem),
        }
        match in_words(self.is_found_by_its_id(record).await)? {
            Ok(true) => {}
            Ok(false) => problems.push(
                "it is listed, but its id leads to another record or to none: the index of the store is damaged"
                    .to_owned(),
            ),
            Err(problem) => problems.push(problem),
        }
        Ok(problems)
    }

    /// What does not fit within the record, and of a deleted secret with its tombstone.
    async fn problem_of(&self, record: &Record) -> Result<Option<String>> {
        if record.kind == Kind::SCOPE_KEY {
            let (record, _) = self.keyring.open_current(self.store, record).await?;
            self.keyring.check_scope_key(&record)?;
            return Ok(None);
        }
        if record.kind == Kind::TOMBSTONE {
            tombstone::open(self.keyring, self.store, record).await?;
            return Ok(None);
        }
        let (record, body) = self.keyring.open_current(self.store, record).await?;
        if record.kind != Kind::SECRET {
            return Ok(None);
        }
        let metadata = Secret::decode(&record, body)?.metadata;
        if metadata.project != record.project {
            return Ok(Some("it belongs to another project than its record says".to_owned()));
        }
        if record.attributes != metadata.index() {
            return Ok(Some("its index attributes differ from its sealed body: they were edited".to_owned()));
        }
        if metadata.deletion.is_some() && self.lacks_a_tombstone(&record).await? {
            return Ok(Some(
                "it is deleted and has no tombstone: the reaper makes one anew when the grace period is over"
                    .to_owned(),
            ));
        }
        Ok(None)
    }

    async fn lacks_a_tombstone(&self, record: &Record) -> Result<bool> {
        if self.store.read(&Kind::TOMBSTONE, &record.id).await?.is_some() {
            return Ok(false);
        }
        // Both go together when the secret is purged or the deletion taken back.
        Ok(self.store.read(&record.kind, &record.id).await?.as_ref() == Some(record))
    }

    async fn is_found_by_its_id(&self, record: &Record) -> Result<bool> {
        let is_there = async || {
            let found = self.store.read(&record.kind, &record.id).await?;
            Ok::<_, Error>(found.is_some_and(|found| found.position() == record.position()))
        };
        if is_there().await? {
            return Ok(true);
        }
        // It may have been removed, or removed and made anew, since it was listed: then it is listed there no more.
        let after = Some(Position { created: record.created, id: String::new() });
        let limit = NonZeroUsize::MIN;
        let mut place = Walk::new(self.store, Query { after, limit, ..Query::of(record.kind.clone()) });
        while let Some(other) = place.next().await?.pop().filter(|other| other.created == record.created) {
            if other.id == record.id {
                return is_there().await;
            }
        }
        Ok(true)
    }

    /// Compares all secrets with the trail, in `parts` that fit into memory.
    async fn all_versions(&mut self, trail: &dyn AuditTrail, knowledge: Knowledge, parts: u64) -> Result<()> {
        for part in 0..parts {
            self.versions(trail, knowledge, |id| part_of(id, parts) == part).await?;
        }
        Ok(())
    }

    /// Compares the secrets whose ids are `wanted` with the trail.
    async fn versions(
        &mut self,
        trail: &dyn AuditTrail,
        knowledge: Knowledge,
        wanted: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<()> {
        let mut stored: HashMap<String, StoredVersion> = HashMap::new();
        let mut walk = Walk::new(self.store, Query::of(Kind::SECRET));
        loop {
            let page = walk.next().await?;
            if page.is_empty() {
                break;
            }
            for record in page.iter().filter(|record| wanted(&record.id)) {
                stored.insert(record.id.clone(), stored_version(record));
            }
        }
        // The trail is read after the store, so that it knows at least as much.
        let histories = trail.histories(&|kind, id| kind == "secret" && wanted(id)).await?;
        let mut suspects = disagreements(&stored, &histories, knowledge);
        // In a store that is in use, changes come between the readings: a record is reported only if it was the same
        // before and after the trail was read.
        for _ in 0..ROUNDS {
            if suspects.is_empty() {
                break;
            }
            let before = self.read_versions(&suspects).await?;
            let histories = trail.histories(&|kind, id| kind == "secret" && suspects.contains(id)).await?;
            let disagreeing: BTreeMap<String, String> = suspects
                .iter()
                .filter_map(|id| {
                    let stored =
                        before.get(id)?.as_ref().map(|(version, digest)| (*version, digest.as_str()));
                    let problem = compare(stored, histories.get(&history_key(id)), knowledge)?;
                    Some((id.clone(), problem))
                })
                .collect();
            suspects = disagreeing.keys().cloned().collect();
            let after = self.read_versions(&suspects).await?;
            for (id, problem) in disagreeing {
                if before.get(&id) == after.get(&id) {
                    suspects.remove(&id);
                    self.find(&Kind::SECRET, &id, problem);
                }
            }
        }
        Ok(())
    }

    /// What the store holds of these secrets now; what it cannot read is a finding.
    async fn read_versions(
        &mut self,
        ids: &BTreeSet<String>,
    ) -> Result<HashMap<String, Option<StoredVersion>>> {
        let mut found = HashMap::new();
        for id in ids {
            match in_words(self.store.read(&Kind::SECRET, id).await.map_err(Error::from))? {
                Ok(record) => {
                    found.insert(id.clone(), record.as_ref().map(stored_version));
                }
                Err(problem) => self.find(&Kind::SECRET, id, problem),
            }
        }
        Ok(found)
    }
}

/// Version and fingerprint of a record.
type StoredVersion = (u64, String);

fn stored_version(record: &Record) -> StoredVersion {
    (record.version.number(), record::digest(record))
}

/// Which of so many parts of all ids this one is in.
fn part_of(id: &str, parts: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish().checked_rem(parts).unwrap_or_default()
}

/// Checks a whole store. `on_progress` is called with the number of records looked at.
///
/// # Errors
/// Those of store and trail, when they cannot be read; what is wrong with records is in the report.
pub async fn check(
    store: &dyn Store,
    keyring: &Keyring,
    trail: &dyn AuditTrail,
    knowledge: Knowledge,
    on_progress: &mut (dyn FnMut(u64) + Send),
) -> Result<CheckReport> {
    let mut check = Check { store, keyring, report: CheckReport::default() };
    check.records(on_progress).await?;
    let secrets = check.report.records.get(Kind::SECRET.as_str()).copied().unwrap_or_default();
    check.all_versions(trail, knowledge, secrets / SECRETS_AT_ONCE + 1).await?;
    Ok(check.report)
}

fn history_key(id: &str) -> HistoryKey {
    (Kind::SECRET.to_string(), id.to_owned())
}

fn disagreements(
    stored: &HashMap<String, StoredVersion>,
    histories: &HashMap<HistoryKey, ChangeHistory>,
    knowledge: Knowledge,
) -> BTreeSet<String> {
    let ids = stored.keys().chain(histories.keys().map(|(_, id)| id)).collect::<BTreeSet<_>>();
    ids.into_iter()
        .filter(|id| {
            let state = stored.get(*id).map(|(version, digest)| (*version, digest.as_str()));
            compare(state, histories.get(&history_key(id)), knowledge).is_some()
        })
        .cloned()
        .collect()
}
