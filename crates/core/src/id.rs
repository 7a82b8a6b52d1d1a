//! Names of things: ids of secrets, owners, requests and versions of records.
//!
//! A secret's id is a UUID in its canonical lower-case form and says nothing about what the secret protects:
//! the key manager keeps no map from keys to the data they encrypt.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID in lower case with hyphens, for example 6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7")]
pub struct IdError;

/// The id of a secret, chosen by the caller or made by the server. Any UUID but the nil one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretId(uuid::Uuid);

impl SecretId {
    /// A random id (UUID version 4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// Parses the canonical form only, so that one secret has one name.
    ///
    /// # Errors
    /// [`IdError`] for anything but a lower-case hyphenated UUID, and for the nil UUID.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let id = uuid::Uuid::try_parse(text).map_err(|_| IdError)?;
        let mut buffer = uuid::Uuid::encode_buffer();
        let canonical: &str = id.hyphenated().encode_lower(&mut buffer);
        if canonical != text || id.is_nil() { Err(IdError) } else { Ok(Self(id)) }
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Whether a text can be an id that Keystone gives a user, a project or a domain: 1 to 64 letters, digits, `_` and `-`.
pub fn is_keystone_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The id of one request, `req-` and a UUID, as OpenStack writes it; it links answer, log and audit.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// A new random id.
    pub fn random() -> Self {
        Self(format!("req-{}", uuid::Uuid::new_v4()))
    }

    /// The text, `req-…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a record: 1 when created, one more at each change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// The version of a record just created.
    pub const FIRST: Self = Self(1);

    /// From a stored number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let id = SecretId::random();
        assert_eq!(SecretId::parse(&id.to_string()), Ok(id));
        for text in [
            "",
            "x",
            "6F1C7A0E-3B52-4A53-9A54-0F6C1F5BE1A7",
            "6f1c7a0e3b524a539a540f6c1f5be1a7",
            "{6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7}",
            "00000000-0000-0000-0000-000000000000",
            "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 ",
        ] {
            assert_eq!(SecretId::parse(text), Err(IdError), "{text}");
        }
    }
}
