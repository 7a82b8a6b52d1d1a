//! Access control lists of secrets and containers. There is one operation, `read`.

use std::collections::BTreeSet;

use chatelaine_core::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::body::{Json, MAX_TEXT, Object};
use super::super::error::BarbicanError;
use super::super::time::{self, Moment};

pub(crate) const SCHEMA: &str = "ACL";
/// Most users of one list. Barbican has no limit but the request's.
pub(crate) const MAX_USERS: usize = chatelaine_core::manager::MAX_ACL_USERS;

/// What a body says of `read`; what is none was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReadAcl {
    pub(crate) users: Option<BTreeSet<String>>,
    pub(crate) project_access: Option<bool>,
}

impl ReadAcl {
    /// Whether nothing was said, which removes the list when it is put.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_none() && self.project_access.is_none()
    }
}

/// Checks the body of `PUT` and `PATCH …/acl`. None is a body without `read`.
///
/// # Errors
/// 400 naming what is wrong: other operations, unknown keys, other types.
pub(crate) fn read(mut object: Object) -> Result<Option<ReadAcl>, BarbicanError> {
    let Some(read) = object.take("read") else { return object.finish().map(|()| None) };
    object.finish()?;
    let mut read = Object::of(SCHEMA, Some("read"), read)?;
    let project_access = read.boolean("project-access")?;
    let users = match read.list("users")? {
        None => None,
        Some(list) => {
            let mut users = BTreeSet::new();
            for user in list {
                match user {
                    Json::Text(user) if user.chars().count() <= MAX_TEXT => {
                        users.insert(user.as_str().to_owned())
                    }
                    _ => {
                        let reason = format!("each must be a string of at most {MAX_TEXT} characters");
                        return Err(read.wrong("users", reason));
                    }
                };
            }
            if users.len() > MAX_USERS {
                return Err(read.wrong("users", format!("at most {MAX_USERS} are allowed")));
            }
            Some(users)
        }
    };
    read.finish()?;
    Ok(Some(ReadAcl { users, project_access }))
}

/// A list to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) project_access: bool,
    pub(crate) users: &'a BTreeSet<String>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

/// How a list is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanAcl)]
pub(crate) struct AclDocument<'a> {
    read: Read<'a>,
}

/// Who may read. Without a list the project may, and nothing else is said.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BarbicanAclRead)]
struct Read<'a> {
    /// Whether members of the project may; if not, it is private.
    #[serde(rename = "project-access")]
    project_access: bool,
    /// Users who may, of whatever project.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<String>>)]
    users: Option<&'a BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Moment>)]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Moment>)]
    updated: Option<String>,
}

impl<'a> AclDocument<'a> {
    /// Where none was ever set, the project may read, and that is all there is to say.
    pub(crate) fn of(acl: Option<Shown<'a>>) -> Self {
        let read = match acl {
            None => Read { project_access: true, users: None, created: None, updated: None },
            Some(acl) => Read {
                project_access: acl.project_access,
                users: Some(acl.users),
                created: Some(time::written(acl.created)),
                updated: Some(time::written(acl.updated)),
            },
        };
        Self { read }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &serde_json::Value) -> Result<Option<ReadAcl>, BarbicanError> {
        read(Object::parse(SCHEMA, body.to_string().as_bytes())?)
    }

    #[test]
    fn what_is_said_is_read() {
        assert_eq!(parsed(&json!({})).unwrap(), None);
        assert!(parsed(&json!({"read": {}})).unwrap().unwrap().is_empty());
        let acl =
            parsed(&json!({"read": {"users": ["b", " a", "b"], "project-access": false}})).unwrap().unwrap();
        assert_eq!(acl.users.unwrap().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(acl.project_access, Some(false));
        assert_eq!(parsed(&json!({"read": {"users": []}})).unwrap().unwrap().users, Some(BTreeSet::new()));
    }

    #[test]
    fn everything_else_is_refused() {
        let many: Vec<String> = (0..=MAX_USERS).map(|n| n.to_string()).collect();
        for body in [
            json!({"write": {}}),
            json!({"read": {}, "list": {}}),
            json!({"read": null}),
            json!({"read": []}),
            json!({"read": {"creator-only": true}}),
            json!({"read": {"project-access": "true"}}),
            json!({"read": {"project-access": null}}),
            json!({"read": {"users": null}}),
            json!({"read": {"users": "a"}}),
            json!({"read": {"users": ["a", 1]}}),
            json!({"read": {"users": ["x".repeat(256)]}}),
            json!({"read": {"users": many}}),
        ] {
            assert_eq!(parsed(&body).unwrap_err().status(), 400, "{body}");
        }
    }

    #[test]
    fn lists_are_shown_in_full_or_as_the_default() {
        assert_eq!(
            serde_json::to_value(AclDocument::of(None)).unwrap(),
            json!({"read": {"project-access": true}})
        );
        let users = BTreeSet::from(["u".to_owned()]);
        let moment = time::parsed("2027-01-01T00:00:00.5").unwrap();
        let shown = Shown { project_access: false, users: &users, created: moment, updated: moment };
        assert_eq!(
            serde_json::to_value(AclDocument::of(Some(shown))).unwrap(),
            json!({"read": {"project-access": false, "users": ["u"],
                "created": "2027-01-01T00:00:00.500000", "updated": "2027-01-01T00:00:00.500000"}})
        );
    }
}
