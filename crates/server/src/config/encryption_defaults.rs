//! `[encryption_defaults]`: what is in force for who has no default.

use chatelaine_api::{Lock, WiderScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::encryption_defaults::Choice;

/// `[encryption_defaults]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncryptionDefaultsConfig {
    /// The data cipher, one that `chatelaine algorithms` names and does not refuse.
    pub algorithm: String,
    /// Which keys it takes to open a data key.
    pub lock: LockSetting,
    /// Whose key the lock takes besides the service's; needed for `dual` and `compound`.
    pub scope: ScopeSetting,
}

impl Default for EncryptionDefaultsConfig {
    fn default() -> Self {
        Self {
            algorithm: chatelaine_crypto::algorithms::DEFAULT_DATA_CIPHER.to_owned(),
            lock: LockSetting::default(),
            scope: ScopeSetting::default(),
        }
    }
}

/// A lock of data keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LockSetting {
    /// The service's master key alone.
    #[default]
    Single,
    /// The customer's key and the service's master key.
    Dual,
    /// The same two; the data key is derived instead of wrapped.
    Compound,
}

/// Whose key a lock takes besides the service's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScopeSetting {
    /// Nobody's, for the lock `single`.
    #[default]
    None,
    /// The user's.
    User,
    /// The project's.
    Project,
    /// The domain's.
    Domain,
}

impl EncryptionDefaultsConfig {
    /// The settings as the interface has them, unchecked.
    pub fn choice(&self) -> Choice {
        Choice {
            algorithm: self.algorithm.clone(),
            lock: match self.lock {
                LockSetting::Single => Lock::Single,
                LockSetting::Dual => Lock::Dual,
                LockSetting::Compound => Lock::Compound,
            },
            scope: match self.scope {
                ScopeSetting::None => None,
                ScopeSetting::User => Some(WiderScope::User),
                ScopeSetting::Project => Some(WiderScope::Project),
                ScopeSetting::Domain => Some(WiderScope::Domain),
            },
        }
    }
}
