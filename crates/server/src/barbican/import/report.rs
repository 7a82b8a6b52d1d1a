//! What an import did and what it did not, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

/// Most objects that are named for one reason; beyond it they are only counted.
const MOST_NAMED: u64 = 10_000;

/// Why an object stays out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was deleted in Barbican.
    Deleted,
    /// It has expired.
    Expired,
    /// It failed, or was never finished.
    NotActive,
    /// Its payload is not kept, or not sealed, by the software backend.
    OtherBackend,
    /// It is something that does not exist here.
    Unsupported,
    /// It is larger than is allowed here.
    Limit,
    /// No key that was given opens the key of its project.
    Unopened,
    /// It is not what Barbican would have written.
    Damaged,
}

impl Reason {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::NotActive => "not active",
            Self::OtherBackend => "another backend",
            Self::Unsupported => "not supported",
            Self::Limit => "beyond a limit",
            Self::Unopened => "key not opened",
            Self::Damaged => "damaged",
        }
    }

    /// Whether it is to be expected of a database that is in order.
    pub const fn is_expected(self) -> bool {
        matches!(self, Self::Deleted | Self::Expired | Self::NotActive)
    }
}

/// A sort of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Sort {
    Secret,
    Container,
    ProjectQuota,
}

impl Sort {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Container => "container",
            Self::ProjectQuota => "project quota",
        }
    }
}

/// One object that stays out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What it is.
    pub kind: Sort,
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: Reason,
    /// The same in words, with what is special about it.
    pub detail: String,
}

/// One object that is there already, and differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// What it is.
    pub kind: Sort,
    /// Its id.
    pub id: String,
    /// How it differs.
    pub detail: String,
}

/// What became of one sort of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Imported now, or what would have been.
    pub imported: u64,
    /// There already.
    pub present: u64,
    /// There already, and different.
    pub conflicts: u64,
    /// Left out, by reason.
    pub left_out: BTreeMap<Reason, u64>,
}

impl Counts {
    /// Left out, for whatever reason.
    pub fn all_left_out(&self) -> u64 {
        self.left_out.values().sum()
    }
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was to be written.
    pub dry_run: bool,
    /// Where it all came from.
    pub source: String,
    /// Secrets.
    pub secrets: Counts,
    /// Containers.
    pub containers: Counts,
    /// Quotas of projects.
    pub project_quotas: Counts,
    /// Orders: what they made is imported, they are not.
    pub orders_left_out: u64,
    /// What stays out, the first 10,000 for each reason.
    pub left_out: Vec<LeftOut>,
    /// What differs from what is here, likewise.
    pub conflicts: Vec<Conflict>,
    /// Containers that refer to secrets that stay out.
    pub incomplete_containers: Vec<String>,
}

impl Report {
    /// What became of a sort of objects.
    pub fn counts(&mut self, kind: Sort) -> &mut Counts {
        match kind {
            Sort::Secret => &mut self.secrets,
            Sort::Container => &mut self.containers,
            Sort::ProjectQuota => &mut self.project_quotas,
        }
    }

    pub(super) fn leave_out(&mut self, kind: Sort, id: &str, (reason, detail): (Reason, String)) {
        let count = self.counts(kind).left_out.entry(reason).or_default();
        *count = count.saturating_add(1);
        if *count <= MOST_NAMED {
            self.left_out.push(LeftOut { kind, id: id.to_owned(), reason, detail });
        }
    }

    pub(super) fn conflict(&mut self, kind: Sort, id: &str, detail: &str) {
        let counts = self.counts(kind);
        counts.conflicts = counts.conflicts.saturating_add(1);
        if counts.conflicts <= MOST_NAMED {
            self.conflicts.push(Conflict { kind, id: id.to_owned(), detail: detail.to_owned() });
        }
    }

    /// Whether something was left out for this reason.
    pub fn has(&self, reason: Reason) -> bool {
        [&self.secrets, &self.containers, &self.project_quotas]
            .into_iter()
            .any(|counts| counts.left_out.contains_key(&reason))
    }
}
