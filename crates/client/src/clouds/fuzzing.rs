//! What the fuzz targets reach into: `clouds.yaml`, with what must hold for any text.

use super::error::Origin;
use super::settings::CloudSettings;
use super::{files, interpret};
use crate::secret::SecretText;

/// Nobody's name.
const CANARY: &str = "a-secret-that-is-nowhere-else";

/// A file is refused in words, or each of its clouds is understood or refused in words, and neither shows a secret.
pub fn clouds_file(text: &str) {
    let names: Vec<String> = match files::parse(text) {
        Err(problem) => return assert!(!problem.is_empty()),
        Ok(clouds) => clouds.into_keys().collect(),
    };
    for name in names {
        let plain = shown(text, &name, |_| {});
        let secret = shown(text, &name, |settings| {
            let auth = &mut settings.auth;
            for field in [&mut auth.password, &mut auth.token, &mut auth.application_credential_secret] {
                if field.is_some() {
                    *field = Some(SecretText::new(CANARY));
                }
            }
        });
        assert!(!plain.is_empty());
        assert!(plain.contains(CANARY) || !secret.contains(CANARY), "{secret}");
    }
}

/// What people see of a cloud, or of its refusal.
fn shown(text: &str, name: &str, change: impl FnOnce(&mut CloudSettings)) -> String {
    let Some(mut settings) = files::parse(text).ok().and_then(|mut clouds| clouds.remove(name)) else {
        return String::new();
    };
    change(&mut settings);
    match interpret(settings, &Origin::File { path: "clouds.yaml".into(), cloud: name.to_owned() }) {
        Ok(cloud) => format!("{cloud:?}"),
        Err(error) => format!("{error} {error:?}"),
    }
}
