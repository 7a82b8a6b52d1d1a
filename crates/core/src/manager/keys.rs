//! Native keys: put and get. A key is seen by the service that put it, and by nobody else; those of users, projects and
//! domains also by who comes by a trust ([`super::scope_keys`]).

use std::collections::BTreeMap;

use super::{Actor, Description, Manager};
use crate::audit::{Action, Durability, Written};
use crate::clock::Timestamp;
use crate::directory::News;
use crate::error::{Error, Result};
use crate::id::{SecretId, Version, is_keystone_id};
use crate::policy::Caller;
use crate::record;
use crate::secret::{Metadata, Origin, Scope, Secret, State};
use crate::store::Change;

/// A key to be put.
#[derive(Debug)]
pub struct NewKey {
    /// The key string.
    pub payload: chatelaine_crypto::KeyMaterial,
    /// A name for people.
    pub name: Option<String>,
    /// Canonical name of the algorithm.
    pub algorithm: Option<String>,
    /// Length of the key itself, in bits.
    pub bit_length: Option<u32>,
    /// Its scope.
    pub scope: Scope,
    /// Whose it is, where it is the key of a user, project or domain.
    pub scope_id: Option<String>,
    /// The service's master key the key string is wrapped under, by name.
    pub master_key: Option<String>,
    /// Free words of its owner.
    pub attributes: BTreeMap<String, String>,
    /// Not released before this.
    pub activates_at: Option<Timestamp>,
    /// Not released from this on.
    pub expires_at: Option<Timestamp>,
}

/// Refuses an expiry that has passed, or that comes before the key is active.
pub(super) fn check_expiry(
    activates_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    let Some(end) = expires_at else { return Ok(()) };
    if end <= now {
        return Err(Error::invalid("expires_at", "it is not in the future"));
    }
    if activates_at.is_some_and(|start| end <= start) {
        return Err(Error::invalid("expires_at", "it is not after activates_at"));
    }
    Ok(())
}

/// Refuses a key of a user, project or domain that does not say of which, and one of an entity that does.
fn check_scope(scope: Scope, scope_id: Option<&str>) -> Result<()> {
    let word = scope.as_str();
    match (scope, scope_id) {
        (Scope::Entity, Some(_)) => Err(Error::invalid(
            "scope_id",
            "an entity's key has none: the key manager keeps no map from keys to entities",
        )),
        (Scope::Entity, None) => Ok(()),
        (_, None) => Err(Error::invalid("scope_id", format!("the key of a {word} needs the {word}'s id"))),
        (_, Some(id)) if !is_keystone_id(id) => {
            Err(Error::invalid("scope_id", "an id has 1 to 64 letters, digits, '_' and '-'"))
        }
        _ => Ok(()),
    }
}

impl Manager {
    pub(super) fn check_payload(&self, payload: &[u8]) -> Result<()> {
        if payload.is_empty() || payload.len() > self.settings.max_payload {
            return Err(Error::invalid(
                "key_string",
                format!("it has {} bytes, 1 to {} are allowed", payload.len(), self.settings.max_payload),
            ));
        }
        Ok(())
    }

    /// Creates a key under the caller's id, or under a new one.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Forbidden`], [`Error::Invalid`], and those of store and trail.
    pub async fn put(&self, caller: &Caller, id: Option<SecretId>, key: NewKey) -> Result<Description> {
        let id = id.unwrap_or_else(SecretId::random);
        match self.try_put(caller, id, key).await {
            Err(error @ (Error::Forbidden { .. } | Error::Invalid { .. } | Error::WrongState { .. })) => {
                self.refuse(caller, Action::Create, Some(id), error).await
            }
            Err(Error::Exists { .. }) => Err(Error::Exists { what: format!("key {id}") }),
            other => other,
        }
    }

    /// Refuses a caller who may not create keys, before anything costly is done for the key.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn authorize_put(&self, caller: &Caller, id: Option<SecretId>, scope: Scope) -> Result<()> {
        match self.project_to_put_into(caller, scope) {
            Ok(_) => Ok(()),
            Err(error) => self.refuse(caller, Action::Create, id, error).await,
        }
    }

    /// The project of a caller who may create keys of this scope.
    fn project_to_put_into(&self, caller: &Caller, scope: Scope) -> Result<String> {
        let policy = self.policy.load();
        policy.admit(caller)?;
        let rule = if scope == Scope::Entity { "key:create" } else { "scope_key:create" };
        policy.require(rule, caller, None)?;
        caller.identity().project_id.clone().ok_or_else(|| Error::Forbidden {
            reason: "keys belong to projects: use a project-scoped token".to_owned(),
        })
    }

    async fn try_put(&self, caller: &Caller, id: SecretId, key: NewKey) -> Result<Description> {
        let project = self.project_to_put_into(caller, key.scope)?;
        let identity = caller.identity();
        check_scope(key.scope, key.scope_id.as_deref())?;
        self.check_payload(key.payload.expose())?;
        let now = self.clock.now();
        check_expiry(key.activates_at, key.expires_at, now)?;
        if let Some(scope_id) = &key.scope_id {
            self.check_room(key.scope, scope_id).await?;
        }
        let metadata = Metadata {
            owner: identity.user_id.clone(),
            project,
            name: key.name,
            algorithm: key.algorithm,
            bit_length: key.bit_length,
            origin: Origin::Native,
            secret_type: None,
            mode: None,
            content_type: None,
            acl: None,
            scope: key.scope,
            scope_id: key.scope_id,
            master_key: key.master_key,
            attributes: key.attributes,
            created: now,
            updated: now,
            activates_at: key.activates_at,
            expires_at: key.expires_at,
            revocation: None,
            deletion: None,
        };
        let record = self.seal(id, Version::FIRST, &metadata, key.payload.expose()).await?;
        let written = Written { version: Version::FIRST, digest: record::digest(&record) };
        let event = self.event(&Actor::of(caller), Action::Create, Some(("secret", id.to_string())));
        let news = News::is(id, Version::FIRST, &metadata, true);
        self.change(news, event, written, vec![Change::Create(record)]).await?;
        Ok(Description { id, version: Version::FIRST, state: metadata.state(now), metadata })
    }

    /// Reads a key with its key string. `allow_inactive` releases one that is revoked, expired or not active yet.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], [`Error::Forbidden`], and those of store and trail.
    pub async fn get(
        &self,
        caller: &Caller,
        id: SecretId,
        allow_inactive: bool,
    ) -> Result<(Description, Secret)> {
        let found = async {
            let secret = self.find_to_read(caller, "key:get", id).await?;
            let description = self.describe(&secret);
            if description.state != State::Active && !allow_inactive {
                return Err(Error::WrongState {
                    reason: format!(
                        "key {id} is {}: its key string is not released",
                        description.state.as_str()
                    ),
                });
            }
            if secret.payload().is_empty() {
                return Err(Error::WrongState {
                    reason: format!("key {id} was stored without a key string"),
                });
            }
            Ok((description, secret))
        };
        match found.await {
            Ok((description, secret)) => {
                let mut event = self.event(&Actor::of(caller), Action::Get, Some(("secret", id.to_string())));
                if description.state != State::Active {
                    event.reason = Some(format!("released although {}", description.state.as_str()));
                }
                self.trail.append(&[event], Durability::Written).await?;
                Ok((description, secret))
            }
            Err(error) => self.refuse(caller, Action::Get, Some(id), error).await,
        }
    }

    /// Reads a key's metadata.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], and those of store and trail.
    pub async fn metadata(&self, caller: &Caller, id: SecretId) -> Result<Description> {
        match self.find_to_read(caller, "key:get_metadata", id).await {
            Ok(secret) => {
                let event =
                    self.event(&Actor::of(caller), Action::GetMetadata, Some(("secret", id.to_string())));
                self.trail.append(&[event], Durability::Written).await?;
                Ok(self.describe(&secret))
            }
            Err(error) => self.refuse(caller, Action::GetMetadata, Some(id), error).await,
        }
    }
}
