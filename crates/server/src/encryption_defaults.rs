//! Encryption defaults: what one says, and which of several is in force.
//!
//! Owns their stored form and their rules. Invariants: what is stored stays readable, so a field is only ever added with a
//! default; a default counts as a whole, so that nobody who asks for a lock gets it with the scope of somebody else's;
//! one that the registry refuses by now is an error, never passed over, or data would silently be protected less.

use chatelaine_api::{EncryptionDefaultRequest, Lock, WiderScope};
use chatelaine_core::document::DocumentKind;
use chatelaine_crypto::CryptoError;
use chatelaine_crypto::algorithms::DataCipher;
use serde::{Deserialize, Serialize};

/// The documents: `user:ID`, `project:ID` and `domain:ID` are their ids.
pub const ENCRYPTION_DEFAULT: DocumentKind =
    DocumentKind { name: "encryption_default", noun: None, hidden_from_others: false };

/// Under whose key all of them are sealed: they belong to no project's secrets.
pub const SEALED_UNDER: &str = "encryption-defaults";

/// What a default says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The data cipher.
    pub algorithm: String,
    /// The lock of data keys.
    pub lock: Lock,
    /// Whose key the lock takes besides the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<WiderScope>,
}

/// What is wrong with a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl From<EncryptionDefaultRequest> for Choice {
    fn from(request: EncryptionDefaultRequest) -> Self {
        Self { algorithm: request.algorithm, lock: request.lock, scope: request.scope }
    }
}

impl Choice {
    /// Checks it against the registry and itself, and gives the cipher its canonical name.
    ///
    /// # Errors
    /// [`Problem`] naming the field.
    pub fn check(mut self) -> Result<Self, Problem> {
        let cipher = DataCipher::find(&self.algorithm).map_err(|error| Problem {
            field: "algorithm",
            reason: match error {
                // What is sent is not repeated: it could be anything.
                CryptoError::UnknownAlgorithm { allowed, .. } => {
                    format!("there is no such data cipher; there are {allowed}")
                }
                refused => refused.to_string(),
            },
        })?;
        self.algorithm = cipher.name.to_owned();
        let scope = |reason: String| Err(Problem { field: "scope", reason });
        match (self.lock, self.scope) {
            (Lock::Single, Some(_)) => scope(
                "the lock single takes nobody's key but the service's: leave it out, or choose dual or compound"
                    .to_owned(),
            ),
            (Lock::Dual | Lock::Compound, None) => scope(format!(
                "the lock {} needs to know whose key it takes: user, project or domain",
                self.lock.as_str()
            )),
            _ => Ok(self),
        }
    }
}

/// The id of a default's document.
pub fn document_id(level: WiderScope, id: &str) -> String {
    format!("{}:{id}", level.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(algorithm: &str, lock: Lock, scope: Option<WiderScope>) -> Choice {
        Choice { algorithm: algorithm.to_owned(), lock, scope }
    }

    #[test]
    fn choices_are_held_against_the_registry() {
        let good = choice("AES_256_XTS", Lock::Dual, Some(WiderScope::Project)).check().unwrap();
        assert_eq!(good.algorithm, "aes-256-xts");
        let unknown = choice("rot-canary", Lock::Single, None).check().unwrap_err();
        assert_eq!(unknown.field, "algorithm");
        assert!(unknown.reason.contains("aes-256-gcm") && !unknown.reason.contains("canary"), "{unknown:?}");
        let mut refused = 0;
        for cipher in chatelaine_crypto::algorithms::DATA_CIPHERS {
            let checked = choice(cipher.name, Lock::Single, None).check();
            match cipher.status.reason() {
                None => assert_eq!(checked.unwrap().algorithm, cipher.name),
                Some(reason) => {
                    refused += 1;
                    assert!(checked.unwrap_err().reason.contains(reason));
                }
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn a_lock_and_its_scope_go_together() {
        for (lock, scope, good) in [
            (Lock::Single, None, true),
            (Lock::Single, Some(WiderScope::User), false),
            (Lock::Dual, None, false),
            (Lock::Dual, Some(WiderScope::Domain), true),
            (Lock::Compound, None, false),
            (Lock::Compound, Some(WiderScope::User), true),
        ] {
            let checked = choice("aes-256-gcm", lock, scope).check();
            assert_eq!(checked.as_ref().err().map(|problem| problem.field), (!good).then_some("scope"));
        }
    }

    /// What an older program stored stays readable, and so does what a newer one has added to.
    #[test]
    fn the_stored_form_stays() {
        for json in [
            r#"{"algorithm":"aes-256-gcm","lock":"single"}"#,
            r#"{"algorithm":"aes-256-gcm","lock":"single","scope":null,"added":1}"#,
        ] {
            let found: Choice = serde_json::from_str(json).unwrap();
            assert_eq!(found, choice("aes-256-gcm", Lock::Single, None));
        }
        let stored =
            serde_json::to_string(&choice("aes-256-ctr", Lock::Dual, Some(WiderScope::User))).unwrap();
        assert_eq!(stored, r#"{"algorithm":"aes-256-ctr","lock":"dual","scope":"user"}"#);
    }
}
