//! Reading the database of a Barbican, for the import of what it holds.
//!
//! Owns the statements for all three engines that Barbican runs on, and what its tables mean as rows. Invariants: nothing
//! is ever written to such a database; all of it is read as it was at one moment; every wait ends. What is sealed stays
//! sealed here: this crate holds no key. Refuses databases that lack one of the tables.

mod address;
mod connection;
mod rows;
mod source;
#[cfg(test)]
mod tests;

pub use address::{Address, carries_password};
pub use rows::{
    AclRow, ContainerConsumerRow, ContainerRow, ContainerSecretRow, KekRow, PayloadRow, QuotaRow,
    SecretConsumerRow, SecretRow, Totals,
};
pub use source::Source;

/// Why a foreign database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address cannot be used.
    #[error("the database's address: {0}")]
    Address(String),
    /// There is no such database, it does not answer, or it refuses the user.
    #[error("the database cannot be opened: {0}")]
    Unavailable(String),
    /// It is something else than the database of a Barbican of a recent release.
    #[error("this is not the database of a Barbican of a recent release: {0}")]
    Foreign(String),
    /// A row cannot be understood.
    #[error("{table} {id}: its {column} cannot be read")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's id.
        id: String,
        /// The column.
        column: &'static str,
    },
    /// Reading failed half-way.
    #[error("the database cannot be read: {0}")]
    Read(String),
}
