//! Addresses of databases: `postgres://USER@HOST/DATABASE`, `mysql://USER@HOST1,HOST2/DATABASE`, with options.
//!
//! Invariants: no message repeats the address, since somebody may have put a password into it; one that holds a password is
//! refused. What an address asks for is done or refused, never passed over.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use chatelaine_core::store::StoreError;
use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{Host, Url, form_urlencoded};

use super::dialect::Dialect;
use super::session::{Login, Place};
use super::{Access, Options};

/// Most servers in one address.
const MOST_HOSTS: usize = 16;
const ALLOWED: &str = "write postgres://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE, with several hosts as \
                       HOST1:PORT,HOST2:PORT";

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    /// Not at all.
    Plain,
    /// Encrypted, to whoever answers.
    Encrypted,
    /// Encrypted, to a server whose certificate is good and names the host.
    Verified,
}

/// Where a database is, and how it is reached.
#[derive(Clone)]
pub struct Address {
    dialect: Dialect,
    user: String,
    database: String,
    hosts: Vec<(String, u16)>,
    socket: Option<PathBuf>,
    protection: Protection,
    authority: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    description: String,
}

fn refused(reason: impl std::fmt::Display) -> StoreError {
    StoreError::Invalid(format!("store address: {reason}"))
}

impl Address {
    /// Whether an address is one of a database, right or wrong.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        dialect(url).is_some()
    }

    /// Reads an address.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] with what is wrong and what is allowed.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let Some((dialect, rest)) = dialect(url) else {
            return Err(refused(format!("its scheme is not known; {ALLOWED}")));
        };
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) =
            place.split_once('/').ok_or_else(|| refused(format!("it names no database; {ALLOWED}")))?;
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err(refused(
                "it holds a password: put that into a file and name it with store.password_file",
            ));
        }
        let (user, database) = (decoded(user, "user")?, decoded(database, "database")?);
        if user.is_empty() || database.is_empty() {
            return Err(refused(format!("it names no user or no database; {ALLOWED}")));
        }
        let port = if dialect == Dialect::Postgres { 5432 } else { 3306 };
        let hosts = hosts_of(hosts, port)?;
        let mut address = Self {
            dialect,
            user,
            database,
            hosts,
            socket: None,
            protection: Protection::Verified,
            authority: None,
            certificate: None,
            description: String::new(),
        };
        address.take_options(options)?;
        address.description = address.describe_place();
        Ok(address)
    }

    /// Engine and place, without the user.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// What an operator may not have meant, in words.
    #[must_use]
    pub fn risk(&self) -> Option<&'static str> {
        let is_near = self.socket.is_some() || self.hosts.iter().all(|(host, _)| is_loopback(host));
        match self.protection {
            Protection::Plain if !is_near => Some(
                "the connection to the database is not encrypted: whoever is on the way can change records, and log in \
                 as the key manager",
            ),
            Protection::Encrypted if !is_near => Some(
                "the certificate of the database is not checked: whoever is on the way can take its place; use \
                 sslmode=verify-full",
            ),
            _ => None,
        }
    }

    fn take_options(&mut self, options: &str) -> Result<(), StoreError> {
        let (mut mode, mut certificate, mut key) = (None, None, None);
        for (name, value) in form_urlencoded::parse(options.as_bytes()) {
            let path = || {
                let path = PathBuf::from(&*value);
                if path.is_absolute() {
                    Ok(path)
                } else {
                    Err(refused(format!("its option {} is no absolute path", shown(&name))))
                }
            };
            match &*name {
                "sslmode" | "ssl-mode" => mode = Some(value.to_ascii_lowercase().replace('_', "-")),
                "sslrootcert" | "ssl-ca" => self.authority = Some(path()?),
                "sslcert" | "ssl-cert" => certificate = Some(path()?),
                "sslkey" | "ssl-key" => key = Some(path()?),
                "socket" => self.socket = Some(path()?),
                "host" if self.dialect == Dialect::Postgres && value.starts_with('/') => {
                    self.socket = Some(path()?);
                }
                "password" => {
                    return Err(refused(
                        "it holds a password: put that into a file and name it with store.password_file",
                    ));
                }
                _ => {
                    return Err(refused(format!(
                        "its option {} is not known; allowed are sslmode, sslrootcert, sslcert, sslkey and socket",
                        shown(&name)
                    )));
                }
            }
        }
        self.certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(refused("sslcert and sslkey belong together: give both")),
        };
        match (&self.socket, self.hosts.is_empty()) {
            (None, true) => return Err(refused(format!("it names no host; {ALLOWED}"))),
            (Some(_), false) => return Err(refused("it names a host and a socket: give one of them")),
            _ => {}
        }
        self.protection = match mode.as_deref() {
            // On this machine nobody is on the way.
            None if self.socket.is_some() || self.hosts.iter().all(|(host, _)| is_loopback(host)) => {
                if self.authority.is_some() { Protection::Verified } else { Protection::Plain }
            }
            None | Some("verify-full" | "verify-identity") => Protection::Verified,
            Some("require" | "required") => Protection::Encrypted,
            Some("disable" | "disabled") => Protection::Plain,
            Some("verify-ca") => {
                return Err(refused(
                    "sslmode verify-ca takes any host's certificate for the database's: use verify-full",
                ));
            }
            Some("allow" | "prefer" | "preferred") => {
                return Err(refused(
                    "this sslmode gives up encryption when somebody on the way wants it: use verify-full, require, or disable",
                ));
            }
            Some(_) => return Err(refused("its sslmode is none of verify-full, require and disable")),
        };
        if self.socket.is_some() && self.protection != Protection::Plain {
            return Err(refused("a socket has no TLS: leave sslmode and sslrootcert out"));
        }
        Ok(())
    }

    fn describe_place(&self) -> String {
        let engine = match self.dialect {
            Dialect::Postgres => "PostgreSQL",
            Dialect::MySql => "MariaDB or MySQL",
        };
        let place = match &self.socket {
            Some(path) => path.display().to_string(),
            None => self.hosts.iter().map(named).collect::<Vec<_>>().join(", "),
        };
        format!("{engine} database {} at {place}", self.database)
    }

    /// The servers with how to log in at each.
    pub(super) fn places(&self, options: &Options, access: Access) -> Vec<Place> {
        let password = options.password.as_ref().map(|password| &*password.0);
        let place = |name: String, login| Place { name, login, access, timeout: options.timeout };
        match &self.socket {
            Some(path) => vec![place(path.display().to_string(), self.login(None, password))],
            None => {
                self.hosts.iter().map(|host| place(named(host), self.login(Some(host), password))).collect()
            }
        }
    }

    fn login(&self, host: Option<&(String, u16)>, password: Option<&str>) -> Login {
        match self.dialect {
            Dialect::Postgres => {
                let mut login = PgConnectOptions::new_without_pgpass()
                    .username(&self.user)
                    .database(&self.database)
                    .application_name("chatelaine")
                    .ssl_mode(match self.protection {
                        Protection::Plain => PgSslMode::Disable,
                        Protection::Encrypted => PgSslMode::Require,
                        Protection::Verified => PgSslMode::VerifyFull,
                    })
                    .disable_statement_logging();
                if let Some((host, port)) = host {
                    login = login.host(host).port(*port);
                }
                if let Some(path) = &self.socket {
                    login = login.socket(path);
                }
                if let Some(password) = password {
                    login = login.password(password);
                }
                if let Some(path) = &self.authority {
                    login = login.ssl_root_cert(path);
                }
                if let Some((certificate, key)) = &self.certificate {
                    login = login.ssl_client_cert(certificate).ssl_client_key(key);
                }
                Login::Postgres(Box::new(login))
            }
            Dialect::MySql => {
                let mut login = MySqlConnectOptions::new()
                    .username(&self.user)
                    .database(&self.database)
                    // Set for the session by its owner.
                    .pipes_as_concat(false)
                    .no_engine_substitution(false)
                    .timezone(None)
                    .ssl_mode(match self.protection {
                        Protection::Plain => MySqlSslMode::Disabled,
                        Protection::Encrypted => MySqlSslMode::Required,
                        Protection::Verified => MySqlSslMode::VerifyIdentity,
                    })
                    .disable_statement_logging();
                if let Some((host, port)) = host {
                    login = login.host(host).port(*port);
                }
                if let Some(path) = &self.socket {
                    login = login.socket(path);
                }
                if let Some(password) = password {
                    login = login.password(password);
                }
                if let Some(path) = &self.authority {
                    login = login.ssl_ca(path);
                }
                if let Some((certificate, key)) = &self.certificate {
                    login = login.ssl_client_cert(certificate).ssl_client_key(key);
                }
                Login::MySql(Box::new(login))
            }
        }
    }

    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.authority.iter().chain(pair).map(PathBuf::as_path)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.description)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        (self.dialect, &self.user, &self.description, self.protection, &self.authority, &self.certificate)
            == (
                other.dialect,
                &other.user,
                &other.description,
                other.protection,
                &other.authority,
                &other.certificate,
            )
    }
}

impl Eq for Address {}

fn dialect(url: &str) -> Option<(Dialect, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    match scheme {
        "postgres" | "postgresql" => Some((Dialect::Postgres, rest)),
        "mysql" | "mariadb" => Some((Dialect::MySql, rest)),
        _ => None,
    }
}

fn decoded(text: &str, what: &str) -> Result<String, StoreError> {
    let text =
        percent_decode_str(text).decode_utf8().map_err(|_| refused(format!("its {what} is not text")))?;
    if text.contains('\0') {
        return Err(refused(format!("its {what} holds a zero byte")));
    }
    Ok(text.into_owned())
}

fn hosts_of(list: &str, port: u16) -> Result<Vec<(String, u16)>, StoreError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let hosts: Vec<_> = list.split(',').collect();
    if hosts.len() > MOST_HOSTS {
        return Err(refused(format!("it names {} hosts, at most {MOST_HOSTS} are allowed", hosts.len())));
    }
    let parsed = |text: &&str| {
        let wrong = || refused(format!("one of its hosts or ports cannot be read; {ALLOWED}"));
        // A scheme whose hosts are names and addresses, as the parser sees it.
        let url = Url::parse(&format!("https://{text}")).map_err(|_| wrong())?;
        let is_bare = url.username().is_empty() && url.path() == "/" && url.fragment().is_none();
        let host = match url.host() {
            Some(Host::Domain(name)) if is_bare => name.to_owned(),
            Some(Host::Ipv4(address)) if is_bare => address.to_string(),
            Some(Host::Ipv6(address)) if is_bare => address.to_string(),
            _ => return Err(wrong()),
        };
        // The parser leaves out the port that goes without saying for its scheme.
        let own = if text.ends_with(":443") { 443 } else { url.port().unwrap_or(port) };
        Ok((host, own))
    };
    hosts.iter().map(parsed).collect()
}

fn named((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The name of an option, as far as it may be shown.
fn shown(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(32).collect()
}

#[cfg(test)]
mod tests;
