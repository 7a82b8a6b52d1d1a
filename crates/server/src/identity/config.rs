//! The settings of identity.
//!
//! Owns names, defaults and limits. Secrets are never settings: they stand in files whose paths are settings.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::IdentityError;

/// The longest a validated token is believed without asking again, in seconds.
pub const LONGEST_CACHE: u64 = 300;

/// Where callers' identities come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    /// A file of hashed tokens.
    #[default]
    Static,
    /// OpenStack's Keystone, version 3.
    Keystone,
}

/// Who requests come from: a file of hashed tokens or Keystone, never both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Where callers' identities come from: `static` (a file of hashed tokens) or `keystone`.
    pub kind: IdentityKind,
    /// Settings of kind `static`.
    #[serde(rename = "static")]
    pub fixed: StaticSettings,
    /// Settings of kind `keystone`.
    pub keystone: KeystoneSettings,
}

/// Identities in a file of hashed tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StaticSettings {
    /// The file. Empty: `identities.toml` in the data folder, made at the first start. A file that is named here must
    /// exist.
    pub file: PathBuf,
}

impl IdentityConfig {
    /// The file of identities that a first start would make, if it is not there.
    pub fn file_to_be_made(&self, data_folder: &Path) -> Option<PathBuf> {
        let by_default = self.kind == IdentityKind::Static && self.fixed.is_default();
        let file = self.fixed.path(data_folder);
        (by_default && file.symlink_metadata().is_err()).then_some(file)
    }
}

/// The name of the identities' file in the data folder.
const DEFAULT_FILE: &str = "identities.toml";

impl StaticSettings {
    /// The file of identities, as `serve` and the commands that edit it find it.
    pub fn path(&self, data_folder: &Path) -> PathBuf {
        if self.is_default() { data_folder.join(DEFAULT_FILE) } else { self.file.clone() }
    }

    /// Whether no file is named.
    pub(super) fn is_default(&self) -> bool {
        self.file.as_os_str().is_empty()
    }
}

/// Identities from Keystone. Either `username` and `password_file`, or `application_credential_id` and
/// `application_credential_secret_file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeystoneSettings {
    /// Keystone's address, for example `https://keystone.example.org:5000/v3`.
    pub auth_url: String,
    /// The key manager's own user in Keystone; it needs the role `service` in `project_name`.
    pub username: String,
    /// File with that user's password; others must not be able to read it.
    pub password_file: PathBuf,
    /// The project of the key manager's own user.
    pub project_name: String,
    /// The domain of `username`.
    pub user_domain_name: String,
    /// The domain of `project_name`.
    pub project_domain_name: String,
    /// Id of an application credential to use instead of user and password.
    pub application_credential_id: String,
    /// File with the application credential's secret; others must not be able to read it.
    pub application_credential_secret_file: PathBuf,
    /// PEM file of the only certificate authorities to trust for Keystone. Empty: the system's.
    pub ca_file: PathBuf,
    /// Accept any certificate from Keystone. For laboratories only: whoever sits between sees every token and can
    /// pretend to be Keystone.
    pub insecure: bool,
    /// Longest wait for an answer about a token, in seconds, from 1 to 60.
    #[schemars(range(min = 1, max = 60))]
    pub timeout: u64,
    /// How long a validated token is believed without asking again, in seconds, from 0 to 300; never longer than the
    /// token lives. A revoked token is accepted for this long at most.
    #[schemars(range(max = 300))]
    pub cache_seconds: u64,
    /// How long a refused token is refused without asking again, in seconds, from 0 to 300.
    #[schemars(range(max = 300))]
    pub negative_cache_seconds: u64,
    /// How many validated tokens are remembered, from 1 to 1000000; about 2 KiB of memory each.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub cache_entries: u64,
    /// A token in `X-Service-Token` counts if it has one of these roles.
    pub service_token_roles: Vec<String>,
    /// The key manager's service type in the catalogue; access rules of application credentials name it.
    pub service_type: String,
}

impl Default for KeystoneSettings {
    fn default() -> Self {
        Self {
            auth_url: String::new(),
            username: String::new(),
            password_file: PathBuf::new(),
            project_name: String::new(),
            user_domain_name: "Default".to_owned(),
            project_domain_name: "Default".to_owned(),
            application_credential_id: String::new(),
            application_credential_secret_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            insecure: false,
            timeout: 5,
            cache_seconds: LONGEST_CACHE,
            negative_cache_seconds: 10,
            cache_entries: 10_000,
            service_token_roles: vec!["service".to_owned()],
            service_type: "key-manager".to_owned(),
        }
    }
}

impl IdentityConfig {
    /// Checks what can be checked without touching files or the network.
    ///
    /// # Errors
    /// [`IdentityError::Setting`] with the first setting that is not acceptable. Settings of the kind that is not in
    /// use are not looked at.
    pub fn validate(&self) -> Result<(), IdentityError> {
        match self.kind {
            IdentityKind::Static => Ok(()),
            IdentityKind::Keystone => self.keystone.validate(),
        }
    }
}

impl KeystoneSettings {
    /// Whether an application credential is used instead of user and password.
    pub(super) fn by_application_credential(&self) -> bool {
        !self.application_credential_id.is_empty()
    }

    fn validate(&self) -> Result<(), IdentityError> {
        if self.auth_url.trim().is_empty() {
            return Err(IdentityError::setting(
                "identity.keystone.auth_url",
                "is empty",
                "give Keystone's address, for example https://keystone.example.org:5000/v3",
            ));
        }
        self.validate_credentials()?;
        within("identity.keystone.timeout", self.timeout, 1, 60)?;
        within("identity.keystone.cache_seconds", self.cache_seconds, 0, LONGEST_CACHE)?;
        within("identity.keystone.negative_cache_seconds", self.negative_cache_seconds, 0, LONGEST_CACHE)?;
        within("identity.keystone.cache_entries", self.cache_entries, 1, 1_000_000)?;
        if self.service_token_roles.is_empty() || self.service_token_roles.iter().any(|role| role.is_empty())
        {
            return Err(IdentityError::setting(
                "identity.keystone.service_token_roles",
                "must name at least one role, and no empty one",
                "leave it out for [\"service\"]",
            ));
        }
        required(
            "identity.keystone.service_type",
            !self.service_type.is_empty(),
            "leave it out for key-manager",
        )
    }

    fn validate_credentials(&self) -> Result<(), IdentityError> {
        const USER: &str = "name the key manager's own user, or an application credential instead";
        if self.by_application_credential() {
            if !self.username.is_empty() || !self.password_file.as_os_str().is_empty() {
                return Err(IdentityError::setting(
                    "identity.keystone.username",
                    "an application credential is configured as well",
                    "remove username and password_file, or application_credential_id and its secret file",
                ));
            }
            return required(
                "identity.keystone.application_credential_secret_file",
                !self.application_credential_secret_file.as_os_str().is_empty(),
                "name the file that holds the application credential's secret",
            );
        }
        if !self.application_credential_secret_file.as_os_str().is_empty() {
            return required(
                "identity.keystone.application_credential_id",
                false,
                "give the id that belongs to application_credential_secret_file",
            );
        }
        required("identity.keystone.username", !self.username.is_empty(), USER)?;
        required(
            "identity.keystone.password_file",
            !self.password_file.as_os_str().is_empty(),
            "name the file that holds the password",
        )?;
        required(
            "identity.keystone.project_name",
            !self.project_name.is_empty(),
            "name the project in which the user has the role `service`",
        )?;
        required(
            "identity.keystone.user_domain_name",
            !self.user_domain_name.is_empty(),
            "leave it out for Default",
        )?;
        required(
            "identity.keystone.project_domain_name",
            !self.project_domain_name.is_empty(),
            "leave it out for Default",
        )
    }
}

fn required(field: &'static str, present: bool, remedy: &str) -> Result<(), IdentityError> {
    if present { Ok(()) } else { Err(IdentityError::setting(field, "is empty", remedy)) }
}

fn within(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), IdentityError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(IdentityError::setting(
        field,
        format!("is {value}, allowed is {least} to {most}"),
        "choose a value within these limits",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = r#"
        kind = "keystone"
        [keystone]
        auth_url = "https://k:5000"
        username = "chatelaine"
        password_file = "/p"
        project_name = "service"
    "#;

    fn parsed(text: &str) -> IdentityConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn defaults() {
        let config = parsed("");
        assert_eq!(config.kind, IdentityKind::Static);
        config.validate().unwrap();
        assert_eq!(config.fixed.path(Path::new("/d")), Path::new("/d/identities.toml"));
        let named = parsed("[static]\nfile = \"/etc/x.toml\"");
        assert_eq!(named.fixed.path(Path::new("/d")), Path::new("/etc/x.toml"));
        let keystone = parsed(USER).keystone;
        assert_eq!((keystone.cache_seconds, keystone.negative_cache_seconds), (300, 10));
        assert_eq!(keystone.service_token_roles, ["service"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for config in [IdentityConfig::default(), parsed(USER)] {
            assert_eq!(parsed(&toml::to_string(&config).unwrap()), config);
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        for text in ["x = 1", "[static]\nx = 1", "[keystone]\npassword = \"p\"", "kind = \"both\""] {
            assert!(toml::from_str::<IdentityConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_schema_has_a_description_for_every_setting() {
        let schema = serde_json::to_value(schemars::schema_for!(IdentityConfig)).unwrap();
        let sections = [&schema, &schema["$defs"]["StaticSettings"], &schema["$defs"]["KeystoneSettings"]];
        let mut seen = 0;
        for section in sections {
            for (name, property) in section["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{name} has no description");
                seen += 1;
            }
        }
        assert_eq!(seen, 3 + 1 + 16);
    }

    #[test]
    fn every_refusal_names_its_field() {
        type Change = fn(&mut KeystoneSettings);
        let cases: [(&str, Change); 15] = [
            ("auth_url", |k| k.auth_url = " ".into()),
            ("username", |k| k.username.clear()),
            ("username", |k| k.application_credential_id = "id".into()),
            ("password_file", |k| k.password_file = PathBuf::new()),
            ("project_name", |k| k.project_name.clear()),
            ("user_domain_name", |k| k.user_domain_name.clear()),
            ("project_domain_name", |k| k.project_domain_name.clear()),
            ("application_credential_id", |k| k.application_credential_secret_file = "/s".into()),
            ("timeout", |k| k.timeout = 0),
            ("timeout", |k| k.timeout = 61),
            ("cache_seconds", |k| k.cache_seconds = 301),
            ("negative_cache_seconds", |k| k.negative_cache_seconds = 301),
            ("cache_entries", |k| k.cache_entries = 0),
            ("service_token_roles", |k| k.service_token_roles.clear()),
            ("service_type", |k| k.service_type.clear()),
        ];
        for (name, change) in cases {
            let mut config = parsed(USER);
            config.validate().unwrap();
            change(&mut config.keystone);
            let error = config.validate().unwrap_err();
            let IdentityError::Setting { field, .. } = &error else { panic!("{error}") };
            assert_eq!(*field, format!("identity.keystone.{name}"), "{error}");
        }
        let mut config = parsed(USER);
        config.keystone.username.clear();
        config.keystone.password_file = PathBuf::new();
        config.keystone.application_credential_id = "id".into();
        assert!(config.validate().unwrap_err().to_string().contains("application_credential_secret_file"));
        config.keystone.application_credential_secret_file = "/s".into();
        config.validate().unwrap();
    }
}
