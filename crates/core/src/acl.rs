//! Access lists: who may read one object beside, or instead of, the members of its project.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The access list of one object; without one, the whole project reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// Whether the object's project may read it. If not, it is private: its creator, the project's administrators and
    /// `users` remain.
    pub project_access: bool,
    /// Ids of users that may read it whatever their project and roles.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub users: BTreeSet<String>,
    /// When the list was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Acl {
    /// Whether the project may read an object with this list, or none.
    pub fn leaves_to_project(list: Option<&Self>) -> bool {
        list.is_none_or(|list| list.project_access)
    }

    /// Whether the list of an object, if it has one, names a user.
    pub fn names(list: Option<&Self>, user: &str) -> bool {
        list.is_some_and(|list| list.users.contains(user))
    }
}
