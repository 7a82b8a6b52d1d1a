//! Query parameters of the native API: each known, given once, and wrong ones named. The operator's routes take theirs
//! by the same rules.

use std::num::NonZeroUsize;

use chatelaine_api::WiderScope;
use chatelaine_core::id::{SecretId, is_keystone_id};
use chatelaine_core::manager::KeyFilter;
use chatelaine_core::secret::{Scope, State};

use super::super::error::ApiError;
use super::document;

const STATES: [State; 4] = [State::PreActive, State::Active, State::Deactivated, State::Compromised];

/// What errors name when a parameter's own name cannot be repeated.
const PLACE: &str = "the query";

/// The pairs of a query string; each name once.
pub(in crate::http) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, ApiError> {
    let mut seen: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if seen.iter().any(|(known, _)| *known == name) {
            return Err(ApiError::chosen_field(&name, PLACE, "a parameter is given twice"));
        }
        seen.push((name.into_owned(), value.into_owned()));
    }
    Ok(seen)
}

pub(in crate::http) fn boolean(name: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ApiError::field(name, "true or false are allowed")),
    }
}

pub(in crate::http) fn unknown(name: &str, allowed: &str) -> ApiError {
    ApiError::chosen_field(name, PLACE, format!("there is no such parameter here; allowed: {allowed}"))
}

pub(in crate::http) fn limit(
    name: &str,
    value: &str,
    max_page: NonZeroUsize,
) -> Result<NonZeroUsize, ApiError> {
    let limit = value.parse().ok().filter(|limit| *limit <= max_page);
    limit.ok_or_else(|| ApiError::field(name, format!("1 to {max_page} are allowed")))
}

pub(in crate::http) fn marker(name: &str, value: &str) -> Result<SecretId, ApiError> {
    SecretId::parse(value).map_err(|error| ApiError::field(name, error.to_string()))
}

/// Whether a key that is not active may be released.
pub(crate) fn allow_inactive(query: Option<&str>) -> Result<bool, ApiError> {
    let mut allowed = false;
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "allow_inactive" => allowed = boolean(&name, &value)?,
            _ => return Err(unknown(&name, "allow_inactive")),
        }
    }
    Ok(allowed)
}

/// What to list.
pub(crate) fn filter(query: Option<&str>, max_page: NonZeroUsize) -> Result<KeyFilter, ApiError> {
    let mut filter = KeyFilter::default();
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "scope" => {
                let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == value);
                filter.scope =
                    Some(found.ok_or_else(|| {
                        ApiError::field(&name, "entity, user, project or domain are allowed")
                    })?);
            }
            "state" => filter.state = Some(state(&name, &value)?),
            "master_key" => filter.master_key = Some(value),
            "deleted" => filter.deleted = boolean(&name, &value)?,
            "limit" => filter.limit = Some(limit(&name, &value, max_page)?),
            "marker" => filter.marker = Some(marker(&name, &value)?),
            _ => return Err(unknown(&name, "scope, state, master_key, deleted, limit, marker")),
        }
    }
    Ok(filter)
}

/// Which keys of users, projects and domains to list.
pub(crate) fn scope_key_filter(query: Option<&str>, max_page: NonZeroUsize) -> Result<KeyFilter, ApiError> {
    let mut filter = KeyFilter::default();
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "scope" => filter.scope = Some(document::wider(wider_scope(&name, &value)?)),
            "scope_id" => filter.scope_id = Some(keystone_id(&name, value)?),
            "state" => filter.state = Some(state(&name, &value)?),
            "deleted" => filter.deleted = boolean(&name, &value)?,
            "limit" => filter.limit = Some(limit(&name, &value, max_page)?),
            "marker" => filter.marker = Some(marker(&name, &value)?),
            _ => return Err(unknown(&name, "scope, scope_id, state, deleted, limit, marker")),
        }
    }
    Ok(filter)
}

/// `user`, `project` or `domain`.
pub(crate) fn wider_scope(name: &str, value: &str) -> Result<WiderScope, ApiError> {
    let found = WiderScope::ALL.into_iter().find(|scope| scope.as_str() == value);
    found.ok_or_else(|| ApiError::field(name, "user, project or domain are allowed"))
}

/// An id that Keystone gives users, projects and domains.
pub(crate) fn keystone_id(name: &str, value: String) -> Result<String, ApiError> {
    if is_keystone_id(&value) {
        Ok(value)
    } else {
        Err(ApiError::field(name, "an id has 1 to 64 letters, digits, '_' and '-'"))
    }
}

fn state(name: &str, value: &str) -> Result<State, ApiError> {
    let found = STATES.into_iter().find(|state| state.as_str() == value);
    found.ok_or_else(|| ApiError::field(name, "pre_active, active, deactivated or compromised are allowed"))
}

/// The same query, from a marker on.
pub(crate) fn next_query(query: Option<&str>, marker: SecretId) -> String {
    let mut next = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "marker" {
            next.append_pair(&name, &value);
        }
    }
    next.append_pair("marker", &marker.to_string());
    next.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: NonZeroUsize = NonZeroUsize::new(10).unwrap();

    #[test]
    fn filters_are_read() {
        let found =
            filter(Some("scope=user&state=active&limit=5&deleted=true&master_key=a%20b"), PAGE).unwrap();
        assert_eq!((found.scope, found.state), (Some(Scope::User), Some(State::Active)));
        assert_eq!((found.limit.map(NonZeroUsize::get), found.deleted), (Some(5), true));
        assert_eq!(found.master_key.as_deref(), Some("a b"));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, field) in [
            ("scope=planet", "scope"),
            ("state=destroyed", "state"),
            ("limit=0", "limit"),
            ("limit=11", "limit"),
            ("limit=x", "limit"),
            ("marker=x", "marker"),
            ("deleted=yes", "deleted"),
            ("limit=1&limit=2", "limit"),
            ("secret=1", "secret"),
        ] {
            assert_eq!(filter(Some(query), PAGE).unwrap_err().field.as_deref(), Some(field), "{query}");
        }
        for (query, field) in [
            ("scope=entity", "scope"),
            ("scope_id=", "scope_id"),
            ("scope_id=a.b", "scope_id"),
            ("master_key=m", "master_key"),
            ("state=x", "state"),
        ] {
            assert_eq!(
                scope_key_filter(Some(query), PAGE).unwrap_err().field.as_deref(),
                Some(field),
                "{query}"
            );
        }
        let found = scope_key_filter(Some("scope=domain&scope_id=d-1&deleted=true"), PAGE).unwrap();
        assert_eq!((found.scope, found.scope_id.as_deref()), (Some(Scope::Domain), Some("d-1")));
        assert!(found.deleted);
        assert_eq!(allow_inactive(Some("x=1")).unwrap_err().field.as_deref(), Some("x"));
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let id = SecretId::random();
        assert_eq!(next_query(Some("limit=5&marker=old"), id), format!("limit=5&marker={id}"));
        assert_eq!(next_query(None, id), format!("marker={id}"));
    }
}
