use std::fs::Permissions;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use std::path::Path;

use rustix::fs::CWD;

use super::*;
use crate::testkit::{conformance, private_folder as folder};

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn sealed() -> (tempfile::TempDir, PathBuf, FileSeal) {
    let folder = folder();
    let path = folder.path().join("master.key");
    let seal = FileSeal::new(&path);
    seal.prepare().unwrap();
    (folder, path, seal)
}

fn insecure<T: std::fmt::Debug>(outcome: Result<T, SealError>) -> String {
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
        let text = insecure(seal.keys());
        assert!(text.contains("chmod 600"), "{text}");
    }
    set_mode(&path, 0o400);
    seal.keys().unwrap();
}

#[test]
fn folders_others_can_write_to_are_refused() {
    let (folder, path, seal) = sealed();
    for mode in [0o770, 0o702, 0o1777] {
        set_mode(folder.path(), mode);
        let text = insecure(seal.keys());
        assert!(text.contains("chmod go-w"), "{text}");
        let other = FileSeal::new(path.with_file_name("other.key"));
        insecure(other.prepare());
        assert!(!other.exists().unwrap());
    }
    set_mode(folder.path(), 0o755);
    seal.keys().unwrap();
}

#[test]
fn other_owners_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (folder, path, seal) = sealed();
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    let text = insecure(seal.keys());
    // Root is not told to take what is the server's.
    assert!(text.contains("run this as user 12345") && !text.contains("chown"), "{text}");
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    seal.keys().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(12_345), None).unwrap();
    insecure(seal.keys());
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let (_folder, path, _) = sealed();
    let link = path.with_file_name("link.key");
    symlink(&path, &link).unwrap();
    assert!(insecure(FileSeal::new(&link).keys()).contains("symbolic link"));
    assert!(insecure(FileSeal::new(&link).prepare()).contains("symbolic link"));

    let dangling = path.with_file_name("dangling.key");
    symlink(path.with_file_name("nowhere"), &dangling).unwrap();
    assert!(insecure(FileSeal::new(&dangling).prepare()).contains("symbolic link"));
    assert!(!path.with_file_name("nowhere").exists());

    let inner = path.with_file_name("inner");
    std::fs::create_dir(&inner).unwrap();
    assert!(insecure(FileSeal::new(&inner).keys()).contains("plain file"));

    let pipe = path.with_file_name("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    assert!(insecure(FileSeal::new(&pipe).keys()).contains("plain file"));
}

#[test]
fn damaged_files_are_refused() {
    let (_folder, path, seal) = sealed();
    let whole = std::fs::read(&path).unwrap();
    for content in [&whole[..0], &whole[..whole.len() / 2], &whole[..whole.len() - 1], &[b'x'; MAX_FILE + 1]]
    {
        std::fs::write(&path, content).unwrap();
        let error = seal.keys().unwrap_err();
        assert!(matches!(error, SealError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        assert!(seal.prepare().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    let newer = String::from_utf8(whole).unwrap().replacen("key 1", "key 2", 1);
    std::fs::write(&path, newer).unwrap();
    assert!(matches!(seal.keys(), Err(SealError::UnknownVersion { supported: 1, .. })));
}

#[test]
fn a_missing_folder_is_named() {
    let folder = folder();
    let seal = FileSeal::new(folder.path().join("none/master.key"));
    assert!(!seal.exists().unwrap());
    assert!(seal.prepare().unwrap_err().to_string().contains("install -d"));
}

#[test]
fn of_many_creators_one_wins() {
    let folder = folder();
    let path = folder.path().join("master.key");
    let ids: Vec<_> = std::thread::scope(|scope| {
        let create = || {
            let seal = FileSeal::new(&path);
            seal.prepare().unwrap();
            seal.keys().unwrap().active.id
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// systemd hands credentials out as they are.
#[test]
fn a_file_of_thirty_two_bytes_is_a_key() {
    let folder = folder();
    let path = folder.path().join("credential");
    PrivateFile::new(&path, "credential", 100).create(&[7; 32]).unwrap();
    conformance(&|| Box::new(FileSeal::new(&path))).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), [7; 32]);
    assert_eq!(
        FileSeal::new(&path).keys().unwrap().active.id,
        FileSeal::new(&path).keys().unwrap().active.id
    );
    PrivateFile::new(&path, "credential", 100).replace(&[7; 33]).unwrap();
    assert!(matches!(FileSeal::new(&path).prepare(), Err(SealError::Damaged { .. })));
}

/// Keys wrapped under a retired sealing key open; new ones are wrapped under the active one.
#[test]
fn the_sealing_key_can_change() {
    let (_folder, path, seal) = sealed();
    let (cluster, key) = (KeyId::random().unwrap(), crate::MasterKey::random(1).unwrap());
    let before = seal.seal(&key.material, &key.identity(&cluster)).unwrap();
    let former = seal.keys().unwrap();
    let keys = FileKeys { active: FileKey::random().unwrap(), retired: vec![former.active] };
    PrivateFile::new(&path, "sealing key", MAX_FILE).replace(&format::render(&keys)).unwrap();
    assert!(seal.open(&before, &key.identity(&cluster)).unwrap().ct_eq(key.material.expose()));
    let after = seal.seal(&key.material, &key.identity(&cluster)).unwrap();
    assert_eq!(after["sealing_key"], keys.active.id.to_string());

    let alone = FileKeys { active: keys.active, retired: Vec::new() };
    PrivateFile::new(&path, "sealing key", MAX_FILE).replace(&format::render(&alone)).unwrap();
    let error = seal.open(&before, &key.identity(&cluster)).unwrap_err();
    assert!(error.to_string().contains("does not hold the sealing key"), "{error}");
}
