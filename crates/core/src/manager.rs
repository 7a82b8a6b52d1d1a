//! The one door: every operation on secrets, whatever protocol asked for it.
//!
//! Order of a read: authorize, read, write the audit event, release. Order of a change: authorize, write a `pending` event
//! and wait until it is durable, change the store with compare-and-set, write how it ended. An operation whose event
//! cannot be written fails and releases nothing. Refusals are written down as well.

mod acl;
mod attached;
mod attestation;
mod deletion;
mod documents;
mod import;
mod keys;
mod listing;
mod operator;
mod projects;
mod reaper;
mod rotation;
mod scope_keys;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;
mod update;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::audit::{Action, AuditTrail, Durability, Event, Initiator, Outcome, Written};
use crate::clock::{Clock, Timestamp};
use crate::directory::{Directory, News};
use crate::document::DocumentKind;
use crate::error::{Error, Result};
use crate::id::{RequestId, SecretId, Version};
use crate::keyring::Keyring;
use crate::policy::{Caller, KeyTarget, Policy};
use crate::recent::Recent;
use crate::record::{self, SealedUnder};
use crate::secret::{self, Metadata, Secret, State};
use crate::store::{Change, Kind, Record, Store, StoreError};

pub use acl::MAX_ACL_USERS;
pub use documents::{DocumentFilter, NewDocument};
pub use import::{Existing, ImportedDocument, ImportedSecret, Standing};
pub use keys::NewKey;
pub use listing::{KeyFilter, KeyList};
pub use operator::OperatorFilter;
pub use projects::{Condition, Order, SecretFilter};
pub use reaper::ReapReport;
pub use rotation::{MasterRewrap, OnProgress, Progress, ScopeRewrap};
pub use scope_keys::MOST_SCOPE_KEYS;
pub use secrets::{Access, NewSecret};
pub use settings::Place;
pub use update::KeyUpdate;

/// So much may the clock be set forward before deletions are held back until the time has really passed.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);
/// How often a change is tried again when somebody else was faster and the caller asked for no version.
const ATTEMPTS: usize = 8;

/// What an operator sets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a deleted secret can be undeleted.
    pub grace: Duration,
    /// How long after its expiry a secret is deleted; `None`: never.
    pub expired_after: Option<Duration>,
    /// How long after its deletion an operator may destroy a secret.
    pub purge_wait: Duration,
    /// Largest payload, in bytes.
    pub max_payload: usize,
    /// Most secrets in one page of a listing.
    pub max_page: NonZeroUsize,
    /// Largest payload that Barbican's interface takes, in bytes.
    pub max_secret_payload: usize,
    /// Whether secrets of others are not found rather than refused, on Barbican's interface.
    pub hide_existence: bool,
    /// Most secrets that are remembered, without their payloads, for listings.
    pub remembered_secrets: usize,
    /// Kinds of documents that go with a secret.
    pub attached_kinds: Vec<DocumentKind>,
    /// The name of this server among those of one store.
    pub server: String,
}

impl Default for Settings {
    fn default() -> Self {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
        Self {
            grace: WEEK,
            expired_after: None,
            purge_wait: Duration::from_secs(24 * 3600),
            max_payload: 65_536,
            max_page: const { NonZeroUsize::new(1000).unwrap() },
            max_secret_payload: 65_536,
            hide_existence: false,
            remembered_secrets: 200_000,
            attached_kinds: Vec::new(),
            server: "chatelaine".to_owned(),
        }
    }
}

/// A secret without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its id.
    pub id: SecretId,
    /// The version of its record.
    pub version: Version,
    /// Its state now.
    pub state: State,
    /// Everything else.
    pub metadata: Metadata,
}

/// What was found since the start that should not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Irregularities {
    /// Tombstones that nobody asked for, or that lay on nothing.
    pub planted_tombstones: u64,
    /// Times a damaged record was met: in a listing, or by the reaper.
    pub damaged_records: u64,
}

#[derive(Default)]
struct Counted {
    planted_tombstones: AtomicU64,
    damaged_records: AtomicU64,
}

/// The one door.
pub struct Manager {
    store: Arc<dyn Store>,
    keyring: Keyring,
    policy: ArcSwap<Policy>,
    trail: Arc<dyn AuditTrail>,
    clock: Arc<dyn Clock>,
    directory: Directory,
    recent: Recent,
    settings: Settings,
    counted: Counted,
    /// A moment of the clock, and what had really passed then.
    anchor: Mutex<(Timestamp, Duration)>,
}

/// While a change is under way: what memory holds of its records is forgotten when this ends, however that comes, and if
/// it is not known then whether the change was made, is not remembered again.
struct Doubt<'a> {
    manager: &'a Manager,
    project: &'a str,
    keys: Vec<(Kind, String)>,
    known: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.manager.recent.forget(&self.keys, self.known);
        if !self.known {
            self.manager.directory.doubt(self.project);
        }
    }
}

/// Who is written down, for a request of a caller or for the server's own work.
struct Actor {
    initiator: Initiator,
    request_id: Option<String>,
}

impl Actor {
    fn of(caller: &Caller) -> Self {
        Self { initiator: caller.initiator(), request_id: Some(caller.request_id().to_string()) }
    }

    fn server() -> Self {
        Self {
            initiator: Initiator { user: "chatelaine".to_owned(), ..Initiator::default() },
            request_id: None,
        }
    }
}

/// The name of a note that each server of a store has of its own: where several servers may use the store, the server's
/// name is part of it.
pub fn own_note(name: &str, store: &dyn Store, server: &str) -> String {
    if store.is_shared() { format!("{name}@{server}") } else { name.to_owned() }
}

/// What a refused change means to whoever asked for it.
fn change_error(error: StoreError) -> Error {
    match error {
        // The tombstone's version means nothing to whoever deals with the secret, and no more does that of a scope key.
        StoreError::Conflict { kind, .. } if kind == Kind::TOMBSTONE => Error::WrongState {
            reason: "its deletion was changed at the same moment: repeat the request".to_owned(),
        },
        StoreError::Conflict { kind, id, .. } if kind == Kind::SCOPE_KEY => {
            Error::Unavailable(format!("scope key {id} was rotated at the same moment, or is missing"))
        }
        other => other.into(),
    }
}

impl Manager {
    /// A door to a store, once the store is known to belong to a master key of the keyring.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it does not; those of the store.
    pub async fn open(
        store: Arc<dyn Store>,
        keyring: Keyring,
        policy: Policy,
        trail: Arc<dyn AuditTrail>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self> {
        keyring.adopt(&*store, &*clock).await?;
        let anchor = Mutex::new((clock.now(), clock.elapsed()));
        let policy = ArcSwap::from_pointee(policy);
        // What another server changes is not heard of here.
        let (directory, recent) = if store.is_shared() {
            (Directory::off(), Recent::off())
        } else {
            (Directory::new(settings.remembered_secrets), Recent::default())
        };
        let counted = Counted::default();
        Ok(Self { store, keyring, policy, trail, clock, directory, recent, settings, counted, anchor })
    }

    /// The time by the clock that decides on states and ends.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What was found since the start that should not be.
    pub fn irregularities(&self) -> Irregularities {
        Irregularities {
            planted_tombstones: self.counted.planted_tombstones.load(Ordering::Relaxed),
            damaged_records: self.counted.damaged_records.load(Ordering::Relaxed),
        }
    }

    /// The moment by which it is decided what is due: the clock's, but never much further on than time has really passed
    /// since the start, so that a clock that leaps forward destroys nothing.
    fn passed_now(&self) -> Timestamp {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let mut anchor = self.anchor.lock();
        let expected = anchor.0.plus(elapsed.saturating_sub(anchor.1));
        if now < expected {
            // It was set back, or had been ahead when the server started: what is earlier is the safe side.
            *anchor = (now, elapsed);
        }
        now.min(expected.plus(CLOCK_TOLERANCE))
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub async fn store_health(&self) -> std::result::Result<(), String> {
        self.store.health().await.map_err(|error| error.to_string())
    }

    /// The name of a note that each server of a store has of its own.
    pub fn own_note(&self, name: &str) -> String {
        own_note(name, &*self.store, &self.settings.server)
    }

    /// Wraps and unwraps a value under the master key, to show that the server could.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot.
    pub fn canary(&self) -> Result<()> {
        self.keyring.canary(&*self.clock)
    }

    /// What was noted by [`Self::set_note`], for the server's own use.
    ///
    /// # Errors
    /// As for [`Keyring::note`].
    pub async fn note(&self, name: &str) -> Result<Option<chatelaine_crypto::KeyMaterial>> {
        self.keyring.note(&*self.store, name).await
    }

    /// Notes something in the store, sealed under the master key.
    ///
    /// # Errors
    /// As for [`Keyring::set_note`].
    pub async fn set_note(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.keyring.set_note(&*self.store, &*self.clock, name, bytes).await
    }

    /// Writes down that somebody came without a valid token. A trail that cannot take it does not change the refusal.
    pub async fn note_refused_token(
        &self,
        request_id: &RequestId,
        address: Option<std::net::IpAddr>,
        reason: &str,
    ) {
        let actor = Actor {
            initiator: Initiator {
                address: address.map(|address| address.to_string()),
                ..Initiator::default()
            },
            request_id: Some(request_id.to_string()),
        };
        let mut event = self.event(&actor, Action::Authenticate, None);
        event.outcome = Outcome::Failure;
        event.reason = Some(reason.to_owned());
        if let Err(failure) = self.trail.append_refusal(event).await {
            tracing::error!(%failure, %request_id, "a refused token could not be written to the audit trail");
        }
    }

    /// Writes down something the server did by itself: its start, its stop, what it mended in the trail.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the trail does not take it.
    pub async fn note_own(&self, action: Action, reason: Option<String>) -> Result<()> {
        self.note_own_outcome(action, Outcome::Success, reason).await
    }

    /// Writes down something that the server itself did or tried, and how it ended.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the trail cannot be written.
    pub async fn note_own_outcome(
        &self,
        action: Action,
        outcome: Outcome,
        reason: Option<String>,
    ) -> Result<()> {
        let mut event = self.event(&Actor::server(), action, None);
        event.outcome = outcome;
        event.reason = reason;
        Ok(self.trail.append(&[event], Durability::Synced).await?)
    }

    /// Puts new rules in force.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    fn event(&self, actor: &Actor, action: Action, target: Option<(&'static str, String)>) -> Event {
        let (target_kind, target) = target.unzip();
        Event {
            id: SecretId::random(),
            time: self.clock.now(),
            action,
            outcome: Outcome::Success,
            initiator: actor.initiator.clone(),
            target_kind,
            target,
            written: None,
            reason: None,
            request_id: actor.request_id.clone(),
        }
    }

    /// Writes down that something was refused, and passes the refusal on. If that cannot be written, the refusal stands.
    async fn refuse<T>(
        &self,
        caller: &Caller,
        action: Action,
        id: Option<SecretId>,
        error: Error,
    ) -> Result<T> {
        self.refuse_on(caller, action, id.map(|id| ("secret", id.to_string())), error).await
    }

    /// The same for a record of any kind.
    async fn refuse_on<T>(
        &self,
        caller: &Caller,
        action: Action,
        target: Option<(&'static str, String)>,
        error: Error,
    ) -> Result<T> {
        let mut event = self.event(&Actor::of(caller), action, target);
        event.outcome = Outcome::Failure;
        event.reason = Some(match &error {
            Error::Forbidden { reason } | Error::WrongState { reason } => reason.clone(),
            Error::Invalid { field, .. } => format!("{field} is invalid"),
            Error::Unavailable(_) => "unavailable".to_owned(),
            Error::Corrupt(_) => "corrupt".to_owned(),
            Error::Internal(_) => "internal".to_owned(),
            other => other.to_string(),
        });
        if let Err(failure) = self.trail.append_refusal(event).await {
            tracing::error!(%failure, request_id = %caller.request_id(), "a refusal could not be written to the audit trail");
        }
        Err(error)
    }

    /// Seals a secret as the record that is stored.
    async fn seal(
        &self,
        id: SecretId,
        version: Version,
        metadata: &Metadata,
        payload: &[u8],
    ) -> Result<Record> {
        let key = self.keyring.current(&*self.store, &*self.clock, &metadata.project).await?;
        let mut record = Record {
            kind: Kind::SECRET,
            id: id.to_string(),
            project: metadata.project.clone(),
            created: metadata.created,
            version,
            attributes: metadata.index(),
            body: Vec::new(),
        };
        let body = secret::encode(metadata, payload)?;
        record::seal(&mut record, &SealedUnder::ScopeKey(key.version), &key.cipher, body.expose())?;
        Ok(record)
    }

    /// The secret in a record that was read; [`Error::NotFound`] where it could be read no more, and is gone.
    async fn unseal(&self, record: &Record) -> Result<Secret> {
        Ok(self.unseal_current(record).await?.1)
    }

    /// The same, with the record: as it was read, or as it is now where its key was rotated away since.
    async fn unseal_current<'a>(&self, record: &'a Record) -> Result<(Cow<'a, Record>, Secret)> {
        let (record, body) = self.keyring.open_current(&*self.store, record).await?;
        let secret = Secret::decode(&record, body)?;
        Ok((record, secret))
    }

    fn describe(&self, secret: &Secret) -> Description {
        let metadata = secret.metadata.clone();
        Description {
            id: secret.id,
            version: secret.version,
            state: metadata.state(self.clock.now()),
            metadata,
        }
    }

    /// Changes of a project's records in one step: pending events, store, what memory hears of it, outcomes.
    async fn change_several(
        &self,
        project: &str,
        changes: Vec<(Event, Written)>,
        batch: Vec<Change>,
        news: &[News],
    ) -> Result<()> {
        let mut events: Vec<Event> = changes
            .into_iter()
            .map(|(event, written)| Event { written: Some(written), outcome: Outcome::Pending, ..event })
            .collect();
        self.trail.append(&events, Durability::Synced).await?;
        let mut doubt = Doubt { manager: self, project, keys: Recent::keys(&batch), known: false };
        let result = self.keyring.apply(&*self.store, &*self.clock, batch).await;
        doubt.known = matches!(&result, Ok(()) | Err(StoreError::Conflict { .. }));
        drop(doubt);
        if result.is_ok() {
            news.iter().for_each(|news| self.directory.hear(news));
        }
        let now = self.clock.now();
        for event in &mut events {
            event.time = now;
            match &result {
                Ok(()) => event.outcome = Outcome::Success,
                Err(error) => {
                    event.outcome = Outcome::Failure;
                    if let StoreError::Conflict { reason, .. } = error {
                        event.reason = Some(reason.to_string());
                    } else {
                        // Whether it was done is not known, so the pending event stays the last word on the version.
                        event.written = None;
                        event.reason = Some("the store did not confirm the change".to_owned());
                    }
                }
            }
        }
        if let Err(failure) = self.trail.append(&events, Durability::Written).await {
            // The pending events are durable and the change is made or refused: to fail now would misreport it.
            tracing::error!(%failure, "the outcome of a change could not be written to the audit trail");
        }
        result.map_err(change_error)
    }

    /// Applies a batch that nothing is written down of but what was before.
    async fn apply(&self, batch: Vec<Change>) -> Result<()> {
        self.keyring.apply(&*self.store, &*self.clock, batch).await.map_err(change_error)
    }

    /// Counts records that could not be read or opened and were left out.
    fn count_damaged(&self, count: u64) {
        self.counted.damaged_records.fetch_add(count, Ordering::Relaxed);
    }

    /// Logs a record that does not open and was left out.
    fn log_damaged(kind: &Kind, id: &str, reason: &str) {
        tracing::error!(%kind, id, reason, "a damaged record was left out");
    }

    /// Writes down that a tombstone was found that nobody asked for, before anything is done about it.
    async fn note_planted(&self, id: &str, reason: &str) -> Result<()> {
        self.counted.planted_tombstones.fetch_add(1, Ordering::Relaxed);
        self.note_tombstone(id, reason).await
    }

    /// Writes down that a tombstone is not as it should be, before it is mended.
    async fn note_tombstone(&self, id: &str, reason: &str) -> Result<()> {
        tracing::warn!(secret = id, reason, "a tombstone is not as it should be");
        let mut event = self.event(&Actor::server(), Action::Restore, Some(("tombstone", id.to_owned())));
        event.reason = Some(reason.to_owned());
        Ok(self.trail.append(&[event], Durability::Synced).await?)
    }

    /// One change of a secret: pending event, store, outcome.
    async fn change(&self, news: News, event: Event, written: Written, batch: Vec<Change>) -> Result<()> {
        let (News::Is(view) | News::Gone(view)) = &news;
        let project = view.metadata.project.clone();
        self.change_several(&project, vec![(event, written)], batch, &[news]).await
    }

    /// The secret, if the caller may do `rule` to it; one that the caller may not know of is not found.
    async fn find(
        &self,
        caller: &Caller,
        rule: &str,
        id: SecretId,
        deleted: bool,
    ) -> Result<(Record, Secret)> {
        let policy = self.policy.load();
        policy.admit(caller)?;
        let missing = || Error::not_found(format!("key {id}"));
        let record = self.store.read(&Kind::SECRET, &id.to_string()).await?.ok_or_else(missing)?;
        let secret = self.unseal(&record).await?;
        let target = KeyTarget { owner: &secret.metadata.owner, project_id: &secret.metadata.project };
        policy.require(rule, caller, Some(target)).map_err(|_| missing())?;
        if secret.metadata.deletion.is_some() != deleted {
            return Err(if deleted {
                Error::WrongState { reason: format!("key {id} is not deleted") }
            } else {
                missing()
            });
        }
        Ok((record, secret))
    }

    /// The secret, if the caller may read it; one that the caller may not know of is not found.
    async fn find_to_read(&self, caller: &Caller, rule: &str, id: SecretId) -> Result<Secret> {
        let reader = self.admit_reader(caller)?;
        let missing = || Error::not_found(format!("key {id}"));
        let record = self.store.read(&Kind::SECRET, &id.to_string()).await?.ok_or_else(missing)?;
        let secret = self.unseal(&record).await?;
        let released = secret.metadata.deletion.is_none() && self.may_read(&reader, rule, &secret.metadata);
        if released { Ok(secret) } else { Err(missing()) }
    }
}
