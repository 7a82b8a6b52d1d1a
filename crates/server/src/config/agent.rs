//! `[agent]` and `[key_manager]`: a service's agent, and where its key manager is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[agent]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The socket at which the service's processes ask for keys. Its folder is made where it is missing.
    pub socket: PathBuf,
    /// Who may ask: `user:NAME`, `uid:NUMBER`, `group:NAME` or `gid:NUMBER` of the process, as the kernel tells it (of groups the
    /// process's own one counts, not its further ones). Everybody else on this host is refused, root too unless it is named.
    pub peers: Vec<String>,
    /// The user that an agent started by root becomes, once its socket is there. Empty: it stays who it is.
    pub user: String,
    /// Seconds for which an opened key stays in memory at most. It goes earlier with the token that fetched it, the trust, or its
    /// own expiry. What others change or delete meanwhile is noticed after so long at the latest. 0: keys are not kept.
    pub keep_seconds: u64,
    /// Most opened keys in memory.
    pub max_keys: usize,
    /// Seconds to wait for the key manager and Keystone, for one request.
    pub timeout_seconds: u64,
    /// Most connections at a time; more wait in the system's queue.
    pub max_connections: usize,
    /// Documents of other services' master keys that this host was given, each under a name: `identity = "/…/sealed-keys.json"` for
    /// the identity service's, which opens the keys of users, projects and domains. The seals of `[seal]` open them.
    pub keyrings: BTreeMap<String, PathBuf>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/chatelaine/agent.sock"),
            peers: Vec::new(),
            user: String::new(),
            keep_seconds: 300,
            max_keys: 10_000,
            timeout_seconds: 10,
            max_connections: 1024,
            keyrings: BTreeMap::new(),
        }
    }
}

/// `[key_manager]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyManagerConfig {
    /// The key manager's address. Empty: that of Keystone's catalogue, or of the cloud in `clouds_file`.
    pub endpoint: String,
    /// A file that holds a token of a static identity (mode 0600 or 0400). Empty: credentials of a cloud.
    pub token_file: PathBuf,
    /// The cloud in `clouds.yaml` whose credentials are the service's: a user with its password, or an application credential.
    /// Empty: the only one there is, or `OS_*` variables.
    pub cloud: String,
    /// The `clouds.yaml` (mode 0600). Empty: where OpenStack's tools look for it.
    pub clouds_file: PathBuf,
    /// A PEM file of the certificate authorities to trust. Empty: the cloud's, or the system's.
    pub ca_file: PathBuf,
}
