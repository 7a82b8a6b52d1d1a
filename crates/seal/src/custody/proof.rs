//! What is derived from master keys for the document itself: the check of each key, the authenticator, the cipher of the
//! audit trail's key.

use chatelaine_crypto::{KeyMaterial, MacKey, RecordCipher, derive};

use super::AuditKey;
use crate::document::{MAX_DOCUMENT, SealedAuditKey, SealedKeys};
use crate::{KeyIdentity, MasterKey, SealError};

fn check_key(material: &KeyMaterial) -> Result<MacKey, SealError> {
    Ok(MacKey::new(&derive(material, "chatelaine master key check", &[], 32)?))
}

pub(super) fn check_of(key: &MasterKey, identity: &KeyIdentity<'_>) -> Result<Vec<u8>, SealError> {
    Ok(check_key(&key.material)?.sign(&[&identity.associated_data("check")]).to_vec())
}

/// Whether a key is the one that a check was made with.
///
/// # Errors
/// [`SealError::Crypto`].
pub(crate) fn key_check(
    material: &KeyMaterial,
    identity: &KeyIdentity<'_>,
    check: &[u8],
) -> Result<bool, SealError> {
    Ok(check_key(material)?.verify(&[&identity.associated_data("check")], check))
}

pub(super) fn authenticator(active: &MasterKey) -> Result<MacKey, SealError> {
    Ok(MacKey::new(&derive(&active.material, "chatelaine sealed master keys", &[], 32)?))
}

/// Signs the document and gives its text.
pub(super) fn authenticate(document: &mut SealedKeys, active: &MasterKey) -> Result<Vec<u8>, SealError> {
    let invalid = |error: serde_json::Error| SealError::Invalid {
        what: "document of sealed master keys",
        problem: error.to_string(),
    };
    let content = document.authenticated().map_err(invalid)?;
    document.authenticator = authenticator(active)?.sign(&[&content]).to_vec();
    let text = document.render().map_err(invalid)?;
    if text.len() > MAX_DOCUMENT {
        return Err(SealError::Invalid {
            what: "document of sealed master keys",
            problem: format!(
                "it would have more than {MAX_DOCUMENT} bytes; remove seals that are not needed"
            ),
        });
    }
    Ok(text)
}

fn audit_cipher(active: &MasterKey) -> Result<RecordCipher, SealError> {
    Ok(RecordCipher::new(&derive(&active.material, "chatelaine audit key", &[], 32)?)?)
}

pub(super) fn wrap_audit_key(active: &MasterKey, key: &AuditKey) -> Result<SealedAuditKey, SealError> {
    let wrapped = audit_cipher(active)?.seal(key.id.as_str().as_bytes(), key.material.expose())?;
    Ok(SealedAuditKey { id: key.id.clone(), wrapped })
}

pub(super) fn open_audit_key(active: &MasterKey, sealed: &SealedAuditKey) -> Result<AuditKey, SealError> {
    let material = audit_cipher(active)?.open(sealed.id.as_str().as_bytes(), &sealed.wrapped)?;
    Ok(AuditKey { id: sealed.id.clone(), material })
}
