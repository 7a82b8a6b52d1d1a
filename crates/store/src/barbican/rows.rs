//! The rows of a Barbican's tables, as far as the import needs them. What they hold is not judged here.

use std::collections::BTreeMap;

use chatelaine_core::clock::Timestamp;

use super::SourceError;
use super::connection::Texts;

/// A project's key-encryption key, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekRow {
    /// The backend that made it, as a Python class.
    pub plugin_name: String,
    /// What the backend keeps of it: for the software backend the sealed key.
    pub plugin_meta: Option<String>,
}

/// A sealed payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadRow {
    /// The id of the key-encryption key it is sealed under.
    pub kek_id: Option<String>,
    /// The sealed payload.
    pub cypher_text: Option<String>,
    /// Its media type.
    pub content_type: Option<String>,
}

/// An access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclRow {
    /// What it allows.
    pub operation: String,
    /// Whether the project may do it too.
    pub project_access: bool,
    /// The users that may.
    pub users: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Who uses a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct SecretConsumerRow {
    pub service: String,
    pub resource_type: String,
    pub resource_id: String,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A secret, with everything that hangs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct SecretRow {
    pub id: String,
    /// The project's id in the identity service; `None` when the project is not in the database.
    pub project: Option<String>,
    pub name: Option<String>,
    pub secret_type: Option<String>,
    pub expiration: Option<Timestamp>,
    pub algorithm: Option<String>,
    pub bit_length: Option<i64>,
    pub mode: Option<String>,
    pub creator: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub deleted: bool,
    pub status: String,
    pub payloads: Vec<PayloadRow>,
    pub store_metadata: BTreeMap<String, String>,
    pub user_metadata: BTreeMap<String, String>,
    pub acls: Vec<AclRow>,
    pub consumers: Vec<SecretConsumerRow>,
}

/// A secret in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSecretRow {
    /// What it is called there.
    pub name: Option<String>,
    /// Its id.
    pub secret_id: String,
}

/// Who uses a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct ContainerConsumerRow {
    pub name: String,
    pub url: String,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A container, with everything that hangs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct ContainerRow {
    pub id: String,
    /// As of a secret.
    pub project: Option<String>,
    pub name: Option<String>,
    pub container_type: Option<String>,
    pub creator: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub deleted: bool,
    pub status: String,
    pub secrets: Vec<ContainerSecretRow>,
    pub acls: Vec<AclRow>,
    pub consumers: Vec<ContainerConsumerRow>,
}

/// The quotas of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct QuotaRow {
    pub id: String,
    /// As of a secret.
    pub project: Option<String>,
    pub secrets: Option<i64>,
    pub orders: Option<i64>,
    pub containers: Option<i64>,
    pub consumers: Option<i64>,
    pub cas: Option<i64>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// How many rows there are, those flagged as deleted included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the tables'")]
pub struct Totals {
    pub secrets: u64,
    pub containers: u64,
    pub orders: u64,
    pub quotas: u64,
}

/// Takes a row apart, column by column in their order.
pub(super) struct Reader {
    table: &'static str,
    columns: std::iter::Zip<std::slice::Iter<'static, &'static str>, std::vec::IntoIter<Option<String>>>,
    /// The row's id, once it was read, for messages.
    id: String,
}

impl Reader {
    pub(super) fn new(table: &'static str, columns: &'static [&'static str], row: Texts) -> Self {
        Self { table, columns: columns.iter().zip(row), id: "(without id)".to_owned() }
    }

    fn wrong(&self, column: &'static str) -> SourceError {
        SourceError::Row { table: self.table, id: self.id.clone(), column }
    }

    fn next(&mut self) -> Result<(&'static str, Option<String>), SourceError> {
        match self.columns.next() {
            Some((column, value)) => Ok((column, value)),
            None => Err(self.wrong("end")),
        }
    }

    /// The row's own id, or that of the row it belongs to.
    pub(super) fn id(&mut self) -> Result<String, SourceError> {
        let id = self.text()?;
        self.id.clone_from(&id);
        Ok(id)
    }

    pub(super) fn optional(&mut self) -> Result<Option<String>, SourceError> {
        Ok(self.next()?.1)
    }

    pub(super) fn text(&mut self) -> Result<String, SourceError> {
        let (column, value) = self.next()?;
        value.ok_or_else(|| self.wrong(column))
    }

    pub(super) fn number(&mut self) -> Result<Option<i64>, SourceError> {
        let (column, value) = self.next()?;
        value.map(|text| text.parse().map_err(|_| self.wrong(column))).transpose()
    }

    pub(super) fn flag(&mut self) -> Result<bool, SourceError> {
        let (column, value) = self.next()?;
        match value.as_deref() {
            Some("0" | "f" | "false") => Ok(false),
            Some("1" | "t" | "true") => Ok(true),
            _ => Err(self.wrong(column)),
        }
    }

    /// A moment: engines write one without a zone, and Barbican means UTC.
    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>, SourceError> {
        let (column, value) = self.next()?;
        let parsed = |text: String| {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            let moment = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
            Some(Timestamp::from_micros(moment.as_microsecond()))
        };
        value.map(|text| parsed(text).ok_or_else(|| self.wrong(column))).transpose()
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, SourceError> {
        self.optional_time()?.ok_or_else(|| self.wrong("created_at or updated_at"))
    }
}
