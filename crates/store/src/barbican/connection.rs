//! One connection to a foreign database, whatever the engine, and the few statements it is asked.
//!
//! Every column is fetched as text, which each engine makes of it: that is the one form they agree on. The transaction
//! begun with the connection lasts as long as it, so that all statements see one state.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection as SqliteConnection, OpenFlags};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::SourceError;
use super::address::Place;

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// How long one statement may take, with the fetching of what it finds.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(300);
/// How long a lock of another process is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// One row: its columns in the order of the statement.
pub(super) type Texts = Vec<Option<String>>;

/// Which rows of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range<'a> {
    /// Every one.
    All,
    /// Those whose id comes after this.
    After(&'a str),
    /// Those whose column lies between two values, both included.
    Between(&'static str, &'a str, &'a str),
    /// Those whose column holds the id of a row of another table, one whose own column lies between two values.
    OfRows { column: &'static str, table: &'static str, parent: &'static str, first: &'a str, last: &'a str },
}

/// A question about one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Select<'a> {
    pub(super) table: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) range: Range<'a>,
    /// Leave out rows flagged as deleted.
    pub(super) live: bool,
    pub(super) order: &'static [&'static str],
    pub(super) limit: Option<usize>,
}

#[derive(Clone, Copy)]
enum Dialect {
    Sqlite,
    MySql,
    Postgres,
}

impl Dialect {
    fn quoted(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{name}`"),
            Self::Sqlite | Self::Postgres => format!("\"{name}\""),
        }
    }

    fn as_text(self, name: &str) -> String {
        let name = self.quoted(name);
        match self {
            Self::MySql => format!("CAST({name} AS CHAR)"),
            Self::Sqlite | Self::Postgres => format!("CAST({name} AS TEXT)"),
        }
    }

    fn placeholder(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::Sqlite | Self::MySql => "?".to_owned(),
        }
    }

    /// The statement and its arguments.
    fn statement<'a>(self, select: &Select<'a>) -> (String, Vec<&'a str>) {
        let list = |names: &[&str], each: &dyn Fn(&str) -> String| {
            names.iter().map(|name| each(name)).collect::<Vec<_>>().join(", ")
        };
        let columns = list(select.columns, &|name| self.as_text(name));
        let mut sql = format!("SELECT {columns} FROM {}", self.quoted(select.table));
        let mut arguments = Vec::new();
        let mut conditions = Vec::new();
        let (one, two) = (self.placeholder(1), self.placeholder(2));
        match select.range {
            Range::All => {}
            Range::After(id) => {
                conditions.push(format!("{} > {one}", self.quoted("id")));
                arguments.push(id);
            }
            Range::Between(column, first, last) => {
                conditions.push(format!("{} BETWEEN {one} AND {two}", self.quoted(column)));
                arguments.extend([first, last]);
            }
            Range::OfRows { column, table, parent, first, last } => {
                conditions.push(format!(
                    "{} IN (SELECT {} FROM {} WHERE {} BETWEEN {one} AND {two})",
                    self.quoted(column),
                    self.quoted("id"),
                    self.quoted(table),
                    self.quoted(parent),
                ));
                arguments.extend([first, last]);
            }
        }
        if select.live {
            conditions.push(format!("NOT {}", self.quoted("deleted")));
        }
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        if !select.order.is_empty() {
            sql.push_str(" ORDER BY ");
            sql.push_str(&list(select.order, &|name| self.quoted(name)));
        }
        if let Some(limit) = select.limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        (sql, arguments)
    }

    const fn tables(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
            Self::MySql => {
                "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE()"
            }
            Self::Postgres => {
                "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
                 WHERE table_schema = ANY (current_schemas(false))"
            }
        }
    }

    fn count(self, table: &str) -> String {
        let number = match self {
            Self::MySql => "CAST(COUNT(*) AS CHAR)",
            Self::Sqlite | Self::Postgres => "CAST(COUNT(*) AS TEXT)",
        };
        format!("SELECT {number} FROM {}", self.quoted(table))
    }
}

pub(super) enum Connection {
    /// `None` only while a statement runs, or after one whose thread was lost.
    Sqlite(Option<SqliteConnection>),
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

fn unavailable(error: impl std::fmt::Display) -> SourceError {
    SourceError::Unavailable(error.to_string())
}

fn unreadable(error: impl std::fmt::Display) -> SourceError {
    SourceError::Read(error.to_string())
}

async fn within<T, E: std::fmt::Display>(
    patience: Duration,
    wrong: fn(E) -> SourceError,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, SourceError> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done.map_err(wrong),
        Err(_) => Err(SourceError::Unavailable(format!("no answer within {} s", patience.as_secs()))),
    }
}

impl Connection {
    pub(super) async fn open(place: &Place) -> Result<Self, SourceError> {
        match place {
            Place::File(path) => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || open_file(&path)).await;
                Ok(Self::Sqlite(Some(opened.map_err(unavailable)??)))
            }
            Place::MySql(options) => {
                let mut connection = within(CONNECT_PATIENCE, unavailable, options.connect()).await?;
                let begin = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
                             START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
                let started = sqlx::raw_sql(begin).execute(&mut connection);
                within(CONNECT_PATIENCE, unavailable, started).await?;
                Ok(Self::MySql(connection))
            }
            Place::Postgres(options) => {
                let mut connection = within(CONNECT_PATIENCE, unavailable, options.connect()).await?;
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let started = sqlx::raw_sql(begin).execute(&mut connection);
                within(CONNECT_PATIENCE, unavailable, started).await?;
                Ok(Self::Postgres(connection))
            }
        }
    }

    const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::MySql(_) => Dialect::MySql,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(super) async fn select(&mut self, select: Select<'_>) -> Result<Vec<Texts>, SourceError> {
        let (sql, arguments) = self.dialect().statement(&select);
        self.run(sql, &arguments, select.columns.len()).await
    }

    /// The names of all tables.
    pub(super) async fn tables(&mut self) -> Result<Vec<String>, SourceError> {
        let rows = self.run(self.dialect().tables().to_owned(), &[], 1).await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// How many rows a table has, those flagged as deleted included.
    pub(super) async fn count(&mut self, table: &'static str) -> Result<u64, SourceError> {
        let rows = self.run(self.dialect().count(table), &[], 1).await?;
        let number = rows.into_iter().flatten().flatten().next();
        number.and_then(|text| text.parse().ok()).ok_or_else(|| unreadable("a count is no number"))
    }

    async fn run(
        &mut self,
        sql: String,
        arguments: &[&str],
        columns: usize,
    ) -> Result<Vec<Texts>, SourceError> {
        match self {
            Self::Sqlite(held) => {
                let connection = held.take().ok_or_else(|| unreadable("the connection was lost"))?;
                let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
                let task = tokio::task::spawn_blocking(move || {
                    let found = file_rows(&connection, &sql, &arguments, columns);
                    (connection, found)
                });
                let (connection, found) = task.await.map_err(unreadable)?;
                *held = Some(connection);
                found.map_err(unreadable)
            }
            Self::MySql(connection) => {
                let mut query = sqlx::query(AssertSqlSafe(sql));
                for argument in arguments {
                    query = query.bind(*argument);
                }
                let rows = within(STATEMENT_PATIENCE, unreadable, query.fetch_all(connection)).await?;
                let texts = |row: &MySqlRow| (0..columns).map(|index| row.try_get(index)).collect();
                rows.iter().map(texts).collect::<Result<_, sqlx::Error>>().map_err(unreadable)
            }
            Self::Postgres(connection) => {
                let mut query = sqlx::query(AssertSqlSafe(sql));
                for argument in arguments {
                    query = query.bind(*argument);
                }
                let rows = within(STATEMENT_PATIENCE, unreadable, query.fetch_all(connection)).await?;
                let texts = |row: &PgRow| (0..columns).map(|index| row.try_get(index)).collect();
                rows.iter().map(texts).collect::<Result<_, sqlx::Error>>().map_err(unreadable)
            }
        }
    }
}

fn open_file(path: &Path) -> Result<SqliteConnection, SourceError> {
    let wrong = |error: rusqlite::Error| unavailable(format!("{}: {error}", path.display()));
    if !path.is_file() {
        return Err(unavailable(format!("{} is no file", path.display())));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = SqliteConnection::open_with_flags(path, flags).map_err(wrong)?;
    connection.busy_timeout(LOCK_PATIENCE).map_err(wrong)?;
    connection.execute_batch("PRAGMA query_only = ON; BEGIN").map_err(wrong)?;
    Ok(connection)
}

fn file_rows(
    connection: &SqliteConnection,
    sql: &str,
    arguments: &[String],
    columns: usize,
) -> rusqlite::Result<Vec<Texts>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(arguments), |row| {
        (0..columns).map(|index| row.get(index)).collect::<rusqlite::Result<Texts>>()
    })?;
    rows.collect()
}
