//! The check that every seal passes, and what tests of seals share.

use crate::{KeyId, KeyIdentity, MasterKey, Seal, SealError};

/// Checks a seal that was never used; `open` makes a new handle on the same place.
///
/// What it sealed opens to the same key through any handle, for the same key's identity alone; each sealing is another
/// one; changed and foreign content is refused; nothing of the key is in what it made.
///
/// # Errors
/// A sentence naming the first thing that is not as it must be.
pub fn conformance(open: &dyn Fn() -> Box<dyn Seal>) -> Result<(), String> {
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let failed = |what: &'static str| move |error: SealError| format!("{what}: {error}");

    let seal = open();
    check(!seal.kind().is_empty() && !seal.name().is_empty(), "a seal names itself")?;
    check(!seal.describe().is_empty(), "a seal describes itself")?;
    seal.prepare().map_err(failed("prepare"))?;

    let cluster = KeyId::random().map_err(failed("an id"))?;
    let other_cluster = KeyId::random().map_err(failed("an id"))?;
    let key = MasterKey::random(3).map_err(failed("a key"))?;
    let identity = key.identity(&cluster);
    let sealed = seal.seal(&key.material, &identity).map_err(failed("seal"))?;
    let again = seal.seal(&key.material, &identity).map_err(failed("seal again"))?;
    check(sealed != again, "sealing twice gives the same bytes")?;
    let text = sealed.to_string();
    for form in [hex(key.material.expose()), base64(key.material.expose())] {
        check(!text.contains(&form), "the key is in what the seal made")?;
    }

    for (when, seal) in [("through the same handle", &seal), ("through a new handle", &open())] {
        for sealed in [&sealed, &again] {
            let opened = seal.open(sealed, &identity).map_err(|error| format!("open {when}: {error}"))?;
            check(opened.ct_eq(key.material.expose()), &format!("{when} another key comes out"))?;
        }
    }

    let other_id = KeyId::random().map_err(failed("an id"))?;
    for (what, identity) in [
        ("another cluster's", KeyIdentity { cluster: &other_cluster, ..identity }),
        ("another epoch's", KeyIdentity { epoch: 4, ..identity }),
        ("another key's", KeyIdentity { id: &other_id, ..identity }),
    ] {
        check(
            matches!(seal.open(&sealed, &identity), Err(SealError::Refused { .. })),
            &format!("it opens in {what} place"),
        )?;
    }

    for content in [serde_json::json!({}), serde_json::json!(null), serde_json::json!({"wrapped": ""})] {
        check(
            matches!(seal.open(&content, &identity), Err(SealError::Refused { .. })),
            "foreign content is refused",
        )?;
    }
    let serde_json::Value::Object(fields) = &sealed else { return Err("a seal makes an object".to_owned()) };
    for (name, value) in fields {
        let Some(text) = value.as_str() else { continue };
        let mut changed = sealed.clone();
        // Another character of the alphabet of base64, hex and ids.
        let mut letters: Vec<char> = text.chars().collect();
        let Some(letter) = letters.first_mut() else { continue };
        *letter = if *letter == 'a' { 'b' } else { 'a' };
        if let Some(field) = changed.get_mut(name) {
            *field = serde_json::Value::String(letters.into_iter().collect());
        }
        check(seal.open(&changed, &identity).is_err(), &format!("it opens with a changed {name}"))?;
    }
    let opened = open().open(&sealed, &identity).map_err(failed("open after all refusals"))?;
    check(opened.ct_eq(key.material.expose()), "after the refusals another key comes out")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A folder that only this user can enter, removed when dropped.
#[cfg(test)]
pub(crate) fn private_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}
