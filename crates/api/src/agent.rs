//! The agent's socket: keys as a service of its host asks for them, with the key itself.
//!
//! The routes stand beside each type. An answer with a key is for the peer's memory alone. Errors are [`crate::ErrorDocument`]s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{KeyString, Scope, State};

/// How a key is locked: with the service's master key alone, or with the customer's key too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Wrapped under the service's master key.
    #[default]
    Single,
    /// Wrapped under the customer's scope key, then under the service's master key.
    Dual,
    /// Derived from the customer's scope key and an initialization vector, which is wrapped under the service's master key.
    Compound,
}

impl Lock {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Dual => "dual",
            Self::Compound => "compound",
        }
    }
}

/// `POST /v1/keys`: a key to be made, or to be kept.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentCreateRequest {
    /// The id it shall have, a UUID in lower case; a new one otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The algorithm the key is for, one of the key manager's `GET /v1/algorithms`.
    #[schema(example = "aes")]
    pub algorithm: String,
    /// Length of the key, in bits; for a new key the algorithm's usual one, for a given one its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 256)]
    pub bit_length: Option<u32>,
    /// A key that exists already, such as a certificate or a passphrase, in place of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_string: Option<KeyString>,
    /// How it is locked.
    #[serde(default)]
    pub lock: Lock,
    /// Whose key locks it beside the service's, for the locks `dual` and `compound`: `user`, `project` or `domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The id of that user, project or domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_id: Option<String>,
    /// A name for people, at most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// Free words; the key manager sees them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Not released before this moment (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub activates_at: Option<String>,
    /// Not released from this moment on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Answer with the key, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub return_key: bool,
}

/// `POST /v1/key-pairs`: a pair of keys to be made, as two keys with the same locks.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentPairRequest {
    /// `rsa`, `ec`, `ed25519` or `x25519`.
    #[schema(example = "rsa")]
    pub algorithm: String,
    /// Its length in bits; the algorithm's usual one otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_length: Option<u32>,
    /// A name for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// Free words for both; the key manager sees them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Not released from this moment on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
}

/// The answer to it: the private key (PKCS#8, DER) and the public key (SubjectPublicKeyInfo, DER).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentPairDocument {
    /// The private key.
    pub private_key: AgentKeyDocument,
    /// The public key.
    pub public_key: AgentKeyDocument,
}

/// `GET /v1/keys/{key-id}/metadata`: what is known about a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentKeyDocument {
    /// The key-id.
    pub id: String,
    /// The version that the key manager gave.
    pub version: u64,
    /// The state now.
    pub state: State,
    /// The algorithm.
    pub algorithm: String,
    /// Length of the key, in bits.
    pub bit_length: u32,
    /// How it is locked; not there where only the key manager's metadata was asked, which does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// When it was put (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Not released before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub activates_at: Option<String>,
    /// Not released from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
}

/// `GET /v1/keys/{key-id}`: a key, opened. Also the answer to `POST /v1/keys`, there without the key unless `return_key` asked
/// for it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentKey {
    /// What is known about it.
    #[serde(flatten)]
    pub document: AgentKeyDocument,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_string: Option<KeyString>,
}

/// `GET /v1/keys`: a page of the service's own keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentKeyPage {
    /// The keys, in the order in which they were put.
    pub keys: Vec<AgentKeyDocument>,
    /// The marker of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
}

/// `POST /v1/scope-keys`: a key of a user, project or domain to be made. For the identity service's agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentScopeKeyRequest {
    /// `user`, `project` or `domain`.
    pub scope: Scope,
    /// The id of that user, project or domain.
    pub scope_id: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
}

/// `GET /v1/status`: what the agent does. For its operators.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatusDocument {
    /// Whether the service's master key is not open.
    pub sealed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The master key that new keys are wrapped under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_master_key: Option<String>,
    /// Master keys that older keys are wrapped under.
    #[serde(default)]
    pub retired_master_keys: Vec<String>,
    /// Master keys of other services that are open here, by the name of their keyring.
    #[serde(default)]
    pub other_keyrings: BTreeMap<String, Vec<String>>,
    /// The key manager's address.
    pub endpoint: String,
    /// Plain keys in memory.
    pub cached_keys: u64,
    /// The rotation that runs, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<AgentRotationDocument>,
}

/// `POST /v1/rotation`, `GET /v1/rotation`: how far the replacement of the service's master key has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentRotationDocument {
    /// Whether it runs.
    pub running: bool,
    /// The master key that envelopes get.
    pub master_key: String,
    /// Keys wrapped anew so far.
    pub done: u64,
    /// Keys that were deleted or wrapped anew by somebody else meanwhile.
    pub passed_over: u64,
    /// Keys that could not be opened and keep their master key.
    pub failed: u64,
    /// Why it stopped before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
