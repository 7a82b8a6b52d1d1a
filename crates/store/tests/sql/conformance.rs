//! The suite that every store passes, through several servers of one database at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chatelaine_core::store::Store;
use chatelaine_core::testkit::conformance;

use crate::servers::{MariaDb, Postgres, Server, open};
use crate::spread::Spread;

/// Runs the suite; each property in a database of its own, through a store at each of the servers.
async fn conform(servers: &[&(dyn Server + Sync)]) {
    let number = AtomicUsize::new(0);
    conformance::run(async || {
        let database = format!("t{}", number.fetch_add(1, Ordering::SeqCst));
        servers[0].make(&database);
        let mut stores = Vec::new();
        for server in servers {
            stores.push(open(&server.url(&database)).await);
        }
        Arc::new(Spread::new(stores)) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_conforms() {
    let server = Postgres::new();
    conform(&[&server, &server]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_conforms() {
    let server = MariaDb::new();
    conform(&[&server, &server]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_galera_cluster_conforms() {
    let cluster = MariaDb::cluster(3);
    let nodes: Vec<&(dyn Server + Sync)> = cluster.iter().map(|node| node as _).collect();
    conform(&nodes).await;
}
