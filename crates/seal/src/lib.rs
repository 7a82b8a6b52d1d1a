//! Seals: where master keys rest while the server does not run.
//!
//! Master keys rest sealed in one document ([`document`]), each of them by one or more seals: a file ([`mod@file`]), a
//! passphrase ([`passphrase`]), a PKCS#11 token (`pkcs11`), or an offline recovery key ([`recovery`]). One seal that opens
//! is enough; that is how keys move from one seal to another, how they are rotated, and how they are recovered when every other seal is lost.
//! [`custody`] owns the document and asks the seals; [`hosts`] are those that may get the keys from here, `attest` is how.
//!
//! Invariants: no key is ever overwritten; there is exactly one active key; no error carries key bytes; a document is
//! believed only if the active key in it authenticates it.
//!
//! Refuses: keys in places that others can read or change.

#[cfg(feature = "tpm")]
pub mod attest;
pub mod boot;
pub mod custody;
pub mod document;
mod error;
pub mod file;
mod files;
pub mod hosts;
mod keys;
pub mod ownership;
pub mod passphrase;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub mod recovery;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(feature = "tpm")]
pub mod tpm;

pub use custody::{AuditKey, Custody, Unsealed};
pub use error::SealError;
pub use keys::{KeyId, KeyIdentity, MasterKey, MasterKeys};

use chatelaine_crypto::KeyMaterial;

/// A way to seal master keys. Calls block, some for seconds.
pub trait Seal: Send + Sync {
    /// What sort of seal it is, as the configuration names it, for example `file`.
    fn kind(&self) -> &'static str;

    /// Which of several seals of its kind it is, in the document: for example the host whose TPM it is. At most 128
    /// characters; the kind, where there can be only one.
    fn name(&self) -> String {
        self.kind().to_owned()
    }

    /// Where the seal is, for the log; without secrets.
    fn describe(&self) -> String;

    /// Makes what the seal needs before it seals its first key, such as a key file. Called once, for new installations
    /// and for seals that are added; nothing is ever overwritten.
    ///
    /// # Errors
    /// [`SealError`] where that is there already, or cannot be made.
    fn prepare(&self) -> Result<(), SealError>;

    /// Seals a key. The result is no secret.
    ///
    /// # Errors
    /// [`SealError`] where the seal does not work.
    fn seal(&self, key: &KeyMaterial, identity: &KeyIdentity<'_>) -> Result<serde_json::Value, SealError>;

    /// Opens what [`Seal::seal`] made for the same key.
    ///
    /// # Errors
    /// [`SealError::Refused`] where the seal works and does not open this; [`SealError::Unavailable`] where it may open it
    /// later; others.
    fn open(&self, sealed: &serde_json::Value, identity: &KeyIdentity<'_>) -> Result<KeyMaterial, SealError>;
}

/// Reads what a seal put into the document.
pub(crate) fn parse_sealed<T: serde::de::DeserializeOwned>(
    seal: &dyn Seal,
    sealed: &serde_json::Value,
) -> Result<T, SealError> {
    serde_json::from_value(sealed.clone()).map_err(|error| SealError::Refused {
        place: seal.describe(),
        problem: format!("what it should open is not of its making ({error})"),
        remedy: "restore the file of the sealed master keys from its backup".to_owned(),
    })
}

/// Bytes in the document: base64 (RFC 4648 section 4).
pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| D::Error::custom("not base64"))
    }
}
