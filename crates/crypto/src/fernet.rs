//! Opening Fernet tokens (version 0x80 of the Fernet specification): AES-128-CBC under HMAC-SHA-256.
//!
//! Owns [`FernetKey`], for data that another program sealed: Barbican's software backend keeps its secrets this way.
//! Nothing is ever sealed in this format here, as a key of 128 bits without associated data is less than
//! [`RecordCipher`](crate::RecordCipher) gives.
//!
//! Invariants: the tag is checked, in constant time, before anything is decrypted; the time in a token is not looked
//! at, since what is stored does not expire; a failure does not tell which check failed.

#[cfg(test)]
mod tests;

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::mac::TAG_LENGTH;
use crate::{CryptoError, KeyMaterial, MacKey};

/// The length of a key in base64, in bytes.
pub const KEY_TEXT_LENGTH: usize = 44;
/// The longest token, in bytes: a secret of 64 KiB takes 87,500.
pub const MAXIMUM_TOKEN_LENGTH: usize = 4 << 20;

const VERSION: u8 = 0x80;
const TIME_LENGTH: usize = 8;
const BLOCK: usize = 16;
const HALF_KEY: usize = 16;

/// With its padding, as the specification has it; unused bits at the end are passed over, as its other readers do.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);

/// A Fernet key: one half signs, the other encrypts.
pub struct FernetKey {
    mac: MacKey,
    encryption: KeyMaterial,
}

impl FernetKey {
    /// Reads a key of 32 bytes from base64, in either alphabet.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] for another length, [`CryptoError::InvalidFormat`] for what is not base64.
    pub fn parse(text: &[u8]) -> Result<Self, CryptoError> {
        let wrong_length = |length| CryptoError::InvalidLength {
            what: "Fernet key in base64, in bytes,",
            length,
            allowed: "44 bytes",
        };
        if text.len() != KEY_TEXT_LENGTH {
            return Err(wrong_length(text.len()));
        }
        // One byte more than a key has: the longest that this text could hold.
        let mut bytes = KeyMaterial::zeroed(HALF_KEY * 2 + 1);
        let length = URL_SAFE
            .decode_slice(text, bytes.expose_mut())
            .or_else(|_| STANDARD.decode_slice(text, bytes.expose_mut()))
            .map_err(|_| CryptoError::InvalidFormat("a Fernet key is 32 bytes in base64"))?;
        let (signing, encryption) = match bytes.expose().split_at_checked(HALF_KEY) {
            Some((signing, rest)) if length == HALF_KEY * 2 => (signing, rest.get(..HALF_KEY)),
            _ => return Err(CryptoError::InvalidFormat("a Fernet key is 32 bytes in base64")),
        };
        let encryption = encryption.ok_or_else(|| wrong_length(length))?;
        Ok(Self {
            mac: MacKey::new(&KeyMaterial::copy_from(signing)),
            encryption: KeyMaterial::copy_from(encryption),
        })
    }

    /// Opens a token.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] for a longer one than any, [`CryptoError::InvalidFormat`] for what is no token of
    /// this version, [`CryptoError::Authentication`] when this key did not seal it or it was changed since.
    pub fn open(&self, token: &[u8]) -> Result<KeyMaterial, CryptoError> {
        const NO_TOKEN: CryptoError = CryptoError::InvalidFormat("this is no Fernet token of version 0x80");
        if token.len() > MAXIMUM_TOKEN_LENGTH {
            return Err(CryptoError::InvalidLength {
                what: "Fernet token, in bytes,",
                length: token.len(),
                allowed: "at most 4194304 bytes",
            });
        }
        let bytes = URL_SAFE.decode(token).map_err(|_| NO_TOKEN)?;
        let tag_at = bytes.len().checked_sub(TAG_LENGTH).ok_or(NO_TOKEN)?;
        let (signed, tag) = bytes.split_at_checked(tag_at).ok_or(NO_TOKEN)?;
        let (version, rest) = signed.split_first().ok_or(NO_TOKEN)?;
        let (_time, rest) = rest.split_at_checked(TIME_LENGTH).ok_or(NO_TOKEN)?;
        let (iv, sealed) = rest.split_first_chunk::<BLOCK>().ok_or(NO_TOKEN)?;
        if *version != VERSION || sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK) {
            return Err(NO_TOKEN);
        }
        if !self.mac.verify(&[signed], tag) {
            return Err(CryptoError::Authentication);
        }
        let mut buffer = KeyMaterial::copy_from(sealed);
        let plain = self
            .cipher()?
            .decrypt(buffer.expose_mut(), DecryptionContext::Iv128(FixedLength::from(iv)))
            .map_err(|_| CryptoError::Authentication)?;
        Ok(KeyMaterial::copy_from(plain))
    }

    fn cipher(&self) -> Result<PaddedBlockDecryptingKey, CryptoError> {
        UnboundCipherKey::new(&AES_128, self.encryption.expose())
            .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
            .map_err(|_| CryptoError::Library("AES key set-up"))
    }
}

impl std::fmt::Debug for FernetKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FernetKey(secret)")
    }
}
