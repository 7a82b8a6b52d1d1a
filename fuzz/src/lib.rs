//! Fuzz targets for everything that reads bytes from outside.
//!
//! Owns one function per target. A target does more than not to panic: it states what must hold for any input.
//!
//! To add one: write a function in `targets/`, name it in [`TARGETS`], put a few small inputs into `seeds/<name>/`.
//! `cargo xtask fuzz <name>` then runs it, and the test below replays its seeds.

mod targets;

/// A target: it panics when something that must hold does not.
pub type Target = fn(&[u8]);

/// All targets by name. Each has a folder of seeds of the same name.
pub const TARGETS: &[(&str, Target)] = &[
    ("access_rule", targets::client::access_rule),
    ("approval_file", targets::seal::approval_file),
    ("audit_line", targets::server::audit_line),
    ("authority_file", targets::seal::authority_file),
    ("barbican_body", targets::server::barbican_body),
    ("barbican_query", targets::server::barbican_query),
    ("clouds_file", targets::client::clouds_file),
    ("configuration", targets::server::configuration),
    ("envelope", targets::crypto::envelope),
    ("envelope_change", targets::crypto::envelope_change),
    ("fernet", targets::crypto::fernet),
    ("granted_keys", targets::seal::granted_keys),
    ("identities", targets::server::identities),
    ("if_match", targets::server::if_match),
    ("json_body", targets::server::json_body),
    ("joiner_state", targets::seal::joiner_state),
    ("sealing_key_file", targets::seal::sealing_key_file),
    ("sealed_by", targets::seal::sealed_by),
    ("sealed_keys", targets::seal::sealed_keys),
    ("recovery_text", targets::seal::recovery_text),
    ("object_body", targets::object::object_body),
    ("object_change", targets::object::object_change),
    ("object_header", targets::object::object_header),
    ("policy_expression", targets::policy::expression),
    ("policy_file", targets::policy::file),
    ("query", targets::server::query),
    ("record", targets::record::record),
    ("secret_body", targets::record::secret_body),
    ("token_document", targets::client::token_document),
    ("tpm_answer", targets::tpm::answer),
    ("tpm_certificate", targets::tpm::certificate),
    ("tpm_message", targets::tpm::message),
    ("tpm_structure", targets::tpm::structure),
];

/// The target of that name.
#[must_use]
pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The folders of seeds are what `cargo xtask fuzz` goes by.
    #[test]
    fn each_target_has_seeds_and_survives_them() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        let folders: BTreeSet<String> = std::fs::read_dir(&seeds)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(folders, names);
        for (name, target) in TARGETS {
            let mut count = 0;
            for entry in std::fs::read_dir(seeds.join(name)).unwrap() {
                target(&std::fs::read(entry.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name}");
            target(&[]);
        }
    }
}
