//! The files of a store in their folder: made so that they last, never written over, and seen to belong together.
//!
//! Invariant: nothing here opens a store's file in a process that has a connection to it, since closing it again would
//! give up the locks that SQLite holds for that process.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chatelaine_core::store::StoreError;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::error::file_error;

/// What SQLite appends to a file's name for its write-ahead log.
pub(super) const LOG: &str = "-wal";
/// The same for the files that only mean something beside theirs: the log, its index, and the journal of a change
/// made without a log.
pub(super) const COMPANIONS: [&str; 3] = [LOG, "-shm", "-journal"];

/// The name of a file with something appended.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Makes a store's file, empty, and its folders, unless it is there.
pub(super) fn create_store(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent() else {
        return Err(StoreError::Unavailable(format!("{} is not a file in a folder", path.display())));
    };
    create_folders(folder)?;
    match create_new(path) {
        Ok(file) => {
            file.sync_all().map_err(|error| file_error("write", path, &error))?;
            sync_folder(folder)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let data = path.metadata().map_err(|error| file_error("use", path, &error))?;
            if !data.is_file() {
                return Err(StoreError::Unavailable(format!("{} is not a file", path.display())));
            }
            if data.mode() & 0o007 != 0 {
                tracing::warn!(path = %path.display(), "every user of this machine may open the store's file: chmod it to 0600");
            }
            Ok(())
        }
        Err(error) => Err(file_error("create", path, &error)),
    }
}

/// Makes the missing folders of an absolute path (mode 0700), each of which survives a power cut.
fn create_folders(folder: &Path) -> Result<(), StoreError> {
    let missing: Vec<_> = folder.ancestors().take_while(|level| !level.exists()).collect();
    for level in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(level) {
            Ok(()) => {}
            // Somebody else was faster, and may not have come to the flush.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(file_error("create the folder", level, &error)),
        }
        if let Some(above) = level.parent() {
            sync_folder(above)?;
        }
    }
    Ok(())
}

fn create_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the entries of a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| file_error("flush", folder, &error))
}

/// Gives a file another name in its folder, unless something has that name.
pub(super) fn rename_new(from: &Path, to: &Path) -> Result<(), StoreError> {
    let moved = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without that operation have links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::link(from, to).and_then(|()| rustix::fs::unlink(from))
        }
        other => other,
    };
    moved.map_err(|error| match error {
        Errno::EXIST => taken(to),
        other => file_error("rename to", to, &other.into()),
    })
}

/// The refusal to write over what is there.
pub(super) fn taken(to: &Path) -> StoreError {
    StoreError::Unavailable(format!("{} exists and is not overwritten: name a new file", to.display()))
}

/// A file under a name that says it is not complete, removed when dropped unless it was given its own name.
pub(super) struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// Makes it, empty, with mode 0600.
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        match create_new(&path) {
            Ok(_) => Ok(Self { path }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(StoreError::Unavailable(format!(
                "{} exists: it is being written, or is left from a copy that was cut off; if nothing writes it any \
                 longer, remove it",
                path.display()
            ))),
            Err(error) => Err(file_error("create", &path, &error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its own name, unless something has that name, and makes that last.
    pub(super) fn finish(mut self, to: &Path) -> Result<(), StoreError> {
        rename_new(&self.path, to)?;
        self.path = PathBuf::new();
        to.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // What is half a copy must not be taken for one; that it cannot be removed changes nothing about the error.
        for ending in [""].into_iter().chain(COMPANIONS) {
            let _ = std::fs::remove_file(beside(&self.path, ending));
        }
    }
}

/// Refuses a file beside the write-ahead log of another one, which SQLite would write over it page by page.
///
/// Bytes 18 and 19 of the header are 2 in a store with a log, from before anything is in the log; they are 1 in a copy
/// that [`super::backup`] made. The log is looked at first: the other way round, a store that a server
/// opens between the two looks would be refused.
pub(super) fn refuse_foreign_log(path: &Path) -> Result<(), StoreError> {
    let log = beside(path, LOG);
    match log.metadata() {
        Ok(data) if data.len() > 0 => {}
        _ => return Ok(()),
    }
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(20).read_to_end(&mut header).map_err(|error| file_error("read", path, &error))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(file_error("open", path, &error)),
    }
    let problem = match header.get(18..20) {
        None if path.exists() => "is empty",
        None => "is missing",
        Some([1, 1]) => "is a copy that was put in place",
        Some(_) => return Ok(()),
    };
    Err(StoreError::Unavailable(format!(
        "{path} {problem}, but the write-ahead log of the store that was there before is still beside it and would be \
         written over it: stop the server and run `chatelaine store restore FILE` with the copy, which keeps the old \
         files under other names; or, if {path} is the one to use, move {log} and {index} away",
        path = path.display(),
        log = log.display(),
        index = beside(path, "-shm").display(),
    )))
}
