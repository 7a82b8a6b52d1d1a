//! The file seal: master keys in a text file, protected by the file system alone.
//!
//! Owns the file and its format ([`format`](mod@format)). For installations whose machine or disk is protected by other
//! means; a copy of the file is a copy of the keys.
//!
//! Invariants: the file appears whole or not at all, under mode 0600, and never replaces another.
//!
//! Refuses: symbolic links and anything but plain files, modes other than 0600 and 0400, owners other than the server's
//! user and root, folders others can write to, and content that is not exactly as written.

mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::{MasterKey, MasterKeyId, MasterKeys, Seal, SealError};

/// Largest file, in bytes.
const MAX_FILE: usize = 16 * 1024;

/// Master keys in a file.
#[derive(Debug, Clone)]
pub struct FileSeal {
    path: PathBuf,
}

impl FileSeal {
    /// The seal in the file at `path`; nothing is touched yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn insecure(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> SealError {
        SealError::Insecure { path: path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Whoever can write to the folder can put another key in place of this one.
    fn check_folder(&self) -> Result<(), SealError> {
        let folder = self.folder();
        let facts = std::fs::metadata(folder).map_err(SealError::io(
            "cannot look at the folder of the master key (make it with `install -d -m 700`)",
            folder,
        ))?;
        if !facts.is_dir() {
            return Err(Self::insecure(folder, "is not a folder", "name a file in a folder"));
        }
        Self::check_owner(folder, &facts)?;
        if facts.mode() & 0o022 != 0 {
            return Err(Self::insecure(
                folder,
                format!("others can write to the folder (mode {:04o})", facts.mode() & 0o7777),
                format!("run `chmod go-w {}`", folder.display()),
            ));
        }
        Ok(())
    }

    fn check_owner(path: &Path, facts: &Metadata) -> Result<(), SealError> {
        let user = rustix::process::geteuid().as_raw();
        if facts.uid() == user || facts.uid() == 0 {
            return Ok(());
        }
        Err(Self::insecure(
            path,
            format!("belongs to user {}, not to the server's user {user} or root", facts.uid()),
            // Root that takes the file takes it from the server.
            match user {
                0 => format!("run this as user {0}, for example with `sudo -u '#{0}'`", facts.uid()),
                _ => format!(
                    "run this as user {}, or run `chown {user} {}` if you trust its content",
                    facts.uid(),
                    path.display()
                ),
            },
        ))
    }

    fn check_file(&self, facts: &Metadata) -> Result<(), SealError> {
        let path = &self.path;
        if !facts.is_file() {
            return Err(Self::insecure(path, "is not a plain file", "name a plain file"));
        }
        Self::check_owner(path, facts)?;
        let mode = facts.mode() & 0o7777;
        if mode != 0o600 && mode != 0o400 {
            return Err(Self::insecure(
                path,
                format!("has mode {mode:04o}, allowed are 0600 and 0400"),
                format!("run `chmod 600 {}`; if others could read it, rotate the master key", path.display()),
            ));
        }
        Ok(())
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.check_folder()?;
        // Not blocking: a pipe in the file's place shall be refused and not waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)
            .map_err(|error| self.open_error(error))?;
        // The facts of what was opened, not of what the name stands for by then.
        let facts = file.metadata().map_err(SealError::io("cannot look at", &self.path))?;
        self.check_file(&facts)?;
        if facts.len() > MAX_FILE as u64 {
            return Err(SealError::Damaged {
                path: self.path.clone(),
                problem: format!("is longer than {MAX_FILE} bytes"),
            });
        }
        // Room for all of it from the start: growing would leave copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE + 64));
        file.take(MAX_FILE as u64)
            .read_to_end(&mut content)
            .map_err(SealError::io("cannot read", &self.path))?;
        Ok(content)
    }

    fn open_error(&self, error: std::io::Error) -> SealError {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => SealError::Missing { place: self.describe() },
            Some(Errno::LOOP) => {
                Self::insecure(&self.path, "is a symbolic link", "name the file itself in the configuration")
            }
            Some(Errno::ACCESS) => Self::insecure(
                &self.path,
                "the server's user may not read it",
                format!(
                    "run this as the server's user, or, if it is that, `chown {} {}`",
                    rustix::process::geteuid().as_raw(),
                    self.path.display()
                ),
            ),
            _ => SealError::io("cannot open", &self.path)(error),
        }
    }

    /// Writes a new file beside the final place and moves it there, unless something is there already.
    fn write_new(&self, content: &[u8]) -> Result<(), SealError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().ok_or_else(|| {
            Self::insecure(&self.path, "has no file name", "name a file in the configuration")
        })?);
        name.push(format!(".{}.new", MasterKeyId::random()?));
        let temporary = self.folder().join(name);
        let outcome = write_file(&temporary, content).and_then(|()| self.put_in_place(&temporary));
        if outcome.is_err() {
            // The error that led here says more than one from cleaning up.
            let _ = std::fs::remove_file(&temporary);
        }
        outcome?;
        File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(SealError::io("cannot sync", self.folder()))
    }

    fn put_in_place(&self, temporary: &Path) -> Result<(), SealError> {
        let moved = match rustix::fs::renameat_with(CWD, temporary, CWD, &self.path, RenameFlags::NOREPLACE) {
            // File systems without that operation have links.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rustix::fs::link(temporary, &self.path)
                .map(|()| {
                    // A second name of the same file, under the same mode, does no harm.
                    let _ = std::fs::remove_file(temporary);
                }),
            other => other,
        };
        moved.map_err(|error| match error {
            Errno::EXIST => SealError::Exists { place: self.describe() },
            other => SealError::io("cannot make", &self.path)(other.into()),
        })
    }
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), SealError> {
    let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .map_err(SealError::io("cannot make", path))?;
    // The process's mask may have taken bits away.
    rustix::fs::fchmod(&file, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .map_err(|error| SealError::io("cannot set the mode of", path)(error.into()))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(SealError::io("cannot write", path))
}

impl Seal for FileSeal {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn exists(&self) -> Result<bool, SealError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SealError::io("cannot look at", &self.path)(error)),
        }
    }

    fn unseal(&self) -> Result<MasterKeys, SealError> {
        let content = self.read()?;
        format::parse(&content).map_err(|problem| match problem {
            format::Problem::UnknownVersion => {
                SealError::UnknownVersion { path: self.path.clone(), supported: format::VERSION }
            }
            format::Problem::Damaged(problem) => SealError::Damaged { path: self.path.clone(), problem },
        })
    }

    fn create(&self) -> Result<MasterKeys, SealError> {
        self.check_folder()?;
        if self.exists()? {
            return Err(SealError::Exists { place: self.describe() });
        }
        let keys = MasterKeys { active: MasterKey::random()?, retired: Vec::new() };
        self.write_new(&format::render(&keys))?;
        Ok(keys)
    }
}
