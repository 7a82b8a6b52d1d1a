//! The content of Barbican's documents: containers, orders, who uses a secret, quotas.
//!
//! Owns the stored JSON of each, the one place where it is defined. Invariant: what an older program stored stays
//! readable, so a field is only ever added with a default.

use chatelaine_core::clock::Timestamp;
use chatelaine_core::document::DocumentKind;
use chatelaine_core::id::SecretId;
use serde::{Deserialize, Serialize};

/// Containers: class is the type, name the name.
pub const CONTAINER: DocumentKind =
    DocumentKind { name: "container", noun: Some("container"), hidden_from_others: false };
/// Orders: those of other projects are not found.
pub const ORDER: DocumentKind = DocumentKind { name: "order", noun: Some("order"), hidden_from_others: true };
/// Who uses a secret: one document per secret, with the secret's id as its id and as its parent.
pub const SECRET_CONSUMERS: DocumentKind =
    DocumentKind { name: "secret_consumers", noun: None, hidden_from_others: false };
/// The quotas of a project: the project's id is its id.
pub const PROJECT_QUOTA: DocumentKind =
    DocumentKind { name: "project_quota", noun: None, hidden_from_others: false };

/// What a container holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerContent {
    /// Its secrets, in the order in which they came in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_refs: Vec<SecretRef>,
    /// Who uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<ContainerConsumer>,
}

/// A secret in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// What it is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which it is; it may have been deleted since.
    pub secret: SecretId,
}

/// One user of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConsumer {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The project that added it; none where it was not written down: the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// When it was added.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Who uses a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumersContent {
    /// In the order in which they were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<SecretConsumer>,
}

/// One user of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretConsumer {
    /// The service, for example `image`.
    pub service: String,
    /// The sort of its resource, for example `image`.
    pub resource_type: String,
    /// The resource's id.
    pub resource_id: String,
    /// The project that added it; none where it was not written down: the secret's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// When it was added.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// The quotas set for a project. A negative number is no limit; what is not set is as the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's: how many of each the project may have")]
pub struct QuotaContent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas: Option<i64>,
}

/// Most consumers of one secret or container.
pub const MAX_CONSUMERS: usize = 5_000;
/// Most secrets in one container.
pub const MAX_MEMBERS: usize = 1_000;

/// What was ordered, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderContent {
    /// What was asked for, without a passphrase.
    pub meta: serde_json::Map<String, serde_json::Value>,
    /// How it ended.
    pub outcome: OrderOutcome,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderOutcome {
    /// With a secret.
    Secret(SecretId),
    /// With a container.
    Container(SecretId),
    /// With nothing.
    Failed {
        /// As a status of HTTP.
        code: u16,
        /// Why.
        reason: String,
    },
}
