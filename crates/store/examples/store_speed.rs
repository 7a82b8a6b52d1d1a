//! How fast the embedded store is on this disk: `cargo run --release -p chatelaine-store --example store_speed [FOLDER]`.
//!
//! Writes are durable: each is acknowledged after a flush to disk. FOLDER must be on the disk to be measured; by
//! default it is a temporary folder.
#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::{SecretId, Version};
use chatelaine_core::store::{Change, IndexAttributes, Kind, Record, Store};
use chatelaine_store::embedded::{EmbeddedStore, Options};

const TIME: Duration = Duration::from_secs(3);
const BODY: usize = 1024;

fn record(number: i64) -> Record {
    Record {
        kind: Kind::SECRET,
        id: SecretId::random().to_string(),
        project: format!("project-{}", number % 100),
        created: Timestamp::from_micros(number),
        version: Version::FIRST,
        attributes: IndexAttributes {
            owner: Some(format!("owner-{}", number % 10)),
            ..IndexAttributes::default()
        },
        body: vec![0x5a; BODY],
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Write,
    Read,
}

/// Runs `tasks` callers for [`TIME`]; returns calls a second and the latencies, sorted.
async fn measure(
    store: &Arc<EmbeddedStore>,
    ids: &Arc<Vec<String>>,
    tasks: usize,
    work: Work,
) -> Result<(f64, Vec<Duration>), Box<dyn Error>> {
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (store, ids) = (Arc::clone(store), Arc::clone(ids));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut number = task;
                while start.elapsed() < TIME {
                    let call = Instant::now();
                    match work {
                        Work::Write => {
                            store
                                .apply(vec![Change::Create(record(i64::try_from(number).unwrap_or(0)))])
                                .await?;
                        }
                        Work::Read => {
                            let id =
                                ids.get(number.wrapping_mul(7919) % ids.len()).map_or("", String::as_str);
                            store.read(&Kind::SECRET, id).await?;
                            tokio::task::yield_now().await;
                        }
                    }
                    latencies.push(call.elapsed());
                    number += tasks;
                }
                Ok::<_, chatelaine_core::store::StoreError>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await??);
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Ok((rate, latencies))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let store = Arc::new(EmbeddedStore::open(&folder.path().join("store.db"), &Options::default())?);
    println!("{}; records with a body of {BODY} bytes", store.describe());
    let mut ids = Vec::new();
    for part in 0..20 {
        let records: Vec<_> = (0..1000).map(|number| record(part * 1000 + number)).collect();
        ids.extend(records.iter().map(|record| record.id.clone()));
        store.apply(records.into_iter().map(Change::Create).collect()).await?;
    }
    let ids = Arc::new(ids);
    for (name, work) in [("write", Work::Write), ("read", Work::Read)] {
        for tasks in [1, 8, 64, 256] {
            let (rate, latencies) = measure(&store, &ids, tasks, work).await?;
            let at = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or_default();
            println!(
                "{name:5} {tasks:3} callers: {rate:9.0}/s  half within {:?}, 99 % within {:?}",
                at(50),
                at(99)
            );
        }
    }
    Ok(())
}
