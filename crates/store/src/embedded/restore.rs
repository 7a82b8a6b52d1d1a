//! Putting a copy of a store in the place of the store.
//!
//! Invariant: the store's files are moved, never changed or removed, and only while no other process uses them. The
//! copy is copied again into the store's folder and checked there before anything is moved, so that the backup
//! stays what it is.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chatelaine_core::store::StoreError;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::error::file_error;
use super::files::{COMPANIONS, Unfinished, beside, refuse_foreign_log, rename_new, sync_folder};
use super::maintenance::{PATIENCE, copy};
use super::{absolute, schema};

/// Most names tried for the store that was there before.
const MOST_KEPT: u32 = 1000;

/// A copy of a backup, complete and checked, in the folder of the store whose place it is to take. Dropped, it is gone.
pub struct Restoring {
    copy: Unfinished,
    to: PathBuf,
}

impl Restoring {
    /// Copies the backup `from` beside the store `to`, as `to` with `.restoring` appended, and checks it. The
    /// store itself is left alone, and need not exist; its folder must. Blocks until done.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another process uses the store, when `from` is the store, or when the copy cannot
    /// be made; what [`super::EmbeddedStore::open_read_only`] answers about `from`; [`StoreError::Corrupt`] when the
    /// backup does not pass SQLite's check.
    pub fn begin(from: &Path, to: &Path) -> Result<Self, StoreError> {
        let (from, to) = (absolute(from)?, absolute(to)?);
        let found = from.metadata().map_err(|error| file_error("open", &from, &error))?;
        if to.metadata().is_ok_and(|data| (data.dev(), data.ino()) == (found.dev(), found.ino())) {
            let from = from.display();
            return Err(StoreError::Unavailable(format!("{from} is the store itself: name a copy of it")));
        }
        refuse_in_use(&to)?;
        refuse_foreign_log(&from)?;
        let source = schema::open_for_reading(&from, PATIENCE)?;
        let unfinished = Unfinished::create(beside(&to, ".restoring"))?;
        copy(&source, &from, unfinished.path())?;
        Ok(Self { copy: unfinished, to })
    }

    /// The checked copy, for a look at what is in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.copy.path()
    }

    /// Moves the store that is there aside, with its log, and puts the copy in its place. Answers the name under which
    /// the old store is kept, if there was one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another process uses the store, or when a file cannot be moved. A crash or an
    /// error between the two steps leaves no store in the place, and the log of the old one only where its file
    /// could not be moved either: the restore can be run again.
    pub fn finish(self) -> Result<Option<PathBuf>, StoreError> {
        let kept = set_aside(&self.to)?;
        self.copy.finish(&self.to).map_err(|error| match &kept {
            Some(kept) => {
                StoreError::Unavailable(format!("{error}; the old store is kept as {}", kept.display()))
            }
            None => error,
        })?;
        Ok(kept)
    }
}

/// Moves a store's files to the next free name of their own, the log after its store.
fn set_aside(store: &Path) -> Result<Option<PathBuf>, StoreError> {
    let there: Vec<_> = [""]
        .into_iter()
        .chain(COMPANIONS)
        .filter(|ending| beside(store, ending).symlink_metadata().is_ok())
        .collect();
    if there.is_empty() {
        return Ok(None);
    }
    let is_free = |name: &PathBuf| {
        [""].into_iter().chain(COMPANIONS).all(|ending| beside(name, ending).symlink_metadata().is_err())
    };
    let Some(kept) =
        (1..=MOST_KEPT).map(|number| beside(store, &format!(".before-restore-{number}"))).find(is_free)
    else {
        return Err(StoreError::Unavailable(format!(
            "{} has been kept {MOST_KEPT} times before other restores: remove or move the oldest ones",
            store.display()
        )));
    };
    refuse_in_use(store)?;
    for ending in there {
        rename_new(&beside(store, ending), &beside(&kept, ending))?;
    }
    store.parent().map_or(Ok(()), sync_folder)?;
    Ok(Some(kept))
}

/// Refuses a store that another process has open: SQLite keeps a lock on the file for as long as it has one.
fn refuse_in_use(store: &Path) -> Result<(), StoreError> {
    let file = match File::open(store) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file_error("open", store, &error)),
    };
    let holder = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))
        .map_err(|error| file_error("look for locks on", store, &error.into()))?;
    match holder {
        None => Ok(()),
        Some(lock) => Err(StoreError::Unavailable(format!(
            "{} is in use{}: stop the server first",
            store.display(),
            lock.pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
        ))),
    }
}
