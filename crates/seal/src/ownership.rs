//! Whose a file or folder is, and who else can get at it: what is asked of everything that decides who may do what.
//!
//! Refuses: owners other than the process's user and root, and folders that others can write to.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Why something in a file cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

/// What to do about something that belongs to `owner` and is refused to `user`. Root is not told to take it: the server
/// could not use it any more.
#[must_use]
pub fn as_its_owner(user: u32, owner: u32, path: &Path) -> String {
    let run = format!("run this as user {owner}, for example with `sudo -u '#{owner}'`");
    if user == 0 {
        return run;
    }
    format!("{run}, or run `chown {user} {}` if you trust its content", path.display())
}

/// Whether a file or folder belongs to the process's user or to root.
///
/// # Errors
/// [`Doubt`] where it is somebody else's.
pub fn check_owner(path: &Path, facts: &Metadata) -> Result<(), Doubt> {
    let user = rustix::process::geteuid().as_raw();
    if facts.uid() == user || facts.uid() == 0 {
        return Ok(());
    }
    Err(Doubt {
        problem: format!("belongs to user {}, not to the server's user {user} or root", facts.uid()),
        remedy: as_its_owner(user, facts.uid(), path),
    })
}

/// Whether nobody else can put another file in place of one in this folder.
///
/// # Errors
/// [`Doubt`] where somebody can, or where it is no folder.
pub fn check_folder(folder: &Path, facts: &Metadata) -> Result<(), Doubt> {
    if !facts.is_dir() {
        return Err(Doubt {
            problem: "is not a folder".to_owned(),
            remedy: "name a file in a folder".to_owned(),
        });
    }
    check_owner(folder, facts)?;
    if facts.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Doubt {
        problem: format!("others can write to the folder (mode {:04o})", facts.mode() & 0o7777),
        remedy: format!("run `chmod go-w {}`", folder.display()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn root_is_not_told_to_take_the_server_s_files() {
        let path = Path::new("/var/lib/chatelaine");
        assert_eq!(as_its_owner(0, 991, path), "run this as user 991, for example with `sudo -u '#991'`");
        assert!(
            as_its_owner(7, 991, path).ends_with("`chown 7 /var/lib/chatelaine` if you trust its content")
        );
    }

    #[test]
    fn folders_that_others_can_write_to_are_doubted() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path| check_folder(path, &std::fs::metadata(path).unwrap());
        for (mode, good) in [(0o700, true), (0o755, true), (0o770, false), (0o707, false)] {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check(folder.path()).is_ok(), good, "{mode:o}");
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(check(&file).unwrap_err().to_string(), "is not a folder; name a file in a folder");
    }
}
