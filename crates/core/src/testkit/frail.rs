//! A store whose process dies at a chosen write, or whose answers come in a mixed order, for tests of what is left then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::store::{Change, Kind, Query, Record, Store, StoreError};

/// What happens to the write that a process dies at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastWrite {
    /// It is not made.
    Lost,
    /// It is made, and nobody hears of it.
    Made,
}

/// Another store, as one process sees it.
pub struct FrailStore {
    store: Arc<dyn Store>,
    writes: AtomicU64,
    dies_at: Option<(u64, LastWrite)>,
    /// State of a small generator of numbers; 0: nothing is mixed.
    order: AtomicU64,
    shared: bool,
}

impl FrailStore {
    /// The store as it is, counting writes.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, writes: AtomicU64::new(0), dies_at: None, order: AtomicU64::new(0), shared: false }
    }

    /// For a process that dies at its write of this number, 1 the first: nothing is answered from then on.
    #[must_use]
    pub fn dying_at(self, write: u64, last: LastWrite) -> Self {
        Self { dies_at: Some((write, last)), ..self }
    }

    /// Answers so that tasks of one thread overtake each other, the same way for the same seed.
    #[must_use]
    pub fn mixed(self, seed: u64) -> Self {
        Self { order: AtomicU64::new(seed | 1), ..self }
    }

    /// For one of several servers.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// How many writes were asked for.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.dies_at.is_some_and(|(write, _)| self.writes() >= write)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_dead() { Err(StoreError::Unavailable("the process is dead".to_owned())) } else { Ok(()) }
    }

    /// Lets others go first, some of the time.
    async fn wait(&self) {
        let state = self.order.load(Ordering::SeqCst);
        if state == 0 {
            return;
        }
        let mut next = state;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        self.order.store(next, Ordering::SeqCst);
        // Mostly none, sometimes long enough for everything else to happen.
        let turns = match next >> 61 {
            0..=3 => 0,
            4..=5 => 1,
            6 => 3,
            _ => 40,
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Store for FrailStore {
    async fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>, StoreError> {
        self.alive()?;
        self.wait().await;
        let found = self.store.read(kind, id).await;
        self.wait().await;
        found
    }

    async fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        self.alive()?;
        self.wait().await;
        let write = self.writes.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let result = match self.dies_at {
            Some((last, how)) if write >= last => {
                if write == last && how == LastWrite::Made {
                    self.store.apply(batch).await?;
                }
                return self.alive();
            }
            _ => self.store.apply(batch).await,
        };
        self.wait().await;
        result
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, StoreError> {
        self.alive()?;
        self.wait().await;
        let page = self.store.list(query).await;
        self.wait().await;
        page
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.alive()?;
        self.wait().await;
        self.store.count(query).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.alive()?;
        self.wait().await;
        self.store.kinds().await
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.alive()
    }

    fn is_shared(&self) -> bool {
        self.shared || self.store.is_shared()
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}
