//! Records as rows, and the statements that find them.

use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::Version;
use chatelaine_core::store::{IndexAttributes, Kind, MAX_PAGE, Query, Record};

use super::Question;
use super::dialect::{Dialect, RECORDS, Statement, Value, index_of};
use super::error::{Class, Failure};
use super::pool::Lease;
use super::session::Row;

/// The columns, in the order in which they are read and written.
pub(super) const COLUMNS: &str =
    "kind, id, project, created, version, owner, name, state, class, parent, reference, due, body";

fn text(bytes: Vec<u8>, column: &str) -> Result<String, Failure> {
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Class::Damaged, format!("a value of the column {column} is no text")))
}

fn needed<T>(value: Option<T>, column: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::new(Class::Damaged, format!("a value of the column {column} is missing")))
}

pub(super) fn version(number: i64) -> Result<Version, Failure> {
    u64::try_from(number)
        .map(Version::new)
        .map_err(|_| Failure::new(Class::Damaged, format!("{number} is no version of a record")))
}

fn record(row: &Row) -> Result<Record, Failure> {
    let optional = |index, column| row.bytes(index)?.map(|bytes| text(bytes, column)).transpose();
    let required = |index, column| text(needed(row.bytes(index)?, column)?, column);
    Ok(Record {
        kind: Kind::stored(required(0, "kind")?),
        id: required(1, "id")?,
        project: required(2, "project")?,
        created: Timestamp::from_micros(needed(row.number(3)?, "created")?),
        version: version(needed(row.number(4)?, "version")?)?,
        attributes: IndexAttributes {
            owner: optional(5, "owner")?,
            name: optional(6, "name")?,
            state: optional(7, "state")?,
            class: optional(8, "class")?,
            parent: optional(9, "parent")?,
            reference: optional(10, "reference")?,
            due: row.number(11)?.map(Timestamp::from_micros),
        },
        body: needed(row.bytes(12)?, "body")?,
    })
}

/// The values of a record, in the order of [`COLUMNS`].
pub(super) fn values(record: &Record) -> [Value<'_>; 13] {
    fn optional(text: Option<&String>) -> Value<'_> {
        Value::Bytes(text.map(String::as_bytes))
    }
    let attributes = &record.attributes;
    [
        Value::Bytes(Some(record.kind.as_str().as_bytes())),
        Value::Bytes(Some(record.id.as_bytes())),
        Value::Bytes(Some(record.project.as_bytes())),
        Value::Number(Some(record.created.as_micros())),
        Value::Number(Some(i64::try_from(record.version.number()).unwrap_or(i64::MAX))),
        optional(attributes.owner.as_ref()),
        optional(attributes.name.as_ref()),
        optional(attributes.state.as_ref()),
        optional(attributes.class.as_ref()),
        optional(attributes.parent.as_ref()),
        optional(attributes.reference.as_ref()),
        Value::Number(attributes.due.map(Timestamp::as_micros)),
        Value::Bytes(Some(&record.body)),
    ]
}

/// One record.
pub(super) struct ById<'a> {
    pub(super) kind: &'a Kind,
    pub(super) id: &'a str,
}

impl Question for ById<'_> {
    type Answer = Option<Record>;

    async fn ask(&self, lease: &mut Lease) -> Result<Option<Record>, Failure> {
        let mut statement =
            Statement::new(lease.dialect(), format!("SELECT {COLUMNS} FROM {RECORDS} WHERE kind = "));
        statement.bytes(self.kind.as_str().as_bytes());
        statement.push(" AND id = ");
        statement.bytes(self.id.as_bytes());
        lease.fetch(statement).await?.first().map(record).transpose()
    }
}

/// One page of what a query matches.
pub(super) struct Page<'a>(pub(super) &'a Query);

impl Question for Page<'_> {
    type Answer = Vec<Record>;

    async fn ask(&self, lease: &mut Lease) -> Result<Vec<Record>, Failure> {
        let statement = listing(lease.dialect(), self.0);
        lease.fetch(statement).await?.iter().map(record).collect()
    }
}

pub(super) fn listing(dialect: Dialect, query: &Query) -> Statement<'_> {
    let mut statement = matching(dialect, query, COLUMNS);
    if let Some(after) = &query.after {
        dialect.after(&mut statement, after.created.as_micros(), after.id.as_bytes());
    }
    statement.push(" ORDER BY created, id LIMIT ");
    statement.number(i64::try_from(query.limit.get().min(MAX_PAGE)).unwrap_or(i64::MAX));
    statement
}

/// How many records a query matches.
pub(super) struct Count<'a>(pub(super) &'a Query);

impl Question for Count<'_> {
    type Answer = u64;

    async fn ask(&self, lease: &mut Lease) -> Result<u64, Failure> {
        let statement = matching(lease.dialect(), self.0, "COUNT(*)");
        let rows = lease.fetch(statement).await?;
        let number = rows.first().map(|row| row.number(0)).transpose()?.flatten();
        number
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| Failure::new(Class::Damaged, "the database counts no number"))
    }
}

fn matching<'a>(dialect: Dialect, query: &'a Query, what: &str) -> Statement<'a> {
    let forced = dialect.forced(index_of(query));
    let mut statement =
        Statement::new(dialect, format!("SELECT {what} FROM {RECORDS}{forced} WHERE kind = "));
    statement.bytes(query.kind.as_str().as_bytes());
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
            statement.push(" AND ");
            statement.push(column);
            statement.push(" = ");
            statement.bytes(wanted.as_bytes());
        }
    }
    if let Some(by) = query.due_by {
        statement.push(" AND due <= ");
        statement.number(by.as_micros());
    }
    statement
}

/// All kinds, each found by one step in the index.
pub(super) struct Kinds;

impl Question for Kinds {
    type Answer = Vec<Kind>;

    async fn ask(&self, lease: &mut Lease) -> Result<Vec<Kind>, Failure> {
        let mut kinds: Vec<Kind> = Vec::new();
        loop {
            let last = kinds.last().map(|kind| kind.as_str().to_owned()).unwrap_or_default();
            let mut statement =
                Statement::new(lease.dialect(), format!("SELECT kind FROM {RECORDS} WHERE kind > "));
            statement.bytes(last.as_bytes());
            statement.push(" ORDER BY kind LIMIT 1");
            let found = lease.fetch(statement).await?;
            let Some(row) = found.first() else { return Ok(kinds) };
            kinds.push(Kind::stored(text(needed(row.bytes(0)?, "kind")?, "kind")?));
        }
    }
}
