//! Records as rows, and the statements that find and change them.
//!
//! The index of each listing is chosen here and not by SQLite's planner, so that its cost does not depend on statistics.

use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::Version;
use chatelaine_core::store::{Change, IndexAttributes, Kind, MAX_PAGE, Query, Record, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

macro_rules! columns {
    () => {
        "kind, id, project, created, version, owner, name, state, class, parent, reference, due, body"
    };
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        kind: Kind::stored(row.get(0)?),
        id: row.get(1)?,
        project: row.get(2)?,
        created: Timestamp::from_micros(row.get(3)?),
        version: version(row, 4)?,
        attributes: IndexAttributes {
            owner: row.get(5)?,
            name: row.get(6)?,
            state: row.get(7)?,
            class: row.get(8)?,
            parent: row.get(9)?,
            reference: row.get(10)?,
            due: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_micros),
        },
        body: row.get(12)?,
    })
}

fn version(row: &Row<'_>, column: usize) -> rusqlite::Result<Version> {
    let number: i64 = row.get(column)?;
    u64::try_from(number)
        .map(Version::new)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// Refuses versions that SQLite's signed numbers cannot hold.
pub(super) fn check_versions(batch: &[Change]) -> Result<(), StoreError> {
    for change in batch {
        if let Some(record) = change.record()
            && i64::try_from(record.version.number()).is_err()
        {
            let version = record.version;
            return Err(StoreError::Invalid(format!("version {version}, at most {} is allowed", i64::MAX)));
        }
    }
    Ok(())
}

pub(super) fn read(connection: &Connection, kind: &Kind, id: &str) -> rusqlite::Result<Option<Record>> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM records WHERE kind = ?1 AND id = ?2"
    ))?;
    statement.query_row(params![kind.as_str(), id], record).optional()
}

pub(super) fn version_of(
    connection: &Connection,
    kind: &Kind,
    id: &str,
) -> rusqlite::Result<Option<Version>> {
    let mut statement =
        connection.prepare_cached("SELECT version FROM records WHERE kind = ?1 AND id = ?2")?;
    statement.query_row(params![kind.as_str(), id], |row| version(row, 0)).optional()
}

/// Whether a record has exactly this body.
pub(super) fn has_body(
    connection: &Connection,
    kind: &Kind,
    id: &str,
    body: &[u8],
) -> rusqlite::Result<bool> {
    let mut statement =
        connection.prepare_cached("SELECT body = ?3 FROM records WHERE kind = ?1 AND id = ?2")?;
    Ok(statement.query_row(params![kind.as_str(), id, body], |row| row.get(0)).optional()?.unwrap_or(false))
}

/// Makes one change, whose conditions were checked in the same transaction. Tells whether a row was written.
pub(super) fn change(connection: &Connection, change: &Change) -> rusqlite::Result<bool> {
    let (sql, record) = match change {
        Change::Create(record) => (
            concat!(
                "INSERT INTO records (",
                columns!(),
                ") VALUES (?1, ?2, ?3, ?13, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
            ),
            record,
        ),
        Change::Replace { record, .. } | Change::Reseal { record, .. } => (
            "UPDATE records SET project = ?3, version = ?4, owner = ?5, name = ?6, state = ?7, class = ?8, \
             parent = ?9, reference = ?10, due = ?11, body = ?12 WHERE kind = ?1 AND id = ?2",
            record,
        ),
        Change::Remove { kind, id, .. } => {
            let mut statement =
                connection.prepare_cached("DELETE FROM records WHERE kind = ?1 AND id = ?2")?;
            return exactly_one(statement.execute(params![kind.as_str(), id])?);
        }
        Change::Require { .. } => return Ok(false),
    };
    let attributes = &record.attributes;
    let version = i64::try_from(record.version.number()).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let common = params![
        record.kind.as_str(),
        record.id,
        record.project,
        version,
        attributes.owner,
        attributes.name,
        attributes.state,
        attributes.class,
        attributes.parent,
        attributes.reference,
        attributes.due.map(Timestamp::as_micros),
        record.body,
    ];
    let rows = if matches!(change, Change::Create(_)) {
        let created = record.created.as_micros();
        let with_creation: Vec<&dyn rusqlite::ToSql> =
            common.iter().copied().chain([&created as _]).collect();
        statement.execute(with_creation.as_slice())?
    } else {
        statement.execute(common)?
    };
    exactly_one(rows)
}

fn exactly_one(rows: usize) -> rusqlite::Result<bool> {
    if rows == 1 { Ok(true) } else { Err(rusqlite::Error::StatementChangedRows(rows)) }
}

/// A statement with its values, ready to be run on any connection.
pub(super) struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// The records it finds.
    pub(super) fn records(&self, connection: &Connection) -> rusqlite::Result<Vec<Record>> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        statement.query_map(params_from_iter(&self.values), record)?.collect()
    }

    /// The number it answers.
    pub(super) fn number(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        let number: i64 = statement.query_row(params_from_iter(&self.values), |row| row.get(0))?;
        u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, number))
    }

    #[cfg(test)]
    pub(super) fn plan(&self, connection: &Connection) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", self.sql)).unwrap();
        let lines =
            statement.query_map(params_from_iter(&self.values), |row| row.get::<_, String>(3)).unwrap();
        lines.map(|line| line.unwrap()).collect::<Vec<_>>().join("; ")
    }
}

/// One page of what a query matches.
pub(super) fn listing(query: &Query) -> Statement {
    let mut statement = matching(query, columns!());
    if let Some(after) = &query.after {
        statement.sql.push_str(" AND (created, id) > (?, ?)");
        statement.values.push(Value::Integer(after.created.as_micros()));
        statement.values.push(Value::Text(after.id.clone()));
    }
    statement.sql.push_str(" ORDER BY created, id LIMIT ?");
    let limit = query.limit.get().min(MAX_PAGE);
    statement.values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    statement
}

/// How many records a query matches.
pub(super) fn counting(query: &Query) -> Statement {
    matching(query, "count(*)")
}

fn matching(query: &Query, what: &str) -> Statement {
    let mut sql = format!("SELECT {what} FROM records INDEXED BY {} WHERE kind = ?", index(query));
    let mut values = vec![Value::Text(query.kind.as_str().to_owned())];
    for (column, wanted) in [
        ("project", &query.project),
        ("owner", &query.owner),
        ("name", &query.name),
        ("state", &query.state),
        ("class", &query.class),
        ("parent", &query.parent),
        ("reference", &query.reference),
    ] {
        if let Some(wanted) = wanted {
            sql.push_str(" AND ");
            sql.push_str(column);
            sql.push_str(" = ?");
            values.push(Value::Text(wanted.clone()));
        }
    }
    if let Some(by) = query.due_by {
        sql.push_str(" AND due <= ?");
        values.push(Value::Integer(by.as_micros()));
    }
    Statement { sql, values }
}

/// The index that leaves the fewest records to look at: what is due and what belongs together is few, a project many. Where
/// an owner is named, nobody else's records are looked at, however many refer to something of the same name.
fn index(query: &Query) -> &'static str {
    if query.due_by.is_some() {
        "records_by_due"
    } else if query.parent.is_some() {
        "records_by_parent"
    } else if query.owner.is_some() && query.reference.is_some() {
        "records_by_owner_and_reference"
    } else if query.reference.is_some() {
        "records_by_reference"
    } else if query.owner.is_some() {
        "records_by_owner"
    } else if query.project.is_some() {
        "records_by_project"
    } else {
        "records_by_creation"
    }
}

/// All kinds, each found by one step in the index.
pub(super) fn kinds(connection: &Connection) -> rusqlite::Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    let mut next: Option<String> =
        connection.query_row("SELECT min(kind) FROM records", [], |row| row.get(0))?;
    let mut statement = connection.prepare_cached("SELECT min(kind) FROM records WHERE kind > ?1")?;
    while let Some(kind) = next {
        next = statement.query_row([&kind], |row| row.get(0))?;
        kinds.push(Kind::stored(kind));
    }
    Ok(kinds)
}
