//! The keys of users, projects and domains, by which their data is locked beside the service's own master key.
//!
//! They belong to the identity service. This service gets one only where somebody has delegated to it by a trust, and opens it
//! only with the identity service's master key. Which customer's key it is follows from who asks, or from the trusts there are;
//! nothing beside the data says it.
//!
//! Invariant: a scope key is kept no longer than the trust, the token of the trust and the configured time last.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_api::{ReleasedKey, Scope};
use chatelaine_client::keystone::{AuthenticateError, DelegatedTrust, Keystone, Token, TokenScope};
use tokio::time::Instant;

use crate::cache::{Bounded, Cache};
use crate::keys::{OpenScopeKey, Settings};
use crate::remote::{Fetched, OnBehalf};
use crate::{Agent, AgentError};

/// The list of trusts is asked for again after so long.
const TRUSTS_KEPT: Duration = Duration::from_secs(2);
/// So many trusts are tried where nobody says whose key it is.
const MOST_TRIED: usize = 32;

/// A user, project or domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Whose {
    /// Which of the three.
    pub scope: Scope,
    /// Its id.
    pub id: String,
}

impl Whose {
    fn word(&self) -> &'static str {
        match self.scope {
            Scope::User => "user",
            Scope::Project => "project",
            Scope::Domain => "domain",
            Scope::Entity => "entity",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Wanted {
    Newest(Whose),
    Key(String),
}

/// Scope keys, trusts and their tokens in memory.
#[derive(Debug)]
pub(crate) struct ScopeKeys {
    keys: Arc<Cache<(Wanted, String), OpenScopeKey>>,
    trusts: Arc<Cache<(), Vec<DelegatedTrust>>>,
    tokens: Arc<Cache<String, Token>>,
    keep: Duration,
}

impl ScopeKeys {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            keys: Arc::new(Cache::new(settings.capacity)),
            trusts: Arc::new(Cache::new(1)),
            tokens: Arc::new(Cache::new(1000)),
            keep: settings.keep,
        }
    }

    pub(crate) async fn sweep(&self) {
        let (keys, tokens) = (Arc::clone(&self.keys), Arc::clone(&self.tokens));
        tokio::join!(crate::cache::sweep_regularly(keys), crate::cache::sweep_regularly(tokens));
    }

    pub(crate) fn forget(&self, id: &str) {
        self.keys.evict(|(wanted, key)| key == id || *wanted == Wanted::Key(id.to_owned()));
    }

    /// The newest key of a customer, for something new.
    pub(crate) async fn newest(&self, agent: &Agent, whose: &Whose) -> Result<Arc<OpenScopeKey>, AgentError> {
        self.find(agent, &Wanted::Newest(whose.clone()), Some(whose)).await
    }

    /// The key of that id. Whose it is helps to find the trust.
    pub(crate) async fn open(
        &self,
        agent: &Agent,
        id: &str,
        whose: Option<&Whose>,
    ) -> Result<Arc<OpenScopeKey>, AgentError> {
        self.find(agent, &Wanted::Key(id.to_owned()), whose).await
    }

    async fn find(
        &self,
        agent: &Agent,
        wanted: &Wanted,
        whose: Option<&Whose>,
    ) -> Result<Arc<OpenScopeKey>, AgentError> {
        let Some(keystone) = agent.remote.keystone() else {
            // Without Keystone there are no trusts: the keys are the service's own, or out of reach.
            return self.get(agent, wanted, whose, None).await;
        };
        let trusts = self.trusts(keystone).await?;
        let mut tried = 0;
        for trust in trusts.iter().filter(|trust| may_fit(trust, whose)) {
            if tried == MOST_TRIED {
                break;
            }
            tried += 1;
            let token = match self.token(keystone, &trust.id).await {
                Ok(token) => token,
                Err(AgentError::Unavailable { problem, retry_after }) => {
                    return Err(AgentError::Unavailable { problem, retry_after });
                }
                // Revoked, expired, or its trustor has lost the role.
                Err(error) => {
                    tracing::debug!(trust = trust.id, %error, "a trust gives no token");
                    self.trusts.evict(|()| true);
                    continue;
                }
            };
            if whose.is_some_and(|whose| !fits(&token, trust, whose)) {
                continue;
            }
            match self.get(agent, wanted, whose, Some((trust, &token))).await {
                Err(AgentError::NotFound(_) | AgentError::Forbidden(_) | AgentError::Unauthorized(_)) => {}
                other => return other,
            }
        }
        // The identity service itself needs no trust for its own.
        match self.get(agent, wanted, whose, None).await {
            Err(AgentError::NotFound(_) | AgentError::Forbidden(_)) => Err(refused(whose, tried)),
            other => other,
        }
    }

    async fn get(
        &self,
        agent: &Agent,
        wanted: &Wanted,
        whose: Option<&Whose>,
        trust: Option<(&DelegatedTrust, &Arc<Token>)>,
    ) -> Result<Arc<OpenScopeKey>, AgentError> {
        let name = trust.map_or_else(String::new, |(trust, _)| trust.id.clone());
        if let Some(key) = self.keys.peek(&(wanted.clone(), name.clone())) {
            return Ok(key);
        }
        let asked = Instant::now();
        let who = trust.map_or(OnBehalf::Service, |(_, token)| OnBehalf::Token(&token.value));
        let Fetched { value, authorized_until } = match (wanted, whose) {
            (Wanted::Newest(whose), _) => agent.remote.scope_key(whose.word(), &whose.id, who).await?,
            (Wanted::Key(id), _) => agent.remote.get(id, who).await?,
        };
        let ReleasedKey { key: document, key_string } = value;
        if document.scope == Scope::Entity {
            return Err(AgentError::Corrupt(document.id));
        }
        let key = agent.keyring.scope_key(&document.id, key_string.expose())?;
        let mut until = asked.checked_add(self.keep).unwrap_or(asked);
        until = authorized_until.map_or(until, |end| end.min(until));
        if let Some((trust, token)) = trust {
            until = until.min(token.ends_at);
            if let Some(end) = trust.expires_at {
                let left =
                    Duration::try_from(end.duration_since(jiff::Timestamp::now())).unwrap_or(Duration::ZERO);
                until = until.min(asked.checked_add(left).unwrap_or(until));
            }
        }
        Ok(self.keys.put((wanted.clone(), name), Bounded { value: OpenScopeKey { key, until }, until }))
    }

    async fn trusts(&self, keystone: &Arc<Keystone>) -> Result<Arc<Vec<DelegatedTrust>>, AgentError> {
        let keystone = Arc::clone(keystone);
        let fetch = || async move {
            let asked = Instant::now();
            let value = keystone.trusts().await.map_err(|error| of_keystone(&error))?;
            Ok(Bounded { value, until: asked.checked_add(TRUSTS_KEPT).unwrap_or(asked) })
        };
        self.trusts.get((), fetch).await
    }

    async fn token(&self, keystone: &Arc<Keystone>, trust: &str) -> Result<Arc<Token>, AgentError> {
        let (keystone, id) = (Arc::clone(keystone), trust.to_owned());
        let keep = self.keep;
        let fetch = || async move {
            let token = keystone.token_of_trust(&id).await.map_err(|error| of_keystone(&error))?;
            // Not to the last moment: a request takes its time. And no longer than keys: a revoked trust ends with them.
            let now = Instant::now();
            let until = token.ends_at.min(now.checked_add(keep).unwrap_or(now));
            let until = until.checked_sub(Duration::from_secs(5)).unwrap_or(now);
            Ok(Bounded { value: token, until })
        };
        self.tokens.get(trust.to_owned(), fetch).await
    }
}

fn of_keystone(error: &AuthenticateError) -> AgentError {
    match error {
        AuthenticateError::Unavailable(_) => AgentError::unavailable(error.to_string()),
        _ => AgentError::Forbidden(format!("Forbidden: {error}")),
    }
}

/// Whether a trust may lead to the customer's key, as far as the trust itself tells.
fn may_fit(trust: &DelegatedTrust, whose: Option<&Whose>) -> bool {
    let Some(whose) = whose else { return true };
    match whose.scope {
        Scope::Project => trust.project_id.as_deref() == Some(&whose.id),
        Scope::User => trust.trustor_user_id == whose.id,
        Scope::Domain | Scope::Entity => true,
    }
}

/// Whether it does, as its token tells.
fn fits(token: &Token, trust: &DelegatedTrust, whose: &Whose) -> bool {
    match (whose.scope, &token.details.scope) {
        (Scope::Project, TokenScope::Project(project)) => project.id == whose.id,
        (Scope::Domain, TokenScope::Project(project)) => project.domain.id == whose.id,
        (Scope::User, _) => trust.trustor_user_id == whose.id,
        _ => false,
    }
}

fn refused(whose: Option<&Whose>, tried: usize) -> AgentError {
    let of = whose.map_or_else(
        || "that locks this key".to_owned(),
        |whose| format!("of {} {}", whose.word(), whose.id),
    );
    AgentError::Forbidden(format!(
        "Forbidden: the scope key {of} is not for this service: {tried} trusts were tried. There has to be a scope key, and a \
         trust from one of its users to this service's user"
    ))
}
