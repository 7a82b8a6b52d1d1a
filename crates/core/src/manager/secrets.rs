//! Secrets by Barbican's rules: whole projects share them, access lists narrow or widen that.
//!
//! A secret is looked up before its rule is asked, since the rule is about it. One that a service put by the native
//! interface is not found here by anybody but that service. Expired and deleted secrets are not found either.

use std::sync::Arc;

use chatelaine_crypto::KeyMaterial;

use super::{ATTEMPTS, Actor, Manager, acl};
use crate::acl::Acl;
use crate::audit::{Action, Durability, Written};
use crate::directory::News;
use crate::error::{Error, Result};
use crate::id::SecretId;
use crate::policy::{Caller, KeyTarget, ObjectTarget};
use crate::recent::Kept;
use crate::record;
use crate::secret::{Metadata, Origin, Scope, Secret, SecretType, SecretView};
use crate::store::{Change, Kind};

/// What an operation is to the rules and to the audit trail.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The rule that allows it.
    pub rule: &'static str,
    /// What is written down.
    pub action: Action,
}

/// A secret to be stored.
#[derive(Debug, Default)]
pub struct NewSecret {
    /// Its payload; without one it waits for [`Manager::fill_secret`].
    pub payload: Option<KeyMaterial>,
    /// The media type of the payload.
    pub content_type: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What it is for.
    pub secret_type: Option<SecretType>,
    /// Its algorithm, in the words of whoever stores it.
    pub algorithm: Option<String>,
    /// The mode the algorithm is used in.
    pub mode: Option<String>,
    /// Its length in bits, likewise.
    pub bit_length: Option<u32>,
    /// Not to be found from this on.
    pub expires_at: Option<crate::clock::Timestamp>,
}

impl Manager {
    /// The metadata of a secret to be stored for a caller; its project and owner are the caller's.
    pub(super) fn new_metadata(&self, caller: &Caller, new: &NewSecret) -> Result<Metadata> {
        let now = self.clock.now();
        if let Some(payload) = &new.payload {
            self.check_secret_payload(payload.expose())?;
        }
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::invalid("expiration", "it is not in the future"));
        }
        Ok(Metadata {
            owner: caller.identity().user_id.clone(),
            project: project_of(caller)?.to_owned(),
            name: new.name.clone(),
            algorithm: new.algorithm.clone(),
            bit_length: new.bit_length,
            origin: Origin::Barbican,
            secret_type: Some(new.secret_type.unwrap_or(SecretType::Opaque)),
            mode: new.mode.clone(),
            content_type: new.content_type.clone(),
            acl: None,
            scope: Scope::Entity,
            scope_id: None,
            master_key: None,
            attributes: std::collections::BTreeMap::new(),
            created: now,
            updated: now,
            activates_at: None,
            expires_at: new.expires_at,
            revocation: None,
            deletion: None,
        })
    }

    fn check_secret_payload(&self, payload: &[u8]) -> Result<()> {
        let most = self.settings.max_secret_payload;
        if payload.is_empty() || payload.len() > most {
            return Err(Error::invalid(
                "payload",
                format!("it has {} bytes, 1 to {most} are allowed", payload.len()),
            ));
        }
        Ok(())
    }

    /// Stores a secret.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Invalid`], and those of store and trail.
    pub async fn create_secret(&self, caller: &Caller, new: NewSecret) -> Result<Arc<SecretView>> {
        let access = Access { rule: "secrets:post", action: Action::Create };
        let mut made =
            self.create_objects(caller, access, vec![(SecretId::random(), new)], Vec::new()).await?;
        made.pop().ok_or_else(|| Error::Internal("a secret was stored and is not there".to_owned()))
    }

    /// The secret, if there is one that this caller may know of and use by `access`.
    pub(super) async fn find_secret(&self, caller: &Caller, id: SecretId, access: Access) -> Result<Secret> {
        let record = self.store.read(&Kind::SECRET, &id.to_string()).await?.ok_or_else(|| missing(id))?;
        let secret = self.unseal(&record).await?;
        self.authorize_secret(caller, id, &secret.metadata, access)?;
        Ok(secret)
    }

    /// Whether a caller may do something to a secret that is there.
    fn authorize_secret(
        &self,
        caller: &Caller,
        id: SecretId,
        metadata: &Metadata,
        access: Access,
    ) -> Result<()> {
        project_of(caller)?;
        let expired = metadata.expires_at.is_some_and(|end| end <= self.clock.now());
        if metadata.deletion.is_some() || expired {
            return Err(missing(id));
        }
        let policy = self.policy.load();
        if metadata.origin == Origin::Native {
            let target = KeyTarget { owner: &metadata.owner, project_id: &metadata.project };
            policy.admit(caller).map_err(|_| missing(id))?;
            policy.require("key_owner", caller, Some(target)).map_err(|_| missing(id))?;
        }
        let target =
            object_target("secret", caller, &metadata.project, &metadata.owner, metadata.acl.as_ref());
        policy
            .require_on(access.rule, caller, &target)
            .map_err(|error| if self.settings.hide_existence { missing(id) } else { error })
    }

    /// Reads what is known of a secret.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], and those of store and trail.
    pub async fn secret(&self, caller: &Caller, id: SecretId, access: Access) -> Result<Arc<SecretView>> {
        match self.find_view(caller, id, access).await {
            Ok(view) => {
                self.note_read(caller, access.action, id).await?;
                Ok(view)
            }
            Err(error) => self.refuse(caller, access.action, Some(id), error).await,
        }
    }

    /// Whether a caller may do something that is about nothing yet: create, list, look at what is not a secret.
    ///
    /// # Errors
    /// [`Error::Forbidden`], which is written down.
    pub async fn allow(&self, caller: &Caller, access: Access) -> Result<()> {
        let allowed = project_of(caller).and_then(|_| self.policy.load().require(access.rule, caller, None));
        match allowed {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(caller, access.action, None, error).await,
        }
    }

    /// The same, for looking at something that is no record: that it was looked at is written down.
    ///
    /// # Errors
    /// [`Error::Forbidden`], and those of the trail.
    pub async fn allow_look(&self, caller: &Caller, access: Access) -> Result<()> {
        self.allow(caller, access).await?;
        let event = self.event(&Actor::of(caller), access.action, None);
        Ok(self.trail.append(&[event], Durability::Written).await?)
    }

    /// Whether a caller may do something to a secret, for protocols that look at the rest of a request after that. What
    /// is found is not to be shown; the operation itself asks again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], and those of the store; refusals are written down.
    pub async fn may(&self, caller: &Caller, id: SecretId, access: Access) -> Result<Arc<SecretView>> {
        match self.find_view(caller, id, access).await {
            Ok(view) => Ok(view),
            Err(error) => self.refuse(caller, access.action, Some(id), error).await,
        }
    }

    async fn find_view(&self, caller: &Caller, id: SecretId, access: Access) -> Result<Arc<SecretView>> {
        let remembered =
            caller.identity().project_id.as_deref().and_then(|project| self.directory.secret(project, id));
        let view = match remembered {
            Some(view) => view,
            None => self.view(id).await?.ok_or_else(|| missing(id))?,
        };
        self.authorize_secret(caller, id, &view.metadata, access)?;
        Ok(view)
    }

    /// What is known of a secret, from memory if it was looked at lately.
    pub(super) async fn view(&self, id: SecretId) -> Result<Option<Arc<SecretView>>> {
        let name = id.to_string();
        let seen = match self.recent.find(&Kind::SECRET, &name) {
            Ok(Kept::Secret(view)) => return Ok(Some(view)),
            Ok(Kept::Document(_)) => return Err(Error::Internal(format!("secret {id} is a document"))),
            Err(seen) => seen,
        };
        let Some(record) = self.store.read(&Kind::SECRET, &name).await? else { return Ok(None) };
        let view = Arc::new(self.unseal(&record).await?.view());
        self.recent.keep(&Kind::SECRET, &name, seen, Kept::Secret(Arc::clone(&view)));
        Ok(Some(view))
    }

    async fn note_read(&self, caller: &Caller, action: Action, id: SecretId) -> Result<()> {
        let event = self.event(&Actor::of(caller), action, Some(("secret", id.to_string())));
        Ok(self.trail.append(&[event], Durability::Written).await?)
    }

    /// Reads a secret with its payload, which may still be missing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::WrongState`] for one that was revoked, and those of store and
    /// trail.
    pub async fn release_secret(&self, caller: &Caller, id: SecretId) -> Result<Secret> {
        let access = Access { rule: "secret:decrypt", action: Action::Get };
        let found = async {
            let secret = self.find_secret(caller, id, access).await?;
            if secret.metadata.activates_at.is_some_and(|start| start > self.clock.now()) {
                return Err(Error::WrongState {
                    reason: format!("secret {id} is not active yet: its payload is not released"),
                });
            }
            if secret.metadata.revocation.is_some() {
                return Err(Error::WrongState {
                    reason: format!("secret {id} was revoked: its payload is not released"),
                });
            }
            Ok(secret)
        };
        match found.await {
            Ok(secret) => {
                self.note_read(caller, Action::Get, id).await?;
                Ok(secret)
            }
            Err(error) => self.refuse(caller, Action::Get, Some(id), error).await,
        }
    }

    /// Adds the payload to a secret stored without one.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it has one; as for [`Self::edit_secret`].
    pub async fn fill_secret(
        &self,
        caller: &Caller,
        id: SecretId,
        payload: &KeyMaterial,
        content_type: &str,
    ) -> Result<Arc<SecretView>> {
        let access = Access { rule: "secret:put", action: Action::Update };
        self.change_secret(caller, id, access, Some(payload), |secret, metadata| {
            if !secret.payload().is_empty() {
                return Err(Error::WrongState { reason: format!("secret {id} has its payload already") });
            }
            self.check_secret_payload(payload.expose())?;
            metadata.content_type = Some(content_type.to_owned());
            Ok(())
        })
        .await
    }

    /// Changes what is known of a secret: its access list, its owner's words about it.
    ///
    /// # Errors
    /// What `edit` refuses, [`Error::NotFound`], [`Error::Forbidden`], and those of store and trail.
    pub async fn edit_secret(
        &self,
        caller: &Caller,
        id: SecretId,
        access: Access,
        edit: impl Fn(&mut Metadata) -> Result<()>,
    ) -> Result<Arc<SecretView>> {
        self.change_secret(caller, id, access, None, |_, metadata| edit(metadata)).await
    }

    async fn change_secret(
        &self,
        caller: &Caller,
        id: SecretId,
        access: Access,
        payload: Option<&KeyMaterial>,
        edit: impl Fn(&Secret, &mut Metadata) -> Result<()>,
    ) -> Result<Arc<SecretView>> {
        for _ in 0..ATTEMPTS {
            let prepared = async {
                let secret = self.find_secret(caller, id, access).await?;
                let mut metadata = secret.metadata.clone();
                edit(&secret, &mut metadata)?;
                metadata.updated = self.clock.now();
                let payload = payload.map_or_else(|| secret.payload(), |new| new.expose());
                let version = secret.version.next();
                let record = self.seal(id, version, &metadata, payload).await?;
                let users = acl::changed_users(secret.metadata.acl.as_ref(), metadata.acl.as_ref());
                users.check()?;
                let view = SecretView { id, version, metadata, has_payload: !payload.is_empty() };
                Ok((secret.version, record, view, users))
            };
            let (expected, record, view, users) = match prepared.await {
                Ok(prepared) => prepared,
                Err(error) => return self.refuse(caller, access.action, Some(id), error).await,
            };
            let actor = Actor::of(caller);
            let written = Written { version: record.version, digest: record::digest(&record) };
            let event = self.event(&actor, access.action, Some(("secret", id.to_string())));
            let view = Arc::new(view);
            let mut batch = vec![Change::Replace { expected, record }];
            batch.extend(self.acl_changes(&view.metadata.project, id, users).await?);
            match self.change(News::Is(Arc::clone(&view)), event, written, batch).await {
                Ok(()) => return Ok(view),
                Err(Error::VersionMismatch { .. } | Error::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(format!("secret {id} is changed by too many at once")))
    }
}

/// The project of a caller's token.
pub(super) fn project_of(caller: &Caller) -> Result<&str> {
    caller.identity().project_id.as_deref().ok_or_else(|| Error::Forbidden {
        reason: "secrets belong to projects: use a project-scoped token".to_owned(),
    })
}

pub(super) fn missing(id: SecretId) -> Error {
    Error::not_found(format!("secret {id}"))
}

/// An object as rules see it.
pub(super) fn object_target<'a>(
    noun: &'static str,
    caller: &Caller,
    project_id: &'a str,
    creator_id: &'a str,
    acl: Option<&Acl>,
) -> ObjectTarget<'a> {
    ObjectTarget {
        noun,
        project_id,
        creator_id,
        read_project_access: Acl::leaves_to_project(acl),
        listed: Acl::names(acl, &caller.identity().user_id),
    }
}
