//! The read-only connections, kept open between reads.
//!
//! A reader is taken for the time of one call and given back; no more exist than calls ran at once, which are those on the
//! worker threads and [`most_at_once`] scans, and no more than [`most_at_once`] are kept. They belong to their store, so
//! closing it closes them.

use std::path::PathBuf;
use std::time::Duration;

use chatelaine_core::store::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;

use super::error::store_error;
use super::schema;

/// How many scans may run at once, and how many idle connections are kept: each may hold a full page cache.
pub(super) fn most_at_once() -> usize {
    std::thread::available_parallelism().map_or(4, std::num::NonZero::get).clamp(4, 32)
}

pub(super) struct Readers {
    path: PathBuf,
    lock_wait: Duration,
    most_idle: usize,
    /// `None` once closed. The one used last is taken first: its cache is the warmest.
    idle: Mutex<Option<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, lock_wait: Duration) -> Self {
        Self { path, lock_wait, most_idle: most_at_once(), idle: Mutex::new(Some(Vec::new())) }
    }

    /// Runs `work` with a reader. After an error the connection is not used again: the next call opens a new one.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let kept = self.idle.lock().as_mut().and_then(Vec::pop);
        let connection = match kept {
            Some(connection) => connection,
            None => schema::open_for_reading(&self.path, self.lock_wait)?,
        };
        let found = work(&connection).map_err(|error| store_error(&self.path, &error))?;
        let mut idle = self.idle.lock();
        let surplus = match idle.as_mut() {
            Some(idle) if idle.len() < self.most_idle => {
                idle.push(connection);
                None
            }
            _ => Some(connection),
        };
        drop(idle);
        drop(surplus);
        Ok(found)
    }

    pub(super) fn close(&self) {
        let idle = self.idle.lock().take();
        drop(idle);
    }
}
