//! One connection to one database server, whatever the engine: how it is made, checked and asked.

use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, MySql, Postgres, Row as _};

use super::Access;
use super::dialect::{Dialect, Statement, Value};
use super::error::{Class, Failure};

/// A server, and how to log in there.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) login: Login,
    pub(super) access: Access,
    /// How long a statement may take.
    pub(super) timeout: Duration,
}

/// What a driver needs. It holds the password: never to be printed.
pub(super) enum Login {
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

enum Connection {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// An open connection.
pub(super) struct Session {
    connection: Connection,
    /// Nodes of a cluster that all take writes, and agree only when they commit.
    pub(super) is_cluster: bool,
}

/// A row that was read.
pub(super) enum Row {
    Postgres(PgRow),
    MySql(MySqlRow),
}

impl Row {
    pub(super) fn bytes(&self, index: usize) -> Result<Option<Vec<u8>>, Failure> {
        Ok(match self {
            Self::Postgres(row) => row.try_get(index)?,
            Self::MySql(row) => row.try_get(index)?,
        })
    }

    pub(super) fn number(&self, index: usize) -> Result<Option<i64>, Failure> {
        Ok(match self {
            Self::Postgres(row) => row.try_get(index)?,
            Self::MySql(row) => row.try_get(index)?,
        })
    }

    fn text(&self, index: usize) -> Result<String, Failure> {
        let text: Option<String> = match self {
            Self::Postgres(row) => row.try_get(index)?,
            Self::MySql(row) => row.try_get(index)?,
        };
        Ok(text.unwrap_or_default())
    }
}

/// A transaction left alone by a server that hangs is ended by the database after so many times the timeout of a statement.
const IDLE_TIMES: u32 = 2;
/// A packet must hold the largest record, its attributes and the statement.
const LEAST_PACKET: u64 = 4 * 1024 * 1024;

impl Session {
    /// Connects, sets what every statement relies on, and refuses servers that cannot do what a store promises.
    pub(super) async fn open(place: &Place) -> Result<Self, Failure> {
        let connection = match &place.login {
            Login::Postgres(login) => Connection::Postgres(login.connect().await?),
            Login::MySql(login) => Connection::MySql(login.connect().await?),
        };
        let mut session = Self { connection, is_cluster: false };
        match session.dialect() {
            Dialect::Postgres => session.settle_postgres(place).await?,
            Dialect::MySql => session.settle_mysql(place).await?,
        }
        Ok(session)
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match &self.connection {
            Connection::Postgres(_) => Dialect::Postgres,
            Connection::MySql(_) => Dialect::MySql,
        }
    }

    async fn settle_postgres(&mut self, place: &Place) -> Result<(), Failure> {
        let timeout = place.timeout.as_millis();
        let idle = (place.timeout * IDLE_TIMES).as_millis();
        let read_only = if place.access == Access::Read { "on" } else { "off" };
        self.run(&format!(
            "SET statement_timeout = {timeout}; SET lock_timeout = {timeout}; \
             SET idle_in_transaction_session_timeout = {idle}; \
             SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = {read_only}"
        ))
        .await?;
        let facts = self
            .ask("SELECT CAST(pg_is_in_recovery() AS TEXT), current_setting('synchronous_commit')")
            .await?;
        let Some(facts) = facts.first() else {
            return Err(Failure::lost("the server says nothing of itself"));
        };
        if facts.text(0)? != "false" {
            return Err(Failure::lost("this server only follows another one: name the primary"));
        }
        // What is acknowledged survives a power cut. Waiting for standbys as well is the operator's choice, and stays.
        if facts.text(1)? == "off" {
            self.run("SET synchronous_commit = on").await?;
        }
        Ok(())
    }

    async fn settle_mysql(&mut self, place: &Place) -> Result<(), Failure> {
        let seconds = place.timeout.as_secs().max(1);
        self.run(&format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, \
             innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}"
        ))
        .await?;
        self.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        let variable = async |session: &mut Self, name: &str| {
            let rows = session.ask(&format!("SHOW VARIABLES LIKE '{name}'")).await?;
            Ok::<_, Failure>(rows.first().map(|row| row.text(1)).transpose()?.unwrap_or_default())
        };
        if variable(self, "version").await?.contains("MariaDB") {
            let idle = seconds.saturating_mul(u64::from(IDLE_TIMES));
            self.run(&format!(
                "SET SESSION max_statement_time = {seconds}, idle_transaction_timeout = {idle}"
            ))
            .await?;
        }
        if !variable(self, "group_replication_group_name").await?.is_empty() {
            return Err(Failure::new(
                Class::Refused,
                "this server belongs to a MySQL group replication, which is not supported: use MariaDB with Galera",
            ));
        }
        if variable(self, "read_only").await? == "ON" {
            return Err(Failure::lost("this server is read-only: name one that takes writes"));
        }
        let packet = variable(self, "max_allowed_packet").await?;
        if packet.parse::<u64>().is_ok_and(|bytes| bytes < LEAST_PACKET) {
            return Err(Failure::new(
                Class::Refused,
                format!("max_allowed_packet is {packet}: set it to 16 MiB or more"),
            ));
        }
        self.is_cluster = variable(self, "wsrep_on").await? == "ON";
        if self.is_cluster {
            // A read waits until this node has what every node had acknowledged before; a node that has lost the others
            // does not answer.
            self.run("SET SESSION wsrep_sync_wait = 7, wsrep_dirty_reads = OFF").await?;
        }
        if place.access == Access::Read {
            self.run("SET SESSION TRANSACTION READ ONLY").await?;
        }
        Ok(())
    }

    /// What the server is set to that may lose what it acknowledged, in words.
    pub(super) async fn risk(&mut self) -> Result<Option<&'static str>, Failure> {
        let is_set = async |session: &mut Self, question: &str, column: usize, safe: &str| {
            let rows = session.ask(question).await?;
            Ok::<_, Failure>(match rows.first() {
                Some(row) => row.text(column)? == safe,
                None => true,
            })
        };
        Ok(match self.dialect() {
            Dialect::Postgres if !is_set(self, "SELECT current_setting('fsync')", 0, "on").await? => {
                Some("fsync is off at the database: a power cut loses what was acknowledged, or more")
            }
            Dialect::MySql if !self.is_cluster => {
                let question = "SHOW VARIABLES LIKE 'innodb_flush_log_at_trx_commit'";
                let safe = is_set(self, question, 1, "1").await?;
                (!safe).then_some(
                    "innodb_flush_log_at_trx_commit is not 1 at the database: a power cut loses what was acknowledged",
                )
            }
            _ => None,
        })
    }

    /// Runs statements without values.
    pub(super) async fn run(&mut self, text: &str) -> Result<(), Failure> {
        let statement = sqlx::raw_sql(AssertSqlSafe(text));
        match &mut self.connection {
            Connection::Postgres(connection) => {
                statement.execute(connection).await?;
            }
            Connection::MySql(connection) => {
                statement.execute(connection).await?;
            }
        }
        Ok(())
    }

    /// Asks a question without values.
    pub(super) async fn ask(&mut self, text: &str) -> Result<Vec<Row>, Failure> {
        let statement = sqlx::raw_sql(AssertSqlSafe(text));
        Ok(match &mut self.connection {
            Connection::Postgres(connection) => {
                statement.fetch_all(connection).await?.into_iter().map(Row::Postgres).collect()
            }
            Connection::MySql(connection) => {
                statement.fetch_all(connection).await?.into_iter().map(Row::MySql).collect()
            }
        })
    }

    /// Runs a statement; the number of rows it was about.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, Failure> {
        let Statement { text, values, is_kept, .. } = statement;
        Ok(match &mut self.connection {
            Connection::Postgres(connection) => {
                let query = bound(sqlx::query::<Postgres>(AssertSqlSafe(text)), &values, is_kept);
                query.execute(connection).await?.rows_affected()
            }
            Connection::MySql(connection) => {
                let query = bound(sqlx::query::<MySql>(AssertSqlSafe(text)), &values, is_kept);
                query.execute(connection).await?.rows_affected()
            }
        })
    }

    /// Runs a statement that finds rows.
    pub(super) async fn fetch(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Failure> {
        let Statement { text, values, is_kept, .. } = statement;
        Ok(match &mut self.connection {
            Connection::Postgres(connection) => {
                let query = bound(sqlx::query::<Postgres>(AssertSqlSafe(text)), &values, is_kept);
                query.fetch_all(connection).await?.into_iter().map(Row::Postgres).collect()
            }
            Connection::MySql(connection) => {
                let query = bound(sqlx::query::<MySql>(AssertSqlSafe(text)), &values, is_kept);
                query.fetch_all(connection).await?.into_iter().map(Row::MySql).collect()
            }
        })
    }

    /// Ends the connection in good order.
    pub(super) async fn close(self) {
        let closed = match self.connection {
            Connection::Postgres(connection) => connection.close().await,
            Connection::MySql(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "a connection to the database was not closed in good order");
        }
    }
}

type Query<'q, D> = sqlx::query::Query<'q, D, <D as sqlx::Database>::Arguments>;

fn bound<'q, D>(query: Query<'q, D>, values: &[Value<'q>], is_kept: bool) -> Query<'q, D>
where
    D: sqlx::Database + sqlx::database::HasStatementCache,
    Option<&'q [u8]>: sqlx::Encode<'q, D> + sqlx::Type<D>,
    Option<i64>: sqlx::Encode<'q, D> + sqlx::Type<D>,
{
    let mut query = query;
    for value in values {
        query = match value {
            Value::Bytes(bytes) => query.bind(*bytes),
            Value::Number(number) => query.bind(*number),
        };
    }
    query.persistent(is_kept)
}
