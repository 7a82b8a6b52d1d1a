//! Decisions: the default rules, an operator's overrides, refused roles and the network allow-list.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::rules::{Attributes, RuleError, RuleSet, RuleText, Value, Warning};
use crate::error::{Error, Result};
use crate::policy::{Caller, Delegation};

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

pub(super) const fn rule(name: &'static str, text: &'static str, description: &'static str) -> DefaultRule {
    DefaultRule { name, text, description }
}

/// The rules of the native key API.
const NATIVE_RULES: &[DefaultRule] = &[
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
    rule(
        "identity_service",
        "rule:service_caller and role:identity_service",
        "The identity service, to which the keys of users, projects and domains belong",
    ),
    rule("scope_key:create", "rule:identity_service", "Put the key of a user, a project or a domain"),
    rule("scope_key:list", "rule:identity_service", "List the own keys of users, projects and domains"),
    rule(
        "scope_key:get",
        "rule:service_caller",
        "Read the key of a user, project or domain by a trust; asked of the service the trust was given to",
    ),
    rule("encryption_default_admin", "rule:admin", "An administrator of everybody's encryption defaults"),
    rule(
        "encryption_default_own",
        "(user_id:%(target.encryption_default.user_id)s and trust_id:None) or ((role:admin or role:manager) and \
         (project_id:%(target.encryption_default.project_id)s or \
         domain_id:%(target.encryption_default.domain_id)s))",
        "The user in person, or an administrator or manager of the project or domain, whose default it is",
    ),
    rule(
        "encryption_default:get",
        "rule:encryption_default_admin or rule:encryption_default_own",
        "Read the encryption default of a user, project or domain",
    ),
    rule(
        "encryption_default:put",
        "rule:encryption_default_admin or rule:encryption_default_own",
        "Set the encryption default of a user, project or domain",
    ),
    rule(
        "encryption_default:delete",
        "rule:encryption_default_admin or rule:encryption_default_own",
        "Remove the encryption default of a user, project or domain",
    ),
    rule(
        "encryption_default:get_effective",
        "rule:service_caller or rule:encryption_default_admin or True:%(target.encryption_default.own)s",
        "Read which encryption default is in force for somebody: services for everybody, others for themselves",
    ),
    rule(
        "attestation:join",
        "rule:service_caller or rule:admin",
        "Ask for the master keys on behalf of an enrolled host, which has to prove itself besides",
    ),
    rule("operator:list_secrets", "rule:admin", "List secrets of all projects, without their payloads"),
    rule("operator:get_secret", "rule:admin", "Look at any secret, without its payload"),
    rule("operator:undelete_secret", "rule:admin", "Take back the deletion of any secret"),
    rule("operator:purge_secret", "rule:admin", "Destroy any deleted secret before its grace period is over"),
];

/// Which default rules stand for Barbican's interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleDefaults {
    /// The roles admin, member and reader.
    #[default]
    Secure,
    /// The roles of older clouds: creator, observer, audit, key-manager:service-admin.
    Legacy,
}

/// The defaults, in the order in which they are documented.
pub fn default_rules(set: RuleDefaults) -> impl Iterator<Item = DefaultRule> {
    let legacy = set == RuleDefaults::Legacy;
    // Where older roles are used, an admin is one of a project; administrators of all have a role of their own.
    let native = NATIVE_RULES.iter().map(move |rule| match rule.name {
        name if legacy && name.starts_with("operator:") => {
            DefaultRule { text: "rule:service_admin", ..*rule }
        }
        "encryption_default_admin" if legacy => DefaultRule { text: "rule:service_admin", ..*rule },
        "attestation:join" if legacy => {
            DefaultRule { text: "rule:service_caller or rule:service_admin", ..*rule }
        }
        _ => *rule,
    });
    native.chain(super::barbican::HELPERS.iter().copied()).chain(super::barbican::rules(legacy))
}

/// What surrounds the rules.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    /// The default rules of Barbican's interface.
    pub defaults: RuleDefaults,
    /// Roles whose holders are refused in the native key API whatever the rules say; lower case.
    pub refused_roles: Vec<String>,
    /// Networks the native key API may be used from; empty: from everywhere.
    pub networks: Vec<IpNet>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            defaults: RuleDefaults::Secure,
            refused_roles: vec!["compute".to_owned()],
            networks: Vec::new(),
        }
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

/// What a rule of Barbican's interface is about, under the names its rules use: `target.secret.project_id` and so on.
#[derive(Debug, Clone, Copy)]
pub struct ObjectTarget<'a> {
    /// `secret`, `container` or `order`.
    pub noun: &'static str,
    /// The project it belongs to.
    pub project_id: &'a str,
    /// The user that made it.
    pub creator_id: &'a str,
    /// Whether its access list leaves reading to the whole project.
    pub read_project_access: bool,
    /// Whether its access list names the caller.
    pub listed: bool,
}

impl Attributes for ObjectTarget<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        match name.strip_prefix("target.")?.strip_prefix(self.noun)?.strip_prefix('.')? {
            "project_id" => Some(Value::from(self.project_id)),
            "creator_id" => Some(Value::from(self.creator_id)),
            "read_project_access" => Some(Value::Boolean(self.read_project_access)),
            "read" => self.listed.then(|| Value::from("read")),
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
        let defaults: Vec<_> = default_rules(config.defaults).map(|rule| (rule.name, rule.text)).collect();
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
        self.admit_from(caller)?;
        self.require("key:access", caller, None)
    }

    /// The same for one that comes by a trust: the service it was given to is asked about, with its own token.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with the condition that failed.
    pub fn admit_delegate(&self, caller: &Caller, delegation: &Delegation<'_>) -> Result<()> {
        self.admit_from(caller)?;
        self.require_of("key:access", delegation, &NoTarget)
    }

    /// Whether the caller comes from an allowed network and has no role that is refused whatever the rules say.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with the condition that failed.
    pub fn admit_from(&self, caller: &Caller) -> Result<()> {
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
        Ok(())
    }

    /// Whether a rule lets the caller do something to a key, or without one.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the rule.
    pub fn require(&self, rule: &str, caller: &Caller, target: Option<KeyTarget<'_>>) -> Result<()> {
        match &target {
            Some(target) => self.require_on(rule, caller, target),
            None => self.require_on(rule, caller, &NoTarget),
        }
    }

    /// Whether a rule lets the caller do something to `target`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the rule.
    pub fn require_on(&self, rule: &str, caller: &Caller, target: &impl Attributes) -> Result<()> {
        self.require_of(rule, caller, target)
    }

    /// Whether a rule lets whoever has these credentials do something to `target`: a caller, or the service that a trust
    /// was given to.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the rule.
    pub(crate) fn require_of(
        &self,
        rule: &str,
        credentials: &impl Attributes,
        target: &impl Attributes,
    ) -> Result<()> {
        if self.rules.check(rule, credentials, target) {
            Ok(())
        } else {
            Err(Error::Forbidden { reason: format!("rule {rule} does not allow it") })
        }
    }
}
