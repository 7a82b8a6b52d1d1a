//! Engines for the embedded store, measured against each other: `store FOLDER [RECORDS]`.
//!
//! FOLDER is on the disk to be measured. Both hold the same records with the same indexes and the same room for caches;
//! reads run on the calling thread, listings and writes on another, as they do in the server. What is compared is
//! measured in turn within each round; medians over the rounds are printed. Everything read is compared with what was put.

mod redb;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::{SecretId, Version};
use chatelaine_core::store::{Change, IndexAttributes, Kind, Position, Query, Record, Store as _};
use chatelaine_store::EmbeddedStore;
use chatelaine_store::embedded::Options;

use crate::redb::Redb;

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);
/// Records that become durable together.
const GROUP: usize = 32;
const PAGE: usize = 100;
const BODY: usize = 512;
const OWNERS: i64 = 50;

#[derive(Clone)]
enum Engine {
    Embedded(Arc<EmbeddedStore>),
    Redb(Arc<Redb>),
}

impl Engine {
    fn name(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "SQLite",
            Self::Redb(_) => "redb",
        }
    }

    async fn create(&self, batch: Vec<Record>) -> Result<()> {
        match self {
            Self::Embedded(store) => Ok(store.apply(batch.into_iter().map(Change::Create).collect()).await?),
            Self::Redb(redb) => {
                let redb = Arc::clone(redb);
                tokio::task::spawn_blocking(move || redb.create_records(&batch)).await?
            }
        }
    }

    async fn read(&self, id: &str) -> Result<Record> {
        let found = match self {
            Self::Embedded(store) => store.read(&Kind::SECRET, id).await?,
            Self::Redb(redb) => redb.read(&Kind::SECRET, id)?,
        };
        found.with_context(|| format!("{id} is not there"))
    }

    async fn page(&self, owner: String, after: Position) -> Result<Vec<Record>> {
        match self {
            Self::Embedded(store) => {
                let limit = PAGE.try_into()?;
                let query =
                    Query { owner: Some(owner), after: Some(after), limit, ..Query::of(Kind::SECRET) };
                Ok(store.list(&query).await?)
            }
            Self::Redb(redb) => {
                let redb = Arc::clone(redb);
                let list =
                    move || redb.list(&Kind::SECRET, &owner, (after.created.as_micros(), &after.id), PAGE);
                tokio::task::spawn_blocking(list).await?
            }
        }
    }
}

fn record(number: i64, id: String) -> Record {
    Record {
        kind: Kind::SECRET,
        id,
        project: format!("project-{:026}", number % 100),
        created: Timestamp::from_micros(number),
        version: Version::FIRST,
        attributes: IndexAttributes {
            owner: Some(owner(number)),
            state: Some("active".to_owned()),
            class: Some("entity".to_owned()),
            ..IndexAttributes::default()
        },
        body: body(number),
    }
}

fn owner(number: i64) -> String {
    format!("owner-{:026}", number % OWNERS)
}

fn body(number: i64) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(BODY).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Get,
    Put,
    List,
}

const ALL: [(Work, &str); 3] = [
    (Work::Get, "get one record"),
    (Work::Put, "put 32 records, one flush"),
    (Work::List, "list a page of 100"),
];

/// Calls a second, and the median latency in microseconds, of one caller.
async fn measure(engine: &Engine, ids: &[String], work: Work, seed: usize) -> Result<(f64, f64)> {
    let began = Instant::now();
    let mut latencies = Vec::new();
    let mut place = seed;
    while began.elapsed() < TIME {
        // A step that shares no factor with most counts: no page is met twice soon.
        place = place.wrapping_add(7_368_787) % ids.len();
        let number = i64::try_from(place)?;
        let id = ids.get(place).context("no records")?;
        match work {
            Work::Get => {
                let call = Instant::now();
                let found = engine.read(id).await?;
                latencies.push(call.elapsed());
                ensure!(found.body == body(number), "{id} is another record");
            }
            Work::Put => {
                let batch = (0..GROUP).map(|_| record(number, SecretId::random().to_string())).collect();
                let call = Instant::now();
                engine.create(batch).await?;
                latencies.push(call.elapsed());
            }
            Work::List => {
                // Not so near to the end that the page would be short.
                let number = number % i64::try_from(ids.len() / 2)?;
                let id = ids.get(usize::try_from(number)?).context("no records")?;
                let after = Position { created: Timestamp::from_micros(number), id: id.clone() };
                let call = Instant::now();
                let page = engine.page(owner(number), after).await?;
                latencies.push(call.elapsed());
                ensure!(page.len() == PAGE, "the page has {} records", page.len());
                ensure!(page.iter().all(|found| found.attributes.owner == Some(owner(number))));
            }
        }
    }
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let half = latencies.get(latencies.len() / 2).context("nothing was done")?;
    Ok((rate, half.as_secs_f64() * 1e6))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn megabytes(folder: &Path, stem: &str) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(stem) {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum / 1_000_000)
}

async fn run(folder: &Path, records: usize) -> Result<()> {
    let engines = [
        Engine::Embedded(Arc::new(EmbeddedStore::open(&folder.join("sqlite.db"), &Options::default())?)),
        Engine::Redb(Arc::new(Redb::create(&folder.join("redb.db"))?)),
    ];
    let ids: Vec<String> = (0..records).map(|_| SecretId::random().to_string()).collect();
    for engine in &engines {
        let began = Instant::now();
        for (part, ids) in ids.chunks(1000).enumerate() {
            let batch = ids.iter().zip(part as i64 * 1000..).map(|(id, number)| record(number, id.clone()));
            engine.create(batch.collect()).await?;
        }
        let stem = engine.name().to_lowercase();
        println!(
            "{}: {records} records put in {:.0} s, {} MB",
            engine.name(),
            began.elapsed().as_secs_f64(),
            megabytes(folder, &stem)?
        );
    }
    println!("\n| One caller | Engine | Calls/s | half within µs |\n|---|---|---|---|");
    for (work, what) in ALL {
        let mut figures = vec![(Vec::new(), Vec::new()); engines.len()];
        for round in 0..ROUNDS {
            for (engine, (rates, halves)) in engines.iter().zip(&mut figures) {
                let (rate, half) = measure(engine, &ids, work, round * 104_729).await?;
                rates.push(rate);
                halves.push(half);
            }
        }
        for (engine, (rates, halves)) in engines.iter().zip(figures) {
            println!("| {what} | {} | {:.0} | {:.0} |", engine.name(), median(rates), median(halves));
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: store FOLDER [RECORDS]")?;
    let records = arguments.next().map_or(Ok(1_000_000), |text| text.parse()).context("RECORDS")?;
    ensure!(records >= 100_000, "RECORDS: at least 100000, so that every page is full");
    let folder = Path::new(&folder).join(format!("chatelaine-bench-store-{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(run(&folder, records));
    std::fs::remove_dir_all(&folder)?;
    done
}
