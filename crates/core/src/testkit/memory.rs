//! A store in memory, for tests and trials: everything in it is gone when the process ends.
//!
//! One lock covers the whole store, so a batch is atomic by construction. It refuses what any backend refuses
//! ([`check_batch`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::id::Version;
use crate::store::{
    Change, ConflictReason, Kind, MAX_PAGE, Position, Query, Record, Store, StoreError, check_batch,
};

/// The records of one kind and their order in listings. Both always hold the same records.
#[derive(Default)]
struct Shelf {
    records: HashMap<String, Record>,
    order: BTreeSet<Position>,
}

impl Shelf {
    fn put(&mut self, record: Record) {
        self.order.insert(record.position());
        self.records.insert(record.id.clone(), record);
    }
}

/// The store in memory.
#[derive(Default)]
pub struct MemoryStore(RwLock<BTreeMap<Kind, Shelf>>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

fn conflict(shelves: &BTreeMap<Kind, Shelf>, change: &Change) -> Option<ConflictReason> {
    let (kind, id) = change.target();
    let found = shelves.get(kind).and_then(|shelf| shelf.records.get(id));
    refusal(change.expected(), found.map(|record| record.version)).or_else(|| match (change, found) {
        (Change::Reseal { before, .. }, Some(found)) if found.body != *before => {
            Some(ConflictReason::Resealed)
        }
        _ => None,
    })
}

/// What stands in the way of a change that expects a record in the version `expected` (`None`: no record) when
/// the store has it in the version `found`.
pub fn refusal(expected: Option<Version>, found: Option<Version>) -> Option<ConflictReason> {
    match (expected, found) {
        (None, None) => None,
        (None, Some(_)) => Some(ConflictReason::Exists),
        (Some(_), None) => Some(ConflictReason::Missing),
        (Some(expected), Some(found)) => (expected != found).then_some(ConflictReason::Changed(found)),
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.0.read().get(kind).and_then(|shelf| shelf.records.get(id)).cloned())
    }

    async fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        check_batch(&batch)?;
        let mut shelves = self.0.write();
        for change in &batch {
            if let Some(reason) = conflict(&shelves, change) {
                let (kind, id) = change.target();
                return Err(StoreError::Conflict { kind: kind.clone(), id: id.to_owned(), reason });
            }
        }
        for change in batch {
            match change {
                Change::Create(record) => shelves.entry(record.kind.clone()).or_default().put(record),
                Change::Replace { mut record, .. } | Change::Reseal { mut record, .. } => {
                    let shelf = shelves.entry(record.kind.clone()).or_default();
                    if let Some(before) = shelf.records.get(&record.id) {
                        record.created = before.created;
                    }
                    shelf.put(record);
                }
                Change::Remove { kind, id, .. } => {
                    if let Some(shelf) = shelves.get_mut(&kind)
                        && let Some(record) = shelf.records.remove(&id)
                    {
                        shelf.order.remove(&record.position());
                    }
                }
                Change::Require { .. } => {}
            }
        }
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, StoreError> {
        let shelves = self.0.read();
        let Some(shelf) = shelves.get(&query.kind) else { return Ok(Vec::new()) };
        let start = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        Ok(shelf
            .order
            .range::<Position, _>((start, Bound::Unbounded))
            .filter_map(|position| shelf.records.get(&position.id))
            .filter(|record| query.matches(record))
            .take(query.limit.get().min(MAX_PAGE))
            .cloned()
            .collect())
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let shelves = self.0.read();
        let found = shelves
            .get(&query.kind)
            .map_or(0, |shelf| shelf.records.values().filter(|record| query.matches(record)).count());
        Ok(found as u64)
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        let shelves = self.0.read();
        Ok(shelves
            .iter()
            .filter(|(_, shelf)| !shelf.records.is_empty())
            .map(|(kind, _)| kind.clone())
            .collect())
    }

    async fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn describe(&self) -> String {
        "memory (lost at exit)".to_owned()
    }
}
