//! Encryption defaults: how data is encrypted where nobody says otherwise.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Lock, WiderScope};

/// A default to be set. It counts as a whole: nothing of a wider default shows through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptionDefaultRequest {
    /// The data cipher, one of `data_ciphers` of `GET /v1/algorithms` that is not refused.
    #[schema(example = "aes-256-gcm")]
    pub algorithm: String,
    /// The lock of data keys.
    pub lock: Lock,
    /// Whose key the lock takes besides the service's; needed for `dual` and `compound`, refused for `single`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<WiderScope>,
}

/// A default that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EncryptionDefaultDocument {
    /// Whether it is a user's, a project's or a domain's.
    pub level: WiderScope,
    /// Whose, by Keystone's id.
    pub id: String,
    /// 1 when set, one more at each change; also the `ETag`.
    pub version: u64,
    /// The data cipher.
    pub algorithm: String,
    /// The lock of data keys.
    pub lock: Lock,
    /// Whose key the lock takes besides the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<WiderScope>,
    /// When it was first set (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// Where a default in force comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum DefaultLevel {
    User,
    Project,
    Domain,
    /// The configuration of the key manager.
    Service,
}

impl From<WiderScope> for DefaultLevel {
    fn from(wider: WiderScope) -> Self {
        match wider {
            WiderScope::User => Self::User,
            WiderScope::Project => Self::Project,
            WiderScope::Domain => Self::Domain,
        }
    }
}

/// Who has set a default in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DefaultSource {
    /// On which level.
    pub level: DefaultLevel,
    /// The user, project or domain; none for `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The default in force for somebody: that of the user, else of the project, else of the domain, else of the service,
/// each as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectiveDefaultDocument {
    /// The data cipher.
    pub algorithm: String,
    /// The lock of data keys.
    pub lock: Lock,
    /// Whose key the lock takes besides the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<WiderScope>,
    /// Where all of it comes from.
    pub source: DefaultSource,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_fields_are_refused_by_name() {
        for (json, field) in [
            (r#"{"algorithm":"aes-256-gcm","lock":"single","key_scope":"object"}"#, "key_scope"),
            (r#"{"algorithm":"aes-256-gcm"}"#, "lock"),
            (r#"{"lock":"dual"}"#, "algorithm"),
            (r#"{"algorithm":"aes-256-gcm","lock":"dual","scope":"entity"}"#, "entity"),
        ] {
            let error = serde_json::from_str::<EncryptionDefaultRequest>(json).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
