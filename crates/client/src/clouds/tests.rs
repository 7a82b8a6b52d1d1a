use std::path::Path;

use super::*;

const ENVIRONMENT: [(&str, &str); 7] = [
    ("OS_AUTH_URL", "http://k:5000"),
    ("OS_USERNAME", "swift"),
    ("OS_PASSWORD", "canary"),
    ("OS_USER_DOMAIN_NAME", "Default"),
    ("OS_PROJECT_NAME", "service"),
    ("OS_PROJECT_DOMAIN_ID", "default"),
    ("OS_REGION_NAME", "RegionOne"),
];

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Resolves in a folder that has no files, with `changes` over the full set; an empty value unsets.
fn from_environment(changes: &[(&str, &str)]) -> Result<Cloud, CloudsError> {
    let folder = tempfile::tempdir().unwrap();
    let mut all = variables(&ENVIRONMENT);
    all.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    all.extend(variables(changes));
    all.push(("HOME".into(), folder.path().display().to_string()));
    resolve(all, &Choice { working_folder: folder.path().into(), ..Choice::default() })
}

fn from_files(
    clouds: &str,
    secure: Option<&str>,
    environment: &[(&str, &str)],
    cloud: Option<&str>,
) -> Result<Cloud, CloudsError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clouds.yaml"), clouds).unwrap();
    if let Some(secure) = secure {
        std::fs::write(folder.path().join("secure.yaml"), secure).unwrap();
    }
    let choice =
        Choice { cloud: cloud.map(str::to_owned), working_folder: folder.path().into(), ..Choice::default() };
    resolve(variables(environment), &choice)
}

fn keystone(cloud: Cloud) -> (String, Credentials, Scope) {
    match cloud.authentication {
        CloudAuthentication::Keystone { auth_url, credentials, scope } => (auth_url, credentials, scope),
        other => panic!("not Keystone: {other:?}"),
    }
}

#[test]
fn password_from_the_environment() {
    let cloud = from_environment(&[]).unwrap();
    assert!(!format!("{cloud:?}").contains("canary"));
    assert_eq!((cloud.name.as_deref(), cloud.region.as_deref()), (None, Some("RegionOne")));
    let (auth_url, credentials, scope) = keystone(cloud);
    assert_eq!(auth_url, "http://k:5000");
    assert_eq!(credentials.describe(), "user `swift` of domain `Default`");
    assert!(matches!(credentials, Credentials::Password { password, .. } if password.expose() == "canary"));
    let domain = DomainReference::Id("default".into());
    assert_eq!(scope, Scope::Project(ProjectReference::Name { name: "service".into(), domain }));
}

#[test]
fn missing_variables_are_named() {
    for name in ["OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_USER_DOMAIN_NAME"] {
        let error = from_environment(&[(name, "")]).unwrap_err();
        assert!(matches!(error, CloudsError::Missing { .. }), "{error:?}");
        assert!(error.to_string().starts_with(name), "{error}");
    }
    let error = from_environment(&[("OS_PROJECT_DOMAIN_ID", "")]).unwrap_err();
    assert!(error.to_string().starts_with("OS_PROJECT_DOMAIN_NAME"), "{error}");
}

#[test]
fn scopes() {
    let none = [("OS_PROJECT_NAME", "")];
    let scope_of = |more: &[(&str, &str)]| {
        let all: Vec<_> = none.iter().chain(more).copied().collect();
        from_environment(&all).map(|cloud| keystone(cloud).2)
    };
    assert_eq!(scope_of(&[]), Ok(Scope::Default));
    assert_eq!(scope_of(&[("OS_SYSTEM_SCOPE", "all")]), Ok(Scope::System));
    assert_eq!(scope_of(&[("OS_TRUST_ID", "t")]), Ok(Scope::Trust("t".into())));
    assert_eq!(scope_of(&[("OS_DOMAIN_NAME", "d")]), Ok(Scope::Domain(DomainReference::Name("d".into()))));
    assert_eq!(scope_of(&[("OS_TENANT_ID", "p")]), Ok(Scope::Project(ProjectReference::Id("p".into()))));
    assert!(scope_of(&[("OS_SYSTEM_SCOPE", "some")]).is_err());
    let two = scope_of(&[("OS_TRUST_ID", "t"), ("OS_PROJECT_ID", "p")]).unwrap_err();
    assert!(two.to_string().contains("choose one"), "{two}");
}

#[test]
fn application_credentials() {
    let base = [
        ("OS_USERNAME", ""),
        ("OS_PASSWORD", ""),
        ("OS_PROJECT_NAME", ""),
        ("OS_AUTH_TYPE", "v3applicationcredential"),
    ];
    let with =
        |more: &[(&str, &str)]| from_environment(&base.iter().chain(more).copied().collect::<Vec<_>>());
    let secret = ("OS_APPLICATION_CREDENTIAL_SECRET", "canary");
    let cloud = with(&[("OS_APPLICATION_CREDENTIAL_ID", "ac"), secret]).unwrap();
    assert!(matches!(keystone(cloud).1, Credentials::ApplicationCredential { .. }));
    let error = with(&[("OS_APPLICATION_CREDENTIAL_ID", "ac")]).unwrap_err();
    assert!(error.to_string().starts_with("OS_APPLICATION_CREDENTIAL_SECRET"), "{error}");
    let error = with(&[secret]).unwrap_err();
    assert!(error.to_string().starts_with("OS_APPLICATION_CREDENTIAL_ID"), "{error}");
    let error = with(&[("OS_APPLICATION_CREDENTIAL_NAME", "n"), secret]).unwrap_err();
    assert!(error.to_string().starts_with("OS_USERNAME"), "{error}");
    let error = with(&[("OS_APPLICATION_CREDENTIAL_ID", "ac"), secret, ("OS_PROJECT_ID", "p")]).unwrap_err();
    assert!(error.to_string().contains("its own project"), "{error}");
}

#[test]
fn tokens() {
    let token = [("OS_USERNAME", ""), ("OS_PASSWORD", ""), ("OS_TOKEN", "canary")];
    let cloud = from_environment(&token).unwrap();
    assert!(matches!(keystone(cloud).1, Credentials::Token(_)));
    for more in [[("OS_AUTH_URL", ""), ("", "")], [("OS_AUTH_TYPE", "admin_token"), ("", "")]] {
        let all: Vec<_> =
            token.iter().chain(&more).chain(&[("OS_ENDPOINT", "http://km:9311")]).copied().collect();
        let cloud = from_environment(&all).unwrap();
        assert_eq!(cloud.endpoint.as_deref(), Some("http://km:9311"));
        assert!(
            matches!(cloud.authentication, CloudAuthentication::StaticToken(t) if t.expose() == "canary")
        );
    }
    let none = [("OS_AUTH_TYPE", "none"), ("OS_ENDPOINT", "http://km:9311")];
    let cloud = from_environment(&none).unwrap();
    assert!(matches!(cloud.authentication, CloudAuthentication::Anonymous));
    let error = from_environment(&[("OS_AUTH_TYPE", "admin_token")]).unwrap_err();
    assert!(error.to_string().starts_with("OS_TOKEN"), "{error}");
    let error = from_environment(&[("OS_AUTH_TYPE", "v3oidcpassword")]).unwrap_err();
    assert!(error.to_string().starts_with("OS_AUTH_TYPE must be one of"), "{error}");
}

#[test]
fn endpoint_overrides_and_tls_settings() {
    let cloud = from_environment(&[
        ("OS_KEY_MANAGER_ENDPOINT_OVERRIDE", "http://a"),
        ("OS_CACERT", "~/ca.pem"),
        ("OS_INSECURE", "false"),
        ("OS_INTERFACE", "internalURL"),
    ])
    .unwrap();
    assert_eq!(cloud.endpoint.as_deref(), Some("http://a"));
    assert_eq!((cloud.interface, cloud.insecure), (Interface::Internal, false));
    let ca_file = cloud.ca_file.clone().unwrap();
    assert!(ca_file.is_absolute() && ca_file.ends_with("ca.pem"), "{ca_file:?}");
    assert_eq!(cloud.transport_options(&TransportOptions::default()).ca_file, Some(ca_file));
    let both = [("CHATELAINE_ENDPOINT", "http://b"), ("OS_KEY_MANAGER_ENDPOINT_OVERRIDE", "http://a")];
    assert_eq!(from_environment(&both).unwrap().endpoint.as_deref(), Some("http://b"));
    let chosen = Choice {
        endpoint: Some("http://c".into()),
        region: Some("R".into()),
        interface: Some(Interface::Admin),
        working_folder: "/nonexistent".into(),
        cloud: None,
    };
    let cloud = resolve(variables(&ENVIRONMENT), &chosen).unwrap();
    assert_eq!((cloud.endpoint.as_deref(), cloud.region.as_deref()), (Some("http://c"), Some("R")));
    assert_eq!(cloud.interface, Interface::Admin);
    assert!(from_environment(&[("OS_INSECURE", "1")]).unwrap().insecure);
    for bad in [("OS_INSECURE", "maybe"), ("OS_INTERFACE", "secret"), ("OS_KEY", "/k.pem")] {
        assert!(from_environment(&[bad]).is_err(), "{bad:?}");
    }
}

const CLOUDS: &str = r#"
clouds:
  devstack:
    auth:
      auth_url: https://k/identity
      username: demo
      project_name: 12345
      default_domain: default
    region_name: RegionOne
    interface: internal
    cacert: /etc/ca.pem
    volume_api_version: 3
  lab:
    auth_type: admin_token
    auth: {endpoint: "http://127.0.0.1:9311", token: "tok-canary"}
    verify: false
    regions: [{name: R1}, R2]
"#;
const SECURE: &str = "clouds: {devstack: {auth: {password: 0123}}}";

#[test]
fn named_clouds_with_secure_file_over_them() {
    let cloud = from_files(CLOUDS, Some(SECURE), &[("OS_CLOUD", "devstack")], None).unwrap();
    assert_eq!((cloud.name.as_deref(), cloud.interface), (Some("devstack"), Interface::Internal));
    assert_eq!(cloud.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    let (auth_url, credentials, scope) = keystone(cloud);
    assert_eq!(auth_url, "https://k/identity");
    assert!(matches!(credentials, Credentials::Password { password, .. } if password.expose() == "0123"));
    let domain = DomainReference::Id("default".into());
    assert_eq!(scope, Scope::Project(ProjectReference::Name { name: "12345".into(), domain }));
    let cloud = from_files(CLOUDS, None, &[("OS_CLOUD", "devstack")], Some("lab")).unwrap();
    assert!(cloud.insecure && !format!("{cloud:?}").contains("canary"));
    assert_eq!(cloud.region.as_deref(), Some("R1"));
    assert_eq!(cloud.endpoint.as_deref(), Some("http://127.0.0.1:9311"));
}

#[test]
fn a_named_cloud_ignores_the_environments_credentials_but_not_the_endpoint() {
    let mut environment = ENVIRONMENT.to_vec();
    environment.push(("CHATELAINE_ENDPOINT", "http://override"));
    let cloud = from_files(CLOUDS, None, &environment, Some("lab")).unwrap();
    assert!(matches!(cloud.authentication, CloudAuthentication::StaticToken(_)));
    assert_eq!(cloud.endpoint.as_deref(), Some("http://override"));
    let cloud = from_files(CLOUDS, None, &ENVIRONMENT, None).unwrap();
    assert_eq!(cloud.name, None, "credentials in the environment win over an unnamed cloud");
}

#[test]
fn what_a_clouds_entry_leaves_open_comes_from_the_environment() {
    let environment =
        [("OS_REGION_NAME", "RegionEnv"), ("OS_INTERFACE", "internal"), ("OS_CACERT", "/env/ca.pem")];
    let bare = "clouds: {bare: {auth_type: none, auth: {endpoint: 'http://h'}}}";
    for named in [Some("bare"), None] {
        let cloud = from_files(bare, None, &environment, named).unwrap();
        assert_eq!((cloud.region.as_deref(), cloud.interface), (Some("RegionEnv"), Interface::Internal));
        assert_eq!(cloud.ca_file.as_deref(), Some(Path::new("/env/ca.pem")));
    }
    let older = from_files(bare, None, &[("OS_ENDPOINT_TYPE", "adminURL")], Some("bare")).unwrap();
    assert_eq!(older.interface, Interface::Admin);
    let cloud = from_files(CLOUDS, None, &environment, Some("lab")).unwrap();
    assert_eq!(cloud.region.as_deref(), Some("R1"), "the list of regions says it too");
    let strong = [("OS_REGION_NAME", "Other"), ("OS_INTERFACE", "admin"), ("OS_CACERT", "/env/ca.pem")];
    let cloud = from_files(CLOUDS, Some(SECURE), &strong, Some("devstack")).unwrap();
    assert_eq!((cloud.region.as_deref(), cloud.interface), (Some("RegionOne"), Interface::Internal));
    assert_eq!(cloud.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    let error = from_files(bare, None, &[("OS_INTERFACE", "secret")], Some("bare")).unwrap_err();
    assert!(error.to_string().starts_with("OS_INTERFACE must be"), "{error}");
}

#[test]
fn missing_fields_name_cloud_and_file() {
    let error = from_files(CLOUDS, None, &[], Some("devstack")).unwrap_err().to_string();
    assert!(
        error.contains("`auth.password` of cloud `devstack` in ") && error.contains("clouds.yaml"),
        "{error}"
    );
}

#[test]
fn which_cloud_must_be_clear() {
    let error = from_files(CLOUDS, None, &[], Some("prod")).unwrap_err();
    assert!(error.to_string().contains("it has: devstack, lab"), "{error}");
    let error = from_files(CLOUDS, None, &[], None).unwrap_err();
    assert!(matches!(error, CloudsError::Ambiguous { .. }), "{error:?}");
    let one = "clouds: {only: {auth_type: none, auth: {endpoint: 'http://h'}}}";
    assert_eq!(from_files(one, None, &[], None).unwrap().name.as_deref(), Some("only"));
    assert_eq!(from_files("clouds: {}", None, &[], None).unwrap_err(), CloudsError::NothingConfigured);
    assert_eq!(from_files("", None, &[], None).unwrap_err(), CloudsError::NothingConfigured);
    let folder = tempfile::tempdir().unwrap();
    let choice = Choice { working_folder: folder.path().into(), ..Choice::default() };
    let error = resolve(variables(&[("OS_CLOUD", "x")]), &choice).unwrap_err().to_string();
    assert!(error.contains("/etc/openstack/clouds.yaml"), "{error}");
}

#[test]
fn files_are_searched_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let config = home.join(".config/openstack");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("clouds.yaml"), CLOUDS).unwrap();
    let home = home.display().to_string();
    let choice =
        Choice { cloud: Some("lab".into()), working_folder: folder.path().into(), ..Choice::default() };
    let cloud = resolve(variables(&[("HOME", &home)]), &choice).unwrap();
    assert_eq!(cloud.endpoint.as_deref(), Some("http://127.0.0.1:9311"));
    let own = folder.path().join("own.json");
    let json = r#"{"clouds": {"lab": {"auth_type": "none", "auth": {"endpoint": "http://own"}}}}"#;
    std::fs::write(&own, json).unwrap();
    let own = own.display().to_string();
    let named = variables(&[("HOME", &home), ("OS_CLIENT_CONFIG_FILE", &own)]);
    assert_eq!(resolve(named, &choice).unwrap().endpoint.as_deref(), Some("http://own"));
    let gone = variables(&[("OS_CLIENT_CONFIG_FILE", "/no/such/clouds.yaml")]);
    assert!(matches!(resolve(gone, &choice).unwrap_err(), CloudsError::File { .. }));
}

#[test]
fn broken_files_are_refused_by_line_without_content() {
    for broken in [
        "clouds:\n  lab:\n    auth: {password: [canary]}\n",
        "clouds:\n  lab:\n    auth: canary\n",
        "clouds: {lab: {verify: canary}}\n",
        "clouds:\n  lab: {auth: {password: \"canary\n",
        "clouds:\n  lab: {auth: {password: canary, password: canary}}\n",
        "- canary\n",
        "clouds: {lab: {regions: [{id: canary}]}}\n",
    ] {
        let error = from_files(broken, None, &[], Some("lab")).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, CloudsError::File { .. }), "{broken:?}: {error:?}");
        assert!(!text.contains("canary") && text.contains("line"), "{broken:?}: {text}");
    }
    let profile = "clouds: {lab: {profile: vexxhost}}";
    assert!(from_files(profile, None, &[], Some("lab")).unwrap_err().to_string().contains("profile"));
    let reserved = "clouds: {envvars: {}, lab: {auth_type: none}}";
    assert!(from_files(reserved, None, &[], Some("lab")).unwrap_err().to_string().contains("envvars"));
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let long = format!("clouds: {{}}\n# {}", "x".repeat(1 << 20));
    let error = from_files(&long, None, &[], Some("lab")).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "(clouds:|  lab:| auth:|[\\[\\]{}&*!|>'\"%@`#:, \n-]|[a-z0-9]){0,40}") {
        let _ = from_files(&text, None, &[], Some("lab"));
    }
}
