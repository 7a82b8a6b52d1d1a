//! `[rotation]`: when keys over keys are replaced.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[rotation]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationConfig {
    /// Seconds for which a retired master key that nothing uses is kept: backups made before its rotation need it. It can
    /// be destroyed earlier with `chatelaine master-key destroy`.
    pub keep_retired_seconds: u64,
    /// The age in seconds at which a project's key is replaced (its cryptoperiod). 0: never.
    pub scope_key_seconds: u64,
    /// Seconds between two looks for keys that are due. 0: never.
    pub every_seconds: u64,
    /// Milliseconds of rest between two pages of 64 records that are wrapped anew.
    pub pause_milliseconds: u64,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self {
            keep_retired_seconds: 30 * 86_400,
            scope_key_seconds: 0,
            every_seconds: 3600,
            pause_milliseconds: 5,
        }
    }
}
