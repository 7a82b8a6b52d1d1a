//! Asks a real Keystone what the tests in `tests/interop` want to know, through the client the server uses.
//!
//! Reads one JSON command per line from standard input and prints one JSON answer for each. `connect` comes first; its
//! credentials are `OS_*` variables and `clouds.yaml`, resolved as the command line resolves them. Tokens and passwords
//! come by standard input only and are never part of an answer.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatelaine_client::clouds::{Choice, CloudsError, resolve};
use chatelaine_client::http::Authentication;
use chatelaine_client::keystone::{
    AuthenticateError, EndpointError, Interface, Keystone, KeystoneEndpointError, TokenScope, Unavailable,
    ValidateError, ValidatedToken,
};
use chatelaine_client::{SecretText, TransportOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

const SERVICE_TYPE: &str = "key-manager";

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    /// Resolves the credentials and makes a client of them; nothing is sent yet.
    Connect {
        environment: BTreeMap<String, SecretText>,
        cloud: Option<String>,
        working_folder: PathBuf,
        timeout_milliseconds: u64,
    },
    /// Gets a token of our own, past any kept one.
    Authenticate,
    /// Asks about somebody's token, and whether it may make a request.
    Validate { token: SecretText, allow_expired: bool, method: String, path: String },
    /// Looks the key manager up in the catalogue.
    Endpoint { interface: String, region: Option<String> },
    /// Asks whether Keystone is there.
    Reachable,
}

/// A failure: which kind, and the message people would see.
struct Failure(&'static str, String);

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut output = io::stdout().lock();
    let mut keystone: Option<Arc<Keystone>> = None;
    for line in io::stdin().lock().lines() {
        let command: Command = serde_json::from_str(SecretText::new(line?).expose())?;
        let start = Instant::now();
        let result = match (command, &keystone) {
            (Command::Connect { environment, cloud, working_folder, timeout_milliseconds }, _) => {
                let timeout = Duration::from_millis(timeout_milliseconds);
                let choice = Choice { cloud, working_folder, ..Choice::default() };
                connect(&environment, &choice, timeout).map(|(connected, answer)| {
                    keystone = Some(connected);
                    answer
                })
            }
            (_, None) => Err(Failure("NotConnected", "the first command must be `connect`".to_owned())),
            (command, Some(keystone)) => ask(keystone, command).await,
        };
        let mut answer = match result {
            Ok(answer) => answer,
            Err(Failure(kind, message)) => json!({"error": kind, "message": message}),
        };
        answer["milliseconds"] = json!(start.elapsed().as_millis());
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn connect(
    environment: &BTreeMap<String, SecretText>,
    choice: &Choice,
    timeout: Duration,
) -> Result<(Arc<Keystone>, Value), Failure> {
    let variables = environment.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let cloud = resolve(variables, choice)?;
    let options =
        TransportOptions { connect_timeout: timeout, request_timeout: timeout, ..Default::default() };
    let options = cloud.transport_options(&options);
    let (name, region, interface) = (cloud.name.clone(), cloud.region.clone(), cloud.interface.as_str());
    match cloud.into_authentication(&options) {
        Ok(Authentication::Keystone(keystone)) => {
            let answer = json!({"cloud": name, "region": region, "interface": interface,
                "auth_url": keystone.auth_url(), "who": keystone.describe()});
            Ok((keystone, answer))
        }
        Ok(_) => Err(Failure("NotKeystone", "these credentials do not lead to a Keystone".to_owned())),
        Err(error) => Err(Failure("Setup", error.to_string())),
    }
}

async fn ask(keystone: &Keystone, command: Command) -> Result<Value, Failure> {
    Ok(match command {
        Command::Connect { .. } => json!({}),
        Command::Authenticate => token_answer(&keystone.authenticate().await?.details),
        Command::Validate { token, allow_expired, method, path } => {
            let token = keystone.validate(token.expose(), allow_expired).await?;
            let permitted = token
                .application_credential
                .as_ref()
                .is_none_or(|credential| credential.permits(SERVICE_TYPE, &method, &path));
            let mut answer = token_answer(&token);
            answer["permitted"] = json!(permitted);
            answer
        }
        Command::Endpoint { interface, region } => {
            let interface = Interface::parse(&interface)
                .ok_or_else(|| Failure("Interface", "must be public, internal or admin".to_owned()))?;
            json!({"url": keystone.endpoint(SERVICE_TYPE, interface, region.as_deref()).await?})
        }
        Command::Reachable => {
            keystone.reachable().await?;
            json!({"reachable": true})
        }
    })
}

fn token_answer(token: &ValidatedToken) -> Value {
    let scope = match &token.scope {
        TokenScope::Unscoped => json!({"kind": "unscoped"}),
        TokenScope::Project(project) => {
            json!({"kind": "project", "id": project.id, "name": project.name, "domain": project.domain.id})
        }
        TokenScope::Domain(domain) => json!({"kind": "domain", "id": domain.id, "name": domain.name}),
        TokenScope::System => json!({"kind": "system"}),
    };
    json!({
        "user": {"id": token.user.id, "name": token.user.name, "domain": token.user.domain.id},
        "scope": scope,
        "roles": token.roles,
        "methods": token.methods,
        "expires_at": token.expires_at.to_string(),
        "trust": token.trust.as_ref().map(|trust| json!({"id": trust.id, "impersonation": trust.impersonation,
            "trustor": trust.trustor_user_id, "trustee": trust.trustee_user_id})),
        "application_credential": token.application_credential.as_ref().map(|credential| json!({
            "id": credential.id, "restricted": credential.restricted,
            "rules": credential.access_rules.as_ref().map(Vec::len)})),
    })
}

impl From<CloudsError> for Failure {
    fn from(error: CloudsError) -> Self {
        Self("Clouds", error.to_string())
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        Self("Unavailable", error.to_string())
    }
}

impl From<AuthenticateError> for Failure {
    fn from(error: AuthenticateError) -> Self {
        let kind = match error {
            AuthenticateError::Refused { .. } => "Refused",
            AuthenticateError::MoreMethods { .. } => "MoreMethods",
            AuthenticateError::NotAllowed { .. } => "NotAllowed",
            AuthenticateError::BadRequest => "BadRequest",
            AuthenticateError::NotKeystone => "NotKeystone",
            AuthenticateError::Unavailable(_) => "Unavailable",
        };
        Self(kind, error.to_string())
    }
}

impl From<ValidateError> for Failure {
    fn from(error: ValidateError) -> Self {
        let kind = match error {
            ValidateError::NotValid => "NotValid",
            ValidateError::OwnCredentials(_) => "OwnCredentials",
            ValidateError::NotAllowed { .. } => "NotAllowed",
            ValidateError::Unavailable(_) => "Unavailable",
        };
        Self(kind, error.to_string())
    }
}

impl From<KeystoneEndpointError> for Failure {
    fn from(error: KeystoneEndpointError) -> Self {
        match error {
            KeystoneEndpointError::Authenticate(error) => error.into(),
            KeystoneEndpointError::Endpoint(EndpointError::NoService { .. }) => {
                Self("NoService", error.to_string())
            }
            KeystoneEndpointError::Endpoint(EndpointError::NoEndpoint { .. }) => {
                Self("NoEndpoint", error.to_string())
            }
        }
    }
}
