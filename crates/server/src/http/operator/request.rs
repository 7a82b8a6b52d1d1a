//! What an operator's request must look like; every refusal names the field.

use std::num::NonZeroUsize;

use chatelaine_core::id::SecretId;
use chatelaine_core::manager::OperatorFilter;

use super::super::error::ApiError;
use super::super::native::listing::{boolean, limit, marker, pairs, unknown};

/// Longest id of a project, in characters; Keystone's have 32, its database takes 64.
const MAX_PROJECT: usize = 255;

/// The id in a path.
pub(super) fn secret_id(text: &str) -> Result<SecretId, ApiError> {
    SecretId::parse(text).map_err(|error| ApiError::field("secret_id", error.to_string()))
}

/// Refuses a query where none means anything.
pub(super) fn no_parameters(query: Option<&str>) -> Result<(), ApiError> {
    match pairs(query)?.first() {
        None => Ok(()),
        Some((name, _)) => Err(unknown(name, "none")),
    }
}

/// What to list.
pub(super) fn filter(query: Option<&str>, max_page: NonZeroUsize) -> Result<OperatorFilter, ApiError> {
    let mut filter = OperatorFilter::default();
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "project" => filter.project = Some(project(&name, value)?),
            "deleted" => filter.deleted = boolean(&name, &value)?,
            "limit" => filter.limit = Some(limit(&name, &value, max_page)?),
            "marker" => filter.marker = Some(marker(&name, &value)?),
            _ => return Err(unknown(&name, "project, deleted, limit, marker")),
        }
    }
    Ok(filter)
}

/// An empty id would name no project, not all of them.
fn project(name: &str, value: String) -> Result<String, ApiError> {
    let length = value.chars().count();
    if length == 0 || length > MAX_PROJECT {
        let problem =
            format!("a project's id has 1 to {MAX_PROJECT} characters; leave it out for all projects");
        return Err(ApiError::field(name, problem));
    }
    if value.chars().any(char::is_control) {
        return Err(ApiError::field(name, "it holds a control character, none are allowed"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: NonZeroUsize = NonZeroUsize::new(10).unwrap();
    const ID: &str = "6f1c7a0e-3b52-1a53-9a54-0f6c1f5be1a7";

    fn refused(query: &str) -> ApiError {
        filter(Some(query), PAGE).unwrap_err()
    }

    #[test]
    fn filters_are_read() {
        let query = format!("project=p%201&deleted=true&limit=10&marker={ID}");
        let found = filter(Some(&query), PAGE).unwrap();
        assert_eq!((found.project.as_deref(), found.deleted), (Some("p 1"), true));
        assert_eq!(found.limit.map(NonZeroUsize::get), Some(10));
        assert_eq!(found.marker, Some(SecretId::parse(ID).unwrap()));
        let nothing = filter(None, PAGE).unwrap();
        assert_eq!(
            (nothing.project, nothing.deleted, nothing.marker, nothing.limit),
            (None, false, None, None)
        );
    }

    #[test]
    fn wrong_parameters_are_named() {
        let long = format!("project={}", "p".repeat(256));
        for (query, field) in [
            ("project=", "project"),
            (long.as_str(), "project"),
            ("project=a%0Ab", "project"),
            ("project=a&project=b", "project"),
            ("deleted=", "deleted"),
            ("deleted=1", "deleted"),
            ("limit=0", "limit"),
            ("limit=11", "limit"),
            ("limit=%2B1x", "limit"),
            ("marker=last", "marker"),
            ("owner=a", "owner"),
        ] {
            let error = refused(query);
            assert_eq!((error.status.as_u16(), error.field.as_deref()), (400, Some(field)), "{query}");
        }
        assert!(refused("owner=a").message.contains("project, deleted, limit, marker"));
    }

    /// Ids are any UUID in its canonical form, of whatever version.
    #[test]
    fn ids_have_one_form() {
        for id in [ID, "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000001"] {
            assert_eq!(secret_id(id).unwrap().to_string(), id);
        }
        for wrong in
            ["", "x", &ID.to_uppercase(), &ID.replace('-', ""), "00000000-0000-0000-0000-000000000000"]
        {
            assert_eq!(secret_id(wrong).unwrap_err().field.as_deref(), Some("secret_id"), "{wrong}");
        }
    }

    #[test]
    fn parameters_without_a_meaning_are_refused() {
        assert!(no_parameters(None).is_ok() && no_parameters(Some("")).is_ok());
        assert_eq!(no_parameters(Some("force=true")).unwrap_err().field.as_deref(), Some("force"));
    }
}
