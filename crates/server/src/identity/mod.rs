//! Who a request comes from.
//!
//! Owns the proof of authentication: this module alone constructs [`Caller`]. Identities come from a file of hashed
//! tokens or from Keystone, never from both.
//!
//! Invariants: a request becomes a caller only by a token that was found good within the last 300 seconds and has not
//! expired; no doubt is resolved in a caller's favour: when Keystone cannot be asked the answer is *unavailable*, neither
//! yes nor no; a token never reaches a log line, an error, a metric or a cache key (its digest does).
//!
//! Refuses (T-TOKEN-FORGED, T-TOKEN-EXPIRED, T-TOKEN-REVOKED): text that cannot be a token, tokens nobody vouches for,
//! service tokens that are not good in every respect, and requests outside the access rules of an application credential.

mod config;
mod error;
mod files;
pub(crate) mod fixed;
mod keystone;
mod token;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use chatelaine_client::SecretText;
use chatelaine_core::Clock;
use chatelaine_core::id::RequestId;
use chatelaine_core::policy::{Caller, Identity};

pub use config::{IdentityConfig, IdentityKind, KeystoneSettings, LONGEST_CACHE, StaticSettings};
pub use error::IdentityError;
pub(crate) use files::read_secret;
pub use fixed::edit::{ListedIdentity, NewIdentity, Removed, TOKEN_PREFIX, add, list, remove};
pub use fixed::first_start::{CLOUDS_FILE, FirstStart};

use fixed::StaticIdentities;
use keystone::KeystoneIdentities;

/// The tokens that a request presents.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// `X-Auth-Token`.
    pub token: Option<&'a SecretText>,
    /// `X-Service-Token`: a service vouches for the request with its own token.
    pub service_token: Option<&'a SecretText>,
}

impl<'a> Presented<'a> {
    /// The user's token, if it can be one.
    fn user(&self) -> Result<&'a SecretText, AuthenticationError> {
        match self.token {
            None => Err(AuthenticationError::Missing),
            Some(token) if token.is_empty() => Err(AuthenticationError::Missing),
            Some(token) if token::is_plausible(token) => Ok(token),
            Some(_) => {
                Err(AuthenticationError::Refused { reason: "the token is too long or no token at all" })
            }
        }
    }

    /// The service's token, if there is one. One that cannot be a token spoils the request.
    fn service(&self) -> Result<Option<&'a SecretText>, AuthenticationError> {
        match self.service_token {
            Some(token) if !token::is_plausible(token) => Err(AuthenticationError::Refused {
                reason: "the service token is empty, too long or no token at all",
            }),
            other => Ok(other),
        }
    }
}

/// What authentication has to know of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method in capitals.
    pub method: &'a str,
    /// The path as it is routed, without query.
    pub path: &'a str,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// Its id.
    pub request_id: &'a RequestId,
}

/// Why a request has no caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// It presents no token.
    #[error("the request has no token")]
    Missing,
    /// Its token, or its service token, is not good for it.
    #[error("{reason}")]
    Refused {
        /// Why, for log and audit; the client is told nothing but that it is not authenticated.
        reason: &'static str,
    },
    /// Nobody can tell now.
    #[error("tokens cannot be validated now: {reason}")]
    Unavailable {
        /// Why, for the log.
        reason: String,
        /// When it is worth trying again, in seconds.
        retry_after: u64,
    },
}

/// Numbers for metrics; they only grow, except `entries`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tokens that were believed from the cache.
    pub cache_hits: u64,
    /// Tokens that were refused from the cache.
    pub negative_hits: u64,
    /// Tokens that were in neither.
    pub misses: u64,
    /// Questions to Keystone.
    pub upstream_validations: u64,
    /// Of these, the ones without a usable answer.
    pub upstream_failures: u64,
    /// Tokens that are remembered as good, approximately; of a file: its tokens.
    pub entries: u64,
}

/// What the tokens of a request have proven.
#[derive(Debug)]
struct Proven {
    user: Arc<Identity>,
    service: Option<Arc<Identity>>,
}

/// The identities of a server.
pub struct Identities(Kind);

enum Kind {
    Static(StaticIdentities),
    Keystone(Box<KeystoneIdentities>),
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Identities").field(&self.describe()).finish()
    }
}

impl Identities {
    /// Opens the identities the configuration names. Makes the first ones where `data_folder` has none and no file is
    /// named; then the second value says where their tokens are, in a file that names `endpoint` as this server.
    ///
    /// # Errors
    /// [`IdentityError`] for settings and files that cannot be used, and if Keystone refuses our own credentials. A
    /// Keystone that does not answer is no error: it may come later.
    pub async fn open(
        config: &IdentityConfig,
        data_folder: &Path,
        endpoint: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Option<FirstStart>), IdentityError> {
        config.validate()?;
        match config.kind {
            IdentityKind::Static => {
                let (identities, first_start) =
                    StaticIdentities::open(&config.fixed, data_folder, endpoint, clock).await?;
                Ok((Self(Kind::Static(identities)), first_start))
            }
            IdentityKind::Keystone => {
                let identities = KeystoneIdentities::open(&config.keystone, clock).await?;
                Ok((Self(Kind::Keystone(Box::new(identities))), None))
            }
        }
    }

    /// Says who makes a request.
    ///
    /// # Errors
    /// [`AuthenticationError`]: 401 for `Missing` and `Refused`, 503 for `Unavailable`.
    pub async fn authenticate(
        &self,
        presented: Presented<'_>,
        request: Request<'_>,
    ) -> Result<Caller, AuthenticationError> {
        let proven = match &self.0 {
            Kind::Static(identities) => identities.authenticate(&presented).await?,
            Kind::Keystone(identities) => identities.authenticate(&presented, &request).await?,
        };
        Ok(Caller::authenticated(proven.user, proven.service, request.address, request.request_id.clone()))
    }

    /// Whether callers can be authenticated now, for readiness.
    ///
    /// # Errors
    /// Why not, for the log and for operators.
    pub async fn health(&self) -> Result<(), String> {
        match &self.0 {
            Kind::Static(identities) => identities.health().await,
            Kind::Keystone(identities) => identities.health().await,
        }
    }

    /// One line about where identities come from.
    pub fn describe(&self) -> String {
        match &self.0 {
            Kind::Static(identities) => identities.describe(),
            Kind::Keystone(identities) => identities.describe(),
        }
    }

    /// The value of `WWW-Authenticate` in a 401 answer.
    pub fn challenge(&self) -> String {
        match &self.0 {
            Kind::Static(_) => "Token realm=\"chatelaine\"".to_owned(),
            Kind::Keystone(identities) => identities.challenge(),
        }
    }

    /// Numbers for metrics.
    pub fn counters(&self) -> Counters {
        match &self.0 {
            Kind::Static(identities) => identities.counters(),
            Kind::Keystone(identities) => identities.counters(),
        }
    }

    /// Rereads files now: the identities, or the password of our own Keystone user. What cannot be used changes nothing.
    ///
    /// # Errors
    /// What is wrong with the file; for Keystone also that it refuses the new credentials.
    pub async fn reload(&self) -> Result<(), IdentityError> {
        match &self.0 {
            Kind::Static(identities) => identities.reload().await,
            Kind::Keystone(identities) => identities.reload().await,
        }
    }
}

/// Role names as rules see them: lower case, each once.
fn lower_case_roles(roles: &[String]) -> Vec<String> {
    let mut lowered: Vec<String> = Vec::with_capacity(roles.len());
    for role in roles {
        let role = role.to_lowercase();
        if !lowered.contains(&role) {
            lowered.push(role);
        }
    }
    lowered
}

/// Work on files, away from the threads that serve requests.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
) -> Result<T, IdentityError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(IdentityError::BrokenOff))
}
