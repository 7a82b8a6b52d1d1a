//! What an operator sets about Barbican's interface.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[barbican]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BarbicanConfig {
    /// Largest payload, in bytes, at most 1 MiB. Barbican's own default is 20000.
    pub max_payload_bytes: usize,
    /// Entries in a page of a listing that does not say how many.
    pub default_limit: usize,
    /// Most entries in a page of a listing.
    pub max_limit: usize,
    /// Answer 404 instead of 403 for secrets and containers that the caller may not read. Barbican answers 403, and some
    /// clients' tests expect it.
    pub hide_existence: bool,
    /// Most secrets that are remembered, without their payloads, so that listings need not read the store.
    pub remembered_secrets: usize,
    /// Quotas of projects that have none of their own.
    pub quotas: QuotaConfig,
}

impl Default for BarbicanConfig {
    fn default() -> Self {
        Self {
            max_payload_bytes: 65_536,
            default_limit: 10,
            max_limit: 100,
            hide_existence: false,
            remembered_secrets: 200_000,
            quotas: QuotaConfig::default(),
        }
    }
}

/// `[barbican.quotas]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// Secrets of a project. -1: no limit; 0: none.
    pub secrets: i64,
    /// Orders of a project.
    pub orders: i64,
    /// Containers of a project.
    pub containers: i64,
    /// Consumers of a project's secrets and containers.
    pub consumers: i64,
    /// Certificate authorities of a project; shown for Barbican's clients, which expect the number.
    pub cas: i64,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self { secrets: -1, orders: -1, containers: -1, consumers: -1, cas: -1 }
    }
}
