//! The one thread that waits for the disk: it puts lines on stable storage, for everybody who waits at the same time,
//! and begins new segments.
//!
//! Invariant: what it announces as synced is on stable storage, in a file that still bears its name. Lines nobody waits
//! for follow within [`LINGER`]. A new segment is begun only when the one before is on stable storage, so that no line
//! outlives one before it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::{Shared, State};
use crate::audit::segment::{self, Appender, Segment};
use crate::audit::{Head, TrailError};

/// Longest time a line stays unsynced that nobody waits for.
pub(super) const LINGER: Duration = Duration::from_millis(100);

/// What those see who wait for a sync.
#[derive(Debug, Clone)]
pub(super) struct Synced {
    /// The last line on stable storage.
    pub(super) head: Head,
    /// Why no more will follow.
    pub(super) failed: Option<String>,
}

impl Synced {
    /// Moves forward, never back; whether it moved.
    pub(super) fn advance(&mut self, head: Head) -> bool {
        let forward = head.seq > self.head.seq;
        if forward {
            self.head = head;
        }
        forward
    }
}

/// What those see who wait for the next segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Turned {
    /// Why there is none, after the last attempt.
    pub(super) problem: Option<String>,
}

#[derive(Debug)]
pub(super) struct Syncer(JoinHandle<()>);

impl Syncer {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, TrailError> {
        let folder = shared.folder.clone();
        std::thread::Builder::new()
            .name("audit-sync".to_owned())
            .spawn(move || run(&shared))
            .map(Self)
            .map_err(TrailError::io("cannot start the thread that syncs", folder))
    }

    pub(super) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that syncs the audit trail had failed");
        }
    }
}

fn run(shared: &Shared) {
    let mut state = shared.state.lock();
    loop {
        while !state.dirty && !state.turning && !state.stop {
            shared.work.wait(&mut state);
        }
        let deadline = Instant::now() + LINGER;
        while state.dirty && !state.awaited && !state.turning && !state.stop {
            if shared.work.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        if state.turning {
            turn(shared, &mut state);
        } else if state.dirty {
            sync(shared, &mut state);
        }
        if state.stop && !state.dirty {
            return;
        }
    }
}

/// Puts all lines written so far on stable storage; the lock is open meanwhile.
pub(super) fn sync(shared: &Shared, state: &mut MutexGuard<'_, State>) {
    state.dirty = false;
    state.awaited = false;
    if state.poisoned.is_some() {
        return;
    }
    // Lines up to here are in this file, or in segments that were synced when they ended.
    let (segment, file, length) = (state.segment.clone(), Arc::clone(&state.file), state.length);
    let head = state.head;
    match MutexGuard::unlocked(state, || settle(&segment, &file, length)) {
        Ok(()) => {
            shared.synced.send_if_modified(|synced| synced.advance(head));
        }
        Err(why) => shared.poison(state, why),
    }
}

/// Ends the segment and begins the next. The lock is open meanwhile; nobody writes while `turning` is set.
pub(super) fn turn(shared: &Shared, state: &mut MutexGuard<'_, State>) {
    sync(shared, state);
    let problem = if let Some(why) = state.poisoned.clone() {
        Some(why)
    } else {
        let next = Segment::at(&shared.folder, state.head.seq.saturating_add(1));
        match MutexGuard::unlocked(state, || begin(shared, &next)) {
            Ok(file) => {
                state.segment = next;
                state.file = Arc::new(file);
                state.length = 0;
                None
            }
            // Nothing was written: the next append tries again.
            Err(error) => Some(error.to_string()),
        }
    };
    state.turning = false;
    shared.turned.send_modify(|turned| turned.problem = problem);
}

fn begin(shared: &Shared, next: &Segment) -> Result<Appender, TrailError> {
    // A file of that name can only be one without lines, left by an attempt whose folder could not be synced.
    let empty = std::fs::symlink_metadata(&next.path).is_ok_and(|facts| facts.is_file() && facts.len() == 0);
    let file = Appender::open(next, !empty)?;
    segment::sync_folder(&shared.folder)?;
    Ok(file)
}

/// Syncs, and makes sure that what was synced is what a reader will find.
fn settle(segment: &Segment, file: &Appender, length: u64) -> Result<(), String> {
    file.sync().map_err(|error| format!("{} could not be synced: {error}", segment.name()))?;
    match file.is_at(segment, length) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} was removed, replaced or cut by somebody else", segment.name())),
        Err(error) => Err(format!("{} cannot be looked at any more: {error}", segment.name())),
    }
}
