//! What a token does with a wrapping key: the two mechanisms.
//!
//! Invariant: no initialization vector of AES-GCM is chosen by anybody but a random generator.

use chatelaine_crypto::KeyMaterial;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism as TokenMechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};

use super::failure::{Failure, is_about_content};
use super::module::Attempt;
use super::token::Token;
use crate::SealError;

/// The length of an initialization vector (NIST SP 800-38D section 8.2.2), in bytes.
pub(super) const IV: usize = 12;
/// The length of AES-GCM's tag, in bytes.
pub(super) const TAG: usize = 16;
const TAG_BITS: std::ffi::c_ulong = 128;
/// The length of a key that another is derived from, in bytes.
const DERIVATION_KEY: std::ffi::c_ulong = 32;

/// Encrypts with AES-GCM: the initialization vector, and the ciphertext with the tag.
pub(super) fn encrypt(
    token: &Token,
    key: ObjectHandle,
    associated_data: &[u8],
    plain: &KeyMaterial,
) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let random = KeyMaterial::random(IV * 8).map_err(SealError::from)?;
    let (iv, sealed) = with_iv(random.expose(), |iv| {
        let parameters = GcmParams::new(iv, associated_data, TAG_BITS.into())?;
        token.session.encrypt(&TokenMechanism::AesGcm(parameters), key, plain.expose())
    })?;
    if sealed.len() != plain.len().saturating_add(TAG) {
        return Err(Failure::refused(
            format!("AES-GCM in the {} gives {} bytes for {}", token.describe(), sealed.len(), plain.len()),
            "set `mechanism` to `aes-key-wrap`",
        ));
    }
    Ok((iv, sealed))
}

/// Encrypts with an initialization vector of ours, or of the token's where it takes none but its own: such tokens want
/// zeros, and put theirs in their place.
fn with_iv(
    random: &[u8],
    mut encrypt: impl FnMut(&mut [u8]) -> Result<Vec<u8>, Error>,
) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut iv = random.to_vec();
    match encrypt(&mut iv) {
        Err(Error::Pkcs11(RvError::MechanismParamInvalid | RvError::ArgumentsBad, _)) => {}
        // A token that put its own in the place of ours is right as well.
        other => {
            let sealed = other?;
            return Ok((iv, sealed));
        }
    }
    iv.fill(0);
    let sealed = encrypt(&mut iv)?;
    if iv.iter().all(|byte| *byte == 0) {
        return Err(Failure::refused(
            "the token takes no initialization vector for AES-GCM, and makes none",
            "set `mechanism` to `aes-key-wrap`",
        ));
    }
    Ok((iv, sealed))
}

/// Decrypts what [`encrypt`] made.
pub(super) fn decrypt(
    token: &Token,
    key: ObjectHandle,
    associated_data: &[u8],
    iv: &[u8],
    sealed: &[u8],
) -> Result<KeyMaterial, Failure> {
    let mut iv = iv.to_vec();
    let parameters = GcmParams::new(&mut iv, associated_data, TAG_BITS.into())?;
    token
        .session
        .decrypt(&TokenMechanism::AesGcm(parameters), key, sealed)
        .map(KeyMaterial::from_vec)
        .map_err(|error| content_or(error, token))
}

/// Makes a key in the token that is wrapped with the wrapping key (RFC 3394), and derives another from it. Neither the
/// wrapping key nor the one that is wrapped is ever outside of the token in plain form.
pub(super) fn derive_anew(
    token: &Token,
    key: ObjectHandle,
    context: &[u8],
) -> Result<(Vec<u8>, KeyMaterial), Failure> {
    let made = token.session.generate_key(
        &TokenMechanism::GenericSecretKeyGen,
        &[
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            // Only so can it be wrapped.
            Attribute::Extractable(true),
            Attribute::Sign(true),
            Attribute::ValueLen(DERIVATION_KEY.into()),
        ],
    )?;
    let wrapped = token.session.wrap_key(&TokenMechanism::AesKeyWrap, key, made)?;
    Ok((wrapped, derive(token, made, context)?))
}

/// Derives the same key from what [`derive_anew`] wrapped.
pub(super) fn derive_again(
    token: &Token,
    key: ObjectHandle,
    context: &[u8],
    wrapped: &[u8],
) -> Result<KeyMaterial, Failure> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let unwrapped = token
        .session
        .unwrap_key(&TokenMechanism::AesKeyWrap, key, wrapped, &template)
        .map_err(|error| content_or(error, token))?;
    derive(token, unwrapped, context)
}

fn derive(token: &Token, key: ObjectHandle, context: &[u8]) -> Result<KeyMaterial, Failure> {
    let derived = token.session.sign(&TokenMechanism::Sha256Hmac, key, context);
    // The session ends soon, and the key with it; a session that is shared by mistake would keep it.
    let destroyed = token.session.destroy_object(key);
    let derived = KeyMaterial::from_vec(derived?);
    destroyed?;
    if derived.len() != 32 {
        return Err(Failure::refused(
            format!("HMAC-SHA-256 in the {} gives {} bytes", token.describe(), derived.len()),
            "set `mechanism` to `aes-gcm`",
        ));
    }
    Ok(derived)
}

fn content_or(error: Error, token: &Token) -> Failure {
    if is_about_content(&error, token.attempt == Attempt::Again) { does_not_open() } else { error.into() }
}

/// What is wrapped is not what the wrapping key made, or not for this master key.
pub(super) fn does_not_open() -> Failure {
    Failure::refused(
        "the wrapping key does not open the master key",
        "restore the file of the sealed master keys from its backup",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    const RANDOM: [u8; IV] = [7; IV];

    fn refusal() -> Error {
        Error::Pkcs11(RvError::MechanismParamInvalid, Function::EncryptInit)
    }

    #[test]
    fn the_token_is_given_a_random_vector() {
        let made = with_iv(&RANDOM, |iv| Ok(iv.to_vec())).unwrap();
        assert_eq!(made, (RANDOM.to_vec(), RANDOM.to_vec()));
    }

    #[test]
    fn a_token_may_put_its_own_vector_in_the_place_of_ours() {
        let made = with_iv(&RANDOM, |iv| {
            iv.fill(9);
            Ok(vec![1])
        });
        assert_eq!(made.unwrap(), (vec![9; IV], vec![1]));
    }

    #[test]
    fn a_token_that_takes_zeros_only_must_make_its_own_vector() {
        let zeros_only = |iv: &[u8]| if iv == [0; IV] { Ok(vec![1]) } else { Err(refusal()) };
        let made = with_iv(&RANDOM, |iv| {
            let outcome = zeros_only(iv);
            if outcome.is_ok() {
                iv.fill(9);
            }
            outcome
        });
        assert_eq!(made.unwrap(), (vec![9; IV], vec![1]));
        assert!(matches!(with_iv(&RANDOM, |iv| zeros_only(iv)), Err(Failure::Refused { .. })));
        assert!(matches!(with_iv(&RANDOM, |_| Err(refusal())), Err(Failure::Refused { .. })));
    }

    #[test]
    fn other_failures_are_not_tried_with_zeros() {
        let mut calls = 0;
        let outcome = with_iv(&RANDOM, |_| {
            calls += 1;
            Err(Error::Pkcs11(RvError::DeviceError, Function::Encrypt))
        });
        assert!(matches!(outcome, Err(Failure::Lost(_))));
        assert_eq!(calls, 1);
    }
}
