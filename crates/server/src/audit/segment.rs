//! The files of a trail: segments named by the number of their first line, in a folder only the server's user enters.
//!
//! Invariant: files are made with mode 0600, opened for appending and never through a symbolic link; a new file is on
//! stable storage, name included, before a line is written to it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::TrailError;

/// One segment on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The number of its first line, from its name.
    pub first_seq: u64,
    /// The file.
    pub path: PathBuf,
}

impl Segment {
    /// The segment of a folder that begins with line `first_seq`.
    #[must_use]
    pub fn at(folder: &Path, first_seq: u64) -> Self {
        Self { first_seq, path: folder.join(format!("audit-{first_seq:012}.jsonl")) }
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// [`TrailError::Io`].
    pub fn read(&self) -> Result<File, TrailError> {
        OpenOptions::new()
            .read(true)
            .custom_flags(no_follow())
            .open(&self.path)
            .map_err(TrailError::io("cannot open", &self.path))
    }
}

/// The segments of a folder, in the order of their numbers. Other files are left out.
///
/// # Errors
/// [`TrailError::Io`].
pub fn list(folder: &Path) -> Result<Vec<Segment>, TrailError> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(TrailError::io("cannot list", folder))? {
        let entry = entry.map_err(TrailError::io("cannot list", folder))?;
        let name = entry.file_name();
        let first_seq = name
            .to_str()
            .and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"))
            .and_then(|digits| digits.parse().ok());
        // One number has one name: `audit-1.jsonl` is another file.
        if let Some(segment) = first_seq.map(|first_seq| Segment::at(folder, first_seq))
            && segment.path.file_name() == Some(&name)
        {
            segments.push(segment);
        }
    }
    segments.sort();
    Ok(segments)
}

/// Makes the folder where there is none, and refuses one that others can enter.
pub(crate) fn prepare_folder(folder: &Path) -> Result<(), TrailError> {
    let insecure = |problem: String| TrailError::Insecure { path: folder.to_path_buf(), problem };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_folder(parent)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(TrailError::io("cannot make", folder)(error)),
    }
    let facts = std::fs::symlink_metadata(folder).map_err(TrailError::io("cannot look at", folder))?;
    if !facts.is_dir() {
        return Err(insecure("is not a folder; name a folder (not a symbolic link to one)".to_owned()));
    }
    let user = rustix::process::geteuid().as_raw();
    if facts.uid() != user {
        return Err(insecure(format!(
            "belongs to user {}, this runs as user {user}; {}",
            facts.uid(),
            chatelaine_seal::ownership::as_its_owner(user, facts.uid(), folder)
        )));
    }
    if facts.mode() & 0o077 != 0 {
        return Err(insecure(format!(
            "has mode {:04o}, others can enter it; run `chmod 700 {}`",
            facts.mode() & 0o7777,
            folder.display()
        )));
    }
    Ok(())
}

/// The lock that keeps a second server off the trail, as long as it is held.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // To close it is not enough: a process just being started may still have a copy of the descriptor.
        if let Err(error) = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock) {
            tracing::warn!(%error, "the lock of the audit trail could not be given back");
        }
    }
}

/// Takes the lock.
pub(crate) fn lock(folder: &Path) -> Result<Lock, TrailError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&path)
        .map_err(TrailError::io("cannot open", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(TrailError::InUse(folder.to_path_buf())),
        Err(error) => Err(TrailError::io("cannot lock", &path)(error.into())),
    }
}

/// Puts the folder's names on stable storage.
pub(super) fn sync_folder(folder: &Path) -> Result<(), TrailError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(TrailError::io("cannot sync", folder))
}

/// Keeps bytes that are about to be cut off, in a new file, and returns its path.
pub(super) fn keep_torn(folder: &Path, seq: u64, bytes: &mut dyn io::Read) -> Result<PathBuf, TrailError> {
    for attempt in 0..1000_u32 {
        let suffix = if attempt == 0 { String::new() } else { format!("-{attempt}") };
        let path = folder.join(format!("torn-{seq:012}{suffix}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                if let Err(error) = io::copy(bytes, &mut file).and_then(|_| file.sync_all()) {
                    // The disk is probably full: a part of the bytes is of no use, and they are where they were.
                    let _ = std::fs::remove_file(&path);
                    return Err(TrailError::io("cannot write", path)(error));
                }
                sync_folder(folder)?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(TrailError::io("cannot make", path)(error)),
        }
    }
    Err(TrailError::Invalid(format!("{} holds 1000 files torn-{seq:012}…; move them away", folder.display())))
}

/// The largest file of bytes cut off where line `seq` was to stand, with its size. There is more than one only if the
/// process died while it kept them.
pub(super) fn largest_torn(folder: &Path, seq: u64) -> Result<Option<(u64, PathBuf)>, TrailError> {
    let exact = format!("torn-{seq:012}");
    let mut largest = None;
    for entry in std::fs::read_dir(folder).map_err(TrailError::io("cannot list", folder))? {
        let entry = entry.map_err(TrailError::io("cannot list", folder))?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(&exact)) else { continue };
        if rest.is_empty() || rest.starts_with('-') {
            let length = entry.metadata().map_err(TrailError::io("cannot look at", entry.path()))?.len();
            largest = largest.max(Some((length, entry.path())));
        }
    }
    Ok(largest)
}

fn no_follow() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC).bits().cast_signed()
}

/// A segment opened for appending.
#[derive(Debug)]
pub(super) struct Appender {
    file: File,
    #[cfg(test)]
    pub(super) faults: parking_lot::Mutex<Faults>,
}

/// What the next calls shall do wrong.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) short_write: Option<usize>,
    pub(super) truncate: bool,
    pub(super) sync: bool,
    /// The next sync tells that it began, and waits for a word to go on.
    pub(super) hold_sync: Option<(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>)>,
    /// How many syncs there were.
    pub(super) syncs: usize,
}

impl Appender {
    /// Opens a segment; `new` makes it and fails where there is one.
    pub(super) fn open(segment: &Segment, new: bool) -> Result<Self, TrailError> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(new).mode(0o600).custom_flags(no_follow());
        let file = options.open(&segment.path).map_err(TrailError::io("cannot open", &segment.path))?;
        Ok(Self {
            file,
            #[cfg(test)]
            faults: parking_lot::Mutex::default(),
        })
    }

    /// One `write`; how many bytes it took.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(length) = self.faults.lock().short_write.take() {
            return (&self.file).write(&bytes[..length.min(bytes.len())]);
        }
        loop {
            match (&self.file).write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    pub(super) fn truncate(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.lock().truncate {
            return Err(io::Error::other("injected"));
        }
        self.file.set_len(length)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        {
            let hold = self.faults.lock().hold_sync.take();
            if let Some((began, go_on)) = hold {
                let _ = began.send(());
                let _ = go_on.recv();
            }
            let mut faults = self.faults.lock();
            faults.syncs += 1;
            if faults.sync {
                return Err(io::Error::other("injected"));
            }
        }
        self.file.sync_data()
    }

    /// Whether the segment's name still leads to this file, and the file has at least `length` bytes.
    pub(super) fn is_at(&self, segment: &Segment, length: u64) -> io::Result<bool> {
        let facts = self.file.metadata()?;
        let named = match std::fs::symlink_metadata(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            named => named?,
        };
        Ok((facts.dev(), facts.ino()) == (named.dev(), named.ino()) && facts.len() >= length)
    }

    /// Has the system read the file from the disk again. After a failed sync it may hold pages that never got there.
    pub(super) fn forget_cached(&self) {
        if let Err(error) = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed) {
            // An advice only; some file systems have none.
            tracing::debug!(%error, "the cached pages of the audit trail stay");
        }
    }
}
