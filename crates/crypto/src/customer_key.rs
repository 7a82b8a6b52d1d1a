//! Fingerprints of keys that customers bring with their requests.
//!
//! Owns the check that a key is the one something was encrypted with, before any byte of it is decrypted: such a key is used and
//! never stored, so what is stored beside the data is a [`fingerprint`] of it.
//!
//! The fingerprint is 32 bytes of HKDF-SHA-256 over the key ([`derive`]) under a label of its own, bound to a random salt and to a
//! context that says what the key is for, for example the path of an object. It tells nothing about the key or about anything else
//! derived from it; under different salts or contexts the same key has fingerprints that cannot be linked. Two keys with one
//! fingerprint cannot be found, so a fingerprint also commits to the key.
//!
//! Invariant: fingerprints are compared in constant time and at full length.
//!
//! Refuses: keys that could be found by trying (below 128 bits) or that are no keys (above 512), short or overlong salts,
//! overlong contexts. The length says nothing about how random a key is: a fingerprint of a passphrase lets whoever holds it try
//! passphrases, so derive a key from it first.

#[cfg(test)]
mod tests;

use crate::{CryptoError, KeyMaterial, derive, random};

/// The length of a fingerprint, in bytes.
pub const FINGERPRINT_LENGTH: usize = 32;
/// The length of the salts that [`salt`] makes, in bytes; the shortest that is taken.
pub const SALT_LENGTH: usize = 16;
/// The longest salt that is taken, in bytes.
pub const MAXIMUM_SALT_LENGTH: usize = 64;
/// The shortest key, in bytes.
pub const MINIMUM_KEY_LENGTH: usize = 16;
/// The longest key, in bytes: both keys of AES-256-XTS.
pub const MAXIMUM_KEY_LENGTH: usize = 64;
/// The longest context, in bytes.
pub const MAXIMUM_CONTEXT_LENGTH: usize = 65_536;

const LABEL: &str = "chatelaine customer key fingerprint v1";

/// A new random salt. It is no secret and is stored with the fingerprint.
///
/// # Errors
/// [`CryptoError::Random`] if there are no random bytes.
pub fn salt() -> Result<[u8; SALT_LENGTH], CryptoError> {
    let mut salt = [0; SALT_LENGTH];
    random::fill_public(&mut salt)?;
    Ok(salt)
}

/// The fingerprint of a key of 16 to 64 bytes, under a salt of 16 to 64 bytes and a context of at most 64 KiB.
///
/// # Errors
/// [`CryptoError::InvalidLength`] for other lengths.
pub fn fingerprint(
    key: &KeyMaterial,
    salt: &[u8],
    context: &[u8],
) -> Result<[u8; FINGERPRINT_LENGTH], CryptoError> {
    let mut fingerprint = [0; FINGERPRINT_LENGTH];
    for (target, source) in fingerprint.iter_mut().zip(derived(key, salt, context)?.expose()) {
        *target = *source;
    }
    Ok(fingerprint)
}

/// Checks that a key is the one that `fingerprint` was made of, with the same salt and context.
///
/// # Errors
/// [`CryptoError::Authentication`] when it is not, or when one of the others was changed; [`CryptoError::InvalidLength`] for
/// lengths that no fingerprint was ever made of, and for a fingerprint that has not 32 bytes.
pub fn check(key: &KeyMaterial, salt: &[u8], context: &[u8], fingerprint: &[u8]) -> Result<(), CryptoError> {
    if fingerprint.len() != FINGERPRINT_LENGTH {
        return Err(CryptoError::InvalidLength {
            what: "fingerprint of a customer's key, in bytes,",
            length: fingerprint.len(),
            allowed: "32",
        });
    }
    if derived(key, salt, context)?.ct_eq(fingerprint) { Ok(()) } else { Err(CryptoError::Authentication) }
}

fn derived(key: &KeyMaterial, salt: &[u8], context: &[u8]) -> Result<KeyMaterial, CryptoError> {
    let within = |what, length, minimum, maximum, allowed| {
        if (minimum..=maximum).contains(&length) {
            return Ok(());
        }
        Err(CryptoError::InvalidLength { what, length, allowed })
    };
    within("customer's key, in bytes,", key.len(), MINIMUM_KEY_LENGTH, MAXIMUM_KEY_LENGTH, "16 to 64")?;
    within("salt of a customer's key, in bytes,", salt.len(), SALT_LENGTH, MAXIMUM_SALT_LENGTH, "16 to 64")?;
    within(
        "context of a customer's key, in bytes,",
        context.len(),
        0,
        MAXIMUM_CONTEXT_LENGTH,
        "at most 65536",
    )?;
    derive(key, LABEL, &[salt, context], FINGERPRINT_LENGTH)
}
