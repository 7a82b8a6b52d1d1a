//! Databases that die or hang under load: nothing acknowledged is lost, nothing removed comes back, and no hand is needed.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_core::store::{Change, Store, StoreError};
use chatelaine_store::sql::{Address, Options, SqlStore};

use crate::checker::{KIND, Load, record};
use crate::servers::{MariaDb, Postgres, Server, open, options};

const WRITERS: usize = 8;
const ROUNDS: u64 = 4;
/// A call is answered within its time, and a little more for the end of a commit that is on its way and for looking after
/// it.
const LONGEST: Duration = Duration::from_secs(25);

async fn stores_at(server: &dyn Server, count: usize) -> Vec<Arc<dyn Store>> {
    server.make("house");
    let mut stores = Vec::new();
    for _ in 0..count {
        stores.push(Arc::new(open(&server.url("house")).await) as Arc<dyn Store>);
    }
    stores
}

/// `kill -9` among writers of two servers, again and again.
async fn sudden_deaths(server: &mut dyn Server) {
    let stores = stores_at(server, 2).await;
    let load = Load::start(&stores, WRITERS).await;
    for round in 0..ROUNDS {
        load.progress(60 + 37 * round).await;
        server.kill();
        server.start();
    }
    load.progress(60).await;
    let (acknowledged, unanswered, longest) = load.check(&stores).await;
    println!("{acknowledged} acknowledged, {unanswered} unanswered, {longest:?} at most");
    assert!(longest < LONGEST, "a call took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_killed_among_writers() {
    sudden_deaths(&mut Postgres::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_is_killed_among_writers() {
    sudden_deaths(&mut MariaDb::new()).await;
}

/// A database that hangs is answered for in time, and used again as soon as it goes on.
async fn hanging(server: &dyn Server) {
    server.make("house");
    let address = Address::parse(&server.url("house")).unwrap();
    let timeout = Duration::from_millis(1500);
    let store = SqlStore::open(&address, &Options { timeout, ..options() }).await.unwrap();
    store.apply(vec![Change::Create(record("before", 1, b"x"))]).await.unwrap();
    server.freeze(true);
    let begun = std::time::Instant::now();
    let answers = [
        store.read(&KIND, "before").await.map(drop),
        store.apply(vec![Change::Create(record("during", 1, b"x"))]).await,
        store.health().await,
    ];
    let took = begun.elapsed();
    server.freeze(false);
    for answer in answers {
        let Err(StoreError::Unavailable(text)) = answer else {
            panic!("{answer:?} from a database that hangs")
        };
        assert!(text.contains("127.0.0.1") && !text.contains("password"), "{text}");
    }
    assert!(took < Duration::from_secs(12), "three answers took {took:?}");
    assert!(store.read(&KIND, "before").await.unwrap().is_some());
    store.apply(vec![Change::Create(record("after", 1, b"x"))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_hangs_is_answered_for() {
    hanging(&Postgres::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_hangs_is_answered_for() {
    hanging(&MariaDb::new()).await;
}
