//! The address of a Barbican's database, as its configuration has it or nearly so.
//!
//! Owns how `connection` of a `barbican.conf` is read. Invariants: no message repeats the address or a part of it that may
//! be a password; what an address asks for is done or refused, never passed over, unless it is about text encoding, which
//! is settled here.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::SourceError;

/// Where a Barbican keeps its data.
pub struct Address {
    pub(super) place: Place,
    description: String,
    verified: bool,
}

pub(super) enum Place {
    File(PathBuf),
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

const ALLOWED: &str = "use mysql://USER@HOST/DATABASE, postgresql://USER@HOST/DATABASE or sqlite:///PATH, \
                       as `connection` in section [database] of barbican.conf";

fn refused(reason: impl std::fmt::Display) -> SourceError {
    SourceError::Address(reason.to_string())
}

/// Whether an address holds a password, whatever else is to be said of it.
pub fn carries_password(address: &str) -> bool {
    // An address that is not understood may hold one in a place not looked at.
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = authority.rsplit_once('@').map_or("", |(user, _)| user);
    authority.contains(':') || address.contains("password=")
}

impl Address {
    /// Reads an address; `password` takes the place of the one in it.
    ///
    /// # Errors
    /// [`SourceError::Address`] with what is wrong and what is allowed.
    pub fn parse(address: &str, password: Option<&str>) -> Result<Self, SourceError> {
        let (scheme, rest) =
            address.split_once("://").ok_or_else(|| refused(format!("it has no scheme; {ALLOWED}")))?;
        // SQLAlchemy's addresses name the Python driver as well.
        let engine = scheme.split_once('+').map_or(scheme, |(engine, _)| engine);
        match engine {
            "sqlite" => file(rest, password),
            "mysql" | "mariadb" => mysql(&generic(rest)?, password),
            "postgresql" | "postgres" => postgres(&generic(rest)?, password),
            _ => Err(refused(format!("its scheme is not known; {ALLOWED}"))),
        }
    }

    /// Engine and place, without user and password.
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// Whether nobody on the path can take the database's place: it is on this machine, or its certificate is checked.
    pub const fn is_verified(&self) -> bool {
        self.verified
    }
}

/// Stands for the host of an address that names a socket instead, as the parser wants one.
const NO_HOST: &str = "no-host.invalid";

/// The part after the scheme, whatever the scheme: the parser has rules of its own for those it knows.
fn generic(rest: &str) -> Result<Url, SourceError> {
    let rest = rest.replacen("@/", &format!("@{NO_HOST}/"), 1);
    Url::parse(&format!("database://{rest}"))
        .map_err(|_| refused(format!("what follows its scheme cannot be read; {ALLOWED}")))
}

fn file(path: &str, password: Option<&str>) -> Result<Address, SourceError> {
    if password.is_some() {
        return Err(refused("a SQLite file has no password"));
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains(['?', '#', '\0']) {
        return Err(refused(
            "a SQLite address is sqlite:/// and the absolute path of a file, without options",
        ));
    }
    let path = PathBuf::from(path);
    let description = format!("SQLite file {}", path.display());
    Ok(Address { place: Place::File(path), description, verified: true })
}

fn decoded(text: &str, what: &str) -> Result<String, SourceError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| refused(format!("its {what} is not text")))
}

/// What both network engines need.
struct Parts {
    host: String,
    port: Option<u16>,
    user: String,
    password: Option<String>,
    database: String,
    options: Vec<(String, String)>,
}

fn parts(url: &Url, password: Option<&str>) -> Result<Parts, SourceError> {
    let database = decoded(url.path().trim_start_matches('/'), "database")?;
    let user = decoded(url.username(), "user")?;
    if database.is_empty() || user.is_empty() {
        return Err(refused(format!("it names no user or no database; {ALLOWED}")));
    }
    let own = url.password().map(|text| decoded(text, "password")).transpose()?;
    Ok(Parts {
        host: match url.host_str() {
            None | Some(NO_HOST) => String::new(),
            Some(host) => decoded(host, "host")?,
        },
        port: url.port(),
        user,
        password: password.map(str::to_owned).or(own),
        database,
        options: url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
    })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn mysql(url: &Url, password: Option<&str>) -> Result<Address, SourceError> {
    let parts = parts(url, password)?;
    let mut options = MySqlConnectOptions::new()
        .username(&parts.user)
        .database(&parts.database)
        .ssl_mode(MySqlSslMode::Preferred)
        .disable_statement_logging();
    let (mut socket, mut verified) = (None, is_loopback(&parts.host));
    for (name, value) in &parts.options {
        match name.as_str() {
            // Text is always asked for in UTF-8.
            "charset" | "use_unicode" => {}
            "unix_socket" => socket = Some(value.clone()),
            "ssl_ca" => {
                options = options.ssl_ca(value).ssl_mode(MySqlSslMode::VerifyIdentity);
                verified = true;
            }
            _ => return Err(unknown_option(name, "charset, unix_socket, ssl_ca")),
        }
    }
    if let Some(password) = &parts.password {
        options = options.password(password);
    }
    let place = match socket {
        Some(path) => {
            // There is nobody to encrypt it from.
            options = options.socket(&path).ssl_mode(MySqlSslMode::Disabled);
            verified = true;
            path
        }
        None => {
            if parts.host.is_empty() {
                return Err(refused(format!("it names no host; {ALLOWED}")));
            }
            let port = parts.port.unwrap_or(3306);
            options = options.host(&parts.host).port(port);
            format!("{}:{port}", parts.host)
        }
    };
    let description = format!("MariaDB or MySQL database {} at {place}", parts.database);
    Ok(Address { place: Place::MySql(Box::new(options)), description, verified })
}

fn postgres(url: &Url, password: Option<&str>) -> Result<Address, SourceError> {
    let parts = parts(url, password)?;
    let mut options = PgConnectOptions::new_without_pgpass()
        .username(&parts.user)
        .database(&parts.database)
        .application_name("chatelaine import")
        .ssl_mode(PgSslMode::Prefer)
        .disable_statement_logging();
    let (mut socket, mut verified) = (None, is_loopback(&parts.host));
    for (name, value) in &parts.options {
        match name.as_str() {
            "client_encoding" => {}
            "host" => socket = Some(value.clone()),
            "sslrootcert" => options = options.ssl_root_cert(value),
            "sslmode" => {
                let mode: PgSslMode = value.parse().map_err(|_| {
                    refused("its sslmode is none of disable, allow, prefer, require, verify-ca, verify-full")
                })?;
                verified |= matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull);
                options = options.ssl_mode(mode);
            }
            _ => return Err(unknown_option(name, "host, sslmode, sslrootcert, client_encoding")),
        }
    }
    if let Some(password) = &parts.password {
        options = options.password(password);
    }
    let port = parts.port.unwrap_or(5432);
    options = options.port(port);
    let place = match socket {
        Some(folder) => {
            if !folder.starts_with('/') {
                return Err(refused("its option host is not the folder of a socket"));
            }
            options = options.socket(&folder).ssl_mode(PgSslMode::Disable);
            verified = true;
            folder
        }
        None => {
            if parts.host.is_empty() {
                return Err(refused(format!("it names no host; {ALLOWED}")));
            }
            options = options.host(&parts.host);
            format!("{}:{port}", parts.host)
        }
    };
    let description = format!("PostgreSQL database {} at {place}", parts.database);
    Ok(Address { place: Place::Postgres(Box::new(options)), description, verified })
}

fn unknown_option(name: &str, allowed: &str) -> SourceError {
    let name: String = name.chars().filter(char::is_ascii_graphic).take(32).collect();
    refused(format!("its option {name} is not known here; allowed: {allowed}"))
}

impl std::fmt::Debug for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_barbican_are_understood() {
        for (address, description, verified) in [
            ("sqlite:////var/lib/barbican.db", "SQLite file //var/lib/barbican.db", true),
            (
                "mysql+pymysql://b:hunter2@db:3307/barbican?charset=utf8",
                "MariaDB or MySQL database barbican at db:3307",
                false,
            ),
            ("mysql://b@127.0.0.1/barbican", "MariaDB or MySQL database barbican at 127.0.0.1:3306", true),
            ("mariadb://b@db/x?ssl_ca=/ca.pem", "MariaDB or MySQL database x at db:3306", true),
            ("mysql://b@localhost/x?unix_socket=/run/s", "MariaDB or MySQL database x at /run/s", true),
            ("postgresql+psycopg2://b:hunter2@db/barbican", "PostgreSQL database barbican at db:5432", false),
            (
                "postgresql://b@db/barbican?sslmode=verify-full&sslrootcert=/ca.pem",
                "PostgreSQL database barbican at db:5432",
                true,
            ),
            (
                "postgresql://b@/barbican?host=/run/postgresql",
                "PostgreSQL database barbican at /run/postgresql",
                true,
            ),
            ("postgresql://b@[::1]:5433/barbican", "PostgreSQL database barbican at [::1]:5433", true),
        ] {
            let parsed = Address::parse(address, None).unwrap();
            assert_eq!((parsed.describe(), parsed.is_verified()), (description, verified), "{address}");
            assert!(!format!("{parsed:?}").contains("hunter2"));
        }
    }

    #[test]
    fn other_addresses_are_refused_without_repeating_them() {
        for address in [
            "",
            "hunter2",
            "oracle://u:hunter2@h/d",
            "mysql://u:hunter2@h",
            "mysql://:hunter2@h/d",
            "mysql://u:hunter2@/d",
            "mysql://u:hunter2@h:70000/d",
            "mysql://u:hunter2@h/d?local_infile=1",
            "mysql://u:%ff@h/d",
            "postgresql://u:hunter2@h/d?sslmode=maybe",
            "postgresql://u:hunter2@h/d?host=elsewhere",
            "postgresql://u:hunter2@h/d?options=-c",
            "sqlite://relative.db",
            "sqlite:///x.db?mode=rw",
            "sqlite:///folder/",
        ] {
            let error = Address::parse(address, None).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{address}: {error}");
        }
        assert!(Address::parse("sqlite:///x.db", Some("hunter2")).is_err());
    }

    #[test]
    fn passwords_are_seen_where_they_are() {
        for with in ["mysql://u:p@h/d", "postgresql://u:@h/d", "u:p@h", "mysql://h/d?password=x"] {
            assert!(carries_password(with), "{with}");
        }
        for without in ["mysql://u@h:3306/d", "sqlite:///x.db", "postgresql://u@[::1]:5432/d"] {
            assert!(!carries_password(without), "{without}");
        }
    }

    #[test]
    fn a_password_from_elsewhere_is_the_one() {
        let parsed = Address::parse("mysql://u:old%40@h/d", Some("new")).unwrap();
        let Place::MySql(options) = parsed.place else { panic!("not MySQL") };
        assert!(format!("{options:?}").contains("\"new\""));
    }
}
