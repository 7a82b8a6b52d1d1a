//! Decisions: the default rules, an operator's overrides, refused roles and the network allow-list.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::rules::{Attributes, RuleError, RuleSet, RuleText, Value, Warning};
use crate::error::{Error, Result};
use crate::policy::Caller;

/// A rule that stands unless an operator's `policy.yaml` overrides it.
#[derive(Debug, Clone, Copy)]
pub struct DefaultRule {
    /// Its name.
    pub name: &'static str,
    /// Its text in the rule language.
    pub text: &'static str,
    /// What it decides.
    pub description: &'static str,
}

const fn rule(name: &'static str, text: &'static str, description: &'static str) -> DefaultRule {
    DefaultRule { name, text, description }
}

/// The defaults, in the order in which they are documented.
pub const DEFAULT_RULES: &[DefaultRule] = &[
    rule("service_caller", "role:service and not project_id:None", "A service with a project-scoped token"),
    rule(
        "key_owner",
        "user_id:%(target.key.owner)s and project_id:%(target.key.project_id)s",
        "The service that put the key, in the project it put it from",
    ),
    rule("key:access", "rule:service_caller", "Use the native key API at all"),
    rule("key:create", "rule:service_caller", "Put a key, or have one generated"),
    rule("key:get", "rule:service_caller and rule:key_owner", "Read a key string"),
    rule("key:get_metadata", "rule:service_caller and rule:key_owner", "Read a key's metadata"),
    rule("key:list", "rule:service_caller", "List the caller's own keys"),
    rule("key:update", "rule:service_caller and rule:key_owner", "Replace a key string or change metadata"),
    rule(
        "key:delete",
        "rule:service_caller and rule:key_owner",
        "Delete a key (it can be undeleted within the grace period)",
    ),
    rule("key:undelete", "rule:service_caller and rule:key_owner", "Take a deletion back"),
    rule("key:revoke", "rule:service_caller and rule:key_owner", "Revoke a key"),
];

/// What surrounds the rules.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    /// Roles whose holders are refused in the native key API whatever the rules say; lower case.
    pub refused_roles: Vec<String>,
    /// Networks the native key API may be used from; empty: from everywhere.
    pub networks: Vec<IpNet>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { refused_roles: vec!["compute".to_owned()], networks: Vec::new() }
    }
}

/// The key a rule is about.
#[derive(Debug, Clone, Copy)]
pub struct KeyTarget<'a> {
    /// Who put it.
    pub owner: &'a str,
    /// From which project.
    pub project_id: &'a str,
}

impl Attributes for KeyTarget<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "target.key.owner" => Some(Value::from(self.owner)),
            "target.key.project_id" => Some(Value::from(self.project_id)),
            _ => None,
        }
    }
}

/// A target with nothing in it.
struct NoTarget;

impl Attributes for NoTarget {
    fn value(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

/// The rules in force.
#[derive(Debug)]
pub struct Policy {
    rules: RuleSet,
    config: PolicyConfig,
}

impl Policy {
    /// The defaults with an operator's overrides.
    ///
    /// # Errors
    /// [`RuleError`] naming the rule, the place in it and the reason.
    pub fn build(
        overrides: &BTreeMap<String, RuleText>,
        config: PolicyConfig,
    ) -> std::result::Result<(Self, Vec<Warning>), RuleError> {
        let defaults: Vec<_> = DEFAULT_RULES.iter().map(|rule| (rule.name, rule.text)).collect();
        let (rules, warnings) = RuleSet::build(&defaults, overrides)?;
        Ok((Self { rules, config }, warnings))
    }

    /// The compiled rules, for listing and explaining.
    pub const fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Whether the caller may use the native key API at all: network, refused roles, `key:access`. Asked before anything
    /// is looked up, so that the refusal says nothing about what exists.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with the condition that failed.
    pub fn admit(&self, caller: &Caller) -> Result<()> {
        let networks = &self.config.networks;
        // An address that is not known is in no network.
        let inside =
            caller.address().is_some_and(|address| networks.iter().any(|network| network.contains(&address)));
        if !networks.is_empty() && !inside {
            let address =
                caller.address().map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            return Err(Error::Forbidden {
                reason: format!("address {address} is outside the networks this service may be used from"),
            });
        }
        let roles = |role: &&String| {
            caller.has_role(role) || caller.service().is_some_and(|service| service.roles.contains(role))
        };
        if let Some(role) = self.config.refused_roles.iter().find(roles) {
            return Err(Error::Forbidden { reason: format!("role {role} is refused for keys of services") });
        }
        self.require("key:access", caller, None)
    }

    /// Whether a rule lets the caller do something to a key, or without one.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the rule.
    pub fn require(&self, rule: &str, caller: &Caller, target: Option<KeyTarget<'_>>) -> Result<()> {
        let allowed = match &target {
            Some(target) => self.rules.check(rule, caller, target),
            None => self.rules.check(rule, caller, &NoTarget),
        };
        if allowed {
            Ok(())
        } else {
            Err(Error::Forbidden { reason: format!("rule {rule} does not allow it") })
        }
    }
}
