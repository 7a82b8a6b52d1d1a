//! The settings of one cloud, as the environment and the files spell them, before they are understood.

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::Environment;
use super::error::{CloudsError, Origin};
use crate::keystone::Interface;
use crate::secret::SecretText;

/// The `auth` section.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthSettings {
    pub(super) auth_url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) password: Option<SecretText>,
    pub(super) user_domain_id: Option<String>,
    pub(super) user_domain_name: Option<String>,
    #[serde(alias = "tenant_id")]
    pub(super) project_id: Option<String>,
    #[serde(alias = "tenant_name")]
    pub(super) project_name: Option<String>,
    pub(super) project_domain_id: Option<String>,
    pub(super) project_domain_name: Option<String>,
    #[serde(alias = "default_domain")]
    pub(super) default_domain_id: Option<String>,
    pub(super) default_domain_name: Option<String>,
    pub(super) domain_id: Option<String>,
    pub(super) domain_name: Option<String>,
    pub(super) system_scope: Option<String>,
    pub(super) trust_id: Option<String>,
    pub(super) application_credential_id: Option<String>,
    pub(super) application_credential_name: Option<String>,
    pub(super) application_credential_secret: Option<SecretText>,
    pub(super) token: Option<SecretText>,
    pub(super) endpoint: Option<String>,
}

/// One cloud. Fields for other programs are left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CloudSettings {
    pub(super) auth: AuthSettings,
    pub(super) auth_type: Option<String>,
    pub(super) region_name: Option<String>,
    pub(super) regions: Option<Vec<Region>>,
    #[serde(alias = "endpoint_type")]
    pub(super) interface: Option<String>,
    pub(super) cacert: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) verify: Option<bool>,
    pub(super) insecure: Option<bool>,
    pub(super) key_manager_endpoint_override: Option<String>,
    pub(super) profile: Option<String>,
}

/// An entry of `regions`: a name, or a map with one.
#[derive(Debug)]
pub(super) struct Region(pub(super) String);

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Region;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a region's name, or a map with `name`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Region, E> {
                Ok(Region(text.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Region, A::Error> {
                let mut name = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "name" {
                        name = Some(map.next_value::<String>()?);
                    } else {
                        map.next_value::<de::IgnoredAny>()?;
                    }
                }
                name.map(Region).ok_or_else(|| de::Error::missing_field("name"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Takes every listed field that the other side sets.
macro_rules! take_set_fields {
    ($target:ident, $other:ident: $($field:ident),* $(,)?) => {
        $( if $other.$field.is_some() { $target.$field = $other.$field; } )*
    };
}

impl AuthSettings {
    /// Takes over whatever `stronger` sets.
    fn overlay(&mut self, stronger: Self) {
        take_set_fields!(self, stronger:
            auth_url, username, user_id, password, user_domain_id, user_domain_name, project_id, project_name,
            project_domain_id, project_domain_name, default_domain_id, default_domain_name, domain_id, domain_name,
            system_scope, trust_id, application_credential_id, application_credential_name,
            application_credential_secret, token, endpoint,
        );
    }

    /// True when there is a hint of who should authenticate: enough to prefer this source and to complain about it.
    pub(super) fn names_anyone(&self) -> bool {
        self.auth_url.is_some()
            || self.username.is_some()
            || self.user_id.is_some()
            || self.password.is_some()
            || self.token.is_some()
            || self.application_credential_id.is_some()
            || self.application_credential_name.is_some()
            || self.application_credential_secret.is_some()
    }
}

impl CloudSettings {
    /// Takes over whatever `stronger` sets, as `secure.yaml` does with `clouds.yaml`.
    pub(super) fn overlay(&mut self, stronger: Self) {
        self.auth.overlay(stronger.auth);
        take_set_fields!(self, stronger:
            auth_type, region_name, regions, interface, cacert, cert, key, verify, insecure,
            key_manager_endpoint_override, profile,
        );
    }

    /// Takes from the environment what a cloud's entry leaves open and what says nothing of who authenticates.
    pub(super) fn complete(&mut self, environment: &Environment) -> Result<(), CloudsError> {
        if self.region_name.is_none() && self.regions.is_none() {
            self.region_name = environment.text("OS_REGION_NAME");
        }
        if self.interface.is_none() {
            self.interface =
                environment.text("OS_INTERFACE").or_else(|| environment.text("OS_ENDPOINT_TYPE"));
            // Looked at here, so that the message does not blame the file.
            if self.interface.as_deref().is_some_and(|text| Interface::parse(text).is_none()) {
                return Err(unknown_interface(&Origin::Environment));
            }
        }
        if self.cacert.is_none() {
            self.cacert = environment.text("OS_CACERT");
        }
        Ok(())
    }

    /// The `OS_*` variables; the older words for project and endpoint are understood.
    pub(super) fn from_environment(environment: &mut Environment) -> Result<Self, CloudsError> {
        let password = environment.take_secret("OS_PASSWORD");
        let application_credential_secret = environment.take_secret("OS_APPLICATION_CREDENTIAL_SECRET");
        let token = environment.take_secret("OS_TOKEN");
        let text = |name: &str| environment.text(&format!("OS_{name}"));
        let auth = AuthSettings {
            auth_url: text("AUTH_URL"),
            username: text("USERNAME"),
            user_id: text("USER_ID"),
            password,
            user_domain_id: text("USER_DOMAIN_ID"),
            user_domain_name: text("USER_DOMAIN_NAME"),
            project_id: text("PROJECT_ID").or_else(|| text("TENANT_ID")),
            project_name: text("PROJECT_NAME").or_else(|| text("TENANT_NAME")),
            project_domain_id: text("PROJECT_DOMAIN_ID"),
            project_domain_name: text("PROJECT_DOMAIN_NAME"),
            default_domain_id: text("DEFAULT_DOMAIN_ID").or_else(|| text("DEFAULT_DOMAIN")),
            default_domain_name: text("DEFAULT_DOMAIN_NAME"),
            domain_id: text("DOMAIN_ID"),
            domain_name: text("DOMAIN_NAME"),
            system_scope: text("SYSTEM_SCOPE"),
            trust_id: text("TRUST_ID"),
            application_credential_id: text("APPLICATION_CREDENTIAL_ID"),
            application_credential_name: text("APPLICATION_CREDENTIAL_NAME"),
            application_credential_secret,
            token,
            endpoint: text("ENDPOINT"),
        };
        Ok(Self {
            auth,
            auth_type: text("AUTH_TYPE"),
            region_name: text("REGION_NAME"),
            regions: None,
            interface: text("INTERFACE").or_else(|| text("ENDPOINT_TYPE")),
            cacert: text("CACERT"),
            cert: text("CERT"),
            key: text("KEY"),
            verify: None,
            insecure: text("INSECURE").map(|value| boolean(&value)).transpose()?,
            key_manager_endpoint_override: text("KEY_MANAGER_ENDPOINT_OVERRIDE"),
            profile: None,
        })
    }
}

/// The refusal of an interface of another name.
pub(super) fn unknown_interface(origin: &Origin) -> CloudsError {
    origin.refuse("interface", "must be `public`, `internal` or `admin`")
}

fn boolean(text: &str) -> Result<bool, CloudsError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Origin::Environment.refuse("insecure", "must be `true` or `false`")),
    }
}
