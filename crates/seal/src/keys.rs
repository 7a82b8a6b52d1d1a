//! Master keys, as a seal hands them out.
//!
//! Invariant: exactly one key is active, ids differ, and nothing here prints key bytes.

use std::fmt;

use chatelaine_crypto::KeyMaterial;

use crate::SealError;
use crate::document::KeyState;

/// The length of a master key, in bits.
pub(crate) const MASTER_KEY_BITS: usize = 256;

/// The id of a key, or of a cluster of servers: a UUID in its canonical lower-case form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// A random id (UUID version 4, RFC 9562 section 5.4).
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the system gives no random bytes.
    pub fn random() -> Result<Self, SealError> {
        Ok(Self::from_random(KeyMaterial::random(128)?.expose()))
    }

    /// The id made of the first 16 of some random bytes.
    pub(crate) fn from_random(random: &[u8]) -> Self {
        let mut text = String::with_capacity(36);
        for (index, byte) in random.iter().take(16).enumerate() {
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
        Self(text)
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

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One master key.
pub struct MasterKey {
    /// Its id, which what it wraps names.
    pub id: KeyId,
    /// Its number in the row of the cluster's master keys, 1 the first.
    pub epoch: u32,
    /// Its 32 bytes.
    pub material: KeyMaterial,
}

impl MasterKey {
    /// A new random key of 256 bits under a new random id.
    ///
    /// # Errors
    /// [`SealError::Crypto`] if the system gives no random bytes.
    pub fn random(epoch: u32) -> Result<Self, SealError> {
        Ok(Self { id: KeyId::random()?, epoch, material: KeyMaterial::random(MASTER_KEY_BITS)? })
    }

    /// What the key is, for those who seal it.
    #[must_use]
    pub fn identity<'a>(&'a self, cluster: &'a KeyId) -> KeyIdentity<'a> {
        KeyIdentity { cluster, id: &self.id, epoch: self.epoch }
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(secret)")
    }
}

/// Which master key something is about. Every seal binds what it makes to all of it: sealed bytes moved to another key's,
/// epoch's or cluster's place do not open there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyIdentity<'a> {
    /// The servers that share the key.
    pub cluster: &'a KeyId,
    /// The key.
    pub id: &'a KeyId,
    /// Its number in the row of the cluster's master keys.
    pub epoch: u32,
}

impl KeyIdentity<'_> {
    /// The bytes that a seal of a given kind authenticates beside the key.
    #[must_use]
    pub fn associated_data(&self, kind: &str) -> Vec<u8> {
        format!("chatelaine sealed master key\0{kind}\0{}\0{}\0{}", self.cluster, self.id, self.epoch)
            .into_bytes()
    }

    /// The name under which boot states are approved for this key: `chatelaine/<cluster>/mk/<epoch>`.
    #[must_use]
    pub fn policy_reference(&self) -> String {
        format!("chatelaine/{}/mk/{}", self.cluster, self.epoch)
    }
}

/// All master keys of an installation.
pub struct MasterKeys {
    /// The one that new keys are wrapped under.
    pub active: MasterKey,
    /// The one that is to follow it, when every server has it.
    pub staged: Option<MasterKey>,
    /// Those that older keys may still be wrapped under.
    pub retired: Vec<MasterKey>,
}

impl MasterKeys {
    /// All of them, in the order of the document: the active one, the staged one, the retired ones.
    pub fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.active).chain(&self.staged).chain(&self.retired)
    }

    /// The key of an id.
    #[must_use]
    pub fn find(&self, id: &KeyId) -> Option<&MasterKey> {
        self.iter().find(|key| key.id == *id)
    }

    /// Adds keys and puts all of them in a new order; `order` names each once, with its use, the active one first.
    pub(crate) fn rearrange(&mut self, new: Vec<MasterKey>, order: &[(KeyId, KeyState)]) {
        let mut others: Vec<_> =
            self.staged.take().into_iter().chain(std::mem::take(&mut self.retired)).collect();
        others.extend(new);
        for (id, state) in order {
            let Some(place) = others.iter().position(|key| key.id == *id) else { continue };
            let key = others.remove(place);
            match state {
                KeyState::Active => others.push(std::mem::replace(&mut self.active, key)),
                KeyState::Staged => self.staged = Some(key),
                KeyState::Retired => self.retired.push(key),
            }
        }
    }
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
        let id = KeyId::random().unwrap();
        assert_eq!(KeyId::parse(id.as_str()).unwrap(), id);
        assert_eq!(id.as_str().as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_str().as_bytes()[19]));
        assert_ne!(KeyId::random().unwrap(), id);
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
            assert!(matches!(KeyId::parse(text), Err(SealError::InvalidId)), "{text}");
        }
    }

    #[test]
    fn debug_output_is_constant() {
        let key = MasterKey::random(1).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey(secret)");
        let keys = MasterKeys { active: key, staged: None, retired: vec![MasterKey::random(1).unwrap()] };
        assert_eq!(format!("{keys:?}"), "MasterKeys(secret)");
    }

    #[test]
    fn keys_are_rearranged_and_none_is_lost() {
        use KeyState::{Active, Retired, Staged};
        let key = |epoch| MasterKey::random(epoch).unwrap();
        let (one, two, three, four) = (key(1), key(2), key(3), key(4));
        let ids = [&one, &two, &three, &four].map(|key| key.id.clone());
        let mut keys = MasterKeys { active: two, staged: Some(three), retired: vec![one] };
        let order = |places: &[(usize, KeyState)]| -> Vec<_> {
            places.iter().map(|(place, state)| (ids[*place].clone(), *state)).collect()
        };
        keys.rearrange(vec![four], &order(&[(2, Active), (3, Staged), (1, Retired), (0, Retired)]));
        let epochs: Vec<_> = keys.iter().map(|key| key.epoch).collect();
        assert_eq!((epochs, keys.staged.is_some()), (vec![3, 4, 2, 1], true));
        keys.rearrange(Vec::new(), &order(&[(2, Active), (3, Retired), (1, Retired), (0, Retired)]));
        assert_eq!(keys.iter().map(|key| key.epoch).collect::<Vec<_>>(), [3, 4, 2, 1]);
        assert!(keys.staged.is_none() && keys.find(&ids[1]).is_some());
    }
}
