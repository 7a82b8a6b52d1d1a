//! How a host joins: the messages of an attestation, and the list of enrolled hosts at the control socket. Messages are in
//! base64; none of them is secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::BootStateDocument;

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
}

/// A boot that waits to be approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingHostDocument {
    /// The host.
    pub host: String,
    /// How it has booted, for one master key.
    pub state: BootStateDocument,
}
