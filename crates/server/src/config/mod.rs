//! The configuration: one TOML file, environment and command line over it, defaults under it.
//!
//! Owns every setting's name, default and meaning; the doc comments here are the generated reference
//! (`chatelaine config reference`). Refuses unknown names, values out of bounds and contradictions, each with the
//! setting's path, and reads secrets only from files that the settings name.

mod agent;
mod barbican;
mod check;
mod encryption_defaults;
pub(crate) mod load;
mod reference;
mod rotation;
mod seal;
mod siblings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use chatelaine_core::policy::RuleDefaults;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::identity::IdentityConfig;

pub use agent::{AgentConfig, KeyManagerConfig};
pub use barbican::{BarbicanConfig, QuotaConfig};
pub use encryption_defaults::{EncryptionDefaultsConfig, LockSetting, ScopeSetting};
pub use load::{ConfigError, Sources, load};
pub use reference::reference;
pub use rotation::RotationConfig;
pub use seal::{
    FileSealConfig, PassphraseSealConfig, Pkcs11Mechanism, Pkcs11SealConfig, SealConfig, SealKind,
    TpmSealConfig,
};
pub use siblings::SiblingsConfig;

/// Everything that can be set.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The listener of the native API.
    pub server: ServerConfig,
    /// Where the server keeps what is its own.
    pub data: DataConfig,
    /// Where records are stored.
    pub store: StoreConfig,
    /// Where master keys rest.
    pub seal: SealConfig,
    /// When keys over keys are replaced.
    pub rotation: RotationConfig,
    /// Servers that are asked for later master keys.
    pub siblings: SiblingsConfig,
    /// Who callers are.
    pub identity: IdentityConfig,
    /// Who may do what.
    pub policy: PolicySection,
    /// Barbican's interface.
    pub barbican: BarbicanConfig,
    /// How data is encrypted where neither the user, the project nor the domain has a default.
    pub encryption_defaults: EncryptionDefaultsConfig,
    /// Bounds on callers and requests.
    pub limits: LimitsConfig,
    /// The audit trail.
    pub audit: AuditConfig,
    /// Deletion and the reaper.
    pub deletion: DeletionConfig,
    /// The log.
    pub log: LogConfig,
    /// A service's agent.
    pub agent: AgentConfig,
    /// An agent's key manager.
    pub key_manager: KeyManagerConfig,
}

/// `[server]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// The name of this server in audit events, and among the servers of one database, where no other may have it. Empty: the
    /// name of the machine.
    pub name: String,
    /// Address and port to listen on. Without TLS only a loopback address is taken, unless `insecure_bind` is set.
    pub listen: SocketAddr,
    /// The address clients know this server by, for links in answers, for example `https://keys.example.org:9311`.
    /// Empty: the `Host` header of the request, with `https` if the server has TLS or a trusted proxy says so.
    pub host_href: String,
    /// Listen without TLS beyond loopback. Tokens and key strings then cross the network in the clear.
    pub insecure_bind: bool,
    /// Networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. A proxy that ends TLS must set
    /// the latter, or links in answers begin with `http`.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Networks that may read `/metrics`, and what is wrong in `/readyz`.
    #[schemars(with = "Vec<String>")]
    pub metrics_networks: Vec<IpNet>,
    /// Most connections at a time; more wait in the system's queue.
    pub max_connections: usize,
    /// Seconds a client has to send the header of a request, and again to send its body. A connection on which no request
    /// runs for so long is closed; an answer that is not taken within twice that time is given up.
    pub client_timeout_seconds: u64,
    /// Seconds a request may take before it is answered with 503.
    pub request_timeout_seconds: u64,
    /// Seconds that running requests have to finish when the server stops.
    pub shutdown_seconds: u64,
    /// TLS.
    pub tls: TlsConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9311)),
            host_href: String::new(),
            insecure_bind: false,
            trusted_proxies: Vec::new(),
            metrics_networks: vec![loopback("127.0.0.0/8"), loopback("::1/128")],
            max_connections: 1024,
            client_timeout_seconds: 10,
            request_timeout_seconds: 30,
            shutdown_seconds: 30,
            tls: TlsConfig::default(),
        }
    }
}

/// Longest name of a server, in characters: the ids of its notes in the store hold it.
const MAX_SERVER_NAME: usize = 100;

fn loopback(text: &str) -> IpNet {
    text.parse().unwrap_or_default()
}

/// `[server.tls]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the certificate and its chain. Empty: no TLS. Read again on SIGHUP.
    pub cert: PathBuf,
    /// PEM file of the private key, readable by the server's user only.
    pub key: PathBuf,
    /// PEM file of authorities; if set, only clients with a certificate of one of them are served.
    pub client_ca: PathBuf,
}

/// `[data]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The data folder (mode 0700): store, master key, identities and audit trail, unless they are set elsewhere.
    pub folder: PathBuf,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { folder: PathBuf::from("chatelaine-data") }
    }
}

/// `[store]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `sqlite:///absolute/path`, `sqlite://relative/path`, `postgres://USER@HOST/DATABASE`, `mysql://USER@HOST/DATABASE` or
    /// `memory:` (lost when the server ends). Empty: `chatelaine.db` in the data folder. A database may be named by several
    /// hosts, `HOST1,HOST2:PORT`, which are tried in this order. Its options: `sslmode` (`verify-full`, `require`, `disable`),
    /// `sslrootcert`, `sslcert`, `sslkey` and `socket`.
    pub url: String,
    /// A file that holds the password of the database's user and that others cannot read. Empty: none is needed.
    pub password_file: PathBuf,
    /// Most connections to the database.
    pub connections: usize,
    /// Seconds a call to the database may take before it is answered with 503.
    pub timeout_seconds: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: String::new(), password_file: PathBuf::new(), connections: 16, timeout_seconds: 10 }
    }
}

/// Which default rules stand for Barbican's interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyDefaults {
    /// The roles admin, member and reader.
    #[default]
    Secure,
    /// The roles of older clouds.
    Legacy,
}

/// `[policy]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// The default rules of Barbican's interface: `secure` knows the roles admin, member and reader, `legacy` those of
    /// older clouds (creator, observer, audit, key-manager:service-admin).
    pub defaults: PolicyDefaults,
    /// A `policy.yaml` whose rules override the defaults; read again when it changes. Empty: none.
    pub file: PathBuf,
    /// Roles whose holders are refused in the native key API whatever the rules say, such as those of compute nodes.
    pub refused_roles: Vec<String>,
    /// Networks from which the native key API may be used. Empty: all.
    #[schemars(with = "Vec<String>")]
    pub networks: Vec<IpNet>,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self {
            defaults: PolicyDefaults::Secure,
            file: PathBuf::new(),
            refused_roles: vec!["compute".to_owned()],
            networks: Vec::new(),
        }
    }
}

impl PolicySection {
    /// The default rules, as the domain calls them.
    pub const fn rule_defaults(&self) -> RuleDefaults {
        match self.defaults {
            PolicyDefaults::Secure => RuleDefaults::Secure,
            PolicyDefaults::Legacy => RuleDefaults::Legacy,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests per second that one user may make on average. 0: no limit.
    pub requests_per_second: u32,
    /// Requests that one user may make at once above that average.
    pub burst: u32,
    /// Requests of one user that run at the same time. 0: no limit.
    pub concurrent_requests: usize,
    /// Largest key string, in bytes.
    pub max_key_string_bytes: usize,
    /// Most keys in one page of a listing.
    pub max_page: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            requests_per_second: 2000,
            burst: 4000,
            concurrent_requests: 256,
            max_key_string_bytes: 65_536,
            max_page: 1000,
        }
    }
}

/// `[audit]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// The folder of the trail (mode 0700). Empty: `audit` in the data folder.
    pub path: PathBuf,
    /// The size at which a file of the trail gets a successor, in MiB.
    pub segment_mib: u64,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), segment_mib: 64 }
    }
}

/// `[deletion]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeletionConfig {
    /// Seconds a deleted key can be undeleted before its key string is destroyed. Default: 7 days.
    pub grace_seconds: u64,
    /// Seconds after its expiry at which a key is deleted; it can be undeleted until the grace period is over, and then its
    /// key string is destroyed. 0: expired keys stay until somebody deletes them.
    pub expired_after_seconds: u64,
    /// Seconds after its deletion from which an administrator may have a secret destroyed early. Default: 1 day.
    pub purge_wait_seconds: u64,
    /// Seconds between two runs of the reaper. 0: only `chatelaine reap` runs it.
    pub reap_every_seconds: u64,
}

impl Default for DeletionConfig {
    fn default() -> Self {
        const WEEK: u64 = 7 * 24 * 3600;
        Self {
            grace_seconds: WEEK,
            expired_after_seconds: 0,
            purge_wait_seconds: 24 * 3600,
            reap_every_seconds: 3600,
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` for people or `json` for collectors; to standard error.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,chatelaine_server::http=debug`.
    pub level: String,
    /// Write a line for every request, not only for those that fail.
    pub requests: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned(), requests: false }
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The store's address.
    pub fn store_url(&self) -> String {
        if self.store.url.is_empty() {
            format!("sqlite://{}", self.data.folder.join("chatelaine.db").display())
        } else {
            self.store.url.clone()
        }
    }

    /// The name of this server.
    pub fn server_name(&self) -> String {
        if !self.server.name.is_empty() {
            return self.server.name.clone();
        }
        let host = crate::platform::host_name();
        host.map_or_else(|| "chatelaine".to_owned(), |name| name.chars().take(MAX_SERVER_NAME).collect())
    }

    /// The file with the sealed master keys.
    pub fn sealed_keys_path(&self) -> PathBuf {
        self.in_data_folder(&self.seal.document, "sealed-keys.json")
    }

    /// The file of the sealing key.
    pub fn sealing_key_path(&self) -> PathBuf {
        self.in_data_folder(&self.seal.file.path, "sealing-key")
    }

    /// The public key of the release authority.
    pub fn release_authority_path(&self) -> PathBuf {
        self.in_data_folder(&self.seal.tpm.authority, "release-authority.pub")
    }

    /// The folder of approved boot states.
    pub fn approvals_path(&self) -> PathBuf {
        self.in_data_folder(&self.seal.tpm.approvals, "approvals")
    }

    /// The folder of the audit trail.
    pub fn audit_path(&self) -> PathBuf {
        self.in_data_folder(&self.audit.path, "audit")
    }

    /// The socket over which the tools of the same user speak to the running server.
    pub fn control_path(&self) -> PathBuf {
        self.data.folder.join("control.sock")
    }

    /// The policy file, if one is set.
    pub fn policy_file(&self) -> Option<&std::path::Path> {
        Some(self.policy.file.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// Whether the listener speaks TLS.
    pub fn has_tls(&self) -> bool {
        !self.server.tls.cert.as_os_str().is_empty()
    }

    /// The address of this server as its own machine knows it.
    pub fn own_url(&self) -> String {
        if !self.server.host_href.is_empty() {
            return self.server.host_href.clone();
        }
        let scheme = if self.has_tls() { "https" } else { "http" };
        format!("{scheme}://{}", self.server.listen)
    }

    fn in_data_folder(&self, set: &std::path::Path, name: &str) -> PathBuf {
        if set.as_os_str().is_empty() { self.data.folder.join(name) } else { set.to_path_buf() }
    }
}
