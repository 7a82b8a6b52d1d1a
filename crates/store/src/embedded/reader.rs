//! The read-only connections, kept open between reads.
//!
//! A reader is taken for the time of one call and given back; no more exist than calls ran at once, which are those on the
//! worker threads and [`most_at_once`] scans, and no more than [`most_at_once`] are kept. They belong to their store, so
//! closing it closes them.
//!
//! Between writes, a reader that is given back keeps its view of the store (an open read transaction): taking SQLite's locks
//! anew costs more than reading a record. Invariants: a view is used only while nothing was committed by this store since
//! it was taken ([`Readers::writing`]), so that whoever saw a change acknowledged sees it in every later read; and never
//! while something is being written, so that the write-ahead log can be folded into the file. What another process writes,
//! which nothing of ours does while a server runs, is seen after [`LONGEST_VIEW`] at the latest.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chatelaine_core::store::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;

use super::error::store_error;
use super::schema;

/// A view of the store is not used for longer.
const LONGEST_VIEW: Duration = Duration::from_millis(10);

/// How many scans may run at once, and how many idle connections are kept: each may hold a full page cache.
pub(super) fn most_at_once() -> usize {
    std::thread::available_parallelism().map_or(4, std::num::NonZero::get).clamp(4, 32)
}

/// A connection, and since when it sees the store as it does.
struct Reader {
    connection: Connection,
    view: Option<View>,
}

struct View {
    /// How many commits there were when it was taken, or fewer.
    commits: u64,
    taken: Instant,
}

impl Reader {
    fn begin(&mut self, commits: u64) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        self.view = Some(View { commits, taken: Instant::now() });
        Ok(())
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        if self.view.take().is_some() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}

pub(super) struct Readers {
    path: PathBuf,
    lock_wait: Duration,
    most_idle: usize,
    /// Whether everything that is written is told by [`Readers::writing`].
    keep_views: bool,
    commits: AtomicU64,
    writing: AtomicBool,
    /// `None` once closed. The one used last is taken first: its cache is the warmest.
    idle: Mutex<Option<Vec<Reader>>>,
}

/// While this lives, no view is kept; when it is dropped, those taken before are not used any more.
pub(super) struct Writing<'a>(&'a Readers);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.commits.fetch_add(1, Ordering::AcqRel);
        self.0.writing.store(false, Ordering::Release);
    }
}

impl Readers {
    /// `alone`: nobody else writes while these readers live.
    pub(super) fn new(path: PathBuf, lock_wait: Duration, alone: bool) -> Self {
        Self {
            path,
            lock_wait,
            most_idle: most_at_once(),
            keep_views: alone,
            commits: AtomicU64::new(0),
            writing: AtomicBool::new(false),
            idle: Mutex::new(Some(Vec::new())),
        }
    }

    /// Says that something is about to be written, by the only writer, until the guard is dropped.
    pub(super) fn writing(&self) -> Writing<'_> {
        // First this: who gives a reader back from now on sees it, or is among the idle ones below.
        self.writing.store(true, Ordering::SeqCst);
        if let Some(idle) = self.idle.lock().as_mut() {
            idle.retain_mut(|reader| reader.end().is_ok());
        }
        Writing(self)
    }

    fn take(&self) -> Result<Reader, StoreError> {
        let kept = self.idle.lock().as_mut().and_then(Vec::pop);
        match kept {
            Some(reader) => Ok(reader),
            None => {
                let connection = schema::open_for_reading(&self.path, self.lock_wait)?;
                Ok(Reader { connection, view: None })
            }
        }
    }

    fn give_back(&self, mut reader: Reader) -> rusqlite::Result<()> {
        loop {
            let mut idle = self.idle.lock();
            if reader.view.is_some() && self.writing.load(Ordering::SeqCst) {
                drop(idle);
                reader.end()?;
                continue;
            }
            let surplus = match idle.as_mut() {
                Some(idle) if idle.len() < self.most_idle => {
                    idle.push(reader);
                    None
                }
                _ => Some(reader),
            };
            drop(idle);
            drop(surplus);
            return Ok(());
        }
    }

    /// Runs `work` with a reader of its own view. After an error the connection is not used again: the next call opens a
    /// new one.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut reader = self.take()?;
        let found = reader.end().and_then(|()| work(&reader.connection));
        self.finish(reader, found)
    }

    /// The same for one short read, which may share its view with those before it.
    pub(super) fn glance<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if !self.keep_views {
            return self.with(work);
        }
        let mut reader = self.take()?;
        let found = self.refresh(&mut reader).and_then(|()| work(&reader.connection));
        self.finish(reader, found)
    }

    /// Gives a reader a view in which everything is that was committed before.
    fn refresh(&self, reader: &mut Reader) -> rusqlite::Result<()> {
        // Before the view is taken, so that it is at least as new.
        let commits = self.commits.load(Ordering::Acquire);
        let writing = self.writing.load(Ordering::Acquire);
        let usable = |view: &View| view.commits == commits && view.taken.elapsed() < LONGEST_VIEW;
        if !writing && reader.view.as_ref().is_some_and(usable) {
            return Ok(());
        }
        reader.end()?;
        if writing { Ok(()) } else { reader.begin(commits) }
    }

    fn finish<T>(&self, reader: Reader, found: rusqlite::Result<T>) -> Result<T, StoreError> {
        let found = found.map_err(|error| store_error(&self.path, &error))?;
        // What was read is right, whatever becomes of the reader.
        if let Err(error) = self.give_back(reader) {
            tracing::debug!(path = %self.path.display(), %error, "a reader was closed");
        }
        Ok(found)
    }

    pub(super) fn close(&self) {
        let idle = self.idle.lock().take();
        drop(idle);
    }
}
