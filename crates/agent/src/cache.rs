//! Opened keys in memory, each until its end.
//!
//! Invariants: a key is given out only before its end, by the monotonic clock; what is taken out is wiped when the last
//! request that holds it is done with it; requests for the same key at the same time cost one fetch, and those who waited for
//! one that failed are told of that failure; what is evicted while it is fetched is not put in.
//!
//! Refuses to grow beyond its capacity: the keys that were not used for longest go first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::AgentError;

/// A sixteenth of all entries goes when there is no room, so that looking for the oldest is rare.
const EVICTED_AT_ONCE: usize = 16;

type Fetched<V> = Result<Arc<V>, AgentError>;
type Flight<V> = Shared<BoxFuture<'static, Fetched<V>>>;

/// A value and the moment from which it is not given out any more.
#[derive(Debug)]
pub struct Bounded<V> {
    /// The value.
    pub value: V,
    /// Its end. In the past: it is not kept at all.
    pub until: Instant,
}

struct Entry<V> {
    value: Arc<V>,
    since: Instant,
    until: Instant,
    used: u64,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    flights: HashMap<K, (u64, Flight<V>)>,
}

/// The memory. Share it behind an `Arc`.
pub struct Cache<K, V> {
    state: Mutex<State<K, V>>,
    capacity: usize,
    clock: AtomicU64,
    figures: Figures,
}

/// What the memory did since the start.
#[derive(Debug, Default)]
struct Figures {
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    evicted: AtomicU64,
    failures: AtomicU64,
}

/// The same as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers from memory.
    pub hits: u64,
    /// Fetches.
    pub misses: u64,
    /// Requests that waited for another one's fetch.
    pub joined: u64,
    /// Entries taken out before their end: for room, or because they were deleted.
    pub evicted: u64,
    /// Fetches that failed.
    pub failures: u64,
    /// Entries now.
    pub entries: u64,
    /// The age of the oldest entry, in whole seconds.
    pub oldest_seconds: u64,
}

impl<K, V> Cache<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Send + Sync + 'static,
{
    /// A memory for `capacity` entries; with 0 nothing is kept, and only requests at the same time share a fetch.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State { entries: HashMap::new(), flights: HashMap::new() }),
            capacity,
            clock: AtomicU64::new(0),
            figures: Figures::default(),
        }
    }

    /// The value if it is here.
    pub fn peek(&self, key: &K) -> Option<Arc<V>> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(key)?;
        if now >= entry.until {
            state.entries.remove(key);
            return None;
        }
        entry.used = self.clock.fetch_add(1, Ordering::Relaxed);
        self.figures.hits.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(&entry.value))
    }

    /// The value, from memory or by `fetch`, which runs to its end even if whoever asked goes away.
    ///
    /// # Errors
    /// Those of the fetch.
    pub async fn get<F>(self: &Arc<Self>, key: K, fetch: impl FnOnce() -> F) -> Fetched<V>
    where
        F: Future<Output = Result<Bounded<V>, AgentError>> + Send + 'static,
    {
        if let Some(value) = self.peek(&key) {
            return Ok(value);
        }
        let flight = {
            let mut state = self.state.lock();
            if let Some((_, flight)) = state.flights.get(&key) {
                self.figures.joined.fetch_add(1, Ordering::Relaxed);
                flight.clone()
            } else {
                self.figures.misses.fetch_add(1, Ordering::Relaxed);
                let number = self.clock.fetch_add(1, Ordering::Relaxed);
                let landing = Landing { cache: Arc::clone(self), key: key.clone(), number };
                let running = tokio::spawn(landing.run(fetch()));
                let flight = async move {
                    running.await.unwrap_or_else(|error| Err(AgentError::Internal(error.to_string())))
                };
                let flight = flight.boxed().shared();
                state.flights.insert(key, (number, flight.clone()));
                flight
            }
        };
        flight.await
    }

    /// Puts a value in, in place of what there was.
    pub fn put(&self, key: K, bounded: Bounded<V>) -> Arc<V> {
        let value = Arc::new(bounded.value);
        let mut state = self.state.lock();
        // What is being fetched may be older.
        state.flights.remove(&key);
        self.insert(&mut state, key, Arc::clone(&value), bounded.until);
        value
    }

    fn insert(&self, state: &mut State<K, V>, key: K, value: Arc<V>, until: Instant) {
        let since = Instant::now();
        if self.capacity == 0 || until <= since {
            state.entries.remove(&key);
            return;
        }
        if state.entries.len() >= self.capacity && !state.entries.contains_key(&key) {
            self.make_room(state, since);
        }
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        state.entries.insert(key, Entry { value, since, until, used });
    }

    fn make_room(&self, state: &mut State<K, V>, now: Instant) {
        state.entries.retain(|_, entry| now < entry.until);
        if state.entries.len() < self.capacity {
            return;
        }
        let mut uses: Vec<u64> = state.entries.values().map(|entry| entry.used).collect();
        uses.sort_unstable();
        let Some(last) = uses.get(uses.len() / EVICTED_AT_ONCE).copied() else { return };
        let before = state.entries.len();
        state.entries.retain(|_, entry| entry.used > last);
        self.figures.evicted.fetch_add((before - state.entries.len()) as u64, Ordering::Relaxed);
    }

    /// Takes out all that `which` names; what is being fetched of it is not put in.
    pub fn evict(&self, which: impl Fn(&K) -> bool) {
        let mut state = self.state.lock();
        let before = state.entries.len();
        state.entries.retain(|key, _| !which(key));
        state.flights.retain(|key, _| !which(key));
        self.figures.evicted.fetch_add((before - state.entries.len()) as u64, Ordering::Relaxed);
    }

    /// Takes out what has come to its end.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.state.lock().entries.retain(|_, entry| now < entry.until);
    }

    /// What it did and holds.
    pub fn counts(&self) -> Counts {
        let state = self.state.lock();
        let now = Instant::now();
        let oldest = state.entries.values().map(|entry| now.duration_since(entry.since)).max();
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Counts {
            hits: read(&self.figures.hits),
            misses: read(&self.figures.misses),
            joined: read(&self.figures.joined),
            evicted: read(&self.figures.evicted),
            failures: read(&self.figures.failures),
            entries: state.entries.len() as u64,
            oldest_seconds: oldest.map_or(0, |age| age.as_secs()),
        }
    }
}

/// The end of a fetch.
struct Landing<K, V> {
    cache: Arc<Cache<K, V>>,
    key: K,
    number: u64,
}

impl<K, V> Landing<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Send + Sync + 'static,
{
    async fn run(self, fetch: impl Future<Output = Result<Bounded<V>, AgentError>>) -> Fetched<V> {
        let outcome = fetch.await;
        let mut state = self.cache.state.lock();
        // An eviction, or a value put in meanwhile, has taken the flight away.
        let current = state.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number);
        if current {
            state.flights.remove(&self.key);
        }
        match outcome {
            Ok(Bounded { value, until }) => {
                let value = Arc::new(value);
                if current {
                    self.cache.insert(&mut state, self.key, Arc::clone(&value), until);
                }
                Ok(value)
            }
            Err(error) => {
                self.cache.figures.failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// Takes out what has come to its end, every second, as long as the memory is used: keys are wiped in time though nobody asks
/// for them.
pub async fn sweep_regularly<K, V>(cache: Arc<Cache<K, V>>)
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Send + Sync + 'static,
{
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        cache.sweep();
    }
}

#[cfg(test)]
mod tests;
