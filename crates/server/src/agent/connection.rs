//! The agent's way to the key manager: the service's own credentials, from files.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chatelaine_agent::remote::Remote;
use chatelaine_client::TransportOptions;
use chatelaine_client::clouds::{self, Choice, CloudAuthentication};
use chatelaine_client::http::{Authentication, Session};
use chatelaine_client::keystone::{Keystone, KeystoneConfig};

use crate::cli::without_version;
use crate::config::{Config, KeyManagerConfig};
use crate::identity::read_secret;

/// The session, with nothing sent yet but where the address must be looked up.
pub(super) fn open(config: &Config, environment: &[(String, String)]) -> Result<Remote> {
    let settings = &config.key_manager;
    let patience = Duration::from_secs(config.agent.timeout_seconds);
    let base = TransportOptions {
        ca_file: Some(settings.ca_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        connect_timeout: patience.min(Duration::from_secs(5)),
        request_timeout: patience,
        body_limit: 8 << 20,
        ..TransportOptions::default()
    };
    if !settings.token_file.as_os_str().is_empty() {
        if settings.endpoint.is_empty() {
            bail!(
                "key_manager.endpoint: it is needed beside key_manager.token_file, for example http://127.0.0.1:9311"
            );
        }
        let token = read_secret("key_manager.token_file", &settings.token_file)?;
        let session =
            Session::new(without_version(&settings.endpoint), Authentication::StaticToken(token), &base)
                .context("key_manager.endpoint")?;
        return Ok(Remote::new(session, None));
    }
    with_cloud(settings, &base, environment)
}

fn with_cloud(
    settings: &KeyManagerConfig,
    base: &TransportOptions,
    environment: &[(String, String)],
) -> Result<Remote> {
    let mut environment = environment.to_vec();
    if !settings.clouds_file.as_os_str().is_empty() {
        // The file that is named, and nothing of the environment beside it.
        environment.retain(|(name, _)| !name.starts_with("OS_"));
        environment.push(("OS_CLIENT_CONFIG_FILE".to_owned(), settings.clouds_file.display().to_string()));
    }
    let choice = Choice {
        cloud: Some(settings.cloud.clone()).filter(|name| !name.is_empty()),
        endpoint: Some(settings.endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
        ..Choice::default()
    };
    let mut cloud = clouds::resolve(environment, &choice).context("key_manager.cloud")?;
    if base.ca_file.is_some() {
        cloud.ca_file.clone_from(&base.ca_file);
    }
    let transport = cloud.transport_options(base);
    let endpoint = cloud.endpoint.clone();
    let (authentication, keystone) = match cloud.authentication {
        CloudAuthentication::Anonymous => bail!("key_manager.cloud: it has no credentials"),
        CloudAuthentication::StaticToken(token) => (Authentication::StaticToken(token), None),
        CloudAuthentication::Keystone { auth_url, credentials, scope } => {
            let config = KeystoneConfig { auth_url, credentials, scope, transport: transport.clone() };
            let keystone = Arc::new(Keystone::new(config).context("key_manager.cloud")?);
            (Authentication::Keystone(Arc::clone(&keystone)), Some(keystone))
        }
    };
    let Some(endpoint) = endpoint else {
        bail!(
            "key_manager.endpoint: it is not said where the key manager is, for example https://keys.example.org:9311"
        )
    };
    let session = Session::new(without_version(&endpoint), authentication, &transport)
        .context("key_manager.endpoint")?;
    Ok(Remote::new(session, keystone))
}
