//! What an operator does to secrets of any project: look for them, take deletions back, destroy before the time.
//!
//! An operator sees what is known of a secret and never its payload. Destroying needs a deletion that is old enough, so
//! that a stolen token alone does not destroy what nobody has missed yet.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::secrets::{Access, missing};
use super::{Actor, Manager};
use crate::audit::{Action, Durability, Written};
use crate::directory::News;
use crate::error::{Error, Result};
use crate::id::SecretId;
use crate::policy::Caller;
use crate::secret::{DELETED, LIVE, Secret, SecretView};
use crate::store::{Change, Kind, Query};

/// Which secrets an operator looks for.
#[derive(Debug, Clone, Default)]
pub struct OperatorFilter {
    /// Of this project only.
    pub project: Option<String>,
    /// Deleted ones instead of live ones.
    pub deleted: bool,
    /// After this secret.
    pub marker: Option<SecretId>,
    /// At most this many.
    pub limit: Option<NonZeroUsize>,
}

/// How many records are read from the store at once; each comes with its payload.
const PAGE: NonZeroUsize = NonZeroUsize::new(100).unwrap();

impl Manager {
    /// Lists secrets in the order of their creation; the second value tells whether more follow.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Invalid`] for an unknown marker, and those of store and trail.
    pub async fn operator_list(
        &self,
        caller: &Caller,
        filter: &OperatorFilter,
    ) -> Result<(Vec<Arc<SecretView>>, bool)> {
        let listed = async {
            self.policy.load().require("operator:list_secrets", caller, None)?;
            self.page_of_all(filter).await
        };
        match listed.await {
            Ok(page) => {
                let event = self.event(&Actor::of(caller), Action::List, None);
                self.trail.append(&[event], Durability::Written).await?;
                Ok(page)
            }
            Err(error) => self.refuse(caller, Action::List, None, error).await,
        }
    }

    async fn page_of_all(&self, filter: &OperatorFilter) -> Result<(Vec<Arc<SecretView>>, bool)> {
        let mut after = match filter.marker {
            None => None,
            Some(id) => {
                let marker = self.store.read(&Kind::SECRET, &id.to_string()).await?;
                let known = marker.ok_or_else(|| Error::invalid("marker", "there is no such secret"))?;
                Some(known.position())
            }
        };
        let limit =
            filter.limit.map_or(self.settings.max_page, |limit| limit.min(self.settings.max_page)).get();
        let mut page = Vec::new();
        loop {
            let query = Query {
                project: filter.project.clone(),
                state: Some(if filter.deleted { DELETED } else { LIVE }.to_owned()),
                after,
                limit: PAGE,
                ..Query::of(Kind::SECRET)
            };
            let records = self.store.list(&query).await?;
            let Some(last) = records.last() else { return Ok((page, false)) };
            after = Some(last.position());
            for record in &records {
                if page.len() == limit {
                    return Ok((page, true));
                }
                match self.unseal(record).await {
                    Ok(secret) => page.push(Arc::new(secret.view())),
                    Err(Error::Corrupt(reason)) => {
                        tracing::error!(reason, "a damaged secret is left out of a listing");
                    }
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn find_any(&self, caller: &Caller, id: SecretId, rule: &str) -> Result<Secret> {
        self.policy.load().require(rule, caller, None)?;
        let record = self.store.read(&Kind::SECRET, &id.to_string()).await?.ok_or_else(|| missing(id))?;
        self.unseal(&record).await
    }

    /// What is known of a secret, deleted or not.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], and those of store and trail.
    pub async fn operator_show(&self, caller: &Caller, id: SecretId) -> Result<Arc<SecretView>> {
        let access = Access { rule: "operator:get_secret", action: Action::GetMetadata };
        match self.find_any(caller, id, access.rule).await {
            Ok(secret) => {
                let event = self.event(&Actor::of(caller), access.action, Some(("secret", id.to_string())));
                self.trail.append(&[event], Durability::Written).await?;
                Ok(Arc::new(secret.view()))
            }
            Err(error) => self.refuse(caller, access.action, Some(id), error).await,
        }
    }

    /// Takes a deletion back.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it is not deleted; as for [`Self::operator_show`].
    pub async fn operator_undelete(&self, caller: &Caller, id: SecretId) -> Result<Arc<SecretView>> {
        let found = async {
            let secret = self.find_any(caller, id, "operator:undelete_secret").await?;
            match secret.metadata.deletion {
                None => Err(Error::WrongState { reason: format!("secret {id} is not deleted") }),
                // It is as good as purged.
                Some(deletion) if deletion.purge_at <= self.passed_now() => Err(missing(id)),
                Some(_) => Ok(secret),
            }
        };
        match found.await {
            Ok(secret) => {
                let described = self.dig_out(&Actor::of(caller), Action::Undelete, &secret, None).await?;
                let has_payload = !secret.payload().is_empty();
                let (version, metadata) = (described.version, described.metadata);
                Ok(Arc::new(SecretView { id, version, metadata, has_payload }))
            }
            Err(error) => self.refuse(caller, Action::Undelete, Some(id), error).await,
        }
    }

    /// Destroys a deleted secret before its grace period is over.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it is not deleted, or not long enough; as for [`Self::operator_show`].
    pub async fn operator_purge(&self, caller: &Caller, id: SecretId) -> Result<()> {
        let found = async {
            let secret = self.find_any(caller, id, "operator:purge_secret").await?;
            let Some(deletion) = secret.metadata.deletion else {
                return Err(Error::WrongState {
                    reason: format!("secret {id} is not deleted: delete it first"),
                });
            };
            let from = deletion.at.plus(self.settings.purge_wait).min(deletion.purge_at);
            if self.passed_now() < from {
                return Err(Error::WrongState {
                    reason: format!(
                        "secret {id} was deleted at {}: it can be purged from {from} on",
                        deletion.at
                    ),
                });
            }
            Ok(secret)
        };
        let secret = match found.await {
            Ok(secret) => secret,
            Err(error) => return self.refuse(caller, Action::Purge, Some(id), error).await,
        };
        let event = self.event(&Actor::of(caller), Action::Purge, Some(("secret", id.to_string())));
        let written = Written { version: secret.version, digest: String::new() };
        let mut batch =
            vec![Change::Remove { kind: Kind::SECRET, id: id.to_string(), expected: secret.version }];
        if let Some(stone) = self.store.read(&Kind::TOMBSTONE, &id.to_string()).await? {
            batch.push(Change::Remove { kind: Kind::TOMBSTONE, id: stone.id, expected: stone.version });
        }
        batch.extend(self.attached_removals(id).await?);
        self.change(News::Gone(Arc::new(secret.view())), event, written, batch).await
    }
}
