//! How a host joins: the messages of an attestation, and the list of enrolled hosts at the control socket. Messages are in
//! base64; none of them is secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BootStateDocument, KeyString};

fn server() -> String {
    "server".to_owned()
}

/// A host says who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HelloRequest {
    /// Which master keys it wants; `server` are those of the key manager.
    #[serde(default = "server")]
    pub key: String,
    /// The message in base64, at most 20000 bytes.
    pub hello: String,
}

/// A host is to prove that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChallengeDocument {
    /// The challenge's id. It serves once, and for a minute.
    pub id: String,
    /// The message in base64.
    pub challenge: String,
}

/// A host proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    /// The challenge's id.
    pub id: String,
    /// The message in base64, at most 4096 bytes.
    pub answer: String,
}

/// What a host gets: every master key, sealed to its TPM and its approved boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleDocument {
    /// The message in base64.
    pub bundle: String,
}

/// Which master keys a server has. Ids and numbers are no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldKeysDocument {
    /// The servers that share them.
    pub cluster: String,
    /// The keys, the active one first.
    pub keys: Vec<HeldKeyDocument>,
}

/// A master key that a server has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldKeyDocument {
    /// Its id.
    pub id: String,
    /// Its number, 1 the first.
    pub epoch: u32,
    /// `active`, `staged` or `retired`.
    pub state: String,
}

/// A host has kept what it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The challenge's id.
    pub id: String,
    /// 32 bytes in base64, made with the newest master key among it.
    pub confirmation: String,
}

/// What a host has by what it confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfirmedDocument {
    /// The number of the newest master key among it.
    pub epoch: u32,
}

/// Later master keys for a running server that has joined, at its control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveRequest {
    /// What the host had to remember of the exchange, in base64.
    pub state: KeyString,
    /// The message in base64.
    pub bundle: String,
    /// The fingerprint of the active master key there, where a person gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedDocument {
    /// In words.
    pub text: String,
    /// What to tell the sender, in base64.
    pub confirmation: String,
}

/// How the servers answered that are asked for later master keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiblingsDocument {
    /// One for each that is configured.
    pub siblings: Vec<SiblingDocument>,
}

/// How such a server answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiblingDocument {
    /// Its address.
    pub endpoint: String,
    /// When it last answered as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// What went wrong since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A host to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// What people call it.
    pub name: String,
    /// The name of its TPM's endorsement key in hex.
    pub endorsement_name: String,
    /// Whether it has to show a certificate of that key, too.
    pub certificate: bool,
    /// Which master keys it may get.
    pub keys: Vec<String>,
}

/// A host that is enrolled no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// What people call it.
    pub name: String,
}

/// Enrolled hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsDocument {
    /// The hosts, in the order in which they were enrolled.
    pub hosts: Vec<HostDocument>,
    /// Boot states of hosts that were refused since the server's start because nobody approved them.
    pub pending: Vec<PendingHostDocument>,
}

/// A host that may get master keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDocument {
    /// What people call it.
    pub name: String,
    /// The name of its TPM's endorsement key in hex.
    pub endorsement_name: String,
    /// Whether it has to show a certificate of that key, too.
    pub certificate: bool,
    /// Which master keys it may get.
    pub keys: Vec<String>,
    /// When it was enrolled.
    pub enrolled: String,
    /// The number of the newest master key that was granted to it; 0 where none was.
    #[serde(default)]
    pub granted: u32,
    /// The number of the newest one that it has confirmed to have kept.
    #[serde(default)]
    pub kept: u32,
}

/// A boot that waits to be approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingHostDocument {
    /// The host.
    pub host: String,
    /// How it has booted, for one master key.
    pub state: BootStateDocument,
}
