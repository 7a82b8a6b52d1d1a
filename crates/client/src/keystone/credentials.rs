//! Who authenticates, and for what scope.
//!
//! Owns the body of Keystone's `POST /v3/auth/tokens`. The body holds a password or secret, so it is serialized
//! straight from borrowed text into a buffer that is wiped when the request is gone.

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// A domain, by id or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainReference {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// A user, by id or by name within a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserReference {
    /// By id.
    Id(String),
    /// By name.
    Name {
        /// The user's name.
        name: String,
        /// The domain the name belongs to.
        domain: DomainReference,
    },
}

/// An application credential, by id or by name of one of a user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicationCredentialReference {
    /// By id.
    Id(String),
    /// By name.
    Name {
        /// The credential's name.
        name: String,
        /// Whose it is.
        user: UserReference,
    },
}

/// A project, by id or by name within a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectReference {
    /// By id.
    Id(String),
    /// By name.
    Name {
        /// The project's name.
        name: String,
        /// The domain the name belongs to.
        domain: DomainReference,
    },
}

/// What proves who is asking.
#[derive(Debug)]
pub enum Credentials {
    /// A user and a password.
    Password {
        /// The user.
        user: UserReference,
        /// The password.
        password: SecretText,
    },
    /// An application credential, which carries its own project: only [`Scope::Default`] goes with it.
    ApplicationCredential {
        /// The credential.
        credential: ApplicationCredentialReference,
        /// Its secret.
        secret: SecretText,
    },
    /// An earlier token; the new one expires no later.
    Token(SecretText),
}

/// What the token shall be good for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// Whatever Keystone gives: the user's default project, or the application credential's.
    #[default]
    Default,
    /// Explicitly nothing.
    Unscoped,
    /// A project.
    Project(ProjectReference),
    /// A domain.
    Domain(DomainReference),
    /// The whole system.
    System,
    /// What a trust with this id delegates.
    Trust(String),
}

impl Credentials {
    /// Who this is, in words for messages: names and ids, no secret.
    pub fn describe(&self) -> String {
        match self {
            Self::Password { user, .. } => describe_user(user),
            Self::ApplicationCredential { credential, .. } => match credential {
                ApplicationCredentialReference::Id(id) => format!("application credential `{id}`"),
                ApplicationCredentialReference::Name { name, user } => {
                    format!("application credential `{name}` of {}", describe_user(user))
                }
            },
            Self::Token(_) => "the configured token".to_owned(),
        }
    }

    /// The whole authentication request in JSON.
    pub(crate) fn request_body(&self, scope: &Scope) -> Option<Bytes> {
        let request = AuthenticationRequest {
            auth: Authentication { identity: Identity::of(self), scope: scope_body(scope) },
        };
        // Reserved at once, so that no half-written copy of a password stays behind in a grown buffer.
        let mut buffer = Zeroizing::new(Vec::with_capacity(16 << 10));
        serde_json::to_writer(&mut *buffer, &request).ok()?;
        Some(Bytes::from_owner(buffer))
    }
}

fn describe_user(user: &UserReference) -> String {
    match user {
        UserReference::Id(id) => format!("the user with id `{id}`"),
        UserReference::Name { name, domain: DomainReference::Id(domain) } => {
            format!("user `{name}` of the domain with id `{domain}`")
        }
        UserReference::Name { name, domain: DomainReference::Name(domain) } => {
            format!("user `{name}` of domain `{domain}`")
        }
    }
}

#[derive(Serialize)]
struct AuthenticationRequest<'a> {
    auth: Authentication<'a>,
}

#[derive(Serialize)]
struct Authentication<'a> {
    identity: Identity<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ScopeBody<'a>>,
}

#[derive(Serialize)]
struct Identity<'a> {
    methods: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<PasswordMethod<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_credential: Option<ApplicationCredentialMethod<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenMethod<'a>>,
}

#[derive(Serialize)]
struct PasswordMethod<'a> {
    user: UserBody<'a>,
}

#[derive(Serialize)]
struct ApplicationCredentialMethod<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserBody<'a>>,
    secret: &'a str,
}

#[derive(Serialize)]
struct TokenMethod<'a> {
    id: &'a str,
}

/// A user or project: an id, or a name in a domain.
#[derive(Serialize, Default)]
struct UserBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<DomainBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum DomainBody<'a> {
    Id(&'a str),
    Name(&'a str),
}

#[derive(Serialize)]
enum ScopeBody<'a> {
    #[serde(rename = "project")]
    Project(UserBody<'a>),
    #[serde(rename = "domain")]
    Domain(DomainBody<'a>),
    #[serde(rename = "system")]
    System { all: bool },
    #[serde(rename = "OS-TRUST:trust")]
    Trust { id: &'a str },
    #[serde(rename = "unscoped")]
    Unscoped,
}

impl<'a> Identity<'a> {
    fn of(credentials: &'a Credentials) -> Self {
        let none = Self { methods: [""], password: None, application_credential: None, token: None };
        match credentials {
            Credentials::Password { user, password } => {
                let user = UserBody { password: Some(password.expose()), ..user_body(user) };
                Self { methods: ["password"], password: Some(PasswordMethod { user }), ..none }
            }
            Credentials::ApplicationCredential { credential, secret } => {
                let secret = secret.expose();
                let method = match credential {
                    ApplicationCredentialReference::Id(id) => {
                        ApplicationCredentialMethod { id: Some(id), name: None, user: None, secret }
                    }
                    ApplicationCredentialReference::Name { name, user } => ApplicationCredentialMethod {
                        id: None,
                        name: Some(name),
                        user: Some(user_body(user)),
                        secret,
                    },
                };
                Self { methods: ["application_credential"], application_credential: Some(method), ..none }
            }
            Credentials::Token(token) => {
                Self { methods: ["token"], token: Some(TokenMethod { id: token.expose() }), ..none }
            }
        }
    }
}

fn user_body(user: &UserReference) -> UserBody<'_> {
    match user {
        UserReference::Id(id) => UserBody { id: Some(id), ..UserBody::default() },
        UserReference::Name { name, domain } => {
            UserBody { name: Some(name), domain: Some(domain_body(domain)), ..UserBody::default() }
        }
    }
}

fn domain_body(domain: &DomainReference) -> DomainBody<'_> {
    match domain {
        DomainReference::Id(id) => DomainBody::Id(id),
        DomainReference::Name(name) => DomainBody::Name(name),
    }
}

fn scope_body(scope: &Scope) -> Option<ScopeBody<'_>> {
    Some(match scope {
        Scope::Default => return None,
        Scope::Unscoped => ScopeBody::Unscoped,
        Scope::Project(ProjectReference::Id(id)) => {
            ScopeBody::Project(UserBody { id: Some(id), ..UserBody::default() })
        }
        Scope::Project(ProjectReference::Name { name, domain }) => ScopeBody::Project(UserBody {
            name: Some(name),
            domain: Some(domain_body(domain)),
            ..UserBody::default()
        }),
        Scope::Domain(domain) => ScopeBody::Domain(domain_body(domain)),
        Scope::System => ScopeBody::System { all: true },
        Scope::Trust(id) => ScopeBody::Trust { id },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(credentials: &Credentials, scope: &Scope) -> Value {
        serde_json::from_slice(&credentials.request_body(scope).unwrap()).unwrap()
    }

    fn demo() -> UserReference {
        UserReference::Name { name: "demo".into(), domain: DomainReference::Id("default".into()) }
    }

    #[test]
    fn password_with_every_scope() {
        let credentials = Credentials::Password { user: demo(), password: SecretText::new("pw") };
        let identity = json!({"methods": ["password"], "password": {"user":
            {"name": "demo", "domain": {"id": "default"}, "password": "pw"}}});
        assert_eq!(body(&credentials, &Scope::Default), json!({"auth": {"identity": identity}}));
        let project =
            ProjectReference::Name { name: "demo".into(), domain: DomainReference::Name("Default".into()) };
        for (scope, expected) in [
            (Scope::Unscoped, json!("unscoped")),
            (Scope::Project(project), json!({"project": {"name": "demo", "domain": {"name": "Default"}}})),
            (Scope::Project(ProjectReference::Id("p1".into())), json!({"project": {"id": "p1"}})),
            (Scope::Domain(DomainReference::Id("d1".into())), json!({"domain": {"id": "d1"}})),
            (Scope::System, json!({"system": {"all": true}})),
            (Scope::Trust("t1".into()), json!({"OS-TRUST:trust": {"id": "t1"}})),
        ] {
            assert_eq!(
                body(&credentials, &scope),
                json!({"auth": {"identity": identity, "scope": expected}})
            );
        }
    }

    #[test]
    fn application_credentials_by_id_and_by_name() {
        let by_id = Credentials::ApplicationCredential {
            credential: ApplicationCredentialReference::Id("ac".into()),
            secret: SecretText::new("s"),
        };
        assert_eq!(
            body(&by_id, &Scope::Default)["auth"]["identity"],
            json!({"methods": ["application_credential"], "application_credential": {"id": "ac", "secret": "s"}})
        );
        let by_name = Credentials::ApplicationCredential {
            credential: ApplicationCredentialReference::Name {
                name: "backup".into(),
                user: UserReference::Id("u1".into()),
            },
            secret: SecretText::new("s"),
        };
        assert_eq!(
            body(&by_name, &Scope::Default)["auth"]["identity"]["application_credential"],
            json!({"name": "backup", "user": {"id": "u1"}, "secret": "s"})
        );
    }

    #[test]
    fn token_method() {
        let credentials = Credentials::Token(SecretText::new("gAAA"));
        assert_eq!(
            body(&credentials, &Scope::Default)["auth"]["identity"],
            json!({"methods": ["token"], "token": {"id": "gAAA"}})
        );
    }

    #[test]
    fn descriptions_and_debug_hold_no_secret() {
        let all = [
            Credentials::Password { user: demo(), password: SecretText::new("canary") },
            Credentials::ApplicationCredential {
                credential: ApplicationCredentialReference::Name { name: "n".into(), user: demo() },
                secret: SecretText::new("canary"),
            },
            Credentials::Token(SecretText::new("canary")),
        ];
        for credentials in all {
            assert!(!format!("{credentials:?} {}", credentials.describe()).contains("canary"));
        }
    }
}
