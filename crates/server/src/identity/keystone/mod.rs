//! Identities from Keystone.
//!
//! Owns our own credentials there and the order of the checks: the service token first, in every respect, then the
//! user's, with what the service token permits.
//!
//! Invariants: an expired token counts only if a good service token vouches for it (T-TOKEN-EXPIRED); access rules of an
//! application credential are held against every request, not against the first one that fills the cache; a service
//! token's own rules hold as well, so that it vouches for nothing it could not do itself.

#[cfg(test)]
mod tests;
mod validator;

use std::sync::Arc;
use std::time::Duration;

use chatelaine_client::TransportOptions;
use chatelaine_client::keystone::{
    ApplicationCredentialReference, AuthenticateError, Credentials, DomainReference, Keystone,
    KeystoneConfig, ProjectReference, Scope, UserReference,
};
use chatelaine_client::transport::SetupError;
use chatelaine_core::Clock;
use tokio::time::Instant;

use self::validator::{Failure, Validated, Validator};
use super::config::KeystoneSettings;
use super::{
    AuthenticationError, Counters, IdentityError, Presented, Proven, Request, blocking, files,
    lower_case_roles,
};

/// When a client may try again after a 503, in seconds.
const RETRY_AFTER: u64 = 5;
/// How long a look at Keystone's health counts, so that probes of ours are no flood there.
const HEALTH_COUNTS: Duration = Duration::from_secs(1);

/// When Keystone was last looked at, and what was seen.
type Look = Option<(Instant, Result<(), String>)>;

pub(super) struct KeystoneIdentities {
    settings: KeystoneSettings,
    service_token_roles: Vec<String>,
    validator: Arc<Validator>,
    health: tokio::sync::Mutex<Look>,
}

impl KeystoneIdentities {
    pub(super) async fn open(
        settings: &KeystoneSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let client = connect(settings).await?;
        if settings.insecure {
            tracing::warn!(
                "identity.keystone.insecure is set: whoever sits between can pretend to be Keystone"
            );
        } else if client.auth_url().starts_with("http://") {
            tracing::warn!(
                "identity.keystone.auth_url is not https: tokens and our password travel in the clear"
            );
        }
        match try_out(&client).await? {
            None => {
                tracing::info!(keystone = client.auth_url(), "Keystone accepts us as {}", client.describe());
            }
            Some(reason) => {
                tracing::warn!(%reason, "Keystone does not answer yet; until it does no new token can be validated");
            }
        }
        Ok(Self {
            service_token_roles: lower_case_roles(&settings.service_token_roles),
            validator: Arc::new(Validator::new(client, settings, clock)),
            settings: settings.clone(),
            health: tokio::sync::Mutex::new(None),
        })
    }

    pub(super) async fn authenticate(
        &self,
        presented: &Presented<'_>,
        request: &Request<'_>,
    ) -> Result<Proven, AuthenticationError> {
        let (token, service_token) = (presented.user()?, presented.service()?);
        let service = match service_token {
            None => None,
            Some(token) => {
                let validated = self.validator.validate(token, false).await.map_err(|failure| {
                    explained(
                        failure,
                        "the service token is not valid",
                        "the service token has expired by our clock",
                    )
                })?;
                self.check_service(&validated, request)?;
                Some(Arc::clone(&validated.identity))
            }
        };
        let user = self.validator.validate(token, service.is_some()).await.map_err(|failure| {
            explained(
                failure,
                "the token is not valid",
                "Keystone accepts the token, but by our clock it has expired",
            )
        })?;
        if service.is_none() && !self.permits(&user, request) {
            return refused("the access rules of the application credential do not permit the request");
        }
        Ok(Proven { user: Arc::clone(&user.identity), service })
    }

    fn check_service(&self, service: &Validated, request: &Request<'_>) -> Result<(), AuthenticationError> {
        if !service.identity.roles.iter().any(|role| self.service_token_roles.contains(role)) {
            return refused("the service token has no role that lets it vouch for others");
        }
        if !self.permits(service, request) {
            return refused(
                "the access rules of the service token's application credential do not permit the request",
            );
        }
        Ok(())
    }

    fn permits(&self, validated: &Validated, request: &Request<'_>) -> bool {
        validated.application_credential.as_ref().is_none_or(|credential| {
            credential.permits(&self.settings.service_type, request.method, request.path)
        })
    }

    /// Whether Keystone answers and accepts us. Asks at most once a second, however often it is called.
    pub(super) async fn health(&self) -> Result<(), String> {
        let mut look = self.health.lock().await;
        if let Some((at, seen)) = look.as_ref()
            && at.elapsed() < HEALTH_COUNTS
        {
            return seen.clone();
        }
        let client = self.validator.client();
        let question = async {
            client.reachable().await.map_err(|error| format!("Keystone is unavailable: {error}"))?;
            client.token().await.map(|_| ()).map_err(|error| error.to_string())
        };
        let seen = tokio::time::timeout(Duration::from_secs(self.settings.timeout), question)
            .await
            .unwrap_or_else(|_| Err("Keystone gave no answer in time".to_owned()));
        *look = Some((Instant::now(), seen.clone()));
        seen
    }

    pub(super) fn describe(&self) -> String {
        let client = self.validator.client();
        format!(
            "Keystone at {} as {}, tokens believed for {} s",
            client.auth_url(),
            client.describe(),
            self.settings.cache_seconds
        )
    }

    pub(super) fn challenge(&self) -> String {
        format!("Keystone uri=\"{}\"", self.validator.client().auth_url())
    }

    pub(super) fn counters(&self) -> Counters {
        self.validator.counters()
    }

    /// Rereads password or secret and CA file. New credentials that Keystone refuses are not taken.
    pub(super) async fn reload(&self) -> Result<(), IdentityError> {
        let client = connect(&self.settings).await?;
        if let Some(reason) = try_out(&client).await? {
            tracing::warn!(%reason, "Keystone does not answer; its credentials were reread and not tried");
        }
        self.validator.use_client(client);
        Ok(())
    }
}

fn refused<T>(reason: &'static str) -> Result<T, AuthenticationError> {
    Err(AuthenticationError::Refused { reason })
}

fn explained(failure: Failure, not_valid: &'static str, expired: &'static str) -> AuthenticationError {
    match failure {
        Failure::NotValid => AuthenticationError::Refused { reason: not_valid },
        Failure::ExpiredHere => AuthenticationError::Refused { reason: expired },
        Failure::Unavailable(reason) => AuthenticationError::Unavailable { reason, retry_after: RETRY_AFTER },
    }
}

/// Gets our own token once, so that wrong credentials show at the start. Gives the reason if nobody answers.
async fn try_out(client: &Keystone) -> Result<Option<String>, IdentityError> {
    match client.token().await {
        Ok(_) => Ok(None),
        Err(AuthenticateError::Unavailable(reason)) => Ok(Some(reason.to_string())),
        Err(refusal) => Err(IdentityError::OwnCredentials(refusal.to_string())),
    }
}

async fn connect(settings: &KeystoneSettings) -> Result<Keystone, IdentityError> {
    let settings = settings.clone();
    blocking(move || {
        let timeout = Duration::from_secs(settings.timeout);
        let (credentials, scope) = credentials(&settings)?;
        Keystone::new(KeystoneConfig {
            auth_url: settings.auth_url,
            credentials,
            scope,
            transport: TransportOptions {
                ca_file: Some(settings.ca_file).filter(|path| !path.as_os_str().is_empty()),
                insecure: settings.insecure,
                connect_timeout: timeout,
                request_timeout: timeout,
                ..TransportOptions::default()
            },
        })
        .map_err(|error| match error {
            SetupError::Url { reason, .. } => IdentityError::setting(
                "identity.keystone.auth_url",
                reason,
                "give Keystone's address, for example https://keystone.example.org:5000/v3",
            ),
            SetupError::File { path, reason, .. } => {
                IdentityError::file(&path, reason, "see identity.keystone.ca_file")
            }
            SetupError::Builder(reason) => IdentityError::setting(
                "identity.keystone",
                reason,
                "see whether this system's certificate authorities are installed",
            ),
        })
    })
    .await
}

fn credentials(settings: &KeystoneSettings) -> Result<(Credentials, Scope), IdentityError> {
    if settings.by_application_credential() {
        let secret = files::read_secret(
            "identity.keystone.application_credential_secret_file",
            &settings.application_credential_secret_file,
        )?;
        let credential = ApplicationCredentialReference::Id(settings.application_credential_id.clone());
        return Ok((Credentials::ApplicationCredential { credential, secret }, Scope::Default));
    }
    let password = files::read_secret("identity.keystone.password_file", &settings.password_file)?;
    let user = UserReference::Name {
        name: settings.username.clone(),
        domain: DomainReference::Name(settings.user_domain_name.clone()),
    };
    let project = ProjectReference::Name {
        name: settings.project_name.clone(),
        domain: DomainReference::Name(settings.project_domain_name.clone()),
    };
    Ok((Credentials::Password { user, password }, Scope::Project(project)))
}
