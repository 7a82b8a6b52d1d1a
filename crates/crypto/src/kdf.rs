//! Key derivation: HKDF-SHA-256 (RFC 5869).
//!
//! Owns two functions: [`hkdf_sha256`] as the RFC has it, for formats defined elsewhere, and [`derive`] for keys of our
//! own, which cannot be called with an ambiguous context.
//!
//! Refuses: outputs of no bytes or of more than 8160 (RFC 5869, section 2.3).

#[cfg(test)]
mod tests;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use crate::{CryptoError, KeyMaterial};

/// The longest output in bytes: 255 blocks of SHA-256.
pub const MAXIMUM_OUTPUT_LENGTH: usize = 255 * 32;

/// The salt of [`derive`], which keeps its outputs apart from those of [`hkdf_sha256`] under the same key.
const DERIVE_SALT: &[u8] = b"chatelaine derive v1";

struct OutputLength(usize);

impl KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// Extracts from `input` with `salt` and expands with `info` to `length` bytes, 1 to 8160 (RFC 5869).
///
/// # Errors
/// [`CryptoError::InvalidLength`] for another output length.
pub fn hkdf_sha256(
    input: &[u8],
    salt: &[u8],
    info: &[u8],
    length: usize,
) -> Result<KeyMaterial, CryptoError> {
    if !(1..=MAXIMUM_OUTPUT_LENGTH).contains(&length) {
        return Err(CryptoError::InvalidLength {
            what: "HKDF-SHA-256 output, in bytes,",
            length,
            allowed: "1 to 8160 bytes",
        });
    }
    let mut output = KeyMaterial::zeroed(length);
    Salt::new(HKDF_SHA256, salt)
        .extract(input)
        .expand(&[info], OutputLength(length))
        .and_then(|expanded| expanded.fill(output.expose_mut()))
        .map_err(|_| CryptoError::Library("HKDF-SHA-256"))?;
    Ok(output)
}

/// Derives a key of `length` bytes, 1 to 8160, for the purpose that `label` names, bound to every part of `context`.
///
/// The HKDF info is: the label, a zero byte, the output length in bytes (32 bits, big-endian), then for each part its
/// length in bytes (32 bits, big-endian) and the part. Two calls give related output only if all arguments are equal.
/// The salt is the text `chatelaine derive v1`.
///
/// # Errors
/// [`CryptoError::InvalidFormat`] for a label that is empty or holds a zero byte, [`CryptoError::InvalidLength`] for
/// another output length or a part of 4 GiB or more.
pub fn derive(
    key: &KeyMaterial,
    label: &str,
    context: &[&[u8]],
    length: usize,
) -> Result<KeyMaterial, CryptoError> {
    if label.is_empty() || label.as_bytes().contains(&0) {
        return Err(CryptoError::InvalidFormat("a derivation label must be a text without zero bytes"));
    }
    let mut info = Vec::with_capacity(128);
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    info.extend_from_slice(&length_prefix("HKDF-SHA-256 output, in bytes,", length)?);
    for part in context {
        info.extend_from_slice(&length_prefix("part of a derivation context, in bytes,", part.len())?);
        info.extend_from_slice(part);
    }
    hkdf_sha256(key.expose(), DERIVE_SALT, &info, length)
}

fn length_prefix(what: &'static str, length: usize) -> Result<[u8; 4], CryptoError> {
    match u32::try_from(length) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(CryptoError::InvalidLength { what, length, allowed: "below 4 GiB" }),
    }
}
