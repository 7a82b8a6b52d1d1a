//! What no type can say: bounds and contradictions.

use chatelaine_seal::SealError;

use super::{Config, ConfigError, MAX_SERVER_NAME, SealKind};

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let server = &config.server;
    let wrong = |setting: &str, problem: String| Err(ConfigError::setting(setting, problem));
    for (setting, value, least, most) in [
        ("server.max_connections", server.max_connections as u64, 1, 1_000_000),
        ("server.client_timeout_seconds", server.client_timeout_seconds, 1, 3600),
        ("server.request_timeout_seconds", server.request_timeout_seconds, 1, 3600),
        ("server.shutdown_seconds", server.shutdown_seconds, 0, 3600),
        ("limits.max_key_string_bytes", config.limits.max_key_string_bytes as u64, 1, 1024 * 1024),
        ("limits.max_page", config.limits.max_page as u64, 1, 1000),
        ("barbican.max_payload_bytes", config.barbican.max_payload_bytes as u64, 1, 1024 * 1024),
        ("barbican.max_limit", config.barbican.max_limit as u64, 1, 1000),
        ("barbican.default_limit", config.barbican.default_limit as u64, 1, config.barbican.max_limit as u64),
        ("seal.retry_seconds", config.seal.retry_seconds, 1, 3600),
        ("rotation.keep_retired_seconds", config.rotation.keep_retired_seconds, 0, 10 * 366 * 24 * 3600),
        ("rotation.scope_key_seconds", config.rotation.scope_key_seconds, 0, 10 * 366 * 24 * 3600),
        ("rotation.every_seconds", config.rotation.every_seconds, 0, 366 * 24 * 3600),
        ("rotation.pause_milliseconds", config.rotation.pause_milliseconds, 0, 60_000),
        ("seal.tpm.timeout_seconds", config.seal.tpm.timeout_seconds, 1, 600),
        ("seal.pkcs11.timeout_seconds", config.seal.pkcs11.timeout_seconds, 1, 600),
        ("seal.passphrase.memory_mib", u64::from(config.seal.passphrase.memory_mib), 8, 4096),
        ("seal.passphrase.passes", u64::from(config.seal.passphrase.passes), 1, 64),
        ("seal.passphrase.lanes", u64::from(config.seal.passphrase.lanes), 1, 16),
        ("store.connections", config.store.connections as u64, 1, 1000),
        ("store.timeout_seconds", config.store.timeout_seconds, 1, 300),
        ("audit.segment_mib", config.audit.segment_mib, 1, 4096),
        ("agent.keep_seconds", config.agent.keep_seconds, 0, 86_400),
        ("agent.max_keys", config.agent.max_keys as u64, 1, 10_000_000),
        ("agent.timeout_seconds", config.agent.timeout_seconds, 1, 600),
        ("agent.max_connections", config.agent.max_connections as u64, 1, 1_000_000),
        ("deletion.grace_seconds", config.deletion.grace_seconds, 0, 10 * 366 * 24 * 3600),
        ("deletion.expired_after_seconds", config.deletion.expired_after_seconds, 0, 10 * 366 * 24 * 3600),
    ] {
        if value < least || value > most {
            return wrong(setting, format!("it is {value}, {least} to {most} are allowed"));
        }
    }
    if config.limits.requests_per_second > 0 && config.limits.burst == 0 {
        return wrong(
            "limits.burst",
            "it is 0: then no request at all would be let through; set 1 or more".to_owned(),
        );
    }
    let kinds: Vec<_> = config.seal.kinds().collect();
    if let Some(twice) =
        kinds.iter().enumerate().find(|(index, kind)| kinds.iter().take(*index).any(|other| other == *kind))
    {
        return wrong("seal.also", format!("{} is named twice", twice.1.name()));
    }
    let passphrase = &config.seal.passphrase;
    for (setting, most, own, bound) in [
        ("seal.passphrase.max_memory_mib", passphrase.max_memory_mib, passphrase.memory_mib, 4096),
        ("seal.passphrase.max_passes", passphrase.max_passes, passphrase.passes, 64),
    ] {
        if most != 0 && !(own..=bound).contains(&most) {
            let problem =
                format!("it is {most}; allowed are 0, for what new keys cost, and {own} to {bound}");
            return wrong(setting, problem);
        }
    }
    let cap = config.seal.tpm.cap_register;
    if !(-1..=15).contains(&cap) {
        let problem = format!(
            "it is {cap}; allowed are -1 for none, and 0 to 15: higher ones can be reset without a restart of the host"
        );
        return wrong("seal.tpm.cap_register", problem);
    }
    if passphrase.descriptor != 0 {
        if !(3..=1023).contains(&passphrase.descriptor) {
            let problem = format!("it is {}, 3 to 1023 are allowed, or 0 for none", passphrase.descriptor);
            return wrong("seal.passphrase.descriptor", problem);
        }
        if !passphrase.file.as_os_str().is_empty() {
            return wrong(
                "seal.passphrase.descriptor",
                "seal.passphrase.file is set, too: give one".to_owned(),
            );
        }
    }
    if kinds.contains(&SealKind::Pkcs11) {
        let token = &config.seal.pkcs11;
        for (setting, missing) in [
            ("seal.pkcs11.module", !token.module.is_absolute()),
            ("seal.pkcs11.pin_file", token.pin_file.as_os_str().is_empty()),
            ("seal.pkcs11.key_label", token.key_label.is_empty()),
            ("seal.pkcs11.token_label", token.token_label.is_empty() && token.token_serial.is_empty()),
        ] {
            if missing {
                return wrong(setting, "the seal pkcs11 needs it; the module is an absolute path".to_owned());
            }
        }
    }
    if kinds.contains(&SealKind::Tpm)
        && let Err(error) = chatelaine_seal::tpm::check(
            &config.seal.tpm.device,
            &config.seal.tpm.registers,
            config.seal.tpm.cap(),
        )
    {
        let (what, problem) = match error {
            SealError::Invalid { what, problem } => (what, problem),
            other => ("device", other.to_string()),
        };
        return wrong(&format!("seal.tpm.{what}"), problem);
    }
    super::siblings::check(config)?;
    let tls = &server.tls;
    let (cert, key) = (!tls.cert.as_os_str().is_empty(), !tls.key.as_os_str().is_empty());
    if cert != key {
        let missing = if cert { "server.tls.key" } else { "server.tls.cert" };
        return wrong(missing, "TLS needs both a certificate and its private key".to_owned());
    }
    if !cert && !tls.client_ca.as_os_str().is_empty() {
        return wrong(
            "server.tls.client_ca",
            "client certificates need server.tls.cert and server.tls.key".to_owned(),
        );
    }
    if !cert && !server.listen.ip().is_loopback() && !server.insecure_bind {
        return wrong(
            "server.listen",
            format!(
                "{} is not a loopback address, and without TLS tokens and key strings would cross the network in the \
                 clear: set server.tls.cert and server.tls.key, or server.insecure_bind = true if something else \
                 protects them",
                server.listen
            ),
        );
    }
    if !server.host_href.is_empty() {
        let parsed = server.host_href.parse::<http::Uri>().ok();
        let whole = parsed.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.query().is_none()
        });
        if !whole {
            return wrong(
                "server.host_href",
                "it must be a URL with http or https and a host, for example https://keys.example.org:9311"
                    .to_owned(),
            );
        }
    }
    if let Err(problem) = config.encryption_defaults.choice().check() {
        return wrong(&format!("encryption_defaults.{}", problem.field), problem.reason);
    }
    if server.name.len() > MAX_SERVER_NAME
        || !server.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        return wrong(
            "server.name",
            format!("write at most {MAX_SERVER_NAME} letters, digits, dots, hyphens and underscores"),
        );
    }
    if config.data.folder.as_os_str().is_empty() {
        return wrong(
            "data.folder",
            "it is empty: name a folder, for example /var/lib/chatelaine".to_owned(),
        );
    }
    if let Some(role) =
        config.policy.refused_roles.iter().find(|role| role.is_empty() || **role != role.to_lowercase())
    {
        return wrong("policy.refused_roles", format!("{role:?}: write roles in lower case, and none empty"));
    }
    Ok(())
}
