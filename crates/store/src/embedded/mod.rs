//! The embedded store: one SQLite file, for a single host.
//!
//! Reads run on the calling task through a pool of read-only connections; one thread owns the only writing
//! connection and commits everything that waits for it in one transaction, so that many writers share one flush to
//! disk. A batch is acknowledged after that flush. Listings and counts, which may scan, run on the blocking pool, a
//! bounded number at once; so there are never more readers than worker threads and scans together.
//!
//! It refuses files of other programs, files of a newer schema, and batches outside the limits of the trait.
//! Every call is bounded by [`Options::timeout`], except that a read of a single record cannot be interrupted while
//! the operating system itself does not return from reading the file.

mod error;
mod files;
mod maintenance;
mod reader;
mod restore;
mod rows;
mod schema;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatelaine_core::store::{Change, Kind, Query, Record, Store, StoreError, check_batch};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

pub use maintenance::{backup, integrity};
use reader::Readers;
pub use restore::Restoring;
use writer::{Job, Request, WriterThread};

/// How an embedded store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a call may take before it is answered with [`StoreError::Unavailable`].
    pub timeout: Duration,
    /// How many batches may wait for the writer; more callers wait for a place.
    pub queue: usize,
    /// The largest size of the file in pages of 4 KiB; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), queue: 1024, max_pages: None }
    }
}

impl Options {
    /// How long SQLite waits for another process's lock: less than a call may take, so that the cause is reported.
    fn lock_wait(&self) -> Duration {
        self.timeout / 2
    }
}

/// A store in one SQLite file.
pub struct EmbeddedStore {
    path: PathBuf,
    timeout: Duration,
    readers: Arc<Readers>,
    /// One for each scan that may run now.
    scans: Arc<Semaphore>,
    /// `None` when opened read-only.
    writer: Option<WriterThread>,
}

impl EmbeddedStore {
    /// Opens the store at `path`, creating it (mode 0600) and its folders (mode 0700) if there is none, and brings its
    /// schema up to date. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; [`StoreError::Corrupt`] for damage and for a file of another program;
    /// [`StoreError::Unavailable`] when the file cannot be used as it is, saying what to do.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let path = absolute(path)?;
        files::refuse_foreign_log(&path)?;
        files::create_store(&path)?;
        let connection = schema::open_for_writing(&path, options)?;
        let readers = Arc::new(Readers::new(path.clone(), options.lock_wait(), true));
        let writer = WriterThread::start(connection, &path, options, Arc::clone(&readers))?;
        Ok(Self::assemble(path, options, readers, Some(writer)))
    }

    /// Opens an existing store for reading, which a server may be using: every write is refused.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`]; also when the schema is older than this program's, since it is not changed.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let (path, options) = (absolute(path)?, Options::default());
        files::refuse_foreign_log(&path)?;
        drop(schema::open_for_reading(&path, options.lock_wait())?);
        let readers = Arc::new(Readers::new(path.clone(), options.lock_wait(), false));
        Ok(Self::assemble(path, &options, readers, None))
    }

    fn assemble(
        path: PathBuf,
        options: &Options,
        readers: Arc<Readers>,
        writer: Option<WriterThread>,
    ) -> Self {
        let scans = Arc::new(Semaphore::new(reader::most_at_once()));
        Self { path, timeout: options.timeout, readers, scans, writer }
    }

    /// Copies the store, consistently and while it is being used, to a new file. Blocks until done. See [`backup`].
    ///
    /// # Errors
    /// As [`backup`].
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        maintenance::copy_to(&self.path, to)
    }

    fn too_slow(&self) -> StoreError {
        StoreError::Unavailable(format!(
            "{}: no answer within {} s: the disk is too slow or overloaded; the change may still be made",
            self.path.display(),
            self.timeout.as_secs_f32()
        ))
    }

    /// Sends a request to the writer and waits for its answer.
    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Request,
    ) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.timeout;
        let Some(writer) = self.writer.as_ref().and_then(WriterThread::queue) else {
            let path = self.path.display();
            return Err(StoreError::Unavailable(format!("{path} was opened for reading only")));
        };
        let (reply, answer) = oneshot::channel();
        let stopped =
            || StoreError::Unavailable("the thread that writes has stopped: restart the server".to_owned());
        match timeout_at(deadline, writer.send(request(reply))).await {
            Err(_) => return Err(self.too_slow()),
            Ok(Err(_)) => return Err(stopped()),
            Ok(Ok(())) => {}
        }
        match timeout_at(deadline, answer).await {
            Err(_) => Err(self.too_slow()),
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopped())),
        }
    }

    /// Runs what may scan many records where it holds up nobody else.
    async fn scan<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let place = match timeout_at(deadline, Arc::clone(&self.scans).acquire_owned()).await {
            Ok(Ok(place)) => place,
            _ => return Err(self.too_slow()),
        };
        let readers = Arc::clone(&self.readers);
        let scanning = tokio::task::spawn_blocking(move || {
            let found = readers.with(work);
            // Held by the work and not by who waits for it: a scan goes on after its caller gave up.
            drop(place);
            found
        });
        match timeout_at(deadline, scanning).await {
            Err(_) => Err(self.too_slow()),
            Ok(Err(error)) => Err(StoreError::Unavailable(format!("reading was interrupted: {error}"))),
            Ok(Ok(found)) => found,
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>, StoreError> {
        self.readers.glance(|connection| rows::read(connection, kind, id))
    }

    async fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        check_batch(&batch)?;
        rows::check_versions(&batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Request::Apply(Job { batch, reply })).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, StoreError> {
        let statement = rows::listing(query);
        self.scan(move |connection| statement.records(connection)).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let statement = rows::counting(query);
        self.scan(move |connection| statement.number(connection)).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.scan(rows::kinds).await
    }

    /// Takes and gives back the write lock on the writing thread, and checks that the file is still the one at its
    /// path. Whether the disk has room shows only when something is written.
    async fn health(&self) -> Result<(), StoreError> {
        self.ask(Request::Health).await
    }

    fn describe(&self) -> String {
        let access = if self.writer.is_some() { "" } else { ", read-only" };
        format!("SQLite {} in {}{access}", rusqlite::version(), self.path.display())
    }
}

impl Drop for EmbeddedStore {
    /// Closes every idle reader, then lets the writer finish what waits, fold the write-ahead log into the file and
    /// close it.
    fn drop(&mut self) {
        self.readers.close();
        drop(self.writer.take());
    }
}

/// SQLite gives some relative names (`:memory:`, `file:…`) a meaning of their own; an absolute path has none.
fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path)
        .map_err(|error| StoreError::Unavailable(format!("{} is not a usable path: {error}", path.display())))
}
