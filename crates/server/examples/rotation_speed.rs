//! How fast keys over keys are rotated on this disk: `cargo run --release -p chatelaine-server --example rotation_speed`.
//!
//! An argument says how many rounds. Prints Markdown: rotations of the master key over the keys of 10,000 projects, without rests between pages. The yardstick is
//! how fast as many records are created in batches of the same size, one after the other.
#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chatelaine_core::audit::{AuditError, AuditTrail, ChangeHistory, Durability, Event, HistoryKey};
use chatelaine_core::clock::{Clock, SystemClock, Timestamp};
use chatelaine_core::id::{SecretId, Version};
use chatelaine_core::keyring::Keyring;
use chatelaine_core::manager::{Manager, Settings};
use chatelaine_core::policy::{Policy, PolicyConfig};
use chatelaine_core::store::{Change, IndexAttributes, Kind, Record, Store};
use chatelaine_crypto::KeyMaterial;

use chatelaine_store::embedded::{EmbeddedStore, Options};

const SCOPES: usize = 10_000;
const PAGE: usize = 64;
const ROUNDS: usize = 3;

/// A trail that costs nothing: the store is what is measured.
struct NoTrail;

#[async_trait]
impl AuditTrail for NoTrail {
    async fn append(&self, _: &[Event], _: Durability) -> Result<(), AuditError> {
        Ok(())
    }

    async fn histories(
        &self,
        _: &(dyn for<'a> Fn(&'a str, &'a str) -> bool + Send + Sync),
    ) -> Result<HashMap<HistoryKey, ChangeHistory>, AuditError> {
        Ok(HashMap::new())
    }
}

fn record(number: usize) -> Record {
    Record {
        kind: Kind::SECRET,
        id: SecretId::random().to_string(),
        project: "yardstick".to_owned(),
        created: Timestamp::from_micros(i64::try_from(number).unwrap_or(0)),
        version: Version::FIRST,
        attributes: IndexAttributes::default(),
        body: vec![0x5a; 180],
    }
}

/// Records a second, created in batches as a rotation writes them.
async fn yardstick(store: &dyn Store) -> Result<f64, Box<dyn Error>> {
    let began = Instant::now();
    for start in (0..SCOPES).step_by(PAGE) {
        let batch = (start..(start + PAGE).min(SCOPES)).map(|number| Change::Create(record(number)));
        store.apply(batch.collect()).await?;
    }
    Ok(rate(began))
}

fn rate(began: Instant) -> f64 {
    SCOPES as f64 / began.elapsed().as_secs_f64()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(ROUNDS), |given| given.parse())?;
    let folder = tempfile::tempdir()?;
    let other = EmbeddedStore::open(&folder.path().join("yardstick.db"), &Options::default())?;
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(&folder.path().join("store.db"), &Options::default())?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (first, audit) = (KeyMaterial::random(256)?, KeyMaterial::random(256)?);
    // Another keyring over the same key makes the projects' keys, many at once.
    let filling = Arc::new(Keyring::new(("master-0", &first), &[], ("audit", &audit))?);
    filling.adopt(&*store, &*clock).await?;
    let makers: Vec<_> = (0..32)
        .map(|maker| {
            let (filling, store, clock) = (Arc::clone(&filling), Arc::clone(&store), Arc::clone(&clock));
            tokio::spawn(async move {
                for number in (maker..SCOPES).step_by(32) {
                    filling.current(&*store, &*clock, &format!("project-{number}")).await?;
                }
                Ok::<_, chatelaine_core::Error>(())
            })
        })
        .collect();
    for maker in makers {
        maker.await??;
    }
    let keyring = Keyring::new(("master-0", &first), &[], ("audit", &audit))?;
    let (policy, _) = Policy::build(&BTreeMap::new(), PolicyConfig::default())?;
    let manager =
        Manager::open(Arc::clone(&store), keyring, policy, Arc::new(NoTrail), clock, Settings::default())
            .await?;
    let (mut created, mut rotated) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        created.push(yardstick(&other).await?);
        manager.activate_master_key(&format!("master-{round}"), &KeyMaterial::random(256)?).await?;
        let began = Instant::now();
        let report = manager.rewrap_master(Duration::ZERO, &mut |_| ControlFlow::Continue(())).await?;
        rotated.push(rate(began));
        if report.failed > 0 || report.in_use.values().any(|uses| *uses > 0) {
            return Err(format!("the rotation left something: {report:?}").into());
        }
    }
    let (created, rotated) = (median(created), median(rotated));
    println!("| {rounds} rounds of {SCOPES} | per second | to the yardstick |");
    println!("|---|---|---|");
    println!("| records created in batches of {PAGE} (the yardstick) | {created:.0} | 1.00 |");
    println!("| projects' keys wrapped under a new master key | {rotated:.0} | {:.2} |", rotated / created);
    Ok(())
}
