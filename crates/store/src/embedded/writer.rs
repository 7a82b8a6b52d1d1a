//! The thread that owns the only writing connection, and its group commit.
//!
//! Everything that waits when the thread is free goes into one transaction, in the order it came. The conditions of
//! each batch are checked against what the batches before it made of the store, before anything of it is written; so a
//! batch that is refused leaves the others alone. Nobody is answered before the transaction is on disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use chatelaine_core::store::{Change, ConflictReason, StoreError};
use chatelaine_core::testkit::memory::refusal;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::error::{concerns_one_batch, file_error, store_error};
use super::reader::Readers;
use super::{Options, rows};

/// Most batches in one transaction.
const GROUP_BATCHES: usize = 256;
/// A transaction takes no further batch once its bodies have this many bytes.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

type Answer = Result<(), StoreError>;

/// A batch and who waits for it.
pub(super) struct Job {
    pub(super) batch: Vec<Change>,
    pub(super) reply: oneshot::Sender<Answer>,
}

impl Job {
    fn bytes(&self) -> usize {
        let body = |change: &Change| change.record().map_or(0, |record| record.body.len());
        self.batch.iter().map(body).sum()
    }
}

/// What the thread can be asked.
pub(super) enum Request {
    Apply(Job),
    Health(oneshot::Sender<Answer>),
}

/// The running thread. Dropping it lets the thread finish what waits, and waits for its end.
pub(super) struct WriterThread {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    pub(super) fn start(
        connection: Connection,
        path: &Path,
        options: &Options,
        readers: Arc<Readers>,
    ) -> Result<Self, StoreError> {
        let (queue, requests) = mpsc::channel(options.queue.max(1));
        let writer = Writer::new(connection, path, readers)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(requests))
            .map_err(|error| {
                StoreError::Unavailable(format!("cannot start the thread that writes: {error}"))
            })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) fn queue(&self) -> Option<&mpsc::Sender<Request>> {
        self.queue.as_ref()
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes to the store ended with a panic");
        }
    }
}

pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    /// Device and number of the file that was opened.
    file: (u64, u64),
    /// They hear of every write.
    readers: Arc<Readers>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: &Path,
        readers: Arc<Readers>,
    ) -> Result<Self, StoreError> {
        Ok(Self { connection, path: path.to_owned(), file: file_at(path)?, readers })
    }

    fn run(self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let (mut jobs, mut probes, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Apply(job) => {
                        bytes += job.bytes();
                        jobs.push(job);
                    }
                    Request::Health(reply) => probes.push(reply),
                }
                let full =
                    jobs.len() >= GROUP_BATCHES || bytes >= GROUP_BYTES || probes.len() >= GROUP_BATCHES;
                next = if full { None } else { requests.try_recv().ok() };
            }
            self.commit(jobs);
            for reply in probes {
                // Who does not wait any longer needs no answer.
                let _ = reply.send(self.probe());
            }
        }
        self.close();
    }

    /// Commits a group and answers everybody in it. A batch whose caller has given up is not begun.
    pub(super) fn commit(&self, mut jobs: Vec<Job>) {
        jobs.retain(|job| !job.reply.is_closed());
        if jobs.is_empty() {
            return;
        }
        match self.transaction(&jobs) {
            Ok(answers) => {
                for (job, answer) in jobs.into_iter().zip(answers) {
                    let _ = job.reply.send(answer);
                }
            }
            Err(error) if jobs.len() > 1 && concerns_one_batch(&error) => {
                for job in jobs {
                    self.commit(vec![job]);
                }
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, batches = jobs.len(), "a write to the store failed");
                for job in jobs {
                    let _ = job.reply.send(Err(store_error(&self.path, &error)));
                }
            }
        }
    }

    fn transaction(&self, jobs: &[Job]) -> rusqlite::Result<Vec<Answer>> {
        // Until the transaction has ended, which is before anybody is answered.
        let _writing = self.readers.writing();
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let worked = self.work(jobs).and_then(|(answers, written)| {
            self.connection.execute_batch(if written { "COMMIT" } else { "ROLLBACK" })?;
            Ok(answers)
        });
        if worked.is_err() {
            self.roll_back();
        }
        worked
    }

    fn work(&self, jobs: &[Job]) -> rusqlite::Result<(Vec<Answer>, bool)> {
        let mut answers = Vec::with_capacity(jobs.len());
        let mut written = false;
        for job in jobs {
            let conflict = self.conflict(&job.batch)?;
            if conflict.is_none() {
                for change in &job.batch {
                    written |= rows::change(&self.connection, change)?;
                }
            }
            answers.push(conflict.map_or(Ok(()), Err));
        }
        Ok((answers, written))
    }

    /// The first condition of a batch that does not hold.
    fn conflict(&self, batch: &[Change]) -> rusqlite::Result<Option<StoreError>> {
        for change in batch {
            let (kind, id) = change.target();
            let found = rows::version_of(&self.connection, kind, id)?;
            let mut reason = refusal(change.expected(), found);
            if let (None, Change::Reseal { before, .. }) = (reason, change)
                && !rows::has_body(&self.connection, kind, id, before)?
            {
                reason = Some(ConflictReason::Resealed);
            }
            if let Some(reason) = reason {
                return Ok(Some(StoreError::Conflict { kind: kind.clone(), id: id.to_owned(), reason }));
            }
        }
        Ok(None)
    }

    /// Ends a failed transaction, which SQLite may have ended already.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(path = %self.path.display(), %error, "a failed write could not be rolled back");
        }
    }

    fn probe(&self) -> Answer {
        if file_at(&self.path)? != self.file {
            return Err(StoreError::Unavailable(format!(
                "{} was replaced while it was open: what is written now would be lost; restart the server",
                self.path.display()
            )));
        }
        let probed = self.connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        self.roll_back();
        probed.map_err(|error| store_error(&self.path, &error))
    }

    fn close(self) {
        let folded =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match folded {
            Ok(0) => {}
            Ok(_) => {
                tracing::info!(path = %self.path.display(), "the write-ahead log stays: another process reads the store");
            }
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "the write-ahead log stays"),
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(path = %self.path.display(), %error, "the store was not closed cleanly; nothing is lost");
        }
    }
}

fn file_at(path: &Path) -> Result<(u64, u64), StoreError> {
    let data = path.metadata().map_err(|error| file_error("find", path, &error))?;
    Ok((data.dev(), data.ino()))
}
