//! Listings of secrets: whole projects, from memory; what access lists open, from their entries.

use std::cmp::Ordering;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::secrets::project_of;
use super::{Actor, Manager};
use crate::acl::Acl;
use crate::audit::{Action, Durability};
use crate::directory::{News, Project};
use crate::error::{Error, Result};
use crate::id::SecretId;
use crate::policy::Caller;
use crate::secret::{Origin, SecretView};
use crate::store::{Kind, Query};

/// How many records are read from the store at once; each comes with its payload.
pub(super) const PAGE: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// A condition.
pub type Condition<'a, T> = &'a (dyn Fn(&T) -> bool + Send + Sync);
/// An order.
pub type Order<'a, T> = &'a (dyn Fn(&T, &T) -> Ordering + Send + Sync);

/// Which secrets to list.
pub struct SecretFilter<'a> {
    /// Those whose access lists name the caller, in every project, instead of the project's.
    pub acl_only: bool,
    /// What each must meet; `None`: nothing.
    pub matches: Option<Condition<'a, SecretView>>,
    /// Their order, if not that of their creation.
    pub order: Option<Order<'a, SecretView>>,
    /// How many to leave out first.
    pub offset: usize,
    /// At most this many.
    pub limit: usize,
}

impl Manager {
    /// Lists secrets that the caller may know of; the second value is the number of all that match.
    ///
    /// # Errors
    /// [`Error::Forbidden`], and those of store and trail.
    pub async fn list_secrets(
        &self,
        caller: &Caller,
        filter: &SecretFilter<'_>,
    ) -> Result<(Vec<Arc<SecretView>>, usize)> {
        match self.try_list_secrets(caller, filter).await {
            Ok(page) => {
                let event = self.event(&Actor::of(caller), Action::List, None);
                self.trail.append(&[event], Durability::Written).await?;
                Ok(page)
            }
            Err(error) => self.refuse(caller, Action::List, None, error).await,
        }
    }

    async fn try_list_secrets(
        &self,
        caller: &Caller,
        filter: &SecretFilter<'_>,
    ) -> Result<(Vec<Arc<SecretView>>, usize)> {
        let project = project_of(caller)?;
        self.policy.load().require("secrets:get", caller, None)?;
        if filter.acl_only {
            return Ok(filter.apply(self.opened_to(caller).await?.iter(), None));
        }
        // A service's own keys are shown to it where it might use them by the native interface.
        let admitted = self.policy.load().admit(caller).is_ok();
        let user = if admitted { caller.identity().user_id.as_str() } else { "" };
        let now = self.clock.now();
        if filter.matches.is_none() && filter.order.is_none() {
            return self
                .ask_project(project, |project| {
                    let (total, secrets) = project.visible(user, now);
                    filter.apply(secrets, Some(total))
                })
                .await;
        }
        // What a caller has looked for may take long: nobody else waits for it.
        let all: Vec<_> = self
            .ask_project(project, |project| project.visible(user, now).1.map(Arc::clone).collect())
            .await?;
        Ok(filter.apply(all.iter(), None))
    }

    /// How many secrets of a project count against its quota.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn count_secrets(&self, project: &str) -> Result<usize> {
        let now = self.clock.now();
        self.ask_project(project, |project| project.visible("", now).0).await
    }

    /// The live secrets, of any project, whose access lists name the caller.
    async fn opened_to(&self, caller: &Caller) -> Result<Vec<Arc<SecretView>>> {
        let user = &caller.identity().user_id;
        let now = self.clock.now();
        let mut found = Vec::new();
        for id in self.secrets_listing(user).await? {
            let Some(view) = self.undamaged_view(id).await? else { continue };
            let open = Acl::names(view.metadata.acl.as_ref(), user)
                && view.metadata.origin == Origin::Barbican
                && view.metadata.deletion.is_none()
                && !view.is_expired(now);
            if open {
                found.push(view);
            }
        }
        found.sort_by_key(|view| (view.metadata.created, view.id));
        Ok(found)
    }

    /// What is known of a secret; a damaged one is left out, so that it does not hide what stands beside it.
    async fn undamaged_view(&self, id: SecretId) -> Result<Option<Arc<SecretView>>> {
        match self.view(id).await {
            Err(Error::Corrupt(reason)) => {
                self.count_damaged(1);
                Self::log_damaged(&Kind::SECRET, &id.to_string(), &reason);
                Ok(None)
            }
            Err(Error::NotFound { .. }) => Ok(None),
            found => found,
        }
    }

    /// Asks a project, which is read from the store first if it is not remembered.
    async fn ask_project<T>(&self, name: &str, mut question: impl FnMut(&mut Project) -> T) -> Result<T> {
        if let Some(answer) = self.directory.ask(name, &mut question) {
            return Ok(answer);
        }
        let turn = self.directory.turn(name);
        let _turn = turn.lock().await;
        if let Some(answer) = self.directory.ask(name, &mut question) {
            return Ok(answer);
        }
        let arrival = Arrival { manager: self, name };
        self.directory.begin(name);
        let project = self.read_project(name).await?;
        let answer = self.directory.remember(name, project, question);
        drop(arrival);
        Ok(answer)
    }

    async fn read_project(&self, name: &str) -> Result<Project> {
        let mut project = Project::default();
        let mut after = None;
        loop {
            let query =
                Query { project: Some(name.to_owned()), after, limit: PAGE, ..Query::of(Kind::SECRET) };
            let records = self.store.list(&query).await?;
            let Some(last) = records.last() else { return Ok(project) };
            after = Some(last.position());
            for record in &records {
                match self.unseal(record).await {
                    Ok(secret) => project.hear(&News::Is(Arc::new(secret.view()))),
                    Err(Error::Corrupt(reason)) => {
                        self.count_damaged(1);
                        Self::log_damaged(&record.kind, &record.id, &reason);
                    }
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// What is known of a secret that is not deleted, for the server's own use: whether a container's secret is still
    /// there. It may have expired.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn glance(&self, project: &str, id: SecretId) -> Result<Option<Arc<SecretView>>> {
        let view = match self.directory.secret(project, id) {
            Some(view) => Some(view),
            None => self.undamaged_view(id).await?,
        };
        Ok(view.filter(|view| view.metadata.deletion.is_none()))
    }
}

/// News are kept while this lives, at most.
struct Arrival<'a> {
    manager: &'a Manager,
    name: &'a str,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.manager.directory.give_up(self.name);
    }
}

impl SecretFilter<'_> {
    /// The page, and the number of all that match; `total` is that number where nothing is asked of them.
    fn apply<'v>(
        &self,
        secrets: impl Iterator<Item = &'v Arc<SecretView>>,
        total: Option<usize>,
    ) -> (Vec<Arc<SecretView>>, usize) {
        if let (None, None, Some(total)) = (self.matches, self.order, total) {
            return (secrets.skip(self.offset).take(self.limit).map(Arc::clone).collect(), total);
        }
        let mut found: Vec<&Arc<SecretView>> =
            secrets.filter(|view| self.matches.is_none_or(|matches| matches(view))).collect();
        if let Some(order) = self.order {
            found.sort_by(|a, b| order(a, b));
        }
        let total = found.len();
        (found.into_iter().skip(self.offset).take(self.limit).map(Arc::clone).collect(), total)
    }
}
