//! Access rules of application credentials: which requests such a credential may make.
//!
//! Keystone only hands the rules out; the called service must enforce them. Invariant: what cannot be understood
//! permits nothing. The matcher runs in time proportional to pattern length times path length, whatever the pattern.

use serde::{Deserialize, Serialize};

/// One rule: a service type, an HTTP method and a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Keystone's id of the rule.
    #[serde(default)]
    pub id: Option<String>,
    /// The service type, for example `key-manager`.
    pub service: String,
    /// The HTTP method in capitals.
    pub method: String,
    /// The path pattern: `*` and `{name}` stand for one or more characters other than `/`, `**` for anything.
    pub path: String,
}

impl AccessRule {
    /// True when this rule allows `method` on `path` of a service of type `service_type`.
    ///
    /// `path` is the request's path as it is routed, without query; a path with dot segments is never permitted.
    pub fn permits(&self, service_type: &str, method: &str, path: &str) -> bool {
        self.service == service_type && self.method == method && path_permitted(&self.path, path)
    }
}

/// One step of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Literal(char),
    /// One or more characters other than the slash.
    Segment,
    /// Any characters, also none.
    Anything,
}

fn path_permitted(pattern: &str, path: &str) -> bool {
    if !path.starts_with('/') || path.contains(['?', '#']) || has_dot_segment(path) {
        return false;
    }
    steps(pattern).is_some_and(|steps| matches(&steps, path))
}

/// `.` and `..`, also percent-encoded: whoever resolves them later would see another path than was checked here.
fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| {
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
        decoded == "." || decoded == ".."
    })
}

/// The pattern in steps; `None` for a brace that is never closed or never opened.
fn steps(pattern: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        steps.push(match character {
            '*' if characters.next_if_eq(&'*').is_some() => Step::Anything,
            '*' => Step::Segment,
            '{' => {
                characters.by_ref().find(|inner| *inner == '}')?;
                Step::Segment
            }
            '}' => return None,
            literal => Step::Literal(literal),
        });
    }
    Some(steps)
}

/// Runs all alternatives side by side: `reached[i]` says that the first `i` steps can match what was read so far.
fn matches(steps: &[Step], path: &str) -> bool {
    let mut reached = vec![false; steps.len() + 1];
    mark(&mut reached, steps, 0);
    for character in path.chars() {
        let mut next = vec![false; steps.len() + 1];
        for (position, step) in steps.iter().enumerate() {
            if !reached.get(position).copied().unwrap_or(false) {
                continue;
            }
            match step {
                Step::Literal(literal) if *literal == character => mark(&mut next, steps, position + 1),
                Step::Segment if character != '/' => {
                    mark(&mut next, steps, position);
                    mark(&mut next, steps, position + 1);
                }
                Step::Anything => mark(&mut next, steps, position),
                Step::Literal(_) | Step::Segment => {}
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Marks a position and those reachable from it without reading, because `**` may match nothing.
fn mark(reached: &mut [bool], steps: &[Step], mut position: usize) {
    loop {
        match reached.get_mut(position) {
            Some(flag) if !*flag => *flag = true,
            _ => return,
        }
        if steps.get(position) != Some(&Step::Anything) {
            return;
        }
        position += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(path: &str) -> AccessRule {
        AccessRule { id: None, service: "key-manager".into(), method: "GET".into(), path: path.into() }
    }

    fn permitted(pattern: &str, path: &str) -> bool {
        rule(pattern).permits("key-manager", "GET", path)
    }

    #[test]
    fn service_and_method_must_be_equal() {
        let rule = rule("/v1/secrets");
        assert!(rule.permits("key-manager", "GET", "/v1/secrets"));
        assert!(!rule.permits("object-store", "GET", "/v1/secrets"));
        assert!(!rule.permits("key-manager", "POST", "/v1/secrets"));
        assert!(!rule.permits("key-manager", "get", "/v1/secrets"));
    }

    #[test]
    fn wildcards() {
        for (pattern, path, expected) in [
            ("/v1/secrets/**", "/v1/secrets", false),
            ("/v1/secrets/**", "/v1/secrets/", true),
            ("/v1/secrets/**", "/v1/secrets/a/payload", true),
            ("/v1/secrets/*", "/v1/secrets/a", true),
            ("/v1/secrets/*", "/v1/secrets/a/payload", false),
            ("/v1/secrets/*", "/v1/secrets/", false),
            ("/v1/secrets/{id}/payload", "/v1/secrets/a/payload", true),
            ("/v1/secrets/{id}/payload", "/v1/secrets/a/b/payload", false),
            ("/v1/secrets/{id}/payload", "/v1/secrets//payload", false),
            ("/v1/*s/x", "/v1/keys/x", true),
            ("**", "/anything/at/all", true),
            ("/v1/**/payload", "/v1/secrets/a/payload", true),
            ("/v1/**/payload", "/v1/payload", false),
            ("/v1.0/x", "/v1a0/x", false),
            ("/v1/secrets", "/v1/secrets/", false),
            ("", "/v1", false),
            ("/v1/{id", "/v1/{id", false),
            ("/v1/id}", "/v1/id}", false),
            ("/v1/secrets/**", "/v1/secrets/../orders", false),
            ("/v1/secrets/**", "/v1/secrets/%2E%2e/orders", false),
            ("/v1/secrets/**", "/v1/secrets/./a", false),
            ("/v1/secrets**", "/v1/secrets?limit=1", false),
            ("**", "v1/secrets", false),
        ] {
            assert_eq!(permitted(pattern, path), expected, "pattern {pattern:?}, path {path:?}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = "**a".repeat(300);
        let path = format!("/{}", "a".repeat(2000));
        assert!(permitted(&pattern, &path));
        assert!(!permitted(&format!("{pattern}b"), &path));
    }

    proptest! {
        #[test]
        fn a_pattern_without_wildcards_matches_itself_only(
            path in "(/[a-z0-9-]{1,8}){1,4}", other in "(/[a-z0-9-]{1,8}){1,4}",
        ) {
            prop_assert!(permitted(&path, &path));
            prop_assert_eq!(permitted(&path, &other), path == other);
        }

        #[test]
        fn a_star_in_place_of_a_segment_matches(
            head in "(/[a-z]{1,5}){0,3}", segment in "[a-z0-9%-]{1,9}", tail in "(/[a-z]{1,5}){0,3}",
        ) {
            let path = format!("{head}/{segment}{tail}");
            let starred = format!("{head}/*{tail}");
            let named = format!("{head}/{{name}}{tail}");
            prop_assume!(!has_dot_segment(&path));
            prop_assert!(permitted(&starred, &path));
            prop_assert!(permitted(&named, &path));
            prop_assert!(permitted("**", &path));
        }

        #[test]
        fn any_text_is_survived(pattern in ".{0,40}", path in ".{0,60}") {
            let _ = permitted(&pattern, &path);
        }
    }
}
