//! Walking through a listing of the store, past what the store cannot read.
//!
//! A page that holds one unreadable row fails as a whole. The walk then takes records one by one, and steps over the
//! place that does not answer by searching the next moment of creation after which there is an answer.

use std::num::NonZeroUsize;

use crate::clock::Timestamp;
use crate::store::{Position, Query, Record, Store, StoreError};

/// Comes after every id in the order of a listing.
const LAST_ID: &str = "\u{10FFFF}";

/// A walk through all that a query matches, page by page.
pub(crate) struct Walk<'a> {
    store: &'a dyn Store,
    query: Query,
    /// How many records are still taken one by one.
    single: usize,
    skipped: u64,
}

impl<'a> Walk<'a> {
    /// From where the query begins, in pages of its limit.
    pub(crate) fn new(store: &'a dyn Store, query: Query) -> Self {
        Self { store, query, single: 0, skipped: 0 }
    }

    /// Places the store could not read so far; each holds at least one record.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Sets the size of the next pages.
    pub(crate) fn set_limit(&mut self, limit: NonZeroUsize) {
        self.query.limit = limit;
    }

    /// The next records; none at the end.
    ///
    /// # Errors
    /// Those of the store. [`StoreError::Corrupt`] only where nothing at all can be read any more.
    pub(crate) async fn next(&mut self) -> Result<Vec<Record>, StoreError> {
        loop {
            let mut query = self.query.clone();
            if self.single > 0 {
                query.limit = NonZeroUsize::MIN;
                self.single = self.single.saturating_sub(1);
            }
            match self.store.list(&query).await {
                Ok(page) => {
                    if let Some(last) = page.last() {
                        self.query.after = Some(last.position());
                    }
                    return Ok(page);
                }
                Err(StoreError::Corrupt(_)) if query.limit > NonZeroUsize::MIN => {
                    self.single = self.query.limit.get();
                }
                Err(StoreError::Corrupt(reason)) => self.step_over(reason).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the store answers what comes after a moment.
    async fn answers_after(&self, created: Timestamp) -> Result<bool, StoreError> {
        let after = Some(Position { created, id: LAST_ID.to_owned() });
        match self.store.list(&Query { after, limit: NonZeroUsize::MIN, ..self.query.clone() }).await {
            Ok(_) => Ok(true),
            Err(StoreError::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn step_over(&mut self, reason: String) -> Result<(), StoreError> {
        let end = Timestamp::from_micros(i64::MAX);
        if !self.answers_after(end).await? {
            return Err(StoreError::Corrupt(reason));
        }
        let start = self.query.after.as_ref().map_or(0, |after| after.created.as_micros());
        // Ever longer steps find a moment after which there is an answer; halving finds the first one.
        let (mut silent, mut answering) = (start.saturating_sub(1), i64::MAX);
        let mut step: i64 = 0;
        while let Some(probe) = start.checked_add(step) {
            if self.answers_after(Timestamp::from_micros(probe)).await? {
                answering = probe;
                break;
            }
            silent = probe;
            step = step.saturating_mul(2).max(1);
        }
        while let Some(rest) = answering.checked_sub(silent).filter(|rest| *rest > 1) {
            let probe = silent.saturating_add(rest / 2);
            if self.answers_after(Timestamp::from_micros(probe)).await? {
                answering = probe;
            } else {
                silent = probe;
            }
        }
        self.skipped = self.skipped.saturating_add(1);
        let created = Timestamp::from_micros(answering);
        tracing::error!(kind = %self.query.kind, %created, reason, "the store cannot read a record made at this moment");
        self.query.after = Some(Position { created, id: LAST_ID.to_owned() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Version;
    use crate::store::{Change, IndexAttributes, Kind};
    use crate::testkit::{DamagedStore, MemoryStore};

    async fn store(count: i64) -> DamagedStore {
        let memory = MemoryStore::new();
        for number in 0..count {
            let record = Record {
                kind: Kind::SECRET,
                id: format!("r{number}"),
                project: "p".to_owned(),
                created: Timestamp::from_micros(1_795_000_000_000_000 + number * 1_000_003),
                version: Version::FIRST,
                attributes: IndexAttributes::default(),
                body: vec![1],
            };
            memory.apply(vec![Change::Create(record)]).await.unwrap();
        }
        DamagedStore::new(memory)
    }

    async fn walked(store: &DamagedStore, limit: usize) -> (Vec<String>, u64) {
        let limit = NonZeroUsize::new(limit).unwrap();
        let mut walk = Walk::new(store, Query { limit, ..Query::of(Kind::SECRET) });
        let mut ids = Vec::new();
        loop {
            let page = walk.next().await.unwrap();
            if page.is_empty() {
                return (ids, walk.skipped());
            }
            ids.extend(page.into_iter().map(|record| record.id));
        }
    }

    #[tokio::test]
    async fn unreadable_records_are_stepped_over() {
        for limit in [1, 2, 7, 1000] {
            for damaged in [&[][..], &[0], &[19], &[3], &[3, 4, 5], &[0, 10, 19]] {
                let store = store(20).await;
                for number in damaged {
                    store.damage(&format!("r{number}"));
                }
                let (ids, skipped) = walked(&store, limit).await;
                let readable: Vec<_> =
                    (0..20).filter(|number| !damaged.contains(number)).map(|n| format!("r{n}")).collect();
                assert_eq!(ids, readable, "{damaged:?} in pages of {limit}");
                assert_eq!(skipped == 0, damaged.is_empty());
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_reads_nothing_is_an_error() {
        let store = store(3).await;
        store.damage_everything();
        let mut walk = Walk::new(&store, Query::of(Kind::SECRET));
        assert!(matches!(walk.next().await, Err(StoreError::Corrupt(_))));
    }
}
