//! What one caller may ask for at once and per second.
//!
//! Memory is bounded by the number of callers that are known: nobody gets an entry here before a token was validated.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use chatelaine_core::policy::Identity;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use parking_lot::Mutex;

use super::error::ApiError;
use crate::config::LimitsConfig;

/// Entries of idle callers are dropped when there are more than this.
const MANY_CALLERS: usize = 10_000;

/// The limits of callers.
pub(crate) struct Limits {
    rate: Option<DefaultKeyedRateLimiter<String>>,
    concurrent: usize,
    running: Running,
}

/// A running request of a caller; the place is free again when this is dropped.
pub(crate) struct Slot(Option<(Running, String)>);

/// How many requests of each user are running.
type Running = Arc<Mutex<HashMap<String, usize>>>;

impl Drop for Slot {
    fn drop(&mut self) {
        let Some((running, user)) = self.0.take() else { return };
        let mut running = running.lock();
        if let Some(count) = running.get_mut(&user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.remove(&user);
            }
        }
    }
}

impl Limits {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        let quota = |rate: u32, burst: u32| {
            Some(Quota::per_second(NonZeroU32::new(rate)?).allow_burst(NonZeroU32::new(burst)?))
        };
        Self {
            rate: quota(config.requests_per_second, config.burst).map(RateLimiter::keyed),
            concurrent: config.concurrent_requests,
            running: Arc::default(),
        }
    }

    /// Lets a request of this caller through, or tells when to come back.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn admit(&self, identity: &Identity) -> Result<Slot, ApiError> {
        let refuse = |what: String, seconds: u64| ApiError {
            retry_after: Some(seconds),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, format!("too many requests: {what}"))
        };
        if let Some(rate) = &self.rate {
            if rate.len() > MANY_CALLERS {
                rate.retain_recent();
            }
            if let Err(wait) = rate.check_key(&identity.user_id) {
                let seconds = wait.wait_time_from(DefaultClock::default().now()).as_secs().saturating_add(1);
                return Err(refuse("more per second than the server allows one user".to_owned(), seconds));
            }
        }
        if self.concurrent == 0 {
            return Ok(Slot(None));
        }
        let mut running = self.running.lock();
        let count = running.entry(identity.user_id.clone()).or_insert(0);
        if *count >= self.concurrent {
            return Err(refuse(
                format!("{count} of this user are running, at most {} may", self.concurrent),
                1,
            ));
        }
        *count = count.saturating_add(1);
        drop(running);
        Ok(Slot(Some((Arc::clone(&self.running), identity.user_id.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: &str) -> Identity {
        Identity { user_id: user.to_owned(), ..Identity::default() }
    }

    /// T-FLOOD: one caller cannot take the places of others.
    #[test]
    fn places_are_counted_per_user_and_given_back() {
        let config =
            LimitsConfig { concurrent_requests: 2, requests_per_second: 0, ..LimitsConfig::default() };
        let limits = Limits::new(&config);
        let first = limits.admit(&identity("a")).ok().unwrap();
        let _second = limits.admit(&identity("a")).ok().unwrap();
        assert_eq!(limits.admit(&identity("a")).err().unwrap().status, StatusCode::TOO_MANY_REQUESTS);
        assert!(limits.admit(&identity("b")).is_ok());
        drop(first);
        assert!(limits.admit(&identity("a")).is_ok());
        assert_eq!(limits.running.lock().len(), 1);
    }

    #[test]
    fn the_rate_is_kept_per_user() {
        let config = LimitsConfig { requests_per_second: 1, burst: 3, ..LimitsConfig::default() };
        let limits = Limits::new(&config);
        for _ in 0..3 {
            assert!(limits.admit(&identity("a")).is_ok());
        }
        let error = limits.admit(&identity("a")).err().unwrap();
        assert_eq!((error.status, error.retry_after), (StatusCode::TOO_MANY_REQUESTS, Some(1)));
        assert!(limits.admit(&identity("b")).is_ok());
    }
}
