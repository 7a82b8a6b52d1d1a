//! `[siblings]`: the servers that are asked for later master keys.

use std::path::PathBuf;

use chatelaine_seal::attest::Endorsement;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, SealKind};

/// Most servers.
const MAX_ENDPOINTS: usize = 16;

/// `[siblings]`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SiblingsConfig {
    /// Addresses of servers of the same cluster that this one is enrolled at, for example `https://keys1:9311`. They are
    /// asked for master keys that were made later, each in turn. Empty: none is asked.
    pub endpoints: Vec<String>,
    /// A file with a token for them that others cannot read; the token needs the rule `attestation:join`. This or `cloud`.
    pub token_file: PathBuf,
    /// The name of a cloud in `clouds_file` whose user needs that rule.
    pub cloud: String,
    /// A `clouds.yaml` with that cloud, which others should not be able to read.
    pub clouds_file: PathBuf,
    /// A PEM file of the authorities that their certificates are checked with, beside `token_file`. Empty: the system's.
    pub ca_file: PathBuf,
    /// The endorsement key that this host is enrolled by: `rsa-2048`, `ecc-p256` or `ecc-p384`.
    pub endorsement: String,
    /// Seconds between two questions, within a fifth of it. After failures the pauses grow to 16 times that.
    pub every_seconds: u64,
}

impl Default for SiblingsConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            token_file: PathBuf::new(),
            cloud: String::new(),
            clouds_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            endorsement: "rsa-2048".to_owned(),
            every_seconds: 60,
        }
    }
}

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let siblings = &config.siblings;
    let wrong = |setting: &str, problem: &str| {
        Err(ConfigError::setting(format!("siblings.{setting}"), problem.to_owned()))
    };
    if !(1..=86_400).contains(&siblings.every_seconds) {
        return wrong("every_seconds", &format!("it is {}, 1 to 86400 are allowed", siblings.every_seconds));
    }
    if let Err(problem) = siblings.endorsement.parse::<Endorsement>() {
        return wrong("endorsement", &problem);
    }
    if siblings.endpoints.is_empty() {
        return Ok(());
    }
    if siblings.endpoints.len() > MAX_ENDPOINTS {
        return wrong("endpoints", "there are more than 16");
    }
    let is_address = |text: &String| {
        let uri = text.parse::<http::Uri>().ok();
        uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
    };
    if !siblings.endpoints.iter().all(is_address) {
        return wrong(
            "endpoints",
            "each must be a URL with http or https and a host, for example https://keys1:9311",
        );
    }
    let token = !siblings.token_file.as_os_str().is_empty();
    let (cloud, file) = (!siblings.cloud.is_empty(), !siblings.clouds_file.as_os_str().is_empty());
    if token == cloud {
        return wrong("token_file", "give either a token file or a cloud, so that the servers answer");
    }
    if cloud != file {
        return wrong(
            "clouds_file",
            "a cloud needs the file that it is in, and the file the name of a cloud",
        );
    }
    if !config.seal.kinds().any(|kind| kind == SealKind::Tpm) {
        return wrong(
            "endpoints",
            "what gets later master keys is a TPM: name tpm in seal.kind or seal.also",
        );
    }
    Ok(())
}
