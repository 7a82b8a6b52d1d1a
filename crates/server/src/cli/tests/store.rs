//! `store backup` and `store restore`, on real files.

use std::time::Duration;

use chatelaine_core::clock::SystemClock;
use chatelaine_store::embedded::Options;
use chatelaine_store::{EmbeddedStore, embedded_file};

use super::*;
use crate::config::{Config, Sources};
use crate::startup;

struct Place {
    bench: Bench,
    setting: String,
}

impl Place {
    /// A data folder after a first start, in a folder of that name.
    async fn new(name: &str) -> Self {
        let bench = Bench::new().await;
        let setting = format!("data.folder={}", bench.path(name).display());
        let place = Self { bench, setting };
        drop(startup::open_at_once(&place.config()).await.unwrap());
        place
    }

    fn config(&self) -> Config {
        let overrides = vec![self.setting.clone()];
        crate::config::load(&Sources { overrides, ..Sources::default() }).unwrap()
    }

    fn store(&self) -> PathBuf {
        embedded_file(&self.config().store_url()).unwrap().unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> Outcome {
        self.bench.plain(&[&["--set", &self.setting], arguments].concat()).await
    }

    async fn note(&self, name: &str) {
        let store = EmbeddedStore::open(&self.store(), &Options::default()).unwrap();
        let keyring = keyring(&self.config());
        keyring.set_note(&store, &SystemClock, name, b"noted").await.unwrap();
    }

    async fn has_note(&self, name: &str) -> bool {
        let store = EmbeddedStore::open_read_only(&self.store()).unwrap();
        let keyring = keyring(&self.config());
        keyring.note(&store, name).await.unwrap().is_some()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_the_place_of_the_store() {
    let place = Place::new("data").await;
    place.note("early").await;
    let copy = place.bench.path("copy.db").display().to_string();
    place.run(&["store", "backup", &copy]).await.ends(0);
    place.note("late").await;
    let outcome = place.run(&["--format", "json", "store", "restore", &copy]).await.ends(0);
    let kept = PathBuf::from(outcome.json()["kept"].as_str().unwrap());
    assert!(kept.exists() && outcome.errors.contains("store check"), "{}", outcome.errors);
    assert!(place.has_note("early").await && !place.has_note("late").await);
    place.run(&["store", "check"]).await.ends(0);

    // Without a store in the place, as on a new machine.
    std::fs::remove_file(place.store()).unwrap();
    let outcome = place.run(&["store", "restore", &copy]).await.ends(0);
    assert!(outcome.text().starts_with("restored to "), "{}", outcome.text());
    assert!(place.has_note("early").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_another_master_key_is_refused() {
    let (place, other) = (Place::new("data").await, Place::new("data").await);
    let copy = place.bench.path("copy.db").display().to_string();
    other.run(&["store", "backup", &copy]).await.ends(0);
    let before = std::fs::read(place.store()).unwrap();
    let outcome = place.run(&["store", "restore", &copy]).await.ends(1);
    assert!(outcome.errors.contains("another master key"), "{}", outcome.errors);
    let unused = place.bench.path("unused.db");
    drop(EmbeddedStore::open(&unused, &Options::default()).unwrap());
    let outcome = place.run(&["store", "restore", &unused.display().to_string()]).await.ends(1);
    assert!(outcome.errors.contains("no server has used it"), "{}", outcome.errors);
    assert_eq!(std::fs::read(place.store()).unwrap(), before);
    let names = std::fs::read_dir(place.store().parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("restor")), "{names:?}");

    let keys = place.config().sealed_keys_path();
    std::fs::rename(&keys, place.bench.path("away")).unwrap();
    let outcome = place.run(&["store", "restore", &copy]).await.ends(1);
    assert!(outcome.errors.contains("restore the master key first"), "{}", outcome.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_keeps_its_store_and_a_leftover_log_is_seen() {
    let place = Place::new("data").await;
    let copy = place.bench.path("copy.db").display().to_string();
    place.run(&["store", "backup", &copy]).await.ends(0);
    let socket = tokio::net::UnixListener::bind(place.config().control_path()).unwrap();
    let outcome = place.run(&["store", "restore", &copy]).await.ends(6);
    assert!(outcome.errors.contains("systemctl stop"), "{}", outcome.errors);
    drop(socket);

    // What copying the file by hand, after a crash, comes to.
    let store = place.store();
    std::fs::copy(&copy, &store).unwrap();
    std::fs::write(format!("{}-wal", store.display()), [7; 4128]).unwrap();
    let outcome = place.run(&["doctor"]).await.ends(1);
    assert!(outcome.text().contains("store restore"), "{}", outcome.text());
    let error = startup::open_at_once(&place.config()).await.err().unwrap();
    assert!(format!("{error:#}").contains("store restore"), "{error:#}");
    place.run(&["store", "restore", &copy]).await.ends(0);
    let opened = tokio::time::timeout(Duration::from_secs(30), startup::open_at_once(&place.config())).await;
    assert!(opened.unwrap().is_ok(), "the server starts with it");
}
