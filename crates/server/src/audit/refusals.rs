//! Refusals on their way to the trail: one by one while they are few, counted when they are many.
//!
//! Invariant: whoever is refused again and again, with a token or without, makes the trail grow by a small steady rate
//! only. Neither one user alone nor those without a token take the refusals of others out of it: each user has an allowance
//! of its own besides that of all users, and those without a token share one. What is left out is counted by action and
//! written as one line a minute ([`LimitedTrail::write_counts`]). Releases, changes and their outcomes are never left out.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatelaine_core::audit::{
    Action, AuditError, AuditTrail, ChangeHistory, Durability, Event, HistoryKey, Initiator, Outcome,
};
use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::SecretId;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

use super::FileTrail;

/// How often what was left out is written down.
pub const COUNTS_EVERY: Duration = Duration::from_secs(60);
/// Refusals of one user written at once, and the time that gives another one.
const OF_ONE_USER: (NonZeroU32, Duration) = (NonZeroU32::new(100).unwrap(), Duration::from_secs(5));
/// The same for all users together.
const OF_ALL_USERS: (NonZeroU32, Duration) = (NonZeroU32::new(1000).unwrap(), Duration::from_millis(500));
/// The same for those nobody knows.
const OF_NOBODY: (NonZeroU32, Duration) = (NonZeroU32::new(1000).unwrap(), Duration::from_secs(1));
/// Allowances of idle users are forgotten when there are more than this.
const MANY_USERS: usize = 10_000;

/// The trail of a server, with an allowance for refusals.
pub struct LimitedTrail {
    trail: Arc<FileTrail>,
    user: DefaultKeyedRateLimiter<String>,
    users: DefaultDirectRateLimiter,
    nobody: DefaultDirectRateLimiter,
    left_out: Mutex<HashMap<Action, u64>>,
    total: AtomicU64,
}

fn quota((at_once, every): (NonZeroU32, Duration)) -> Quota {
    // None only for a period of zero.
    Quota::with_period(every).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(at_once)
}

impl LimitedTrail {
    /// Around a trail.
    #[must_use]
    pub fn new(trail: Arc<FileTrail>) -> Self {
        Self {
            trail,
            user: RateLimiter::keyed(quota(OF_ONE_USER)),
            users: RateLimiter::direct(quota(OF_ALL_USERS)),
            nobody: RateLimiter::direct(quota(OF_NOBODY)),
            left_out: Mutex::default(),
            total: AtomicU64::new(0),
        }
    }

    /// How many refusals were left out since the start.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn admits(&self, initiator: &Initiator) -> bool {
        if initiator.user.is_empty() {
            return self.nobody.check().is_ok();
        }
        if self.user.len() > MANY_USERS {
            self.user.retain_recent();
        }
        // The user first: one who is over the own allowance takes nothing of the others'.
        self.user.check_key(&initiator.user).is_ok() && self.users.check().is_ok()
    }

    /// Writes down how many refusals were left out since the last time.
    ///
    /// # Errors
    /// Those of the trail; the numbers are kept for the next time.
    pub async fn write_counts(&self, now: Timestamp) -> Result<(), AuditError> {
        let mut counts: Vec<_> = std::mem::take(&mut *self.left_out.lock()).into_iter().collect();
        if counts.is_empty() {
            return Ok(());
        }
        counts.sort_unstable_by_key(|(action, _)| action.cadf());
        let events: Vec<_> = counts
            .iter()
            .map(|(action, count)| Event {
                id: SecretId::random(),
                time: now,
                action: *action,
                outcome: Outcome::Failure,
                initiator: Initiator { user: "chatelaine".to_owned(), ..Initiator::default() },
                target_kind: None,
                target: None,
                written: None,
                reason: Some(format!(
                    "{count} refusals are not written down one by one: there were too many"
                )),
                request_id: None,
            })
            .collect();
        let result = self.trail.append(&events, Durability::Written).await;
        if result.is_err() {
            let mut left_out = self.left_out.lock();
            for (action, count) in counts {
                let sum = left_out.entry(action).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        result
    }
}

#[async_trait]
impl AuditTrail for LimitedTrail {
    async fn append(&self, events: &[Event], durability: Durability) -> Result<(), AuditError> {
        self.trail.append(events, durability).await
    }

    async fn append_refusal(&self, event: Event) -> Result<(), AuditError> {
        if self.admits(&event.initiator) {
            return self.trail.append(&[event], Durability::Written).await;
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut left_out = self.left_out.lock();
        let count = left_out.entry(event.action).or_default();
        *count = count.saturating_add(1);
        Ok(())
    }

    async fn histories(
        &self,
        wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
        self.trail.histories(wanted).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{NOON, folder, open, parsed, read};

    fn refused(action: Action, user: &str) -> Event {
        let mut event = Event { action, outcome: Outcome::Failure, ..read(0, 0) };
        event.initiator.user = user.to_owned();
        event
    }

    /// T-AUDIT-FULL: a flood of refusals does not become a flood of lines, and hides nobody else's.
    #[tokio::test]
    async fn a_flood_is_counted_and_the_others_are_written() {
        let (_parent, folder) = folder();
        let trail = LimitedTrail::new(Arc::new(open(&folder)));
        for _ in 0..3000 {
            trail.append_refusal(refused(Action::Get, "mallory")).await.unwrap();
            trail.append_refusal(refused(Action::Authenticate, "")).await.unwrap();
        }
        trail.append_refusal(refused(Action::Delete, "alice")).await.unwrap();
        let (known, unknown) = (trail.left_out(), trail.left_out.lock()[&Action::Authenticate]);
        assert!(unknown > 1900, "{unknown}");
        trail.write_counts(NOON).await.unwrap();
        trail.write_counts(NOON).await.unwrap();

        let lines = parsed(&folder);
        let count = |user: &str| lines.iter().filter(|line| line["initiator"]["id"] == user).count() as u64;
        // A little more is let through where the machine is slow.
        assert!((100..150).contains(&count("mallory")), "{}", count("mallory"));
        assert!((1000..1100).contains(&count("unknown")), "{}", count("unknown"));
        assert_eq!((count("alice"), count("chatelaine")), (1, 2));
        assert_eq!(count("mallory") + count("unknown") + known, 6000);
        let last = lines.last().unwrap();
        assert_eq!((&last["action"], &last["outcome"]), (&"read/key_material".into(), &"failure".into()));
        let reason = last["reason"]["reasonCode"].as_str().unwrap();
        assert_eq!(reason.split(' ').next().unwrap().parse::<u64>().unwrap(), known - unknown);
    }

    /// What was done is written down, however much it is.
    #[tokio::test]
    async fn what_is_no_refusal_is_never_left_out() {
        let (_parent, folder) = folder();
        let trail = LimitedTrail::new(Arc::new(open(&folder)));
        for number in 0..1500 {
            trail.append(&[read(0, number)], Durability::Written).await.unwrap();
        }
        assert_eq!((parsed(&folder).len(), trail.left_out()), (1500, 0));
    }
}
