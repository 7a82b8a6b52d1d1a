use std::path::Path;

use chatelaine_seal::recovery::RecoveryKey;

use super::changes::Book;
use super::*;
use crate::config::{PassphraseSealConfig, SealKind};

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.data.folder = folder.to_path_buf();
    config.seal.passphrase =
        PassphraseSealConfig { memory_mib: 8, passes: 1, lanes: 1, ..Default::default() };
    config
}

fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn words(keeper: &Keeper) -> Vec<(Action, Outcome)> {
    keeper.diary().read().unwrap().into_iter().map(|entry| (entry.action, entry.outcome)).collect()
}

#[tokio::test]
async fn keys_are_made_only_where_that_is_allowed() {
    let folder = folder();
    let config = config(folder.path());
    let keeper = Keeper::new(&config).unwrap();
    let refused = keeper.unseal(false).await;
    assert!(matches!(refused, Err(NotUnsealed::Failed(SealError::Missing { .. }))), "{refused:?}");
    assert!(!keeper.exists().unwrap());
    keeper.unseal(true).await.unwrap();
    keeper.unseal(true).await.unwrap();
    let first = keeper.opened().await.as_ref().unwrap().keys.active.id.clone();
    let again = Keeper::new(&config).unwrap();
    again.unseal(true).await.unwrap();
    assert_eq!(again.opened().await.as_ref().unwrap().keys.active.id, first);
    assert_eq!(
        words(&keeper),
        [
            (Action::UnsealMasterKey, Outcome::Failure),
            (Action::SealMasterKey, Outcome::Success),
            (Action::UnsealMasterKey, Outcome::Success),
        ]
    );
}

/// The same refusal again and again is one line.
#[tokio::test(start_paused = true)]
async fn a_sealed_keeper_tries_until_it_opens() {
    let folder = folder();
    let config = config(folder.path());
    Keeper::new(&config).unwrap().unseal(true).await.unwrap();
    let (key, away) = (config.sealing_key_path(), folder.path().join("away"));
    std::fs::rename(&key, &away).unwrap();
    let keeper = Arc::new(Keeper::new(&config).unwrap());
    assert!(matches!(keeper.unseal(false).await, Err(NotUnsealed::Sealed(_))));
    let waiting = {
        let keeper = Arc::clone(&keeper);
        tokio::spawn(async move { keeper.wait_until_unsealed(async || false, Duration::from_secs(10)).await })
    };
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!waiting.is_finished());
    assert!(keeper.problem().unwrap().contains("sealing"), "{:?}", keeper.problem());
    std::fs::rename(&away, &key).unwrap();
    waiting.await.unwrap();
    assert_eq!(keeper.problem(), None);
    let failures = words(&keeper).iter().filter(|(_, outcome)| *outcome == Outcome::Failure).count();
    assert_eq!(failures, 1);
}

#[tokio::test]
async fn nothing_is_changed_while_nothing_is_open() {
    let folder = folder();
    let config = config(folder.path());
    let keeper = Arc::new(Keeper::new(&config).unwrap());
    let error = keeper.add_seal(Book::Diary, SealKind::File, None).await.unwrap_err();
    assert!(error.to_string().contains("unseal it first"), "{error}");
    assert_eq!(
        words(&keeper),
        [(Action::SealMasterKey, Outcome::Pending), (Action::SealMasterKey, Outcome::Failure)]
    );
}

#[tokio::test]
async fn a_passphrase_is_taken_only_where_one_is_wanted() {
    let folder = folder();
    let mut config = config(folder.path());
    let passphrase = || Some(KeyMaterial::copy_from(b"correct horse battery"));
    let keeper = Keeper::new(&config).unwrap();
    let error = keeper.unseal_now(true, passphrase()).await.unwrap_err();
    assert!(error.to_string().contains("no seal waits for one"), "{error}");
    config.seal.kind = SealKind::Passphrase;
    let keeper = Keeper::new(&config).unwrap();
    assert!(keeper.asks_for_passphrase());
    assert!(matches!(keeper.unseal(true).await, Err(NotUnsealed::Sealed(SealError::Unavailable { .. }))));
    keeper.unseal_now(true, passphrase()).await.unwrap();
}

#[tokio::test]
async fn the_status_tells_what_is_kept() {
    let folder = folder();
    let config = config(folder.path());
    let keeper = Arc::new(Keeper::new(&config).unwrap());
    let status = keeper.status(false).await.unwrap();
    assert!(status.sealed && status.keys.is_empty());
    keeper.unseal(true).await.unwrap();
    let key = RecoveryKey::random().unwrap();
    let recipient = key.recipient(&now(), 1, 1).unwrap();
    keeper.set_recovery(Book::Diary, Some(recipient.clone())).await.unwrap();
    let status = keeper.status(true).await.unwrap();
    assert!(!status.sealed && status.running);
    let kinds: Vec<_> = status.keys[0].seals.iter().map(|seal| seal.kind.as_str()).collect();
    assert_eq!(kinds, ["file", "recovery"]);
    assert_eq!(status.recovery.unwrap().fingerprint, recipient.fingerprint());
}

#[test]
fn the_diary_keeps_what_was_written_whole() {
    let folder = folder();
    let diary = Diary::in_folder(folder.path());
    assert_eq!(diary.read().unwrap(), []);
    diary.note(Action::UnsealMasterKey, Outcome::Failure, &"ü".repeat(10_000));
    diary.note(Action::UnsealMasterKey, Outcome::Success, "text");
    let path = folder.path().join("sealed-events.jsonl");
    let mut content = std::fs::read(&path).unwrap();
    content.extend_from_slice(b"{\"time\":");
    std::fs::write(&path, &content).unwrap();
    let read = diary.read().unwrap();
    assert_eq!(read.len(), 2);
    assert!(read[0].text.len() <= 4096 && read[0].text.starts_with("üü"));
    assert_eq!(read[1].text, "text");
    // A full file takes no more, and loses nothing.
    std::fs::write(&path, vec![b'\n'; 1024 * 1024]).unwrap();
    diary.note(Action::UnsealMasterKey, Outcome::Success, "text");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1024 * 1024);
}
