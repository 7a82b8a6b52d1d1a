//! A client of Keystone v3: get a token of our own, ask about tokens of others.
//!
//! Owns our own token: it is fetched once for however many callers wait, renewed before it ends and after Keystone
//! refused it. Invariants: a failure that Keystone did not clearly answer is never reported as "not valid"; no token
//! and no text of Keystone's answers reaches errors or logs (its 404 message can contain the token that was asked
//! about). Refuses Keystone v2 addresses, answers over 256 KiB, and to follow redirects.

pub mod catalog;
pub mod credentials;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod own_token;
pub mod rules;
pub mod token;
pub mod trusts;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

pub use catalog::{Catalog, EndpointError, Interface, find_endpoint};
pub use credentials::{
    ApplicationCredentialReference, Credentials, DomainReference, ProjectReference, Scope, UserReference,
};
pub use error::{AuthenticateError, Unavailable, ValidateError};
pub use rules::AccessRule;
pub use token::{ApplicationCredential, Token, TokenScope, Trust, ValidatedToken};
pub use trusts::DelegatedTrust;

use crate::secret::{SecretText, sensitive_header};
use crate::transport::{self, Answer, Outgoing, SetupError, Transport, TransportError, TransportOptions};
use own_token::OwnToken;

/// Keystone's answers are a few kilobytes; a large cloud's catalogue stays well below this.
const BODY_LIMIT: usize = 256 << 10;
/// Longer texts cannot be Keystone tokens and are not worth a question.
const TOKEN_LIMIT: usize = 8 << 10;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const X_SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
/// Without this header Keystone answers 404 for application credentials that have access rules.
const ACCESS_RULES: HeaderName = HeaderName::from_static("openstack-identity-access-rules");

/// Where Keystone is and who we are there.
#[derive(Debug)]
pub struct KeystoneConfig {
    /// Keystone's address, with or without `/v3` at the end.
    pub auth_url: String,
    /// Who we are.
    pub credentials: Credentials,
    /// What our own token shall be good for.
    pub scope: Scope,
    /// How to connect; the body limit is lowered to 256 KiB.
    pub transport: TransportOptions,
}

/// The client; share it behind an `Arc`, it has one token for all.
pub struct Keystone {
    transport: Transport,
    base: Url,
    credentials: Credentials,
    scope: Scope,
    deadline: Duration,
    own: OwnToken,
}

impl std::fmt::Debug for Keystone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Keystone")
            .field("auth_url", &self.base.as_str())
            .field("credentials", &self.credentials)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// What Keystone said about a subject token.
enum Verdict {
    Valid(Box<ValidatedToken>),
    OwnTokenRefused,
}

impl Keystone {
    /// Builds the client; nothing is sent yet.
    pub fn new(config: KeystoneConfig) -> Result<Self, SetupError> {
        let mut options = config.transport;
        options.body_limit = options.body_limit.min(BODY_LIMIT);
        Ok(Self {
            transport: Transport::new(&options)?,
            base: versioned(&config.auth_url)?,
            credentials: config.credentials,
            scope: config.scope,
            deadline: options.request_timeout,
            own: OwnToken::default(),
        })
    }

    /// Keystone's address as it is used, ending in `/v3`.
    pub fn auth_url(&self) -> &str {
        self.base.as_str()
    }

    /// Who we are, in words for messages.
    pub fn describe(&self) -> String {
        self.credentials.describe()
    }

    /// Our own token, fetched or renewed when needed.
    pub async fn token(&self) -> Result<Arc<Token>, AuthenticateError> {
        self.own.current(|| self.authenticate()).await
    }

    /// A token other than `refused`, which the called service did not accept.
    pub async fn renew(&self, refused: &Arc<Token>) -> Result<Arc<Token>, AuthenticateError> {
        self.own.other_than(refused, || self.authenticate()).await
    }

    /// Asks Keystone for a new token, past any kept one.
    pub async fn authenticate(&self) -> Result<Token, AuthenticateError> {
        self.authenticate_with(&self.credentials, &self.scope).await
    }

    /// A token for what a trust delegates to us, which ends with our own token. Asked for with that token, so that any kind of
    /// credentials will do that Keystone lets have trusts.
    pub async fn token_of_trust(&self, trust_id: &str) -> Result<Token, AuthenticateError> {
        let own = self.token().await?;
        let earlier = Credentials::Token(SecretText::new(own.value.expose()));
        let mut token = self.authenticate_with(&earlier, &Scope::Trust(trust_id.to_owned())).await?;
        token.ends_at = token.ends_at.min(own.ends_at);
        Ok(token)
    }

    /// The trusts by which others delegate to us.
    pub async fn trusts(&self) -> Result<Vec<DelegatedTrust>, AuthenticateError> {
        trusts::of_trustee(self).await
    }

    async fn authenticate_with(
        &self,
        credentials: &Credentials,
        scope: &Scope,
    ) -> Result<Token, AuthenticateError> {
        let who = || credentials.describe();
        let body = credentials
            .request_body(scope)
            .ok_or_else(|| Unavailable::Malformed("the request could not be written".into()))?;
        let mut request = Outgoing::new(Method::POST, transport::join(&self.base, "/auth/tokens"));
        request.json = Some(body);
        let mut answer = self.transport.send(request).await.map_err(Unavailable::Transport)?;
        match answer.status {
            201 => {}
            401 if answer.headers.contains_key("openstack-auth-receipt") => {
                return Err(AuthenticateError::MoreMethods { who: who() });
            }
            401 => return Err(AuthenticateError::Refused { who: who() }),
            403 => return Err(AuthenticateError::NotAllowed { who: who() }),
            400 => return Err(AuthenticateError::BadRequest),
            404 => return Err(AuthenticateError::NotKeystone),
            status => return Err(Unavailable::Status(status).into()),
        }
        let value = answer
            .headers
            .remove(X_SUBJECT_TOKEN)
            .filter(|value| value.len() <= TOKEN_LIMIT)
            .and_then(|value| value.to_str().map(SecretText::new).ok())
            .filter(|value| value.header_value().is_some())
            .ok_or_else(|| Unavailable::Malformed("there is no X-Subject-Token header".into()))?;
        let (details, catalog) = token::parse(&answer.body).map_err(Unavailable::Malformed)?;
        tracing::debug!(expires_at = %details.expires_at, "Keystone issued a token for {}", who());
        Ok(Token::issued(value, details, catalog))
    }

    /// Asks Keystone about a caller's token; `allow_expired` is for callers that also proved a valid service token.
    ///
    /// The whole question, a renewal of our own token included, takes no longer than the request timeout.
    pub async fn validate(
        &self,
        subject: &str,
        allow_expired: bool,
    ) -> Result<ValidatedToken, ValidateError> {
        if subject.len() > TOKEN_LIMIT {
            return Err(ValidateError::NotValid);
        }
        let subject = sensitive_header(subject).ok_or(ValidateError::NotValid)?;
        let question = self.validate_without_deadline(&subject, allow_expired);
        tokio::time::timeout(self.deadline, question)
            .await
            .unwrap_or(Err(ValidateError::Unavailable(Unavailable::Transport(TransportError::Timeout))))
    }

    async fn validate_without_deadline(
        &self,
        subject: &HeaderValue,
        allow_expired: bool,
    ) -> Result<ValidatedToken, ValidateError> {
        let own = self.token().await?;
        if let Verdict::Valid(details) = self.ask(&own, subject, allow_expired).await? {
            return Ok(*details);
        }
        tracing::info!("Keystone refused our own token; getting another");
        let own = self.renew(&own).await?;
        match self.ask(&own, subject, allow_expired).await? {
            Verdict::Valid(details) => Ok(*details),
            Verdict::OwnTokenRefused => Err(ValidateError::OwnCredentials(
                "Keystone refuses the token it has just issued; do all its nodes share their token keys?"
                    .into(),
            )),
        }
    }

    async fn ask(
        &self,
        own: &Token,
        subject: &HeaderValue,
        allow_expired: bool,
    ) -> Result<Verdict, ValidateError> {
        let own = own.value.header_value().ok_or_else(|| {
            ValidateError::OwnCredentials("our own token cannot be sent as a header".into())
        })?;
        let mut url = transport::join(&self.base, "/auth/tokens");
        url.set_query(Some(if allow_expired { "nocatalog&allow_expired=1" } else { "nocatalog" }));
        let request = Outgoing::new(Method::GET, url)
            .header(X_AUTH_TOKEN, own)
            .header(X_SUBJECT_TOKEN, subject.clone())
            .header(ACCESS_RULES, HeaderValue::from_static("1.0"));
        let answer = self.transport.send(request).await.map_err(Unavailable::Transport)?;
        match answer.status {
            200 => {
                let (details, _) = token::parse(&answer.body).map_err(Unavailable::Malformed)?;
                Ok(Verdict::Valid(Box::new(details)))
            }
            401 => Ok(Verdict::OwnTokenRefused),
            403 => Err(ValidateError::NotAllowed { who: self.describe() }),
            404 if is_keystone_not_found(&answer) => Err(ValidateError::NotValid),
            404 => {
                Err(Unavailable::Malformed("the 404 is not Keystone's own; is the address right?".into())
                    .into())
            }
            status => Err(Unavailable::Status(status).into()),
        }
    }

    /// Asks Keystone whether it is there, without any token.
    pub async fn reachable(&self) -> Result<(), Unavailable> {
        let answer = self
            .transport
            .send(Outgoing::new(Method::GET, self.base.clone()))
            .await
            .map_err(Unavailable::Transport)?;
        match answer.status {
            200 | 300 => Ok(()),
            status => Err(Unavailable::Status(status)),
        }
    }

    /// The URL of a service in the catalogue of our own token.
    pub async fn endpoint(
        &self,
        service_type: &str,
        interface: Interface,
        region: Option<&str>,
    ) -> Result<String, KeystoneEndpointError> {
        let token = self.token().await?;
        Ok(find_endpoint(&token.catalog, service_type, interface, region)?.to_owned())
    }
}

/// Why the catalogue of our own token gave no endpoint.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeystoneEndpointError {
    /// There is no token to look into.
    #[error(transparent)]
    Authenticate(#[from] AuthenticateError),
    /// The catalogue has no such endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// A load balancer's or web server's 404 must not turn every token of the cloud invalid.
fn is_keystone_not_found(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Body {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        code: u16,
    }
    serde_json::from_slice::<Body>(&answer.body).is_ok_and(|body| body.error.code == 404)
}

/// Keystone's address with `/v3` at the end, however the operator wrote it.
fn versioned(auth_url: &str) -> Result<Url, SetupError> {
    let mut url = transport::base_url("Keystone's auth_url", auth_url)?;
    let last = url.path().rsplit('/').next().unwrap_or("").to_owned();
    if matches!(last.as_str(), "v2" | "v2.0") {
        return Err(SetupError::Url {
            what: "Keystone's auth_url",
            reason: "it names version 2, which is gone; use /v3",
        });
    }
    if last != "v3" {
        url = transport::join(&url, "/v3");
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
