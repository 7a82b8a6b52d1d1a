//! A start beside what was lost is refused; nothing is made anew in its place.

use chatelaine_core::Timestamp;
use chatelaine_core::id::{SecretId, Version};
use chatelaine_core::store::{Change, IndexAttributes, Record};

use super::*;

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.data.folder = folder.join("data");
    config
}

async fn refused(config: &Config) -> String {
    let Err(error) = open_at_once(config).await else { panic!("it starts") };
    format!("{error:#}")
}

/// T-STORE-LOSS: a store whose disk is not mounted is not silently replaced by an empty one, however often it is tried.
#[tokio::test]
async fn an_empty_store_beside_a_trail_with_events_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.store.url = format!("sqlite://{}", folder.path().join("disk/store.db").display());
    drop(open_at_once(&config).await.unwrap());
    drop(open_at_once(&config).await.unwrap());
    let (disk, away) = (folder.path().join("disk"), folder.path().join("away"));
    std::fs::rename(&disk, &away).unwrap();
    for _ in 0..2 {
        let refusal = refused(&config).await;
        assert!(refusal.contains("is the store's disk mounted"), "{refusal}");
    }
    std::fs::remove_dir_all(&disk).unwrap();
    std::fs::rename(&away, &disk).unwrap();
    drop(open_at_once(&config).await.unwrap());
    // To begin anew is possible, on purpose.
    std::fs::remove_dir_all(&disk).unwrap();
    std::fs::rename(config.audit_path(), folder.path().join("old-audit")).unwrap();
    drop(open_at_once(&config).await.unwrap());
}

#[tokio::test]
async fn a_store_in_memory_is_always_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.store.url = "memory:".to_owned();
    drop(open_at_once(&config).await.unwrap());
    drop(open_at_once(&config).await.unwrap());
}

/// New identities beside keys of older ones would make every key unknown to everybody.
#[tokio::test]
async fn lost_identities_are_not_replaced_where_there_are_keys() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let opened = open_at_once(&config).await.unwrap();
    let file = config.data.folder.join("identities.toml");
    let tokens = opened.first_start.clone().unwrap().clouds_file;
    drop(opened);
    std::fs::remove_file(&tokens).unwrap();
    let away = folder.path().join("identities.toml");
    std::fs::rename(&file, &away).unwrap();
    // Without keys a new first start harms nobody.
    let made = open_at_once(&config).await.unwrap().first_start;
    std::fs::remove_file(made.unwrap().clouds_file).unwrap();
    std::fs::remove_file(&file).unwrap();

    let record = Record {
        kind: Kind::SECRET,
        id: SecretId::random().to_string(),
        project: "p".to_owned(),
        created: Timestamp::EPOCH,
        version: Version::FIRST,
        attributes: IndexAttributes::default(),
        body: vec![1],
    };
    let store = store(&config).await.unwrap();
    store.apply(vec![Change::Create(record)]).await.unwrap();
    drop(store);
    for _ in 0..2 {
        let refusal = refused(&config).await;
        assert!(refusal.contains("identities.toml") && refusal.contains("identity add"), "{refusal}");
        assert!(!file.exists() && !tokens.exists());
    }
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(open_at_once(&config).await.unwrap().first_start, None);
}
