//! The record stores of Chatelaine, chosen by address.
//!
//! This crate owns how sealed records get onto a disk and back; it never sees plain text and holds no key. Every store
//! here passes the conformance suite of `chatelaine_core::testkit`. It refuses addresses it does not know, and
//! never repeats an address in a message, since one may carry a password.

#[cfg(feature = "barbican")]
pub mod barbican;
pub mod embedded;

use std::path::PathBuf;
use std::sync::Arc;

use chatelaine_core::store::{Store, StoreError};

pub use chatelaine_core::testkit::MemoryStore;
pub use embedded::EmbeddedStore;

/// A store's address, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Memory,
    Embedded(PathBuf),
}

impl Address {
    fn parse(url: &str) -> Result<Self, StoreError> {
        const ALLOWED: &str =
            "use sqlite:///var/lib/chatelaine/store.db (or sqlite://relative/path), or memory:";
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
        Address::Memory => None,
        Address::Embedded(path) => Some(path),
    })
}

/// Opens the store at an address, creating an embedded one if there is none: `sqlite:///absolute/path`,
/// `sqlite://relative/path` or `memory:`.
///
/// # Errors
/// [`StoreError::Invalid`] for an address that is not one of these; otherwise what opening the store answers.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    match Address::parse(url)? {
        Address::Memory => Ok(Arc::new(MemoryStore::new())),
        Address::Embedded(path) => {
            let opening = tokio::task::spawn_blocking(move || {
                EmbeddedStore::open(&path, &embedded::Options::default())
            });
            match opening.await {
                Ok(store) => Ok(Arc::new(store?)),
                Err(error) => {
                    Err(StoreError::Unavailable(format!("opening the store was interrupted: {error}")))
                }
            }
        }
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
            assert!(message.contains("sqlite"), "{message}");
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
    }
}
