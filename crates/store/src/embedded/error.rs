//! SQLite's errors in the words of the trait, with what an operator can do about each.

use std::path::Path;

use chatelaine_core::store::StoreError;
use rusqlite::{Error, ErrorCode};

/// The store error for what SQLite answered about the file at `path`.
pub(super) fn store_error(path: &Path, error: &Error) -> StoreError {
    let advice = match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => return damaged(path, error),
            ErrorCode::DiskFull => {
                "the disk or quota is full: free some space; nothing that was stored is lost"
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                "the file and its folder must exist and be writable for the user of this program, on a file system \
                 that is mounted read-write"
            }
            ErrorCode::SystemIoFailure => "the disk failed: look at the kernel's log and the disk's health",
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                "another process holds its lock: end any sqlite3 shell or second server that uses this file"
            }
            ErrorCode::OutOfMemory => "the machine is out of memory",
            ErrorCode::FileLockingProtocolFailed | ErrorCode::NoLargeFileSupport => {
                "the file system does not support it: keep the file on a local file system"
            }
            _ => "this is unexpected: keep the message for a report",
        },
        Error::InvalidColumnType(..)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => return damaged(path, error),
        _ => "this is unexpected: keep the message for a report",
    };
    StoreError::Unavailable(format!("{}: {error}: {advice}", path.display()))
}

fn damaged(path: &Path, error: &Error) -> StoreError {
    StoreError::Corrupt(format!(
        "{}: {error}: run `chatelaine store check`, keep a copy of the file, and restore the newest backup",
        path.display()
    ))
}

/// The store error for what the operating system answered about `path`.
pub(super) fn file_error(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}

/// Whether an error may be about what one batch touches or needs, so that others of its group may succeed alone.
///
/// Errors without a code of SQLite's come from reading a row that is not what it should be. A disk that fails may fail at one
/// place only; where it fails everywhere, trying again costs little.
pub(super) fn concerns_one_batch(error: &Error) -> bool {
    error.sqlite_error_code().is_none_or(|code| {
        matches!(
            code,
            ErrorCode::DiskFull
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::SystemIoFailure
                | ErrorCode::TooBig
                | ErrorCode::ConstraintViolation
        )
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn only_what_concerns_the_whole_file_fails_a_group() {
        let coded = |code| Error::SqliteFailure(ffi::Error::new(code), None);
        for alone in [
            coded(ffi::SQLITE_FULL),
            coded(ffi::SQLITE_CORRUPT),
            coded(ffi::SQLITE_IOERR_READ),
            Error::IntegralValueOutOfRange(4, -1),
            Error::StatementChangedRows(2),
        ] {
            assert!(concerns_one_batch(&alone), "{alone}");
        }
        for all in [ffi::SQLITE_BUSY, ffi::SQLITE_READONLY, ffi::SQLITE_CANTOPEN, ffi::SQLITE_NOTADB] {
            assert!(!concerns_one_batch(&coded(all)), "{all}");
        }
    }
}
