//! Message authentication and digests: HMAC-SHA-256 (RFC 2104, FIPS 198-1) and SHA-256 (FIPS 180-4).
//!
//! Owns [`MacKey`]. Parts are authenticated as their plain concatenation: where their borders carry meaning, the caller
//! adds lengths or separators.
//!
//! Invariant: tags are compared in constant time and at full length.

#[cfg(test)]
mod tests;

use aws_lc_rs::{digest, hmac};
use subtle::ConstantTimeEq;

use crate::KeyMaterial;
use crate::material::Locked;

/// The length of a tag and of a digest, in bytes.
pub const TAG_LENGTH: usize = 32;

/// A key prepared for HMAC-SHA-256. Its state lies in secret memory.
pub struct MacKey {
    key: Locked<hmac::Key>,
}

impl MacKey {
    /// Prepares a key of any length. Keys should have at least 32 bytes; longer ones than 64 are hashed first.
    #[must_use]
    pub fn new(key: &KeyMaterial) -> Self {
        Self { key: Locked::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose())) }
    }

    /// The tag over the concatenation of `parts`.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; TAG_LENGTH] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        first_bytes(context.sign().as_ref())
    }

    /// Whether `tag` is the full tag over the concatenation of `parts`; compared in constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.sign(parts).ct_eq(tag).into()
    }
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MacKey(secret)")
    }
}

/// The SHA-256 digest of the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; TAG_LENGTH] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    first_bytes(context.finish().as_ref())
}

/// The library returns slices that are always this long.
fn first_bytes(bytes: &[u8]) -> [u8; TAG_LENGTH] {
    let mut array = [0_u8; TAG_LENGTH];
    for (target, source) in array.iter_mut().zip(bytes) {
        *target = *source;
    }
    array
}
