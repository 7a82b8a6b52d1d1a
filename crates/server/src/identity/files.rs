//! Files that decide who may do what: reading them guardedly, writing them whole.
//!
//! Invariants: a file is believed only if nobody but the server's user, root and, for reading, the file's group can get
//! at it; a file appears whole or not at all; a new file never replaces another; a replaced file keeps owner and mode.
//! Refuses anything but plain files, access by others, folders that others can write to, and files that are too long.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chatelaine_client::SecretText;
use chatelaine_seal::ownership::{self, Doubt};
use rustix::fs::{CWD, FlockOperation, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::IdentityError;

/// How long a command waits for another one that edits the same file.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Longest password or secret, in bytes.
const SECRET_LIMIT: usize = 4096;

/// What distinguishes one state of a file from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(facts: &Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }

    /// The state of whatever `path` leads to now; `None` when it leads nowhere.
    pub(super) fn now(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|facts| Self::of(&facts))
    }
}

/// A file as it was read.
pub(super) struct Content {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) stamp: Stamp,
}

/// Reads a file after checking who can get at it. `None` when there is none.
pub(super) fn read(path: &Path, limit: usize) -> Result<Option<Content>, IdentityError> {
    // Not blocking: a pipe in the file's place shall be refused and not waited for.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IdentityError::io("cannot open", path)(error)),
    };
    // The facts of what was opened, not of what the name stands for by then.
    let facts = file.metadata().map_err(IdentityError::io("cannot look at", path))?;
    check_file(path, &facts)?;
    let too_long =
        || IdentityError::file(path, format!("is longer than {limit} bytes"), "is it the right file?");
    if facts.len() > limit as u64 {
        return Err(too_long());
    }
    // Room for all of it from the start: growing would leave unwiped copies of a password behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.min(facts.len() as usize).saturating_add(64)));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(IdentityError::io("cannot read", path))?;
    if bytes.len() > limit {
        return Err(too_long());
    }
    Ok(Some(Content { bytes, stamp: Stamp::of(&facts) }))
}

/// Reads a password or secret: the file's text less one line end.
pub(crate) fn read_secret(setting: &'static str, path: &Path) -> Result<SecretText, IdentityError> {
    let content = read(path, SECRET_LIMIT)?.ok_or_else(|| {
        IdentityError::setting(
            setting,
            format!("names {}, which does not exist", path.display()),
            "make it with mode 0600, owned by the server's user",
        )
    })?;
    let text = std::str::from_utf8(&content.bytes).map_err(|_| {
        IdentityError::file(path, "is not text in UTF-8", "write the plain password or secret")
    })?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() || text.contains(['\n', '\0']) {
        return Err(IdentityError::file(
            path,
            "must hold exactly one line",
            "write the password or secret into it",
        ));
    }
    Ok(SecretText::new(text))
}

fn check_file(path: &Path, facts: &Metadata) -> Result<(), IdentityError> {
    if !facts.is_file() {
        return Err(IdentityError::file(path, "is not a plain file", "name a plain file"));
    }
    ownership::check_owner(path, facts).map_err(|doubt| doubted(path, doubt))?;
    let mode = facts.mode() & 0o7777;
    if mode & 0o027 == 0 {
        return Ok(());
    }
    Err(IdentityError::file(
        path,
        format!("has mode {mode:04o}: others may have no access and the group may not write"),
        format!(
            "run `chmod u=rw,g-w,o= {0}`; if others could read {0}, replace the secrets in it",
            path.display()
        ),
    ))
}

/// Whoever can write to the folder can put another file in place of the right one.
pub(super) fn check_folder(folder: &Path) -> Result<(), IdentityError> {
    let facts = std::fs::metadata(folder).map_err(IdentityError::io("cannot look at the folder", folder))?;
    ownership::check_folder(folder, &facts).map_err(|doubt| doubted(folder, doubt))
}

fn doubted(path: &Path, Doubt { problem, remedy }: Doubt) -> IdentityError {
    IdentityError::file(path, problem, remedy)
}

/// Makes a folder and its parents with mode 0700; what exists stays as it is.
pub(super) fn make_folder(folder: &Path) -> Result<(), IdentityError> {
    crate::platform::make_folders(folder).map_err(IdentityError::io("cannot make the folder", folder))
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, ending: &str) -> Result<PathBuf, IdentityError> {
    let name = path
        .file_name()
        .ok_or_else(|| IdentityError::file(path, "has no file name", "name a file in the configuration"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(ending);
    Ok(folder_of(path).join(hidden))
}

/// Writes a new file; whatever has that name already stays and makes this fail.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    place(path, content, None, |temporary| rename_new(temporary, path))
}

/// Replaces a file, keeping its owner and mode.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let facts = std::fs::metadata(path).map_err(IdentityError::io("cannot look at", path))?;
    place(path, content, Some(&facts), |temporary| {
        std::fs::rename(temporary, path).map_err(IdentityError::io("cannot replace", path))
    })
}

/// Gives a file another name in the same folder, unless something has that name.
pub(super) fn rename_new(from: &Path, to: &Path) -> Result<(), IdentityError> {
    let moved = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without that operation have links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::link(from, to).and_then(|()| rustix::fs::unlink(from))
        }
        other => other,
    };
    moved.map_err(|error| match error {
        Errno::EXIST => IdentityError::file(to, "exists already and is not overwritten", "move it away"),
        other => IdentityError::io("cannot make", to)(other.into()),
    })
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), IdentityError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(IdentityError::io("cannot sync", folder))
}

fn place(
    path: &Path,
    content: &[u8],
    like: Option<&Metadata>,
    put: impl FnOnce(&Path) -> Result<(), IdentityError>,
) -> Result<(), IdentityError> {
    let temporary = beside(path, &format!(".{}.new", uuid::Uuid::new_v4().simple()))?;
    let outcome = write_new(&temporary, content, like).and_then(|()| put(&temporary));
    if outcome.is_err() {
        // The error that led here says more than one from cleaning up.
        let _ = std::fs::remove_file(&temporary);
    }
    outcome?;
    sync_folder(folder_of(path))
}

fn write_new(path: &Path, content: &[u8], like: Option<&Metadata>) -> Result<(), IdentityError> {
    let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .map_err(IdentityError::io("cannot make", path))?;
    let mut mode = Mode::RUSR | Mode::WUSR;
    if let Some(like) = like {
        let own = file.metadata().map_err(IdentityError::io("cannot look at", path))?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            rustix::fs::fchown(&file, Some(Uid::from_raw(like.uid())), Some(Gid::from_raw(like.gid())))
                .map_err(|error| IdentityError::io("cannot keep the owner in", path)(error.into()))?;
        }
        mode = Mode::from_raw_mode(like.mode() & 0o7777);
    }
    // The process's mask may have taken bits away.
    rustix::fs::fchmod(&file, mode)
        .map_err(|error| IdentityError::io("cannot set the mode of", path)(error.into()))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(IdentityError::io("cannot write", path))
}

/// Held while a file is edited; the lock is a file of its own beside it, because the edited one is replaced.
#[derive(Debug)]
pub(super) struct EditLock(#[expect(dead_code, reason = "closing it lets go of the lock")] File);

impl EditLock {
    /// Waits for whoever edits the file now, at most five seconds. The folder is checked first.
    pub(super) fn take(path: &Path) -> Result<Self, IdentityError> {
        check_folder(folder_of(path))?;
        let lock = beside(path, ".lock")?;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&lock)
            .map_err(IdentityError::io("cannot open the lock", &lock))?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(IdentityError::file(
                        path,
                        "is being edited by another process",
                        "wait for that one to end and try again",
                    ));
                }
                Err(error) => return Err(IdentityError::io("cannot lock", &lock)(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn only_modes_that_keep_others_out_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "x").unwrap();
        for (bits, good) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o604, false),
            (0o602, false),
            (0o620, false),
            (0o601, false),
        ] {
            chmod(&path, bits);
            assert_eq!(read(&path, 10).is_ok(), good, "{bits:o}");
        }
        assert!(read(folder.path(), 10).is_err_and(|error| error.to_string().contains("plain file")));
        assert!(read(&folder.path().join("none"), 10).unwrap().is_none());
        chmod(&path, 0o600);
        std::fs::write(&path, "x".repeat(11)).unwrap();
        assert!(read(&path, 10).is_err_and(|error| error.to_string().contains("longer than 10")));
    }

    #[test]
    fn secrets_lose_one_line_end_and_must_be_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, expected) in
            [("pass word", Some("pass word")), ("p\n", Some("p")), ("p\r\n", Some("p")), (" p ", Some(" p "))]
                .into_iter()
                .chain(["", "\n", "a\nb", "p\n\n"].map(|bad| (bad, None)))
        {
            std::fs::write(&path, text).unwrap();
            chmod(&path, 0o600);
            let secret = read_secret("identity.keystone.password_file", &path).ok();
            assert_eq!(secret.as_ref().map(SecretText::expose), expected, "{text:?}");
        }
        std::fs::write(&path, b"canary\xff").unwrap();
        let error = read_secret("identity.keystone.password_file", &path).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
        let missing =
            read_secret("identity.keystone.password_file", &folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().starts_with("identity.keystone.password_file:"), "{missing}");
    }

    #[test]
    fn a_new_file_is_private_and_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        create(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(create(&path, b"two").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        chmod(&path, 0o640);
        replace(&path, b"three").unwrap();
        assert_eq!((mode(&path), std::fs::read(&path).unwrap()), (0o640, b"three".to_vec()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_folder_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_folder(&inner).unwrap();
        assert_eq!((mode(&inner), mode(&folder.path().join("a"))), (0o700, 0o700));
        check_folder(&inner).unwrap();
        chmod(&inner, 0o770);
        assert!(EditLock::take(&inner.join("f")).is_err());
        chmod(&inner, 0o755);
        let held = EditLock::take(&inner.join("f")).unwrap();
        assert_eq!(mode(&inner.join(".f.lock")), 0o600);
        drop(held);
    }
}
