//! What goes into an envelope: the keys that lock it, prepared, and the description of the key inside.

use std::fmt;

use super::{IV_LENGTH, MAXIMUM_KEY_LENGTH};
use crate::algorithms::{Algorithm, validate};
use crate::{CryptoError, KeyMaterial, RecordCipher, kdf, random};

/// The length of master keys and scope keys, in bytes.
pub const MASTER_KEY_LENGTH: usize = 32;
/// The longest id of a master key or scope key, in bytes.
pub const WRAPPING_ID_LENGTH_LIMIT: usize = 64;
/// The longest key-id an envelope is bound to, in bytes.
pub const KEY_ID_LENGTH_LIMIT: usize = 1024;

const MASTER_LABEL: &str = "chatelaine envelope v1 master wrap";
const SCOPE_LABEL: &str = "chatelaine envelope v1 scope wrap";
const SCOPE_DERIVATION_LABEL: &str = "chatelaine envelope v1 scope derivation";

/// A service's master key with its id, prepared for envelopes.
///
/// Envelopes use a key derived from it for this purpose only, so the master key may have other uses.
pub struct MasterKey {
    id: String,
    cipher: RecordCipher,
}

impl MasterKey {
    /// Prepares a key of 32 bytes. The id is 1 to 64 bytes of printable ASCII without spaces, for example a UUID.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] or [`CryptoError::InvalidFormat`] for another key length or id.
    pub fn new(id: &str, key: &KeyMaterial) -> Result<Self, CryptoError> {
        check_wrapping_key(id, key)?;
        let derived = kdf::derive(key, MASTER_LABEL, &[id.as_bytes()], MASTER_KEY_LENGTH)?;
        Ok(Self { id: id.to_owned(), cipher: RecordCipher::new(&derived)? })
    }

    /// The id that envelopes carry.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn cipher(&self) -> &RecordCipher {
        &self.cipher
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MasterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A customer's scope key with its id, prepared for envelopes.
pub struct ScopeKey {
    id: String,
    cipher: RecordCipher,
    derivation_key: KeyMaterial,
}

impl ScopeKey {
    /// Prepares a key of 32 bytes. The id is 1 to 64 bytes of printable ASCII without spaces, for example a UUID.
    ///
    /// # Errors
    /// [`CryptoError::InvalidLength`] or [`CryptoError::InvalidFormat`] for another key length or id.
    pub fn new(id: &str, key: &KeyMaterial) -> Result<Self, CryptoError> {
        check_wrapping_key(id, key)?;
        let derived = kdf::derive(key, SCOPE_LABEL, &[id.as_bytes()], MASTER_KEY_LENGTH)?;
        let derivation_key = kdf::derive(key, SCOPE_DERIVATION_LABEL, &[id.as_bytes()], MASTER_KEY_LENGTH)?;
        Ok(Self { id: id.to_owned(), cipher: RecordCipher::new(&derived)?, derivation_key })
    }

    /// The id that envelopes carry.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn cipher(&self) -> &RecordCipher {
        &self.cipher
    }

    pub(super) fn derivation_key(&self) -> &KeyMaterial {
        &self.derivation_key
    }
}

impl fmt::Debug for ScopeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ScopeKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Algorithm and bit length of the key in an envelope, checked against the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    algorithm: &'static Algorithm,
    bits: u32,
}

impl KeySpec {
    /// Looks the algorithm up by name or alias and checks the bit length.
    ///
    /// # Errors
    /// As [`validate`].
    pub fn new(algorithm: &str, bits: u32) -> Result<Self, CryptoError> {
        validate(algorithm, bits, None).map(|algorithm| Self { algorithm, bits })
    }

    /// The algorithm's entry in the registry.
    #[must_use]
    pub fn algorithm(&self) -> &'static Algorithm {
        self.algorithm
    }

    /// The bit length of the key.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    pub(super) fn from_numbers(number: u16, bits: u32) -> Result<Self, CryptoError> {
        let algorithm = Algorithm::by_number(number)?;
        algorithm.check_bits(bits)?;
        Ok(Self { algorithm, bits })
    }

    /// The algorithm's number and the bit length, as in the header.
    pub(super) fn encoded(&self) -> [u8; 6] {
        let [a, b] = self.algorithm.number.to_be_bytes();
        let [c, d, e, f] = self.bits.to_be_bytes();
        [a, b, c, d, e, f]
    }

    pub(super) fn byte_length(&self) -> usize {
        usize::try_from(self.bits.div_ceil(8)).unwrap_or(usize::MAX)
    }

    /// How many low-order bits of the last byte carry nothing.
    pub(super) fn unused_bits(&self) -> usize {
        usize::try_from(self.bits.wrapping_neg() % 8).unwrap_or(0)
    }

    /// Checks that `length` bytes can be a key of this description.
    pub(super) fn check_length(&self, length: usize) -> Result<(), CryptoError> {
        let (fits, allowed) = if self.algorithm.kind.is_bit_string() {
            (length == self.byte_length(), "the bit length divided by 8, rounded up")
        } else {
            ((1..=MAXIMUM_KEY_LENGTH).contains(&length), "1 to 65536 bytes")
        };
        if fits {
            return Ok(());
        }
        Err(CryptoError::InvalidLength { what: "key in an envelope, in bytes,", length, allowed })
    }

    pub(super) fn check_key(&self, key: &KeyMaterial) -> Result<(), CryptoError> {
        self.check_length(key.len())?;
        let used = random::mask(self.unused_bits());
        if self.algorithm.kind.is_bit_string() && key.expose().last().is_some_and(|last| last & !used != 0) {
            return Err(CryptoError::InvalidFormat("bits beyond the bit length of a key must be zero"));
        }
        Ok(())
    }

    /// Checks that such a key can be derived: any string of its length is one, and HKDF reaches that length.
    pub(super) fn check_derivable(&self) -> Result<(), CryptoError> {
        if !self.algorithm.kind.is_bit_string() {
            return Err(CryptoError::InvalidFormat(
                "a key pair cannot be derived under a compound lock; use a dual lock",
            ));
        }
        if self.byte_length() > kdf::MAXIMUM_OUTPUT_LENGTH {
            return Err(CryptoError::InvalidLength {
                what: "key under a compound lock, in bytes,",
                length: self.byte_length(),
                allowed: "at most 8160 bytes",
            });
        }
        Ok(())
    }
}

/// Checks the id of a master key or scope key.
pub(super) fn check_wrapping_id(id: &[u8]) -> Result<(), CryptoError> {
    if !(1..=WRAPPING_ID_LENGTH_LIMIT).contains(&id.len()) {
        return Err(CryptoError::InvalidFormat(
            "the id of a master key or scope key must have 1 to 64 bytes",
        ));
    }
    if !id.iter().all(u8::is_ascii_graphic) {
        return Err(CryptoError::InvalidFormat(
            "the id of a master key or scope key must be printable ASCII without spaces",
        ));
    }
    Ok(())
}

/// Checks the key-id an envelope is bound to.
pub(super) fn check_key_id(key_id: &str) -> Result<(), CryptoError> {
    if (1..=KEY_ID_LENGTH_LIMIT).contains(&key_id.len()) {
        return Ok(());
    }
    Err(CryptoError::InvalidLength {
        what: "key-id of an envelope, in bytes,",
        length: key_id.len(),
        allowed: "1 to 1024 bytes",
    })
}

fn check_wrapping_key(id: &str, key: &KeyMaterial) -> Result<(), CryptoError> {
    const { assert!(MASTER_KEY_LENGTH == IV_LENGTH) };
    check_wrapping_id(id.as_bytes())?;
    if key.len() == MASTER_KEY_LENGTH {
        return Ok(());
    }
    Err(CryptoError::InvalidLength {
        what: "master key or scope key, in bytes,",
        length: key.len(),
        allowed: "32 bytes",
    })
}
