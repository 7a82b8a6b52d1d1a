//! Our own token: fetched once for all who wait, renewed in time.
//!
//! Invariants: at most one authentication is under way; whoever waited while one failed gets that failure instead of
//! starting the next one (a hung Keystone costs each caller one timeout, not a queue of them); after a refusal nothing
//! is asked for some seconds, so that a wrong password does not lock the account. Renewal is timed by the lifetime
//! Keystone states and our own monotonic clock, so that clocks that differ do no harm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::AuthenticateError;
use super::token::Token;

/// A token is renewed when a tenth of its life is left, at most this long before its end.
const LONGEST_MARGIN: Duration = Duration::from_secs(120);
/// How long a refusal is repeated to callers without asking again.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(5);
/// How long a token within its margin is used on before the next attempt to renew it.
const PAUSE_WITHIN_MARGIN: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct OwnToken {
    held: RwLock<Option<Held>>,
    flight: Mutex<Option<Failure>>,
    failures: AtomicU64,
}

#[derive(Clone)]
struct Held {
    token: Arc<Token>,
    renew_at: Instant,
    ends_at: Instant,
}

struct Failure {
    number: u64,
    at: Instant,
    error: AuthenticateError,
}

impl OwnToken {
    pub(crate) async fn current<F, A>(&self, authenticate: F) -> Result<Arc<Token>, AuthenticateError>
    where
        F: FnOnce() -> A,
        A: Future<Output = Result<Token, AuthenticateError>>,
    {
        match self.fresh() {
            Some(token) => Ok(token),
            None => self.fetch(None, authenticate).await,
        }
    }

    pub(crate) async fn other_than<F, A>(
        &self,
        refused: &Arc<Token>,
        authenticate: F,
    ) -> Result<Arc<Token>, AuthenticateError>
    where
        F: FnOnce() -> A,
        A: Future<Output = Result<Token, AuthenticateError>>,
    {
        self.fetch(Some(refused), authenticate).await
    }

    async fn fetch<F, A>(
        &self,
        refused: Option<&Arc<Token>>,
        authenticate: F,
    ) -> Result<Arc<Token>, AuthenticateError>
    where
        F: FnOnce() -> A,
        A: Future<Output = Result<Token, AuthenticateError>>,
    {
        let failures_seen = self.failures.load(Ordering::Acquire);
        let mut last_failure = self.flight.lock().await;
        if let Some(refused) = refused {
            self.forget(refused);
        }
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        if let Some(failure) = last_failure.as_ref() {
            let unavailable = matches!(failure.error, AuthenticateError::Unavailable(_));
            if failure.number > failures_seen || (!unavailable && failure.at.elapsed() < PAUSE_AFTER_REFUSAL)
            {
                return self.in_margin().ok_or_else(|| failure.error.clone());
            }
        }
        match authenticate().await {
            Ok(token) => {
                *last_failure = None;
                Ok(self.hold(token))
            }
            Err(error) => {
                let number = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
                *last_failure = Some(Failure { number, at: Instant::now(), error: error.clone() });
                match self.in_margin() {
                    Some(token) => {
                        tracing::warn!(%error, "our Keystone token could not be renewed yet; it is still good");
                        Ok(token)
                    }
                    None => Err(error),
                }
            }
        }
    }

    fn hold(&self, token: Token) -> Arc<Token> {
        let ends_at = token.ends_at;
        let renew_at = ends_at.checked_sub((token.remaining() / 10).min(LONGEST_MARGIN)).unwrap_or(ends_at);
        let token = Arc::new(token);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) =
            Some(Held { token: Arc::clone(&token), renew_at, ends_at });
        token
    }

    fn fresh(&self) -> Option<Arc<Token>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|held| Instant::now() < held.renew_at).map(|held| Arc::clone(&held.token))
    }

    /// The held token if it is due for renewal but still good; the next attempt is put off for a moment.
    fn in_margin(&self) -> Option<Arc<Token>> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let held = held.as_mut().filter(|held| now < held.ends_at)?;
        held.renew_at = held.ends_at.min(now.checked_add(PAUSE_WITHIN_MARGIN).unwrap_or(now));
        Some(Arc::clone(&held.token))
    }

    fn forget(&self, refused: &Arc<Token>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.token, refused)) {
            *held = None;
        }
    }
}
