//! What tests of this and other crates share: the memory store and the suite that every backend passes.
//!
//! Compiled with the feature `testkit` only. [`memory::MemoryStore`] also serves `memory:` addresses of the server,
//! so it keeps to the limits of [`crate::store`] like any other backend.

pub mod conformance;
pub mod damaged;
pub mod frail;
pub mod memory;

pub use damaged::DamagedStore;
pub use frail::FrailStore;
pub use memory::MemoryStore;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Store;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_memory_store_conforms() {
        conformance::run(async || Arc::new(MemoryStore::new()) as Arc<dyn Store>).await;
    }

    #[tokio::test]
    async fn the_memory_store_conforms_on_one_thread() {
        conformance::run(async || Arc::new(MemoryStore::default()) as Arc<dyn Store>).await;
    }
}
