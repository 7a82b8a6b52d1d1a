//! Copies and checks of a store's file, from this or another process, while a server uses it.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use chatelaine_core::store::StoreError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::{file_error, store_error};
use super::files::{Unfinished, beside, refuse_foreign_log, taken};
use super::{absolute, schema};

/// How long a copy waits for a lock of another process.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Copies the store at `from` to the new file `to`, as it is at one moment, while others read and write it. The copy
/// is a single file of mode 0600, checked, flushed to disk, and under its name only when it is complete: until
/// then it is `to` with `.partial` appended.
///
/// # Errors
/// [`StoreError::Unavailable`] when `to` exists or cannot be written; what [`super::EmbeddedStore::open_read_only`]
/// answers about `from`; [`StoreError::Corrupt`] when the copy does not pass SQLite's check, since then the store
/// does not either.
/// Not for a process that has a connection to `from`: [`super::EmbeddedStore::backup`] is.
pub fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let from = absolute(from)?;
    refuse_foreign_log(&from)?;
    copy_to(&from, to)
}

/// The copy, of a file that is known to be the store.
pub(super) fn copy_to(from: &Path, to: &Path) -> Result<(), StoreError> {
    let to = absolute(to)?;
    // Found again at the end, by the rename; here it spares the copying.
    if to.symlink_metadata().is_ok() {
        return Err(taken(&to));
    }
    let source = schema::open_for_reading(from, PATIENCE)?;
    let partial = Unfinished::create(beside(&to, ".partial"))?;
    copy(&source, from, partial.path())?;
    partial.finish(&to)
}

/// Copies what a connection sees into an empty file, checks the copy and flushes it to disk.
pub(super) fn copy(source: &Connection, from: &Path, into: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| store_error(into, &error);
    let mut target = Connection::open_with_flags(
        into,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    let started = Instant::now();
    let backup = Backup::new(source, &mut target).map_err(failed)?;
    // All pages in one step: one read transaction, which writers do not disturb and which does not disturb them.
    loop {
        match backup.step(-1).map_err(failed)? {
            StepResult::Done => break,
            _ if started.elapsed() > PATIENCE => {
                let from = from.display();
                return Err(StoreError::Unavailable(format!("{from} stayed locked by another process")));
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    drop(backup);
    target
        .pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))
        .map_err(failed)?;
    if let Some(first) = problems(&target).first() {
        return Err(StoreError::Corrupt(format!(
            "{}: the copy does not pass the check: {first}: run `chatelaine store check`",
            from.display()
        )));
    }
    target.close().map_err(|(_, error)| failed(error))?;
    File::open(into).and_then(|file| file.sync_all()).map_err(|error| file_error("flush", into, &error))
}

/// SQLite's own check of the whole file, that each index agrees with its table included: one line for each problem, none
/// for a sound file. It says nothing about what the records mean or whether they are authentic. Not for a process that
/// has a connection to the file.
///
/// # Errors
/// When the file cannot be opened as a store at all, as [`super::EmbeddedStore::open_read_only`].
pub fn integrity(path: &Path) -> Result<Vec<String>, StoreError> {
    let path = absolute(path)?;
    refuse_foreign_log(&path)?;
    let connection = schema::open_for_reading(&path, PATIENCE)?;
    Ok(problems(&connection))
}

fn problems(connection: &Connection) -> Vec<String> {
    let check = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare("PRAGMA integrity_check")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    match check() {
        Ok(lines) => lines.into_iter().filter(|line| line != "ok").collect(),
        // Damage that stops the check is a finding, not a failure to check.
        Err(error) => vec![format!("the check could not go on: {error}")],
    }
}
