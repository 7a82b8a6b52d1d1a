//! Entries of access lists, by user: what a user may read in other projects is found by them.
//!
//! An entry is a record beside the secret's, changed in the same step. It only leads to the secret; the list in the
//! secret itself decides.

use std::collections::BTreeSet;

use chatelaine_crypto::sha256;

use super::Manager;
use crate::acl::Acl;
use crate::error::{Error, Result};
use crate::id::{SecretId, Version};
use crate::record::{self, SealedUnder};
use crate::store::{Change, IndexAttributes, Kind, Query, Record};

/// Kind of the entries.
pub(super) const ENTRY: Kind = Kind::new("acl_entry");
/// Most users in one access list. A list may be replaced by another in one batch of the store.
pub const MAX_ACL_USERS: usize = 400;

/// So many secrets that name a user are looked at, no more: others decide whom their lists name.
const MOST_FOUND: usize = 10_000;

/// The users that a change adds to a list and takes off it.
#[derive(Debug, Default)]
pub(super) struct ChangedUsers {
    added: Vec<String>,
    removed: Vec<String>,
    /// How many the list has after the change.
    total: usize,
}

impl ChangedUsers {
    /// Refuses a list that grows too long, by however many steps.
    pub(super) fn check(&self) -> Result<()> {
        if !self.added.is_empty() && self.total > MAX_ACL_USERS {
            return Err(Error::invalid("users", format!("at most {MAX_ACL_USERS} are allowed")));
        }
        Ok(())
    }
}

pub(super) fn changed_users(before: Option<&Acl>, after: Option<&Acl>) -> ChangedUsers {
    let none = BTreeSet::new();
    let before = before.map_or(&none, |acl| &acl.users);
    let after = after.map_or(&none, |acl| &acl.users);
    ChangedUsers {
        added: after.difference(before).cloned().collect(),
        removed: before.difference(after).cloned().collect(),
        total: after.len(),
    }
}

/// An entry's id. Users' ids are as long as their identity service likes, ids of records are not.
fn entry_id(secret: SecretId, user: &str) -> String {
    let digest = hex::encode(sha256(&[user.as_bytes()]));
    format!("{secret}.{}", digest.get(..32).unwrap_or_default())
}

impl Manager {
    /// The changes of entries that go with the change of a list.
    pub(super) async fn acl_changes(
        &self,
        project: &str,
        secret: SecretId,
        users: ChangedUsers,
    ) -> Result<Vec<Change>> {
        users.check()?;
        let mut changes = Vec::new();
        for user in users.removed {
            changes.push(Change::Remove {
                kind: ENTRY,
                id: entry_id(secret, &user),
                expected: Version::FIRST,
            });
        }
        if users.added.is_empty() {
            return Ok(changes);
        }
        let key = self.keyring.current(&*self.store, &*self.clock, project).await?;
        for user in users.added {
            let mut record = Record {
                kind: ENTRY,
                id: entry_id(secret, &user),
                project: project.to_owned(),
                created: self.clock.now(),
                version: Version::FIRST,
                attributes: IndexAttributes {
                    parent: Some(user.clone()),
                    reference: Some(secret.to_string()),
                    ..IndexAttributes::default()
                },
                body: Vec::new(),
            };
            record::seal(&mut record, &SealedUnder::ScopeKey(key.version), &key.cipher, user.as_bytes())?;
            changes.push(Change::Create(record));
        }
        Ok(changes)
    }

    /// The secrets whose lists may name a user, in the order in which they came to.
    pub(super) async fn secrets_listing(&self, user: &str) -> Result<Vec<SecretId>> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let query = Query { parent: Some(user.to_owned()), after, ..Query::of(ENTRY) };
            let entries = self.store.list(&query).await?;
            let Some(last) = entries.last() else { return Ok(found) };
            after = Some(last.position());
            let ids = entries.iter().filter_map(|entry| entry.attributes.reference.as_deref());
            found.extend(ids.filter_map(|id| SecretId::parse(id).ok()));
            if found.len() >= MOST_FOUND {
                tracing::warn!(user, "more secrets name this user than are looked at: the listing is cut");
                return Ok(found);
            }
        }
    }

    /// The removal of all entries that lead to a secret, for its end.
    pub(super) async fn acl_removals(&self, secret: SecretId) -> Result<Vec<Change>> {
        let query = Query { reference: Some(secret.to_string()), ..Query::of(ENTRY) };
        let entries = self.store.list(&query).await?;
        let removal = |entry: Record| Change::Remove { kind: ENTRY, id: entry.id, expected: entry.version };
        Ok(entries.into_iter().map(removal).collect())
    }
}
