//! Time as the domain sees it: microseconds of UTC, from a clock that tests can hold still.
//!
//! Nothing else in this crate reads the time.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A moment in UTC, in whole microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first moment of 1970.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 (`2026-11-24T10:00:00Z`, any offset).
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }

    /// Later by `duration`; saturates at the end of time.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `duration`; saturates at the beginning of time.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long it is from `earlier` to here, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the domain gets the time from.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// How much time has really passed since some fixed moment: setting the clock does not change it.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    fn elapsed(&self) -> Duration {
        static FIRST_LOOK: LazyLock<Instant> = LazyLock::new(Instant::now);
        FIRST_LOOK.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    elapsed: AtomicU64,
}

impl ManualClock {
    /// A clock standing at `start`.
    pub const fn at(start: Timestamp) -> Self {
        Self { now: AtomicI64::new(start.0), elapsed: AtomicU64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.elapsed.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Sets the clock; no time passes.
    pub fn set(&self, to: Timestamp) {
        self.now.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_the_same_moment() {
        let moment = Timestamp::from_micros(1_795_000_000_123_456);
        assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        assert_eq!(moment.to_string().len(), "2026-11-24T10:00:00.000000Z".len());
    }

    #[test]
    fn refuses_what_is_not_a_moment() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-24"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn setting_a_clock_lets_no_time_pass() {
        let clock = ManualClock::at(Timestamp(5));
        clock.set(Timestamp(500));
        assert_eq!((clock.now(), clock.elapsed()), (Timestamp(500), Duration::ZERO));
        clock.advance(Duration::from_micros(2));
        assert_eq!((clock.now(), clock.elapsed()), (Timestamp(502), Duration::from_micros(2)));
        let before = SystemClock.elapsed();
        assert!(SystemClock.elapsed() >= before);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp(i64::MAX).plus(Duration::from_secs(1)), Timestamp(i64::MAX));
        assert_eq!(Timestamp(0).since(Timestamp(5)), Duration::ZERO);
    }
}
