//! Copies and checks of a store's file, from this or another process, while a server uses it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chatelaine_core::store::StoreError;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::{file_error, store_error};
use super::{absolute, schema};

/// How long a copy waits for a lock of another process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Copies the store at `from` to the new file `to`, as it is at one moment, while others read and write it. The copy
/// is a single file of mode 0600, checked, flushed to disk, and under its name only when it is complete: until
/// then it is `to` with `.partial` appended.
///
/// # Errors
/// [`StoreError::Unavailable`] when `to` exists or cannot be written; what [`super::EmbeddedStore::open_read_only`]
/// answers about `from`; [`StoreError::Corrupt`] when the copy does not pass SQLite's check, since then the store
/// does not either.
pub fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let (from, to) = (absolute(from)?, absolute(to)?);
    let (Some(folder), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(StoreError::Unavailable(format!("{} does not name a file", to.display())));
    };
    free(&to)?;
    let source = schema::open_for_reading(&from, PATIENCE)?;
    let mut partial_name = OsString::from(name);
    partial_name.push(".partial");
    let partial = folder.join(partial_name);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(|error| file_error("create", &partial, &error))?;
    let copied = copy(&source, &from, &partial).and_then(|()| {
        free(&to)?;
        std::fs::rename(&partial, &to).map_err(|error| file_error("rename to", &to, &error))?;
        schema::sync_folder(folder)
    });
    if copied.is_err() {
        // What is half a copy must not be taken for one; that it cannot be removed changes nothing about the error.
        let _ = std::fs::remove_file(&partial);
    }
    copied
}

fn free(to: &Path) -> Result<(), StoreError> {
    if to.symlink_metadata().is_ok() {
        let to = to.display();
        return Err(StoreError::Unavailable(format!("{to} exists and is not overwritten: name a new file")));
    }
    Ok(())
}

fn copy(source: &Connection, from: &Path, partial: &PathBuf) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| store_error(partial, &error);
    let mut target = Connection::open_with_flags(
        partial,
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
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| file_error("flush", partial, &error))
}

/// SQLite's own check of the file's structure: one line for each problem, none for a sound file. It says nothing about
/// what the records mean or whether they are authentic.
///
/// # Errors
/// When the file cannot be opened as a store at all, as [`super::EmbeddedStore::open_read_only`].
pub fn integrity(path: &Path) -> Result<Vec<String>, StoreError> {
    let connection = schema::open_for_reading(&absolute(path)?, PATIENCE)?;
    Ok(problems(&connection))
}

fn problems(connection: &Connection) -> Vec<String> {
    let check = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare("PRAGMA quick_check")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    match check() {
        Ok(lines) => lines.into_iter().filter(|line| line != "ok").collect(),
        // Damage that stops the check is a finding, not a failure to check.
        Err(error) => vec![format!("the check could not go on: {error}")],
    }
}
