//! What Keystone said about tokens, remembered.
//!
//! Owns two caches, both keyed by the SHA-256 digest of the token: good tokens, and refused ones in a cache of their own,
//! so that a flood of bad tokens cannot push good ones out.
//!
//! Invariants: a good token is believed for `cache_seconds` at most and never past its expiry (T-TOKEN-EXPIRED), so a
//! revoked one lives no longer than that (T-TOKEN-REVOKED); no failure to get an answer is remembered as a refusal; for
//! one token at most one question is under way, for all tokens together at most [`CONCURRENT_QUESTIONS`]; at most
//! [`CALLERS_WAITING`] callers wait, and none longer than the timeout. Age is judged by the given clock and, within the
//! caches, by the monotonic one as well, so that neither a clock set back nor a machine put to sleep makes an answer
//! last longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chatelaine_client::SecretText;
use chatelaine_client::keystone::{
    ApplicationCredential, Keystone, TokenScope, ValidateError, ValidatedToken,
};
use chatelaine_core::policy::{Identity, Trust};
use chatelaine_core::{Clock, Timestamp};
use moka::Expiry;
use moka::future::Cache;
use moka::ops::compute::Op;
use tokio::sync::Semaphore;

use super::super::config::KeystoneSettings;
use super::super::token::{self, Digest};
use super::super::{Counters, lower_case_roles};

/// Questions to Keystone at the same time.
pub(super) const CONCURRENT_QUESTIONS: usize = 32;
/// Callers that wait for an answer at the same time, in line or for one that is under way.
pub(super) const CALLERS_WAITING: usize = 4096;
/// Refused tokens that are remembered.
const REFUSED_ENTRIES: u64 = 4096;

/// A token's digest, and whether it was asked about as possibly expired.
type Key = (Digest, bool);

/// A token that Keystone vouches for.
#[derive(Debug)]
pub(super) struct Validated {
    pub(super) identity: Arc<Identity>,
    pub(super) application_credential: Option<ApplicationCredential>,
    asked_at: Timestamp,
    /// How long it is believed, from then on.
    keep: Duration,
}

impl Validated {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.asked_at) < self.keep && !self.has_expired(now)
    }

    fn has_expired(&self, now: Timestamp) -> bool {
        self.identity.expires_at.is_none_or(|moment| moment <= now)
    }
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Keystone does not know it, or no longer.
    NotValid,
    /// Keystone vouches for it, but by our clock it is over.
    ExpiredHere,
    /// There is no answer.
    Unavailable(String),
}

/// Entries leave the cache of good tokens when they lapse.
struct Lapse;

impl Expiry<Key, Arc<Validated>> for Lapse {
    fn expire_after_create(&self, _: &Key, value: &Arc<Validated>, _: Instant) -> Option<Duration> {
        Some(value.keep)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        value: &Arc<Validated>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.keep)
    }
}

#[derive(Default)]
struct Counts {
    cache_hits: AtomicU64,
    negative_hits: AtomicU64,
    misses: AtomicU64,
    upstream_validations: AtomicU64,
    upstream_failures: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) struct Validator {
    client: ArcSwap<Keystone>,
    clock: Arc<dyn Clock>,
    good: Cache<Key, Arc<Validated>>,
    refused: Cache<Key, (Timestamp, Failure)>,
    keep_good: Duration,
    keep_refused: Duration,
    timeout: Duration,
    questions: Semaphore,
    waiting: Arc<Semaphore>,
    counts: Counts,
    /// The last question had no answer; for one line in the log at each change.
    failing: AtomicBool,
}

impl Validator {
    pub(super) fn new(client: Keystone, settings: &KeystoneSettings, clock: Arc<dyn Clock>) -> Self {
        let keep_refused = Duration::from_secs(settings.negative_cache_seconds);
        Self {
            client: ArcSwap::from_pointee(client),
            clock,
            good: Cache::builder().max_capacity(settings.cache_entries).expire_after(Lapse).build(),
            refused: Cache::builder().max_capacity(REFUSED_ENTRIES).time_to_live(keep_refused).build(),
            keep_good: Duration::from_secs(settings.cache_seconds),
            keep_refused,
            timeout: Duration::from_secs(settings.timeout),
            questions: Semaphore::new(CONCURRENT_QUESTIONS),
            waiting: Arc::new(Semaphore::new(CALLERS_WAITING)),
            counts: Counts::default(),
            failing: AtomicBool::new(false),
        }
    }

    pub(super) fn client(&self) -> Arc<Keystone> {
        self.client.load_full()
    }

    pub(super) fn use_client(&self, client: Keystone) {
        self.client.store(Arc::new(client));
    }

    pub(super) fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            cache_hits: read(&self.counts.cache_hits),
            negative_hits: read(&self.counts.negative_hits),
            misses: read(&self.counts.misses),
            upstream_validations: read(&self.counts.upstream_validations),
            upstream_failures: read(&self.counts.upstream_failures),
            entries: self.good.entry_count(),
        }
    }

    /// What a token stands for. With `allow_expired` also one that has expired, as long as Keystone goes along.
    pub(super) async fn validate(
        self: &Arc<Self>,
        token: &SecretText,
        allow_expired: bool,
    ) -> Result<Arc<Validated>, Failure> {
        let digest = token::digest(token);
        let key = (digest, allow_expired);
        if let Some(known) = self.known_good(digest).await {
            count(&self.counts.cache_hits);
            return Ok(known);
        }
        if let Some((at, failure)) = self.refused.get(&key).await
            && self.clock.now().since(at) < self.keep_refused
        {
            count(&self.counts.negative_hits);
            return Err(failure);
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Err(Failure::Unavailable("too many callers wait for Keystone already".to_owned()));
        };
        count(&self.counts.misses);
        // The question outlives a caller that goes away: others may wait for the same answer, and an answer that is
        // paid for is worth keeping.
        let (this, token) = (Arc::clone(self), SecretText::new(token.expose()));
        let question = tokio::spawn(async move {
            let answer = this.ask_once(key, &token).await;
            drop(place);
            answer
        });
        let broken_off = |_| Err(Failure::Unavailable("the question was broken off".to_owned()));
        let validated = question.await.unwrap_or_else(broken_off)?;
        // The answer may be another caller's, and it may have been long in coming.
        if !allow_expired && validated.has_expired(self.clock.now()) {
            return Err(Failure::ExpiredHere);
        }
        Ok(validated)
    }

    /// A live token is good whichever way it was asked about.
    async fn known_good(&self, digest: Digest) -> Option<Arc<Validated>> {
        for key in [(digest, false), (digest, true)] {
            if let Some(known) = self.good.get(&key).await
                && known.is_fresh(self.clock.now())
            {
                return Some(known);
            }
        }
        None
    }

    async fn ask_once(&self, key: Key, token: &SecretText) -> Result<Arc<Validated>, Failure> {
        // An entry that lapsed by the given clock would be taken for an answer below. Whether it still lapses is
        // decided under the cache's own lock, lest the answer that another caller has just brought goes with it.
        if self.good.contains_key(&key) {
            self.good
                .entry(key)
                .and_compute_with(|entry| {
                    let lapsed = entry.is_some_and(|entry| !entry.value().is_fresh(self.clock.now()));
                    std::future::ready(if lapsed { Op::Remove } else { Op::Nop })
                })
                .await;
        }
        let answer = self.good.try_get_with(key, self.ask(key, token)).await;
        answer.map_err(|failure| Failure::clone(&failure))
    }

    async fn ask(&self, key: Key, token: &SecretText) -> Result<Arc<Validated>, Failure> {
        let allow_expired = key.1;
        let asked_at = self.clock.now();
        let answer = tokio::time::timeout(self.timeout, self.question(token, allow_expired))
            .await
            .unwrap_or_else(|_| Err(Failure::Unavailable("Keystone gave no answer in time".to_owned())));
        self.note(&answer);
        let outcome = answer.and_then(|details| {
            let validated = self.believed(details, asked_at);
            if !allow_expired && validated.has_expired(self.clock.now()) {
                return Err(Failure::ExpiredHere);
            }
            Ok(Arc::new(validated))
        });
        if let Err(failure @ (Failure::NotValid | Failure::ExpiredHere)) = &outcome
            && !self.keep_refused.is_zero()
        {
            self.refused.insert(key, (self.clock.now(), failure.clone())).await;
        }
        outcome
    }

    async fn question(&self, token: &SecretText, allow_expired: bool) -> Result<ValidatedToken, Failure> {
        let _turn =
            self.questions.acquire().await.map_err(|error| Failure::Unavailable(error.to_string()))?;
        count(&self.counts.upstream_validations);
        self.client().validate(token.expose(), allow_expired).await.map_err(|error| match error {
            ValidateError::NotValid => Failure::NotValid,
            other => Failure::Unavailable(other.to_string()),
        })
    }

    fn believed(&self, details: ValidatedToken, asked_at: Timestamp) -> Validated {
        let expires_at = Timestamp::from_micros(details.expires_at.as_microsecond());
        let (mut project_id, mut project_domain_id) = (None, None);
        let (mut domain_id, mut system) = (None, false);
        match details.scope {
            TokenScope::Unscoped => {}
            TokenScope::Project(project) => {
                (project_id, project_domain_id) = (Some(project.id), Some(project.domain.id));
            }
            TokenScope::Domain(domain) => domain_id = Some(domain.id),
            TokenScope::System => system = true,
        }
        let identity = Identity {
            user_id: details.user.id,
            user_name: details.user.name,
            project_id,
            project_domain_id,
            domain_id,
            system,
            roles: lower_case_roles(&details.roles),
            trust: details.trust.map(|trust| Trust {
                id: trust.id,
                trustor_user_id: trust.trustor_user_id,
                trustee_user_id: trust.trustee_user_id,
                impersonation: trust.impersonation,
            }),
            application_credential_id: details
                .application_credential
                .as_ref()
                .map(|credential| credential.id.clone()),
            expires_at: Some(expires_at),
        };
        Validated {
            identity: Arc::new(identity),
            application_credential: details.application_credential,
            asked_at,
            keep: self.keep_good.min(expires_at.since(asked_at)),
        }
    }

    /// Counts failures, and logs when they begin and when they end.
    fn note(&self, answer: &Result<ValidatedToken, Failure>) {
        if let Err(Failure::Unavailable(reason)) = answer {
            count(&self.counts.upstream_failures);
            if !self.failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%reason, "tokens cannot be validated; those seen before stay good until they lapse");
            }
        } else if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("tokens can be validated again");
        }
    }

    /// How long the cache keeps a token that is in it.
    #[cfg(test)]
    pub(super) async fn kept_for(&self, token: &str) -> Option<Duration> {
        let key = (token::digest(&SecretText::new(token)), false);
        self.good.get(&key).await.map(|validated| validated.keep)
    }

    /// Brings the caches' own bookkeeping up to date, so that counts are exact.
    #[cfg(test)]
    pub(super) async fn settle(&self) {
        self.good.run_pending_tasks().await;
        self.refused.run_pending_tasks().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(lives: u64, keep: u64) -> Validated {
        let expires_at = Some(Timestamp::EPOCH.plus(Duration::from_secs(lives)));
        Validated {
            identity: Arc::new(Identity { expires_at, ..Identity::default() }),
            application_credential: None,
            asked_at: Timestamp::EPOCH,
            keep: Duration::from_secs(keep),
        }
    }

    /// T-TOKEN-EXPIRED: the end of a token and the end of its time here each end it.
    #[test]
    fn whichever_end_comes_first_counts() {
        let at = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        for entry in [validated(60, 300), validated(300, 60)] {
            assert!(entry.is_fresh(at(59)) && !entry.is_fresh(at(60)));
        }
    }

    /// The caches' own monotonic clock ends an entry as well, also one that a later answer replaces.
    #[test]
    fn entries_lapse_in_the_cache_itself() {
        let (key, entry, now) = (([0; 32], false), Arc::new(validated(60, 60)), Instant::now());
        let keep = Some(Duration::from_secs(60));
        assert_eq!(Lapse.expire_after_create(&key, &entry, now), keep);
        assert_eq!(Lapse.expire_after_update(&key, &entry, now, Some(Duration::from_secs(1))), keep);
    }
}
