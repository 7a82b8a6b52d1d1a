//! The record store in a PostgreSQL or MariaDB (MySQL) database, for several servers at once.
//!
//! One table holds the records in the form the embedded store has; every text is stored as its bytes, so that no
//! collation, padding or encoding of the database has a say in what is equal and what comes first. `dialect` is the one
//! place that knows how the engines differ, `session` the one that talks to a driver.
//!
//! Invariants: a batch is one transaction. What a batch changes is locked first and compared under the lock; what it
//! only requires is held unchanged until it is committed, on every node of a cluster. A read sees every batch that was
//! acknowledged before the read began, whichever server wrote it. A statement is sent again only where it is known that
//! nothing came of it; when it is not known whether a commit came about, the records themselves are asked.
//!
//! It refuses passwords in addresses, connections that somebody on the way could take over unless they were asked for,
//! servers that only follow another one, and schemas that a newer program has left behind.

mod address;
mod apply;
mod dialect;
mod error;
mod pool;
mod rows;
mod schema;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatelaine_core::store::{Change, Kind, Query, Record, Store, StoreError, check_batch};
use tokio::time::Instant;

pub use address::Address;
use error::Failure;
use pool::{Lease, Pool};

/// How a store in a database behaves.
#[derive(Clone)]
pub struct Options {
    /// The password of the user in the address, where one is needed.
    pub password: Option<Password>,
    /// Most connections to the database.
    pub connections: usize,
    /// How long a call may take before it is answered with [`StoreError::Unavailable`].
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { password: None, connections: 16, timeout: Duration::from_secs(10) }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Options({} connections, {:?})", self.connections, self.timeout)
    }
}

/// A password of a database.
#[derive(Clone)]
pub struct Password(Arc<str>);

impl Password {
    /// Takes one as it was read.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(…)")
    }
}

/// What a store may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    Write,
    /// Looking, while servers use it: nothing is changed, not even the schema.
    Read,
}

/// Longest name of a kind, in bytes.
const MAX_KIND: usize = 64;
/// How long a commit is still waited for, and its end looked for, when the time of a call is over.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Something a database is asked that changes nothing, and may be asked again.
trait Question: Sync {
    type Answer: Send;

    fn ask(&self, lease: &mut Lease) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// What the server is set to that may lose what it acknowledged.
struct Risk;

impl Question for Risk {
    type Answer = Option<&'static str>;

    async fn ask(&self, lease: &mut Lease) -> Result<Self::Answer, Failure> {
        lease.risk().await
    }
}

/// A store in a database.
pub struct SqlStore {
    pool: Pool,
    description: String,
    access: Access,
    timeout: Duration,
}

impl SqlStore {
    /// Connects to the database at an address, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an address that cannot be used, [`StoreError::NewerSchema`], and
    /// [`StoreError::Unavailable`] when no server of the address takes the connection, saying what each answered.
    pub async fn open(address: &Address, options: &Options) -> Result<Self, StoreError> {
        let store = Self::assemble(address, options, Access::Write)?;
        schema::prepare(&store).await?;
        if let Some(risk) = store.reading(Risk).await? {
            tracing::warn!(database = store.description, "{risk}");
        }
        Ok(store)
    }

    /// Connects for looking: every change is refused.
    ///
    /// # Errors
    /// As for [`Self::open`]; also when the schema is older than this program's, since it is not changed.
    pub async fn open_read_only(address: &Address, options: &Options) -> Result<Self, StoreError> {
        let store = Self::assemble(address, options, Access::Read)?;
        schema::check(&store).await?;
        Ok(store)
    }

    /// Whether there is no record in the database, and no table for them either, or an empty one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when that cannot be told.
    pub async fn is_empty(address: &Address, options: &Options) -> Result<bool, StoreError> {
        let store = Self::assemble(address, options, Access::Read)?;
        Ok(!schema::is_there(&store).await? || store.kinds().await?.is_empty())
    }

    fn assemble(address: &Address, options: &Options, access: Access) -> Result<Self, StoreError> {
        let timeout = options.timeout;
        let pool = Pool::new(address.places(options, access), options.connections, timeout);
        Ok(Self { pool, description: address.describe().to_owned(), access, timeout })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// What an operator is told.
    fn unavailable(&self, failure: &Failure) -> StoreError {
        StoreError::Unavailable(format!("{}: {failure}", self.description))
    }

    fn too_slow(&self) -> Failure {
        Failure::slow(format!("no answer within {} s", self.timeout.as_secs_f32()))
    }

    fn error(&self, failure: &Failure) -> StoreError {
        if failure.is_damage() {
            return StoreError::Corrupt(format!("{}: {failure}", self.description));
        }
        self.unavailable(failure)
    }

    /// Reads on any connection, and again on a new one when the connection was lost or others were in the way: reading
    /// changes nothing.
    async fn reading<Q: Question>(&self, question: Q) -> Result<Q::Answer, StoreError> {
        let deadline = self.deadline();
        let mut pause = apply::Pause::default();
        loop {
            let attempt = async {
                let mut lease = self.pool.take(deadline).await?;
                let found = question.ask(&mut lease).await;
                lease.settle(found)
            };
            let failure = match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(failure)) => failure,
                Err(_) => self.too_slow(),
            };
            if !failure.may_pass() || !pause.until(deadline).await {
                return Err(self.error(&failure));
            }
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>, StoreError> {
        self.reading(rows::ById { kind, id }).await
    }

    async fn apply(&self, batch: Vec<Change>) -> Result<(), StoreError> {
        check_batch(&batch)?;
        check_columns(&batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        if self.access == Access::Read {
            let place = &self.description;
            return Err(StoreError::Unavailable(format!("{place} was opened for reading only")));
        }
        apply::apply(self, &batch).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, StoreError> {
        self.reading(rows::Page(query)).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.reading(rows::Count(query)).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.reading(rows::Kinds).await
    }

    /// Whether the schema's row can be locked, which takes a server that takes writes. Whether its disk has room shows only when
    /// something is written.
    async fn health(&self) -> Result<(), StoreError> {
        self.reading(schema::Probe(self.access)).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        let access = if self.access == Access::Write { "" } else { ", read-only" };
        format!("{}{access}", self.description)
    }
}

/// Refuses what the columns cannot hold.
fn check_columns(batch: &[Change]) -> Result<(), StoreError> {
    for change in batch {
        let kind = change.target().0.as_str();
        if kind.is_empty() || kind.len() > MAX_KIND {
            let length = kind.len();
            return Err(StoreError::Invalid(format!(
                "a kind of {length} bytes, 1 to {MAX_KIND} are allowed"
            )));
        }
        if let Some(record) = change.record()
            && i64::try_from(record.version.number()).is_err()
        {
            let version = record.version;
            return Err(StoreError::Invalid(format!("version {version}, at most {} is allowed", i64::MAX)));
        }
    }
    Ok(())
}
