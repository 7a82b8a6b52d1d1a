//! The authenticated caller of one request.

use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::RequestId;
use crate::policy::rules::{Attributes, Value};

/// A Keystone delegation (OS-TRUST) under which a token was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The trust's id.
    pub id: String,
    /// Who delegated.
    pub trustor_user_id: String,
    /// Who acts.
    pub trustee_user_id: String,
    /// Whether the token speaks as the trustor.
    pub impersonation: bool,
}

/// What a token proves, the same for every request that carries it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub user_id: String,
    /// The user's name, for people.
    pub user_name: String,
    /// The project the token is scoped to.
    pub project_id: Option<String>,
    /// The domain of that project.
    pub project_domain_id: Option<String>,
    /// The domain the token is scoped to.
    pub domain_id: Option<String>,
    /// Whether it is scoped to the whole system.
    pub system: bool,
    /// Role names in lower case.
    pub roles: Vec<String>,
    /// The delegation, for a trust-scoped token.
    pub trust: Option<Trust>,
    /// The application credential's id, when the token was made with one.
    pub application_credential_id: Option<String>,
    /// When the token ends; `None` for static tokens.
    pub expires_at: Option<Timestamp>,
}

/// An authenticated user, with roles and scope, making one request from one address.
#[derive(Debug, Clone)]
pub struct Caller {
    identity: Arc<Identity>,
    service: Option<Arc<Identity>>,
    address: Option<IpAddr>,
    request_id: RequestId,
}

impl Caller {
    /// States that `identity` has been authenticated. For the server's identity module alone.
    pub const fn authenticated(
        identity: Arc<Identity>,
        service: Option<Arc<Identity>>,
        address: Option<IpAddr>,
        request_id: RequestId,
    ) -> Self {
        Self { identity, service, address, request_id }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The service that vouches for the request with its own token, if one does.
    pub fn service(&self) -> Option<&Identity> {
        self.service.as_deref()
    }

    /// Where the request came from, if from a network.
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The request.
    pub const fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Whether the caller has a role; `role` in lower case.
    pub fn has_role(&self, role: &str) -> bool {
        self.identity.roles.iter().any(|own| own == role)
    }

    /// The initiator of audit events.
    pub fn initiator(&self) -> crate::audit::Initiator {
        crate::audit::Initiator {
            user: self.identity.user_id.clone(),
            project: self.identity.project_id.clone(),
            service: self.service.as_ref().map(|service| service.user_id.clone()),
            trust: self.identity.trust.as_ref().map(|trust| crate::audit::TrustUsed {
                id: trust.id.clone(),
                trustor: trust.trustor_user_id.clone(),
                trustee: trust.trustee_user_id.clone(),
            }),
            address: self.address.map(|address| address.to_string()),
        }
    }
}

/// The credentials that rules see, under oslo.context's names.
impl Attributes for Caller {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        let identity = &*self.identity;
        match name {
            "user_id" => Some(Value::from(identity.user_id.as_str())),
            "project_id" | "tenant" => Some(Value::from(identity.project_id.as_deref())),
            "project_domain_id" => Some(Value::from(identity.project_domain_id.as_deref())),
            "domain_id" => Some(Value::from(identity.domain_id.as_deref())),
            "system_scope" => Some(if identity.system { Value::from("all") } else { Value::None }),
            "roles" => Some(Value::List(&identity.roles)),
            "is_admin" => Some(Value::Boolean(false)),
            "service_user_id" => {
                Some(Value::from(self.service.as_ref().map(|service| service.user_id.as_str())))
            }
            "service_roles" => self.service.as_ref().map(|service| Value::List(&service.roles)),
            "trust_id" => Some(Value::from(identity.trust.as_ref().map(|trust| trust.id.as_str()))),
            _ => None,
        }
    }
}
