//! Several servers of one store as one store: each call goes to the next of them.
//!
//! What the conformance suite asks of one store it asks here of all together: that whatever one has acknowledged is seen
//! through the others at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chatelaine_core::store::{Change, Kind, Query, Record, Store, StoreError};
use chatelaine_store::sql::SqlStore;

pub(crate) struct Spread {
    stores: Vec<SqlStore>,
    calls: AtomicUsize,
}

impl Spread {
    pub(crate) fn new(stores: Vec<SqlStore>) -> Self {
        Self { stores, calls: AtomicUsize::new(0) }
    }

    fn next(&self) -> &SqlStore {
        &self.stores[self.calls.fetch_add(1, Ordering::SeqCst) % self.stores.len()]
    }
}

#[async_trait]
impl Store for Spread {
    async fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>, StoreError> {
        self.next().read(kind, id).await
    }

    async fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        self.next().apply(batch).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, StoreError> {
        self.next().list(query).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.next().count(query).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.next().kinds().await
    }

    async fn health(&self) -> Result<(), StoreError> {
        self.next().health().await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        self.stores[0].describe()
    }
}
