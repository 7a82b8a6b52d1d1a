//! Credentials as OpenStack's users have them: `OS_*` variables and `clouds.yaml`.
//!
//! Owns the rules of which source wins: a cloud named by the caller or by `OS_CLOUD` comes from the files and the
//! `OS_*` credentials are ignored; else the `OS_*` credentials; else the only cloud of `clouds.yaml`. The endpoint
//! override may come from the environment in every case, and so may region, interface and CA file where the cloud's
//! entry says nothing of them. Invariants: the environment is handed in, never read here;
//! an empty variable counts as unset; errors name the variable or field to set and never quote a value of a file.
//! Refuses what it would have to guess: several clouds without a name, two scopes at once, unknown authentication
//! types, vendor profiles.

mod error;
mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use error::CloudsError;

use crate::http::Authentication;
use crate::keystone::{
    ApplicationCredentialReference, Credentials, DomainReference, Interface, Keystone, KeystoneConfig,
    ProjectReference, Scope, UserReference,
};
use crate::secret::SecretText;
use crate::transport::{ClientCertificate, SetupError, TransportOptions};
use error::Origin;
use settings::{AuthSettings, CloudSettings};

/// What the command line adds; everything is optional.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The cloud's name (`--os-cloud`); stronger than `OS_CLOUD`.
    pub cloud: Option<String>,
    /// The key manager's endpoint; stronger than every other source.
    pub endpoint: Option<String>,
    /// The region; stronger than every other source.
    pub region: Option<String>,
    /// The interface; stronger than every other source.
    pub interface: Option<Interface>,
    /// Where `./clouds.yaml` is looked for; the process's working directory when empty.
    pub working_folder: PathBuf,
}

/// How to authenticate with a cloud.
#[derive(Debug)]
pub enum CloudAuthentication {
    /// Without a token.
    Anonymous,
    /// With a fixed token.
    StaticToken(SecretText),
    /// With tokens of Keystone.
    Keystone {
        /// Keystone's address.
        auth_url: String,
        /// Who we are.
        credentials: Credentials,
        /// What for.
        scope: Scope,
    },
}

/// A cloud, ready to be used.
#[derive(Debug)]
pub struct Cloud {
    /// Its name in `clouds.yaml`; `None` when it comes from the environment.
    pub name: Option<String>,
    /// How to authenticate.
    pub authentication: CloudAuthentication,
    /// The key manager's endpoint, when it is not to be looked up in Keystone's catalogue.
    pub endpoint: Option<String>,
    /// The region to look in.
    pub region: Option<String>,
    /// The interface to look for.
    pub interface: Interface,
    /// A PEM file of the certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
    /// A client certificate to present.
    pub client_certificate: Option<ClientCertificate>,
}

impl Cloud {
    /// `base` with this cloud's trust settings.
    pub fn transport_options(&self, base: &TransportOptions) -> TransportOptions {
        TransportOptions {
            ca_file: self.ca_file.clone(),
            insecure: self.insecure,
            client_certificate: self.client_certificate.clone(),
            ..base.clone()
        }
    }

    /// The cloud as a session's authentication; connections to Keystone are made with `options`.
    pub fn into_authentication(self, options: &TransportOptions) -> Result<Authentication, SetupError> {
        Ok(match self.authentication {
            CloudAuthentication::Anonymous => Authentication::Anonymous,
            CloudAuthentication::StaticToken(token) => Authentication::StaticToken(token),
            CloudAuthentication::Keystone { auth_url, credentials, scope } => {
                let config = KeystoneConfig { auth_url, credentials, scope, transport: options.clone() };
                Authentication::Keystone(std::sync::Arc::new(Keystone::new(config)?))
            }
        })
    }
}

/// The variables this module looks at, wiped when dropped.
pub(crate) struct Environment(BTreeMap<String, SecretText>);

impl Environment {
    fn collect(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let wanted = |name: &str| {
            name.starts_with("OS_") || matches!(name, "CHATELAINE_ENDPOINT" | "HOME" | "XDG_CONFIG_HOME")
        };
        Self(
            variables
                .into_iter()
                .filter(|(name, value)| wanted(name) && !value.is_empty())
                .map(|(name, value)| (name, SecretText::new(value)))
                .collect(),
        )
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.expose().to_owned())
    }

    pub(crate) fn take_secret(&mut self, name: &str) -> Option<SecretText> {
        self.0.remove(name)
    }
}

/// Finds the cloud to use from the environment's variables, the files and the command line's choice.
pub fn resolve(
    environment: impl IntoIterator<Item = (String, String)>,
    choice: &Choice,
) -> Result<Cloud, CloudsError> {
    let mut environment = Environment::collect(environment);
    let endpoint = choice
        .endpoint
        .clone()
        .or_else(|| environment.text("CHATELAINE_ENDPOINT"))
        .or_else(|| environment.text("OS_KEY_MANAGER_ENDPOINT_OVERRIDE"));
    let named = choice.cloud.clone().or_else(|| environment.text("OS_CLOUD"));
    let (mut settings, origin) = match named {
        Some(name) => files::named_cloud(&environment, &choice.working_folder, &name)?,
        None => match CloudSettings::from_environment(&mut environment)? {
            settings if settings.auth.names_anyone() || settings.auth_type.is_some() => {
                (settings, Origin::Environment)
            }
            _ => files::only_cloud(&environment, &choice.working_folder)?,
        },
    };
    if matches!(origin, Origin::File { .. }) {
        settings.complete(&environment)?;
    }
    let mut cloud = interpret(settings, &origin)?;
    cloud.endpoint = endpoint.or(cloud.endpoint);
    cloud.region = choice.region.clone().or(cloud.region);
    cloud.interface = choice.interface.unwrap_or(cloud.interface);
    for path in [&mut cloud.ca_file].into_iter().filter_map(Option::as_mut).chain(
        cloud
            .client_certificate
            .iter_mut()
            .flat_map(|files| std::iter::once(&mut files.certificate).chain(files.key.as_mut())),
    ) {
        files::expand_home(path, &environment);
    }
    Ok(cloud)
}

/// How a cloud wants to be authenticated with, once `auth_type` is understood.
enum Method {
    Password,
    ApplicationCredential,
    Token,
    StaticToken,
    None,
}

fn interpret(settings: CloudSettings, origin: &Origin) -> Result<Cloud, CloudsError> {
    if settings.profile.is_some() {
        return Err(
            origin.refuse("profile", "vendor profiles are not supported; write auth_url and the rest out")
        );
    }
    let interface = match &settings.interface {
        None => Interface::default(),
        Some(text) => Interface::parse(text).ok_or_else(|| settings::unknown_interface(origin))?,
    };
    if settings.key.is_some() && settings.cert.is_none() {
        return Err(origin.missing("cert", "the certificate that belongs to the key"));
    }
    let client_certificate = settings.cert.map(|certificate| ClientCertificate {
        certificate: certificate.into(),
        key: settings.key.map(PathBuf::from),
    });
    let method = method(settings.auth_type.as_deref(), &settings.auth, origin)?;
    let endpoint = settings.key_manager_endpoint_override.or_else(|| match method {
        Method::StaticToken | Method::None => settings.auth.endpoint.clone(),
        _ => None,
    });
    let authentication = match method {
        Method::None => match settings.auth.token {
            Some(token) => CloudAuthentication::StaticToken(token),
            None => CloudAuthentication::Anonymous,
        },
        Method::StaticToken => {
            let token = settings.auth.token.ok_or_else(|| origin.missing("token", "the token"))?;
            CloudAuthentication::StaticToken(token)
        }
        method => keystone_authentication(&method, settings.auth, origin)?,
    };
    let region = settings.region_name.or_else(|| settings.regions.into_iter().flatten().next().map(|r| r.0));
    Ok(Cloud {
        name: origin.cloud().map(str::to_owned),
        authentication,
        endpoint,
        region,
        interface,
        ca_file: settings.cacert.map(PathBuf::from),
        insecure: settings.insecure.unwrap_or(false) || settings.verify == Some(false),
        client_certificate,
    })
}

fn method(auth_type: Option<&str>, auth: &AuthSettings, origin: &Origin) -> Result<Method, CloudsError> {
    Ok(match auth_type {
        Some("password" | "v3password") => Method::Password,
        Some("v3applicationcredential") => Method::ApplicationCredential,
        Some("token" | "v3token") => Method::Token,
        Some("admin_token") => Method::StaticToken,
        Some("none") => Method::None,
        Some(_) => {
            return Err(origin.refuse(
                "auth_type",
                "must be one of password, v3password, v3applicationcredential, token, v3token, admin_token, none",
            ));
        }
        None if auth.application_credential_secret.is_some() => Method::ApplicationCredential,
        None if auth.password.is_some() => Method::Password,
        None if auth.token.is_some() && auth.auth_url.is_none() => Method::StaticToken,
        None if auth.token.is_some() => Method::Token,
        None => Method::Password,
    })
}

fn keystone_authentication(
    method: &Method,
    mut auth: AuthSettings,
    origin: &Origin,
) -> Result<CloudAuthentication, CloudsError> {
    let auth_url = auth.auth_url.take().ok_or_else(|| origin.missing("auth_url", "Keystone's address"))?;
    let scope = scope(&auth, origin)?;
    let credentials = match method {
        Method::ApplicationCredential => {
            if scope != Scope::Default {
                return Err(origin.refuse(
                    "auth_type",
                    "an application credential carries its own project: remove the project, domain, system or trust beside it",
                ));
            }
            let secret = auth.application_credential_secret.take().ok_or_else(|| {
                origin.missing("application_credential_secret", "the application credential's secret")
            })?;
            Credentials::ApplicationCredential { credential: application_credential(&auth, origin)?, secret }
        }
        Method::Token => {
            Credentials::Token(auth.token.take().ok_or_else(|| origin.missing("token", "the token"))?)
        }
        _ => Credentials::Password {
            user: user(&auth, origin)?,
            password: auth
                .password
                .take()
                .ok_or_else(|| origin.missing("password", "the user's password"))?,
        },
    };
    Ok(CloudAuthentication::Keystone { auth_url, credentials, scope })
}

fn application_credential(
    auth: &AuthSettings,
    origin: &Origin,
) -> Result<ApplicationCredentialReference, CloudsError> {
    match (&auth.application_credential_id, &auth.application_credential_name) {
        (Some(id), _) => Ok(ApplicationCredentialReference::Id(id.clone())),
        (None, Some(name)) => {
            Ok(ApplicationCredentialReference::Name { name: name.clone(), user: user(auth, origin)? })
        }
        (None, None) => Err(origin
            .missing("application_credential_id", "the application credential's id (or its name and user)")),
    }
}

fn user(auth: &AuthSettings, origin: &Origin) -> Result<UserReference, CloudsError> {
    if let Some(id) = &auth.user_id {
        return Ok(UserReference::Id(id.clone()));
    }
    let name = auth.username.clone().ok_or_else(|| origin.missing("username", "the user's name"))?;
    let domain = domain(&auth.user_domain_id, &auth.user_domain_name)
        .or_else(|| domain(&auth.default_domain_id, &auth.default_domain_name))
        .ok_or_else(|| origin.missing("user_domain_name", "the domain the user's name belongs to"))?;
    Ok(UserReference::Name { name, domain })
}

fn domain(id: &Option<String>, name: &Option<String>) -> Option<DomainReference> {
    id.clone().map(DomainReference::Id).or_else(|| name.clone().map(DomainReference::Name))
}

fn scope(auth: &AuthSettings, origin: &Origin) -> Result<Scope, CloudsError> {
    let project = match (&auth.project_id, &auth.project_name) {
        (Some(id), _) => Some(ProjectReference::Id(id.clone())),
        (None, Some(name)) => {
            let domain = domain(&auth.project_domain_id, &auth.project_domain_name)
                .or_else(|| domain(&auth.default_domain_id, &auth.default_domain_name))
                .ok_or_else(|| {
                    origin.missing("project_domain_name", "the domain the project's name belongs to")
                })?;
            Some(ProjectReference::Name { name: name.clone(), domain })
        }
        (None, None) => None,
    };
    let system = match auth.system_scope.as_deref() {
        None => None,
        Some("all") => Some(Scope::System),
        Some(_) => return Err(origin.refuse("system_scope", "can only be `all`")),
    };
    let mut scopes = [
        project.map(Scope::Project),
        domain(&auth.domain_id, &auth.domain_name).map(Scope::Domain),
        system,
        auth.trust_id.clone().map(Scope::Trust),
    ]
    .into_iter()
    .flatten();
    let scope = scopes.next().unwrap_or_default();
    if scopes.next().is_some() {
        return Err(origin.refuse(
            "project_name",
            "stands beside another scope: choose one of project, domain, system and trust",
        ));
    }
    Ok(scope)
}

#[cfg(test)]
mod tests;
