//! What a database must be, and what is done to it: schemas, rights, primaries, TLS.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_core::store::{Change, Kind, Query, Store, StoreError};
use chatelaine_store::sql::{Address, Options, Password, SqlStore};

use crate::checker::{KIND, record};
use crate::servers::{MariaDb, Postgres, Server, USER, open, options, try_open};

fn unavailable<T>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

/// Several servers start at once on an empty database, and one of a newer schema is told from one that is only larger.
async fn schemas(server: &dyn Server) {
    server.make("house");
    let url = server.url("house");
    let address = Address::parse(&url).unwrap();
    assert!(SqlStore::is_empty(&address, &options()).await.unwrap());
    let text = unavailable(SqlStore::open_read_only(&address, &options()).await);
    assert!(text.contains("holds no store"), "{text}");
    let starting: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { open(&url).await })
        })
        .collect();
    for (number, store) in starting.into_iter().enumerate() {
        let id = format!("from {number}");
        store.await.unwrap().apply(vec![Change::Create(record(&id, 1, b"x"))]).await.unwrap();
    }
    let store = open(&url).await;
    assert_eq!(store.count(&Query::of(KIND)).await.unwrap(), 6);
    assert!(!SqlStore::is_empty(&address, &options()).await.unwrap());

    let reader = SqlStore::open_read_only(&address, &options()).await.unwrap();
    assert_eq!(reader.kinds().await.unwrap(), [KIND]);
    reader.health().await.unwrap();
    let text = unavailable(reader.apply(vec![Change::Create(record("no", 1, b"x"))]).await);
    assert!(text.contains("for reading only") && reader.describe().ends_with("read-only"), "{text}");

    // What a newer program adds is passed over; what it takes away is noticed, by those that run already as well.
    server.administer("house", "UPDATE chatelaine_schema SET version = 7");
    open(&url).await.health().await.unwrap();
    server.administer("house", "UPDATE chatelaine_schema SET compatible = 5");
    assert!(matches!(try_open(&url).await, Err(StoreError::NewerSchema { found: 7, known: 1 })));
    let text = unavailable(store.health().await);
    assert!(text.contains("newer program"), "{text}");
}

/// A server that finds its schema needs no right to change it, and without rights is told which are missing.
async fn rights(server: &dyn Server, grant: &str) {
    server.make("house");
    drop(open(&server.url("house")).await);
    let quoted = |password: &str| format!("'{password}'");
    server.administer("house", &grant.replace("PASSWORD_TEXT", &quoted("other")));
    let url = server.url("house").replace(USER, "lesser");
    let lesser = |password: &str| Options { password: Some(Password::new(password)), ..options() };
    let address = Address::parse(&url).unwrap();
    let store = SqlStore::open(&address, &lesser("other")).await.unwrap();
    store.apply(vec![Change::Create(record("a", 1, b"x"))]).await.unwrap();
    store.health().await.unwrap();
    let text = unavailable(SqlStore::open(&address, &lesser("hunter2")).await);
    assert!(text.contains("store.password_file") && !text.contains("hunter2"), "{text}");
    let elsewhere = Address::parse(&url.replace("/house", "/none")).unwrap();
    let text = unavailable(SqlStore::open(&elsewhere, &lesser("other")).await);
    assert!(text.contains("make the database first") || text.contains("rights"), "{text}");
}

/// Tables that are damaged by somebody are told from records, and hold up nothing else.
async fn damage(server: &dyn Server) {
    server.make("house");
    let store = open(&server.url("house")).await;
    for id in ["a", "b"] {
        store.apply(vec![Change::Create(record(id, 1, b"x"))]).await.unwrap();
    }
    server.administer("house", "UPDATE chatelaine_records SET version = -1 WHERE id = 'a'");
    assert!(matches!(store.read(&KIND, "a").await, Err(StoreError::Corrupt(_))));
    assert!(matches!(store.list(&Query::of(KIND)).await, Err(StoreError::Corrupt(_))));
    assert!(store.read(&KIND, "b").await.unwrap().is_some());
    assert_eq!(store.read(&Kind::new("other"), "a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_keeps_the_rules() {
    let server = Postgres::new();
    schemas(&server).await;
    server.administer("postgres", "DROP DATABASE house WITH (FORCE)");
    rights(
        &server,
        "CREATE USER lesser PASSWORD PASSWORD_TEXT; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON chatelaine_records TO lesser; \
         GRANT SELECT, UPDATE ON chatelaine_schema TO lesser",
    )
    .await;
    server.administer("postgres", "DROP DATABASE house WITH (FORCE)");
    damage(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_keeps_the_rules() {
    let server = MariaDb::new();
    schemas(&server).await;
    server.administer("mysql", "DROP DATABASE house");
    rights(
        &server,
        "CREATE USER lesser IDENTIFIED BY PASSWORD_TEXT; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON chatelaine_records TO lesser; \
         GRANT SELECT, UPDATE ON chatelaine_schema TO lesser",
    )
    .await;
    server.administer("mysql", "DROP DATABASE house");
    damage(&server).await;
    // One that only follows another is no store.
    server.administer("mysql", "SET GLOBAL read_only = ON");
    let text = unavailable(quick(&server.url("house")).await);
    assert!(text.contains("read-only"), "{text}");
    server.administer("mysql", "SET GLOBAL read_only = OFF, GLOBAL max_allowed_packet = 1048576");
    let text = unavailable(quick(&server.url("house")).await);
    assert!(text.contains("max_allowed_packet"), "{text}");
}

async fn quick(url: &str) -> Result<SqlStore, StoreError> {
    let options = Options { timeout: Duration::from_secs(1), ..options() };
    SqlStore::open(&Address::parse(url)?, &options).await
}

/// A follower is refused as a store, named alone or before its primary, until it is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_postgresql_is_no_store() {
    let mut server = Postgres::new();
    server.make("house");
    let store = open(&server.url("house")).await;
    store.apply(vec![Change::Create(record("a", 1, b"x"))]).await.unwrap();
    let follower = server.follower();
    let text = unavailable(quick(&follower.url("house")).await);
    assert!(text.contains("name the primary"), "{text}");
    let both = format!("postgres://{USER}@127.0.0.1:{},127.0.0.1:{}/house", follower.port, server.port);
    let store = Arc::new(open(&both).await);
    store.apply(vec![Change::Create(record("b", 1, b"x"))]).await.unwrap();
    let arrived = || follower.administer("house", "SELECT count(*) FROM chatelaine_records").trim() == "2";
    while !arrived() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The primary is gone for good, and the follower takes its place: no hand is needed here.
    server.kill();
    follower.administer("postgres", "SELECT pg_promote(true)");
    assert!(store.read(&KIND, "b").await.unwrap().is_some());
    store.apply(vec![Change::Create(record("c", 1, b"x"))]).await.unwrap();
}
