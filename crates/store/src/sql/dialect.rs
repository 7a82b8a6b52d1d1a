//! How the engines differ, and statements that know it.

use chatelaine_core::store::Query;

/// The table of records.
pub(super) const RECORDS: &str = "chatelaine_records";
/// The table with the one row that says which schema this is.
pub(super) const SCHEMA: &str = "chatelaine_schema";

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    /// MariaDB and MySQL.
    MySql,
}

impl Dialect {
    /// What begins a transaction that changes something. Both engines then read what is committed at each statement, and
    /// locking reads see the newest state.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            Self::MySql => "START TRANSACTION READ WRITE",
        }
    }

    /// Names the index of a listing where the engine is told; PostgreSQL chooses by itself.
    pub(super) fn forced(self, index: &str) -> String {
        match self {
            Self::Postgres => String::new(),
            Self::MySql => format!(" FORCE INDEX ({index})"),
        }
    }

    /// Ends a reading of rows that must not be changed by others until the end of the transaction.
    pub(super) const fn shared_lock(self) -> &'static str {
        match self {
            Self::Postgres => " FOR SHARE",
            // Understood by MariaDB and MySQL alike.
            Self::MySql => " LOCK IN SHARE MODE",
        }
    }

    /// Adds the condition that a row comes after a place in the order of listings.
    pub(super) fn after<'a>(self, statement: &mut Statement<'a>, created: i64, id: &'a [u8]) {
        match self {
            Self::Postgres => {
                statement.push(" AND (created, id) > (");
                statement.number(created);
                statement.push(", ");
                statement.bytes(id);
                statement.push(")");
            }
            // A comparison of rows is no range of an index here; the first of these conditions is.
            Self::MySql => {
                statement.push(" AND created >= ");
                statement.number(created);
                statement.push(" AND (created > ");
                statement.number(created);
                statement.push(" OR id > ");
                statement.bytes(id);
                statement.push(")");
            }
        }
    }

    /// The statements that make the schema, each of which may be run again: several servers may start at once, and where
    /// changes of a schema are no part of a transaction, one may have been cut off.
    pub(super) fn creation(self) -> Vec<String> {
        match self {
            Self::Postgres => vec![
                format!(
                    "CREATE TABLE IF NOT EXISTS {RECORDS} (
                        kind      BYTEA  NOT NULL,
                        id        BYTEA  NOT NULL,
                        project   BYTEA  NOT NULL,
                        created   BIGINT NOT NULL,
                        version   BIGINT NOT NULL,
                        owner     BYTEA,
                        name      BYTEA,
                        state     BYTEA,
                        class     BYTEA,
                        parent    BYTEA,
                        reference BYTEA,
                        due       BIGINT,
                        body      BYTEA  NOT NULL,
                        PRIMARY KEY (kind, id))"
                ),
                // Sealed bodies do not get smaller.
                format!("ALTER TABLE {RECORDS} ALTER COLUMN body SET STORAGE EXTERNAL"),
                self.index("records_by_creation", "kind, created, id", ""),
                self.index("records_by_project", "kind, project, created, id", ""),
                self.index("records_by_owner", "kind, owner, created, id", "owner IS NOT NULL"),
                self.index("records_by_parent", "kind, parent, created, id", "parent IS NOT NULL"),
                self.index("records_by_reference", "kind, reference, created, id", "reference IS NOT NULL"),
                self.index(
                    "records_by_owner_and_reference",
                    "kind, owner, reference, created, id",
                    "owner IS NOT NULL AND reference IS NOT NULL",
                ),
                self.index("records_by_due", "kind, due", "due IS NOT NULL"),
                format!(
                    "CREATE TABLE IF NOT EXISTS {SCHEMA} (
                        name       VARCHAR(16) PRIMARY KEY,
                        version    BIGINT NOT NULL,
                        compatible BIGINT NOT NULL)"
                ),
            ],
            Self::MySql => vec![
                // `guarded` counts the batches that required a record: see `apply`.
                format!(
                    "CREATE TABLE IF NOT EXISTS {RECORDS} (
                        kind      VARBINARY(64)   NOT NULL,
                        id        VARBINARY(255)  NOT NULL,
                        project   VARBINARY(1024) NOT NULL,
                        created   BIGINT          NOT NULL,
                        version   BIGINT          NOT NULL,
                        owner     VARBINARY(1024),
                        name      VARBINARY(1024),
                        state     VARBINARY(1024),
                        class     VARBINARY(1024),
                        parent    VARBINARY(1024),
                        reference VARBINARY(1024),
                        due       BIGINT,
                        guarded   BIGINT          NOT NULL DEFAULT 0,
                        body      MEDIUMBLOB      NOT NULL,
                        PRIMARY KEY (kind, id),
                        INDEX records_by_creation (kind, created, id),
                        INDEX records_by_project (kind, project, created, id),
                        INDEX records_by_owner (kind, owner, created, id),
                        INDEX records_by_parent (kind, parent, created, id),
                        INDEX records_by_reference (kind, reference, created, id),
                        INDEX records_by_owner_and_reference (kind, owner, reference, created, id),
                        INDEX records_by_due (kind, due)
                    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4"
                ),
                format!(
                    "CREATE TABLE IF NOT EXISTS {SCHEMA} (
                        name       VARCHAR(16) PRIMARY KEY,
                        version    BIGINT NOT NULL,
                        compatible BIGINT NOT NULL
                    ) ENGINE = InnoDB CHARACTER SET utf8mb4"
                ),
            ],
        }
    }

    fn index(self, name: &str, columns: &str, of: &str) -> String {
        let of = if of.is_empty() { String::new() } else { format!(" WHERE {of}") };
        format!("CREATE INDEX IF NOT EXISTS chatelaine_{name} ON {RECORDS} ({columns}){of}")
    }
}

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Bytes(Option<&'a [u8]>),
    Number(Option<i64>),
}

/// A statement with its values.
pub(super) struct Statement<'a> {
    dialect: Dialect,
    pub(super) text: String,
    pub(super) values: Vec<Value<'a>>,
    /// Whether it is one of few, and worth keeping prepared.
    pub(super) is_kept: bool,
}

impl<'a> Statement<'a> {
    pub(super) fn new(dialect: Dialect, text: impl Into<String>) -> Self {
        Self { dialect, text: text.into(), values: Vec::new(), is_kept: true }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn value(&mut self, value: Value<'a>) {
        self.values.push(value);
        match self.dialect {
            Dialect::Postgres => self.text.push_str(&format!("${}", self.values.len())),
            Dialect::MySql => self.text.push('?'),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &'a [u8]) {
        self.value(Value::Bytes(Some(bytes)));
    }

    pub(super) fn number(&mut self, number: i64) {
        self.value(Value::Number(Some(number)));
    }

    /// A condition that names rows by kind and id; there is at least one.
    pub(super) fn rows(&mut self, keys: &[(&'a [u8], &'a [u8])]) {
        self.is_kept &= keys.len() == 1;
        let mut open: Option<&[u8]> = None;
        self.push("(");
        for (kind, id) in keys {
            if open == Some(kind) {
                self.push(", ");
            } else {
                if open.is_some() {
                    self.push(")) OR ");
                }
                self.push("(kind = ");
                self.bytes(kind);
                self.push(" AND id IN (");
                open = Some(kind);
            }
            self.bytes(id);
        }
        self.push(if open.is_some() { ")))" } else { "1 = 0)" });
    }
}

/// The index of a listing: that of the embedded store, for the same reasons.
pub(super) fn index_of(query: &Query) -> &'static str {
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
