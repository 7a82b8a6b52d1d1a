//! Requests to the key manager, typed.
//!
//! Invariant: what is sent as a key string is an envelope. Who asks is the service itself, or a user for whom the service
//! vouches with its own token.

use std::sync::Arc;

use chatelaine_api::{KeyDocument, KeyPage, KeyString, NewKeyRequest, ReleasedKey, UpdateKeyRequest};
use chatelaine_client::SecretText;
use chatelaine_client::http::{ClientError, HttpMethod, Request, Response, Session, encode_segment};
use chatelaine_client::keystone::Keystone;
use tokio::time::Instant;

use crate::AgentError;

/// Whose token a request carries.
#[derive(Clone, Copy, Debug)]
pub enum OnBehalf<'a> {
    /// The service's own.
    Service,
    /// A user's, with the service's beside it.
    Token(&'a SecretText),
}

/// The key manager, and the identity service where there is one.
#[derive(Debug)]
pub struct Remote {
    session: Session,
    keystone: Option<Arc<Keystone>>,
}

/// An answer and the moment at which the token that fetched it ends.
#[derive(Debug)]
pub struct Fetched<T> {
    /// The answer.
    pub value: T,
    /// That moment, where the token has an end.
    pub authorized_until: Option<Instant>,
}

impl Remote {
    /// A session; with the Keystone client it authenticates by, if it does by one.
    #[must_use]
    pub const fn new(session: Session, keystone: Option<Arc<Keystone>>) -> Self {
        Self { session, keystone }
    }

    /// The key manager's address.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.session.endpoint()
    }

    /// The identity service.
    #[must_use]
    pub const fn keystone(&self) -> Option<&Arc<Keystone>> {
        self.keystone.as_ref()
    }

    async fn send(
        &self,
        request: Result<Request, ClientError>,
        who: OnBehalf<'_>,
        key: &str,
    ) -> Result<Response, AgentError> {
        let of_client = |error| AgentError::of_client(error, key);
        let mut request = request.map_err(of_client)?;
        if let OnBehalf::Token(token) = who {
            request = request
                .on_behalf_of(token)
                .map_err(|_| AgentError::Unauthorized("X-Auth-Token: it is not a token".to_owned()))?;
        }
        self.session.request(request).await.map_err(of_client)
    }

    async fn fetch<T: serde::de::DeserializeOwned>(
        &self,
        request: Result<Request, ClientError>,
        who: OnBehalf<'_>,
        key: &str,
    ) -> Result<Fetched<T>, AgentError> {
        let response = self.send(request, who, key).await?;
        let value = response.json().map_err(|error| AgentError::of_client(error, key))?;
        Ok(Fetched { value, authorized_until: response.authorized_until })
    }

    /// Puts a key under an id.
    ///
    /// # Errors
    /// [`AgentError::Conflict`] where there is one, and what the key manager says.
    pub async fn put(
        &self,
        id: &str,
        request: &NewKeyRequest,
        who: OnBehalf<'_>,
    ) -> Result<Fetched<KeyDocument>, AgentError> {
        let put = Request::new(HttpMethod::PUT, path(id)).json(request);
        self.fetch(put, who, id).await
    }

    /// A key with its key string.
    ///
    /// # Errors
    /// [`AgentError::NotFound`], and what the key manager says.
    pub async fn get(&self, id: &str, who: OnBehalf<'_>) -> Result<Fetched<ReleasedKey>, AgentError> {
        self.fetch(Ok(Request::new(HttpMethod::GET, path(id))), who, id).await
    }

    /// The same, also where the key is revoked, expired or not active yet.
    ///
    /// # Errors
    /// [`AgentError::NotFound`], and what the key manager says.
    pub async fn get_inactive(&self, id: &str) -> Result<ReleasedKey, AgentError> {
        let request = Request::new(HttpMethod::GET, path(id)).query("allow_inactive", "true");
        self.fetch(Ok(request), OnBehalf::Service, id).await.map(|fetched| fetched.value)
    }

    /// What is known about a key.
    ///
    /// # Errors
    /// [`AgentError::NotFound`], and what the key manager says.
    pub async fn metadata(&self, id: &str, who: OnBehalf<'_>) -> Result<KeyDocument, AgentError> {
        let request = Request::new(HttpMethod::GET, format!("{}/metadata", path(id)));
        self.fetch(Ok(request), who, id).await.map(|fetched| fetched.value)
    }

    /// The newest key of a user, project or domain, with its key string.
    ///
    /// # Errors
    /// [`AgentError::NotFound`] where there is none, or it is not for this caller.
    pub async fn scope_key(
        &self,
        scope: &str,
        scope_id: &str,
        who: OnBehalf<'_>,
    ) -> Result<Fetched<ReleasedKey>, AgentError> {
        let path = format!("/v1/scope-keys/{}/{}", encode_segment(scope), encode_segment(scope_id));
        self.fetch(Ok(Request::new(HttpMethod::GET, path)), who, &format!("of {scope} {scope_id}")).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`AgentError::NotFound`], and what the key manager says.
    pub async fn delete(&self, id: &str, who: OnBehalf<'_>) -> Result<(), AgentError> {
        self.send(Ok(Request::new(HttpMethod::DELETE, path(id))), who, id).await.map(|_| ())
    }

    /// Puts another envelope in the place of that of version `version`.
    ///
    /// # Errors
    /// [`AgentError::Changed`] when somebody was faster.
    pub async fn replace(&self, id: &str, version: u64, envelope: Vec<u8>) -> Result<(), AgentError> {
        let update =
            UpdateKeyRequest { key_string: Some(KeyString::new(envelope)), ..UpdateKeyRequest::default() };
        let request = Request::new(HttpMethod::PATCH, path(id))
            .header("if-match", &format!("\"{version}\""))
            .and_then(|request| request.json(&update));
        self.send(request, OnBehalf::Service, id).await.map(|_| ())
    }

    /// A page of the service's own keys.
    ///
    /// # Errors
    /// What the key manager says.
    pub async fn list(&self, filter: &[(&str, &str)], who: OnBehalf<'_>) -> Result<KeyPage, AgentError> {
        let request = Request::new(HttpMethod::GET, "/v1/keys");
        let request = filter.iter().fold(request, |request, (name, value)| request.query(name, value));
        self.fetch(Ok(request), who, "in this list").await.map(|fetched| fetched.value)
    }

    /// Whether the key manager is ready.
    ///
    /// # Errors
    /// Why not.
    pub async fn ready(&self) -> Result<(), AgentError> {
        self.send(Ok(Request::new(HttpMethod::GET, "/readyz")), OnBehalf::Service, "").await.map(|_| ())
    }
}

/// The marker of the page that follows.
#[must_use]
pub fn next_marker(page: &KeyPage) -> Option<String> {
    let (_, query) = page.links.next.as_deref()?.split_once('?')?;
    let marker = query.split('&').find_map(|pair| pair.strip_prefix("marker="))?;
    Some(marker.to_owned())
}

fn path(id: &str) -> String {
    format!("/v1/keys/{}", encode_segment(id))
}
