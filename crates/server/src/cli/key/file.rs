//! Files and streams that hold secrets: read whole into wiped memory, written for the owner alone.
//!
//! Invariants: a buffer that holds secret bytes never grows; a file is never overwritten; what is said about a file
//! is found out on the open file, so that it cannot be exchanged in between.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Opens a file for reading; folders are refused in words.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder"));
    }
    Ok(file)
}

/// Whether users who are neither the owner nor in the file's group can read or change it.
pub(crate) fn others_can_reach(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.mode() & 0o006 != 0)
}

/// Reads to the end, at most `limit` bytes, into a buffer that is wiped.
pub(crate) fn read_wiping(source: &mut dyn Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // One byte more than allowed tells a file that is too long.
    let mut buffer = Zeroizing::new(vec![0_u8; limit.saturating_add(1)]);
    let mut filled = 0_usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if filled > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes")));
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// A new file with mode 0600 that vanishes again unless it is finished.
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl NewFile {
    /// Creates it; a file, link or folder of that name is an error.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { path: path.to_path_buf(), file, finished: false })
    }

    /// Writes it to the disk.
    pub(crate) fn finish(mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed stays behind as an empty or partial file of mode 0600; the error was told already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_limit() {
        assert_eq!(read_wiping(&mut &b"12345678"[..], 8).unwrap().as_slice(), b"12345678");
        let error = read_wiping(&mut &b"123456789"[..], 8).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 8 bytes");
        assert!(read_wiping(&mut io::empty(), 8).unwrap().is_empty());
        assert!(read_wiping(&mut io::repeat(7), 8).is_err());
    }

    #[test]
    fn new_files_are_private_and_vanish_unless_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        drop(NewFile::create(&path).unwrap());
        assert!(!path.exists());
        NewFile::create(&path).unwrap().finish(b"abc").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(NewFile::create(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }
}
