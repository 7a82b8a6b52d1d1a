//! Listings: a caller's own keys, page by page, with a bound on what one request costs.
//!
//! A page may be short, or empty, and yet not the last: [`KeyList::next`] tells. One damaged record does not hide the
//! others: it is left out, and the log, the metrics and the audit event say so.

use std::num::NonZeroUsize;

use super::{Actor, Description, Manager};
use crate::audit::{Action, Durability};
use crate::error::{Error, Result};
use crate::id::SecretId;
use crate::policy::{Caller, Identity};
use crate::secret::{self, Scope, State};
use crate::store::{Kind, Query, Record};
use crate::walk::Walk;

/// Most records asked of the store at once.
const MOST_AT_ONCE: usize = 100;
/// About so many bytes of records are asked of the store at once.
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;
/// So many records are looked at for one page; a filter that leaves few of them gives a short page.
const MOST_LOOKED_AT: usize = 1000;
/// So many damaged records of one page are named in the log.
const MOST_LOGGED: u64 = 10;

/// Which of the caller's keys to list.
#[derive(Debug, Default, Clone)]
pub struct KeyFilter {
    /// Of this scope.
    pub scope: Option<Scope>,
    /// Of the user, project or domain with this id.
    pub scope_id: Option<String>,
    /// Of users, projects and domains only.
    pub wider: bool,
    /// Wrapped under this master key.
    pub master_key: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// Deleted ones (which can be undeleted) instead of live ones.
    pub deleted: bool,
    /// At most this many.
    pub limit: Option<NonZeroUsize>,
    /// After this key.
    pub marker: Option<SecretId>,
}

/// A page of a listing.
#[derive(Debug, Default)]
pub struct KeyList {
    /// The keys in the order of their creation; maybe fewer than asked for, or none, although more follow.
    pub keys: Vec<Description>,
    /// Where the next page begins, unless this is the last: the marker to give.
    pub next: Option<SecretId>,
}

impl Manager {
    /// Lists the caller's own keys in the order of their creation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown marker, [`Error::Forbidden`], and those of store and trail. [`Error::Corrupt`] when
    /// it is not single records that do not open.
    pub async fn list(&self, caller: &Caller, filter: &KeyFilter) -> Result<KeyList> {
        self.list_by("key:list", caller, filter).await
    }

    /// The same by any rule.
    pub(super) async fn list_by(&self, rule: &str, caller: &Caller, filter: &KeyFilter) -> Result<KeyList> {
        match self.try_list(rule, caller, filter).await {
            Ok((list, damaged)) => {
                let mut event = self.event(&Actor::of(caller), Action::List, None);
                self.count_damaged(damaged);
                event.reason = (damaged > 0).then(|| format!("damaged records left out: {damaged}"));
                self.trail.append(&[event], Durability::Written).await?;
                Ok(list)
            }
            Err(error) => self.refuse(caller, Action::List, None, error).await,
        }
    }

    /// The page, and how many damaged records were left out.
    async fn try_list(&self, rule: &str, caller: &Caller, filter: &KeyFilter) -> Result<(KeyList, u64)> {
        {
            let policy = self.policy.load();
            policy.admit(caller)?;
            policy.require(rule, caller, None)?;
        }
        let identity = caller.identity();
        let after = match filter.marker {
            None => None,
            Some(id) => {
                let marker = self.store.read(&Kind::SECRET, &id.to_string()).await?;
                let own = marker.filter(|record| record.attributes.owner.as_ref() == Some(&identity.user_id));
                Some(own.ok_or_else(|| Error::invalid("marker", "it names none of your keys"))?.position())
            }
        };
        let query = Query {
            project: identity.project_id.clone(),
            owner: Some(identity.user_id.clone()),
            state: Some(if filter.deleted { secret::DELETED } else { secret::LIVE }.to_owned()),
            class: filter.scope.map(|scope| scope.as_str().to_owned()),
            parent: filter.scope_id.clone(),
            reference: filter.master_key.clone(),
            after,
            ..Query::of(Kind::SECRET)
        };
        let limit = filter.limit.map_or(self.settings.max_page, |limit| limit.min(self.settings.max_page));
        let at_once = (BYTES_AT_ONCE / self.settings.max_payload.max(1)).clamp(1, MOST_AT_ONCE);
        let mut walk = Walk::new(&*self.store, query);
        let mut list = KeyList::default();
        let (mut looked_at, mut damaged): (usize, u64) = (0, 0);
        let mut last = None;
        loop {
            // One more than is missing tells whether more follow.
            let missing = limit.get().saturating_sub(list.keys.len()).saturating_add(1);
            walk.set_limit(NonZeroUsize::new(missing.min(at_once)).unwrap_or(NonZeroUsize::MIN));
            let records = walk.next().await?;
            if records.is_empty() {
                return Ok((list, damaged.saturating_add(walk.skipped())));
            }
            for record in &records {
                if looked_at >= MOST_LOOKED_AT && last.is_some() {
                    list.next = last;
                    return Ok((list, damaged.saturating_add(walk.skipped())));
                }
                looked_at = looked_at.saturating_add(1);
                match self.listed(record, identity, filter).await {
                    Ok(Some(_)) if list.keys.len() == limit.get() => {
                        list.next = list.keys.last().map(|key| key.id);
                        return Ok((list, damaged.saturating_add(walk.skipped())));
                    }
                    Ok(Some(description)) => list.keys.push(description),
                    Ok(None) => {}
                    Err(Error::Corrupt(reason)) => {
                        // Without its project's key no record would open, and the list would look empty.
                        self.keyring.current(&*self.store, &*self.clock, &record.project).await?;
                        if damaged < MOST_LOGGED {
                            Self::log_damaged(&record.kind, &record.id, &reason);
                        }
                        damaged = damaged.saturating_add(1);
                    }
                    Err(error) => return Err(error),
                }
                last = SecretId::parse(&record.id).ok().or(last);
            }
        }
    }

    /// A record as the caller's listing shows it; nothing where it does not belong there.
    async fn listed(
        &self,
        record: &Record,
        identity: &Identity,
        filter: &KeyFilter,
    ) -> Result<Option<Description>> {
        let secret = match self.unseal(record).await {
            Ok(secret) => secret,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let state = secret.metadata.state(self.clock.now());
        // The index is a copy: what the sealed body says decides. What can no longer be undeleted is as good as purged.
        let belongs = secret.metadata.owner == identity.user_id
            && filter.scope.is_none_or(|wanted| wanted == secret.metadata.scope)
            && (filter.scope_id.is_none() || filter.scope_id == secret.metadata.scope_id)
            && !(filter.wider && secret.metadata.scope == Scope::Entity)
            && secret.metadata.deletion.is_some() == filter.deleted
            && secret.metadata.deletion.is_none_or(|deletion| deletion.purge_at > self.passed_now())
            && filter.state.is_none_or(|wanted| wanted == state);
        Ok(belongs.then_some(Description {
            id: secret.id,
            version: secret.version,
            state,
            metadata: secret.metadata,
        }))
    }
}
