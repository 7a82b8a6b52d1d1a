//! A caller that exists in words only, to try rules with.
//!
//! It answers to the names that the real caller answers to, and to no others; a test compares the two.

use chatelaine_core::policy::rules::{Attributes, Value};

/// Who one pretends to be.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Caller")]
pub(super) struct DescribedCaller {
    /// A role the caller has; may be given several times
    #[arg(long = "role", value_name = "NAME")]
    roles: Vec<String>,
    /// The caller's user id
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// The project the token is scoped to
    #[arg(long, value_name = "ID")]
    project_id: Option<String>,
    /// The domain of that project
    #[arg(long, value_name = "ID")]
    project_domain_id: Option<String>,
    /// The domain the token is scoped to
    #[arg(long, value_name = "ID")]
    domain_id: Option<String>,
    /// The token is scoped to the whole system
    #[arg(long)]
    system: bool,
    /// The trust the token was made under
    #[arg(long, value_name = "ID")]
    trust_id: Option<String>,
    /// The user id of the service that vouches with a token of its own
    #[arg(long, value_name = "ID")]
    service_user_id: Option<String>,
    /// A role of that service; may be given several times
    #[arg(long = "service-role", value_name = "NAME", requires = "service_user_id")]
    service_roles: Vec<String>,
}

impl DescribedCaller {
    /// With its roles as identity writes them.
    pub(super) fn in_lower_case(&self) -> Self {
        let lower = |roles: &[String]| roles.iter().map(|role| role.to_lowercase()).collect();
        Self { roles: lower(&self.roles), service_roles: lower(&self.service_roles), ..self.clone() }
    }
}

impl Attributes for DescribedCaller {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "user_id" => Some(Value::from(self.user_id.as_deref())),
            "project_id" | "tenant" => Some(Value::from(self.project_id.as_deref())),
            "project_domain_id" => Some(Value::from(self.project_domain_id.as_deref())),
            "domain_id" => Some(Value::from(self.domain_id.as_deref())),
            "system_scope" => Some(if self.system { Value::from("all") } else { Value::None }),
            "roles" => Some(Value::List(&self.roles)),
            "is_admin" => Some(Value::Boolean(false)),
            "service_user_id" => Some(Value::from(self.service_user_id.as_deref())),
            "service_roles" => self.service_user_id.as_ref().map(|_| Value::List(&self.service_roles)),
            "trust_id" => Some(Value::from(self.trust_id.as_deref())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
