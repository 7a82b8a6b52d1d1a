//! A store in memory some of whose records cannot be read, or change at the worst moment, for tests of what goes on then.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};

use super::MemoryStore;
use crate::store::{Change, Kind, Query, Record, Store, StoreError};

/// The store in memory, with damage. A page that would hold a damaged record fails as a whole, as in a real backend.
pub struct DamagedStore {
    memory: MemoryStore,
    damaged: RwLock<HashSet<String>>,
    unfindable: RwLock<HashSet<String>>,
    everything: AtomicBool,
    meanwhile: Mutex<Option<Vec<Change>>>,
}

impl DamagedStore {
    /// A store without damage.
    pub fn new(memory: MemoryStore) -> Self {
        Self {
            memory,
            damaged: RwLock::default(),
            unfindable: RwLock::default(),
            everything: AtomicBool::new(false),
            meanwhile: Mutex::default(),
        }
    }

    /// Damages the records of an id, of whatever kind.
    pub fn damage(&self, id: &str) {
        self.damaged.write().insert(id.to_owned());
    }

    /// Damages the index: the records of an id are listed, and not found by it.
    pub fn lose_index(&self, id: &str) {
        self.unfindable.write().insert(id.to_owned());
    }

    /// Lets somebody be faster: these changes are made just before the next ones that are asked for.
    pub fn interpose(&self, batch: Vec<Change>) {
        *self.meanwhile.lock() = Some(batch);
    }

    /// From now on nothing is readable.
    pub fn damage_everything(&self) {
        self.everything.store(true, Ordering::SeqCst);
    }

    fn check<'a>(&self, ids: impl Iterator<Item = &'a String>) -> Result<(), StoreError> {
        let damaged = self.damaged.read();
        if self.everything.load(Ordering::SeqCst) || ids.into_iter().any(|id| damaged.contains(id)) {
            return Err(StoreError::Corrupt("a row cannot be read".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for DamagedStore {
    async fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>, StoreError> {
        if self.unfindable.read().contains(id) {
            return Ok(None);
        }
        let found = self.memory.read(kind, id).await?;
        self.check(found.iter().map(|record| &record.id))?;
        Ok(found)
    }

    async fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        let meanwhile = self.meanwhile.lock().take();
        if let Some(meanwhile) = meanwhile {
            self.memory.apply(meanwhile).await?;
        }
        self.memory.apply(batch).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, StoreError> {
        let page = self.memory.list(query).await?;
        self.check(page.iter().map(|record| &record.id))?;
        Ok(page)
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.memory.count(query).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.memory.kinds().await
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.memory.health().await
    }

    fn describe(&self) -> String {
        self.memory.describe()
    }
}
