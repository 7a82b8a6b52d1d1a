//! Which schema the database has, and how it is brought up to date while others start or run.
//!
//! The one row of the schema's table says two things: the newest version that was made (`version`), and the oldest one
//! that a program must know to work with it (`compatible`). A change first only adds (`version` grows); programs of before
//! go on beside it. What nothing uses any more is taken away by a later change, which raises `compatible`.
//!
//! Every step may be made by several servers at once and again after it was cut off: on PostgreSQL one transaction under an
//! advisory lock makes all of them; MariaDB has no changes of a schema within transactions, and no locks that hold in a
//! whole cluster, so there each statement does nothing when its work is done already, and a cluster runs them in one order
//! on all nodes.

use chatelaine_core::store::StoreError;
use tokio::time::{Instant, timeout_at};

use super::apply::Pause;
use super::dialect::{Dialect, SCHEMA, Statement};
use super::error::{Class, Failure};
use super::pool::Lease;
use super::{Access, Question, SqlStore};

/// The version that this program makes and knows.
pub(super) const KNOWN: u32 = 1;
/// The oldest version that a program must know to work with what this one makes.
const COMPATIBLE: u32 = 1;
/// Name of the row.
const NAME: &str = "records";
/// The advisory lock of changes, `Chatelai`.
const LOCK: i64 = 0x4368_6174_656c_6169;

/// What the row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    version: u32,
    compatible: u32,
}

/// Makes the schema, or brings it up to date, unless it is.
pub(super) async fn prepare(store: &SqlStore) -> Result<(), StoreError> {
    let deadline = Instant::now() + store.timeout.saturating_mul(3);
    let mut pause = Pause::default();
    loop {
        let attempt = async {
            let mut lease = store.pool.take(deadline).await?;
            let prepared = prepare_on(&mut lease).await;
            lease.settle(prepared)
        };
        let failure = match timeout_at(deadline, attempt).await {
            Ok(Ok(found)) => return accept(store, Some(found)),
            Ok(Err(failure)) => failure,
            Err(_) => store.too_slow(),
        };
        // Two that make a table at once may be in each other's way even so.
        let again = failure.may_pass() || failure.class == Class::Duplicate;
        if !again || !pause.until(deadline).await {
            return Err(store.error(&failure));
        }
    }
}

/// Looks whether the schema can be worked with, and changes nothing.
pub(super) async fn check(store: &SqlStore) -> Result<(), StoreError> {
    accept(store, store.reading(Which).await?)
}

/// Whether there is a schema of any version.
pub(super) async fn is_there(store: &SqlStore) -> Result<bool, StoreError> {
    Ok(store.reading(Which).await?.is_some())
}

struct Which;

impl Question for Which {
    type Answer = Option<Found>;

    async fn ask(&self, lease: &mut Lease) -> Result<Option<Found>, Failure> {
        match read(lease, "").await {
            Err(failure) if failure.class == Class::Absent => Ok(None),
            other => other,
        }
    }
}

fn accept(store: &SqlStore, found: Option<Found>) -> Result<(), StoreError> {
    match found {
        None => Err(StoreError::Unavailable(format!(
            "{} holds no store: the server makes one when it starts",
            store.description
        ))),
        Some(Found { version, compatible }) if compatible > KNOWN => {
            Err(StoreError::NewerSchema { found: version, known: KNOWN })
        }
        Some(Found { version, .. }) if version < KNOWN => Err(StoreError::Unavailable(format!(
            "{} has schema version {version}, older than {KNOWN}: the server brings it up to date when it starts",
            store.description
        ))),
        Some(_) => Ok(()),
    }
}

async fn prepare_on(lease: &mut Lease) -> Result<Found, Failure> {
    match read(lease, "").await {
        Ok(Some(found)) if found.version >= KNOWN => return Ok(found),
        Ok(_) => {}
        Err(failure) if failure.class == Class::Absent => {}
        Err(failure) => return Err(failure),
    }
    let dialect = lease.dialect();
    let is_transactional = dialect == Dialect::Postgres;
    if is_transactional {
        lease.run(dialect.begin()).await?;
        lease.run(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    }
    for statement in dialect.creation() {
        lease.run(&statement).await?;
    }
    let known = match read(lease, "").await? {
        Some(found) => found,
        None => {
            let values = format!("('{NAME}', {KNOWN}, {COMPATIBLE})");
            lease
                .run(&match dialect {
                    Dialect::Postgres => {
                        format!("INSERT INTO {SCHEMA} (name, version, compatible) VALUES {values} ON CONFLICT DO NOTHING")
                    }
                    Dialect::MySql => {
                        format!("INSERT IGNORE INTO {SCHEMA} (name, version, compatible) VALUES {values}")
                    }
                })
                .await?;
            Found { version: KNOWN, compatible: COMPATIBLE }
        }
    };
    // Never back: a newer program may have been here meanwhile.
    lease
        .run(&format!("UPDATE {SCHEMA} SET version = {KNOWN} WHERE name = '{NAME}' AND version < {KNOWN}"))
        .await?;
    if is_transactional {
        lease.run("COMMIT").await?;
    }
    tracing::info!(from = known.version, to = KNOWN, "the store's schema is up to date");
    Ok(read(lease, "").await?.unwrap_or(known))
}

async fn read(lease: &mut Lease, lock: &str) -> Result<Option<Found>, Failure> {
    let text = format!("SELECT version, compatible FROM {SCHEMA} WHERE name = '{NAME}'{lock}");
    let rows = lease.fetch(Statement::new(lease.dialect(), text)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let number = |index| {
        let number = row.number(index)?.and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| Failure::new(Class::Damaged, format!("the table {SCHEMA} holds no version")))
    };
    Ok(Some(Found { version: number(0)?, compatible: number(1)? }))
}

/// Whether the store answers and would take a write.
pub(super) struct Probe(pub(super) Access);

impl Question for Probe {
    type Answer = ();

    async fn ask(&self, lease: &mut Lease) -> Result<(), Failure> {
        if self.0 == Access::Read {
            return read(lease, "").await.map(drop);
        }
        lease.run(lease.dialect().begin()).await?;
        let found = read(lease, " FOR UPDATE").await?;
        lease.run("ROLLBACK").await?;
        match found {
            Some(found) if found.compatible > KNOWN => Err(Failure::new(
                Class::Refused,
                format!(
                    "the schema was changed to version {} by a newer program: use that one",
                    found.version
                ),
            )),
            Some(_) => Ok(()),
            None => Err(Failure::new(Class::Refused, "the schema's row is gone")),
        }
    }
}
