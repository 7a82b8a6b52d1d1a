//! The database in the file: how it is recognised, brought up to date and opened.
//!
//! `application_id` says whose file it is, `user_version` which schema it has. Migrations go forward only; a file of a
//! newer schema is refused before anything in it is changed.

use std::path::Path;
use std::time::Duration;

use chatelaine_core::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::Options;
use super::error::store_error;

/// `Chat`, in the header of every file of ours.
pub(super) const APPLICATION_ID: i32 = 0x4368_6174;

/// Each takes the schema one version up; the first makes it. Never change one that was released: add another.
const MIGRATIONS: &[&str] = &["
    -- One row for each record; times are microseconds since 1970, UTC. The body is sealed.
    CREATE TABLE records (
        row       INTEGER PRIMARY KEY,
        kind      TEXT NOT NULL,
        id        TEXT NOT NULL,
        project   TEXT NOT NULL,
        created   INTEGER NOT NULL,
        version   INTEGER NOT NULL,
        owner     TEXT,
        name      TEXT,
        state     TEXT,
        class     TEXT,
        parent    TEXT,
        reference TEXT,
        due       INTEGER,
        body      BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX records_by_id ON records (kind, id);
    CREATE INDEX records_by_creation ON records (kind, created, id);
    CREATE INDEX records_by_project ON records (kind, project, created, id);
    CREATE INDEX records_by_owner ON records (kind, owner, created, id) WHERE owner IS NOT NULL;
    CREATE INDEX records_by_parent ON records (kind, parent, created, id) WHERE parent IS NOT NULL;
    CREATE INDEX records_by_reference ON records (kind, reference, created, id) WHERE reference IS NOT NULL;
    CREATE INDEX records_by_owner_and_reference ON records (kind, owner, reference, created, id)
        WHERE owner IS NOT NULL AND reference IS NOT NULL;
    CREATE INDEX records_by_due ON records (kind, due) WHERE due IS NOT NULL;
"];

/// The schema version this program works with.
pub(super) const KNOWN: u32 = MIGRATIONS.len() as u32;

/// Prepared statements kept for each connection.
const STATEMENTS: usize = 64;
/// Page cache of a connection, in KiB; SQLite takes it as a negative number. The inner pages of the two trees a read
/// walks through take 2.5 MiB at a million records; the rest lets the outer pages, read once, not push those out.
const CACHE_KIB: i64 = -8 * 1024;
/// The write-ahead log is cut back to this size after a checkpoint.
const LOG_BYTES: i64 = 16 * 1024 * 1024;

/// The writing connection, with the schema up to date.
pub(super) fn open_for_writing(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options.lock_wait())?;
    identify(&connection, path)?;
    let failed = |error: rusqlite::Error| store_error(path, &error);
    // SQLite falls back to reading when it may not write, and would tell only at the first write.
    if connection.is_readonly("main").map_err(failed)? {
        return Err(StoreError::Unavailable(format!(
            "{} is not writable: the file and its folder must be writable for the user of this program",
            path.display()
        )));
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!(
            "{}: the file system does not support a write-ahead log (mode {mode}): keep the file on a local one",
            path.display()
        )));
    }
    let configure = || {
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        Ok(())
    };
    configure().map_err(failed)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// A connection that only reads, to a store of exactly the known schema.
pub(super) fn open_for_reading(path: &Path, lock_wait: Duration) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, lock_wait)?;
    connection.pragma_update(None, "query_only", true).map_err(|error| store_error(path, &error))?;
    let version = identify(&connection, path)?;
    if version < KNOWN {
        return Err(StoreError::Unavailable(format!(
            "{} has schema version {version}, older than {KNOWN}: the server brings it up to date when it starts",
            path.display()
        )));
    }
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags, lock_wait: Duration) -> Result<Connection, StoreError> {
    let open = || {
        // Each connection is used by one thread at a time: no lock of SQLite's own is needed.
        let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(lock_wait)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    };
    open().map_err(|error| store_error(path, &error))
}

/// The schema version of a file of ours, 0 for an empty one; refuses any other.
fn identify(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let look = || {
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let objects: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application, version, objects))
    };
    let (application, version, objects) = look().map_err(|error| store_error(path, &error))?;
    match (application, u32::try_from(version)) {
        (0, Ok(0)) if objects == 0 => Ok(0),
        (APPLICATION_ID, Ok(found)) if found > KNOWN => Err(StoreError::NewerSchema { found, known: KNOWN }),
        (APPLICATION_ID, Ok(found)) if found > 0 => Ok(found),
        _ => Err(StoreError::Corrupt(format!(
            "{} is a SQLite database of another program (application id {application:#010x}, ours is \
             {APPLICATION_ID:#010x}): name another file",
            path.display()
        ))),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| store_error(path, &error);
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    // Looked at again under the lock: another process may have done it meanwhile.
    let version = identify(&transaction, path)?;
    if version < KNOWN {
        for migration in MIGRATIONS.iter().skip(version as usize) {
            transaction.execute_batch(migration).map_err(failed)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", KNOWN).map_err(failed)?;
        tracing::info!(path = %path.display(), from = version, to = KNOWN, "the store's schema was brought up to date");
    }
    transaction.commit().map_err(failed)
}
