//! A trust in use: a token that was made under a Keystone trust, together with the token of the service that presents it.
//!
//! Owns the conditions under which the key of a user, project or domain is there for a service that did not put it.
//! Invariant: they hold whatever the rules say, which can only narrow them. Refuses a trust's token without a service's
//! own one, so that a stolen one opens nothing (T-SCOPE-STOLEN), and one that was given to somebody else.

use super::enforce::KeyTarget;
use super::rules::{Attributes, Value};
use super::{Caller, Identity, Trust};
use crate::secret::Scope;

/// Both tokens of a request by a trust.
#[derive(Debug, Clone, Copy)]
pub struct Delegation<'a> {
    /// What the token of the trust proves.
    pub identity: &'a Identity,
    /// The trust.
    pub trust: &'a Trust,
    /// What the service's own token proves.
    pub service: &'a Identity,
}

impl Caller {
    /// The delegation, if the request presents the token of a trust and one of a service.
    pub fn delegation(&self) -> Option<Delegation<'_>> {
        let identity = self.identity();
        Some(Delegation { identity, trust: identity.trust.as_ref()?, service: self.service()? })
    }
}

impl Delegation<'_> {
    /// Whether the service is the one that the trust was given to.
    pub fn is_the_trustees(&self) -> bool {
        !self.service.user_id.is_empty() && self.service.user_id == self.trust.trustee_user_id
    }

    /// Whether the trust speaks for the customer whose key it is: it was made for the project, for a project of the
    /// domain, or by the user.
    pub fn speaks_for(&self, scope: Scope, scope_id: &str) -> bool {
        let found = match scope {
            Scope::Entity => None,
            Scope::User => Some(self.trust.trustor_user_id.as_str()),
            Scope::Project => self.identity.project_id.as_deref(),
            Scope::Domain => self.identity.project_domain_id.as_deref(),
        };
        found == Some(scope_id)
    }
}

/// The credentials that rules see: those of the service, and the trust.
impl Attributes for Delegation<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        let service = self.service;
        match name {
            "user_id" | "service_user_id" => Some(Value::from(service.user_id.as_str())),
            "project_id" | "tenant" => Some(Value::from(service.project_id.as_deref())),
            "project_domain_id" => Some(Value::from(service.project_domain_id.as_deref())),
            "domain_id" => Some(Value::from(service.domain_id.as_deref())),
            "system_scope" => Some(if service.system { Value::from("all") } else { Value::None }),
            "roles" | "service_roles" => Some(Value::List(&service.roles)),
            "is_admin" => Some(Value::Boolean(false)),
            "trust_id" => Some(Value::from(self.trust.id.as_str())),
            _ => None,
        }
    }
}

/// The key of a user, project or domain, and the trust by which it is asked for, as the rule `scope_key:get` sees them.
#[derive(Debug, Clone, Copy)]
pub struct ScopeKeyTarget<'a> {
    /// Who put it.
    pub key: KeyTarget<'a>,
    /// Whether it is a user's, a project's or a domain's.
    pub scope: Scope,
    /// Whose.
    pub scope_id: &'a str,
    /// By which trust.
    pub delegation: Delegation<'a>,
}

impl Attributes for ScopeKeyTarget<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        let Delegation { identity, trust, .. } = self.delegation;
        match name {
            "target.scope_key.scope" => Some(Value::from(self.scope.as_str())),
            "target.scope_key.scope_id" => Some(Value::from(self.scope_id)),
            "target.trust.id" => Some(Value::from(trust.id.as_str())),
            "target.trust.trustor_user_id" => Some(Value::from(trust.trustor_user_id.as_str())),
            "target.trust.trustee_user_id" => Some(Value::from(trust.trustee_user_id.as_str())),
            "target.trust.impersonation" => Some(Value::Boolean(trust.impersonation)),
            "target.trust.project_id" => identity.project_id.as_deref().map(Value::from),
            "target.trust.project_domain_id" => identity.project_domain_id.as_deref().map(Value::from),
            _ => self.key.value(name),
        }
    }
}
