//! How a host has booted, as its TPM's registers say, and for which master key that is to be approved.
//!
//! Owns the text (JSON) in which a boot state travels to the release authority. Nothing in it is secret, and nothing is
//! believed because of it: the TPM itself compares.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::KeyId;

/// A boot state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootState {
    /// The servers that share the key.
    pub cluster: KeyId,
    /// The master key's number.
    pub epoch: u32,
    /// Which registers of which bank, such as `sha256:0,2,4,7,8,9`.
    pub registers: String,
    /// Their values in hex.
    pub values: BTreeMap<u8, String>,
    /// The digest of the policy that these values satisfy, in hex.
    pub digest: String,
}

impl fmt::Display for BootState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot state {} for epoch {} (", self.digest, self.epoch)?;
        for (index, (register, value)) in self.values.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}PCR {register} = {value}")?;
        }
        f.write_str(")")
    }
}
