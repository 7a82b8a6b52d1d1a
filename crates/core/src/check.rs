//! The check of a whole store: every seal, every copy in the index, every version against the audit trail.
//!
//! A seal shows that a record was not edited or swapped; only the trail shows that a record is not an older state of
//! itself, or gone. The store may be in use: what does not fit is looked at once more before it is reported.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::audit::{AuditTrail, ChangeHistory, HistoryKey};
use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::record;
use crate::secret::Secret;
use crate::store::{IndexAttributes, Kind, Query, Record, Store};
use crate::tombstone;

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
}

/// What the trail says of one secret against what the store holds: `None` when they agree.
fn compare(
    stored: Option<(u64, &str)>,
    history: Option<&ChangeHistory>,
    knowledge: Knowledge,
) -> Option<String> {
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
        None if may_be_gone => None,
        None => done.map(|(version, _)| format!("it is missing: the audit trail knows version {version}")),
        Some((version, digest)) if possible.contains(&(version, digest)) => None,
        Some((version, _)) => match done {
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
            _ => Some(format!("the audit trail does not know its version {version}")),
        },
    }
}

/// The copies in the index, but for the due time, which follows a setting.
fn same_index(stored: &IndexAttributes, right: &IndexAttributes) -> bool {
    IndexAttributes { due: None, ..stored.clone() } == IndexAttributes { due: None, ..right.clone() }
        && stored.due.is_some() == right.due.is_some()
}

struct Check<'a> {
    store: &'a dyn Store,
    keyring: &'a Keyring,
    report: CheckReport,
}

impl Check<'_> {
    fn find(&mut self, kind: &str, id: &str, problem: impl Into<String>) {
        self.report.findings.push(Finding {
            kind: kind.to_owned(),
            id: id.to_owned(),
            problem: problem.into(),
        });
    }

    async fn one(&mut self, record: &Record) -> Result<()> {
        let problem = match self.problem_of(record).await {
            Ok(problem) => problem,
            Err(Error::Corrupt(problem)) => Some(problem),
            Err(error) => return Err(error),
        };
        if let Some(problem) = problem {
            self.find(record.kind.as_str(), &record.id, problem);
        }
        Ok(())
    }

    async fn problem_of(&self, record: &Record) -> Result<Option<String>> {
        if record.kind == Kind::SCOPE_KEY {
            self.keyring.open_scope_key(record)?;
            return Ok(None);
        }
        if record.kind == Kind::TOMBSTONE {
            tombstone::open(self.keyring, self.store, record).await?;
            return Ok(None);
        }
        let body = self.keyring.open(self.store, record).await?;
        if record.kind != Kind::SECRET {
            return Ok(None);
        }
        let metadata = Secret::decode(record, body)?.metadata;
        if metadata.project != record.project {
            return Ok(Some("it belongs to another project than its record says".to_owned()));
        }
        let right = metadata.index(std::time::Duration::ZERO);
        Ok((!same_index(&record.attributes, &right))
            .then(|| "its index attributes differ from its sealed body: they were edited".to_owned()))
    }
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
    let mut seen: u64 = 0;
    // What the store holds of each secret; the trail is read after it, so that it knows at least as much.
    let mut stored: HashMap<String, (u64, String)> = HashMap::new();
    for kind in store.kinds().await? {
        let mut query = Query::of(kind.clone());
        loop {
            let page = store.list(&query).await?;
            let Some(last) = page.last() else { break };
            query.after = Some(last.position());
            for record in &page {
                check.one(record).await?;
                if record.kind == Kind::SECRET {
                    stored.insert(record.id.clone(), (record.version.number(), record::digest(record)));
                }
            }
            let count = check.report.records.entry(kind.to_string()).or_default();
            *count = count.saturating_add(page.len() as u64);
            seen = seen.saturating_add(page.len() as u64);
            on_progress(seen);
        }
    }
    let histories = trail.histories(&|kind, _| kind == "secret").await?;
    let suspects = disagreements(&stored, &histories, knowledge);
    if suspects.is_empty() {
        return Ok(check.report);
    }
    // In a store that is in use, a change may have come between the two readings.
    let mut again: HashMap<String, (u64, String)> = HashMap::new();
    for id in &suspects {
        if let Some(record) = store.read(&Kind::SECRET, id).await? {
            again.insert(id.clone(), (record.version.number(), record::digest(&record)));
        }
    }
    let histories = trail.histories(&|kind, id| kind == "secret" && suspects.contains(id)).await?;
    for id in &suspects {
        let stored = again.get(id).map(|(version, digest)| (*version, digest.as_str()));
        if let Some(problem) = compare(stored, histories.get(&history_key(id)), knowledge) {
            check.find(Kind::SECRET.as_str(), id, problem);
        }
    }
    Ok(check.report)
}

fn history_key(id: &str) -> HistoryKey {
    (Kind::SECRET.to_string(), id.to_owned())
}

fn disagreements(
    stored: &HashMap<String, (u64, String)>,
    histories: &HashMap<HistoryKey, ChangeHistory>,
    knowledge: Knowledge,
) -> BTreeSet<String> {
    let ids = stored.keys().chain(histories.keys().map(|(_, id)| id)).cloned().collect::<BTreeSet<_>>();
    ids.into_iter()
        .filter(|id| {
            let state = stored.get(id).map(|(version, digest)| (*version, digest.as_str()));
            compare(state, histories.get(&history_key(id)), knowledge).is_some()
        })
        .collect()
}
