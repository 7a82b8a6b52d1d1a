//! The header of an object: everything but keys that decryption needs to know.
//!
//! | Offset | Bytes | Content |
//! |---|---|---|
//! | 0 | 8 | magic: `8f 43 48 54 4c 4e 4f 42` |
//! | 8 | 1 | format version: 1 |
//! | 9 | 1 | number of the cipher |
//! | 10 | 1 | use of the data key: 0 derived, 1 direct |
//! | 11 | 1 | e; a chunk, sector or block has 2^e bytes |
//! | 12 | 1 | k, length of the key-id: 0 to 255 |
//! | 13 | 32 | salt |
//! | 45 | k | key-id, printable ASCII without spaces |
//! | 45 + k | 32 | check value |
//!
//! Invariant: one header has exactly one encoding. What it says is believed only once a data key fits its check value.
//!
//! Refuses: unknown versions and numbers, chunk lengths that the cipher does not have, and trailing bytes.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Cipher, Layout, Mode};
use crate::CryptoError;

/// The first bytes of every header.
pub const MAGIC: [u8; 8] = *b"\x8fCHTLNOB";
/// The format version this release writes and reads.
pub const VERSION: u8 = 1;
/// The longest key-id, in bytes.
pub const MAXIMUM_KEY_ID_LENGTH: usize = u8::MAX as usize;
/// The longest header, in bytes.
pub const MAXIMUM_HEADER_LENGTH: usize = FIXED_LENGTH + MAXIMUM_KEY_ID_LENGTH;

/// All but the key-id.
const FIXED_LENGTH: usize = 77;
pub(super) const SALT_LENGTH: usize = 32;
pub(super) const CHECK_LENGTH: usize = 32;

/// What the data key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// A key for this object alone is derived from it, so one data key may serve many objects.
    Derived,
    /// It is the cipher's key: equal sectors at equal places encrypt equally under it, in all objects. For XTS only.
    Direct,
}

impl KeyUse {
    /// The number in headers.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Derived => 0,
            Self::Direct => 1,
        }
    }
}

/// What is stored with the body of an object. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub(super) cipher: Cipher,
    pub(super) key_use: KeyUse,
    pub(super) layout: Layout,
    pub(super) salt: [u8; SALT_LENGTH],
    pub(super) key_id: String,
    pub(super) check: [u8; CHECK_LENGTH],
}

impl Header {
    /// Whether `bytes` begin like a header. Says nothing about the rest.
    #[must_use]
    pub fn is_header(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads a header that is kept apart from its body.
    ///
    /// # Errors
    /// [`CryptoError::InvalidFormat`], [`CryptoError::UnsupportedVersion`] and [`CryptoError::UnknownAlgorithm`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CryptoError> {
        match Self::parse_front(bytes)? {
            Some((header, length)) if length == bytes.len() => Ok(header),
            Some(_) => Err(CryptoError::InvalidFormat("bytes follow the object header")),
            None => Err(CryptoError::InvalidFormat("the object header is cut off")),
        }
    }

    /// Reads a header that stands in front of its body, and tells its length; nothing where more bytes are needed, of
    /// which [`MAXIMUM_HEADER_LENGTH`] are always enough.
    ///
    /// # Errors
    /// As [`Header::parse`]; what cannot become a header is refused as soon as that can be seen.
    pub fn parse_front(bytes: &[u8]) -> Result<Option<(Self, usize)>, CryptoError> {
        let begun = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if !MAGIC.starts_with(begun) {
            return Err(CryptoError::InvalidFormat(
                "this is no encrypted object: its header has another magic",
            ));
        }
        let Some(rest) = bytes.get(MAGIC.len()..) else { return Ok(None) };
        let Some((&version, rest)) = rest.split_first() else { return Ok(None) };
        if version != VERSION {
            return Err(CryptoError::UnsupportedVersion { found: version, supported: VERSION });
        }
        let Some((&[cipher, key_use, exponent, key_id_length], rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let cipher = Cipher::by_number(cipher)?;
        let key_use = match key_use {
            0 => KeyUse::Derived,
            1 if cipher.mode() == Mode::Xts => KeyUse::Direct,
            1 => return Err(CryptoError::InvalidFormat("only XTS uses a data key directly")),
            _ => return Err(CryptoError::InvalidFormat("use of the data key in an object header: 0 or 1")),
        };
        let layout = Layout::with_exponent(cipher, exponent).ok_or(CryptoError::InvalidFormat(
            "chunk length in an object header that the cipher does not have",
        ))?;
        let Some((salt, rest)) = rest.split_first_chunk::<SALT_LENGTH>() else { return Ok(None) };
        let Some((key_id, rest)) = rest.split_at_checked(usize::from(key_id_length)) else { return Ok(None) };
        let Some(check) = rest.first_chunk::<CHECK_LENGTH>() else { return Ok(None) };
        let key_id = std::str::from_utf8(key_id).map_err(|_| KEY_ID_RULE)?;
        check_key_id(key_id)?;
        let key_id = key_id.to_owned();
        let length = FIXED_LENGTH.saturating_add(key_id.len());
        Ok(Some((Self { cipher, key_use, layout, salt: *salt, key_id, check: *check }, length)))
    }

    /// The one encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.checked_bytes();
        bytes.extend_from_slice(&self.check);
        bytes
    }

    /// The encoding as text for headers of HTTP and the like: base64url without padding (RFC 4648, section 5).
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes())
    }

    /// Reads what [`Header::to_text`] wrote.
    ///
    /// # Errors
    /// [`CryptoError::InvalidFormat`] for text that is no base64url, and as [`Header::parse`].
    pub fn from_text(text: &str) -> Result<Self, CryptoError> {
        if text.len() > MAXIMUM_HEADER_LENGTH.saturating_mul(2) {
            return Err(CryptoError::InvalidFormat("the text of an object header is longer than any"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| {
            CryptoError::InvalidFormat("the text of an object header is base64url without padding")
        })?;
        Self::parse(&bytes)
    }

    /// The cipher.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// What the data key is for.
    #[must_use]
    pub fn key_use(&self) -> KeyUse {
        self.key_use
    }

    /// How the body is cut.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The id of the data key, where it was given; not believed before the key it leads to has been found to fit.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        (!self.key_id.is_empty()).then_some(self.key_id.as_str())
    }

    /// Everything before the check value, which is computed over it.
    pub(super) fn checked_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAXIMUM_HEADER_LENGTH);
        bytes.extend_from_slice(&MAGIC);
        let key_id_length = u8::try_from(self.key_id.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(&[
            VERSION,
            self.cipher.number(),
            self.key_use.number(),
            self.layout.exponent(),
            key_id_length,
        ]);
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes
    }
}

const KEY_ID_RULE: CryptoError = CryptoError::InvalidFormat(
    "a key-id in an object header is at most 255 bytes of printable ASCII without spaces",
);

/// Checks a key-id; the empty one stands for none.
pub(super) fn check_key_id(key_id: &str) -> Result<(), CryptoError> {
    let good = key_id.len() <= MAXIMUM_KEY_ID_LENGTH && key_id.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(()) } else { Err(KEY_ID_RULE) }
}
