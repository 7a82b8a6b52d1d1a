//! The trail that a running server writes.
//!
//! [`FileTrail`] owns the folder (by a lock), the newest segment and the chain's state. Events are rendered outside the
//! lock; inside it they get number and authenticator and go to the file in one `write` to the page cache. One thread
//! syncs for everybody who waits and begins new segments, so that no caller's thread waits for the disk.
//!
//! Invariant: the file holds exactly the lines of the chain's state, or the trail is *poisoned* and takes nothing more
//! until it is opened again. A write that fails is undone. A failed sync poisons: the system may have dropped what it
//! had accepted, and a second sync would not tell. So does a segment that somebody took away or cut.

mod reading;
mod recovery;
mod syncer;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatelaine_core::audit::{
    Action, AuditError, AuditTrail, ChangeHistory, Durability, Event, HistoryKey, Initiator, Outcome,
};
use chatelaine_core::clock::Clock;
use chatelaine_core::id::SecretId;
use chatelaine_crypto::MacKey;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::format::{self, MAX_LINE};
use super::scan::line_mac;
use super::segment::{self, Appender, Segment};
use super::{Head, LineMac, TrailError};
pub use recovery::Recovery;
use syncer::{Synced, Syncer, Turned};

/// Size beyond which a segment gets a successor: 64 MiB.
pub const DEFAULT_SEGMENT_SIZE: u64 = 64 * 1024 * 1024;

/// Most events that one `append` takes.
pub const MAX_EVENTS: usize = 1024;

/// How the trail is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment that has reached this size, in bytes, gets a successor. What is appended at once is never split, and
    /// one append at least goes into each segment.
    pub segment_size: u64,
    /// Longest time an append waits for the disk before it fails.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_size: DEFAULT_SEGMENT_SIZE, patience: Duration::from_secs(30) }
    }
}

/// The audit trail in a folder. Appending needs a tokio runtime with timers.
#[derive(Debug)]
pub struct FileTrail {
    shared: Arc<Shared>,
    syncer: Option<Syncer>,
    /// Held for its lock.
    _lock: segment::Lock,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    key: MacKey,
    key_id: String,
    observer: String,
    options: Options,
    state: Mutex<State>,
    /// Tells the syncer that there is something to do.
    work: Condvar,
    synced: watch::Sender<Synced>,
    turned: watch::Sender<Turned>,
}

#[derive(Debug)]
struct State {
    segment: Segment,
    file: Arc<Appender>,
    /// The good length of the file.
    length: u64,
    head: Head,
    buffer: Vec<u8>,
    /// Why nothing more is taken.
    poisoned: Option<String>,
    /// Lines were written since the last sync began.
    dirty: bool,
    /// Somebody waits for the sync.
    awaited: bool,
    /// The segment is full: nobody writes until the syncer has begun the next one.
    turning: bool,
    stop: bool,
}

impl FileTrail {
    /// Opens the trail in `folder`, or begins one; verifies the newest segment, cuts off an unfinished last line and
    /// writes that down as an event.
    ///
    /// `key_id` names the key in each segment (1 to 64 of letters, digits, `.`, `_`, `:`, `-`); `observer` names this
    /// server in each event; `clock` gives the time of the event of a recovery. Blocks on the disk.
    ///
    /// # Errors
    /// [`TrailError`]: the folder is in use or open to others, the newest segment does not verify or was written under
    /// another key, or the system refused something.
    pub fn open(
        folder: &Path,
        key: MacKey,
        key_id: &str,
        observer: &str,
        options: &Options,
        clock: &dyn Clock,
    ) -> Result<(Self, Recovery), TrailError> {
        if !format::is_key_id(key_id) {
            return Err(TrailError::Invalid(
                "the id of the audit key must be 1 to 64 of letters, digits, '.', '_', ':' and '-'"
                    .to_owned(),
            ));
        }
        if observer.is_empty() || observer.len() > 255 {
            return Err(TrailError::Invalid("the observer's id must have 1 to 255 bytes".to_owned()));
        }
        segment::prepare_folder(folder)?;
        let lock = segment::lock(folder)?;
        let (segment, file, length, recovery) = recovery::recover(folder, &key, key_id)?;
        let shared = Arc::new(Shared {
            folder: folder.to_path_buf(),
            key,
            key_id: key_id.to_owned(),
            observer: observer.to_owned(),
            options: options.clone(),
            state: Mutex::new(State {
                segment,
                file: Arc::new(file),
                length,
                head: recovery.head,
                buffer: Vec::with_capacity(4096),
                poisoned: None,
                dirty: false,
                awaited: false,
                turning: false,
                stop: false,
            }),
            work: Condvar::new(),
            synced: watch::Sender::new(Synced { head: recovery.head, failed: None }),
            turned: watch::Sender::new(Turned::default()),
        });
        if recovery.is_due() {
            shared.note(&recovery, clock).map_err(TrailError::NotNoted)?;
        }
        let syncer = Syncer::start(Arc::clone(&shared))?;
        Ok((Self { shared, syncer: Some(syncer), _lock: lock }, recovery))
    }

    /// Whether the trail takes events.
    ///
    /// # Errors
    /// Why it does not.
    pub fn health(&self) -> Result<(), String> {
        self.shared.state.lock().poisoned.clone().map_or(Ok(()), Err)
    }

    /// The last line that was written.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.state.lock().head
    }

    /// The last line known to be on stable storage: what a checkpoint kept elsewhere may name.
    #[must_use]
    pub fn synced_head(&self) -> Head {
        self.shared.synced.borrow().head
    }
}

impl Drop for FileTrail {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.work.notify_one();
        if let Some(syncer) = self.syncer.take() {
            syncer.join();
        }
    }
}

/// Rendered events, one after the other, and where each ends.
struct Rendered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Shared {
    /// Writes down that the trail was mended, and waits until that is on stable storage. For a trail nobody else uses yet.
    fn note(&self, recovery: &Recovery, clock: &dyn Clock) -> Result<(), AuditError> {
        let event = Event {
            id: SecretId::random(),
            time: clock.now(),
            action: Action::RecoverTrail,
            outcome: Outcome::Success,
            initiator: Initiator { user: "chatelaine".to_owned(), ..Initiator::default() },
            target_kind: None,
            target: None,
            written: None,
            reason: Some(recovery.reason()),
            request_id: None,
        };
        let rendered = self.render(std::slice::from_ref(&event))?;
        if self.write(&rendered, true)?.is_none() {
            syncer::turn(self, &mut self.state.lock());
            if self.write(&rendered, true)?.is_none() {
                let problem = self.turned.borrow().problem.clone();
                return Err(AuditError::Unwritable(problem.unwrap_or_else(|| "no new segment".to_owned())));
            }
        }
        syncer::sync(self, &mut self.state.lock());
        match &self.synced.borrow().failed {
            Some(why) => Err(AuditError::Unwritable(why.clone())),
            None => Ok(()),
        }
    }

    fn render(&self, events: &[Event]) -> Result<Rendered, AuditError> {
        if events.len() > MAX_EVENTS {
            return Err(AuditError::Unwritable(format!(
                "{} events at once, at most {MAX_EVENTS} are taken",
                events.len()
            )));
        }
        let mut rendered = Rendered {
            bytes: Vec::with_capacity(events.len().saturating_mul(640)),
            ends: Vec::with_capacity(events.len()),
        };
        for event in events {
            let start = rendered.bytes.len();
            format::render(event, &self.observer, &mut rendered.bytes);
            // The chain's fields take less than 512 bytes.
            if rendered.bytes.len().saturating_sub(start) > MAX_LINE - 512 {
                return Err(AuditError::Unwritable(format!("an event is longer than {MAX_LINE} bytes")));
            }
            rendered.ends.push(rendered.bytes.len());
        }
        Ok(rendered)
    }

    /// Numbers, authenticates and writes; the number of the last line written, or none where the segment is full and
    /// the syncer was told.
    fn write(&self, rendered: &Rendered, awaited: bool) -> Result<Option<u64>, AuditError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(why) = &state.poisoned {
            return Err(AuditError::Unwritable(format!(
                "{why}; restart the server when the cause is mended"
            )));
        }
        if state.turning {
            return Ok(None);
        }
        if state.length >= self.options.segment_size && state.length > 0 {
            state.turning = true;
            drop(guard);
            self.work.notify_one();
            return Ok(None);
        }
        let mut head = state.head;
        let mut buffer = std::mem::take(&mut state.buffer);
        buffer.clear();
        let mut start = 0;
        for end in &rendered.ends {
            let line = buffer.len();
            buffer.extend_from_slice(rendered.bytes.get(start..*end).unwrap_or_default());
            start = *end;
            if line == 0 && state.length == 0 {
                format::render_start(&head.mac, &self.key_id, &mut buffer);
            }
            let seq = head.seq.saturating_add(1);
            format::render_seq(seq, &mut buffer);
            let mac: LineMac = line_mac(&self.key, &head.mac, buffer.get(line..).unwrap_or_default());
            format::render_mac(&mac, &mut buffer);
            head = Head { seq, mac };
        }
        let outcome = self.put(state, &buffer);
        // A batch may have been large; what is kept for the next one is not.
        buffer.clear();
        buffer.shrink_to(MAX_LINE);
        state.buffer = buffer;
        outcome?;
        state.head = head;
        let wake = !state.dirty || (awaited && !state.awaited);
        state.dirty = true;
        state.awaited |= awaited;
        drop(guard);
        if wake {
            self.work.notify_one();
        }
        Ok(Some(head.seq))
    }

    /// One write of whole lines, undone where it fails.
    fn put(&self, state: &mut State, bytes: &[u8]) -> Result<(), AuditError> {
        let problem = match state.file.write(bytes) {
            Ok(length) if length == bytes.len() => {
                state.length = state.length.saturating_add(bytes.len() as u64);
                return Ok(());
            }
            Ok(length) => format!("only {length} of {} bytes were taken: is the disk full?", bytes.len()),
            Err(error) => error.to_string(),
        };
        if let Err(error) = state.file.truncate(state.length) {
            let why =
                format!("after a failed write ({problem}) the unfinished line could not be removed: {error}");
            self.poison(state, why);
        }
        Err(AuditError::Unwritable(problem))
    }

    fn poison(&self, state: &mut State, why: String) {
        tracing::error!(reason = %why, "the audit trail takes no more events");
        self.synced.send_modify(|synced| synced.failed = Some(why.clone()));
        state.poisoned = Some(why);
    }

    /// Writes as soon as the syncer has begun another segment.
    async fn write_after_turn(&self, rendered: &Rendered, awaited: bool) -> Result<u64, AuditError> {
        let mut turned = self.turned.subscribe();
        loop {
            // The turn this meets ends after the subscription.
            if let Some(seq) = self.write(rendered, awaited)? {
                return Ok(seq);
            }
            turned.changed().await.map_err(|_| closed())?;
            if let Some(problem) = &turned.borrow_and_update().problem {
                return Err(AuditError::Unwritable(problem.clone()));
            }
        }
    }

    async fn wait_synced(&self, seq: u64) -> Result<(), AuditError> {
        let mut synced = self.synced.subscribe();
        let reached = synced
            .wait_for(|synced| synced.head.seq >= seq || synced.failed.is_some())
            .await
            .map_err(|_| closed())?;
        match &reached.failed {
            Some(why) if reached.head.seq < seq => Err(AuditError::Unwritable(why.clone())),
            _ => Ok(()),
        }
    }

    /// Bounds a wait for the disk.
    async fn patiently<T>(&self, wait: impl Future<Output = Result<T, AuditError>>) -> Result<T, AuditError> {
        let patience = self.options.patience;
        tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| {
            Err(AuditError::Unwritable(format!(
                "the disk did not answer within {} s: look at the disk that holds {}",
                patience.as_secs_f32(),
                self.folder.display()
            )))
        })
    }
}

fn closed() -> AuditError {
    AuditError::Unwritable("the trail was closed".to_owned())
}

#[async_trait]
impl AuditTrail for FileTrail {
    async fn append(&self, events: &[Event], durability: Durability) -> Result<(), AuditError> {
        if events.is_empty() {
            return Ok(());
        }
        let shared = &*self.shared;
        let rendered = shared.render(events)?;
        let awaited = durability == Durability::Synced;
        let seq = match shared.write(&rendered, awaited)? {
            Some(seq) => seq,
            None => shared.patiently(shared.write_after_turn(&rendered, awaited)).await?,
        };
        if awaited { shared.patiently(shared.wait_synced(seq)).await } else { Ok(()) }
    }

    async fn histories(
        &self,
        wanted: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
        reading::histories(&self.shared, wanted).await
    }
}
