//! What the fuzz targets reach into: Keystone's documents and access rules, each with what must hold for any input.

use super::rules::AccessRule;
use super::token::{self, TokenScope};

/// A token document is refused in words, or it is JSON that holds what was read, under one scope.
pub fn token_document(bytes: &[u8]) {
    let (details, _) = match token::parse(bytes) {
        Err(problem) => return assert!(!problem.is_empty()),
        Ok(parsed) => parsed,
    };
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let token = &document["token"];
    // The library also takes a list of a structure's values for the structure.
    let same = |part: &serde_json::Value, id: &str| assert!(part.is_array() || part["id"] == id, "{part}");
    if token.is_null() || token.is_array() {
        return assert!(document.is_array() || token.is_array(), "it holds no token");
    }
    same(&token["user"], &details.user.id);
    assert_eq!(token["roles"].as_array().map_or(0, Vec::len), details.roles.len());
    let scopes = ["project", "domain", "system"].map(|scope| !token[scope].is_null());
    assert_eq!(
        scopes,
        match &details.scope {
            TokenScope::Unscoped => [false; 3],
            TokenScope::Project(project) => {
                same(&token["project"], &project.id);
                [true, false, false]
            }
            TokenScope::Domain(domain) => {
                same(&token["domain"], &domain.id);
                [false, true, false]
            }
            TokenScope::System => [false, false, true],
        }
    );
    if let Some(credential) = &details.application_credential {
        let permits = credential.permits("key-manager", "GET", "/v1/keys/a");
        let rules = credential.access_rules.as_deref();
        assert!(permits || rules.is_some(), "without rules all is permitted");
        assert!(!permits || rules != Some(&[]), "an empty list permits nothing");
    }
}

/// A pattern permits no path that could be read as another one, and without wildcards only itself.
pub fn access_rule(pattern: &str, path: &str) {
    let rule = |path: &str| AccessRule {
        id: None,
        service: "key-manager".to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
    };
    let permits = |pattern: &str| rule(pattern).permits("key-manager", "GET", path);
    let permitted = permits(pattern);
    if permitted {
        assert!(path.starts_with('/') && !path.contains(['?', '#']));
        assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        assert!(permits("**"), "what permits all permits this");
        assert!(!rule(pattern).permits("key-manager", "POST", path));
    }
    if !pattern.contains(['*', '{', '}']) {
        assert_eq!(permitted, pattern == path && permits("**"));
    }
}
