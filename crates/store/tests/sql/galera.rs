//! A cluster of three nodes of which one dies: the others go on, and it comes back and has everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chatelaine_core::store::{Change, Query, Store};

use crate::checker::{KIND, Load, record};
use crate::servers::{MariaDb, Server as _, USER, open};

const WRITERS: usize = 9;
/// Nodes that are gone are missed within this.
const MISSED: Duration = Duration::from_secs(30);

fn url(cluster: &[MariaDb], first: usize) -> String {
    let hosts: Vec<_> = (0..cluster.len())
        .map(|n| format!("127.0.0.1:{}", cluster[(first + n) % cluster.len()].port))
        .collect();
    format!("mysql://{USER}@{}/house", hosts.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_dies_among_writers_and_comes_back() {
    let mut cluster = MariaDb::cluster(3);
    cluster[0].make("house");
    // Each server prefers another node, and has the others to go on with.
    let mut stores = Vec::new();
    for first in 0..3 {
        stores.push(Arc::new(open(&url(&cluster, first)).await) as Arc<dyn Store>);
    }
    let load = Load::start(&stores, WRITERS).await;
    load.progress(100).await;
    cluster[2].kill();
    // All three go on, also the one whose node it was.
    load.progress(300).await;
    cluster[2].start();
    load.progress(100).await;
    // Seen through the node that was away, at once.
    let back = open(&cluster[2].url("house")).await;
    stores[0].apply(vec![Change::Create(record("seen", 1, b"at once"))]).await.unwrap();
    assert_eq!(back.read(&KIND, "seen").await.unwrap().unwrap().body, b"at once");
    let seen = stores[0].read(&KIND, "seen").await.unwrap().unwrap();
    back.apply(vec![Change::Remove { kind: KIND, id: seen.id, expected: seen.version }]).await.unwrap();
    assert_eq!(stores[1].read(&KIND, "seen").await.unwrap(), None);
    stores.push(Arc::new(back));
    let (acknowledged, unanswered, longest) = load.check(&stores).await;
    println!("{acknowledged} acknowledged, {unanswered} unanswered, {longest:?} at most");
}

/// A node that has lost the others does not answer: neither what may be out of date, nor writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_answers_nothing() {
    let mut cluster = MariaDb::cluster(3);
    cluster[0].make("house");
    let alone = open(&cluster[0].url("house")).await;
    alone.apply(vec![Change::Create(record("before", 1, b"x"))]).await.unwrap();
    cluster[1].kill();
    cluster[2].kill();
    assert!(alone.apply(vec![Change::Create(record("after", 1, b"x"))]).await.is_err());
    // The two are missed after some seconds; until then nobody else can have changed anything.
    let begun = Instant::now();
    while alone.read(&KIND, "before").await.is_ok() {
        assert!(begun.elapsed() < MISSED, "a node alone goes on answering");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(alone.health().await.is_err());
    assert!(alone.list(&Query::of(KIND)).await.is_err());
}
