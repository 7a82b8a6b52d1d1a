//! A batch as one transaction.
//!
//! 1. The rows that are to be changed are locked, in one order for everybody, and compared. A row that is only required
//!    is locked against changes. A record that is to be created is not looked for: that its key is taken shows when it is
//!    inserted.
//! 2. A record that must not exist is inserted and removed again, which holds its key until the end.
//! 3. The changes are made, and the transaction is committed.
//!
//! Nodes of a Galera cluster do not know of each other's locks: they compare, at the commit, which rows were *written*. There
//! a required row is written as well (its column `guarded`), so that of two transactions of which one changes what the
//! other requires, one fails and is begun anew.
//!
//! A transaction that failed before its commit was sent was not made. If the answer to the commit does not come, the
//! records are asked: a body that was written is random enough never to be written by anybody else.

use std::collections::HashMap;
use std::time::Duration;

use chatelaine_core::id::Version;
use chatelaine_core::store::{Change, ConflictReason, Record, StoreError};
use chatelaine_core::testkit::memory::refusal;
use tokio::time::{Instant, timeout_at};

use super::dialect::{Dialect, RECORDS, Statement};
use super::error::{Class, Failure};
use super::pool::Lease;
use super::rows::{self, ById, COLUMNS};
use super::{LAST_PATIENCE, Question, SqlStore};

/// Most rows in one statement.
const ROWS: usize = 100;
/// A statement takes no further record once its bodies have this many bytes.
const BYTES: usize = 1024 * 1024;

type Key<'a> = (&'a [u8], &'a [u8]);
/// What a row holds: the version, and the body where it is asked for.
type Found = (Version, Option<Vec<u8>>);

/// What stands in the way, or what went wrong.
enum Stop {
    Conflict { change: usize, reason: ConflictReason },
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Waits that grow, each by chance shorter, so that those who were in each other's way do not meet again.
#[derive(Default)]
pub(super) struct Pause {
    times: u32,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(4);
    const LONGEST: Duration = Duration::from_millis(500);

    /// Waits, unless the time would be over then.
    pub(super) async fn until(&mut self, deadline: Instant) -> bool {
        let most = Self::FIRST.saturating_mul(1 << self.times.min(10)).min(Self::LONGEST);
        self.times = self.times.saturating_add(1);
        let pause = most.mul_f64(0.25 + 0.75 * chance());
        if Instant::now() + pause >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// A number from 0 to 1; nothing secret depends on it.
fn chance() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// Applies a batch, again and again where others were in its way, until the time is over.
pub(super) async fn apply(store: &SqlStore, batch: &[Change]) -> Result<(), StoreError> {
    let deadline = store.deadline();
    let mut pause = Pause::default();
    let mut look_first = false;
    loop {
        let mut committing = false;
        let attempt = attempt(store, batch, deadline, look_first, &mut committing);
        // Once the commit is sent, its answer is waited for a little longer: it says what is otherwise to be found out.
        let outcome = timeout_at(deadline + LAST_PATIENCE, attempt).await;
        let failure = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Stop::Conflict { change, reason })) => {
                let is_first = batch.iter().take(change).all(|before| before.expected().is_some());
                if look_first || is_first {
                    return Err(conflict(batch, change, reason));
                }
                // One before it may be in the way as well, and is to be named then.
                look_first = true;
                continue;
            }
            Ok(Err(Stop::Failure(failure))) => failure,
            Err(_) => store.too_slow(),
        };
        if committing && failure.class != Class::Contended {
            return find_out(store, batch, &failure).await;
        }
        let again = match failure.class {
            // Somebody made the record: it is looked for now. If it is gone by then, it may be made.
            Class::Duplicate => {
                look_first = true;
                true
            }
            _ => failure.may_pass(),
        };
        if !again || !pause.until(deadline).await {
            return Err(store.error(&failure));
        }
        tracing::debug!(%failure, "a transaction is begun anew");
    }
}

fn conflict(batch: &[Change], change: usize, reason: ConflictReason) -> StoreError {
    match batch.get(change).map(Change::target) {
        Some((kind, id)) => StoreError::Conflict { kind: kind.clone(), id: id.to_owned(), reason },
        None => StoreError::Invalid("a conflict of a change that is not there".to_owned()),
    }
}

async fn attempt(
    store: &SqlStore,
    batch: &[Change],
    deadline: Instant,
    look_first: bool,
    committing: &mut bool,
) -> Result<(), Stop> {
    let mut lease = store.pool.take(deadline).await?;
    let work = timeout_at(deadline, work(&mut lease, batch, look_first));
    match work.await.unwrap_or_else(|_| Err(store.too_slow().into())) {
        Ok(()) => {
            *committing = true;
            let committed = lease.run("COMMIT").await;
            Ok(lease.settle(committed)?)
        }
        Err(Stop::Conflict { change, reason }) => {
            // The answer is known; a connection that does not roll back is closed.
            let rolled_back = match timeout_at(deadline, lease.run("ROLLBACK")).await {
                Ok(result) => result,
                Err(_) => Err(store.too_slow()),
            };
            if let Err(failure) = lease.settle(rolled_back) {
                tracing::debug!(%failure, "a connection was closed instead of rolled back");
            }
            Err(Stop::Conflict { change, reason })
        }
        Err(Stop::Failure(failure)) => {
            // The transaction is over for the database; the connection need not be.
            let failed = matches!(failure.class, Class::Contended | Class::Locked | Class::Duplicate);
            if failed && matches!(timeout_at(deadline, lease.run("ROLLBACK")).await, Ok(Ok(()))) {
                drop(lease.settle(Ok(())));
            } else {
                drop(lease.settle::<()>(Err(Failure::new(failure.class, ""))));
            }
            Err(Stop::Failure(failure))
        }
    }
}

fn key(change: &Change) -> Key<'_> {
    let (kind, id) = change.target();
    (kind.as_str().as_bytes(), id.as_bytes())
}

/// The changes of a batch whose rows are treated alike, in the order in which everybody locks.
fn keys<'a>(batch: &'a [Change], wanted: impl Fn(&Change) -> bool) -> Vec<Key<'a>> {
    let mut keys: Vec<_> = batch.iter().filter(|change| wanted(change)).map(key).collect();
    keys.sort_unstable();
    keys
}

async fn work(lease: &mut Lease, batch: &[Change], look_first: bool) -> Result<(), Stop> {
    let dialect = lease.dialect();
    lease.run(dialect.begin()).await?;
    let mut found: HashMap<(Vec<u8>, Vec<u8>), Found> = HashMap::new();
    let is_cluster = lease.is_cluster();
    let changed = keys(batch, |change| {
        matches!(change, Change::Replace { .. } | Change::Remove { .. })
            || is_cluster && matches!(change, Change::Require { expected: Some(_), .. })
    });
    let resealed = keys(batch, |change| matches!(change, Change::Reseal { .. }));
    let required =
        keys(batch, |change| !is_cluster && matches!(change, Change::Require { expected: Some(_), .. }));
    let absent = keys(batch, |change| change.expected().is_none());
    let looked_for = if look_first { &absent[..] } else { &[] };
    for (keys, column, lock) in [
        (&changed[..], "", " FOR UPDATE"),
        (&resealed[..], ", body", " FOR UPDATE"),
        (&required[..], "", dialect.shared_lock()),
        (looked_for, "", ""),
    ] {
        for part in keys.chunks(ROWS) {
            for row in lease.fetch(locking(dialect, part, column, lock)).await? {
                let missing = || Failure::new(Class::Damaged, "a row has no key or version");
                let name = (row.bytes(0)?.ok_or_else(missing)?, row.bytes(1)?.ok_or_else(missing)?);
                let version = rows::version(row.number(2)?.ok_or_else(missing)?)?;
                let body = if column.is_empty() { None } else { row.bytes(3)? };
                found.insert(name, (version, body));
            }
        }
    }
    for (number, change) in batch.iter().enumerate() {
        let (kind, id) = key(change);
        let there = found.get(&(kind.to_vec(), id.to_vec()));
        let mut reason = refusal(change.expected(), there.map(|(version, _)| *version));
        if let (None, Change::Reseal { before, .. }) = (reason, change)
            && there.and_then(|(_, body)| body.as_ref()) != Some(before)
        {
            reason = Some(ConflictReason::Resealed);
        }
        if let Some(reason) = reason {
            return Err(Stop::Conflict { change: number, reason });
        }
    }
    write(lease, batch, is_cluster).await.map_err(Stop::Failure)
}

fn locking<'a>(dialect: Dialect, keys: &[Key<'a>], column: &str, lock: &str) -> Statement<'a> {
    let forced = dialect.forced("PRIMARY");
    let text = format!("SELECT kind, id, version{column} FROM {RECORDS}{forced} WHERE ");
    let mut statement = Statement::new(dialect, text);
    statement.rows(keys);
    statement.push(" ORDER BY kind, id");
    statement.push(lock);
    statement
}

/// What was found under locks cannot have changed: another number of rows is a defect of the database.
fn exactly(rows: u64, expected: usize) -> Result<(), Failure> {
    if u64::try_from(expected).is_ok_and(|expected| expected == rows) {
        return Ok(());
    }
    Err(Failure::new(Class::Refused, format!("a statement was about {rows} rows instead of {expected}")))
}

async fn write(lease: &mut Lease, batch: &[Change], is_cluster: bool) -> Result<(), Failure> {
    let dialect = lease.dialect();
    let removed = keys(batch, |change| matches!(change, Change::Remove { .. }));
    for part in removed.chunks(ROWS) {
        exactly(lease.execute(of_rows(dialect, &format!("DELETE FROM {RECORDS}"), part)).await?, part.len())?;
    }
    for change in batch {
        if let Change::Replace { expected, record } = change {
            exactly(lease.execute(update(dialect, record, *expected)).await?, 1)?;
        }
        if let Change::Reseal { record, .. } = change {
            exactly(lease.execute(update(dialect, record, record.version)).await?, 1)?;
        }
    }
    if is_cluster {
        let required = keys(batch, |change| matches!(change, Change::Require { expected: Some(_), .. }));
        for part in required.chunks(ROWS) {
            let touch = format!("UPDATE {RECORDS} SET guarded = guarded + 1");
            exactly(lease.execute(of_rows(dialect, &touch, part)).await?, part.len())?;
        }
    }
    let created: Vec<&Record> = batch
        .iter()
        .filter_map(|change| if let Change::Create(record) = change { Some(record) } else { None })
        .collect();
    let mut rest = &created[..];
    while !rest.is_empty() {
        let (part, more) = rest.split_at(portion(rest));
        exactly(lease.execute(insert(dialect, part)).await?, part.len())?;
        rest = more;
    }
    let absent = keys(batch, |change| matches!(change, Change::Require { expected: None, .. }));
    for part in absent.chunks(ROWS) {
        exactly(lease.execute(placeholders(dialect, part)).await?, part.len())?;
        exactly(lease.execute(of_rows(dialect, &format!("DELETE FROM {RECORDS}"), part)).await?, part.len())?;
    }
    Ok(())
}

/// How many of these records fit into one statement; at least one.
fn portion(records: &[&Record]) -> usize {
    let mut bytes = 0_usize;
    let fitting = records.iter().take(ROWS).take_while(|record| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(record.body.len()).saturating_add(1);
        first || bytes <= BYTES
    });
    fitting.count().max(1)
}

fn of_rows<'a>(dialect: Dialect, what: &str, keys: &[Key<'a>]) -> Statement<'a> {
    let mut statement = Statement::new(dialect, format!("{what} WHERE "));
    statement.rows(keys);
    statement
}

fn insert<'a>(dialect: Dialect, records: &[&'a Record]) -> Statement<'a> {
    let mut statement = Statement::new(dialect, format!("INSERT INTO {RECORDS} ({COLUMNS}) VALUES "));
    statement.is_kept = records.len() == 1;
    for (row, record) in records.iter().enumerate() {
        statement.push(if row == 0 { "(" } else { ", (" });
        for (column, value) in rows::values(record).into_iter().enumerate() {
            if column > 0 {
                statement.push(", ");
            }
            statement.value(value);
        }
        statement.push(")");
    }
    statement
}

/// Rows that hold keys and nothing else, until they are removed in the same transaction.
fn placeholders<'a>(dialect: Dialect, keys: &[Key<'a>]) -> Statement<'a> {
    let text = format!("INSERT INTO {RECORDS} (kind, id, project, created, version, body) VALUES ");
    let mut statement = Statement::new(dialect, text);
    statement.is_kept = keys.len() == 1;
    for (row, (kind, id)) in keys.iter().enumerate() {
        statement.push(if row == 0 { "(" } else { ", (" });
        statement.bytes(kind);
        statement.push(", ");
        statement.bytes(id);
        statement.push(", ");
        statement.bytes(b"");
        statement.push(", 0, 0, ");
        statement.bytes(b"");
        statement.push(")");
    }
    statement
}

fn update(dialect: Dialect, record: &Record, expected: Version) -> Statement<'_> {
    let mut statement = Statement::new(dialect, format!("UPDATE {RECORDS} SET "));
    let names = COLUMNS.split(", ").zip(rows::values(record));
    let mut first = true;
    // The creation time stays as it is stored.
    for (name, value) in names.filter(|(name, _)| !matches!(*name, "kind" | "id" | "created")) {
        if !first {
            statement.push(", ");
        }
        first = false;
        statement.push(name);
        statement.push(" = ");
        statement.value(value);
    }
    statement.push(" WHERE kind = ");
    statement.bytes(record.kind.as_str().as_bytes());
    statement.push(" AND id = ");
    statement.bytes(record.id.as_bytes());
    statement.push(" AND version = ");
    statement.number(i64::try_from(expected.number()).unwrap_or(i64::MAX));
    statement
}

/// Whether a batch was made whose commit was not answered: it was if a record is in the store as the batch has it. Otherwise
/// it may still come, or others have changed all of it since.
async fn find_out(store: &SqlStore, batch: &[Change], failure: &Failure) -> Result<(), StoreError> {
    let deadline = Instant::now() + store.timeout.max(LAST_PATIENCE);
    let mut pause = Pause::default();
    let written: Vec<&Record> = batch.iter().filter_map(Change::record).collect();
    while !written.is_empty() {
        let look = async {
            let mut lease = store.pool.take(deadline).await?;
            let found = is_made(&mut lease, &written).await;
            lease.settle(found)
        };
        match timeout_at(deadline, look).await {
            Ok(Ok(true)) => {
                tracing::info!(%failure, "a commit was not answered, and was made");
                return Ok(());
            }
            Ok(Ok(false)) | Err(_) => break,
            Ok(Err(failure)) if !failure.may_pass() => break,
            Ok(Err(_)) if pause.until(deadline).await => {}
            Ok(Err(_)) => break,
        }
    }
    Err(StoreError::Unavailable(format!(
        "{}: the commit was not answered: {failure}; the change may have been made",
        store.description
    )))
}

async fn is_made(lease: &mut Lease, written: &[&Record]) -> Result<bool, Failure> {
    for record in written {
        let found = ById { kind: &record.kind, id: &record.id }.ask(lease).await?;
        if found.is_some_and(|found| found.version == record.version && found.body == record.body) {
            return Ok(true);
        }
    }
    Ok(false)
}
