//! Keys of users, projects and domains: put by the identity service, read by it and, by a trust, by other services.
//!
//! Invariants: a trust lets a service read what it speaks for and nothing else; it changes nothing, and lists nothing. Who
//! may not read a key learns not even that there is one. The newest active key of a customer is the one for new data;
//! one that is damaged or cannot be read is an error, never a reason to hand out an older one.

use std::num::NonZeroUsize;

use super::{Actor, Description, KeyFilter, KeyList, Manager};
use crate::audit::{Action, Durability};
use crate::error::{Error, Result};
use crate::id::SecretId;
use crate::policy::{Caller, Delegation, KeyTarget, ScopeKeyTarget};
use crate::secret::{self, Metadata, Scope, Secret, State};
use crate::store::{Kind, Query};
use crate::walk::Walk;

/// Most keys that one user, project or domain has at a time, deleted ones not counted.
pub const MOST_SCOPE_KEYS: u64 = 256;
/// Records asked of the store at once.
const AT_ONCE: NonZeroUsize = const { NonZeroUsize::new(32).unwrap() };

/// In which ways a caller may read keys at all, found out before anything is looked up.
pub(super) struct Reader<'a> {
    caller: &'a Caller,
    /// As the service that the token of the request names.
    own: bool,
    /// By a trust.
    delegation: Option<Delegation<'a>>,
}

impl Manager {
    /// Who may read keys at all: services their own, and by a trust those of a customer.
    ///
    /// # Errors
    /// [`Error::Forbidden`], the same whether or not there is a key.
    pub(super) fn admit_reader<'a>(&self, caller: &'a Caller) -> Result<Reader<'a>> {
        let policy = self.policy.load();
        let own = policy.admit(caller);
        let Some(delegation) = caller.delegation() else {
            return own.map(|()| Reader { caller, own: true, delegation: None });
        };
        let delegated = policy.admit_delegate(caller, &delegation).and_then(|()| {
            // With a service's token Keystone vouches for expired ones, too; a delegation ends when it says.
            let over = delegation.identity.expires_at.is_some_and(|end| end <= self.clock.now());
            let reason = match (delegation.is_the_trustees(), over) {
                (true, false) => return Ok(()),
                (false, _) => "the trust was given to another user than the service whose token came with it",
                (true, true) => "the token of the trust has expired: get a new one from Keystone",
            };
            Err(Error::Forbidden { reason: reason.to_owned() })
        });
        match (own, delegated) {
            (own, Ok(())) => Ok(Reader { caller, own: own.is_ok(), delegation: Some(delegation) }),
            (Ok(()), Err(_)) => Ok(Reader { caller, own: true, delegation: None }),
            (Err(_), Err(refusal)) => Err(refusal),
        }
    }

    /// Whether a reader may read this key: `rule` decides for its owner, `scope_key:get` for who comes by a trust.
    pub(super) fn may_read(&self, reader: &Reader<'_>, rule: &str, metadata: &Metadata) -> bool {
        let policy = self.policy.load();
        let key = KeyTarget { owner: &metadata.owner, project_id: &metadata.project };
        if reader.own && policy.require(rule, reader.caller, Some(key)).is_ok() {
            return true;
        }
        let (Some(delegation), Some(scope_id)) = (reader.delegation, metadata.scope_id.as_deref()) else {
            return false;
        };
        let target = ScopeKeyTarget { key, scope: metadata.scope, scope_id, delegation };
        delegation.speaks_for(metadata.scope, scope_id)
            && policy.require_of("scope_key:get", &delegation, &target).is_ok()
    }

    /// Refuses one more key where there are too many. Two at the same moment may exceed the limit by one.
    pub(super) async fn check_room(&self, scope: Scope, scope_id: &str) -> Result<()> {
        if self.store.count(&of_customer(scope, scope_id)).await? >= MOST_SCOPE_KEYS {
            return Err(Error::WrongState {
                reason: format!(
                    "{} {scope_id} has {MOST_SCOPE_KEYS} keys already: delete some that nothing is locked with",
                    scope.as_str()
                ),
            });
        }
        Ok(())
    }

    /// Reads the newest active key of a user, project or domain, with its key string.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none for this caller, [`Error::Forbidden`] for who may read no keys at all,
    /// [`Error::Corrupt`] where a newer one may be there and cannot be read, and those of store and trail.
    pub async fn scope_key(
        &self,
        caller: &Caller,
        scope: Scope,
        scope_id: &str,
    ) -> Result<(Description, Secret)> {
        self.read_scope_key(caller, scope, scope_id, ("key:get", Action::Get)).await
    }

    /// The same without its key string.
    ///
    /// # Errors
    /// As for [`Self::scope_key`].
    pub async fn scope_key_metadata(
        &self,
        caller: &Caller,
        scope: Scope,
        scope_id: &str,
    ) -> Result<Description> {
        let access = ("key:get_metadata", Action::GetMetadata);
        Ok(self.read_scope_key(caller, scope, scope_id, access).await?.0)
    }

    async fn read_scope_key(
        &self,
        caller: &Caller,
        scope: Scope,
        scope_id: &str,
        (rule, action): (&str, Action),
    ) -> Result<(Description, Secret)> {
        match self.newest(caller, scope, scope_id, rule).await {
            Ok(secret) => {
                let event = self.event(&Actor::of(caller), action, Some(("secret", secret.id.to_string())));
                self.trail.append(&[event], Durability::Written).await?;
                Ok((self.describe(&secret), secret))
            }
            Err(error) => self.refuse(caller, action, None::<SecretId>, error).await,
        }
    }

    async fn newest(&self, caller: &Caller, scope: Scope, scope_id: &str, rule: &str) -> Result<Secret> {
        let missing = || Error::not_found(format!("an active key of {} {scope_id}", scope.as_str()));
        let reader = self.admit_reader(caller)?;
        if scope == Scope::Entity {
            return Err(missing());
        }
        let mut walk = Walk::new(&*self.store, of_customer(scope, scope_id));
        walk.set_limit(AT_ONCE);
        let (mut newest, mut damage): (Option<Secret>, _) = (None, None);
        loop {
            let skipped = walk.skipped();
            let records = walk.next().await?;
            if walk.skipped() > skipped {
                damage = Some("the store cannot read a record of it".to_owned());
            }
            if records.is_empty() {
                break;
            }
            for record in &records {
                match self.unseal(record).await {
                    Ok(secret) => {
                        // The index is a copy: what the sealed body says decides.
                        let metadata = &secret.metadata;
                        let belongs = metadata.scope == scope
                            && metadata.scope_id.as_deref() == Some(scope_id)
                            && metadata.deletion.is_none()
                            && metadata.state(self.clock.now()) == State::Active
                            && !secret.payload().is_empty();
                        if belongs && self.may_read(&reader, rule, metadata) {
                            (newest, damage) = (Some(secret), None);
                        }
                    }
                    Err(Error::NotFound { .. }) => {}
                    Err(Error::Corrupt(reason)) => {
                        self.count_damaged(1);
                        Self::log_damaged(&record.kind, &record.id, &reason);
                        damage = Some(format!("{}/{}: {reason}", record.kind, record.id));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        match damage {
            // Whose it is, is not known: strangers are told of it as little as of the key.
            Some(_) if newest.is_none() && !self.would_read(&reader, scope, scope_id) => Err(missing()),
            Some(reason) => Err(Error::Corrupt(reason)),
            None => newest.ok_or_else(missing),
        }
    }

    /// Whether a key of this customer, whoever put it, could be read by this reader.
    fn would_read(&self, reader: &Reader<'_>, scope: Scope, scope_id: &str) -> bool {
        reader.delegation.is_some_and(|delegation| delegation.speaks_for(scope, scope_id))
            || (reader.own && self.policy.load().require("scope_key:list", reader.caller, None).is_ok())
    }

    /// Lists the caller's own keys of users, projects and domains, in the order of their creation.
    ///
    /// # Errors
    /// As for [`Self::list`].
    pub async fn list_scope_keys(&self, caller: &Caller, filter: &KeyFilter) -> Result<KeyList> {
        let filter = KeyFilter { wider: true, ..filter.clone() };
        self.list_by("scope_key:list", caller, &filter).await
    }
}

/// The live keys of a user, project or domain.
fn of_customer(scope: Scope, scope_id: &str) -> Query {
    Query {
        class: Some(scope.as_str().to_owned()),
        parent: Some(scope_id.to_owned()),
        state: Some(secret::LIVE.to_owned()),
        ..Query::of(Kind::SECRET)
    }
}
