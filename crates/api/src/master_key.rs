//! What the control socket says of master keys. Nothing of it is secret but a passphrase on its way in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{KeyString, SiblingDocument};

/// The master keys of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MasterKeysDocument {
    /// Whether a server runs.
    pub running: bool,
    /// Whether it waits for its keys.
    pub sealed: bool,
    /// Why it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The configured seals, in the order in which they are asked.
    pub seals: String,
    /// The servers that share the keys.
    pub cluster: String,
    /// The keys, the active one first.
    pub keys: Vec<MasterKeyDocument>,
    /// The recovery key that master keys are sealed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryDocument>,
    /// The rotation that runs, or the last one since the server's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationDocument>,
    /// Boot states of this host that wait to be approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<BootStateDocument>,
    /// Hosts that do not have the staged key yet, for which its activation waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// Ids of master keys that something in the store is sealed under, by its own word, and that this server does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The servers that are asked for later master keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub siblings: Vec<SiblingDocument>,
}

/// How a host has booted, to be approved for a master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BootStateDocument {
    /// The servers that share the key.
    pub cluster: String,
    /// The key's number.
    pub epoch: u32,
    /// Which registers of which bank.
    pub registers: String,
    /// Their values in hex.
    pub values: BTreeMap<u8, String>,
    /// The digest of the policy that they satisfy, in hex.
    pub digest: String,
}

/// One master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MasterKeyDocument {
    /// Its id.
    pub id: String,
    /// Its number, 1 the first.
    pub epoch: u32,
    /// `active`, `retired`, or `staged`: made, and not used before every host has it.
    pub state: String,
    /// When it was made.
    pub created: String,
    /// By what people tell it from another one's key.
    #[serde(default)]
    pub fingerprint: String,
    /// What seals hold it.
    pub seals: Vec<SealedByDocument>,
}

/// A seal that holds a master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealedByDocument {
    /// The seal's kind.
    pub kind: String,
    /// Which of several of its kind.
    pub name: String,
    /// When it sealed the key.
    pub created: String,
}

/// The public half of a recovery key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryDocument {
    /// Its name.
    pub fingerprint: String,
    /// The X25519 public key in base64.
    pub public_key: String,
    /// When it was made.
    pub created: String,
    /// How many shares open it; 1 where it was not shared out.
    pub threshold: u8,
    /// How many there are.
    pub shares: u8,
}

/// How far a rotation has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationDocument {
    /// Whether it still runs.
    pub running: bool,
    /// Records wrapped anew so far.
    pub done: u64,
    /// Records to be wrapped anew, as counted at the beginning.
    pub total: u64,
    /// Records that did not open and keep a retired key in use.
    pub corrupt: u64,
    /// Why it stopped before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A request to unseal.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsealRequest {
    /// The passphrase, in base64, where one is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<KeyString>,
}

/// Which seal to add or remove.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SealChangeRequest {
    /// Its kind.
    pub kind: String,
    /// Which of several of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The passphrase, in base64, for a seal that is to be added and has none by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<KeyString>,
}

/// Which retired master key to destroy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestroyMasterKeyRequest {
    /// Its id.
    pub id: String,
    /// Hosts that may need it, and for which it is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// How to rotate the master key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Hosts that the new key does not wait for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// On a server that gets its keys from others, though none of them is enrolled here.
    #[serde(default)]
    pub alone: bool,
}

/// A project's key that was rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotatedProjectKey {
    /// The project's id.
    pub project: String,
    /// The number of its new key.
    pub version: u32,
}

/// For which recovery key master keys shall be sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoveryRequest {
    /// The key; none any more where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryDocument>,
}
