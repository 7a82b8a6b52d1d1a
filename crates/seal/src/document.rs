//! The document of sealed master keys.
//!
//! A JSON text of at most [`MAX_DOCUMENT`] bytes with, for each master key, what the seals made of it. Nothing in it is
//! secret. Its last field is an authenticator under the active master key: whoever can write the file, but does not
//! hold the key, can make it unusable and nothing else. An older copy is authentic, too: what was removed since then is
//! in it again.
//!
//! Invariants of a document that was read: exactly one key is active, the first; ids and epochs differ; the active key
//! has the highest epoch but for one that is staged, the second; no two entries of a key have the same kind and name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hosts::{self, EnrolledHost};
use crate::recovery::RecoveryRecipient;
use crate::{KeyId, KeyIdentity, SealError, base64_bytes};

/// The version that is written and read.
pub const FORMAT: u32 = 1;
/// Largest document, in bytes.
pub const MAX_DOCUMENT: usize = 1024 * 1024;
/// Most master keys.
pub const MAX_KEYS: usize = 64;
/// Most seals of a master key.
pub const MAX_SEALS: usize = 64;
/// Most characters of a seal's kind or name.
const MAX_NAME: usize = 128;

/// All master keys, sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedKeys {
    /// [`FORMAT`].
    pub format: u32,
    /// How often the document was written.
    pub generation: u64,
    /// The servers that share the keys.
    pub cluster: KeyId,
    /// The keys, the active one first.
    pub keys: Vec<SealedKey>,
    /// The key of the audit trail.
    pub audit_key: SealedAuditKey,
    /// The recovery key that every master key is sealed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryRecipient>,
    /// Hosts that may get master keys from here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<EnrolledHost>,
    /// HMAC-SHA-256 over the document with this field empty, under a key derived from the active master key.
    #[serde(with = "base64_bytes")]
    pub authenticator: Vec<u8>,
}

/// One master key, sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedKey {
    /// Its id.
    pub id: KeyId,
    /// Its number in the row of master keys.
    pub epoch: u32,
    /// Whether new keys are wrapped under it.
    pub state: KeyState,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it became the active one, where that was later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<String>,
    /// Of a key that was made here for several servers: what its activation waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// By which the right key is told from another: HMAC-SHA-256 over its identity, under a key derived from it.
    #[serde(with = "base64_bytes")]
    pub check: Vec<u8>,
    /// What the seals made of it.
    pub seals: Vec<Sealed>,
}

/// What the activation of a key waits for: all enrolled hosts that have keys, but for these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    /// Names of hosts.
    pub without: Vec<String>,
}

/// What a master key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// New keys are wrapped under it.
    Active,
    /// Older keys may still be wrapped under it.
    Retired,
    /// It becomes the active one when every server has it.
    Staged,
}

/// A master key sealed by one seal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The seal's kind.
    pub kind: String,
    /// The seal's name.
    pub name: String,
    /// When it was sealed (RFC 3339).
    pub created: String,
    /// What the seal made.
    pub sealed: Value,
}

/// The audit trail's key, wrapped under the active master key: it stays the same when that changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedAuditKey {
    /// Its id.
    pub id: KeyId,
    /// Nonce, ciphertext and tag of the record cipher.
    #[serde(with = "base64_bytes")]
    pub wrapped: Vec<u8>,
}

/// Bytes of a check that a fingerprint shows: nobody finds another key for them.
const FINGERPRINT: usize = 16;

/// By what people tell an active key from another one's: the beginning of its check, in groups of four digits.
#[must_use]
pub fn fingerprint(check: &[u8]) -> String {
    let groups = check.get(..FINGERPRINT).unwrap_or(check).chunks(2);
    let groups: Vec<String> =
        groups.map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    groups.join("-")
}

/// A fingerprint as a person writes it: with or without hyphens, in capitals or not.
///
/// # Errors
/// [`SealError::Invalid`] where it is none, or only a part of one.
pub fn parse_fingerprint(text: &str) -> Result<String, SealError> {
    let digits: String =
        text.chars().filter(|character| *character != '-').map(|c| c.to_ascii_lowercase()).collect();
    let groups: Vec<&str> = digits
        .as_bytes()
        .chunks(4)
        .filter_map(|group| {
            std::str::from_utf8(group).ok().filter(|_| group.iter().all(u8::is_ascii_hexdigit))
        })
        .collect();
    if digits.len() != 2 * FINGERPRINT || groups.len() != FINGERPRINT / 2 {
        return Err(SealError::Invalid {
            what: "fingerprint",
            problem: "must have 32 hexadecimal digits; `chatelaine master-key status` of a server that has the keys \
                      shows it"
                .to_owned(),
        });
    }
    Ok(groups.join("-"))
}

impl SealedKey {
    /// By what people tell this key from another one's.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.check)
    }

    /// What the key is, for those who seal it.
    #[must_use]
    pub fn identity<'a>(&'a self, cluster: &'a KeyId) -> KeyIdentity<'a> {
        KeyIdentity { cluster, id: &self.id, epoch: self.epoch }
    }
}

impl SealedKeys {
    /// Reads a document. Its authenticator is for those who hold the key.
    ///
    /// # Errors
    /// What is wrong with the text, by field; [`None`] for a document of another version.
    pub fn parse(text: &[u8]) -> Result<Self, Option<String>> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_json::from_slice(text).map_err(|error| Some(error.to_string()))?;
        if format != FORMAT {
            return Err(None);
        }
        let document: Self = serde_json::from_slice(text).map_err(|error| Some(error.to_string()))?;
        document.check().map_err(|problem| Some(problem.to_owned()))?;
        Ok(document)
    }

    /// The text, in lines for people who look at it.
    ///
    /// # Errors
    /// Those of serde, for values that no text can hold.
    pub fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// What the authenticator is made over.
    pub(crate) fn authenticated(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Self { authenticator: Vec::new(), ..self.clone() })
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let mut keys = self.keys.iter();
        let active = keys.next().ok_or("keys: there is none")?;
        if active.state != KeyState::Active {
            return Err("keys: the first one is not active");
        }
        if self.keys.len() > MAX_KEYS {
            return Err("keys: more than 64");
        }
        if keys.clone().any(|key| key.state == KeyState::Active) {
            return Err("keys: more than one is active");
        }
        let staged = self.staged();
        if keys.clone().filter(|key| key.state == KeyState::Staged).count() != staged.iter().count() {
            return Err("keys: one that is staged is not the second");
        }
        if staged.is_some_and(|staged| staged.epoch <= active.epoch) {
            return Err("keys: the staged one does not have a higher epoch than the active one");
        }
        if keys.any(|key| key.state == KeyState::Retired && key.epoch >= active.epoch) {
            return Err("keys: the active one does not have the highest epoch");
        }
        for (index, key) in self.keys.iter().enumerate() {
            let later = self.keys.iter().skip(index.saturating_add(1));
            if later.clone().any(|other| other.id == key.id) {
                return Err("keys: an id occurs twice");
            }
            if later.clone().any(|other| other.epoch == key.epoch) {
                return Err("keys: an epoch occurs twice");
            }
            if key.waits.as_ref().is_some_and(|waits| waits.without.len() > hosts::MAX_HOSTS) {
                return Err("waits: more than 256 hosts are left out");
            }
            if key.seals.len() > MAX_SEALS {
                return Err("seals: more than 64 of one key");
            }
            for (index, seal) in key.seals.iter().enumerate() {
                if seal.kind.len() > MAX_NAME || seal.name.len() > MAX_NAME {
                    return Err("seals: a kind or name has more than 128 bytes");
                }
                if key
                    .seals
                    .iter()
                    .skip(index.saturating_add(1))
                    .any(|other| other.is_by(&seal.kind, &seal.name))
                {
                    return Err("seals: a kind and name occur twice for one key");
                }
            }
        }
        hosts::check(&self.hosts)
    }

    /// The active key. A document that was read has one.
    #[must_use]
    pub fn active(&self) -> Option<&SealedKey> {
        self.keys.first()
    }

    /// The key that is to follow the active one.
    #[must_use]
    pub fn staged(&self) -> Option<&SealedKey> {
        self.keys.get(1).filter(|key| key.state == KeyState::Staged)
    }
}

impl Sealed {
    /// Whether a seal of that kind and name made this.
    #[must_use]
    pub fn is_by(&self, kind: &str, name: &str) -> bool {
        self.kind == kind && self.name == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(keys: &[(u32, KeyState)]) -> SealedKeys {
        let key = |&(epoch, state): &(u32, KeyState)| SealedKey {
            id: KeyId::random().unwrap(),
            epoch,
            state,
            created: "2026-01-01T00:00:00Z".to_owned(),
            activated: None,
            waits: None,
            check: vec![1; 32],
            seals: vec![Sealed {
                kind: "file".to_owned(),
                name: "file".to_owned(),
                created: "2026-01-01T00:00:00Z".to_owned(),
                sealed: serde_json::json!({"b": 1, "a": [true, null]}),
            }],
        };
        SealedKeys {
            format: FORMAT,
            generation: 7,
            cluster: KeyId::random().unwrap(),
            keys: keys.iter().map(key).collect(),
            audit_key: SealedAuditKey { id: KeyId::random().unwrap(), wrapped: vec![3; 72] },
            recovery: None,
            hosts: Vec::new(),
            authenticator: vec![9; 32],
        }
    }

    fn refusal(document: &SealedKeys) -> String {
        SealedKeys::parse(&document.render().unwrap()).unwrap_err().unwrap()
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let written = document(&[(3, KeyState::Active), (1, KeyState::Retired), (2, KeyState::Retired)]);
        let read = SealedKeys::parse(&written.render().unwrap()).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.authenticated().unwrap(), written.authenticated().unwrap());
        assert!(!String::from_utf8(read.authenticated().unwrap()).unwrap().contains("CQkJ"));
    }

    #[test]
    fn what_the_invariants_forbid_is_refused_by_field() {
        use KeyState::{Active, Retired, Staged};
        let with_staged = document(&[(2, Active), (3, Staged), (1, Retired)]);
        assert_eq!(SealedKeys::parse(&with_staged.render().unwrap()).unwrap().staged().unwrap().epoch, 3);
        let lower = "keys: the staged one does not have a higher epoch than the active one";
        assert_eq!(refusal(&document(&[(3, Active), (2, Staged)])), lower);
        let not_second = "keys: one that is staged is not the second";
        assert_eq!(refusal(&document(&[(2, Active), (1, Retired), (3, Staged)])), not_second);
        assert_eq!(refusal(&document(&[(2, Active), (3, Staged), (4, Staged)])), not_second);
        assert_eq!(refusal(&document(&[])), "keys: there is none");
        assert_eq!(refusal(&document(&[(1, Retired)])), "keys: the first one is not active");
        assert_eq!(refusal(&document(&[(2, Active), (1, Active)])), "keys: more than one is active");
        assert_eq!(
            refusal(&document(&[(1, Active), (1, Retired)])),
            "keys: the active one does not have the highest epoch"
        );
        assert_eq!(
            refusal(&document(&[(3, Active), (1, Retired), (1, Retired)])),
            "keys: an epoch occurs twice"
        );
        let many: Vec<_> =
            (0..65).map(|index| (100 - index, if index == 0 { Active } else { Retired })).collect();
        assert_eq!(refusal(&document(&many)), "keys: more than 64");

        let mut twice = document(&[(2, Active), (1, Retired)]);
        twice.keys[1].id = twice.keys[0].id.clone();
        assert_eq!(refusal(&twice), "keys: an id occurs twice");
        let mut twice = document(&[(2, Active)]);
        let seal = twice.keys[0].seals[0].clone();
        twice.keys[0].seals.push(seal);
        assert_eq!(refusal(&twice), "seals: a kind and name occur twice for one key");
        twice.keys[0].seals[1].name = "n".repeat(129);
        assert_eq!(refusal(&twice), "seals: a kind or name has more than 128 bytes");
    }

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let text = fingerprint(&(0..32).collect::<Vec<u8>>());
        assert_eq!(text, "0001-0203-0405-0607-0809-0a0b-0c0d-0e0f");
        assert_eq!(parse_fingerprint(&text.to_uppercase().replace('-', "")).unwrap(), text);
        for wrong in
            ["", "0001-0203", "0001-0203-0405-0607-0809-0a0b-0c0d-0e0g", "ä001020304050607080910111213141"]
        {
            assert!(parse_fingerprint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_texts_and_versions_are_refused() {
        for text in ["", "{}", "[]", "{\"format\": \"1\"}", "{\"format\": 1}"] {
            assert!(SealedKeys::parse(text.as_bytes()).unwrap_err().is_some(), "{text}");
        }
        assert_eq!(SealedKeys::parse(b"{\"format\": 2, \"more\": 1}"), Err(None));
        let written = document(&[(1, KeyState::Active)]).render().unwrap();
        let text = String::from_utf8(written).unwrap();
        let unknown = text.replacen("\"generation\"", "\"other\": 1, \"generation\"", 1);
        assert!(SealedKeys::parse(unknown.as_bytes()).unwrap_err().unwrap().contains("other"));
    }
}
