//! What is written down about every operation, and the trail it is written to.
//!
//! Events follow CADF (DMTF DSP0262). A change is logged twice: `pending`, durable, before the store is touched, and
//! with its outcome after. A read of key material is logged before the material is released. No audit, no release:
//! an operation whose event cannot be written fails.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{SecretId, Version};

/// What was done, as the CADF action of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    Authenticate,
    Create,
    Import,
    Get,
    GetMetadata,
    List,
    Update,
    Delete,
    Undelete,
    Revoke,
    Purge,
    Restore,
    RotateMasterKey,
    RotateScopeKey,
    Rewrap,
    StartServer,
    StopServer,
    RecoverTrail,
    BeginTrail,
    SealMasterKey,
    UnsealMasterKey,
    RecoverMasterKey,
    DestroyMasterKey,
    ApproveBootState,
    EnrolHost,
    GrantMasterKey,
    JoinCluster,
}

impl Action {
    /// The CADF action; reading key material is told apart from reading metadata.
    pub const fn cadf(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Create => "create",
            Self::Import => "create/import",
            Self::Get => "read/key_material",
            Self::GetMetadata => "read/metadata",
            Self::List => "read/list",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Revoke => "revoke",
            Self::Purge => "purge",
            Self::Restore => "restore",
            Self::RotateMasterKey => "update/master_key",
            Self::RotateScopeKey => "update/scope_key",
            Self::Rewrap => "update/rewrap",
            Self::StartServer => "start",
            Self::StopServer => "stop",
            Self::RecoverTrail => "recover",
            Self::BeginTrail => "begin",
            Self::SealMasterKey => "seal",
            Self::UnsealMasterKey => "unseal",
            Self::RecoverMasterKey => "recover/master_key",
            Self::DestroyMasterKey => "delete/master_key",
            Self::ApproveBootState => "approve",
            Self::EnrolHost => "enable/host",
            Self::GrantMasterKey => "allow/master_key",
            Self::JoinCluster => "receive/master_key",
        }
    }

    /// From the CADF action.
    pub fn from_cadf(text: &str) -> Option<Self> {
        [
            Self::Authenticate,
            Self::Create,
            Self::Import,
            Self::Get,
            Self::GetMetadata,
            Self::List,
            Self::Update,
            Self::Delete,
            Self::Undelete,
            Self::Revoke,
            Self::Purge,
            Self::Restore,
            Self::RotateMasterKey,
            Self::RotateScopeKey,
            Self::Rewrap,
            Self::StartServer,
            Self::StopServer,
            Self::RecoverTrail,
            Self::BeginTrail,
            Self::SealMasterKey,
            Self::UnsealMasterKey,
            Self::RecoverMasterKey,
            Self::DestroyMasterKey,
            Self::ApproveBootState,
            Self::EnrolHost,
            Self::GrantMasterKey,
            Self::JoinCluster,
        ]
        .into_iter()
        .find(|action| action.cadf() == text)
    }
}

/// How it ended, as far as it is known when the event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// About to be done; another event with the same id tells how it ended.
    Pending,
    /// Done.
    Success,
    /// Refused or failed.
    Failure,
}

impl Outcome {
    /// The CADF word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// Who asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initiator {
    /// The user's id; empty when nobody could be authenticated; `chatelaine` for the server itself.
    pub user: String,
    /// The project the token was for.
    pub project: Option<String>,
    /// The id of the service that vouched for the request with a token of its own.
    pub service: Option<String>,
    /// The trust under which the token was made.
    pub trust: Option<TrustUsed>,
    /// The network address the request came from.
    pub address: Option<String>,
}

/// A Keystone delegation that was made use of; all are ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustUsed {
    /// That of the trust.
    pub id: String,
    /// Who delegated.
    pub trustor: String,
    /// Whom it was given to.
    pub trustee: String,
}

/// The state of a record that an event of a change leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The version the record has after the change.
    pub version: Version,
    /// The fingerprint of the record ([`crate::record::digest`]), in hex; empty where the record is removed.
    pub digest: String,
}

/// One event, before the trail gives it its number and its authenticator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// A random id (UUID), by which tombstones name their event.
    pub id: SecretId,
    /// When.
    pub time: Timestamp,
    /// What.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Who.
    pub initiator: Initiator,
    /// The kind of the record it is about, where there is one.
    pub target_kind: Option<&'static str>,
    /// The id of the record it is about.
    pub target: Option<String>,
    /// For changes: what was written.
    pub written: Option<Written>,
    /// Why it was refused or what is special, a short fixed text without secrets.
    pub reason: Option<String>,
    /// The request it belongs to.
    pub request_id: Option<String>,
}

/// When `append` may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has it: it survives the end of this process.
    Written,
    /// When it is on stable storage: it survives a power cut. Shared with everybody who waits at the same time.
    Synced,
}

/// Why the trail did not take an event, or cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The event was not written: disk full, not writable …
    #[error("the audit trail cannot be written: {0}")]
    Unwritable(String),
    /// The trail cannot be read.
    #[error("the audit trail cannot be read: {0}")]
    Unreadable(String),
    /// The trail does not verify: a line was changed, removed or reordered.
    #[error("the audit trail does not verify: {0}")]
    Broken(String),
}

/// The newest change of a record that the trail knows of, for the reaper and for `store check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChange {
    /// The event's id.
    pub event: SecretId,
    /// What was done.
    pub action: Action,
    /// Whether it is known to have been done (`Success`) or only begun (`Pending`).
    pub outcome: Outcome,
    /// What was written.
    pub written: Written,
}

/// All that the trail says of one record's changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeHistory {
    /// The newest change known to have been done.
    pub done: Option<LoggedChange>,
    /// Changes begun since, whose end is not logged (the process died in between).
    pub begun: Vec<LoggedChange>,
}

/// Key of a history: kind and id of the record.
pub type HistoryKey = (String, String);

/// The append-only, authenticated log of events.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Appends events, in this order and without others in between, and returns when `durability` is reached.
    async fn append(&self, events: &[Event], durability: Durability) -> Result<(), AuditError>;

    /// Appends the event of a refusal, [`Durability::Written`]. A trail may count refusals instead, where there are too many.
    async fn append_refusal(&self, event: Event) -> Result<(), AuditError> {
        self.append(&[event], Durability::Written).await
    }

    /// Reads the whole trail, verifying every line, and returns what it says of the changes of the records that `wanted`
    /// accepts (kind, id).
    async fn histories(
        &self,
        wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> Result<std::collections::HashMap<HistoryKey, ChangeHistory>, AuditError>;
}

impl ChangeHistory {
    /// Takes in the next event about this record; events come in the order of the trail.
    pub fn absorb(&mut self, change: LoggedChange) {
        match change.outcome {
            Outcome::Pending => self.begun.push(change),
            // Outcomes may be written late and out of order; versions do not tell the order either, since they begin anew
            // when a purged id is used again. But what was begun before a change that was made was itself made before
            // it, or has lost its race.
            Outcome::Success => match self.begun.iter().position(|begun| begun.event == change.event) {
                Some(place) => {
                    self.begun.drain(..=place);
                    self.done = Some(change);
                }
                // Its beginning lies in an archived part of the trail.
                None if self.done.is_none() => self.done = Some(change),
                // A change that was begun later is known to have been made.
                None => {}
            },
            Outcome::Failure => self.begun.retain(|begun| begun.event != change.event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: Action, outcome: Outcome, event: SecretId, version: u64) -> LoggedChange {
        let digest = if action == Action::Purge { String::new() } else { format!("{event}") };
        LoggedChange { event, action, outcome, written: Written { version: Version::new(version), digest } }
    }

    fn after(changes: &[(Action, Outcome, SecretId, u64)]) -> ChangeHistory {
        let mut history = ChangeHistory::default();
        for (action, outcome, event, version) in changes {
            history.absorb(change(*action, *outcome, *event, *version));
        }
        history
    }

    #[test]
    fn an_outcome_that_is_written_late_does_not_turn_history_back() {
        let (first, second) = (SecretId::random(), SecretId::random());
        let history = after(&[
            (Action::Update, Outcome::Pending, first, 2),
            (Action::Delete, Outcome::Pending, second, 3),
            (Action::Delete, Outcome::Success, second, 3),
            (Action::Update, Outcome::Success, first, 2),
        ]);
        assert_eq!(history.done.map(|done| done.event), Some(second));
        assert_eq!(history.begun, []);
    }

    #[test]
    fn an_id_that_is_used_again_begins_with_version_1() {
        let (purge, create) = (SecretId::random(), SecretId::random());
        let events = [
            (Action::Purge, Outcome::Pending, purge, 2),
            (Action::Create, Outcome::Pending, create, 1),
            (Action::Purge, Outcome::Success, purge, 2),
            (Action::Create, Outcome::Success, create, 1),
        ];
        for order in [[0, 1, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2]] {
            let history = after(&order.map(|place| events[place]));
            assert_eq!(history.done.map(|done| done.event), Some(create), "{order:?}");
            assert_eq!(history.begun, []);
        }
    }

    #[test]
    fn a_change_that_failed_was_not_begun() {
        let (lost, won) = (SecretId::random(), SecretId::random());
        let history = after(&[
            (Action::Update, Outcome::Pending, won, 2),
            (Action::Update, Outcome::Pending, lost, 2),
            (Action::Update, Outcome::Success, won, 2),
        ]);
        assert_eq!(history.begun.iter().map(|begun| begun.event).collect::<Vec<_>>(), [lost]);
        let mut settled = history;
        settled.absorb(change(Action::Update, Outcome::Failure, lost, 2));
        assert_eq!((settled.begun.len(), settled.done.map(|done| done.event)), (0, Some(won)));
    }

    #[test]
    fn an_outcome_counts_where_its_beginning_is_archived() {
        let event = SecretId::random();
        let history = after(&[(Action::Update, Outcome::Success, event, 7)]);
        assert_eq!(history.done.map(|done| done.event), Some(event));
    }
}
