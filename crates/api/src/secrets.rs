//! Secrets as an operator sees them, whichever interface made them: never with their payload.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Deletion, Links, Revocation, State};

/// Which interface a secret came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Origin {
    Native,
    Barbican,
}

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SecretType {
    Symmetric,
    Public,
    Private,
    Passphrase,
    Certificate,
    Opaque,
}

/// An access list in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessDocument {
    /// Whether the secret's project may read it; if not, it is private.
    pub project_access: bool,
    /// How many users may read it whatever their project.
    pub users: u64,
    /// When the list was last changed (RFC 3339).
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// What an operator learns of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretDocument {
    /// The secret's id.
    #[schema(example = "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7")]
    pub id: String,
    /// 1 when made, one more at each change.
    pub version: u64,
    /// The project it belongs to.
    pub project_id: String,
    /// The user that made it.
    pub owner: String,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which interface it came by.
    pub origin: Origin,
    /// What it is for.
    pub secret_type: SecretType,
    /// The algorithm, as its maker named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Length in bits, as its maker named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_length: Option<u32>,
    /// The mode its algorithm is used in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The media type of its payload, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Whether it has a payload yet.
    pub has_payload: bool,
    /// The state now. A deleted secret keeps its state until it is purged.
    pub state: State,
    /// When it was made (RFC 3339, UTC), and so on.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Not released before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub activates_at: Option<String>,
    /// Not released from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// The revocation, if it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// The deletion, if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// Its access list, if it has one; without one, its interface's rules alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessDocument>,
}

/// A page of an operator's listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretPage {
    /// The secrets, in the order in which they were made.
    pub secrets: Vec<SecretDocument>,
    /// Where to go on.
    #[serde(default)]
    pub links: Links,
}
