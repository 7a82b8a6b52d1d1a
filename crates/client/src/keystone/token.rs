//! What Keystone says about a token, as types.
//!
//! Owns parsing of the token document. Invariants: a document that is not understood is refused, never half-read;
//! a refusal names the field and never a value. Refuses tokens with two scopes at once.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::catalog::Catalog;
use super::rules::AccessRule;
use crate::secret::SecretText;

/// A domain as Keystone names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Domain {
    /// The domain's id.
    pub id: String,
    /// The domain's name.
    pub name: String,
}

/// The user a token speaks for; of an impersonating trust this is the trustor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub name: String,
    /// The domain the user belongs to.
    pub domain: Domain,
}

/// A project as Keystone names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Project {
    /// The project's id.
    pub id: String,
    /// The project's name.
    pub name: String,
    /// The domain the project belongs to.
    pub domain: Domain,
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenScope {
    /// Nothing but asking Keystone for another token.
    Unscoped,
    /// A project.
    Project(Project),
    /// A domain.
    Domain(Domain),
    /// The whole system.
    System,
}

/// The delegation behind a token (`OS-TRUST:trust`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The trust's id.
    pub id: String,
    /// True when the token's user is the trustor, false when it is the trustee.
    pub impersonation: bool,
    /// Id of the user who delegates.
    pub trustor_user_id: String,
    /// Id of the user who acts.
    pub trustee_user_id: String,
}

/// The application credential behind a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApplicationCredential {
    /// The credential's id.
    pub id: String,
    /// The name its owner gave it.
    #[serde(default)]
    pub name: Option<String>,
    /// True when it may not make further credentials or trusts.
    #[serde(default = "restricted_unless_said")]
    pub restricted: bool,
    /// The only requests it may make; `None` when it has no such limit, an empty list permits nothing.
    #[serde(default)]
    pub access_rules: Option<Vec<AccessRule>>,
}

fn restricted_unless_said() -> bool {
    true
}

impl ApplicationCredential {
    /// True when the credential's rules, if it has any, allow this request; see [`AccessRule::permits`].
    pub fn permits(&self, service_type: &str, method: &str, path: &str) -> bool {
        self.access_rules
            .as_ref()
            .is_none_or(|rules| rules.iter().any(|rule| rule.permits(service_type, method, path)))
    }
}

/// A token Keystone vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedToken {
    /// The user it speaks for.
    pub user: User,
    /// What it is good for.
    pub scope: TokenScope,
    /// The project is itself a domain; Keystone leaves it out for trusts.
    pub is_domain: bool,
    /// Names of the roles within the scope, implied ones included.
    pub roles: Vec<String>,
    /// How the user authenticated: `password`, `application_credential`, `token` …
    pub methods: Vec<String>,
    /// Ids under which Keystone's own audit knows the token; not secret.
    pub audit_ids: Vec<String>,
    /// When Keystone issued it.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The delegation behind it.
    pub trust: Option<Trust>,
    /// The application credential behind it.
    pub application_credential: Option<ApplicationCredential>,
}

/// A token of our own: its text, what it is, and the catalogue that came with it.
pub struct Token {
    /// The token itself.
    pub value: SecretText,
    /// What Keystone says about it.
    pub details: ValidatedToken,
    /// The services it knows.
    pub catalog: Catalog,
    /// When it ends, by this machine's monotonic clock and the lifetime that Keystone states: clocks that differ do no harm.
    pub ends_at: Instant,
}

impl Token {
    /// A token that was issued just now.
    pub(crate) fn issued(value: SecretText, details: ValidatedToken, catalog: Catalog) -> Self {
        let lifetime = Duration::try_from(details.expires_at.duration_since(details.issued_at));
        let now = Instant::now();
        let ends_at = now.checked_add(lifetime.unwrap_or(Duration::ZERO)).unwrap_or(now);
        Self { value, details, catalog, ends_at }
    }

    /// How long it is good from now on.
    pub fn remaining(&self) -> Duration {
        self.ends_at.saturating_duration_since(Instant::now())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Token")
            .field("value", &self.value)
            .field("details", &self.details)
            .finish_non_exhaustive()
    }
}

/// Reads Keystone's token document; the error says which field is wrong, in words that hold nothing of the document.
pub(crate) fn parse(body: &[u8]) -> Result<(ValidatedToken, Catalog), String> {
    // Strings of fields nobody reads would not be looked at.
    let text = std::str::from_utf8(body).map_err(|_| "the document is not text in UTF-8".to_owned())?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let document: Document = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // serde's own message quotes the offending value: only the place and the kind of fault are kept.
        format!("field `{}` is missing or of an unexpected form", error.path())
    })?;
    deserializer.end().map_err(|_| "there is text after the JSON document".to_owned())?;
    let catalog = document.token.catalog.unwrap_or_default();
    let scope = match (document.token.project, document.token.domain, document.token.system) {
        (None, None, None) => TokenScope::Unscoped,
        (Some(project), None, None) => TokenScope::Project(project),
        (None, Some(domain), None) => TokenScope::Domain(domain),
        (None, None, Some(RawSystem { all: true })) => TokenScope::System,
        (None, None, Some(_)) => return Err("field `token.system.all` is not true".to_owned()),
        _ => return Err("the token has more than one scope".to_owned()),
    };
    let details = ValidatedToken {
        user: document.token.user,
        scope,
        is_domain: document.token.is_domain.unwrap_or(false),
        roles: document.token.roles.into_iter().map(|role| role.name).collect(),
        methods: document.token.methods,
        audit_ids: document.token.audit_ids,
        issued_at: document.token.issued_at,
        expires_at: document.token.expires_at,
        trust: document.token.trust.map(|trust| Trust {
            id: trust.id,
            impersonation: trust.impersonation,
            trustor_user_id: trust.trustor_user.id,
            trustee_user_id: trust.trustee_user.id,
        }),
        application_credential: document.token.application_credential,
    };
    Ok((details, catalog))
}

#[derive(Deserialize)]
struct Document {
    token: RawToken,
}

#[derive(Deserialize)]
struct RawToken {
    user: User,
    project: Option<Project>,
    domain: Option<Domain>,
    system: Option<RawSystem>,
    is_domain: Option<bool>,
    #[serde(default)]
    roles: Vec<RawRole>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    audit_ids: Vec<String>,
    issued_at: Timestamp,
    expires_at: Timestamp,
    #[serde(rename = "OS-TRUST:trust")]
    trust: Option<RawTrust>,
    application_credential: Option<ApplicationCredential>,
    catalog: Option<Catalog>,
}

#[derive(Deserialize)]
struct RawSystem {
    all: bool,
}

#[derive(Deserialize)]
struct RawRole {
    name: String,
}

#[derive(Deserialize)]
struct RawTrust {
    id: String,
    impersonation: bool,
    trustor_user: RawId,
    trustee_user: RawId,
}

#[derive(Deserialize)]
struct RawId {
    id: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn project_token() -> Value {
        json!({"token": {
            "audit_ids": ["a1"], "expires_at": "2026-11-23T20:35:04.000000Z", "is_domain": false,
            "issued_at": "2026-11-23T19:35:04.000000Z", "methods": ["password"],
            "project": {"domain": {"id": "default", "name": "Default"}, "id": "PROJECT", "name": "demo"},
            "roles": [{"id": "r1", "name": "reader"}, {"id": "r2", "name": "member"}],
            "user": {"domain": {"id": "default", "name": "Default"}, "id": "USER", "name": "demo",
                     "password_expires_at": null}}})
    }

    fn parsed(document: &Value) -> Result<ValidatedToken, String> {
        parse(document.to_string().as_bytes()).map(|(details, _)| details)
    }

    fn with(change: impl FnOnce(&mut Value)) -> Value {
        let mut document = project_token();
        change(&mut document["token"]);
        document
    }

    #[test]
    fn project_scope() {
        let token = parsed(&project_token()).unwrap();
        assert_eq!(token.roles, ["reader", "member"]);
        assert_eq!(token.user.domain.name, "Default");
        assert!(matches!(&token.scope, TokenScope::Project(project) if project.id == "PROJECT"));
        assert_eq!(token.expires_at.to_string(), "2026-11-23T20:35:04Z");
        assert!(token.trust.is_none() && token.application_credential.is_none());
    }

    #[test]
    fn trust_with_richer_roles_and_without_is_domain() {
        let document = with(|token| {
            token.as_object_mut().unwrap().remove("is_domain");
            token["OS-TRUST:trust"] = json!({"id": "TRUST", "impersonation": true,
                "trustee_user": {"id": "CINDER"}, "trustor_user": {"id": "DEMO"}});
            token["roles"] = json!([{"description": null, "domain_id": null, "id": "r", "name": "member",
                "options": {"immutable": true}}]);
        });
        let trust = parsed(&document).unwrap().trust.unwrap();
        assert_eq!((trust.trustor_user_id.as_str(), trust.trustee_user_id.as_str()), ("DEMO", "CINDER"));
        assert!(trust.impersonation);
    }

    #[test]
    fn application_credential_rules_are_kept_apart_from_no_rules() {
        let rules = with(|token| {
            token["application_credential"] = json!({"id": "AC", "name": "n", "restricted": true, "access_rules":
                [{"id": "1", "method": "GET", "path": "/v1/secrets/**", "service": "key-manager"}]});
        });
        let credential = parsed(&rules).unwrap().application_credential.unwrap();
        assert!(credential.permits("key-manager", "GET", "/v1/secrets/x"));
        assert!(!credential.permits("key-manager", "GET", "/v1/secrets"));
        let none = with(|token| {
            token["application_credential"] = json!({"id": "AC", "name": "n", "restricted": false});
        });
        let credential = parsed(&none).unwrap().application_credential.unwrap();
        assert!(credential.permits("key-manager", "DELETE", "/v1/secrets/x") && !credential.restricted);
        let empty = with(|token| {
            token["application_credential"] = json!({"id": "AC", "name": "n", "access_rules": []});
        });
        let credential = parsed(&empty).unwrap().application_credential.unwrap();
        assert!(!credential.permits("key-manager", "GET", "/v1/secrets/x") && credential.restricted);
    }

    #[test]
    fn other_scopes() {
        let scoped = |change: fn(&mut Value)| {
            with(|token| {
                token.as_object_mut().unwrap().remove("project");
                change(token);
            })
        };
        let system = scoped(|token| token["system"] = json!({"all": true}));
        assert_eq!(parsed(&system).unwrap().scope, TokenScope::System);
        let domain = scoped(|token| token["domain"] = json!({"id": "d", "name": "D"}));
        assert!(matches!(parsed(&domain).unwrap().scope, TokenScope::Domain(_)));
        let unscoped = scoped(|token| {
            token.as_object_mut().unwrap().remove("roles");
        });
        let unscoped = parsed(&unscoped).unwrap();
        assert_eq!(unscoped.scope, TokenScope::Unscoped);
        assert!(unscoped.roles.is_empty());
        let part = scoped(|token| token["system"] = json!({"all": false}));
        assert!(parsed(&part).unwrap_err().contains("system"));
        let both = with(|token| token["system"] = json!({"all": true}));
        assert!(parsed(&both).unwrap_err().contains("more than one scope"));
    }

    #[test]
    fn refusals_name_the_field_and_hold_no_value() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change); 5] = [
            ("token.user", |token| token["user"] = json!("canary")),
            ("token.expires_at", |token| token["expires_at"] = json!("canary")),
            ("token.roles[0].name", |token| token["roles"][0]["name"] = json!({"canary": 1})),
            ("token.project.domain", |token| token["project"]["domain"] = json!("canary")),
            ("token", |token| {
                token.as_object_mut().unwrap().remove("user");
            }),
        ];
        for (field, change) in cases {
            let message = parsed(&with(change)).unwrap_err();
            assert!(message.contains(field), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
        for body in ["", "null", "[]", "{}", "<html>canary</html>", "{\"token\":{}} canary"] {
            assert!(!parse(body.as_bytes()).unwrap_err().contains("canary"), "{body}");
        }
        let unread = project_token().to_string().replace("reader", "r").replace("\"r1\"", "\"\u{1}\"");
        let unread = unread.bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect::<Vec<_>>();
        assert!(parse(&unread).unwrap_err().contains("UTF-8"), "also in a field that is not read");
        let trailing = format!("{} x", project_token());
        assert!(parse(trailing.as_bytes()).is_err());
    }

    #[test]
    fn every_cut_of_the_document_is_refused() {
        let whole = project_token().to_string();
        for end in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }
}
