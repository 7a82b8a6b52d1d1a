//! Master keys, as a seal hands them out.
//!
//! Invariant: exactly one key is active, ids differ, and nothing here prints key bytes.

use std::fmt;

use chatelaine_crypto::KeyMaterial;

use crate::SealError;

/// The length of a master key, in bits.
pub(crate) const MASTER_KEY_BITS: usize = 256;

/// The id of a master key: a UUID in its canonical lower-case form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId(String);

impl MasterKeyId {
    /// A random id (UUID version 4, RFC 9562 section 5.4).
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the system gives no random bytes.
    pub fn random() -> Result<Self, SealError> {
        let random = KeyMaterial::random(128)?;
        let mut text = String::with_capacity(36);
        for (index, byte) in random.expose().iter().enumerate() {
            let byte = match index {
                6 => (byte & 0x0f) | 0x40,
                8 => (byte & 0x3f) | 0x80,
                _ => *byte,
            };
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        Ok(Self(text))
    }

    /// Parses the canonical form only.
    ///
    /// # Errors
    /// [`SealError::InvalidId`] for anything else, and for the nil UUID.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let well_formed = text.len() == 36
            && text.bytes().enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            });
        if well_formed && text.bytes().any(|byte| !matches!(byte, b'0' | b'-')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SealError::InvalidId)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One master key.
pub struct MasterKey {
    /// Its id, which what it wraps names.
    pub id: MasterKeyId,
    /// Its 32 bytes.
    pub material: KeyMaterial,
}

impl MasterKey {
    /// A new random key of 256 bits under a new random id.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the system gives no random bytes.
    pub fn random() -> Result<Self, SealError> {
        Ok(Self { id: MasterKeyId::random()?, material: KeyMaterial::random(MASTER_KEY_BITS)? })
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(secret)")
    }
}

/// All master keys of an installation.
pub struct MasterKeys {
    /// The one that new keys are wrapped under.
    pub active: MasterKey,
    /// Those that older keys may still be wrapped under.
    pub retired: Vec<MasterKey>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKeys(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_version_4_uuids() {
        let id = MasterKeyId::random().unwrap();
        assert_eq!(MasterKeyId::parse(id.as_str()).unwrap(), id);
        assert_eq!(id.as_str().as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_str().as_bytes()[19]));
        assert_ne!(MasterKeyId::random().unwrap(), id);
    }

    #[test]
    fn only_the_canonical_form_is_an_id() {
        for text in [
            "",
            "6F1C7A0E-3B52-4A53-9A54-0F6C1F5BE1A7",
            "6f1c7a0e3b524a539a540f6c1f5be1a7",
            "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1a7 ",
            "6f1c7a0e-3b52-4a53-9a54-0f6c1f5be1ag",
            "6f1c7a0e-3b52-4a53-9a540-f6c1f5be1a7",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert!(matches!(MasterKeyId::parse(text), Err(SealError::InvalidId)), "{text}");
        }
    }

    #[test]
    fn debug_output_is_constant() {
        let key = MasterKey::random().unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey(secret)");
        let keys = MasterKeys { active: key, retired: vec![MasterKey::random().unwrap()] };
        assert_eq!(format!("{keys:?}"), "MasterKeys(secret)");
    }
}
