use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::testkit::conformance;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn sealed() -> (tempfile::TempDir, PathBuf, FileSeal) {
    let folder = folder();
    let path = folder.path().join("master.key");
    let seal = FileSeal::new(&path);
    seal.create().unwrap();
    (folder, path, seal)
}

fn insecure(outcome: Result<MasterKeys, SealError>) -> String {
    match outcome {
        Err(error @ SealError::Insecure { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn conforms() {
    let folder = folder();
    let path = folder.path().join("master.key");
    conformance(&|| Box::new(FileSeal::new(&path))).unwrap();
}

#[test]
fn the_file_is_private_and_alone() {
    let (folder, path, _) = sealed();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

/// T-KEYFILE-READABLE: a key file that others can read or change is refused.
#[test]
fn modes_that_let_others_in_are_refused() {
    let (_folder, path, seal) = sealed();
    for mode in [0o640, 0o604, 0o620, 0o666, 0o700, 0o4600] {
        set_mode(&path, mode);
        let text = insecure(seal.unseal());
        assert!(text.contains("chmod 600"), "{text}");
    }
    set_mode(&path, 0o400);
    seal.unseal().unwrap();
}

#[test]
fn folders_others_can_write_to_are_refused() {
    let (folder, path, seal) = sealed();
    for mode in [0o770, 0o702, 0o1777] {
        set_mode(folder.path(), mode);
        let text = insecure(seal.unseal());
        assert!(text.contains("chmod go-w"), "{text}");
        let other = FileSeal::new(path.with_file_name("other.key"));
        insecure(other.create());
        assert!(!other.exists().unwrap());
    }
    set_mode(folder.path(), 0o755);
    seal.unseal().unwrap();
}

#[test]
fn other_owners_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (folder, path, seal) = sealed();
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    let text = insecure(seal.unseal());
    // Root is not told to take what is the server's.
    assert!(text.contains("run this as user 12345") && !text.contains("chown"), "{text}");
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    seal.unseal().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(12_345), None).unwrap();
    insecure(seal.unseal());
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let (_folder, path, _) = sealed();
    let link = path.with_file_name("link.key");
    symlink(&path, &link).unwrap();
    assert!(insecure(FileSeal::new(&link).unseal()).contains("symbolic link"));
    assert!(matches!(FileSeal::new(&link).create(), Err(SealError::Exists { .. })));

    let dangling = path.with_file_name("dangling.key");
    symlink(path.with_file_name("nowhere"), &dangling).unwrap();
    assert!(matches!(FileSeal::new(&dangling).create(), Err(SealError::Exists { .. })));
    assert!(!path.with_file_name("nowhere").exists());

    let inner = path.with_file_name("inner");
    std::fs::create_dir(&inner).unwrap();
    assert!(insecure(FileSeal::new(&inner).unseal()).contains("plain file"));

    let pipe = path.with_file_name("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    assert!(insecure(FileSeal::new(&pipe).unseal()).contains("plain file"));
}

#[test]
fn damaged_files_are_refused() {
    let (_folder, path, seal) = sealed();
    let whole = std::fs::read(&path).unwrap();
    for content in [&whole[..0], &whole[..whole.len() / 2], &whole[..whole.len() - 1], &[b'x'; MAX_FILE + 1]]
    {
        std::fs::write(&path, content).unwrap();
        let error = seal.unseal().unwrap_err();
        assert!(matches!(error, SealError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        assert!(matches!(seal.create(), Err(SealError::Exists { .. })));
    }
    let newer = String::from_utf8(whole).unwrap().replacen("key 1", "key 2", 1);
    std::fs::write(&path, newer).unwrap();
    assert!(matches!(seal.unseal(), Err(SealError::UnknownVersion { supported: 1, .. })));
}

#[test]
fn a_missing_folder_is_named() {
    let folder = folder();
    let seal = FileSeal::new(folder.path().join("none/master.key"));
    assert!(!seal.exists().unwrap());
    assert!(seal.create().unwrap_err().to_string().contains("install -d"));
}

#[test]
fn of_many_creators_one_wins() {
    let folder = folder();
    let path = folder.path().join("master.key");
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| FileSeal::new(&path).create())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut created = outcomes.into_iter().filter_map(|outcome| match outcome {
        Ok(keys) => Some(keys),
        Err(SealError::Exists { .. }) => None,
        Err(error) => panic!("{error}"),
    });
    let winner = created.next().unwrap();
    assert!(created.next().is_none());
    assert_eq!(FileSeal::new(&path).unseal().unwrap().active.id, winner.active.id);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn races_lost_at_the_last_step_leave_the_file_alone() {
    let (folder, path, seal) = sealed();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(seal.write_new(b"other"), Err(SealError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
