//! The record stores of Chatelaine, chosen by address.
//!
//! This crate owns how sealed records get onto a disk or into a database and back; it never sees plain text and holds no
//! key. Every store here passes the conformance suite of `chatelaine_core::testkit`. It refuses addresses it does not know,
//! and never repeats an address in a message, since one may carry a password.

#[cfg(feature = "barbican")]
pub mod barbican;
pub mod embedded;
#[cfg(feature = "sql")]
pub mod sql;

use std::path::PathBuf;
use std::sync::Arc;

use chatelaine_core::store::{Store, StoreError};

pub use chatelaine_core::testkit::MemoryStore;
pub use embedded::EmbeddedStore;

/// A store's address, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `memory:`
    Memory,
    /// `sqlite://…`
    Embedded(PathBuf),
    /// `postgres://…` or `mysql://…`
    #[cfg(feature = "sql")]
    Database(Box<sql::Address>),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] with what is wrong and what is allowed.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        const ALLOWED: &str = "use sqlite:///var/lib/chatelaine/store.db (or sqlite://relative/path), \
                               postgres://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE, or memory:";
        #[cfg(feature = "sql")]
        if sql::Address::is_meant(url) {
            return sql::Address::parse(url).map(|address| Self::Database(Box::new(address)));
        }
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = url.strip_prefix("sqlite://") {
            return embedded_path(path).map(Self::Embedded);
        }
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let is_scheme = !scheme.is_empty()
            && scheme.len() <= 32
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let problem = match scheme {
            "sqlite" => "a sqlite address without //".to_owned(),
            "memory" => "a memory address takes no path".to_owned(),
            _ if is_scheme => format!("the scheme {scheme} is not known"),
            _ => "it has no scheme".to_owned(),
        };
        Err(StoreError::Invalid(format!("store address: {problem}; {ALLOWED}")))
    }
}

fn embedded_path(path: &str) -> Result<PathBuf, StoreError> {
    let problem = if path.is_empty() {
        "a sqlite address names a file, for example sqlite:///var/lib/chatelaine/store.db"
    } else if path.contains(['?', '#', '\0']) {
        "a sqlite address takes no options: the path must not contain ?, # or a zero byte"
    } else if path.ends_with('/') {
        "a sqlite address names a file, not a folder"
    } else {
        return Ok(PathBuf::from(path));
    };
    Err(StoreError::Invalid(format!("store address: {problem}")))
}

/// The file of a `sqlite://` address, for maintenance of that file; `None` for any other store.
///
/// # Errors
/// [`StoreError::Invalid`] for an address that [`open`] would refuse.
pub fn embedded_file(url: &str) -> Result<Option<PathBuf>, StoreError> {
    Ok(match Address::parse(url)? {
        Address::Embedded(path) => Some(path),
        _ => None,
    })
}

/// How stores behave, each kind for itself.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The embedded store.
    pub embedded: embedded::Options,
    /// A store in a database.
    #[cfg(feature = "sql")]
    pub sql: sql::Options,
}

/// Opens the store at an address as [`open_with`] does, with what goes without saying.
///
/// # Errors
/// As for [`open_with`].
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    open_with(&Address::parse(url)?, &Options::default()).await
}

/// Opens the store at an address, and makes it if there is none. A database must be there.
///
/// # Errors
/// What opening the store answers.
pub async fn open_with(address: &Address, options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    match address {
        Address::Memory => Ok(Arc::new(MemoryStore::new())),
        Address::Embedded(path) => {
            let (path, options) = (path.clone(), options.embedded.clone());
            blocking(move || EmbeddedStore::open(&path, &options)).await
        }
        #[cfg(feature = "sql")]
        Address::Database(address) => Ok(Arc::new(sql::SqlStore::open(address, &options.sql).await?)),
    }
}

/// Opens the store at an address for looking, while servers may use it: nothing is made or changed. There is none in the
/// memory of another process: then `None`.
///
/// # Errors
/// What opening the store answers; also when there is none.
pub async fn open_read_only(
    address: &Address,
    #[cfg_attr(not(feature = "sql"), expect(unused_variables))] options: &Options,
) -> Result<Option<Arc<dyn Store>>, StoreError> {
    match address {
        Address::Memory => Ok(None),
        Address::Embedded(path) => {
            let path = path.clone();
            blocking(move || EmbeddedStore::open_read_only(&path)).await.map(Some)
        }
        #[cfg(feature = "sql")]
        Address::Database(address) => {
            Ok(Some(Arc::new(sql::SqlStore::open_read_only(address, &options.sql).await?)))
        }
    }
}

async fn blocking(
    opening: impl FnOnce() -> Result<EmbeddedStore, StoreError> + Send + 'static,
) -> Result<Arc<dyn Store>, StoreError> {
    match tokio::task::spawn_blocking(opening).await {
        Ok(store) => Ok(Arc::new(store?)),
        Err(error) => Err(StoreError::Unavailable(format!("opening the store was interrupted: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let file = |path: &str| Address::Embedded(PathBuf::from(path));
        assert_eq!(Address::parse("memory:").unwrap(), Address::Memory);
        assert_eq!(Address::parse("sqlite:///abs/x.db").unwrap(), file("/abs/x.db"));
        assert_eq!(Address::parse("sqlite://rel/x.db").unwrap(), file("rel/x.db"));
        assert_eq!(embedded_file("memory:").unwrap(), None);
    }

    #[test]
    fn other_addresses_are_refused_without_repeating_them() {
        for url in [
            "",
            "x",
            "/var/lib/store.db",
            "sqlite:x.db",
            "sqlite://",
            "sqlite:///folder/",
            "sqlite:///x.db?mode=ro",
            "memory://x",
            "postgres://user:hunter2@host/db",
            "hunter2 :x",
        ] {
            let Err(StoreError::Invalid(message)) = Address::parse(url) else { panic!("{url} was accepted") };
            assert!(!message.contains("hunter2"), "{message}");
            assert!(message.contains("store address"), "{message}");
        }
    }

    #[tokio::test]
    async fn a_store_is_opened_by_address() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/new/folder/store.db", folder.path().display());
        let store = open(&url).await.unwrap();
        store.health().await.unwrap();
        assert!(store.describe().contains("store.db"));
        assert!(open("memory:").await.unwrap().kinds().await.unwrap().is_empty());
        assert!(matches!(open("mysql://h/db").await, Err(StoreError::Invalid(_))));
        let address = Address::Embedded(folder.path().join("new/folder/store.db"));
        assert!(open_read_only(&address, &Options::default()).await.unwrap().is_some());
        let address = Address::Embedded(folder.path().join("none.db"));
        assert!(open_read_only(&address, &Options::default()).await.is_err());
        assert!(open_read_only(&Address::Memory, &Options::default()).await.unwrap().is_none());
    }
}
