//! The databases' errors: what came of the statement, and whether to try again.

use std::fmt;

use sqlx::Error;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;

/// What an error means for what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The transaction was rolled back since others were in its way: it may be begun anew.
    Contended,
    /// A lock was not to be had in time. Before a commit it may be tried again.
    Locked,
    /// The connection is gone, or its server takes no writes: another connection may do.
    Lost,
    /// There is a row of this key already.
    Duplicate,
    /// The table is not there.
    Absent,
    /// The database did not do it in time.
    Slow,
    /// The database does not do it.
    Refused,
    /// What was read is no record.
    Damaged,
}

/// An error of a database.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    text: String,
}

/// Longest text of a database that is passed on, in characters.
const LONGEST: usize = 300;

impl Failure {
    pub(super) fn new(class: Class, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    pub(super) fn slow(text: impl Into<String>) -> Self {
        Self::new(Class::Slow, text)
    }

    pub(super) fn lost(text: impl Into<String>) -> Self {
        Self::new(Class::Lost, text)
    }

    /// Whether it is worth another try, where it is known that nothing came of the first.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.class, Class::Contended | Class::Locked | Class::Lost)
    }

    pub(super) fn is_damage(&self) -> bool {
        self.class == Class::Damaged
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let class = match &error {
            Error::Database(database) => {
                if let Some(error) = database.try_downcast_ref::<PgDatabaseError>() {
                    let (class, advice) = of_postgres(error.code());
                    return Self::told(class, error.code(), error.message(), advice);
                }
                if let Some(error) = database.try_downcast_ref::<MySqlDatabaseError>() {
                    let (class, advice) = of_mysql(error.number());
                    return Self::told(class, &error.number().to_string(), error.message(), advice);
                }
                Class::Refused
            }
            // What is wrong with a certificate does not pass.
            Error::Tls(_) => Class::Refused,
            Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Class::Refused,
            Error::Io(_) | Error::Protocol(_) | Error::WorkerCrashed => Class::Lost,
            Error::ColumnDecode { .. }
            | Error::Decode(_)
            | Error::ColumnNotFound(_)
            | Error::ColumnIndexOutOfBounds { .. } => Class::Damaged,
            _ => Class::Refused,
        };
        Self::new(class, short(&error.to_string()))
    }
}

impl Failure {
    fn told(class: Class, code: &str, message: &str, advice: &str) -> Self {
        let gap = if advice.is_empty() { "" } else { ": " };
        Self::new(class, format!("{} ({code}){gap}{advice}", short(message)))
    }
}

fn short(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST + 1).collect();
    match flat.char_indices().nth(LONGEST) {
        None => flat,
        Some((end, _)) => format!("{}…", flat.get(..end).unwrap_or_default()),
    }
}

const GRANTS: &str = "give the user the rights that the documentation names";
const FULL: &str = "the database has no room: make some; nothing that was stored is lost";
const MANY: &str = "raise the server's limit of connections, or lower store.connections";

/// What an error code (SQLSTATE) of PostgreSQL means, and what to do.
fn of_postgres(code: &str) -> (Class, &'static str) {
    match code {
        // Serialization failure, deadlock.
        "40001" | "40P01" => (Class::Contended, ""),
        "55P03" => (Class::Locked, ""),
        "23505" => (Class::Duplicate, ""),
        "42P01" | "3F000" => (Class::Absent, "the schema is not there: a server makes it when it starts"),
        "57014" => (Class::Slow, "a statement took longer than store.timeout_seconds"),
        "25006" => (Class::Lost, "this server only follows another one: name the primary"),
        // A statement was prepared before the schema was changed.
        "0A000" | "26000" => (Class::Lost, ""),
        "53100" | "54000" => (Class::Refused, FULL),
        "53300" => (Class::Lost, MANY),
        "28P01" | "28000" => {
            (Class::Refused, "look at store.password_file, the user, and the server's pg_hba.conf")
        }
        "3D000" => (Class::Refused, "make the database first"),
        "42501" => (Class::Refused, GRANTS),
        // Connection exceptions, the server's end, a transaction that was left alone for too long.
        _ if code.starts_with("08") || code.starts_with("57P") || code == "25P03" => (Class::Lost, ""),
        _ => (Class::Refused, ""),
    }
}

/// The same for the error numbers of MariaDB and MySQL.
fn of_mysql(number: u16) -> (Class, &'static str) {
    match number {
        // Deadlock or a certification that failed, a row changed since it was read.
        1213 | 1020 => (Class::Contended, ""),
        1205 => (Class::Locked, ""),
        1062 => (Class::Duplicate, ""),
        1146 => (Class::Absent, "the schema is not there: a server makes it when it starts"),
        1969 | 3024 => (Class::Slow, "a statement took longer than store.timeout_seconds"),
        1047 => (Class::Lost, "the node is not part of its cluster now"),
        1290 | 1792 | 1836 => (Class::Lost, "this server takes no writes: name one that does"),
        1040 | 1203 | 1226 => (Class::Lost, MANY),
        1021 | 1114 => (Class::Refused, FULL),
        1153 => (Class::Refused, "raise the server's max_allowed_packet to 16 MiB"),
        1044 | 1142 | 1143 | 1227 => (Class::Refused, GRANTS),
        1045 | 1698 => (Class::Refused, "look at store.password_file and the user"),
        1049 => (Class::Refused, "make the database first"),
        // The server's end, connections that are killed, broken or were idle for too long, statements cut off.
        1053 | 1077..=1079 | 1152 | 1158..=1161 | 1184 | 1317 | 1927 | 4031 => (Class::Lost, ""),
        _ => (Class::Refused, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_have_failed_is_tried_again() {
        for code in ["40001", "40P01", "55P03", "57P01", "08006", "25006"] {
            assert!(Failure::new(of_postgres(code).0, "").may_pass(), "{code}");
        }
        for number in [1205, 1213, 1047, 1927] {
            assert!(Failure::new(of_mysql(number).0, "").may_pass(), "{number}");
        }
        for class in [of_postgres("42501").0, of_postgres("57014").0, of_mysql(1114).0, of_mysql(1969).0] {
            assert!(!Failure::new(class, "").may_pass());
        }
    }

    #[test]
    fn a_database_is_quoted_on_one_short_line() {
        let told = Failure::told(Class::Refused, "42501", &"permission\ndenied ".repeat(100), GRANTS);
        let text = told.to_string();
        assert!(text.starts_with("permission denied") && text.lines().count() == 1);
        assert!(text.len() < 500 && text.contains("42501") && text.contains(GRANTS));
    }
}
