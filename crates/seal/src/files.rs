//! Files that only the server's user may read: they appear whole or not at all, under mode 0600.
//!
//! Refuses: symbolic links and anything but plain files, modes other than 0600 and 0400, owners other than the server's
//! user and root, folders others can write to.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::{KeyId, SealError, ownership};

/// A private file.
#[derive(Debug, Clone)]
pub(crate) struct PrivateFile {
    path: PathBuf,
    /// What it holds, for messages.
    what: &'static str,
    /// The largest it may be, in bytes.
    limit: usize,
}

impl PrivateFile {
    /// The file at `path`; nothing is touched yet.
    pub(crate) fn new(path: impl Into<PathBuf>, what: &'static str, limit: usize) -> Self {
        Self { path: path.into(), what, limit }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    /// Whether there is anything under its name.
    pub(crate) fn exists(&self) -> Result<bool, SealError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SealError::io("cannot look at", &self.path)(error)),
        }
    }

    /// Makes the file; there must be none.
    pub(crate) fn create(&self, content: &[u8]) -> Result<(), SealError> {
        self.check_folder()?;
        if self.exists()? {
            return Err(SealError::Exists { what: self.what, place: self.describe() });
        }
        self.write(content, Self::put_in_place)
    }

    /// Puts new content in the place of the old.
    pub(crate) fn replace(&self, content: &[u8]) -> Result<(), SealError> {
        self.check_folder()?;
        self.write(content, |file, temporary| {
            std::fs::rename(temporary, &file.path).map_err(SealError::io("cannot replace", &file.path))
        })
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Whoever can write to the folder can put another key in place of this one.
    fn check_folder(&self) -> Result<(), SealError> {
        let folder = self.folder();
        let facts = std::fs::metadata(folder)
            .map_err(SealError::io("cannot look at the folder (make it with `install -d -m 700`)", folder))?;
        ownership::check_folder(folder, &facts).map_err(|doubt| SealError::doubted(folder, doubt))
    }

    fn check_file(&self, facts: &Metadata) -> Result<(), SealError> {
        let path = &self.path;
        if !facts.is_file() {
            return Err(SealError::insecure(path, "is not a plain file", "name a plain file"));
        }
        ownership::check_owner(path, facts).map_err(|doubt| SealError::doubted(path, doubt))?;
        let mode = facts.mode() & 0o7777;
        // systemd gives credentials to a service's user by an access list, whose mask shows as the group's right to read.
        let credential = mode == 0o440 && facts.uid() == 0 && facts.gid() == 0;
        if mode != 0o600 && mode != 0o400 && !credential {
            return Err(SealError::insecure(
                path,
                format!("has mode {mode:04o}, allowed are 0600 and 0400"),
                format!(
                    "run `chmod 600 {}`; if others could read it, rotate what it protects",
                    path.display()
                ),
            ));
        }
        Ok(())
    }

    /// The content.
    pub(crate) fn read(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if !self.exists()? {
            return Err(SealError::Missing { what: self.what, place: self.describe() });
        }
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
        if facts.len() > self.limit as u64 {
            return Err(SealError::Damaged {
                path: self.path.clone(),
                problem: format!("is longer than {} bytes", self.limit),
            });
        }
        // Room for all of it from the start: growing would leave copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(self.limit.min(64 * 1024).saturating_add(64)));
        file.take(self.limit as u64)
            .read_to_end(&mut content)
            .map_err(SealError::io("cannot read", &self.path))?;
        Ok(content)
    }

    /// The one line that the content is, without its end.
    pub(crate) fn read_line(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut content = self.read()?;
        for end in [b'\n', b'\r'] {
            if content.last() == Some(&end) {
                content.pop();
            }
        }
        // Two bytes of the limit are for the end of the line.
        let longest = self.limit.saturating_sub(2);
        if content.is_empty() || content.len() > longest || content.contains(&b'\n') {
            return Err(SealError::damaged(
                &self.path,
                format!("must hold one line of 1 to {longest} bytes"),
            ));
        }
        Ok(content)
    }

    fn open_error(&self, error: std::io::Error) -> SealError {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => SealError::Missing { what: self.what, place: self.describe() },
            Some(Errno::LOOP) => SealError::insecure(
                &self.path,
                "is a symbolic link",
                "name the file itself in the configuration",
            ),
            Some(Errno::ACCESS) => SealError::insecure(
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

    /// Writes a new file beside the final place and moves it there.
    fn write(
        &self,
        content: &[u8],
        put_in_place: impl FnOnce(&Self, &Path) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().ok_or_else(|| {
            SealError::insecure(&self.path, "has no file name", "name a file in the configuration")
        })?);
        name.push(format!(".{}.new", KeyId::random()?));
        let temporary = self.folder().join(name);
        let outcome = write_file(&temporary, content).and_then(|()| put_in_place(self, &temporary));
        if outcome.is_err() {
            // The error that led here says more than one from cleaning up.
            let _ = std::fs::remove_file(&temporary);
        }
        outcome?;
        File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(SealError::io("cannot sync", self.folder()))
    }

    /// Moves a file to the final place, unless something is there already.
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
            Errno::EXIST => SealError::Exists { what: self.what, place: self.describe() },
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
