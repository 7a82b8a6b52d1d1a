use super::load::parse;
use super::*;

fn sources(file: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chatelaine.toml");
    std::fs::write(&path, file).unwrap();
    (folder, Sources { file: Some(path), ..Sources::default() })
}

fn problem(file: &str, overrides: &[&str]) -> String {
    let (_folder, mut sources) = sources(file);
    sources.overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
    load(&sources).unwrap_err().to_string()
}

#[test]
fn nothing_set_is_a_loopback_server_with_everything_in_one_folder() {
    let config = load(&Sources::default()).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9311");
    assert_eq!(config.store_url(), "sqlite://chatelaine-data/chatelaine.db");
    assert_eq!(config.audit_path(), PathBuf::from("chatelaine-data/audit"));
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let (_folder, mut sources) = sources("[limits]\nburst = 1\nmax_page = 2\nrequests_per_second = 3\n");
    sources.environment = vec![
        ("CHATELAINE_LIMITS__BURST".to_owned(), "10".to_owned()),
        ("CHATELAINE_LIMITS__MAX_PAGE".to_owned(), "20".to_owned()),
        ("CHATELAINE_CONFIG".to_owned(), "ignored".to_owned()),
        ("CHATELAINE_STORE__URL".to_owned(), "memory:".to_owned()),
    ];
    sources.overrides = vec!["limits.burst=100".to_owned(), "policy.networks=[\"10.0.0.0/8\"]".to_owned()];
    let config = load(&sources).unwrap();
    assert_eq!(
        (config.limits.burst, config.limits.max_page, config.limits.requests_per_second),
        (100, 20, 3)
    );
    assert_eq!(config.store.url, "memory:");
    assert_eq!(config.policy.networks.len(), 1);
}

#[test]
fn what_is_wrong_is_named() {
    for (file, overrides, words) in [
        ("[server]\nlisten = 9311\n", &[][..], ["server.listen", "invalid type"]),
        ("[server]\nlistn = \"x\"\n", &[], ["server.listn", "unknown field"]),
        ("[sever]\n", &[], ["sever", "unknown field"]),
        ("[server\n", &[], ["chatelaine.toml", "line 1"]),
        ("[limits]\nmax_page = 100000\n", &[], ["limits.max_page", "1 to 1000"]),
        ("[server]\nlisten = \"0.0.0.0:9311\"\n", &[], ["server.listen", "insecure_bind"]),
        ("[server.tls]\ncert = \"c.pem\"\n", &[], ["server.tls.key", "both"]),
        ("[server.tls]\nclient_ca = \"c.pem\"\n", &[], ["server.tls.client_ca", "server.tls.cert"]),
        ("", &["server.host_href=keys.example.org"], ["server.host_href", "https://"]),
        ("", &["listen=1"], ["--set listen", "section.name=value"]),
        ("", &["nothing"], ["--set nothing", "section.name=value"]),
        ("[encryption_defaults]\nalgorithm = \"rc4\"\n", &[], ["encryption_defaults.algorithm", "biased"]),
        ("[encryption_defaults]\nlock = \"dual\"\n", &[], ["encryption_defaults.scope", "project"]),
        ("", &["seal.kind=stone"], ["seal.kind", "file"]),
        ("", &["seal.passphrase.max_memory_mib=32"], ["seal.passphrase.max_memory_mib", "64 to 4096"]),
        ("", &["seal.passphrase.max_passes=65"], ["seal.passphrase.max_passes", "3 to 64"]),
        ("", &["seal.tpm.cap_register=16"], ["seal.tpm.cap_register", "0 to 15"]),
        ("", &["seal.kind=tpm", "seal.tpm.cap_register=5"], ["seal.tpm.cap_register", "sha256:0,2,4,7,8,9"]),
        ("", &["policy.refused_roles=[\"Compute\"]"], ["policy.refused_roles", "lower case"]),
    ] {
        let text = problem(file, overrides);
        assert!(words.iter().all(|word| text.contains(word)), "{file:?} {overrides:?}: {text}");
    }
}

#[test]
fn a_missing_file_is_an_error_not_the_defaults() {
    let sources = Sources { file: Some(PathBuf::from("/nonexistent/chatelaine.toml")), ..Sources::default() };
    assert!(load(&sources).unwrap_err().to_string().contains("/nonexistent/chatelaine.toml"));
}

/// Said where it matters, and nowhere else.
#[test]
fn the_consequence_of_a_cap_is_told() {
    let told = |overrides: &[&str]| {
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        load(&Sources { overrides, ..Sources::default() }).unwrap().seal.cap_consequence()
    };
    let cap = "seal.tpm.cap_register=9";
    assert_eq!(told(&["seal.kind=tpm"]), None);
    assert_eq!(told(&[cap]), None);
    let alone = told(&["seal.kind=tpm", cap]).unwrap();
    assert!(alone.contains("PCR 9") && alone.contains("No other seal"), "{alone}");
    let other = told(&["seal.kind=passphrase", "seal.also=[\"tpm\"]", cap]).unwrap();
    assert!(other.contains("passphrase alone opens"), "{other}");
}

#[test]
fn the_reference_names_every_setting_and_reads_back_as_the_defaults() {
    let text = reference().unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let table = parse(&uncommented).unwrap();
    let read: Config = table.try_into().unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(Config::default()).unwrap());
    assert!(!text.contains("\n\n#server"), "{text}");
    for words in ["[server.tls]", "#listen = \"127.0.0.1:9311\"", "One of: \"text\", \"json\"."] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
}
