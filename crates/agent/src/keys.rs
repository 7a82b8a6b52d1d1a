//! What the agent does for its peers: make, keep, give out, list and delete keys.
//!
//! Invariants: a key is given out only to whom the key manager gave it for; what was fetched with a user's token is not kept
//! for anybody; a key is forgotten before its deletion is answered.

use std::sync::Arc;
use std::time::Duration;

use chatelaine_api::{
    AgentCreateRequest, AgentKeyDocument, AgentKeyPage, AgentPairDocument, AgentPairRequest,
    AgentScopeKeyRequest, KeyDocument, KeyString, Lock, NewKeyRequest, ReleasedKey, Scope,
};
use chatelaine_client::SecretText;
use chatelaine_crypto::algorithms::{Algorithm, Kind};
use chatelaine_crypto::envelope::ScopeKey;
use chatelaine_crypto::{Envelope, KeyMaterial, KeySpec};
use tokio::time::Instant;
use uuid::Uuid;

use crate::cache::{Bounded, Cache, Counts};
use crate::keyring::Keyring;
use crate::remote::{Fetched, OnBehalf, Remote, next_marker};
use crate::scopes::{ScopeKeys, Whose};
use crate::{AgentError, locks};

/// Attribute that tells the halves of a pair from one another.
pub const PAIR_ATTRIBUTE: &str = "chatelaine.pair";

/// How the agent works.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The longest time a key is kept in memory.
    pub keep: Duration,
    /// Most keys in memory.
    pub capacity: usize,
    /// The longest time to wait for key manager and Keystone together.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keep: Duration::from_secs(300), capacity: 10_000, patience: Duration::from_secs(10) }
    }
}

/// A key in the clear.
#[derive(Debug)]
pub struct OpenedKey {
    /// What is known about it.
    pub document: AgentKeyDocument,
    /// The key.
    pub key: KeyMaterial,
}

/// Who asks for a key.
#[derive(Debug, Default)]
pub struct Peer {
    /// The token of the user for whom the service asks, if it asks for one.
    pub token: Option<SecretText>,
    /// Whose scope key opens it, where the service knows.
    pub whose: Option<Whose>,
}

impl Peer {
    fn on_behalf(&self) -> OnBehalf<'_> {
        self.token.as_ref().map_or(OnBehalf::Service, OnBehalf::Token)
    }
}

/// The agent of one service on one host. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Agent {
    pub(crate) keyring: Keyring,
    pub(crate) remote: Remote,
    scopes: ScopeKeys,
    cache: Arc<Cache<String, OpenedKey>>,
    settings: Settings,
    pub(crate) rotation: crate::rotation::Progress,
}

impl<K, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent that is sealed until its keyring is opened.
    #[must_use]
    pub fn new(remote: Remote, settings: Settings) -> Self {
        Self {
            keyring: Keyring::default(),
            remote,
            scopes: ScopeKeys::new(&settings),
            cache: Arc::new(Cache::new(settings.capacity)),
            settings,
            rotation: crate::rotation::Progress::default(),
        }
    }

    /// The master keys.
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The key manager.
    pub const fn remote(&self) -> &Remote {
        &self.remote
    }

    /// What the memory of keys did and holds.
    pub fn counts(&self) -> Counts {
        self.cache.counts()
    }

    /// Wipes keys when they come to their end. Runs for ever.
    pub async fn sweep(self: Arc<Self>) {
        let own = crate::cache::sweep_regularly(Arc::clone(&self.cache));
        tokio::join!(own, self.scopes.sweep());
    }

    async fn patiently<T>(&self, work: impl Future<Output = Result<T, AgentError>>) -> Result<T, AgentError> {
        let limit = self.settings.patience;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(AgentError::unavailable(format!(
                "the key manager gave no answer within {} s",
                limit.as_secs_f32()
            )))
        })
    }

    /// A key, from memory or from the key manager.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn get(self: &Arc<Self>, id: &str, peer: Peer) -> Result<Arc<OpenedKey>, AgentError> {
        if self.keyring.is_sealed() {
            return Err(AgentError::Sealed);
        }
        if peer.token.is_some() {
            // Only the key manager knows how long that token is good: it is asked each time.
            let work = self.fetch(id, &peer);
            return self.patiently(work).await.map(|bounded| Arc::new(bounded.value));
        }
        let agent = Arc::clone(self);
        let wanted = id.to_owned();
        let fetch = || async move { agent.patiently(agent.fetch(&wanted, &peer)).await };
        self.cache.get(id.to_owned(), fetch).await
    }

    async fn fetch(&self, id: &str, peer: &Peer) -> Result<Bounded<OpenedKey>, AgentError> {
        let asked = Instant::now();
        let Fetched { value: released, authorized_until } = self.remote.get(id, peer.on_behalf()).await?;
        let ReleasedKey { key: document, key_string } = released;
        if document.id != id {
            return Err(AgentError::Internal("the key manager answered with another key".to_owned()));
        }
        let mut until = self.end(asked, authorized_until, document.expires_at.as_deref());
        let opened = if Envelope::is_envelope(key_string.expose()) {
            let corrupt = |_| AgentError::Corrupt(id.to_owned());
            let envelope = Envelope::parse(key_string.expose()).map_err(corrupt)?;
            let scope = match envelope.scope_key_id() {
                None => None,
                Some(wanted) => {
                    let key = self.scopes.open(self, wanted, peer.whose.as_ref()).await?;
                    until = until.min(key.until);
                    Some(key)
                }
            };
            let key = locks::open(&self.keyring, id, &envelope, scope.as_deref().map(|scope| &scope.key))?;
            OpenedKey { document: described(document, Some(&envelope)), key }
        } else {
            // The service put it unwrapped, by other means than this agent.
            OpenedKey {
                document: described(document, None),
                key: KeyMaterial::copy_from(key_string.expose()),
            }
        };
        Ok(Bounded { value: opened, until })
    }

    /// The earliest of what bounds a key's stay in memory.
    fn end(&self, asked: Instant, authorized_until: Option<Instant>, expires_at: Option<&str>) -> Instant {
        let longest = asked.checked_add(self.settings.keep).unwrap_or(asked);
        let until = authorized_until.map_or(longest, |end| end.min(longest));
        match expires_at {
            None => until,
            // What cannot be read is not kept.
            Some(text) => text.parse::<jiff::Timestamp>().map_or(asked, |end| {
                let left = Duration::try_from(end.duration_since(jiff::Timestamp::now()));
                until.min(asked.checked_add(left.unwrap_or(Duration::ZERO)).unwrap_or(until))
            }),
        }
    }

    /// Makes a key, or keeps a given one; returns it with its description.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn create(
        self: &Arc<Self>,
        request: AgentCreateRequest,
        peer: Peer,
    ) -> Result<Arc<OpenedKey>, AgentError> {
        let spec = spec(&request)?;
        let whose = whose(&request)?;
        let id = key_id(request.id.as_deref())?;
        let given = request.key_string.as_ref().map(|given| KeyMaterial::copy_from(given.expose()));
        let scope = match whose {
            None => None,
            Some(whose) => Some(self.patiently(self.scopes.newest(self, &whose)).await?),
        };
        let agent = Arc::clone(self);
        let (lock, wanted) = (request.lock, id.clone());
        let scope_key = scope.clone();
        let (envelope, key) = blocking(move || {
            let scope = scope_key.as_deref().map(|scope| &scope.key);
            locks::seal(&agent.keyring, &wanted, spec, given, lock, scope)
        })
        .await?;
        let put = NewKeyRequest {
            key_string: Some(KeyString::new(envelope.to_bytes())),
            name: request.name,
            attributes: request.attributes,
            activates_at: request.activates_at,
            expires_at: request.expires_at,
            ..NewKeyRequest::default()
        };
        let asked = Instant::now();
        let Fetched { value, authorized_until } =
            self.patiently(self.remote.put(&id, &put, peer.on_behalf())).await?;
        let mut until = self.end(asked, authorized_until, value.expires_at.as_deref());
        if let Some(scope) = &scope {
            until = until.min(scope.until);
        }
        // A key that is not active yet is for the key manager to hold back, and one of a user's request to give out.
        if peer.token.is_some() || value.activates_at.is_some() {
            until = asked;
        }
        let document = described(value, Some(&envelope));
        Ok(self.cache.put(id, Bounded { value: OpenedKey { document, key }, until }))
    }

    /// Makes a pair of keys, each under an id of its own.
    ///
    /// # Errors
    /// [`AgentError`]. What was put of a pair that could not be completed is deleted again.
    pub async fn create_pair(
        self: &Arc<Self>,
        request: AgentPairRequest,
        peer: Peer,
    ) -> Result<AgentPairDocument, AgentError> {
        let algorithm =
            Algorithm::find(&request.algorithm).map_err(|error| AgentError::of_request(&error))?;
        if algorithm.kind != Kind::KeyPair {
            return Err(AgentError::invalid(
                "algorithm",
                format!("{} has no pairs of keys: use rsa, ec, ed25519 or x25519", algorithm.name),
            ));
        }
        let bits = request.bit_length.unwrap_or(algorithm.default_bits);
        let made = blocking(move || {
            chatelaine_crypto::generate(algorithm, bits).map_err(|error| AgentError::of_request(&error))
        })
        .await?;
        let public =
            made.public.ok_or_else(|| AgentError::Internal("a pair without its public half".to_owned()))?;
        let half = |which: &str, other: &str, id: &str, key: &[u8]| {
            let mut attributes = request.attributes.clone();
            attributes.insert(PAIR_ATTRIBUTE.to_owned(), format!("{which}-of:{other}"));
            AgentCreateRequest {
                id: Some(id.to_owned()),
                algorithm: algorithm.name.to_owned(),
                bit_length: Some(bits),
                key_string: Some(KeyString::new(key.to_vec())),
                name: request.name.clone(),
                attributes,
                expires_at: request.expires_at.clone(),
                ..AgentCreateRequest::default()
            }
        };
        let (private_id, public_id) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let again =
            || Peer { token: peer.token.as_ref().map(|token| SecretText::new(token.expose())), whose: None };
        let private = half("private", &public_id, &private_id, made.secret.expose());
        let private = self.create(private, again()).await?;
        match self.create(half("public", &private_id, &public_id, &public), again()).await {
            Ok(public) => Ok(AgentPairDocument {
                private_key: private.document.clone(),
                public_key: public.document.clone(),
            }),
            Err(error) => {
                if let Err(left) = self.delete(&private_id, again()).await {
                    tracing::error!(key = private_id, error = %left, "the private half of a pair that was not completed is left");
                }
                Err(error)
            }
        }
    }

    /// What is known about a key, by the key manager.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn metadata(&self, id: &str, peer: Peer) -> Result<AgentKeyDocument, AgentError> {
        let document = self.patiently(self.remote.metadata(id, peer.on_behalf())).await?;
        Ok(described(document, None))
    }

    /// A page of the service's own keys.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn list(
        &self,
        limit: Option<usize>,
        marker: Option<&str>,
        peer: Peer,
    ) -> Result<AgentKeyPage, AgentError> {
        let limit = limit.map(|limit| limit.to_string());
        let limit = limit.as_deref().map(|limit| ("limit", limit));
        let filter: Vec<_> = limit.into_iter().chain(marker.map(|marker| ("marker", marker))).collect();
        let page = self.patiently(self.remote.list(&filter, peer.on_behalf())).await?;
        let next_marker = next_marker(&page);
        let keys = page.keys.into_iter().map(|key| described(key, None)).collect();
        Ok(AgentKeyPage { keys, next_marker })
    }

    /// Deletes a key, and forgets it.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn delete(&self, id: &str, peer: Peer) -> Result<(), AgentError> {
        self.forget(id);
        let outcome = self.patiently(self.remote.delete(id, peer.on_behalf())).await;
        // Somebody may have asked for it while it was being deleted.
        self.forget(id);
        outcome
    }

    /// Forgets a key: the next request for it asks the key manager.
    pub fn forget(&self, id: &str) {
        self.cache.evict(|key| key == id);
        self.scopes.forget(id);
    }

    /// Makes a key of a user, project or domain. For the identity service's agent.
    ///
    /// # Errors
    /// [`AgentError::Forbidden`] for any other service; others.
    pub async fn create_scope_key(
        &self,
        request: AgentScopeKeyRequest,
    ) -> Result<AgentKeyDocument, AgentError> {
        if request.scope == Scope::Entity {
            return Err(AgentError::invalid("scope", "it must be user, project or domain"));
        }
        let id = Uuid::new_v4().to_string();
        let spec = KeySpec::new("aes", 256).map_err(|error| AgentError::of_request(&error))?;
        let (envelope, _) = locks::seal(&self.keyring, &id, spec, None, Lock::Single, None)?;
        let put = NewKeyRequest {
            key_string: Some(KeyString::new(envelope.to_bytes())),
            name: request.name,
            scope: request.scope,
            scope_id: Some(request.scope_id),
            ..NewKeyRequest::default()
        };
        let put = self.patiently(self.remote.put(&id, &put, OnBehalf::Service)).await?;
        Ok(described(put.value, Some(&envelope)))
    }
}

/// Runs what takes the processor for long beside the executor.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(AgentError::Internal(error.to_string())))
}

/// The id a new key gets.
fn key_id(wanted: Option<&str>) -> Result<String, AgentError> {
    let Some(wanted) = wanted else { return Ok(Uuid::new_v4().to_string()) };
    match Uuid::try_parse(wanted) {
        Ok(id) if id.hyphenated().to_string() == wanted => Ok(wanted.to_owned()),
        _ => Err(AgentError::invalid("id", "it must be a UUID in lower case with hyphens")),
    }
}

/// Algorithm and length of a key to be made or kept.
fn spec(request: &AgentCreateRequest) -> Result<KeySpec, AgentError> {
    let refused = |error| AgentError::of_request(&error);
    let algorithm = Algorithm::find(&request.algorithm).map_err(refused)?;
    let length = request.key_string.as_ref().map(|given| given.expose().len());
    let bits = match (request.bit_length, length) {
        (Some(bits), _) => bits,
        (None, Some(length)) if algorithm.kind.is_bit_string() => {
            u32::try_from(length.saturating_mul(8)).unwrap_or(u32::MAX)
        }
        (None, _) => algorithm.default_bits,
    };
    if bits == 0 {
        return Err(AgentError::invalid("bit_length", format!("it is needed for {}", algorithm.name)));
    }
    if length.is_none() {
        algorithm.check_generated(bits).map_err(refused)?;
        if algorithm.kind == Kind::KeyPair {
            return Err(AgentError::invalid("algorithm", "pairs of keys are made with POST /v1/key-pairs"));
        }
    }
    KeySpec::new(algorithm.name, bits).map_err(refused)
}

/// Whose key locks it beside the service's.
fn whose(request: &AgentCreateRequest) -> Result<Option<Whose>, AgentError> {
    match (request.lock, request.scope, &request.scope_id) {
        (Lock::Single, None, None) => Ok(None),
        (Lock::Single, _, _) => Err(AgentError::invalid("lock", "with a scope it must be dual or compound")),
        (_, Some(scope @ (Scope::User | Scope::Project | Scope::Domain)), Some(id)) => {
            Ok(Some(Whose { scope, id: id.clone() }))
        }
        (_, Some(Scope::Entity), _) => {
            Err(AgentError::invalid("scope", "it must be user, project or domain"))
        }
        (_, None, _) => Err(AgentError::invalid("scope", "the lock needs it: user, project or domain")),
        (_, _, None) => {
            Err(AgentError::invalid("scope_id", "the lock needs it: the id of that user, project or domain"))
        }
    }
}

/// A key as peers see it. What the envelope says is authenticated, once it was opened, and comes first.
fn described(document: KeyDocument, envelope: Option<&Envelope>) -> AgentKeyDocument {
    let spec = envelope.map(Envelope::spec);
    let algorithm = spec.map(|spec| spec.algorithm().name.to_owned()).or(document.algorithm);
    AgentKeyDocument {
        id: document.id,
        version: document.version,
        state: document.state,
        algorithm: algorithm.unwrap_or_else(|| "opaque".to_owned()),
        bit_length: spec.map(|spec| spec.bits()).or(document.bit_length).unwrap_or(0),
        lock: envelope.map(locks::lock_of),
        name: document.name,
        attributes: document.attributes,
        created_at: document.created_at,
        activates_at: document.activates_at,
        expires_at: document.expires_at,
    }
}

/// The scope key, as the operations use it.
#[derive(Debug)]
pub struct OpenScopeKey {
    /// The key.
    pub key: ScopeKey,
    /// Its end in memory.
    pub until: Instant,
}

#[cfg(test)]
mod tests;
