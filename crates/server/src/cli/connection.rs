//! From options and environment to a session with the key manager.
//!
//! Owns where token and endpoint come from: `--token-file` with an endpoint that is named, or a cloud of `OS_*` variables
//! and `clouds.yaml` with the endpoint of Keystone's catalogue unless one is named. Invariant: a token is never
//! sent to an address nobody named. Refuses token files that others can read. Uses no proxy.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chatelaine_client::clouds::{self, Choice};
use chatelaine_client::http::{Authentication, Session};
use chatelaine_client::keystone::{Interface, KeystoneEndpointError};
use chatelaine_client::{SecretText, TransportOptions};
use reqwest::Url;

use super::key::file;
use super::{Exit, Failure, Global, Terminal};

const SERVICE_TYPE: &str = "key-manager";
/// Longest token accepted, in bytes; Keystone's are far shorter.
const TOKEN_LIMIT: usize = 8 << 10;
/// Longest answer accepted: 1000 keys, each with 32 attributes of 319 characters and more, take less than 40 MiB.
const BODY_LIMIT: usize = 64 << 20;
const LONGEST_CONNECT: Duration = Duration::from_secs(5);

/// Where the key manager is and who is asking.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionOptions {
    /// A cloud of clouds.yaml
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "token_file")]
    os_cloud: Option<String>,
    /// The region whose endpoint is used
    #[arg(long, global = true, value_name = "NAME")]
    os_region_name: Option<String>,
    /// The interface whose endpoint is used: public, internal or admin
    #[arg(long, global = true, value_name = "NAME", value_parser = interface)]
    os_interface: Option<Interface>,
    /// The key manager's address; without it, that of Keystone's catalogue
    #[arg(long, global = true, value_name = "URL", env = "CHATELAINE_ENDPOINT", hide_env_values = true)]
    endpoint: Option<String>,
    /// A file that holds a token and that others cannot read; - for standard input
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file of the certificate authorities to trust
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "insecure")]
    os_cacert: Option<PathBuf>,
    /// Accept any certificate: whoever sits on the path can read every token and key
    #[arg(long, global = true)]
    insecure: bool,
    /// Longest wait for one answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

fn interface(text: &str) -> Result<Interface, &'static str> {
    Interface::parse(text).ok_or("it must be public, internal or admin")
}

/// What is known before the endpoint is.
struct Found {
    authentication: Authentication,
    endpoint: Option<String>,
    region: Option<String>,
    interface: Interface,
    transport: TransportOptions,
    who: String,
}

/// Opens a session. `input_is_taken`: the command reads its key string from standard input.
pub(crate) async fn open(
    global: &Global,
    input_is_taken: bool,
    terminal: &mut Terminal,
) -> Result<Session, Failure> {
    let options = &global.connection;
    let timeout = Duration::from_secs(options.timeout);
    let base = TransportOptions {
        connect_timeout: timeout.min(LONGEST_CONNECT),
        request_timeout: timeout,
        body_limit: BODY_LIMIT,
        ..TransportOptions::default()
    };
    let found = match &options.token_file {
        Some(path) => with_token_file(path, options, base, input_is_taken, terminal)?,
        None => with_cloud(options, &base, terminal)?,
    };
    if found.transport.insecure {
        terminal.warn("certificates are not checked: whoever sits on the path can read every token and key");
    }
    let endpoint = match (found.endpoint, &found.authentication) {
        (Some(endpoint), _) => endpoint,
        (None, Authentication::Keystone(keystone)) => {
            match keystone.endpoint(SERVICE_TYPE, found.interface, found.region.as_deref()).await {
                Ok(endpoint) => endpoint,
                Err(KeystoneEndpointError::Authenticate(error)) => return Err(error.into()),
                Err(KeystoneEndpointError::Endpoint(error)) => return Err(error.into()),
            }
        }
        (None, _) => {
            return Err(Failure::usage("it is not said where the key manager is").advise(
                "name its address with --endpoint or CHATELAINE_ENDPOINT; a server without configuration listens at \
                 http://127.0.0.1:9311",
            ));
        }
    };
    let session = Session::new(without_version(&endpoint), found.authentication, &found.transport)?;
    if global.verbose > 0 {
        terminal.note(&format!("the key manager at {}, with {}", session.endpoint(), found.who));
    }
    if is_plain_network(session.endpoint()) {
        terminal.warn("the endpoint is http: tokens and key strings travel readable; use https");
    }
    Ok(session)
}

fn with_token_file(
    path: &Path,
    options: &ConnectionOptions,
    base: TransportOptions,
    input_is_taken: bool,
    terminal: &mut Terminal,
) -> Result<Found, Failure> {
    if path.as_os_str() == "-" && input_is_taken {
        return Err(Failure::usage("standard input cannot hold both the token and the key string")
            .advise("name a file for one of them"));
    }
    let variable = |name: &str| {
        let found = terminal.environment.iter().find(|(own, value)| own == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let endpoint = named(options.endpoint.as_ref()).or_else(|| variable("OS_KEY_MANAGER_ENDPOINT_OVERRIDE"));
    let ca_file = options.os_cacert.clone().or_else(|| variable("OS_CACERT").map(PathBuf::from));
    let token = token(path, terminal)?;
    Ok(Found {
        authentication: Authentication::StaticToken(token),
        endpoint,
        region: None,
        interface: Interface::default(),
        transport: TransportOptions { ca_file, insecure: options.insecure, ..base },
        who: format!("the token of {}", path.display()),
    })
}

fn with_cloud(
    options: &ConnectionOptions,
    base: &TransportOptions,
    terminal: &Terminal,
) -> Result<Found, Failure> {
    let choice = Choice {
        cloud: options.os_cloud.clone(),
        endpoint: named(options.endpoint.as_ref()),
        region: options.os_region_name.clone(),
        interface: options.os_interface,
        working_folder: terminal.working_folder.clone(),
    };
    let mut cloud = clouds::resolve(terminal.environment.iter().cloned(), &choice)?;
    if let Some(file) = &options.os_cacert {
        cloud.ca_file = Some(file.clone());
        cloud.insecure = false;
    }
    cloud.insecure |= options.insecure;
    let transport = cloud.transport_options(base);
    let who = match &cloud.name {
        Some(name) => format!("the credentials of cloud `{name}`"),
        None => "the credentials of the environment".to_owned(),
    };
    Ok(Found {
        endpoint: cloud.endpoint.clone(),
        region: cloud.region.clone(),
        interface: cloud.interface,
        authentication: cloud.into_authentication(&transport)?,
        transport,
        who,
    })
}

/// An empty variable counts as unset.
fn named(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty()).cloned()
}

fn token(path: &Path, terminal: &mut Terminal) -> Result<SecretText, Failure> {
    let failed = |reason: String| {
        Failure::usage(format!("the token file {}: {reason}", path.display()))
            .advise("it must hold one token on one line and have mode 0600")
    };
    let mut file;
    let source: &mut dyn Read = if path.as_os_str() == "-" {
        &mut *terminal.input
    } else {
        file = file::open(path).map_err(|error| failed(error.to_string()))?;
        if file::others_can_reach(&file).map_err(|error| failed(error.to_string()))? {
            return Err(failed("others can read or change it".to_owned()));
        }
        &mut file
    };
    let bytes = file::read_wiping(source, TOKEN_LIMIT).map_err(|error| failed(error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not text".to_owned()))?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let mut failure = failed("it does not hold one token".to_owned());
        failure.exit = Exit::NotAuthenticated;
        return Err(failure);
    }
    Ok(SecretText::new(text))
}

/// Catalogues may hold the address with the version, which our paths begin with.
pub(crate) fn without_version(endpoint: &str) -> &str {
    let endpoint = endpoint.trim().trim_end_matches('/');
    endpoint.strip_suffix("/v1").unwrap_or(endpoint)
}

/// Whether requests to this address cross a network unencrypted.
fn is_plain_network(endpoint: &str) -> bool {
    let Ok(url) = Url::parse(endpoint) else { return false };
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "http" && !local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_at_the_end_are_dropped() {
        for (endpoint, expected) in [
            ("http://h:9311", "http://h:9311"),
            ("http://h:9311/", "http://h:9311"),
            ("https://h/key-manager/v1/", "https://h/key-manager"),
            ("https://h/v1", "https://h"),
            ("https://h/dev1", "https://h/dev1"),
        ] {
            assert_eq!(without_version(endpoint), expected);
        }
    }

    #[test]
    fn plain_http_is_noticed_off_the_machine_only() {
        for (endpoint, plain) in [
            ("http://127.0.0.1:9311/", false),
            ("http://[::1]:9311/", false),
            ("http://localhost/", false),
            ("https://keys.example/", false),
            ("http://keys.example/", true),
            ("http://10.0.0.1:9311/", true),
        ] {
            assert_eq!(is_plain_network(endpoint), plain, "{endpoint}");
        }
    }
}
