//! Checks of what another host says of its TPM: that a key is what it has to be, and that it signed a quote.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};

use super::exchange::{padded, uncompressed};
use crate::error::TpmError;
use crate::types::{Attributes, Curve, EcdsaSignature, HashAlgorithm, KeyParameters, Public};

/// What both kinds of keys of a TPM are: made by it, never to leave it, and working on its own structures only.
const OWN: Attributes = Attributes::FIXED_TPM
    .with(Attributes::FIXED_PARENT)
    .with(Attributes::SENSITIVE_DATA_ORIGIN)
    .with(Attributes::RESTRICTED);

/// Why a key is not what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnfitKey {
    /// It may leave its TPM, or was not made by one, or works on anything.
    #[error(
        "it is not bound to its TPM: fixedTPM, fixedParent, sensitiveDataOrigin and restricted have to be set"
    )]
    NotBound,
    /// It is for something else.
    #[error("it is for another use: an endorsement key decrypts only, an attestation key signs only")]
    Use,
    /// Its algorithm.
    #[error(
        "its algorithm is not allowed: endorsement keys are RSA from 2048 bits, P-256 or P-384 with AES; attestation \
         keys are P-256 with ECDSA and SHA-256"
    )]
    Algorithm,
}

/// Whether a key has the attributes of an endorsement key: a storage key that never leaves its TPM.
///
/// # Errors
/// [`UnfitKey`]
pub fn check_endorsement_key(key: &Public) -> Result<(), UnfitKey> {
    if !key.attributes.has(OWN) {
        return Err(UnfitKey::NotBound);
    }
    if !key.attributes.has(Attributes::DECRYPT) || key.attributes.has_any(Attributes::SIGN) {
        return Err(UnfitKey::Use);
    }
    let complete = match &key.parameters {
        KeyParameters::Rsa { modulus, bits, .. } => modulus.len() == usize::from(bits / 8),
        KeyParameters::Ecc { x, y, ecdsa, .. } => !x.is_empty() && !y.is_empty() && ecdsa.is_none(),
        KeyParameters::KeyedHash { .. } => false,
    };
    if !complete || key.aes_bits().is_none() {
        return Err(UnfitKey::Algorithm);
    }
    Ok(())
}

/// Whether a key has the attributes of an attestation key: it signs only what its own TPM says.
///
/// # Errors
/// [`UnfitKey`]
pub fn check_attestation_key(key: &Public) -> Result<(), UnfitKey> {
    if !key.attributes.has(OWN) {
        return Err(UnfitKey::NotBound);
    }
    if !key.attributes.has(Attributes::SIGN) || key.attributes.has_any(Attributes::DECRYPT) {
        return Err(UnfitKey::Use);
    }
    let allowed = matches!(
        key.parameters,
        KeyParameters::Ecc { aes_bits: None, ecdsa: Some(HashAlgorithm::Sha256), curve: Curve::P256, .. }
    );
    if !allowed || key.name_algorithm != HashAlgorithm::Sha256 || p256_key(key).is_err() {
        return Err(UnfitKey::Algorithm);
    }
    Ok(())
}

/// Whether the P-256 key signed these bytes with ECDSA and SHA-256.
#[must_use]
pub fn is_signed_by(bytes: &[u8], signature: &EcdsaSignature, key: &Public) -> bool {
    if signature.hash != HashAlgorithm::Sha256 {
        return false;
    }
    let (Ok(key), Some(signature)) = (p256_key(key), p256_signature(signature)) else { return false };
    key.verify_prehash(&HashAlgorithm::Sha256.digest(&[bytes]), &signature).is_ok()
}

/// The P-256 key in a public area.
pub(crate) fn p256_key(public: &Public) -> Result<VerifyingKey, TpmError> {
    let KeyParameters::Ecc { curve: Curve::P256, x, y, .. } = &public.parameters else {
        return Err(TpmError::invalid("public key", "it is not of P-256"));
    };
    VerifyingKey::from_sec1_bytes(&uncompressed(Curve::P256, x, y)?)
        .map_err(|_| TpmError::invalid("public key", "the point is not on the curve"))
}

/// The signature with both numbers at their full length.
pub(crate) fn p256_signature(signature: &EcdsaSignature) -> Option<Signature> {
    let mut bytes = padded(&signature.r, Curve::P256.size()).ok()?;
    bytes.extend(padded(&signature.s, Curve::P256.size()).ok()?);
    Signature::from_slice(&bytes).ok()
}
