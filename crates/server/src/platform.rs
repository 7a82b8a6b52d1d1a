//! What the process asks of the operating system for the sake of its secrets and of what must last.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps and attaching debuggers of the same user off, and says what could not be done.
#[must_use]
pub fn protect() -> Vec<String> {
    let mut problems = Vec::new();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        problems.push(format!("core dumps cannot be turned off ({error}): a crash could write keys to disk"));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        problems.push(format!(
            "the process cannot be made undumpable ({error}): its user's debuggers can read its memory"
        ));
    }
    problems
}

/// Whether keys in memory are locked against the swap; `None` when all is well, otherwise what is wrong and what to do.
pub fn memory_lock_problem() -> Option<&'static str> {
    use chatelaine_crypto::{MemoryLock, memory_lock};
    match memory_lock() {
        MemoryLock::Locked => None,
        _ => Some(
            "keys in memory are not locked against the swap: allow it with LimitMEMLOCK=infinity (systemd) or \
             `ulimit -l unlimited`, or run without swap",
        ),
    }
}

/// Makes a folder and those above it that are missing (mode 0700), each so that it survives a power cut.
///
/// # Errors
/// Those of the operating system.
pub fn make_folders(folder: &Path) -> std::io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing: Vec<_> = folder.ancestors().take_while(|level| !level.exists()).collect();
    for level in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(level) {
            // Somebody else may have been faster, and not have come to the flush.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Some(above) = level.parent() {
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}

/// The machine's name, where it has one.
pub fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty())
}

/// Makes one folder (mode 0700) that must not be there yet.
///
/// # Errors
/// Those of the operating system.
pub fn make_new_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_missing_level_is_made_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        make_folders(&deep).unwrap();
        make_folders(&deep).unwrap();
        for level in deep.ancestors().take(3) {
            assert_eq!(level.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", level.display());
        }
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folders(&folder.path().join("file/below")).is_err());
    }
}
